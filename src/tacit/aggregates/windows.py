"""All windows of a view for all rows of a spine: sort once by (key, time), then ask.

Rows are sorted by key and time once, and so is the spine. Every window is then a range of positions
for each spine row; windows of one length share the ranges, and windows of one value and filter
share their prefix sums, trees and positions. A map (``by``) sorts its rows once more by (key, by,
time), finds the groups that have a row in each window, and asks the same questions of the groups.

Exact: count, min, max, first, last, distinct, and sums and means of ints (a sum beyond 64 bits is
null). Sums of floats are merged pairwise, without subtraction: their error is a few units in the
last place of the sum of the magnitudes in the window itself, while that sum fits a double.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from tacit.aggregates import kernels
from tacit.aggregates.algebra import REGISTRY
from tacit.aggregates.columns import Array, Column, distinct_codes, key_codes, ordered_codes, read
from tacit.operations import View, Window

THREADS = 2
Answer = tuple[Array, Array | None]


def _array(found: Array) -> Array:
    """Compiled functions are untyped; this is what they return."""
    return found


class Series:
    """The values of one signal input, in sorted order, and what is prepared from them once."""

    def __init__(self, at: Array, offsets: Array, column: Column | None, mask: Array | None):
        self.at = at
        self.offsets = offsets
        self.column = column
        self.mask = mask  # of rows that count: they pass the filter and hold a value

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

    def counts(self, a: Array, b: Array) -> Array:
        if self.mask is None:
            return b - a
        return (self._prefix[b] - self._prefix[a]).astype(np.int64)

    @cached_property
    def _trees(self) -> dict[int, tuple[Array, Array]]:
        return {}

    def merged(self, op: int, unit: float, a: Array, b: Array) -> Array:
        """The sum, minimum or maximum of each range."""
        if op not in self._trees:
            values = np.ascontiguousarray(self.filled(unit))
            self._trees[op] = values, kernels.build_tree(values, op, values.dtype.type(unit))
        values, tree = self._trees[op]
        return _array(kernels.query_tree(values, tree, op, values.dtype.type(unit), a, b))

    @cached_property
    def _sums(self) -> tuple[Array, ...]:
        values = np.ascontiguousarray(self.filled(0))
        if np.abs(values.astype(np.float64)).sum() < 2.0**62:
            return (kernels.prefix_sums(values, 0, -1),)
        return kernels.prefix_sums(values, 32, -1), kernels.prefix_sums(values, 0, 0xFFFFFFFF)

    def whole_sums(self, a: Array, b: Array) -> tuple[Array, Array, Array]:
        """Sums of ints: the upper part, the lower 32 bits, and whether it fits 64 bits."""
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
    def codes(self) -> tuple[Array, int]:
        assert self.column is not None, "only count goes without a value"
        return distinct_codes(self.column)


def _count(series: Series, a: Array, b: Array) -> Answer:
    return series.counts(a, b), None


def _sum(series: Series, a: Array, b: Array) -> Answer:
    some = series.counts(a, b) > 0
    if series.numbers.dtype.kind == "f":
        total = series.merged(kernels.SUM, 0.0, a, b)
        return total + 0.0, some & ~np.isnan(total)
    high, low, fits = series.whole_sums(a, b)
    return (high << 32) | low, some & fits


def _mean(series: Series, a: Array, b: Array) -> Answer:
    count = series.counts(a, b)
    if series.numbers.dtype.kind == "f":
        total = series.merged(kernels.SUM, 0.0, a, b)
    else:
        high, low, _ = series.whole_sums(a, b)
        total = high.astype(np.float64) * 2.0**32 + low
    mean = total / np.maximum(count, 1) + 0.0
    return mean, (count > 0) & ~np.isnan(mean)


def _extreme(op: int) -> Callable[[Series, Array, Array], Answer]:
    def answer(series: Series, a: Array, b: Array) -> Answer:
        if series.numbers.dtype.kind == "f":
            unit = np.inf if op == kernels.MIN else -np.inf
        else:
            limits = np.iinfo(np.int64)
            unit = limits.max if op == kernels.MIN else limits.min
        return series.merged(op, unit, a, b), series.counts(a, b) > 0

    return answer


def _first(series: Series, a: Array, b: Array) -> Answer:
    where = series.firsts[np.minimum(a, max(len(series.at) - 1, 0))] if len(series.at) else a - 1
    found = (where >= 0) & (where < b) & (a < b)
    return series.numbers[np.where(found, where, 0)] if len(series.at) else a, found


def _last(series: Series, a: Array, b: Array) -> Answer:
    where = series.lasts[np.maximum(b - 1, 0)] if len(series.at) else a - 1
    found = (where >= a) & (a < b)
    return series.numbers[np.where(found, where, 0)] if len(series.at) else a, found


def _distinct(series: Series, a: Array, b: Array) -> Answer:
    codes, size = series.codes
    order = np.lexsort((b, a)) if _unordered(a, b) else None
    if order is None:
        return kernels.count_distinct(codes, series.passing, size, a, b), None
    result = np.empty(len(a), np.int64)
    result[order] = kernels.count_distinct(codes, series.passing, size, a[order], b[order])
    return result, None


def _unordered(a: Array, b: Array) -> bool:
    """Whether the non-empty ranges do not ascend at both ends."""
    some = a < b
    return bool((np.diff(a[some]) < 0).any() or (np.diff(b[some]) < 0).any())


KERNELS: Mapping[str, Callable[[Series, Array, Array], Answer]] = {
    "count": _count,
    "sum": _sum,
    "mean": _mean,
    "min": _extreme(kernels.MIN),
    "max": _extreme(kernels.MAX),
    "first": _first,
    "last": _last,
    "distinct": _distinct,
}


def _general(key: str, series: Series, a: Array, b: Array, kind: pa.DataType) -> pa.Array:
    """Any aggregate, by merging the states of blocks in a tree; for those without a kernel."""
    aggregate = REGISTRY[key]
    size = len(series.at)
    if series.column is None:
        values = [True] * size
    else:
        column = series.column
        values = column.decode(column.numbers, None, column.arrow).to_pylist()
    leaves = [
        aggregate.fold([(value, int(at))]) if passes else aggregate.init()
        for value, at, passes in zip(values, series.at, series.passing, strict=True)
    ]
    tree = leaves * 2
    for node in range(size - 1, 0, -1):
        tree[node] = aggregate.merge(tree[2 * node], tree[2 * node + 1])
    results = []
    for start, end in zip(a.tolist(), b.tolist(), strict=True):
        state, left, right = aggregate.init(), start + size, end + size
        while left < right:
            if left & 1:
                state = aggregate.merge(state, tree[left])
                left += 1
            if right & 1:
                right -= 1
                state = aggregate.merge(state, tree[right])
            left, right = left >> 1, right >> 1
        results.append(aggregate.finish(state))
    return pa.array(results, kind)


@dataclass(frozen=True, slots=True)
class Sorted:
    """The rows by (key, time): their order, and the queries of the spine, in an order of theirs."""

    order: Array  # position -> row
    keys: Array  # of each position
    at: Array
    offsets: Array
    back: Array  # query -> spine row
    wanted: Array  # the key of each query
    times: Array


def sort(rows: pa.Table, spine: pa.Table, names: Sequence[str]) -> Sorted:
    """Sorts both. ``rows`` has ``k0, k1, …`` and ``at``; the spine its own names and ``at``."""
    keys = [f"k{i}" for i in range(len(names))]
    codes, size, wanted = key_codes([rows[key] for key in keys], [spine[name] for name in names])
    at = np.ascontiguousarray(read(rows["at"]).numbers)
    order, offsets = kernels.bucket_order(codes, size)
    kernels.sort_by_time(order, offsets, at)
    asked = read(spine["at"])
    if asked.valid is not None:
        wanted = np.where(asked.valid, wanted, size)
    times = np.ascontiguousarray(asked.numbers)
    back, starts = kernels.bucket_order(wanted, size + 1)
    kernels.sort_by_time(back, starts, times)
    return Sorted(order, codes[order], at[order], offsets, back, wanted[back], times[back])


class Windows:
    """The windows of one view over sorted rows."""

    def __init__(
        self, view: View, rows: pa.Table, spine: pa.Table, kinds: Mapping[str, pa.DataType]
    ):
        self.view = view
        self.rows = rows
        self.kinds = kinds  # the result type of each signal
        self.sorted = sort(rows, spine, [name for name, _ in view.keys])
        self.place = np.empty(spine.num_rows, np.int64)  # spine row -> query
        self.place[self.sorted.back] = np.arange(spine.num_rows)
        self.position = {column.name: f"c{i}" for i, column in enumerate(view.computed)}
        self.ranges = {
            length: self.range(length) for length in {window.length for window in view.windows}
        }

    def range(self, length: int | None) -> tuple[Array, Array]:
        s = self.sorted
        reach = -1 if length is None else length
        a, b = kernels.bounds(s.at, s.offsets, s.wanted, s.times, reach)
        return a, b

    def column(self, name: str) -> Column:
        """A computed column in sorted order."""
        return read(self.rows[self.position[name]]).at(self.sorted.order)

    def passing(self, where: str | None) -> Array | None:
        if where is None:
            return None
        return _array(self.column(where).numbers != 0)

    def run(self) -> dict[str, pa.Array]:
        """The result of each signal, in the order of the spine."""
        groups: dict[tuple[str | None, str | None, str | None], list[Window]] = {}
        for window in self.view.windows:
            key = (window.value, window.where, window.by)
            groups.setdefault(key, []).append(window)
        found: dict[str, pa.Array] = {}
        with ThreadPoolExecutor(THREADS) as pool:
            for part in pool.map(self.group, groups.values()):
                found.update(part)
        return found

    def group(self, windows: list[Window]) -> dict[str, pa.Array]:
        """Windows that share value, filter and by."""
        first = windows[0]
        if first.by is not None:
            grouped = Grouped(self, first)
            return {window.signal: grouped.answer(window) for window in windows}
        column = None if first.value is None else self.column(first.value)
        mask = _both(self.passing(first.where), None if column is None else column.valid)
        series = Series(self.sorted.at, self.sorted.offsets, column, mask)
        found = {}
        for window in windows:
            a, b = self.ranges[window.length]
            result = evaluate(series, window.aggregate, a, b, self.kinds[window.signal])
            found[window.signal] = result.take(pa.array(self.place))
        return found


def _both(left: Array | None, right: Array | None) -> Array | None:
    if left is None or right is None:
        return left if right is None else right
    return left & right


def evaluate(series: Series, key: str, a: Array, b: Array, kind: pa.DataType) -> pa.Array:
    """One aggregate of each range, as an Arrow array of its result type."""
    kernel = KERNELS.get(key)
    if kernel is None:
        return _general(key, series, a, b, kind)
    numbers, valid = kernel(series, a, b)
    value_like = key in ("min", "max", "first", "last")
    plain = Column(numbers, None)
    return (series.column if value_like and series.column else plain).decode(numbers, valid, kind)


class Grouped:
    """The rows that pass a filter and have a ``by``, sorted by (key, by, time)."""

    def __init__(self, windows: Windows, first: Window) -> None:
        assert first.by is not None, "only maps are grouped"
        s = windows.sorted
        self.windows = windows
        by = windows.rows[windows.position[first.by]].combine_chunks()
        codes, self.values = ordered_codes(by)
        codes = codes[s.order]
        mask = _both(windows.passing(first.where), windows.column(first.by).valid)
        kept = np.arange(len(s.at)) if mask is None else np.flatnonzero(mask)
        self.keys, self.codes, self.at = s.keys[kept], codes[kept], s.at[kept]
        self.offsets = np.searchsorted(kept, s.offsets)
        inner, _ = kernels.bucket_order(self.codes, max(len(self.values), 1))
        outer, _ = kernels.bucket_order(self.keys[inner], len(s.offsets) - 1)
        order = inner[outer]
        self.place, self.end, self.before = kernels.link_groups(self.keys, self.codes, order)
        self.tree = kernels.build_tree(self.before, kernels.MIN, np.int32(2**31 - 1))
        column = None
        if first.value is not None:
            column = windows.column(first.value).at(kept[order])
        ends = np.flatnonzero(np.diff(self.end, prepend=-1)) if len(order) else np.zeros(0, int)
        starts = np.append(ends, len(order)).astype(np.int64)
        valid = None if column is None else column.valid
        self.series = Series(self.at[order], starts, column, valid)

    def answer(self, window: Window) -> pa.Array:
        """A map for each spine row."""
        s = self.windows.sorted
        length = -1 if window.length is None else window.length
        a, b = kernels.bounds(self.at, self.offsets, s.wanted, s.times, length)
        place = self.windows.place
        a, b, times = a[place], b[place], s.times[place]
        starts, codes, low, high = kernels.expand_groups(
            self.before, self.tree, self.place, self.end, self.series.at, self.codes, a, b, times
        )
        kind = self.windows.kinds[window.signal]
        items = evaluate(self.series, window.aggregate, low, high, kind.item_type)
        keys = self.values.take(pa.array(codes)).cast(kind.key_type)
        if len(starts) == 1:
            return pa.array([], kind)
        return pa.MapArray.from_arrays(pa.array(starts, pa.int32()), keys, items).cast(kind)


def windows(
    view: View, rows: pa.Table, spine: pa.Table, kinds: Mapping[str, pa.DataType]
) -> dict[str, pa.Array]:
    """Every signal of a view for every row of the spine, in the spine's order.

    ``rows`` are the view's prepared rows (``k0…``, ``at``, ``c0…``); ``kinds`` are the signals'
    Arrow types.
    """
    if not view.windows:
        return {}
    return Windows(view, rows, spine, kinds).run()
