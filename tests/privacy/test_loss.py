from __future__ import annotations

import json
import math
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from noise_oracle import gaussian_exponent, masses
from scipy import stats

from tacit.errors import PrivacyError
from tacit.privacy import loss
from tacit.privacy.loss import Loss, compose, pure_dp, sigma_for, zcdp, zcdp_delta, zcdp_epsilon

RHOS = st.floats(1e-8, 50)
DELTAS = st.floats(1e-12, 0.1)
BAD = [0.0, -1.0, math.nan, math.inf, -math.inf, 5e-324, sys.float_info.min / 2]


@given(RHOS, DELTAS)
def test_conversion_beats_the_simple_bound_and_inverts(rho: float, delta: float) -> None:
    epsilon = zcdp_epsilon(rho, delta)
    assert epsilon <= rho + 2 * math.sqrt(rho * math.log(1 / delta)) + 1e-9
    if epsilon > 1e-6:
        assert zcdp_delta(rho, epsilon) == pytest.approx(delta, rel=1e-6)


@given(RHOS, DELTAS)
def test_conversion_is_never_below_the_formula_on_a_fine_grid(rho: float, delta: float) -> None:
    t = np.linspace(-25, 40, 20_001)
    alpha = 1 + np.exp(t)
    terms = alpha * rho - np.log1p(np.exp(-t)) + (-np.log(delta) - np.log(alpha)) / (alpha - 1)
    least = max(0.0, float(terms.min()))
    assert least * (1 - 1e-4) - 1e-9 <= zcdp_epsilon(rho, delta) <= least * (1 + 1e-9) + 1e-9


@given(st.floats(0.05, 20), st.floats(1e-10, 1e-2))
def test_zcdp_covers_the_exact_gaussian_but_not_by_much(sigma: float, delta: float) -> None:
    claimed = zcdp_epsilon(loss.gaussian_rho(sigma), delta)
    exact = loss.gaussian_epsilon(delta, sigma)
    assert exact <= claimed * (1 + 1e-9)
    assert claimed <= 1.6 * exact + 0.5


@given(st.floats(1e-3, 30), st.floats(1e-12, 1e-2), st.floats(1e-6, 1e6))
def test_calibration_never_under_noises(epsilon: float, delta: float, sensitivity: float) -> None:
    sigma = sigma_for(epsilon, delta, sensitivity)
    assert zcdp_epsilon(loss.gaussian_rho(sigma, sensitivity), delta) <= epsilon
    less = loss.gaussian_rho(sigma * (1 - 1e-6), sensitivity)
    assert zcdp_epsilon(less, delta) > epsilon


def test_calibration_at_a_known_point() -> None:
    assert sigma_for(1.0, 1e-6) == pytest.approx(4.53088, rel=1e-5)


@pytest.mark.parametrize("bad", BAD)
def test_bad_numbers_are_refused(bad: float) -> None:
    for call in (
        lambda: sigma_for(bad, 1e-6),
        lambda: sigma_for(1.0, bad),
        lambda: sigma_for(1.0, 1e-6, bad),
        lambda: loss.gaussian_rho(bad),
        lambda: zcdp_epsilon(1.0, bad),
        lambda: loss.gaussian_delta(1.0, bad),
    ):
        with pytest.raises(PrivacyError, match="T520"):
            call()
    if bad:
        with pytest.raises(PrivacyError, match="T520"):
            zcdp(bad)
        with pytest.raises(PrivacyError, match="T520"):
            pure_dp(bad)


@pytest.mark.parametrize("delta", [1.0, 1.5, True])
def test_delta_must_be_below_one(delta: float) -> None:
    with pytest.raises(PrivacyError, match="T520"):
        zcdp(1.0).epsilon(delta)


def test_a_budget_no_noise_can_meet_is_refused() -> None:
    with pytest.raises(PrivacyError, match="T520"):
        sigma_for(1e-300, 1e-12, 1e300)


