"""Compiled loops for maps: rows grouped by (key, by), and the groups of each range."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tacit.aggregates.kernels import BLOCK, at_least
from tacit.aggregates.sorting import sort_times


@njit(cache=True, nogil=True)
def link_groups(keys: Any, codes: Any, order: Any) -> Any:
    """Of rows grouped by (key, code): each row's place, its group's end, its predecessor or -1.

    ``order`` lists the rows group after group, by time within each.
    """
    place = np.empty(order.size, np.int32)
    end = np.empty(order.size, np.int32)
    before = np.empty(order.size, np.int32)
    before[:] = -1
    start = 0
    for p in range(order.size):
        row = order[p]
        place[row] = p
        last = p + 1 == order.size
        if not last:
            following = order[p + 1]
            if keys[following] == keys[row] and codes[following] == codes[row]:
                before[following] = row
                continue
        for i in range(start, p + 1):
            end[i] = p + 1
        start = p + 1
    return place, end, before


@njit(cache=True, nogil=True)
def _next_below(values: Any, tree: Any, i: int, end: int, bound: int) -> int:
    """The first position from i on whose value is below the bound; end when there is none."""
    while i < end and i % BLOCK:
        if values[i] < bound:
            return i
        i += 1
    if i >= end:
        return end
    size = tree.size // 2
    node = size + i // BLOCK
    while tree[node] >= bound:
        while node & 1:
            node >>= 1
        if node == 0:  # it was the last of its level: nothing lies to the right
            return end
        node += 1
    while node < size:
        node *= 2
        if tree[node] >= bound:
            node += 1
    i = (node - size) * BLOCK
    while i < end and values[i] >= bound:
        i += 1
    return i


@njit(cache=True, nogil=True)
def expand_groups(
    before: Any, tree: Any, place: Any, end: Any, at: Any, codes: Any, a: Any, b: Any, times: Any
) -> Any:
    """For each range of rows, the groups with a row in it, by ascending code.

    A group shows itself by the row whose predecessor lies before the range. Returns how many groups
    each query has (as offsets), and of each: its code and its range in the grouped order.
    """
    offsets = np.zeros(a.size + 1, np.int64)
    found = np.empty(max(16, a.size), np.int32)
    total = 0
    for q in range(a.size):
        i = _next_below(before, tree, a[q], b[q], a[q]) if a[q] < b[q] else b[q]
        while i < b[q]:
            if total == found.size:
                grown = np.empty(2 * total, np.int32)
                for j in range(total):
                    grown[j] = found[j]
                found = grown
            found[total] = i
            total += 1
            i = _next_below(before, tree, i + 1, b[q], a[q])
        offsets[q + 1] = total
    code = np.empty(total, np.int64)
    low = np.empty(total, np.int64)
    high = np.empty(total, np.int64)
    for q in range(a.size):
        rows = found[offsets[q] : offsets[q + 1]]
        by = np.empty(rows.size, np.int64)
        for j in range(rows.size):
            by[j] = codes[rows[j]]
        sort_times(by, rows)
        for j in range(rows.size):
            out = offsets[q] + j
            code[out] = codes[rows[j]]
            low[out] = place[rows[j]]
            high[out] = at_least(at, low[out], np.int64(end[low[out]]), times[q])
    return offsets, code, low, high
