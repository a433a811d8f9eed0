"""All windows of a view for all rows of a spine: sort once by (key, time), then ask.

Keys are numbered by the spine, and rows and spine are cut into parts by ranges of those numbers.
Each part is sorted by (key, time) and answered by itself, in the cache and on a thread of its own.
Every window is then a range of positions for each spine row; windows of one length share the
ranges, and windows of one value and filter share their prefix sums, trees and positions. A map
(``by``) sorts its rows once more by (key, by, time), finds the groups that have a row in each
window, and asks the same questions of the groups.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numba import get_num_threads

from tacit.aggregates import groups, kernels, sorting
from tacit.aggregates.algebra import REGISTRY
from tacit.aggregates.columns import Array, Column, read
from tacit.aggregates.keys import key_ids
from tacit.aggregates.rows import BATCH, Rows
from tacit.aggregates.series import Range, Series, evaluate, kernel_of, value_like
from tacit.operations import View, Window
from tacit.values import Type

THREADS = get_num_threads()
PART = 1 << 18  # rows of a part: a few columns of it fit a core's cache


@dataclass(frozen=True, slots=True)
class Prepared:
    """The rows of a view in any order: keys, time, and the values by their names in the view."""

    keys: Sequence[Column]
    at: Column
    values: Mapping[str, Column]


@dataclass(frozen=True, slots=True)
class Asked:
    """The rows of the spine: its key columns, in the view's order, and its time (int64)."""

    keys: Sequence[pa.ChunkedArray]
    at: Column

    @property
    def size(self) -> int:
        return len(self.at.numbers)


@dataclass(frozen=True, slots=True)
class Part:
    """Some keys: their rows by (key, time), and the rows of the spine that ask for them."""

    order: Array  # position -> row
    at: Array
    offsets: Array
    start: int  # its first query, among all
    back: Array  # query -> spine row
    wanted: Array  # the key of each query, counted from the part's first
    times: Array


