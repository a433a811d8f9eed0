"""The journal: rows that wait for a baseline, and where in their stream they stood."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tacit.aggregates.columns import Array
from tacit.live.feed import Feed

_ID = "\0id"  # no declared column is called so


@dataclass(frozen=True, slots=True)
class Entry:
    """Rows that wait in the journal, and where in their stream they stood."""

    stream: str
    positions: list[tuple[int, ...]]
    table: pa.Table
    ids: Array | None = None

    def dump(self) -> bytes:
        sink = pa.BufferOutputStream()
        said = {"stream": self.stream, "positions": json.dumps(self.positions)}
        table = self.table
        if self.ids is not None:
            table = table.append_column(_ID, pa.array(self.ids.tolist(), pa.binary()))
        table = table.replace_schema_metadata(said)
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        raw: bytes = sink.getvalue().to_pybytes()
        return raw

    def those(self, kept: Array) -> Entry:
        """Some of its rows."""
        positions = [where for where, stays in zip(self.positions, kept, strict=True) if stays]
        ids = None if self.ids is None else self.ids[kept]
        return Entry(self.stream, positions, self.table.filter(pa.array(kept)), ids)

    def within(self, feed: Feed, now: int) -> Entry:
        """Without what is past its retention: rows, also those without a time, from which it is
        counted; and values of columns that are kept shorter. Itself where that is nothing."""
        at = self.table[feed.time]
        needed = [feed.time, *feed.required]
        terms = [feed.retention, *(feed.kept.get(name) for name in needed)]
        keep = min((term for term in terms if term is not None), default=None)
        found = self
        if keep is not None:
            fresh = pc.fill_null(pc.greater_equal(at, now - keep), False).to_numpy()
            if not fresh.all():
                found = self.those(fresh)
        for i, name in enumerate(found.table.column_names):
            if name in needed or name not in feed.kept:
                continue
            stays = pc.greater_equal(found.table[feed.time], now - feed.kept[name])
            column = found.table[name]
            left = pc.if_else(stays, column, pa.scalar(None, column.type))
            if left.null_count > column.null_count:
                table = found.table.set_column(i, name, left)
                found = Entry(found.stream, found.positions, table, found.ids)
        return found

    @classmethod
    def load(cls, raw: bytes) -> Entry:
        table = pa.ipc.open_stream(raw).read_all()
        said = table.schema.metadata
        positions = [tuple(each) for each in json.loads(said[b"positions"])]
        ids = None
        if _ID in table.column_names:
            ids = np.array(table[_ID].to_pylist(), "S16")
            table = table.drop_columns([_ID])
        return cls(said[b"stream"].decode(), positions, table.replace_schema_metadata(None), ids)
