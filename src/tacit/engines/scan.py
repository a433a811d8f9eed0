"""Reading sources in batches: tables in memory and Parquet files look alike from here on."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tacit.aggregates.rows import BATCH
from tacit.errors import DataError

_BATCH = 1 << 18  # rows: small enough that the reader's memory is used again and again
_CODED = 3.5  # bytes a value, below which a column of text is surely stored as codes


@dataclass(frozen=True)
class Files:
    """Parquet files written at several times, and what they are to look like together.

    Attributes:
        schema: the columns; one that a file lacks is null there. An int64 column may be held as
            timestamps in µs.
        time: the int64 column that dates rows; every file has it.
        since: column → µs; its values are null in rows dated before. Where it is `time` itself,
            all values of those rows are: no engine takes them, and no join finds them.
        held: column → its name in the files, where that is another.
        required: columns without which a row is nobody's: where one is null, so is the time.
        arrived: a column of moments, and one (µs): rows that arrived later, or of which nobody
            knows when, have no time.
    """

    paths: Sequence[Path]
    schema: pa.Schema
    time: str
    since: Mapping[str, int]
    held: Mapping[str, str] = field(default_factory=dict)
    required: Sequence[str] = ()
    arrived: tuple[str, int] | None = None

    @property
    def judged(self) -> tuple[str, ...]:
        """The columns that tell whether a row counts."""
        return self.time, *self.required, *((self.arrived[0],) if self.arrived else ())

    def limit(self, column: str) -> int | None:
        """The moment (µs) before which rows have no value of this column; None for all have."""
        limits = [self.since[name] for name in (column, self.time) if name in self.since]
        return max(limits, default=None)


Source: TypeAlias = pa.Table | Path | Sequence[Path] | Files


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a source: which, and at what place among all."""

    start: int
    file: int
    group: int


