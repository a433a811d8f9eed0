"""The most frequent values of sliding windows: a tournament over the values, by how often each is.

A leaf of the tree is a value; its number is its count above its code turned round, so that of
equally frequent values the least wins. A row that enters or leaves a window replays the games of
its value, up to the first that ends as it did. The k best come from the root downward: the winner
first, then the best of those who lost to it on its way, and so on. So a query costs O(k log k + k
log D) and a row O(log D) for D values, whatever the skew.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_CODE = np.int64(0xFFFFFFFF)


@njit(cache=True, nogil=True)
def _replay(tree: Any, leaf: int, change: Any) -> None:
    """Counts a value once more, or once less, and replays its games."""
    node = (tree.size >> 1) + leaf
    count = (tree[node] >> 32) + change
    tree[node] = (count << 32) | (_CODE - leaf) if count > 0 else 0
    while node > 1:
        node >>= 1
        best = max(tree[2 * node], tree[2 * node + 1])
        if tree[node] == best:
            return
        tree[node] = best


@njit(cache=True, nogil=True)
def _push(tree: Any, heap: Any, size: Any, node: Any) -> Any:
    if tree[node] == 0:
        return size
    place = size
    while place > 0:
        above = (place - 1) >> 1
        if tree[heap[above]] >= tree[node]:
            break
        heap[place] = heap[above]
        place = above
    heap[place] = node
    return size + 1


@njit(cache=True, nogil=True)
def _pop(tree: Any, heap: Any, size: int) -> int:
    """Takes the best out of the heap's top; the new size."""
    size -= 1
    node, place = heap[size], 0
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and tree[heap[below + 1]] > tree[heap[below]]:
            below += 1
        if tree[node] >= tree[heap[below]]:
            break
        heap[place] = heap[below]
        place = below
    heap[place] = node
    return size


@njit(cache=True, nogil=True)
def _best(tree: Any, heap: Any, k: int, out: Any, start: Any) -> int:
    """The codes of the k best, the best first, from ``start`` on; how many there are."""
    leaves = tree.size >> 1
    size = _push(tree, heap, np.int64(0), np.int64(1))
    found = 0
    while size and found < k:
        node = heap[0]
        size = _pop(tree, heap, size)
        leaf = leaves + (_CODE - (tree[node] & _CODE))
        out[start + found] = leaf - leaves
        found += 1
        below = leaf
        while below > node:  # who lost to it on its way to this node
            size = _push(tree, heap, size, below ^ 1)
            below >>= 1
    return found


@njit(cache=True, nogil=True)
def top_codes(codes: Any, mask: Any, distinct: int, k: int, a: Any, b: Any) -> Any:
    """The k most frequent codes of each range: where each query's begin, and the codes.

    Ranges come with both ends ascending; empty ones anywhere. Numbers are
    typed where a kernel takes them: for a literal it would be compiled by itself.
    """
    leaves = 1
    height = 1
    while leaves < distinct:
        leaves *= 2
        height += 1
    tree = np.zeros(2 * leaves, np.int64)
    heap = np.empty(min(k * height + 1, 2 * leaves), np.int64)
    offsets = np.zeros(a.size + 1, np.int64)
    found = np.empty(max(16, a.size), np.int32)
    low, high, total = 0, 0, np.int64(0)
    for q in range(a.size):
        if a[q] < b[q]:
            for i in range(low, min(a[q], high)):
                if mask[i]:
                    _replay(tree, codes[i], np.int64(-1))
            low = a[q]
            for i in range(max(high, low), b[q]):
                if mask[i]:
                    _replay(tree, codes[i], np.int64(1))
            high = b[q]
            if total + min(k, distinct) > found.size:
                grown = np.empty(2 * found.size + min(k, distinct), np.int32)
                for i in range(total):
                    grown[i] = found[i]
                found = grown
            total += _best(tree, heap, min(k, distinct), found, total)
        offsets[q + 1] = total
    return offsets, found[:total]
