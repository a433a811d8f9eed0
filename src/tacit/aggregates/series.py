"""One signal input in sorted order, and every aggregate of ranges of it.

What several windows need is prepared once: prefix counts and sums, trees, positions. Exact: count,
min, max, first, last, distinct, and sums and means of ints (a sum beyond 64 bits is null). Sums of
floats are merged pairwise, without subtraction: their error is a few units in the last place of
the sum of the magnitudes in the window itself, while that sum fits a double.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from tacit.aggregates import embeddings, frequent, kernels, moments, sketches
from tacit.aggregates.algebra import REGISTRY
from tacit.aggregates.approximate import ApproxQuantile
from tacit.aggregates.columns import Array, Column, distinct_codes
from tacit.aggregates.lists import LastK, TopK
from tacit.aggregates.recent import Decayed
from tacit.aggregates.vectors import VectorLast, VectorSum

Answer = tuple[Array, Array | None]


def _array(found: Array) -> Array:
    """Compiled functions are untyped; this is what they return."""
    return found


class Range:
    """``[a, b)`` of each query. Windows of one length share one, and what is found for it."""

    def __init__(self, a: Array, b: Array, times: Array) -> None:
        self.a = a
        self.b = b
        self.times = times  # of the queries


class Series:
    """The values of one signal input, in sorted order, and what is prepared from them once."""

    def __init__(self, at: Array, offsets: Array, column: Column | None, mask: Array | None):
        self.at = at
        self.offsets = offsets
        self.column = column
        self.mask = mask  # of rows that count: they pass the filter and hold a value
        self._found: dict[tuple[Any, Range | None], Any] = {}

    def once(self, key: Any, over: Range | None, find: Callable[[], Any]) -> Any:
        """What several aggregates of a range, or of the whole, need is found once."""
        if (key, over) not in self._found:
            self._found[key, over] = find()
        return self._found[key, over]

    @cached_property
    def passing(self) -> Array:
        return np.ones(len(self.at), np.bool_) if self.mask is None else self.mask

    @cached_property
    def numbers(self) -> Array:
        assert self.column is not None, "only count goes without a value"
        return self.column.numbers

    def filled(self, unit: float) -> Array:
        """The numbers, with what does not count replaced."""
        if self.mask is None:
            return self.numbers
        return np.where(self.mask, self.numbers, np.asarray(unit, self.numbers.dtype))

    @cached_property
    def _prefix(self) -> Array:
        return _array(kernels.prefix_counts(self.passing))

    def counts(self, over: Range) -> Array:
        def find() -> Array:
            if self.mask is None:
                return over.b - over.a
            return (self._prefix[over.b] - self._prefix[over.a]).astype(np.int64)

        return _array(self.once("count", over, find))

    @cached_property
    def _trees(self) -> dict[int, tuple[Array, Array]]:
        return {}

    def merged(self, op: int, unit: float, over: Range) -> Array:
        """The sum, minimum or maximum of each range."""
        if op not in self._trees:
            values = np.ascontiguousarray(self.filled(unit))
            self._trees[op] = values, kernels.build_tree(values, op, values.dtype.type(unit))
        values, tree = self._trees[op]

        def find() -> Array:
            found = kernels.query_tree(values, tree, op, values.dtype.type(unit), over.a, over.b)
            return _array(found)

        return _array(self.once(op, over, find))

    @cached_property
    def _sums(self) -> tuple[Array, ...]:
        values = np.ascontiguousarray(self.filled(0))
        if np.abs(values.astype(np.float64)).sum() < 2.0**62:
            return (kernels.prefix_sums(values, 0, -1),)
        return kernels.prefix_sums(values, 32, -1), kernels.prefix_sums(values, 0, 0xFFFFFFFF)

    def whole_sums(self, over: Range) -> tuple[Array, Array, Array]:
        """Sums of ints: the upper part, the lower 32 bits, and whether it fits 64 bits."""
        a, b = over.a, over.b
        if len(self._sums) == 1:
            total = self._sums[0][b] - self._sums[0][a]
            return total >> 32, total & 0xFFFFFFFF, np.ones(len(a), np.bool_)
        high, low = (part[b] - part[a] for part in self._sums)
        high = high + (low >> 32)
        return high, low & 0xFFFFFFFF, (high >= -(2**31)) & (high < 2**31)

    @cached_property
    def firsts(self) -> Array:
        return _array(kernels.first_positions(self.at, self.numbers, self.passing, self.offsets))

    @cached_property
    def lasts(self) -> Array:
        return _array(kernels.last_positions(self.at, self.numbers, self.passing, self.offsets))

    @cached_property
    def kept(self) -> Array:
        """The positions that count."""
        return np.flatnonzero(self.passing)

    @cached_property
    def newest(self) -> Array:
        """The positions that count, by (time, value) within each key."""
        ranks = self.numbers
        if ranks.dtype.kind == "f":  # as ints of the same order; -0.0 does not occur
            bits = np.ascontiguousarray(ranks, np.float64).view(np.int64)
            ranks = np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits)
        order = kernels.tied_order(self.at, ranks, self.offsets)
        return _array(order[self.passing[order]])

    def kept_range(self, over: Range) -> tuple[Array, Array]:
        """The ranges among those that count."""
        if self.mask is None:
            return over.a, over.b
        return self._prefix[over.a], self._prefix[over.b]

    @cached_property
    def floats(self) -> Array:
        return self.numbers.astype(np.float64, copy=False)

    @cached_property
    def moments(self) -> Array:
        return _array(moments.build_moments(self.floats, self.passing))

    @cached_property
    def ranked(self) -> tuple[Array, Array]:
        assert self.column is not None, "only count goes without a value"
        return self.column.ranked()

    @cached_property
    def codes(self) -> tuple[Array, int]:
        assert self.column is not None, "only count goes without a value"
        return distinct_codes(self.column)


def _count(series: Series, over: Range) -> Answer:
    return series.counts(over), None


def _sum(series: Series, over: Range) -> Answer:
    some = series.counts(over) > 0
    if series.numbers.dtype.kind == "f":
        total = series.merged(kernels.SUM, 0.0, over)
        return total + 0.0, some & ~np.isnan(total)
    high, low, fits = series.whole_sums(over)
    return (high << 32) | low, some & fits


def _mean(series: Series, over: Range) -> Answer:
    count = series.counts(over)
    if series.numbers.dtype.kind == "f":
        total = series.merged(kernels.SUM, 0.0, over)
    else:
        high, low, _ = series.whole_sums(over)
        total = high.astype(np.float64) * 2.0**32 + low
    mean = total / np.maximum(count, 1) + 0.0
    return mean, (count > 0) & ~np.isnan(mean)


def _extreme(op: int) -> Callable[[Series, Range], Answer]:
    def answer(series: Series, over: Range) -> Answer:
        if series.numbers.dtype.kind == "f":
            unit = np.inf if op == kernels.MIN else -np.inf
        else:
            limits = np.iinfo(np.int64)
            unit = limits.max if op == kernels.MIN else limits.min
        return series.merged(op, unit, over), series.counts(over) > 0

    return answer


def _first(series: Series, over: Range) -> Answer:
    a, b = over.a, over.b
    if not len(series.at):
        return a, a < b
    where = series.firsts[np.minimum(a, len(series.at) - 1)]
    found = (where >= 0) & (where < b) & (a < b)
    return series.numbers[np.where(found, where, 0)], found


def _last(series: Series, over: Range) -> Answer:
    a, b = over.a, over.b
    if not len(series.at):
        return a, a < b
    where = series.lasts[np.maximum(b - 1, 0)]
    found = (where >= a) & (a < b)
    return series.numbers[np.where(found, where, 0)], found


def _distinct(series: Series, over: Range) -> Answer:
    codes, size = series.codes
    a, b = over.a, over.b
    order = _ascending(a, b)
    if order is None:
        return kernels.count_distinct(codes, series.passing, size, a, b), None
    result = np.empty(len(a), np.int64)
    result[order] = kernels.count_distinct(codes, series.passing, size, a[order], b[order])
    return result, None


def _variance(series: Series, over: Range) -> Answer:
    def find() -> Array:
        return _array(
            moments.query_moments(series.floats, series.passing, series.moments, over.a, over.b)
        )

    found = _array(series.once("variance", over, find))
    return found, ~np.isnan(found)


def _stddev(series: Series, over: Range) -> Answer:
    found, valid = _variance(series, over)
    return np.sqrt(found), valid


def _since(series: Series, over: Range) -> Answer:
    a, b = series.kept_range(over)
    if not len(series.kept):
        return np.zeros(len(a), np.int64), a < b
    gone = over.times - series.at[series.kept[np.maximum(b - 1, 0)]]
    return gone, (a < b) & (gone >= 0)  # below zero: more than 64 bits


def _decayed(series: Series, over: Range, half: int) -> Answer:
    values = series.filled(0).astype(np.float64)
    tree = moments.build_decayed(values, series.at, half)
    found = moments.query_decayed(values, series.at, tree, half, over.a, over.b, over.times)
    return found + 0.0, (series.counts(over) > 0) & ~np.isnan(found)


KERNELS: Mapping[str, Callable[[Series, Range], Answer]] = {
    "count": _count,
    "sum": _sum,
    "mean": _mean,
    "variance": _variance,
    "stddev": _stddev,
    "min": _extreme(kernels.MIN),
    "max": _extreme(kernels.MAX),
    "first": _first,
    "last": _last,
    "distinct": _distinct,
    "approx_distinct": sketches.approx_distinct,
    "since": _since,
}


def kernel_of(key: str) -> Callable[[Series, Range], Answer] | None:
    """The kernel of an aggregate that yields one number; None when it has none."""
    aggregate = REGISTRY[key]
    if isinstance(aggregate, Decayed) and KERNELS:
        return lambda series, over: _decayed(series, over, aggregate.half)
    if isinstance(aggregate, ApproxQuantile) and KERNELS:
        return lambda series, over: sketches.approx_quantile(series, over, aggregate)
    return KERNELS.get(key)


def last_values(series: Series, over: Range, k: int, kind: pa.DataType) -> pa.Array:
    """The last k values of each range, newest first; null where there is none."""
    assert series.column is not None, "the last values are of a value"
    a, b = series.kept_range(over)
    sizes = np.minimum(b - a, k).astype(np.int64)
    starts = np.append(0, np.cumsum(sizes))
    place = np.repeat(b.astype(np.int64), sizes) - 1
    place -= np.arange(starts[-1]) - np.repeat(starts[:-1], sizes)
    numbers = series.numbers[series.newest[place]]
    return _lists(series.column.decode(numbers, None, kind.value_type), starts, kind)


def _ascending(a: Array, b: Array) -> Array | None:
    """An order of the ranges in which both ends ascend; None when they do as they are."""
    return np.lexsort((b, a)) if kernels.unordered(a, b) else None


def top_values(series: Series, over: Range, k: int, kind: pa.DataType) -> pa.Array:
    """The k most frequent values of each range, most frequent first; null where there is none."""
    assert series.column is not None, "the most frequent values are of a value"
    codes, values = series.ranked
    order = _ascending(over.a, over.b)
    a, b = (over.a, over.b) if order is None else (over.a[order], over.b[order])
    starts, found = frequent.top_codes(codes, series.passing, max(len(values), 1), k, a, b)
    if order is not None:
        sizes = np.empty(len(a), np.int64)
        sizes[order] = np.diff(starts)
        first = np.empty(len(a), np.int64)
        first[order] = starts[:-1]
        starts = np.append(0, np.cumsum(sizes))
        place = np.repeat(first, sizes) + np.arange(starts[-1]) - np.repeat(starts[:-1], sizes)
        found = found[place]
    numbers = values[found]
    return _lists(series.column.decode(numbers, None, kind.value_type), starts, kind)


def _lists(items: pa.Array, starts: Array, kind: pa.DataType) -> pa.Array:
    """Lists of items; null where there is none."""
    missing = pa.array(np.diff(starts) == 0)
    return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), items, mask=missing).cast(kind)


def value_like(key: str) -> bool:
    """Whether the results are values of the input, in its codes if it is text."""
    return key in ("min", "max", "first", "last")


def merge_states(key: str, series: Series, over: Range, kind: pa.DataType) -> pa.Array:
    """Any aggregate, by merging the states of blocks in a tree; for those without a kernel."""
    aggregate = REGISTRY[key]
    size = len(series.at)
    if series.column is None:
        values = [True] * size
    else:
        column = series.column
        values = column.decode(column.numbers, None, column.arrow).to_pylist()
    leaves = [
        aggregate.init() if not passes or value is None else aggregate.fold([(value, int(at))])
        for value, at, passes in zip(
            map(aggregate.admit, values), series.at, series.passing, strict=True
        )
    ]
    tree = leaves * 2
    for node in range(size - 1, 0, -1):
        tree[node] = aggregate.merge(tree[2 * node], tree[2 * node + 1])
    results = []
    ends = over.a.tolist(), over.b.tolist(), over.times.tolist()
    for start, end, time in zip(*ends, strict=True):
        state, left, right = aggregate.init(), start + size, end + size
        while left < right:
            if left & 1:
                state = aggregate.merge(state, tree[left])
                left += 1
            if right & 1:
                right -= 1
                state = aggregate.merge(state, tree[right])
            left, right = left >> 1, right >> 1
        results.append(aggregate.finish_at(state, time))
    return pa.array(results, kind)


def evaluate(series: Series, key: str, over: Range, kind: pa.DataType) -> pa.Array:
    """One aggregate of each range, as an Arrow array of its result type."""
    aggregate, kernel = REGISTRY[key], kernel_of(key)
    if isinstance(aggregate, LastK):
        return last_values(series, over, aggregate.k, kind)
    if isinstance(aggregate, TopK) and KERNELS:
        return top_values(series, over, aggregate.k, kind)
    if isinstance(aggregate, VectorSum | VectorLast) and KERNELS:
        return embeddings.answer(series, over, aggregate, kind)
    if kernel is None:
        return merge_states(key, series, over, kind)
    numbers, valid = kernel(series, over)
    plain = Column(numbers, None)
    return (series.column if value_like(key) and series.column else plain).decode(
        numbers, valid, kind
    )
