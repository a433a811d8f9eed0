"""Rows that came before: content by its key, events by an id of their own where they have one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.manifest import DataFile

from tacit.store.lake.rows import batches
from tacit.store.lake.table import LakeTable


class Seen:
    """The ids that an ingestion has met, and those in the lake that could be the same events.

    An event that comes twice comes with the same time, so only files whose times overlap those of
    the rows at hand are looked at. In memory are the ids of those, and of this ingestion.
    """

    def __init__(self, table: LakeTable, column: str, files: Sequence[DataFile]) -> None:
        self._table, self._column, self._files = table, column, files
        self._loaded: set[str] = set()
        self._known: list[pa.Array] = []

    def again(self, rows: pa.Table) -> npt.NDArray[np.bool_]:
        """Which rows came before; those that did not are remembered."""
        if not rows.num_rows:
            return np.zeros(0, bool)
        self._load(rows)
        ids = _plain(rows.column(self._column))
        codes = ids.dictionary_encode().indices.to_numpy(zero_copy_only=False)
        again = np.ones(rows.num_rows, bool)
        again[np.unique(codes, return_index=True)[1]] = False
        if self._known:
            known = pa.concat_arrays(self._known)
            self._known = [known]
            again |= pc.is_in(ids, known).to_numpy(zero_copy_only=False)
        self._known.append(ids.filter(pa.array(~again)))
        return again

    def _load(self, rows: pa.Table) -> None:
        time = self._table.layout.time
        span = pc.min_max(rows.column(time)).as_py() if time else {"min": 0, "max": 0}
        schema = self._table.layout.schema()
        for file in self._files:
            bounds = self._table.bounds(file, time) if time else None
            apart = bounds is not None and (bounds.high < span["min"] or bounds.low > span["max"])
            if file.file_path in self._loaded or apart:
                continue
            self._loaded.add(file.file_path)
            for part in batches(self._table, file, schema, [self._column]):
                self._known.append(_plain(part.column(self._column)))


def _plain(values: pa.ChunkedArray) -> pa.Array:
    coded = pa.types.is_dictionary(values.type)
    plain = pc.cast(values, values.type.value_type) if coded else values
    return plain.combine_chunks()
