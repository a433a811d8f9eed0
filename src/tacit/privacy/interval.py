"""Confidence intervals of noisy numbers, and of ratios and expressions of them.

The noise of a released number has a known distribution, so an interval of it holds what it says,
whatever the data. Here σ is the noise's standard deviation; bounds, roundings and clippings that a
mechanism applies before the noise are in no interval.

**Sums.** Σ w_j X_j of independent noises X_j: Gaussian ones add up to a Gaussian. With Laplace ones
among them the distribution is symmetric, with the characteristic function

    φ(u) = exp(-g²u²/2) Π_j 1 / (1 + b_j²u²),

g² the variance of the Gaussian part, b_j = w_j σ_j / √2, and (Gil-Pelaez 1951)

    P(|X| <= t) = 2/π ∫_0^∞ φ(u) sin(ut) / u du,

which `spread` inverts. A single Laplace noise has P(|X| > t) = exp(-t / b). Discrete noise of σ
above about 2 differs from these by less than its steps do.

**Ratios** (Fieller 1954, "Some problems in interval estimation", §2). N and D estimate ν and δ.
N - θD, with θ = ν/δ, has a known symmetric distribution around 0, of variance
v(θ) = σ_N² - 2θ cov + θ²σ_D². So {θ : (N - θD)² <= κ² v(θ)} holds θ with the stated confidence,
exactly for Gaussian noise, where κ is the normal quantile. With Laplace noise κ depends a little on
θ (it lies between that of a Gaussian and that of a Laplace distribution); it is taken at the
estimate. The set is an interval where D² > κ²σ_D²; else the data cannot tell δ from 0, there is no
bounded interval of this confidence, and the whole line is returned: more than the set, so where
that happens often, more is covered than is stated.

**Expressions** that are neither: the delta method (Casella and Berger 2002, §5.5.4). The variance
is Σ (∂f/∂x_j)² σ_j²: first order, so it needs noise that is small where f bends.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
_SHARES = 64  # variance shares are rounded to this, so that few distributions are inverted
_REACH, _POINTS = 200.0, 20_000  # of the integral over u, for a variance of 1


class Interval(NamedTuple):
    """Lower and upper ends, each (n,); infinite where nothing can be said."""

    lower: Floats
    upper: Floats


def linear_interval(
    value: Floats, spreads: Floats, laplace: tuple[bool, ...], confidence: float = CONFIDENCE
) -> Interval:
    """Of numbers (n,) whose noise is a sum of independent parts: `spreads` (n, m) is the standard
    deviation of each part, `laplace` (m,) its kind."""
    half = _factors(spreads, laplace, confidence) * np.sqrt((spreads**2).sum(axis=1))
    return Interval(value - half, value + half)


def ratio_interval(
    numerator: tuple[Floats, Floats],
    denominator: tuple[Floats, Floats],
    laplace: tuple[bool, ...],
    confidence: float = CONFIDENCE,
) -> Interval:
    """Of N / D, each given as values (n,) and signed spreads (n, m) of the same m noises."""
    (n, wn), (d, wd) = numerator, denominator
    with np.errstate(divide="ignore", invalid="ignore"):
        theta = np.where(d != 0, n / d, 0.0)
    k = _factors(np.abs(wn - theta[:, None] * wd), laplace, confidence)
    # a θ² - 2 b θ + c <= 0
    a = d**2 - k**2 * (wd**2).sum(axis=1)
    b = n * d - k**2 * (wn * wd).sum(axis=1)
    c = n**2 - k**2 * (wn**2).sum(axis=1)
    root = np.sqrt(np.maximum(b**2 - a * c, 0.0))
    bounded = a > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        lower = np.where(bounded, (b - root) / a, -np.inf)
        upper = np.where(bounded, (b + root) / a, np.inf)
    return Interval(lower, upper)


def ratio_error(numerator: tuple[Floats, Floats], denominator: tuple[Floats, Floats]) -> Floats:
    """The standard error of N / D by the delta method (n,); NaN for a denominator of 0."""
    (n, wn), (d, wd) = numerator, denominator
    with np.errstate(divide="ignore", invalid="ignore"):
        theta = np.where(d != 0, n / d, np.nan)
        found: Floats = np.sqrt(((wn - theta[:, None] * wd) ** 2).sum(axis=1)) / np.abs(d)
    return found


def _factors(spreads: Floats, laplace: tuple[bool, ...], confidence: float) -> Floats:
    """Half of each interval, in standard deviations (n,)."""
    if not any(laplace):
        return np.full(len(spreads), spread((), 1.0, confidence))
    squares = spreads**2
    total = squares.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(total[:, None] > 0, squares / total[:, None], 0.0)
    rounded = np.rint(shares * _SHARES).astype(np.int64)
    kinds, place = np.unique(rounded, axis=0, return_inverse=True)
    found = [_factor(tuple(map(int, row)), laplace, confidence) for row in kinds]
    return np.array(found)[place.reshape(-1)]


@lru_cache(maxsize=4096)
def _factor(shares: tuple[int, ...], laplace: tuple[bool, ...], confidence: float) -> float:
    whole = sum(shares)
    if not whole:
        return spread((), 1.0, confidence)
    parts = sorted(s / whole for s, kind in zip(shares, laplace, strict=True) if kind and s)
    gaussian = sum(s / whole for s, kind in zip(shares, laplace, strict=True) if not kind)
    return spread(tuple(parts), gaussian, confidence)


@lru_cache(maxsize=4096)
def spread(laplace: tuple[float, ...], gaussian: float, confidence: float) -> float:
    """t with P(|X| <= t) = confidence, for X of independent Laplace parts of these variances and a
    Gaussian part of that variance; together they should be 1."""
    if not laplace:
        return math.sqrt(gaussian) * NormalDist().inv_cdf((1 + confidence) / 2)
    if not gaussian and len(laplace) == 1:
        return -math.log(1 - confidence) * math.sqrt(laplace[0] / 2)
    u = (np.arange(_POINTS) + 0.5) * (_REACH / _POINTS)
    transform = np.exp(-gaussian * u**2 / 2)
    for variance in laplace:
        transform /= 1 + variance / 2 * u**2
    weight = transform / u * (2 / math.pi * _REACH / _POINTS)
    low, high = 0.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        if float(weight @ np.sin(u * middle)) < confidence:
            low = middle
        else:
            high = middle
    return high
