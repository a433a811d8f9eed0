"""A training set: rows, what was known of each at its moment, and what came of it.

`learn.training` makes it. It is a table; it comes in batches, as Parquet, or as tensors; and every
value in it has a status:

========  ==========================================================================================
fresh     something contributed, and not longer ago than the signal's freshness, if it states one
stale     the newest event that contributes is older than that
missing   nothing ever happened that contributes
denied    a person in the row did not allow a purpose of the set at that moment; the value is null
expired   the window reaches back past what is still kept; the value would be too small and is null
complete  an outcome whose horizon has passed
pending   an outcome that is still open at the moment as of which the set is made; the value is null
========  ==========================================================================================

A formula is computed from the signals that it is over, null where they are; it is denied, expired
or stale where one of them is, and missing where all are.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tacit.aggregates.columns import Array, flat
from tacit.errors import DataError
from tacit.store.atomic import replace_file

STATUSES = ("fresh", "stale", "missing", "denied", "expired", "complete", "pending")
FRESH, STALE, MISSING, DENIED, EXPIRED, COMPLETE, PENDING = range(len(STATUSES))
GROUP = 1 << 17
"""Rows of a row group."""


class TrainingSet:
    """A spine with its features and labels; `make` makes it.

    Attributes:
        table: the row ids, the spine's columns, a column per signal, a column per label.
        row: the column of row ids.
        signals: the columns that are features.
        labels: the columns that are outcomes.
        late: with `as_of`, source → the share of what had happened by then, or by the spine's
            middle moment, that had not arrived; more than `LATE` is warned of (T347).
    """

    def __init__(
        self,
        table: pa.Table,
        row: str,
        signals: Sequence[str],
        labels: Sequence[str],
        status: Callable[[], Mapping[str, Array]],
        late: Mapping[str, float] | None = None,
    ) -> None:
        self.table = table
        self.row = row
        self.signals = tuple(signals)
        self.labels = tuple(labels)
        self.late = dict(late or {})
        self._status = status

    @cached_property
    def status(self) -> pa.Table:
        """The row ids, and for each signal and label what became of it, dictionary-encoded.

        Worked out when it is first asked for: it takes a pass over the sources.
        """
        columns = {self.row: self.table[self.row]}
        words = pa.array(STATUSES)
        for name, codes in self._status().items():
            columns[name] = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), words)
        return pa.table(columns)

    def with_status(self) -> TrainingSet:
        """The same, with a column `signal:status` for each signal and label at the end."""
        table = self.table
        for name in (*self.signals, *self.labels):
            table = table.append_column(f"{name}:status", self.status[name])
        found = TrainingSet(table, self.row, self.signals, self.labels, self._status, self.late)
        found.__dict__["status"] = self.status
        return found

    def batches(self, size: int = 1024) -> Iterator[pa.RecordBatch]:
        """Record batches of `size` rows, in order; the last may be shorter."""
        if size < 1:
            raise _unbatched(f"a batch of {size} rows", "ask for one row or more")
        for start in range(0, self.table.num_rows, size):
            yield self.table.slice(start, size).combine_chunks().to_batches()[0]

    def write(self, path: Path | str) -> Path:
        """Writes the table as Parquet, row group by row group; the file is there whole or not."""
        target = Path(path)
        replace_file(target, _parquet(self.table))
        return target

    def loader(
        self, size: int = 1024, *, columns: Sequence[str] | None = None, **options: Any
    ) -> Any:
        """Batches of numbers: dicts from column to array of `size` rows.

        A `torch.utils.data.DataLoader` (of tensors; `options` such as `shuffle=True` are its own)
        where PyTorch is installed, else an iterator of NumPy arrays. `columns` are numbers or true
        and false; left out, all signals and labels that are. Null is NaN. Raises DataError T376 for
        a column that is none, and for options without PyTorch.
        """
        arrays = self._arrays(columns)
        if importlib.util.find_spec("torch") is not None:
            from tacit.learn.tensors import data_loader

            return data_loader(arrays, size, options)
        if options:
            asked = ", ".join(options)
            raise _unbatched(f"{asked} without PyTorch", "install tacit[learn], or leave it out")
        return _slices(arrays, size, self.table.num_rows)

    def _arrays(self, columns: Sequence[str] | None) -> dict[str, Array]:
        chosen = columns or [n for n in (*self.signals, *self.labels) if self._numeric(n)]
        for name in chosen:
            if name not in self.table.column_names or not self._numeric(name):
                held = self.table[name].type if name in self.table.column_names else "missing"
                raise _unbatched(
                    f"a column {name!r}, which is {held}", "name columns of numbers, or use batches"
                )
        return {name: _numbers(self.table[name]) for name in chosen}

    def _numeric(self, name: str) -> bool:
        kind = self.table[name].type
        return bool(
            pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        )


def _unbatched(what: str, fix: str) -> DataError:
    return DataError(f"there are no batches of {what}", code="T376", where="loader", fix=fix)


def _numbers(column: pa.ChunkedArray) -> Array:
    """Numbers as they are; with NaN, as doubles, where some are null."""
    if column.null_count:
        kind = pa.int8() if pa.types.is_boolean(column.type) else column.type
        column = pc.fill_null(column.cast(kind).cast(pa.float64(), safe=False), float("nan"))
    return np.array(flat(column).to_numpy(zero_copy_only=False))


def _slices(arrays: Mapping[str, Array], size: int, rows: int) -> Iterator[dict[str, Array]]:
    for start in range(0, rows, size):
        yield {name: array[start : start + size] for name, array in arrays.items()}


class _Chunks:
    """A file that hands on what is written to it."""

    closed = False

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: Any) -> int:
        self.parts.append(bytes(data))
        return len(self.parts[-1])

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """There is nothing to close."""

    def take(self) -> Iterator[bytes]:
        parts, self.parts = self.parts, []
        yield from parts


def _parquet(table: pa.Table) -> Iterator[bytes]:
    """The bytes of a Parquet file, as they come."""
    chunks = _Chunks()
    writer = pq.ParquetWriter(pa.PythonFile(chunks, mode="w"), table.schema, compression="zstd")
    for start in range(0, table.num_rows, GROUP):
        writer.write_table(table.slice(start, GROUP))
        yield from chunks.take()
    writer.close()
    yield from chunks.take()