@given(st.lists(st.floats(1e-9, 5), min_size=1, max_size=12))
def test_composition_adds_and_rounds_up(rhos: list[float]) -> None:
    total = compose(map(zcdp, rhos)).rho
    exact = sum(map(Fraction, rhos))
    assert exact <= Fraction(total) <= exact * (1 + Fraction(1, 10**13))


def test_pure_and_concentrated_compose_to_the_better_bound() -> None:
    few = zcdp(0.01) + pure_dp(0.5)
    assert few.epsilon(1e-6) == pytest.approx(0.5 + zcdp_epsilon(0.01, 1e-6))
    many = compose([pure_dp(0.1)] * 500)
    assert many.epsilon(1e-6) == pytest.approx(zcdp_epsilon(500 * 0.005, 1e-6))
    assert many.epsilon(1e-6) < 50
    assert Loss().epsilon(1e-6) == 0.0


@given(RHOS, st.floats(0.01, 4))
def test_json_round_trip(rho: float, epsilon: float) -> None:
    spent = zcdp(rho) + pure_dp(epsilon)
    assert Loss.from_json(json.loads(json.dumps(spent.to_json()))) == spent


def test_foreign_json_is_refused() -> None:
    with pytest.raises(PrivacyError, match="T520"):
        Loss.from_json({"sigma": 1.0})


@given(st.floats(0.0, 6, allow_subnormal=False), st.floats(0.2, 10), st.floats(0.5, 3))
def test_exact_gaussian_against_its_definition(eps: float, sigma: float, delta_2: float) -> None:
    """P[L > ε] under the one, minus exp(ε) times under the other, by the normal privacy loss."""
    cut = sigma * eps / delta_2 * sigma + delta_2 / 2  # log ratio exceeds ε beyond this point
    direct = stats.norm.sf(cut, delta_2, sigma) - math.exp(eps) * stats.norm.sf(cut, 0, sigma)
    assert loss.gaussian_delta(eps, sigma, delta_2) == pytest.approx(direct, rel=1e-7, abs=1e-14)


@pytest.mark.parametrize("variance", [Fraction(1, 4), Fraction(2, 5), Fraction(1), Fraction(3)])
@pytest.mark.parametrize("shift", [1, 2, 3])
def test_sum_of_two_discrete_gaussians_keeps_its_bound(variance: Fraction, shift: int) -> None:
    """The Rényi divergences of the convolution, summed up, against `sum_rho` with its τ."""
    one = masses(gaussian_exponent(variance), 25)
    both = np.convolve(one, one)
    p, q = both[shift:], both[:-shift]
    rho = loss.sum_rho(variance, 1, shift)
    inner = (p > 1e-120) & (q > 1e-120)
    for alpha in (1.5, 2.0, 3.0):
        divergence = np.log(np.sum(p[inner] ** alpha * q[inner] ** (1 - alpha))) / (alpha - 1)
        assert divergence <= alpha * rho * (1 + 1e-9)
    assert rho >= shift**2 / (4 * float(variance))


def test_discrete_gaussian_keeps_its_rho() -> None:
    for variance in (Fraction(1, 3), Fraction(2)):
        p = masses(gaussian_exponent(variance), 9)
        rho = loss.variance_rho(variance, 1)
        for alpha in (1.5, 2.0, 4.0):
            terms = p[1:] ** alpha * p[:-1] ** (1 - alpha)
            assert np.log(terms.sum()) / (alpha - 1) <= alpha * rho * (1 + 1e-9)


def test_tau_is_there_for_small_variances_and_needs_enough() -> None:
    tiny = loss.sum_rho(Fraction(1, 2), 100, 1)
    assert tiny > 0.5 + 0.3
    assert loss.sum_rho(10**6, 45_000, 4096) == pytest.approx(4096**2 / 4e6, rel=1e-15)
    assert Fraction(loss.sum_rho(10**6, 45_000, 4096)) > Fraction(4096**2, 4 * 10**6)
    with pytest.raises(PrivacyError, match="T520"):
        loss.sum_rho(Fraction(1, 5), 1, 1)