class Scan(Protocol):
    """A source that is read piece by piece, on any thread."""

    @property
    def schema(self) -> pa.Schema:
        """The columns and their types."""

    @property
    def rows(self) -> int:
        """How many rows there are."""

    @property
    def pieces(self) -> list[Piece]:
        """What it is read in."""

    def read(self, piece: Piece, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The batches of a piece, in order."""


class TableScan:
    """A table in memory."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.schema = table.schema
        self.rows = table.num_rows
        self.pieces = [Piece(start, 0, 0) for start in range(0, table.num_rows, BATCH)]

    def read(self, piece: Piece, columns: Sequence[str]) -> Iterator[pa.Table]:
        yield self.table.select(list(columns)).slice(piece.start, BATCH)


class ParquetScan:
    """One or several Parquet files of one schema, by row group.

    Raises DataError T342 for a file that is none, or whose columns differ from the first one's.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self.metadata = [_metadata(path) for path in self.paths]
        if not self.paths:
            raise DataError("a source of no files", code="T342", fix="name a Parquet file")
        schemas = [metadata.schema.to_arrow_schema() for metadata in self.metadata]
        self.schema = schemas[0].remove_metadata()
        for path, schema in zip(self.paths, schemas, strict=True):
            if not schema.equals(self.schema):
                raise DataError(
                    f"{path} has other columns than {self.paths[0]}",
                    code="T342",
                    where=str(path),
                    fix="write both with one schema",
                )
        self._index()

    def _index(self) -> None:
        """Numbers the row groups."""
        self.pieces: list[Piece] = []
        self.rows = 0
        for file, metadata in enumerate(self.metadata):
            for group in range(metadata.num_row_groups):
                self.pieces.append(Piece(self.rows, file, group))
                self.rows += metadata.row_group(group).num_rows
        self._local = threading.local()

    def _open(self, file: int) -> pq.ParquetFile:
        """The file as this thread has it open: readers are not shared."""
        if getattr(self._local, "file", None) != file:
            self._local.reader = pq.ParquetFile(
                self.paths[file],
                metadata=self.metadata[file],
                read_dictionary=coded(self.metadata[file]),
            )
            self._local.file = file
        reader: pq.ParquetFile = self._local.reader
        return reader

    def read(self, piece: Piece, columns: Sequence[str]) -> Iterator[pa.Table]:
        reader = self._open(piece.file)
        group, alone = [piece.group], len(self.pieces) == 1  # nobody else reads meanwhile
        try:
            for batch in reader.iter_batches(_BATCH, group, list(columns), use_threads=alone):
                yield pa.Table.from_batches([batch])
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self.paths[piece.file], error) from error


class FilesScan(ParquetScan):
    """Files of a table that grew: every one is read as what the table is now."""

    def __init__(self, files: Files) -> None:
        self.files, self.schema = files, files.schema
        self.paths = list(files.paths)
        self.metadata = [_metadata(path) for path in self.paths]
        self._index()

    def read(self, piece: Piece, columns: Sequence[str]) -> Iterator[pa.Table]:
        there = set(self.metadata[piece.file].schema.to_arrow_schema().names)
        held = {name: self.files.held.get(name, name) for name in (*columns, *self.files.judged)}
        wanted = dict.fromkeys(name for name in held.values() if name in there)
        for batch in super().read(piece, list(wanted)):
            at = self._plain(batch, held[self.files.time])
            arrays = [
                self._time(batch, held, at)
                if name == self.files.time
                else self._masked(name, self._plain(batch, held[name]), at)
                if held[name] in there
                else pa.nulls(batch.num_rows, self.schema.field(name).type)
                for name in columns
            ]
            yield pa.table(arrays, names=list(columns))

    def _time(
        self, batch: pa.Table, held: Mapping[str, str], at: pa.ChunkedArray
    ) -> pa.ChunkedArray:
        """When each row happened, null for those that do not count."""
        dated = self._masked(self.files.time, at, at)
        counts = [pc.is_valid(batch.column(held[name])) for name in self.files.required]
        if self.files.arrived is not None:
            name, moment = self.files.arrived
            there = held[name] in batch.column_names  # else the file is older than the column
            when = self._plain(batch, held[name]) if there else pa.nulls(len(at), pa.int64())
            counts.append(pc.less_equal(when, moment))
        for test in counts:
            if not pc.all(test, skip_nulls=False).as_py():
                dated = pc.if_else(pc.fill_null(test, False), dated, pa.scalar(None, at.type))
        return dated

    def _plain(self, batch: pa.Table, held: str) -> pa.ChunkedArray:
        """A column as it is held, but for moments, which are int64 µs, and texts, which are UTF-8.

        Raises DataError T342 for texts that are not.
        """
        values = batch.column(held)
        if pa.types.is_timestamp(values.type):
            return values.cast(pa.int64())
        if pa.types.is_dictionary(values.type) or pa.types.is_string(values.type):
            try:
                values.validate(full=True)
            except (pa.ArrowException, UnicodeDecodeError) as error:
                raise _unreadable(f"the column {held!r}", error) from error
        return values

    def _masked(self, name: str, values: pa.ChunkedArray, at: pa.ChunkedArray) -> pa.ChunkedArray:
        since = self.files.limit(name)
        if since is None or (least := pc.min(at).as_py()) is None or least >= since:
            return values
        plain = values
        if pa.types.is_dictionary(values.type):
            plain = pc.cast(values, values.type.value_type)
        return pc.if_else(pc.less(at, since), pa.scalar(None, plain.type), plain)


def coded(metadata: pq.FileMetaData) -> list[str]:
    """Columns of text that a file stores by dictionary, judged by their size."""
    if not metadata.num_row_groups:
        return []
    group = metadata.row_group(0)
    chunks = [group.column(i) for i in range(group.num_columns)]
    return [
        chunk.path_in_schema
        for chunk in chunks
        if chunk.physical_type == "BYTE_ARRAY"
        and chunk.total_uncompressed_size < _CODED * max(chunk.num_values, 1)
    ]


def _metadata(path: Path) -> pq.FileMetaData:
    try:
        return pq.read_metadata(path)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _unreadable(what: Path | str, error: Exception) -> DataError:
    return DataError(
        f"{what} cannot be read as Parquet: {error}",
        code="T342",
        where=str(what),
        fix="name a Parquet file that is complete",
    )


def scan(source: Source) -> Scan:
    """A source, ready to be read."""
    if isinstance(source, pa.Table):
        return TableScan(source)
    if isinstance(source, Files):
        return FilesScan(source)
    return ParquetScan([source] if isinstance(source, Path) else source)


def scans(sources: Mapping[str, Source]) -> dict[str, Scan]:
    """Every source, ready to be read."""
    return {name: scan(source) for name, source in sources.items()}
