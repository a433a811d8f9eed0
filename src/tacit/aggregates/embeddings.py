"""Kernels of vectors: sums of elements by blocks and a tree, and the latest vector of each range.

Vectors are told by their code: a position in a list array. Elements are summed as doubles, from
left to right within blocks, so a sum is exact while its terms span 29 bits or less beyond their
own 24, and never further off than a double's rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numba import njit

from tacit.aggregates.columns import Array
from tacit.aggregates.kernels import BLOCK
from tacit.aggregates.vectors import VectorLast, VectorMean, VectorSum

if TYPE_CHECKING:
    from tacit.aggregates.series import Range, Series


@njit(cache=True, nogil=True)
def whole_vectors(offsets: Any, elements: Any, codes: Any, mask: Any, size: int) -> Any:
    """Which of these rows count: they pass, and their vector is of the size and finite."""
    found = np.zeros(codes.size, np.bool_)
    for i in range(codes.size):
        start = offsets[codes[i]] if mask[i] else 0
        if mask[i] and offsets[codes[i] + 1] - start == size:
            found[i] = True
            for j in range(size):
                if not np.isfinite(elements[start + j]):
                    found[i] = False
    return found


@njit(cache=True, nogil=True)
def build_sums(offsets: Any, elements: Any, codes: Any, mask: Any, size: int) -> Any:
    """The sum of each block's vectors, and of each pair of blocks, as in ``kernels.build_tree``."""
    leaves = 1
    while leaves * BLOCK < codes.size:
        leaves *= 2
    tree = np.zeros((2 * leaves, size), np.float64)
    for i in range(codes.size):
        if mask[i]:
            leaf, start = leaves + i // BLOCK, offsets[codes[i]]
            for j in range(size):
                tree[leaf, j] += elements[start + j]
    for node in range(leaves - 1, 0, -1):
        for j in range(size):
            tree[node, j] = tree[2 * node, j] + tree[2 * node + 1, j]
    return tree


@njit(cache=True, nogil=True)
def query_sums(
    offsets: Any, elements: Any, codes: Any, mask: Any, tree: Any, a: Any, b: Any
) -> Any:
    """The sum of each range's vectors."""
    size = tree.shape[1]
    result = np.zeros((a.size, size), np.float64)
    for q in range(a.size):
        low, high = a[q], b[q]
        while low < high and (low % BLOCK or high - low < BLOCK):
            if mask[low]:
                start = offsets[codes[low]]
                for j in range(size):
                    result[q, j] += elements[start + j]
            low += 1
        while low < high and high % BLOCK:
            high -= 1
            if mask[high]:
                start = offsets[codes[high]]
                for j in range(size):
                    result[q, j] += elements[start + j]
        left, right = tree.shape[0] // 2 + low // BLOCK, tree.shape[0] // 2 + high // BLOCK
        while left < right:
            if left & 1:
                for j in range(size):
                    result[q, j] += tree[left, j]
                left += 1
            if right & 1:
                right -= 1
                for j in range(size):
                    result[q, j] += tree[right, j]
            left, right = left >> 1, right >> 1
    return result


@njit(cache=True, nogil=True)
def last_vectors(at: Any, keys: Any, offsets: Any, elements: Any, codes: Any, mask: Any) -> Any:
    """At each position, where the greatest (time, vector) of its key so far is; -1 for none.

    ``keys[k]:keys[k + 1]`` are the positions of key k.
    """
    found = np.empty(at.size, np.int64)
    for key in range(keys.size - 1):
        best = -1
        for i in range(keys[key], keys[key + 1]):
            if mask[i]:
                newer = best < 0 or at[i] > at[best]
                if not newer:
                    ours, theirs = offsets[codes[i]], offsets[codes[best]]
                    for j in range(offsets[codes[i] + 1] - ours):
                        if elements[ours + j] != elements[theirs + j]:
                            newer = elements[ours + j] > elements[theirs + j]
                            break
                if newer:
                    best = i
            found[i] = best
    return found


class Vectors:
    """The vectors of one series, as flat arrays, and what is prepared from them once."""

    def __init__(self, series: Series, size: int) -> None:
        assert series.column is not None, "vectors are a value"
        listed = series.column.dictionary
        assert listed is not None, "vectors are told by their codes"
        self.size = size
        self.offsets = listed.offsets.to_numpy()
        self.elements = listed.values.to_numpy(zero_copy_only=False)  # null elements are NaN
        self.codes = series.numbers
        arrays = self.offsets, self.elements, self.codes
        self.mask: Array = whole_vectors(*arrays, series.passing, size)
        self.arrays = (*arrays, self.mask)
        self.counts: Array = np.append(0, np.cumsum(self.mask))
        self.tree: Array | None = None
        self.lasts: Array | None = None

    def sums(self, over: Range) -> Array:
        if self.tree is None:
            self.tree = build_sums(*self.arrays, self.size)
        return np.asarray(query_sums(*self.arrays, self.tree, over.a, over.b))

    def latest(self, series: Series, over: Range) -> tuple[Array, Array]:
        """The elements of each range's last vector, and whether there is one."""
        if self.lasts is None:
            self.lasts = last_vectors(series.at, series.offsets, *self.arrays)
        result = np.zeros((len(over.a), self.size), np.float32)
        if not len(self.lasts):
            return result, over.a < over.b
        where = self.lasts[np.maximum(over.b - 1, 0)]
        found = (where >= over.a) & (over.a < over.b)
        starts = self.offsets[self.codes[where[found]]]
        result[found] = self.elements[starts[:, None] + np.arange(self.size)]
        return result, found


def answer(
    series: Series, over: Range, aggregate: VectorSum | VectorLast, kind: pa.DataType
) -> pa.Array:
    """A list of floats for each range; null where no vector is whole."""
    vectors: Vectors = series.once(
        ("vectors", aggregate.size), None, lambda: Vectors(series, aggregate.size)
    )
    if isinstance(aggregate, VectorLast):
        found, some = vectors.latest(series, over)
    else:
        counts = vectors.counts[over.b] - vectors.counts[over.a]
        some, found = counts > 0, vectors.sums(over)
        if isinstance(aggregate, VectorMean):
            found = found / np.maximum(counts, 1)[:, None]
    with np.errstate(over="ignore"):  # beyond the largest float is an infinity, as in the state
        flat = found[some].astype(np.float32).ravel() + np.float32(0.0)
    starts = np.append(0, np.cumsum(some)) * aggregate.size
    lists = pa.LargeListArray.from_arrays(starts, pa.array(flat), mask=pa.array(~some))
    return lists.cast(kind)
