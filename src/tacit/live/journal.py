"""The journal: rows that wait for a baseline, and where in their stream they stood."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tacit.aggregates.columns import Array

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
