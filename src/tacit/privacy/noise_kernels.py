"""The compiled loop of the exact noise sampler. See `noise` for why its decisions are exact."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from tacit.privacy.noise_tables import THRESHOLD_BITS

TAIL = 1  # the candidate lies in the tail
CLOSE = 2  # the candidate's uniform is too close to its acceptance probability for doubles

_SLOT_SHIFT = np.uint64(THRESHOLD_BITS + 1)
_THRESHOLD_MASK = np.uint64((1 << THRESHOLD_BITS) - 1)
_ONE = np.uint64(1)
_ELEVEN = np.uint64(11)
_ULP = 2.0**-53


@njit(cache=True)
def fill(
    words: npt.NDArray[np.uint64],
    row: int,
    out: npt.NDArray[np.int64],
    filled: int,
    alias_threshold: npt.NDArray[np.uint64],
    alias_slot: npt.NDArray[np.int64],
    surely: npt.NDArray[np.uint64],
    scale: npt.NDArray[np.float64],
    quad: float,
    lin: float,
    shift: int,
    guard: float,
) -> tuple[int, int, int, int]:
    """Turn rows of `words` (m, 3) into draws, from `row` on, until `out` is full or rows run out.

    Returns (row, filled, event, bucket): event 0 when done; TAIL or CLOSE when row `row` needs an
    exact decision for that bucket.
    """
    buckets = surely.shape[0]
    down = np.uint64(64 - shift)
    while row < words.shape[0] and filled < out.shape[0]:
        first = words[row, 0]
        slot = np.int64(first >> _SLOT_SHIFT)
        bucket = slot
        if ((first >> _ONE) & _THRESHOLD_MASK) >= alias_threshold[slot]:
            bucket = alias_slot[slot]
        if bucket == buckets:
            return row, filled, TAIL, int(bucket)
        offset = np.int64(words[row, 1] >> down) if shift > 0 else np.int64(0)
        base = bucket << shift
        x = base + offset
        negative = np.int64(first & _ONE)
        uniform = words[row, 2]
        if uniform >= surely[bucket]:
            t = np.float64(offset) * (np.float64(2 * base + offset) * quad + lin)
            p = scale[bucket] * _exp_minus(t)
            u = np.float64(uniform >> _ELEVEN) * _ULP
            if u - guard <= p <= u + _ULP + guard:
                return row, filled, CLOSE, int(bucket)
            accept = u < p
        else:
            accept = True
        row += 1
        if accept and not (negative and x == 0):
            out[filled] = -x if negative else x
            filled += 1
    return row, filled, 0, 0


@njit(cache=True)
def _exp_minus(t: float) -> float:
    """exp(-t) for 0 <= t <= 0.6 by its Taylor polynomial, in plain double arithmetic.

    Truncation is below 0.6^15 / 15! < 2^-51. Horner's 14 steps round by at most 28 half-ulps of
    values below 2, so the error is below 2^-47 in all.
    """
    p = 1.0
    for k in range(14, 0, -1):
        p = 1.0 - t * p / k
    return p
