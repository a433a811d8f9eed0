"""Slow and obvious: the samplers of Canonne, Kamath, Steinke 2020, verbatim, and exact masses."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from scipy import stats

from tacit.privacy.randomness import Randomness


def uniform(n: int, randomness: Randomness) -> int:
    """Uniform on {0, …, n-1}, by rejection."""
    bits = n.bit_length()
    while True:
        value = int.from_bytes(randomness.bytes(8), "big") >> (64 - bits)
        if value < n:
            return value


def bernoulli(p: Fraction, randomness: Randomness) -> bool:
    return uniform(p.denominator, randomness) < p.numerator


def bernoulli_exp(gamma: Fraction, randomness: Randomness) -> bool:
    """Algorithm 1."""
    while gamma > 1:
        if not bernoulli_exp(Fraction(1), randomness):
            return False
        gamma -= 1
    k = 1
    while bernoulli(gamma / k, randomness):
        k += 1
    return k % 2 == 1


def discrete_laplace(t: int, randomness: Randomness) -> int:
    """Algorithm 2 with s = 1."""
    while True:
        u = uniform(t, randomness)
        if not bernoulli_exp(Fraction(u, t), randomness):
            continue
        v = 0
        while bernoulli_exp(Fraction(1), randomness):
            v += 1
        x = u + t * v
        negative = bernoulli(Fraction(1, 2), randomness)
        if negative and x == 0:
            continue
        return -x if negative else x


def discrete_gaussian(variance: Fraction, randomness: Randomness) -> int:
    """Algorithm 3."""
    t = math.isqrt(int(variance)) + 1
    while True:
        y = discrete_laplace(t, randomness)
        gamma = (abs(y) - variance / t) ** 2 / (2 * variance)
        if bernoulli_exp(gamma, randomness):
            return y


def gaussian_exponent(variance: Fraction) -> Callable[[int], float]:
    return lambda x: float(Fraction(x * x) / (2 * variance))


def laplace_exponent(scale: Fraction) -> Callable[[int], float]:
    return lambda x: float(Fraction(abs(x)) / scale)


def masses(exponent: Callable[[int], float], reach: int) -> np.ndarray:
    """The masses at -reach … reach, normalised over them."""
    raw = np.array([math.exp(-exponent(x)) for x in range(-reach, reach + 1)])
    return raw / raw.sum()


def chi_square(draws: np.ndarray, exponent: Callable[[int], float], reach: int) -> float:
    """p value of the draws against the exact masses, cells of at least 20 expected draws."""
    expected = masses(exponent, reach) * len(draws)
    assert np.abs(draws).max() <= reach
    observed = np.bincount(draws + reach, minlength=2 * reach + 1)
    cells: list[tuple[float, float]] = []
    seen, hoped = 0.0, 0.0
    for o, e in zip(observed, expected, strict=True):
        seen, hoped = seen + o, hoped + e
        if hoped >= 20:
            cells.append((seen, hoped))
            seen, hoped = 0.0, 0.0
    last_seen, last_hoped = cells[-1]
    cells[-1] = (last_seen + seen, last_hoped + hoped)
    o, e = np.array(cells).T
    return float(stats.chisquare(o, e * o.sum() / e.sum()).pvalue)
