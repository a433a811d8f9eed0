"""Exact decisions about irrational probabilities, by integers and lazily drawn random bits.

A Bernoulli(p) draw is the comparison of a uniform real u with p. Both are known to some precision
only: u through its first random bits, p through an interval. If the intervals are apart, the
comparison is decided, exactly. If not, draw more bits of u, narrow p, and look again. The loop
ends with probability one, and after each 64 further bits it goes on with probability below 2^-60.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import factorial

from tacit.privacy.randomness import Randomness

Bounds = Callable[[int], tuple[Fraction, Fraction]]
"""From a precision in bits to a lower and an upper bound, about 2^-bits apart."""


def exp_bounds(y: Fraction, bits: int) -> tuple[int, int]:
    """Integers lo and hi with `lo <= 2^bits exp(-y) <= hi`, for rational `y >= 0`.

    With z = y / 2^k <= 1/2, the Taylor series of exp(-z) alternates and falls, so the first term
    left out bounds what is left out; k squarings undo the division. `y` is enclosed in fixed
    point first; divisions and squarings round outwards.
    """
    if y == 0:
        return 1 << bits, 1 << bits
    if y >= bits:  # exp(-y) < 2^-y
        return 0, 1
    halvings = max(0, (y.numerator // y.denominator).bit_length() + 1)
    precision = bits + 2 * halvings + 24
    low_z = (y.numerator << precision) // (y.denominator << halvings)
    lower, _ = _taylor(low_z + 1, precision)
    _, upper = _taylor(low_z, precision)
    for _ in range(halvings):
        lower = (lower * lower) >> precision
        upper = _up(upper * upper, 1 << precision)
    drop = precision - bits
    return lower >> drop, _up(upper, 1 << drop)


def _taylor(z: int, precision: int) -> tuple[int, int]:
    """Bounds of `2^precision exp(-z / 2^precision)` for z of at most 2^precision / 2 + 1."""
    terms = 2
    while (factorial(terms) << terms) >> precision == 0:
        terms += 1
    total = term_low = term_high = 1 << precision
    low = high = total
    for index in range(1, terms + 1):
        term_low = (term_low * z >> precision) // index
        term_high = _up(term_high * z, index << precision)
        if index % 2:
            low, high = low - term_high, high - term_low
        else:
            low, high = low + term_low, high + term_high
    return low - term_high, high + term_high


def _up(dividend: int, divisor: int) -> int:
    """The quotient rounded up."""
    return -(-dividend // divisor)


def exp_minus(y: Fraction) -> Bounds:
    """The bounds of exp(-y) as fractions."""

    def bounds(bits: int) -> tuple[Fraction, Fraction]:
        low, high = exp_bounds(y, bits)
        return Fraction(low, 1 << bits), Fraction(high, 1 << bits)

    return bounds


def bernoulli(probability: Bounds, randomness: Randomness, known: int = 0, bits: int = 0) -> bool:
    """True with exactly the bounded probability.

    `known` holds the first `bits` binary digits of the uniform real, when some are drawn already.
    """
    while True:
        low, high = probability(bits + 16)
        if Fraction(known + 1, 1 << bits) <= low:
            return True
        if Fraction(known, 1 << bits) >= high:
            return False
        known = (known << 64) | int.from_bytes(randomness.bytes(8), "big")
        bits += 64


def geometric(ratio: Bounds, randomness: Randomness) -> int:
    """The number of successes of Bernoulli(ratio) before the first failure."""
    count = 0
    while bernoulli(ratio, randomness):
        count += 1
    return count
