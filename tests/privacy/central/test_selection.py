"""Partition selection: the inequalities of differential privacy, exactly, and what is kept."""

from __future__ import annotations

import itertools
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from tacit.errors import PrivacyError
from tacit.privacy.central.selection import GaussianThreshold, TruncatedGeometric
from tacit.privacy.noise_exact import exp_minus
from tacit.privacy.randomness import system

WORD = 1 << 64


@pytest.mark.parametrize(
    ("epsilon", "delta", "groups"), [("1", "1e-5", 1), ("1/4", "1e-3", 3), ("6", "1e-9", 2)]
)
def test_truncated_geometric_is_private_in_exact_fractions(
    epsilon: str, delta: str, groups: int
) -> None:
    """All four inequalities between n and n + 1 people, with a lower bound of exp(ε)."""
    made = TruncatedGeometric(Fraction(epsilon), Fraction(delta), groups)
    each, slack = Fraction(epsilon) / groups, Fraction(delta) / groups
    grows = 1 / exp_minus(each)(200)[1]  # at most exp(ε)
    table = [Fraction(int(t), WORD) for t in made.thresholds] + [Fraction(1)] * 2
    assert table[0] == 0
    for less, more in itertools.pairwise(table):
        assert less <= more
        assert more <= grows * less + slack
        assert 1 - less <= grows * (1 - more) + slack


def test_it_is_the_greatest() -> None:
    """Against the recursion of the paper to fifty digits: nothing is lost but the last bits."""
    mpmath.mp.dps = 50
    e, delta, kept = mpmath.exp(1), mpmath.mpf(10) ** -6, mpmath.mpf(0)
    made = TruncatedGeometric(Fraction(1), Fraction(1, 10**6), 1)
    for threshold in made.thresholds:
        assert abs(int(threshold) / mpmath.mpf(WORD) - kept) < mpmath.mpf(10) ** -12
        kept = min(e * kept + delta, 1 - (1 - kept - delta) / e, mpmath.mpf(1))


def test_what_is_kept() -> None:
    made = TruncatedGeometric(Fraction(1), Fraction(1, 1000), 1)
    n = np.repeat(np.arange(30), 20_000)
    rate = made.keep(n, system()).reshape(30, -1).mean(axis=1)
    truth = np.append(made.thresholds.astype(float) / 2.0**64, np.ones(30))[:30]
    assert rate[0] == 0
    assert np.abs(rate - truth).max() < 5 * 0.5 / np.sqrt(20_000)
    assert rate[np.searchsorted(truth, 1.0) :].all()
    assert made.keep(np.array([10**12]), system()).all()


@pytest.mark.parametrize(("epsilon", "delta"), [("1/100000000", "1e-6"), ("1", "1e-25")])
def test_refuses_what_names_nothing(epsilon: str, delta: str) -> None:
    with pytest.raises(PrivacyError) as caught:
        assert TruncatedGeometric(Fraction(epsilon), Fraction(delta), 1).likely
    assert caught.value.code == "T875"


@pytest.mark.parametrize(("rho", "groups"), [("1/2", 1), ("1/10", 8), ("3", 1), ("20", 2)])
def test_the_threshold_costs_no_more_than_delta(rho: str, groups: int) -> None:
    """κ P[N_Z(0, σ²) >= τ - 1], summed from the masses themselves."""
    mpmath.mp.dps = 40
    delta = Fraction(1, 10**6)
    made = GaussianThreshold(Fraction(rho), delta, groups)
    variance = mpmath.mpf(made.variance.numerator) / made.variance.denominator
    reach = made.threshold + 400
    mass = [mpmath.exp(-mpmath.mpf(x * x) / (2 * variance)) for x in range(reach)]
    whole = 2 * sum(mass) - mass[0]
    assert groups * sum(mass[made.threshold - 1 :]) / whole <= float(delta)
    assert made.loss.failure >= delta
    assert made.loss.rho == pytest.approx(float(Fraction(rho)))


def test_a_key_of_one_person_is_hardly_ever_named() -> None:
    """The attack: a key that only the target has. Seen with probability δ at most."""
    delta = Fraction(1, 100)
    for made in (
        TruncatedGeometric(Fraction(1), delta, 1),
        GaussianThreshold(Fraction(1, 2), delta, 1),
    ):
        seen = made.keep(np.ones(200_000, np.int64), system()).mean()
        assert seen <= 0.01 + 5 * np.sqrt(0.01 / 200_000)
        assert not made.keep(np.zeros(100_000, np.int64), system()).any()
