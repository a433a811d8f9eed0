from __future__ import annotations

import json
import math
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp
from noise_oracle import gaussian_exponent, masses
from scipy import stats

from examples import examples
from tacit.errors import PrivacyError
from tacit.privacy import gaussian, loss
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
    exact = gaussian.gaussian_epsilon(delta, sigma)
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
        lambda: gaussian.gaussian_delta(1.0, bad),
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
    assert few.epsilon(1e-6) <= 0.5 + zcdp_epsilon(0.01, 1e-6)
    many = compose([pure_dp(0.1)] * 500)
    assert many.epsilon(1e-6) < zcdp_epsilon(500 * 0.005, 1e-6) < 50
    assert pure_dp(0.5).epsilon(1e-6) == 0.5
    assert Loss().epsilon(1e-6) == 0.0


def best_composition(epsilon: float, count: int, delta: float) -> float:
    """The ε of `count` ε-DP releases, exactly (Kairouz, Oh, Viswanath 2017, theorem 3.3)."""
    for i in range(count // 2, -1, -1):
        total = sum(
            math.comb(count, low)
            * (math.exp((count - low) * epsilon) - math.exp((count - 2 * i + low) * epsilon))
            for low in range(i)
        )
        if total / (1 + math.exp(epsilon)) ** count <= delta:
            return (count - 2 * i) * epsilon
    raise AssertionError("i = 0 always holds")


@pytest.mark.parametrize(("epsilon", "count"), [(0.1, 30), (0.5, 12), (1.0, 8)])
def test_pure_releases_compose_as_tightly_as_can_be(epsilon: float, count: int) -> None:
    """The exact theorem gives ε on a lattice; the curve between is below its next point."""
    exact = best_composition(epsilon, count, 1e-6)
    found = compose([pure_dp(epsilon)] * count).epsilon(1e-6)
    assert exact - 2 * epsilon < found <= exact + count * 1e-4
    assert found < epsilon * count


def hockey_stick(epsilons: list[float], at: float) -> float:
    """δ(at) of randomized responses together, over all their outputs."""
    p, q = np.ones(1), np.ones(1)
    for epsilon in epsilons:
        one = math.exp(epsilon) / (1 + math.exp(epsilon))
        p, q = np.outer(p, [one, 1 - one]).ravel(), np.outer(q, [1 - one, one]).ravel()
    return float(np.maximum(p - math.exp(at) * q, 0).sum())


@given(st.lists(st.floats(0.01, 1.5), min_size=2, max_size=9), st.sampled_from([1e-9, 1e-6, 1e-3]))
@settings(max_examples=examples(25), deadline=None)
def test_composition_is_a_bound_and_hardly_more(epsilons: list[float], delta: float) -> None:
    found = compose(map(pure_dp, epsilons)).epsilon(delta)
    assert hockey_stick(epsilons, found) <= delta + 1e-15
    slack = len(epsilons) * 2e-4
    assert found <= slack or hockey_stick(epsilons, found - slack) > delta * (1 - 1e-6)


@given(st.lists(st.floats(0.01, 2), min_size=1, max_size=6), st.floats(0.001, 0.5))
@settings(max_examples=examples(25), deadline=None)
def test_pure_with_concentrated_is_a_bound(epsilons: list[float], rho: float) -> None:
    """Against randomized responses beside a continuous Gaussian of that ρ, on a grid."""
    found = (compose(map(pure_dp, epsilons)) + zcdp(rho)).epsilon(1e-5)
    sigma = 1 / math.sqrt(2 * rho)
    grid = np.linspace(-12 * sigma, 12 * sigma + 1, 4001)
    width = grid[1] - grid[0]
    p, q = (stats.norm.pdf(grid, mean, sigma) * width for mean in (1.0, 0.0))
    for epsilon in epsilons:
        one = math.exp(epsilon) / (1 + math.exp(epsilon))
        p, q = np.outer(p, [one, 1 - one]).ravel(), np.outer(q, [1 - one, one]).ravel()
    assert np.maximum(p - math.exp(found) * q, 0).sum() <= 1e-5 * (1 + 1e-6)


@given(st.floats(0.01, 5), st.floats(1e-9, 50))
def test_renyi_of_randomized_response(epsilon: float, over: float) -> None:
    alpha = 1 + over
    with mp.workdps(60):
        e = mp.mpf(epsilon)
        p, q = mp.exp(e) / (1 + mp.exp(e)), 1 / (1 + mp.exp(e))
        o = mp.mpf(over)
        exact = mp.log(p ** (1 + o) * q**-o + q ** (1 + o) * p**-o) / o
    assert float(exact) * (1 - 1e-12) <= loss.response_renyi(epsilon, alpha, over)
    if over > 1e-3:
        assert loss.response_renyi(epsilon, alpha, over) <= float(exact) * (1 + 1e-6) + 1e-9


def test_failures_come_off_delta() -> None:
    shuffled = loss.approximate_dp(0.3, 2e-7)
    assert shuffled.epsilon(1e-6) == 0.3
    assert compose([shuffled] * 4).epsilon(1e-6) <= 1.2
    assert compose([shuffled] * 5).epsilon(1e-6) == math.inf  # their δ are all of it
    assert loss.approximate_dp(0.0, 1e-7).epsilon(1e-6) == 0.0


def test_losses_of_older_ledgers_are_read() -> None:
    old = {"rho": 0.5, "pure": 0.2, "pure_rho": 0.01}
    assert Loss.from_json(old) == zcdp(0.5) + pure_dp(0.2)
    assert zcdp(0.5).to_json() == {"rho": 0.5, "pure": 0.0, "pure_rho": 0.0}


@pytest.mark.parametrize(
    "terms",
    [[[0.1, 0.0]], [[0.1, 0.0, 0]], [[0.1, 0.0, 1.5]], [[0.1, 0.0, 1]] * 2, [[0.0, 0.0, 1]]],
)
def test_terms_that_are_none(terms: list[Any]) -> None:
    with pytest.raises(PrivacyError, match="T520"):
        Loss.from_json({"rho": 0.0, "pure": 0.1, "pure_rho": 0.005, "terms": terms})


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
    assert gaussian.gaussian_delta(eps, sigma, delta_2) == pytest.approx(
        direct, rel=1e-7, abs=1e-14
    )


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
