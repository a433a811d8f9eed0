"""All windows of a view for all rows of a spine: sort once by (key, time), then ask.

Keys are numbered by the spine, and rows and spine are cut into parts by ranges of those numbers.
Each part is sorted by (key, time) and answered by itself, in the cache and on a thread of its own.
Every window is then a range of positions for each spine row; windows of one length share the
ranges, and windows of one value and filter share their prefix sums, trees and positions. A map
(``by``) sorts its rows once more by (key, by, time), finds the groups that have a row in each
window, and asks the same questions of the groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa

from tacit.aggregates import kernels, sorting
from tacit.aggregates.algebra import REGISTRY
from tacit.aggregates.columns import Array, Column, read
from tacit.aggregates.keys import key_ids
from tacit.aggregates.rows import BATCH, Rows
from tacit.aggregates.series import KERNELS, Range, Series, evaluate, value_like
from tacit.operations import View, Window
from tacit.values import Type

THREADS: int = numba.config.NUMBA_NUM_THREADS
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
    back: Array  # query -> spine row
    wanted: Array  # the key of each query, counted from the part's first
    times: Array


class Parts:
    """Rows and spine, cut by ranges of keys."""

    def __init__(self, rows: Prepared, asked: Asked, pool: Executor) -> None:
        self.at, self.asked = rows.at.numbers, asked.at.numbers
        self.ids, self.wanted, size = key_ids(rows.keys, rows.at, asked.keys, pool)
        if asked.at.valid is not None:
            self.wanted[~asked.at.valid] = -1
        weights = np.zeros(size, np.int64)
        sorting.count_ids(self.ids, weights)
        sorting.count_ids(self.wanted, weights)
        self.starts = sorting.split(weights, PART)
        self.part = np.repeat(np.arange(len(self.starts) - 1, dtype=np.int32), np.diff(self.starts))
        groups = pool.map(self._scatter, (self.ids, self.wanted))
        (self.rows, self.row_ends), (self.back, self.back_ends) = groups

    def _scatter(self, ids: Array) -> tuple[Array, Array]:
        counts = np.zeros(len(self.part), np.int64)
        sorting.count_ids(ids, counts)
        edges = np.append(0, np.cumsum(counts))[self.starts]
        rows = np.empty(edges[-1], np.int32 if len(ids) < 2**31 else np.int64)
        sorting.scatter(ids, self.part, edges[:-1].copy(), rows)
        return rows, edges

    @property
    def heaviest_first(self) -> list[int]:
        """The parts, so that threads end together."""
        order: list[int] = np.argsort(-np.diff(self.row_ends), kind="stable").tolist()
        return order

    def sorted(self, part: int) -> Part:
        low = int(self.starts[part])
        size = int(self.starts[part + 1]) - low
        rows = self.rows[self.row_ends[part] : self.row_ends[part + 1]]
        order, at, offsets = sorting.sort_rows(rows, self.ids, low, size, self.at)
        asking = self.back[self.back_ends[part] : self.back_ends[part + 1]]
        back, times, starts = sorting.sort_rows(asking, self.wanted, low, size, self.asked)
        return Part(order, at, offsets, back, np.repeat(np.arange(size), np.diff(starts)), times)


class Filled:
    """The results of a signal, written into their places."""

    def __init__(self, kind: pa.DataType, size: int, empty: int | None, column: Column | None):
        self.kind = kind
        self.column = column  # whose codes the numbers are
        floats = pa.types.is_floating(kind)
        self.numbers = np.zeros(size, np.float64 if floats else np.int64)
        self.valid = None if empty is not None else np.zeros(size, np.bool_)

    def put(self, part: Part, numbers: Array, valid: Array | None) -> None:
        self.numbers[part.back] = numbers
        if self.valid is not None:
            self.valid[part.back] = True if valid is None else valid

    def finish(self) -> pa.Array:
        column = Column(self.numbers, None) if self.column is None else self.column
        return column.decode(self.numbers, self.valid, self.kind)


class Pieces:
    """The results of a signal, part by part, brought into order at the end."""

    def __init__(self, kind: pa.DataType, size: int, empty: object) -> None:
        self.kind = kind
        self.place = np.full(size, -1, np.int64)
        self.pieces = [pa.array([empty], kind)]
        self.backs = [np.zeros(0, np.int32)]

    def put(self, part: Part, found: pa.Array) -> None:
        self.pieces.append(found)
        self.backs.append(part.back)

    def finish(self) -> pa.Array:
        place = np.zeros(len(self.place), np.int64)  # the first of all is the empty one
        back = np.concatenate(self.backs)
        place[back] = np.arange(1, len(back) + 1)
        return pa.concat_arrays(self.pieces).take(pa.array(place))


class Windows:
    """The windows of one view."""

    def __init__(
        self, view: View, rows: Prepared, asked: Asked, kinds: Mapping[str, pa.DataType]
    ) -> None:
        self.view = view
        self.rows = rows
        self.results: dict[str, Filled | Pieces] = {}
        for window in view.windows:
            kind, empty = kinds[window.signal], REGISTRY[window.aggregate].empty
            if window.by is None and window.aggregate in KERNELS:
                column = rows.values[window.value] if value_like(window.aggregate) and window.value else None
                self.results[window.signal] = Filled(kind, asked.size, empty, column)
            else:
                nothing = empty if window.by is None else []
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
        found = pool.map(lambda name: self.results.pop(name).finish(), names)
        return dict(zip(names, found, strict=True))

    def answer(self, part: Part, pool: Executor | None = None) -> None:
        """Everything about one part."""
        ranges = {}
        for length in {window.length for window in self.view.windows}:
            reach = -1 if length is None else length
            a, b = kernels.bounds(part.at, part.offsets, part.wanted, part.times, reach)
            ranges[length] = Range(a, b)
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
                result.put(part, *KERNELS[window.aggregate](series, over))
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
        self.place, self.end, self.before = kernels.link_groups(self.keys, self.codes, order)
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
        starts, codes, low, high = kernels.expand_groups(
            self.before, self.tree, self.place, self.end, self.series.at, self.codes, a, b, part.times
        )
        items = evaluate(self.series, window.aggregate, Range(low, high), kind.item_type)
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
    return Type.INT if pa.types.is_integer(arrow) else Type.TEXT
