"""Rows that become known after they happen: which answers they touch, and what was known then.

A row happens at ``e`` and is known from ``k >= e`` on. What could be served at ``t`` of a window
``[t - w, t)`` are the rows with ``t - w <= e`` and ``k < t``. Two orders of the rows answer such a
question by one range each, unless a late row stands in the way:

- by ``e``, where no row of the window was *pending*: happened before ``t``, known only later;
- by ``k``, where no row *trails*: happened before ``t - w``, known within the window.

All arrays of rows are sorted by (key, the order's time); ``offsets`` says where each key begins.
A window of length -1 reaches back for ever. Times are int64 µs and may be any.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tacit.aggregates.kernels import at_least

FAR = 2**62
_LEAST = np.iinfo(np.int64).min


@njit(cache=True, nogil=True)
def _floor(time: int, length: Any) -> int:
    """Where a window begins."""
    return _LEAST if length < 0 or time < _LEAST + length else time - length


@njit(cache=True, nogil=True)
def pending(e: Any, k: Any, offsets: Any, keys: Any, times: Any, length: int) -> Any:
    """How long before each query's time the first row of its window happened that was not known
    yet, `FAR` at most; 0 where all were. Late rows suffice."""
    found = np.zeros(keys.size, np.int64)
    latest = np.empty(e.size, np.int64)  # the last k of the key so far: none before it is later
    for key in range(offsets.size - 1):
        top = _LEAST
        for i in range(offsets[key], offsets[key + 1]):
            top = max(top, k[i])
            latest[i] = top
    for query in range(keys.size):
        if keys[query] < 0:
            continue
        low, time = offsets[keys[query]], times[query]
        floor = _floor(time, length)
        i = at_least(e, low, offsets[keys[query] + 1], time) - 1
        while i >= low and e[i] >= floor and latest[i] >= time:
            if k[i] >= time:
                found[query] = FAR if e[i] < _floor(time, np.int64(FAR)) else time - e[i]
            i -= 1
    return found


@njit(cache=True, nogil=True)
def trailing(e: Any, k: Any, offsets: Any, keys: Any, times: Any, length: int) -> Any:
    """Whether a row known within each query's window happened before it. Late rows suffice."""
    found = np.zeros(keys.size, np.bool_)
    if length < 0:
        return found
    earliest = np.empty(e.size, np.int64)  # the first e of the key from here on
    for key in range(offsets.size - 1):
        least = np.iinfo(np.int64).max
        for i in range(offsets[key + 1] - 1, offsets[key] - 1, -1):
            least = min(least, e[i])
            earliest[i] = least
    for query in range(keys.size):
        if keys[query] < 0:
            continue
        high, time = offsets[keys[query] + 1], times[query]
        floor = _floor(time, length)
        i = at_least(k, offsets[keys[query]], high, floor)
        while i < high and k[i] < time and earliest[i] < floor:
            if e[i] < floor:
                found[query] = True
                break
            i += 1
    return found


@njit(cache=True, nogil=True)
def visible(k: Any, a: Any, b: Any, times: Any) -> Any:
    """How many rows of each range of positions were known at each query's time."""
    counts = np.zeros(a.size, np.int64)
    for query in range(a.size):
        for i in range(a[query], b[query]):
            counts[query] += k[i] < times[query]
    return counts


@njit(cache=True, nogil=True)
def copy_visible(k: Any, a: Any, b: Any, times: Any, out: Any, owner: Any) -> None:
    """Writes the positions of those rows, and the number of the query that each is for."""
    place = 0
    for query in range(a.size):
        for i in range(a[query], b[query]):
            if k[i] < times[query]:
                out[place] = i
                owner[place] = query
                place += 1
