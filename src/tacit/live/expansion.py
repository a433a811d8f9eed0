"""Float sums without loss: Shewchuk expansions (Adaptive Precision Floating-Point Arithmetic, 1997,
§2.4), a few doubles whose sum is the exact sum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def add(parts: Any, count: int, x: float) -> int:
    """Adds to an expansion: Shewchuk's GROW-EXPANSION, zeros dropped. How many parts it has now."""
    kept = 0
    for j in range(count):
        y = parts[j]
        if abs(x) < abs(y):
            x, y = y, x
        high = x + y
        low = y - (high - x)
        if low != 0.0:
            parts[kept] = low
            kept += 1
        x = high
    if x != 0.0:
        parts[kept] = x
        kept += 1
    return kept


@njit(cache=True, nogil=True)
def rounded(parts: Any, count: int) -> Any:
    """The sum of an expansion, rounded once, half to even (as CPython's math.fsum ends)."""
    if count == 0:
        return 0.0
    k = count - 1
    high, low = parts[k], 0.0
    while k > 0:
        x = high
        k -= 1
        y = parts[k]
        high = x + y
        low = y - (high - x)
        if low != 0.0:
            break
    if k > 0 and ((low < 0 and parts[k - 1] < 0) or (low > 0 and parts[k - 1] > 0)):
        y = low * 2.0
        x = high + y
        if y == x - high:
            high = x
    return high


@njit(cache=True, nogil=True)
def _even(q: float, fraction: float, exponent: int, away: bool) -> Any:
    """Of q and its neighbour, that whose last bit is 0."""
    units = math.ldexp(fraction, 53)
    if units % 2.0 == 0.0:
        return q
    found = math.ldexp(units + 1.0 if away else units - 1.0, exponent - 53)
    return found if q > 0.0 else -found


@njit(cache=True, nogil=True)
def quotient(parts: Any, many: int, count: int) -> Any:
    """The sum of an expansion over a count, rounded once; whether that is certain.

    A candidate q is right when the exact rest of the sum after q·count is less than half a unit of
    q times count. The rest comes from an exact product (Dekker 1971), but for a relative error of
    about 2^-50; what lies that close to the half is not certain, unless no step was rounded: then
    the half is a tie, which goes to even. Tiny and huge sums are not certain either.
    """
    total = rounded(parts, many)
    n = np.float64(count)
    if total == 0.0:
        return 0.0, many == 0
    if abs(total) > 2.0**900 or abs(total) < 2.0**-800:
        return 0.0, False
    q = total / n
    if count & (count - 1) == 0:  # a power of two only moves the point, of ties too
        return q, True
    for _ in range(2):
        split = 134217729.0 * q
        q_high = split - (split - q)
        q_low = q - q_high
        split = 134217729.0 * n
        n_high = split - (split - n)
        n_low = n - n_high
        product = q * n
        error = ((q_high * n_high - product) + q_high * n_low + q_low * n_high) + q_low * n_low
        rest, lost = parts[many - 1], 0.0
        for j in range(many + 1):  # the product, its error, the other parts
            y = -product if j == 0 else (-error if j == 1 else parts[many - j])
            x = rest
            rest = x + y
            back = rest - x
            lost += abs((x - (rest - back)) + (y - back))
        fraction, exponent = math.frexp(abs(q))
        half = math.ldexp(1.0, exponent - 54) * n
        if fraction == 0.5:  # beneath a power of two the units are half as large
            half *= 0.5
        elif lost == 0.0 and abs(rest) == half:  # a tie: to even
            return _even(q, fraction, exponent, (rest > 0.0) == (q > 0.0)), True
        if abs(rest) < half * (1.0 - 1e-9):
            return q, True
        q = q + rest / n
    return q, False
