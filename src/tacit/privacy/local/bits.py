"""Bit maps in reports: packing them, checking their padding, and counting ones column by column."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Bytes = npt.NDArray[np.uint8]


def pack_bits(bits: npt.NDArray[np.bool_]) -> Bytes:
    """Rows of bits (n, width) as bytes (n, ⌈width / 8⌉); bit i is bit i mod 8 of byte i div 8."""
    return np.packbits(bits, axis=1, bitorder="little")


def padded(rows: Bytes, width: int) -> npt.NDArray[np.bool_]:
    """Which rows have only zeros past their first `width` bits; shape (n,)."""
    spare = 8 * rows.shape[1] - width
    return rows[:, -1] >> (8 - spare) == 0 if spare else np.ones(len(rows), np.bool_)


def ones(rows: Bytes) -> npt.NDArray[np.int64]:
    """The number of ones in each row; shape (n,)."""
    counts: npt.NDArray[np.int64] = np.bitwise_count(rows).sum(axis=1, dtype=np.int64)
    return counts


def column_sums(rows: Bytes, width: int) -> npt.NDArray[np.int64]:
    """How many rows have a one in each of the first `width` bits; shape (width,)."""
    own = np.ascontiguousarray(rows).view()
    own.flags.writeable = False  # one kernel for bytes and arrays
    sums = _sums(own)
    return np.ascontiguousarray(sums.T).reshape(-1)[:width]


@njit(cache=True)
def _sums(rows: Bytes) -> npt.NDArray[np.int64]:
    """Sums by bit of a byte, and byte: (8, bytes). Counts of 255 rows fit a byte, so that the inner
    loop runs over bytes side by side."""
    n, width = rows.shape
    total = np.zeros((8, width), np.int64)
    some = np.zeros((8, width), np.uint8)
    for start in range(0, n, 255):
        some[:] = 0
        for index in range(start, min(start + 255, n)):
            row = rows[index]
            for bit in range(8):
                into = some[bit]
                for place in range(width):
                    into[place] += (row[place] >> bit) & 1
        for bit in range(8):
            for place in range(width):
                total[bit, place] += some[bit, place]
    return total
