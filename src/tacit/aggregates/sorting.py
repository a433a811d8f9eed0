"""Sorting rows by (key, time): first into parts that fit the cache, then each part by itself.

Parts are ranges of key numbers with about as many rows each. Within a part a counting sort brings
the rows of a key together in the order in which they came, which mostly is that of time: rows that
are not are taken out, sorted and merged back, so that sorting costs what disorder there is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_SMALL = 48


@njit(cache=True, nogil=True)
def count_ids(ids: Any, counts: Any) -> None:
    """Adds how often each number occurs; -1 is none."""
    for i in range(ids.size):
        if ids[i] >= 0:
            counts[ids[i]] += 1


@njit(cache=True, nogil=True)
def split(weights: Any, target: int) -> Any:
    """The first key of each part, and at the end the number of keys."""
    starts = np.zeros(weights.size + 1, np.int64)
    parts, total = min(weights.size, 1), 0
    for key in range(weights.size):
        if total > 0 and total + weights[key] > target:
            starts[parts] = key
            parts += 1
            total = 0
        total += weights[key]
    starts[parts] = weights.size
    return starts[: parts + 1].copy()


@njit(cache=True, nogil=True)
def scatter(
    ids: Any, at: Any, part: Any, first: int, following: Any, keys: Any, times: Any, to: Any
) -> None:
    """Key and time of the rows of each part together, in the order in which they came.

    ``part`` is that of each key. Of the parts from ``first`` on ``following`` says where the next
    row goes; rows of others are left out. ``to`` becomes where each row went, or -1.
    """
    for row in range(ids.size):
        key = ids[row]
        to[row] = -1
        if key >= 0:
            mine = part[key] - first
            if 0 <= mine < following.size:
                place = following[mine]
                following[mine] = place + 1
                keys[place] = key
                times[place] = at[row]
                to[row] = place


@njit(cache=True, nogil=True)
def move(values: Any, to: Any, out: Any) -> None:
    """Another column of those rows."""
    for row in range(to.size):
        if to[row] >= 0:
            out[to[row]] = values[row]


@njit(cache=True, nogil=True)
def sort_rows(keys: Any, at: Any, low: int, size: int) -> Any:
    """One part by (key, time): the order of its rows, their times, and where each key starts.

    Its keys are ``low`` up to ``low + size``.
    """
    offsets = np.zeros(size + 1, np.int64)
    for key in keys:
        offsets[key - low + 1] += 1
    for key in range(size):
        offsets[key + 1] += offsets[key]
    following = offsets[:-1].copy()
    order = np.empty(keys.size, np.int32)
    times = np.empty(keys.size, np.int64)
    for i in range(keys.size):
        place = following[keys[i] - low]
        following[keys[i] - low] = place + 1
        order[place] = i
        times[place] = at[i]
    for key in range(size):
        sort_times(times[offsets[key] : offsets[key + 1]], order[offsets[key] : offsets[key + 1]])
    return order, times, offsets


@njit(cache=True, nogil=True)
def sort_times(times: Any, order: Any) -> None:
    """Sorts both by time, in place."""
    late = 0
    latest = times[0] if times.size else 0
    for i in range(times.size):
        if times[i] < latest:
            late += 1
        else:
            latest = times[i]
    if not late:
        return
    if times.size <= _SMALL:
        _insert(times, order)
        return
    late_times, late_order = np.empty(late, np.int64), np.empty(late, np.int32)
    kept = late = 0
    latest = np.int64(-(2**63))
    for i in range(times.size):
        if times[i] < latest:
            late_times[late], late_order[late] = times[i], order[i]
            late += 1
        else:
            latest = times[i]
            times[kept], order[kept] = times[i], order[i]
            kept += 1
    if late <= _SMALL:
        _insert(late_times, late_order)
    else:
        _radix(late_times, late_order)
    place = times.size - 1  # merge from the end, where there is room
    kept, late = kept - 1, late - 1
    while late >= 0:
        if kept >= 0 and times[kept] > late_times[late]:
            times[place], order[place] = times[kept], order[kept]
            kept -= 1
        else:
            times[place], order[place] = late_times[late], late_order[late]
            late -= 1
        place -= 1


@njit(cache=True, nogil=True)
def _insert(times: Any, order: Any) -> None:
    for i in range(1, times.size):
        time, row = times[i], order[i]
        j = i - 1
        while j >= 0 and times[j] > time:
            times[j + 1], order[j + 1] = times[j], order[j]
            j -= 1
        times[j + 1], order[j + 1] = time, row


@njit(cache=True, nogil=True)
def _radix(times: Any, order: Any) -> None:
    """By eight bits at a time, or eleven for many; as many rounds as the span of times needs."""
    least = most = times[0]
    for time in times:
        least, most = min(least, time), max(most, time)
    span = np.uint64(most) - np.uint64(least)  # wraps to the true distance
    bits = 11 if times.size > 4096 else 8
    mask = (1 << bits) - 1
    shift = 0
    more_times, more_order = np.empty(times.size, np.int64), np.empty(times.size, np.int32)
    while shift < 64 and (span >> np.uint64(shift)) > 0:
        starts = np.zeros(mask + 2, np.int64)
        for i in range(times.size):
            digit = np.int64((np.uint64(times[i]) - np.uint64(least)) >> np.uint64(shift)) & mask
            starts[digit + 1] += 1
        for value in range(mask + 1):
            starts[value + 1] += starts[value]
        for i in range(times.size):
            digit = np.int64((np.uint64(times[i]) - np.uint64(least)) >> np.uint64(shift)) & mask
            more_times[starts[digit]], more_order[starts[digit]] = times[i], order[i]
            starts[digit] += 1
        for i in range(times.size):
            times[i], order[i] = more_times[i], more_order[i]
        shift += bits
