"""The rows that a spine can see, out of sources that may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tacit.aggregates.columns import Array, flat
from tacit.aggregates.parts import THREADS
from tacit.engines.base import needed
from tacit.engines.scan import Files, Piece, scan
from tacit.operations import View
from tacit.store.files import micros

EVER = 2**63 - 1
"""A moment by which all has arrived whose arrival is known."""
_ROW = 96
"""Bytes that the times of a row take while they are sorted twice, beside its columns."""
_WIDE = 32
"""Bytes of a text, or of whatever else has no width."""


Rows: TypeAlias = pa.Table | Files


def arrived_by(source: Rows, arrival: str, moment: int) -> Rows:
    """The rows that had arrived by a moment (µs); of files, those that did not have no time."""
    if isinstance(source, pa.Table):
        return source.filter(pc.less_equal(micros(source[arrival]), moment))
    return replace(source, arrived=(arrival, moment))


def late_share(source: Rows, time: str, arrival: str, moment: int) -> float | None:
    """The share of what had happened before a moment (µs) that arrived at it or later, or nobody
    knows when; None where nothing had happened."""
    opened = scan(source)
    happened = late = 0
    for piece in opened.pieces:
        for batch in opened.read(piece, list(dict.fromkeys((time, arrival)))):
            before = batch.filter(pc.less(micros(batch[time]), moment))
            known = pc.sum(pc.less(micros(before[arrival]), moment)).as_py() or 0
            happened += before.num_rows
            late += before.num_rows - known
    return late / happened if happened else None


def portions(view: View, source: Rows, spine: pa.Table, budget: int) -> list[Array]:
    """Places of spine rows, dealt by the view's first key so that the rows of each portion fit the
    budget (bytes), if keys are alike: a key's rows stay together, however many they are."""
    opened = scan(source)
    width = _ROW + sum(_width(opened.schema.field(name).type) for name in _read(view))
    count = -(-opened.rows * width // budget) if not isinstance(source, pa.Table) else 1
    if count < 2:
        return [np.arange(spine.num_rows)]
    keys = flat(_plain(spine[view.keys[0][0]])).dictionary_encode()
    codes = pc.fill_null(keys.indices, 0).to_numpy(zero_copy_only=False)
    return [part for i in range(count) if len(part := np.flatnonzero(codes % count == i))]


def within_reach(view: View, source: Rows, spine: pa.Table, arrival: str) -> pa.Table:
    """The columns of a view, and of arrival, of the rows that could count for some spine row: those
    of its keys, before its last moment, and no longer before its first than a window is.

    Moments are int64 µs, and texts are plain.
    """
    opened = scan(source)
    columns = list(dict.fromkeys([*_read(view), arrival]))
    schema = pa.schema([(name, _type(opened.schema.field(name).type)) for name in columns])
    if not spine.num_rows:
        return schema.empty_table()
    first, last = pc.min_max(micros(spine["at"])).as_py().values()
    reaches = [window.reach for window in view.windows]
    longest = None if None in reaches else max(reach for reach in reaches if reach is not None)
    keys = {column: pc.unique(_plain(spine[name])) for name, column in view.keys}

    def some(piece: Piece) -> Iterator[pa.Table]:
        for batch in opened.read(piece, columns):
            rows = pa.table([_plain(column) for column in batch.columns], schema=schema)
            counts = pc.less(rows[view.time], last)
            if longest is not None:
                since = max(first - longest, -EVER)
                counts = pc.and_(counts, pc.greater_equal(rows[view.time], since))
            for column, asked in keys.items():
                wanted = asked.cast(schema.field(column).type)
                counts = pc.and_(counts, pc.is_in(rows[column], value_set=wanted, skip_nulls=True))
            yield rows.filter(counts)

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda piece: list(some(piece)), opened.pieces))
    return pa.concat_tables([part for parts in found for part in parts] or [schema.empty_table()])


def _read(view: View) -> list[str]:
    """The source's own columns that a view reads."""
    return sorted(name for name in needed(view) if "." not in name)


def _width(kind: pa.DataType) -> int:
    try:
        return max(int(kind.bit_width) // 8, 1)
    except ValueError:
        return _WIDE


def _type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return pa.int64() if pa.types.is_timestamp(kind) or pa.types.is_integer(kind) else kind


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type):
        return micros(column)
    wanted = _type(column.type)
    return column if column.type == wanted else column.cast(wanted)
