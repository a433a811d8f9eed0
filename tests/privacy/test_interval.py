"""Intervals hold what they say: by simulation with the exact samplers, and against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tacit.privacy.interval import (
    linear_interval,
    ratio_error,
    ratio_interval,
    spread,
)
from tacit.privacy.noise import discrete_gaussian, discrete_laplace
from tacit.privacy.randomness import system

N = 20_000
"""Trials: the standard error of a coverage of 95% is 0.15%."""


def noise(laplace: bool, sigma: float, n: int = N) -> np.ndarray:
    """Exact draws of about that standard deviation."""
    if laplace:
        return discrete_laplace(sigma / math.sqrt(2), n, system()).astype(float)
    return discrete_gaussian(sigma**2, n, system()).astype(float)


def coverage(lower: np.ndarray, upper: np.ndarray, truth: float) -> float:
    return float(((lower <= truth) & (truth <= upper)).mean())


@pytest.mark.parametrize(
    ("kinds", "sigmas"),
    [
        ((False,), (9.0,)),
        ((True,), (9.0,)),
        ((False, False), (9.0, 40.0)),
        ((True, True), (9.0, 9.0)),
        ((True, False), (20.0, 9.0)),
        ((True,) * 5, (9.0, 9.0, 12.0, 30.0, 9.0)),
    ],
)
def test_sums_are_covered(kinds: tuple[bool, ...], sigmas: tuple[float, ...]) -> None:
    drawn = sum(noise(kind, sigma) for kind, sigma in zip(kinds, sigmas, strict=True))
    spreads = np.tile(np.array(sigmas), (N, 1))
    found = linear_interval(100.0 + drawn, spreads, kinds)
    assert 0.94 <= coverage(*found, 100.0) <= 0.96


@pytest.mark.parametrize("kinds", [(False, False), (True, True), (True, False), (False, True)])
@pytest.mark.parametrize(("above", "below"), [(300.0, 900.0), (900.0, 90.0), (0.0, 400.0)])
def test_ratios_are_covered(kinds: tuple[bool, bool], above: float, below: float) -> None:
    """Also where the denominator's noise is a seventh of it, and where the numerator is nothing."""
    sigmas = (15.0, 12.0)
    n, d = above + noise(kinds[0], sigmas[0]), below + noise(kinds[1], sigmas[1])
    zero = np.zeros(N)
    wn = np.column_stack([np.full(N, sigmas[0]), zero])
    wd = np.column_stack([zero, np.full(N, sigmas[1])])
    found = ratio_interval((n, wn), (d, wd), kinds)
    assert 0.94 <= coverage(*found, above / below) <= 0.96
    if above and below > 500:
        theta = above / below
        error = ratio_error((n, wn), (d, wd))
        assert np.median(error) == pytest.approx(math.hypot(15, 12 * theta) / below, rel=0.1)


def test_a_ratio_of_what_shares_noise_is_covered() -> None:
    """(a - b) / b: the same noise above and below."""
    a, b = 500.0 + noise(False, 10.0), 200.0 + noise(False, 10.0)
    wn = np.tile([10.0, -10.0], (N, 1))
    wd = np.tile([0.0, 10.0], (N, 1))
    found = ratio_interval((a - b, wn), (b, wd), (False, False))
    assert 0.94 <= coverage(*found, 1.5) <= 0.96


def test_an_open_interval_covers_more() -> None:
    """Where the denominator's noise is a fifth of it, it now and then cannot be told from 0."""
    n, d = 900.0 + noise(False, 15.0), 60.0 + noise(True, 12.0)
    zero = np.zeros(N)
    wn, wd = np.column_stack([zero + 15.0, zero]), np.column_stack([zero, zero + 12.0])
    found = ratio_interval((n, wn), (d, wd), (False, True))
    open_ = np.isinf(found.lower)
    assert 0.002 < open_.mean() < 0.02
    held = coverage(*found, 15.0)
    assert 0.943 <= held - open_.mean() <= 0.957
    assert held > 0.95


def test_what_cannot_be_told_is_open() -> None:
    """A denominator that is not told from 0 has no bounded interval; Fieller 1954, §2."""
    found = ratio_interval(
        (np.array([50.0]), np.array([[5.0, 0.0]])),
        (np.array([8.0]), np.array([[0.0, 5.0]])),
        (False, False),
    )
    assert found.lower[0] == -np.inf
    assert found.upper[0] == np.inf


def test_spreads_are_those_of_closed_forms() -> None:
    assert spread((), 1.0, 0.95) == pytest.approx(1.959963985, abs=1e-8)
    assert spread((1.0,), 0.0, 0.95) == pytest.approx(math.log(20) / math.sqrt(2), abs=1e-12)
    # The sum of two equal Laplace noises: P(|X| > t) = (1 + t / 2b) exp(-t / b), b = 1/2.
    t = spread((0.5, 0.5), 0.0, 0.95)
    assert (1 + t) * math.exp(-2 * t) == pytest.approx(0.05, abs=1e-6)
    assert spread((0.999,), 0.001, 0.95) == pytest.approx(spread((1.0,), 0.0, 0.95), abs=2e-3)


def test_no_noise_is_no_width() -> None:
    value = np.array([3.0, -2.0])
    found = linear_interval(value, np.zeros((2, 1)), (True,))
    assert (found.lower == value).all()
    assert (found.upper == value).all()