class Scattered:
    """Rows, their keys and times, brought together by parts."""

    def __init__(self, ids: Array, at: Array, starts: Array, part: Array, pool: Executor) -> None:
        cuts = [len(ids) * i // THREADS for i in range(THREADS + 1)]
        ranges = [slice(low, high) for low, high in itertools.pairwise(cuts)]

        def count(rows: slice) -> Array:
            counts = np.zeros(len(part), np.int64)
            sorting.count_ids(ids[rows], counts)
            return np.diff(np.append(0, np.cumsum(counts))[starts])

        counts = np.array(list(pool.map(count, ranges))).reshape(len(ranges), -1)
        self.edges = np.append(0, np.cumsum(counts.sum(axis=0)))
        self.rows = np.empty(self.edges[-1], np.int32 if len(ids) < 2**31 else np.int64)
        self.keys = np.empty(self.edges[-1], np.int32)
        self.at = np.empty(self.edges[-1], np.int64)
        before = np.cumsum(counts, axis=0) - counts

        def scatter(rows: slice, before: Array) -> None:
            following = self.edges[:-1] + before
            out = self.rows, self.keys, self.at
            sorting.scatter(ids[rows], at[rows], rows.start, part, following, *out)

        list(pool.map(scatter, ranges, before))

    def sorted(self, part: int, low: int, size: int) -> tuple[Array, Array, Array]:
        """The rows of a part by (key, time), their times, and where each key starts."""
        rows = slice(self.edges[part], self.edges[part + 1])
        found: tuple[Array, Array, Array] = sorting.sort_rows(
            self.rows[rows], self.keys[rows], self.at[rows], low, size
        )
        return found


class Parts:
    """Rows and spine, cut by ranges of keys."""

    def __init__(self, rows: Prepared, asked: Asked, pool: Executor) -> None:
        ids, wanted, size = key_ids(rows.keys, rows.at, asked.keys, pool)
        if asked.at.valid is not None:
            wanted[~asked.at.valid] = -1
        weights = np.zeros(size, np.int64)
        sorting.count_ids(ids, weights)
        sorting.count_ids(wanted, weights)
        self.starts = sorting.split(weights, PART)
        part = np.repeat(np.arange(len(self.starts) - 1, dtype=np.int32), np.diff(self.starts))
        self.rows = Scattered(ids, rows.at.numbers, self.starts, part, pool)
        self.asked = Scattered(wanted, asked.at.numbers, self.starts, part, pool)

    @property
    def heaviest_first(self) -> list[int]:
        """The parts, so that threads end together."""
        order: list[int] = np.argsort(-np.diff(self.rows.edges), kind="stable").tolist()
        return order

    def sorted(self, part: int) -> Part:
        low = int(self.starts[part])
        size = int(self.starts[part + 1]) - low
        order, at, offsets = self.rows.sorted(part, low, size)
        back, times, starts = self.asked.sorted(part, low, size)
        keys = np.repeat(np.arange(size), np.diff(starts))
        return Part(order, at, offsets, int(self.asked.edges[part]), back, keys, times)


class Filled:
    """The results of a signal, as numbers, in the order of the parts."""

    def __init__(self, kind: pa.DataType, size: int, empty: int | None, column: Column | None):
        self.kind = kind
        self.column = column  # whose codes the numbers are
        floats = pa.types.is_floating(kind)
        # The last is that of rows whose key is nowhere.
        self.numbers = np.zeros(size + 1, np.float64 if floats else np.int64)
        self.valid = None if empty is not None else np.zeros(size + 1, np.bool_)

    def put(self, part: Part, numbers: Array, valid: Array | None) -> None:
        queries = slice(part.start, part.start + len(part.back))
        self.numbers[queries] = numbers
        if self.valid is not None:
            self.valid[queries] = True if valid is None else valid

    def finish(self, place: Array) -> pa.Array:
        column = Column(self.numbers, None) if self.column is None else self.column
        valid = None if self.valid is None else self.valid.take(place)
        return column.decode(self.numbers.take(place), valid, self.kind)


class Pieces:
    """The results of a signal, part by part."""

    def __init__(self, kind: pa.DataType, size: int, empty: object) -> None:
        self.last = pa.array([empty], kind)
        self.kind = kind
        self.pieces: list[tuple[int, pa.Array]] = []

    def put(self, part: Part, found: pa.Array) -> None:
        self.pieces.append((part.start, found))

    def finish(self, place: Array) -> pa.Array:
        pieces = [found for _, found in sorted(self.pieces, key=lambda piece: piece[0])]
        whole = pa.concat_arrays([*pieces, self.last])
        return whole.take(pa.array(np.minimum(place, len(whole) - 1)))


class Windows:
    """The windows of one view."""

    def __init__(
        self, view: View, rows: Prepared, asked: Asked, kinds: Mapping[str, pa.DataType]
    ) -> None:
        self.view = view
        self.rows = rows
        self.results: dict[str, Filled | Pieces] = {}
        self.place = np.full(asked.size, asked.size)  # spine row -> query
        for window in view.windows:
            kind, empty = kinds[window.signal], REGISTRY[window.aggregate].empty
            if window.by is None and kernel_of(window.aggregate) is not None:
                column = (
                    rows.values[window.value]
                    if value_like(window.aggregate) and window.value
                    else None
                )
                self.results[window.signal] = Filled(kind, asked.size, empty, column)
            else:
                nothing: object = empty if window.by is None else []
                self.results[window.signal] = Pieces(kind, asked.size, nothing)
        self.groups: dict[tuple[str | None, str | None, str | None], list[Window]] = {}
        for window in view.windows:
            key = (window.value, window.where, window.by)
            self.groups.setdefault(key, []).append(window)

    def run(self, parts: Parts, pool: Executor) -> dict[str, pa.Array]:
        """The result of each signal, in the order of the spine."""
        order = parts.heaviest_first
        if len(order) >= THREADS:
            list(pool.map(lambda part: self.answer(parts.sorted(part)), order))
        else:  # a part is a key at least: with so few of them, inputs go side by side
            for part in order:
                self.answer(parts.sorted(part), pool)
        names = list(self.results)
        found = pool.map(lambda name: self.results.pop(name).finish(self.place), names)
        return dict(zip(names, found, strict=True))

    def answer(self, part: Part, pool: Executor | None = None) -> None:
        """Everything about one part."""
        self.place[part.back] = np.arange(part.start, part.start + len(part.back))
        ranges = {}
        for length in {window.length for window in self.view.windows}:
            reach = -1 if length is None else length
            a, b = kernels.bounds(part.at, part.offsets, part.wanted, part.times, reach)
            ranges[length] = Range(a, b, part.times)
        run = map if pool is None else pool.map
        list(run(lambda group: self.group(part, ranges, group), self.groups.values()))

    def column(self, part: Part, name: str) -> Column:
        """A value in the order of the part."""
        return self.rows.values[name].at(part.order)

    def passing(self, part: Part, where: str | None) -> Array | None:
        return None if where is None else self.column(part, where).numbers != 0

    def group(self, part: Part, ranges: Mapping[int | None, Range], windows: list[Window]) -> None:
        """Windows that share value, filter and by."""
        first = windows[0]
        if first.by is not None:
            grouped = Grouped(self, part, first)
            for window in windows:
                result = self.results[window.signal]
                assert isinstance(result, Pieces), "maps come in pieces"
                result.put(part, grouped.answer(window, result.kind))
            return
        column = None if first.value is None else self.column(part, first.value)
        mask = _both(self.passing(part, first.where), None if column is None else column.valid)
        series = Series(part.at, part.offsets, column, mask)
        for window in windows:
            result, over = self.results[window.signal], ranges[window.length]
            if isinstance(result, Filled):
                kernel = kernel_of(window.aggregate)
                assert kernel is not None, "only kernels fill"
                result.put(part, *kernel(series, over))
            else:
                result.put(part, evaluate(series, window.aggregate, over, result.kind))


def _both(left: Array | None, right: Array | None) -> Array | None:
    if left is None or right is None:
        return left if right is None else right
    return left & right


class Grouped:
    """The rows that pass a filter and have a ``by``, sorted by (key, by, time)."""

    def __init__(self, windows: Windows, part: Part, first: Window) -> None:
        assert first.by is not None, "only maps are grouped"
        self.part = part
        self.by = windows.column(part, first.by)
        codes, self.values = self.by.ranked()
        mask = _both(windows.passing(part, first.where), self.by.valid)
        size = len(part.at)
        kept = np.arange(size) if mask is None else np.flatnonzero(mask)
        keys = np.repeat(np.arange(len(part.offsets) - 1), np.diff(part.offsets))
        self.keys, self.codes, self.at = keys[kept], codes[kept], part.at[kept]
        self.offsets = np.searchsorted(kept, part.offsets)
        inner, _ = kernels.bucket_order(self.codes, max(len(self.values), 1))
        outer, _ = kernels.bucket_order(self.keys[inner], len(part.offsets) - 1)
        order = inner[outer]
        self.place, self.end, self.before = groups.link_groups(self.keys, self.codes, order)
        self.tree = kernels.build_tree(self.before, kernels.MIN, np.int32(2**31 - 1))
        column = None
        if first.value is not None:
            column = windows.column(part, first.value).at(kept[order])
        ends = np.flatnonzero(np.diff(self.end, prepend=-1)) if len(order) else np.zeros(0, int)
        starts = np.append(ends, len(order)).astype(np.int64)
        valid = None if column is None else column.valid
        self.series = Series(self.at[order], starts, column, valid)

    def answer(self, window: Window, kind: pa.MapType) -> pa.Array:
        """A map for each query."""
        part = self.part
        length = -1 if window.length is None else window.length
        a, b = kernels.bounds(self.at, self.offsets, part.wanted, part.times, length)
        starts, codes, low, high = groups.expand_groups(
            self.before,
            self.tree,
            self.place,
            self.end,
            self.series.at,
            self.codes,
            a,
            b,
            part.times,
        )
        times = np.repeat(part.times, np.diff(starts))
        items = evaluate(self.series, window.aggregate, Range(low, high, times), kind.item_type)
        keys = self.by.decode(self.values[codes], None, kind.key_type)
        if len(starts) == 1:
            return pa.array([], kind)
        return pa.MapArray.from_arrays(pa.array(starts, pa.int32()), keys, items).cast(kind)


def compute(
    view: View, rows: Prepared, asked: Asked, kinds: Mapping[str, pa.DataType], pool: Executor
) -> dict[str, pa.Array]:
    """Every signal of a view for every row of the spine, in the spine's order.

    ``kinds`` are the signals' Arrow types.
    """
    if not view.windows:
        return {}
    return Windows(view, rows, asked, kinds).run(Parts(rows, asked, pool), pool)


def windows(
    view: View, rows: pa.Table, spine: pa.Table, kinds: Mapping[str, pa.DataType]
) -> dict[str, pa.Array]:
    """The same for prepared rows in a table (``k0…``, ``at``, ``c0…``), and a spine of one too.

    Columns are of the types that ``engines.base.ARROW`` has; the spine has the keys and ``at``.
    """
    if not view.windows:
        return {}
    keys = [f"k{i}" for i in range(len(view.keys))]
    values = [f"c{i}" for i in range(len(view.computed))]
    kinds_in = {name: _type(rows.schema.field(name).type) for name in [*keys, "at", *values]}
    store = Rows(rows.num_rows, kinds_in)
    with ThreadPoolExecutor(THREADS) as pool:
        writer = store.writer()
        for start in range(0, rows.num_rows, BATCH):
            batch = rows.slice(start, BATCH)
            writer.put(start, {name: batch[name] for name in kinds_in})
        columns = store.finish(frozenset(values), pool)
        prepared = Prepared(
            [columns[name] for name in keys],
            columns["at"],
            {column.name: columns[f"c{i}"] for i, column in enumerate(view.computed)},
        )
        asked = Asked([spine[name] for name, _ in view.keys], read(spine["at"]))
        return compute(view, prepared, asked, kinds, pool)


def _type(arrow: pa.DataType) -> Type:
    if pa.types.is_boolean(arrow):
        return Type.BOOL
    if pa.types.is_floating(arrow):
        return Type.FLOAT
    if pa.types.is_nested(arrow):
        return Type.VECTOR
    return Type.INT if pa.types.is_integer(arrow) else Type.TEXT
