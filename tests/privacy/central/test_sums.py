"""Noisy sums: their privacy by exact masses, their variance and intervals as stated."""

from __future__ import annotations

import itertools
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from tacit.privacy.central.sensitivity import Sensitivity
from tacit.privacy.central.sums import NoisySums
from tacit.privacy.loss import approximate_dp
from tacit.privacy.randomness import system, unsafe_seeded

DRAWS = 400_000
ONE = Sensitivity.of(1, 1)


def masses(noise: NoisySums, reach: int) -> dict[int, mpmath.mpf]:
    """The distribution of the noise, to many digits."""
    raw = {}
    for x in range(-reach, reach + 1):
        exponent = (
            mpmath.mpf(abs(x)) / mpmath.mpf(float(noise.parameter))
            if noise.kind == "laplace"
            else mpmath.mpf(x * x) / (2 * mpmath.mpf(float(noise.parameter)))
        )
        raw[x] = mpmath.exp(-exponent)
    whole = sum(raw.values())
    return {x: mass / whole for x, mass in raw.items()}


def test_sensitivity_is_that_of_disjoint_groups() -> None:
    """All vectors of at most `most` in each of at most `groups` sets of two keys, by enumeration."""
    groups, most = 2, 3
    sets = list(itertools.product(range(-most, most + 1), repeat=2))
    within = [x for x in sets if sum(map(abs, x)) <= most]
    l1 = l2 = linf = 0
    for first, second in itertools.product(within, repeat=groups):
        parts = [abs(x) for x in (*first, *second)]
        l1, l2 = max(l1, sum(parts)), max(l2, sum(x * x for x in parts))
        linf = max(linf, *parts)
    assert Sensitivity.of(groups, most) == Sensitivity(l1, l2, linf)


def test_laplace_attains_its_epsilon_and_no_more() -> None:
    """Two counts, a person in both: the likelihood ratio at every outcome of a small grid."""
    epsilon = Fraction(3, 4)
    noise = NoisySums.laplace(Sensitivity.of(2, 1), epsilon)
    mass = masses(noise, 200)
    most = max(
        mpmath.log(mass[a] * mass[b] / (mass[a - da] * mass[b - db]))
        for a, b in itertools.product(range(-6, 7), repeat=2)
        for da, db in itertools.product((-1, 0, 1), repeat=2)
    )
    assert abs(most - float(epsilon)) < 1e-12
    assert noise.loss == approximate_dp(float(epsilon), 0.0)


def test_gaussian_meets_its_divergence() -> None:
    """Rényi divergences of the noise and the noise moved by Δ are at most ρα, and near it."""
    sensitivity = Sensitivity.of(4, 1)
    noise = NoisySums.gaussian(sensitivity, Fraction(1, 8))
    mass = masses(noise, 80)
    for alpha in (1.5, 2.0, 8.0):
        total = sum(mass[x] ** alpha * mass[x - 2] ** (1 - alpha) for x in range(-70, 71))
        divergence = mpmath.log(total) / (alpha - 1)
        assert divergence <= noise.loss.rho * alpha * (1 + 1e-12)
        assert divergence >= noise.loss.rho * alpha * 0.999


@pytest.mark.parametrize(
    "noise",
    [
        NoisySums.laplace(ONE, Fraction(2)),
        NoisySums.laplace(Sensitivity.of(3, 5), Fraction(1, 2)),
        NoisySums.gaussian(ONE, Fraction(1, 2)),
        NoisySums.gaussian(Sensitivity.of(3, 5), Fraction(1, 50)),
    ],
)
def test_measured_variance_and_interval(noise: NoisySums) -> None:
    drawn = noise.release(np.zeros(DRAWS, np.int64), system())
    # The fourth moment is at most 6 σ⁴ here: five standard errors of the measured variance.
    assert abs(drawn.var() / noise.variance - 1) < 5 * np.sqrt(5 / DRAWS) + 1e-6
    assert abs(drawn.mean()) < 6 * noise.sigma / np.sqrt(DRAWS)
    for confidence in (0.5, 0.9, 0.99):
        width = noise.half_width(confidence)
        mass = masses(noise, int(20 * noise.sigma) + 20)
        inside = sum(mass[x] for x in range(-width, width + 1))
        assert inside >= confidence - 1e-12
        if width:
            shorter = sum(mass[x] for x in range(-width + 1, width))
            assert shorter < confidence or noise.kind == "gaussian"


def test_attack_on_a_pure_count_gains_no_more_than_epsilon() -> None:
    """The best distinguisher of a person's presence: its true against its false positives."""
    noise = NoisySums.laplace(ONE, Fraction(1))
    without = noise.release(np.full(DRAWS, 10), unsafe_seeded(1))
    present = noise.release(np.full(DRAWS, 11), unsafe_seeded(2))
    for cut in range(6, 16):
        false, true = (without >= cut).mean(), (present >= cut).mean()
        assert true <= np.e * false + 6 * np.sqrt(np.e * false / DRAWS) + 1e-4


def test_shapes_stay() -> None:
    noise = NoisySums.laplace(ONE, Fraction(1))
    assert noise.release(np.zeros((3, 4), np.int64), system()).shape == (3, 4)
