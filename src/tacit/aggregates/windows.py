"""All windows of a view for all rows of a spine: sort once by (key, time), then ask.

Keys are numbered by the spine, and rows and spine are cut into parts by ranges of those numbers.
Each part is sorted by (key, time) and answered by itself, in the cache and on a thread of its own.
Every window is then a range of positions for each spine row; windows of one length share the
ranges, and windows of one value and filter share their prefix sums, trees and positions. A map
(``by``) sorts its rows once more by (key, by, time), finds the groups that have a row in each
window, and asks the same questions of the groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from tacit.aggregates import groups, kernels
from tacit.aggregates.algebra import REGISTRY
from tacit.aggregates.columns import Array, Column, read
from tacit.aggregates.keys import Keys
from tacit.aggregates.memory import Memory
from tacit.aggregates.parts import THREADS, Asked, Part, Parts, Prepared
from tacit.aggregates.rows import BATCH, Rows
from tacit.aggregates.series import Range, Series, evaluate, kernel_of, value_like
from tacit.operations import View, Window
from tacit.values import Type

Span: TypeAlias = tuple[int | None, int | None]  # length and hop


class Filled:
    """The results of a signal, as numbers, in the order of the spine."""

    def __init__(self, kind: pa.DataType, size: int, empty: int | None, column: Column | None):
        self.kind = kind
        self.column = column  # whose codes the numbers are
        floats = pa.types.is_floating(kind)
        # Rows whose key is nowhere are in no part: they keep what is here.
        self.numbers = np.zeros(size, np.float64 if floats else np.int64)
        self.valid = None if empty is not None else np.zeros(size, np.bool_)

    def put(self, part: Part, numbers: Array, valid: Array | None) -> None:
        self.numbers[part.back] = numbers
        if self.valid is not None:
            self.valid[part.back] = True if valid is None else valid

    def finish(self, place: Array) -> pa.Array:
        column = Column(self.numbers, None) if self.column is None else self.column
        return column.decode(self.numbers, self.valid, self.kind)


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

    @property
    def names(self) -> list[str]:
        """The values that are read."""
        windows = self.view.windows
        return sorted({name for w in windows for name in (w.value, w.by, w.where) if name})

    def run(self, parts: Parts, pool: Executor) -> dict[str, pa.Array]:
        """The result of each signal, in the order of the spine."""
        for together in parts.passes():
            if len(together) >= THREADS:
                list(pool.map(lambda part: self.answer(part()), together))
            else:  # a part is a key at least: with so few of them, inputs go side by side
                for part in together:
                    self.answer(part(), pool)
        names = list(self.results)
        found = pool.map(lambda name: self.results.pop(name).finish(self.place), names)
        return dict(zip(names, found, strict=True))

    def answer(self, part: Part, pool: Executor | None = None) -> None:
        """Everything about one part."""
        self.place[part.back] = np.arange(part.start, part.start + len(part.back))
        ranges = {}
        for span in {(window.length, window.hop) for window in self.view.windows}:
            a, b = _bounds(part.at, part.offsets, part, *span)
            ranges[span] = Range(a, b, part.times)
        run = map if pool is None else pool.map
        list(run(lambda group: self.group(part, ranges, group), self.groups.values()))

    def passing(self, part: Part, where: str | None) -> Array | None:
        return None if where is None else part.column(where).numbers != 0

    def group(self, part: Part, ranges: Mapping[Span, Range], windows: list[Window]) -> None:
        """Windows that share value, filter and by."""
        first = windows[0]
        if first.by is not None:
            grouped = Grouped(self, part, first)
            for window in windows:
                result = self.results[window.signal]
                assert isinstance(result, Pieces), "maps come in pieces"
                result.put(part, grouped.answer(window, result.kind))
            return
        column = None if first.value is None else part.column(first.value)
        mask = _both(self.passing(part, first.where), None if column is None else column.valid)
        series = Series(part.at, part.offsets, column, mask)
        for window in windows:
            result, over = self.results[window.signal], ranges[window.length, window.hop]
            if isinstance(result, Filled):
                kernel = kernel_of(window.aggregate)
                assert kernel is not None, "only kernels fill"
                result.put(part, *kernel(series, over))
            else:
                result.put(part, evaluate(series, window.aggregate, over, result.kind))


def _bounds(
    at: Array, offsets: Array, part: Part, length: int | None, hop: int | None
) -> tuple[Array, Array]:
    """The rows of each query of a part, among rows at these times."""
    reach = -1 if length is None else length
    found: tuple[Array, Array] = kernels.bounds(
        at, offsets, part.wanted, part.times, reach, hop or 0
    )
    return found


def _both(left: Array | None, right: Array | None) -> Array | None:
    if left is None or right is None:
        return left if right is None else right
    return left & right


class Grouped:
    """The rows that pass a filter and have a ``by``, sorted by (key, by, time)."""

    def __init__(self, windows: Windows, part: Part, first: Window) -> None:
        assert first.by is not None, "only maps are grouped"
        self.part = part
        self.by = part.column(first.by)
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
            column = part.column(first.value).at(kept[order])
        ends = np.flatnonzero(np.diff(self.end, prepend=-1)) if len(order) else np.zeros(0, int)
        starts = np.append(ends, len(order)).astype(np.int64)
        valid = None if column is None else column.valid
        self.series = Series(self.at[order], starts, column, valid)

    def answer(self, window: Window, kind: pa.MapType) -> pa.Array:
        """A map for each query."""
        part = self.part
        a, b = _bounds(self.at, self.offsets, part, window.length, window.hop)
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
    view: View,
    rows: Prepared,
    asked: Asked,
    kinds: Mapping[str, pa.DataType],
    pool: Executor,
    keys: Keys,
    memory: Memory,
) -> dict[str, pa.Array]:
    """Every signal of a view for every row of the spine, in the spine's order.

    ``kinds`` are the signals' Arrow types; ``keys`` are shared by the views of the same rows.
    """
    if not view.windows:
        return {}
    found = Windows(view, rows, asked, kinds)
    return found.run(Parts(rows, asked, found.names, keys, pool, memory), pool)


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
        return compute(view, prepared, asked, kinds, pool, Keys(), Memory())


def _type(arrow: pa.DataType) -> Type:
    if pa.types.is_boolean(arrow):
        return Type.BOOL
    if pa.types.is_floating(arrow):
        return Type.FLOAT
    if pa.types.is_nested(arrow):
        return Type.VECTOR
    return Type.INT if pa.types.is_integer(arrow) else Type.TEXT
