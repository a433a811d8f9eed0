"""Compiled loops for sums of squares about the mean, and for sums that decay.

As in ``kernels``, ranges are merged from blocks of 16 rows and a binary tree over them, from left
to right; nothing is subtracted from a running total.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tacit.aggregates.kernels import BLOCK


@njit(cache=True, nogil=True)
def _join(left: Any, count: float, mean: float, spread: float) -> None:
    """Adds a part to ``left``: count, mean, squares about the mean (Chan, Golub, LeVeque 1979)."""
    if count == 0:
        return
    total = left[0] + count
    away = mean - left[1]
    # In this order: the square alone may be an infinity, and nothing times that is no number.
    left[2] += spread + away * (left[0] / total) * away * count
    left[1] += away * (count / total)
    left[0] = total


@njit(cache=True, nogil=True)
def _number(value: Any) -> float:
    """A float; an infinity has no distance from any mean, so it leaves no result."""
    return np.nan if np.isinf(value) else value


@njit(cache=True, nogil=True)
def build_moments(values: Any, mask: Any) -> Any:
    """Count, mean and squares of each block, and upward, as in ``kernels.build_tree``."""
    size = 1
    while size * BLOCK < values.size:
        size *= 2
    tree = np.zeros((2 * size, 3), np.float64)
    for i in range(values.size):
        if mask[i]:
            _join(tree[size + i // BLOCK], 1.0, _number(values[i]), 0.0)
    for node in range(size - 1, 0, -1):
        left, right = tree[2 * node], tree[2 * node + 1]
        tree[node, 0], tree[node, 1], tree[node, 2] = left[0], left[1], left[2]
        _join(tree[node], right[0], right[1], right[2])
    return tree


@njit(cache=True, nogil=True)
def query_moments(values: Any, mask: Any, tree: Any, a: Any, b: Any) -> Any:
    """The variance of each range; NaN where nothing is in it, or an infinity."""
    result = np.empty(a.size, np.float64)
    found = np.empty(3, np.float64)
    size = tree.shape[0] // 2
    for q in range(a.size):
        low, high = a[q], b[q]
        found[:] = 0.0
        if high - low > 2 * BLOCK:
            while low % BLOCK:
                if mask[low]:
                    _join(found, 1.0, _number(values[low]), 0.0)
                low += 1
            while high % BLOCK:
                high -= 1
                if mask[high]:
                    _join(found, 1.0, _number(values[high]), 0.0)
            left, right = size + low // BLOCK, size + high // BLOCK
            while left < right:
                if left & 1:
                    _join(found, tree[left, 0], tree[left, 1], tree[left, 2])
                    left += 1
                if right & 1:
                    right -= 1
                    _join(found, tree[right, 0], tree[right, 1], tree[right, 2])
                left >>= 1
                right >>= 1
        else:
            for i in range(low, high):
                if mask[i]:
                    _join(found, 1.0, _number(values[i]), 0.0)
        result[q] = found[2] / found[0] if found[0] > 0 else np.nan
    return result


@njit(cache=True, nogil=True)
def build_decayed(values: Any, at: Any, half: int) -> Any:
    """The sum of each block, and upward, each as of the time of the block's last row."""
    size = 1
    while size * BLOCK < values.size:
        size *= 2
    tree = np.zeros(2 * size, np.float64)
    for leaf in range(size):
        low, high = leaf * BLOCK, min((leaf + 1) * BLOCK, values.size)
        for i in range(low, high):
            tree[size + leaf] += aged(values[i], at[i], at[high - 1], half)
    level, width = size, BLOCK
    while level > 1:
        level //= 2
        for node in range(level, 2 * level):
            middle = (node - level) * 2 * width + width
            end = min(middle + width, values.size)
            tree[node] = tree[2 * node]
            if middle < values.size:
                tree[node] = tree[2 * node + 1] + aged(
                    tree[2 * node], at[middle - 1], at[end - 1], half
                )
        width *= 2
    return tree


@njit(cache=True, nogil=True)
def aged(value: float, then: int, now: int, half: int) -> float:
    """What is left of a value. Floats tell microseconds apart for 285 years about 1970."""
    if value == 0.0 or np.isinf(value):
        return value
    return value * 2.0 ** ((np.float64(then) - np.float64(now)) / half)


@njit(cache=True, nogil=True)
def query_decayed(values: Any, at: Any, tree: Any, half: int, a: Any, b: Any, times: Any) -> Any:
    """The decayed sum of each range, as of its query's time."""
    result = np.zeros(a.size, np.float64)
    size = tree.size // 2
    for q in range(a.size):
        low, high, now = a[q], b[q], times[q]
        found = 0.0
        while low < high and (low % BLOCK or high - low < BLOCK):
            found += aged(values[low], at[low], now, half)
            low += 1
        while low < high and high % BLOCK:
            high -= 1
            found += aged(values[high], at[high], now, half)
        left, right, width = size + low // BLOCK, size + high // BLOCK, BLOCK
        level = size
        while left < right:
            if left & 1:
                end = min((left - level + 1) * width, at.size)
                found += aged(tree[left], at[end - 1], now, half)
                left += 1
            if right & 1:
                right -= 1
                end = min((right - level + 1) * width, at.size)
                found += aged(tree[right], at[end - 1], now, half)
            left >>= 1
            right >>= 1
            level >>= 1
            width *= 2
        result[q] = found
    return result
