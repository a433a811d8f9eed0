"""A real vector of l2 norm at most 1 as integers of l2 norm at most `scale`, with no slack.

Whatever comes in, what goes out satisfies Σ w² <= scale², an inequality between integers that is
*checked* on the integers themselves (they are below 2^17, so the sum of 2^28 squares fits in 63
bits). A vector that fails is shrunk and rounded again. So floating-point rounding anywhere before
the check can cost accuracy but never sensitivity.

Rounding is random: |y| goes up with probability equal to its fraction, so the integers are
unbiased and the errors of many devices cancel. Rounding towards zero would instead shrink every
coordinate of every device by half a unit, which for large populations is far more than the noise.
The chance is quantised at 2^-32; the bias of one device's coordinate is below 2^-32 units.
Kairouz, Liu, Steinke 2021, section 4.1, bound the norm of such a rounding by trying again; here,
too, a vector that came out too long is tried again, each time a little shorter.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from tacit.errors import PrivacyError
from tacit.privacy.randomness import Randomness

LARGEST_SCALE = 1 << 16
LARGEST_LENGTH = 1 << 28


def quantise(
    vector: npt.ArrayLike, length: int, scale: int, randomness: Randomness
) -> npt.NDArray[np.int64]:
    """Integers (length,) with l2 norm at most `scale`, near `scale` times the bounded vector.

    A vector longer than 1 is scaled down to 1. Raises PrivacyError T533 for another shape than
    (length,), for another type than real numbers, and for NaN or infinities.
    """
    real = _real(vector, length)
    peak = float(np.max(np.abs(real), initial=0.0))
    if not np.isfinite(peak):
        raise PrivacyError(
            "a device's vector holds NaN or an infinity",
            code="T533",
            fix="replace missing values before the release",
        )
    out = np.zeros(length, np.int64)
    if peak == 0.0:
        return out
    unit = real / peak  # in [-1, 1]: no square overflows, and the greatest does not underflow
    norm = float(np.sqrt(unit @ unit))  # at least 1
    factor = min(peak, 1.0 / norm) * scale
    while True:
        squares = _round(unit, factor, randomness.uint32(length), out)
        if squares <= scale * scale:
            return out
        # Enough for the length just seen, and a little more so that the loop ends.
        factor *= min(scale / squares**0.5, 1.0) * (1.0 - 2.0**-20)


def _real(vector: npt.ArrayLike, length: int) -> npt.NDArray[np.float64]:
    raw = np.asarray(vector)
    if raw.shape != (length,) or raw.dtype.kind not in "fiu" or raw.dtype.itemsize > 8:
        raise PrivacyError(
            f"a device's vector has shape {raw.shape} and type {raw.dtype}",
            code="T533",
            fix=f"pass {length} real numbers in one dimension",
        )
    return raw.astype(np.float64)


@njit(cache=True)
def _round(
    unit: npt.NDArray[np.float64],
    factor: float,
    dither: npt.NDArray[np.uint32],
    out: npt.NDArray[np.int64],
) -> int:
    """Randomly rounded `unit * factor` into `out`; the sum of squares."""
    squares = 0
    for i in range(unit.shape[0]):
        y = abs(unit[i]) * factor
        w = np.int64(y + np.float64(dither[i]) * 2.0**-32)
        squares += int(w * w)
        out[i] = -w if unit[i] < 0.0 else w
    return squares
