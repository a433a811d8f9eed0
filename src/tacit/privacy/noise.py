"""Exact discrete Gaussian and discrete Laplace noise, at millions of draws a second.

The discrete Gaussian N_Z(0, σ²) has mass proportional to exp(-x² / 2σ²) at every integer x, the
discrete Laplace Lap_Z(t) mass proportional to exp(-|x| / t) (Canonne, Kamath, Steinke 2020, "The
Discrete Gaussian for Differential Privacy", definitions 1 and 27). Floating-point noise leaks the
data through its low bits (Mironov 2012), so the draws here are exact.

**Method.** Rejection from a table of buckets (`noise_tables`). A candidate takes three 64-bit
words: one picks the bucket through an integer alias table, and the sign; one the place in the
bucket, whose width is a power of two; one is the uniform u of the acceptance test. Zero with a
minus sign is rejected, so zero is not counted twice.

**Why it is exact.** The output has the exact distribution, given uniform words:

1. Bucket, sign and place are integer operations on uniform bits, with exact probabilities.
2. Acceptance means u < p for a uniform real u, of which a word is the first 64 bits, and
   p = C exp(-g(x)) / c_j. If the word is below `surely[j]`, an integer at most 2^64 times the
   least p of the bucket, then u < p. Nothing is rounded.
3. Otherwise p is computed in doubles. Its error is below 2^-44: the coefficient is the nearest
   double, offset and 2·base + offset are integers below 2^53, so the argument t <= 0.6 carries
   at most five roundings; `_exp_minus` adds at most 2^-47; the table's scale is below 1 and right
   to 2^-52. u is known to within 2^-53. The comparison is used only if it holds with a margin of
   2^-40, sixteen times that sum.
4. In the remaining cases, one draw in 2^39 of those, and for the tail, `noise_exact` compares u
   with rational bounds of p and draws further bits of u until the comparison is decided.

So no probability is approximated; the tests lower the tail's edge and widen the guard until these
paths carry most draws, and the distribution stays. What remains is the cipher: that ChaCha20's
output is computationally indistinguishable from uniform.

Time depends on the values drawn; whoever can time single draws learns something about them. Draw
noise where nobody unauthorised holds the clock.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from tacit.errors import PrivacyError
from tacit.privacy.noise_exact import Bounds, bernoulli, exp_minus, geometric
from tacit.privacy.noise_kernels import CLOSE, fill
from tacit.privacy.noise_tables import Envelope, Target, envelope
from tacit.privacy.randomness import Randomness

GUARD = 2.0**-40
_ROWS = 1 << 15  # candidates of one pass: 768 kB of words, which stay in the cache
_LARGEST = 1 << 40

Rational = int | Fraction | float


def discrete_gaussian(
    variance: Rational, size: int, randomness: Randomness
) -> npt.NDArray[np.int64]:
    """`size` independent exact draws of N_Z(0, variance); shape (size,), int64.

    `variance` is the parameter σ², a rational; a float means the rational it is. The distribution's
    variance is at most σ² (CKS 2020, corollary 9) and, from σ = 1 on, equal to it but for less
    than a part in a million.
    Raises PrivacyError T510 unless 2^-20 <= σ² <= 2^80.
    """
    parameter = _positive(variance, "variance", _LARGEST**2)
    return _draw(envelope(Target(1 / (2 * parameter), Fraction(0))), size, randomness)


def discrete_laplace(scale: Rational, size: int, randomness: Randomness) -> npt.NDArray[np.int64]:
    """`size` independent exact draws of Lap_Z(scale); shape (size,), int64.

    Sensitivity Δ and scale Δ/ε give pure ε. Raises PrivacyError T510 unless 2^-20 <= t <= 2^40.
    """
    parameter = _positive(scale, "scale", _LARGEST)
    return _draw(envelope(Target(Fraction(0), 1 / parameter)), size, randomness)


def laplace_variance(scale: Rational) -> float:
    """The variance of Lap_Z(scale): 2r / (1 - r)² with r = exp(-1 / scale)."""
    slope = 1 / float(scale)
    return 2 * math.exp(-slope) / math.expm1(-slope) ** 2


def _draw(
    tables: Envelope, size: int, randomness: Randomness, guard: float = GUARD
) -> npt.NDArray[np.int64]:
    out = np.empty(size, np.int64)
    filled = 0
    while filled < size:
        rows = min(_ROWS, int((size - filled) / tables.rate * 1.02) + 16)
        words = randomness.uint64(3 * rows).reshape(rows, 3)
        row = 0
        while row < rows and filled < size:
            row, filled, event, bucket = fill(
                words,
                row,
                out,
                filled,
                tables.alias_threshold,
                tables.alias_slot,
                tables.surely,
                tables.scale,
                tables.quad,
                tables.lin,
                tables.shift,
                guard,
            )
            if event:
                # Decided here and in place: to decide later would order draws by their value.
                value = _decide(tables, words[row], bucket, event, randomness)
                row += 1
                if value is not None:
                    out[filled] = value
                    filled += 1
    return out


def _decide(
    tables: Envelope,
    words: npt.NDArray[np.uint64],
    bucket: int,
    event: int,
    randomness: Randomness,
) -> int | None:
    """Exactly what the kernel could not: the value of one candidate, or None for a rejection."""
    negative = bool(int(words[0]) & 1)
    if event == CLOSE:
        offset = int(words[1]) >> (64 - tables.shift) if tables.shift else 0
        x = (bucket << tables.shift) + offset
        probability = _ratio(tables, x, tables.weights[bucket])
        accept = bernoulli(probability, randomness, known=int(words[2]), bits=64)
    else:
        x, accept = _tail(tables, randomness)
    if not accept or (negative and x == 0):
        return None
    return -x if negative else x


def _tail(tables: Envelope, randomness: Randomness) -> tuple[int, bool]:
    """A candidate x >= L: L plus a geometric, thinned by how far g lies above its secant."""
    target, edge = tables.target, tables.edge
    slope = target.exponent(edge + 1) - target.exponent(edge)
    step = geometric(exp_minus(slope), randomness)
    above = target.exponent(edge + step) - target.exponent(edge) - slope * step
    inner = _ratio(tables, edge, tables.weights[-1])

    def covered(bits: int) -> tuple[Fraction, Fraction]:
        # C exp(-g(L)) / (c_B w (1 - r))
        low, high = inner(bits)
        ratio_low, ratio_high = exp_minus(slope)(bits + 64)
        width = 1 << tables.shift
        return low / (1 - ratio_low) / width, high / (1 - ratio_high) / width

    accept = bernoulli(covered, randomness) and bernoulli(exp_minus(above), randomness)
    return edge + step, accept


def _ratio(tables: Envelope, x: int, weight: int) -> Bounds:
    """C exp(-g(x)) / weight."""
    factor = tables.mass / weight
    exponential = exp_minus(tables.target.exponent(x))

    def bounds(bits: int) -> tuple[Fraction, Fraction]:
        low, high = exponential(bits + 64)
        return factor * low, factor * high

    return bounds


def _positive(value: Rational, what: str, largest: int) -> Fraction:
    if not (isinstance(value, float) and not math.isfinite(value)):
        parameter = Fraction(value)
        if Fraction(1, 1 << 20) <= parameter <= largest:
            return parameter
    raise PrivacyError(
        f"{value} is not a noise {what} that can be drawn",
        code="T510",
        fix=f"use a rational number from 2^-20 to 2^{largest.bit_length() - 1}",
    )
