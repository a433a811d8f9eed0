"""Kernels of the approximate aggregates: to the bit what their states tell.

Distinct counts come from one sweep over the rows that knows when each register last held each rank;
quantiles from a wavelet matrix over the buckets (Claude, Navarro, Ordóñez 2015), which finds the
k-th least of any range in one step for each bit of a bucket's number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from tacit.aggregates import kernels
from tacit.aggregates.approximate import (
    BITS,
    CUT,
    KEPT,
    MOST,
    REGISTERS,
    ApproxQuantile,
    end_of,
    estimate,
    hash64,
)
from tacit.aggregates.columns import Array, Column, distinct_codes

if TYPE_CHECKING:
    from tacit.aggregates.series import Range, Series

_estimate: Any = njit(cache=True, nogil=True)(estimate)


def hashes(column: Column) -> Array:
    """``hash64`` of every value, as uint64."""
    if column.dictionary is not None:
        used, codes = np.unique(column.numbers, return_inverse=True)
        texts = column.dictionary.take(used).to_pylist() if len(column.dictionary) else []
        found = np.array([hash64(text) for text in texts], np.uint64)
        return found[codes] if len(found) else np.zeros(len(codes), np.uint64)
    mixed = column.numbers.view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@njit(cache=True, nogil=True)
def sweep_registers(hashes: Any, mask: Any, a: Any, b: Any) -> Any:
    """The estimate of each range; the ranges come by ascending end, none of them empty."""
    result = np.empty(a.size, np.float64)
    last = np.empty((REGISTERS, MOST + 1), np.int32)
    last[:] = -1
    top = np.zeros(REGISTERS, np.int64)
    counts = np.empty(MOST + 1, np.int64)
    at = 0
    for q in range(a.size):
        while at < b[q]:
            if mask[at]:
                index = np.int64(hashes[at] >> np.uint64(64 - BITS))
                rest = hashes[at] << np.uint64(BITS)
                rank = np.int64(1)
                while rank < MOST and not rest >> np.uint64(63):
                    rest <<= np.uint64(1)
                    rank += np.int64(1)
                last[index, rank] = at
                top[index] = max(top[index], rank)
            at += 1
        counts[:] = 0
        for each in range(REGISTERS):
            held = top[each]
            while held > 0 and last[each, held] < a[q]:
                held -= 1
            counts[held] += 1
        result[q] = _estimate(counts)
    return result


def approx_distinct(series: Series, over: Range) -> tuple[Array, None]:
    """The kernel of ``approx_distinct``: counts that are short are exact, as in its state."""
    assert series.column is not None, "only count goes without a value"
    found = hashes(series.column)
    codes, size = distinct_codes(Column(found.view(np.int64), None))
    order = (
        np.lexsort((over.b, over.a))
        if kernels.unordered(over.a, over.b)
        else np.arange(len(over.a))
    )
    result = np.empty(len(order), np.int64)
    result[order] = kernels.count_distinct(
        codes, series.passing, size, over.a[order], over.b[order]
    )
    many = np.flatnonzero(result > KEPT)
    many = many[np.argsort(over.b[many], kind="stable")]
    estimates = sweep_registers(found, series.passing, over.a[many], over.b[many])
    result[many] = np.rint(estimates).astype(np.int64)
    return result, None


@njit(cache=True, nogil=True)
def build_wavelet(codes: Any, levels: int) -> Any:
    """By level, from the upper bit down: how many zero bits lie before each position."""
    zeros = np.zeros((levels, codes.size + 1), np.int32)
    current, following = codes.astype(np.int32), np.empty(codes.size, np.int32)
    for level in range(levels):
        bit = levels - 1 - level
        for i in range(codes.size):
            zeros[level, i + 1] = zeros[level, i] + (1 - (current[i] >> bit & 1))
        low, high = 0, zeros[level, codes.size]
        for i in range(codes.size):
            if current[i] >> bit & 1:
                following[high] = current[i]
                high += 1
            else:
                following[low] = current[i]
                low += 1
        current, following = following, current
    return zeros


@njit(cache=True, nogil=True)
def query_wavelet(zeros: Any, a: Any, b: Any, ranks: Any) -> Any:
    """The code at this rank, counted from 0, among those of each range; 0 where it is empty."""
    result = np.zeros(a.size, np.int64)
    levels, size = zeros.shape[0], zeros.shape[1] - 1
    for q in range(a.size):
        low, high, rank = np.int64(a[q]), np.int64(b[q]), ranks[q]
        if low == high:
            continue
        for level in range(levels):
            start, end = np.int64(zeros[level, low]), np.int64(zeros[level, high])
            if rank < end - start:
                low, high = start, end
            else:
                rank -= end - start
                total = np.int64(zeros[level, size])
                low, high = total + low - start, total + high - end
                result[q] |= 1 << (levels - 1 - level)
    return result


def _buckets(numbers: Array) -> Array:
    """``bucket_of`` every number."""
    values = numbers.astype(np.float64)
    whole = np.abs(values).view(np.int64) >> CUT
    return np.where(values >= 0, whole, -1 - whole)


def approx_quantile(series: Series, over: Range, aggregate: ApproxQuantile) -> tuple[Array, Array]:
    """The kernel of ``approx_quantile``. Quantiles of one input share what is prepared."""

    def build() -> tuple[Array, Array]:
        used, codes = np.unique(_buckets(series.numbers[series.kept]), return_inverse=True)
        ends = np.array([end_of(bucket) for bucket in used.tolist()], np.float64)
        levels = max(len(used) - 1, 1).bit_length()
        return ends, build_wavelet(codes, levels)

    ends, zeros = series.once("buckets", None, build)
    a, b = series.kept_range(over)
    if not len(ends):
        return np.zeros(len(a), np.float64), a < b
    sizes = (b - a).astype(np.int64)
    ranks = aggregate.q.numerator * (sizes - 1) // aggregate.q.denominator
    return ends[query_wavelet(zeros, a, b, ranks)], sizes > 0
