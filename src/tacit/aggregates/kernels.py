"""Compiled loops over rows that are sorted by (key, time).

Rows of one key lie together, in the order of time; ``offsets[k]:offsets[k + 1]`` are those of key
``k``. A query is a half-open range ``[a, b)`` of positions. Nothing here subtracts floats: sums,
minima and maxima of a range are merged from blocks of 16 rows and a binary tree over the blocks, so
that neither a huge value nor an infinity outside the range can touch its result, and the cost of a
query grows with the logarithm of its length, whatever the skew of the keys. Ints and counts, which
are exact, use prefix sums.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tacit.aggregates.sorting import sort_times

SUM, MIN, MAX = 0, 1, 2
BLOCK = 16
_LEAST = np.iinfo(np.int64).min


@njit(cache=True, nogil=True)
def bucket_order(codes: Any, size: int) -> Any:
    """A stable counting sort: the order of the rows, and where each code starts in it."""
    offsets = np.zeros(size + 1, np.int64)
    for code in codes:
        offsets[code + 1] += 1
    for code in range(size):
        offsets[code + 1] += offsets[code]
    following = offsets[:-1].copy()
    order = np.empty(codes.size, np.int32)
    for row in range(codes.size):
        code = codes[row]
        order[following[code]] = row
        following[code] += 1
    return order, offsets


@njit(cache=True, nogil=True)
def bounds(at: Any, offsets: Any, keys: Any, times: Any, length: int, hop: int) -> Any:
    """``[a, b)`` of each query: its key's rows at ``time - length`` or later and before ``time``.

    Queries come sorted by (key, time); a key of ``offsets.size - 1`` has no rows. A length below
    zero reaches back for ever; a hop of zero is none, else the start is rounded down to a multiple.
    """
    a = np.zeros(keys.size, np.int64)
    b = np.zeros(keys.size, np.int64)
    last, low, high = -1, 0, 0
    for q in range(keys.size):
        key = keys[q]
        if key >= offsets.size - 1:
            continue
        if key != last:
            last, low, high = key, offsets[key], offsets[key]
        end = offsets[key + 1]
        high = gallop(at, high, end, times[q])
        if length >= 0:
            start = times[q] - length if times[q] >= _LEAST + length else _LEAST
            if hop > 0:
                late = start % hop  # rounds down, as Python's
                start = start - late if start >= _LEAST + late else _LEAST
            low = gallop(at, low, high, start)
        a[q], b[q] = low, high
    return a, b


@njit(cache=True, nogil=True)
def gallop(at: Any, low: int, high: int, time: int) -> Any:
    """The same as ``at_least``, for a position that is probably near ``low``."""
    step = 1
    while low + step < high and at[low + step] < time:
        low += step
        step *= 2
    return at_least(at, low, min(low + step, high), time)


@njit(cache=True, nogil=True)
def at_least(at: Any, low: Any, high: Any, time: int) -> Any:
    """The first position in [low, high) whose time is at least ``time``; high when none is."""
    while low < high:
        middle = (low + high) >> 1
        if at[middle] < time:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def prefix_counts(mask: Any) -> Any:
    """How many are set before each position."""
    total = np.zeros(mask.size + 1, np.int32)
    for i in range(mask.size):
        total[i + 1] = total[i] + mask[i]
    return total


@njit(cache=True, nogil=True)
def prefix_sums(values: Any, shift: int, mask: int) -> Any:
    """Sums of ``(value >> shift) & mask`` before each position, wrapping at 64 bits."""
    total = np.zeros(values.size + 1, np.int64)
    for i in range(values.size):
        total[i + 1] = total[i] + ((values[i] >> shift) & mask)
    return total


@njit(cache=True, nogil=True)
def _combine(op: int, left: Any, right: Any) -> Any:
    if op == SUM:
        return left + right
    if op == MIN:
        return min(left, right)
    return max(left, right)


@njit(cache=True, nogil=True)
def build_tree(values: Any, op: int, unit: Any) -> Any:
    """The aggregate of each block of 16, and of each pair of them, upward.

    Leaves start at half the size, a power of two; node i covers nodes 2i and 2i + 1.
    """
    size = 1
    while size * BLOCK < values.size:
        size *= 2
    tree = np.empty(2 * size, values.dtype)
    for node in range(2 * size):
        tree[node] = unit
    for i in range(values.size):
        leaf = size + i // BLOCK
        tree[leaf] = _combine(op, tree[leaf], values[i])
    for node in range(size - 1, 0, -1):
        tree[node] = _combine(op, tree[2 * node], tree[2 * node + 1])
    return tree


@njit(cache=True, nogil=True)
def query_tree(values: Any, tree: Any, op: int, unit: Any, a: Any, b: Any) -> Any:
    """The aggregate of each range."""
    result = np.empty(a.size, values.dtype)
    size = tree.size // 2
    for q in range(a.size):
        low, high = a[q], b[q]
        found = unit
        if high - low > 2 * BLOCK:
            while low % BLOCK:
                found = _combine(op, found, values[low])
                low += 1
            while high % BLOCK:
                high -= 1
                found = _combine(op, found, values[high])
            left, right = size + low // BLOCK, size + high // BLOCK
            while left < right:
                if left & 1:
                    found = _combine(op, found, tree[left])
                    left += 1
                if right & 1:
                    right -= 1
                    found = _combine(op, found, tree[right])
                left >>= 1
                right >>= 1
        else:
            for i in range(low, high):
                found = _combine(op, found, values[i])
        result[q] = found
    return result


@njit(cache=True, nogil=True)
def last_positions(at: Any, ranks: Any, mask: Any, offsets: Any) -> Any:
    """At each position, where the greatest (time, rank) of its key up to there is; -1 for none."""
    found = np.empty(at.size, np.int32)
    for key in range(offsets.size - 1):
        best = -1
        for i in range(offsets[key], offsets[key + 1]):
            if mask[i] and (best < 0 or at[i] > at[best] or ranks[i] > ranks[best]):
                best = i
            found[i] = best
    return found


@njit(cache=True, nogil=True)
def first_positions(at: Any, ranks: Any, mask: Any, offsets: Any) -> Any:
    """At each position, where the least (time, rank) of its key from there on is; -1 for none."""
    found = np.empty(at.size, np.int32)
    for key in range(offsets.size - 1):
        best = -1
        for i in range(offsets[key + 1] - 1, offsets[key] - 1, -1):
            if mask[i] and (best < 0 or at[i] < at[best] or ranks[i] < ranks[best]):
                best = i
            found[i] = best
    return found


@njit(cache=True, nogil=True)
def count_distinct(codes: Any, mask: Any, size: int, a: Any, b: Any) -> Any:
    """Distinct codes of each range. Ranges come with both ends ascending; empty ones anywhere."""
    result = np.zeros(a.size, np.int64)
    seen = np.zeros(size, np.int32)
    low, high, distinct = 0, 0, 0
    for q in range(a.size):
        if a[q] == b[q]:
            continue
        for i in range(low, min(a[q], high)):
            if mask[i]:
                seen[codes[i]] -= 1
                distinct -= seen[codes[i]] == 0
        low = a[q]
        high = max(high, low)
        for i in range(high, b[q]):
            if mask[i]:
                distinct += seen[codes[i]] == 0
                seen[codes[i]] += 1
        high = b[q]
        result[q] = distinct
    return result


@njit(cache=True, nogil=True)
def unordered(a: Any, b: Any) -> bool:
    """Whether the ranges that are not empty do not ascend at both ends."""
    low, high = 0, 0
    for q in range(a.size):
        if a[q] < b[q]:
            if a[q] < low or b[q] < high:
                return True
            low, high = a[q], b[q]
    return False


@njit(cache=True, nogil=True)
def tied_order(at: Any, ranks: Any, offsets: Any) -> Any:
    """The positions by (key, time, rank): rows of one moment come in the order of their ranks,
    which are ints."""
    order, by = np.empty(at.size, np.int32), np.empty(at.size, np.int64)
    for i in range(at.size):
        order[i], by[i] = i, ranks[i]
    for key in range(offsets.size - 1):
        start = offsets[key]
        for i in range(offsets[key] + 1, offsets[key + 1] + 1):
            if i == offsets[key + 1] or at[i] != at[start]:
                if i - start > 1:
                    sort_times(by[start:i], order[start:i])
                start = i
    return order
