"""Files and tables to be ingested: read in batches, in bounded memory, each row with its number."""

from __future__ import annotations

import difflib
import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from tacit.engines.scan import coded
from tacit.errors import DataError
from tacit.store.files import INGESTED, check_file, first_line
from tacit.store.lake.contract import Batch, Breach
from tacit.store.lake.json_values import column_of
from tacit.store.lake.layout import Layout
from tacit.values import Type

Input: TypeAlias = Path | pa.Table
Broken: TypeAlias = Callable[[Breach], None]

ROWS = 1 << 18  # of a batch
_LINE_ROWS = 1 << 16  # of JSON: its rows are Python's until they are columns
_BLOCK = 1 << 23  # bytes of a text file that are read at once
_LONGEST = 1 << 26  # bytes of a line
_PARQUET = (".parquet", ".pq")
_CSV = tuple(ending for ending in INGESTED if ending.startswith(".csv"))
_LINES = tuple(ending for ending in INGESTED if ending not in _CSV)


@dataclass(frozen=True)
class Opened:
    """An input whose columns are known.

    Attributes:
        title: how it is called in a quarantine.
        absent: declared columns that it does not have; their values are null.
    """

    title: str
    absent: tuple[str, ...]
    batches: Callable[[Broken], Iterator[Batch]]


def identify(given: Input, salt: bytes) -> str:
    """The id of an input: HMAC-SHA256 of its bytes under the table's salt.

    It outlives the rows, in records that are never removed; without the salt, which goes with the
    table, it says nothing of them.
    """
    digest = hmac.new(salt, digestmod=hashlib.sha256)
    if isinstance(given, Path):
        with check_file(given).open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()
    for start in range(0, given.num_rows, ROWS):
        part = given.slice(start, ROWS).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, part.schema) as stream:
            stream.write_table(part)
        digest.update(sink.getvalue())
    digest.update(given.schema.serialize())
    return digest.hexdigest()


def stamp(given: Input) -> tuple[int, ...]:
    """What changes when a file does."""
    if not isinstance(given, Path):
        return ()
    found = os.stat(given)
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def open_input(given: Input, layout: Layout, renamed: Mapping[str, str]) -> Opened:
    """An input, ready to be read.

    Raises DataError T301 or T302 for a file that is none or cannot be read, T360 for one that lacks
    a column that must be there or seems to call it otherwise, T369 for a kind that is not read.
    """
    reader = _Reader(layout, renamed, "a table" if isinstance(given, pa.Table) else str(given))
    if isinstance(given, pa.Table):
        return reader.table(given)
    check_file(given)
    name = given.name.lower()
    for endings, read in (
        (_PARQUET, reader.parquet),
        (_CSV, reader.csv),
        (_LINES, reader.lines),
    ):
        if name.endswith(endings):
            try:
                return read(given)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                raise _unreadable(given, error) from error
    raise DataError(
        f"the lake does not read files of the kind {given.suffix!r}",
        code="T369",
        where=str(given),
        fix="name it " + ", ".join((*_PARQUET, *_CSV, *_LINES)) + ", as what it is",
    )


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"the file cannot be read: {first_line(error)}",
        code="T302",
        where=str(path),
        fix="write it again; it is damaged, cut short, or of another kind; nothing of it was kept",
    )


class _Reader:
    """How each kind of input is read, for one layout."""

    def __init__(self, layout: Layout, renamed: Mapping[str, str], where: str) -> None:
        self.layout, self.where = layout, where
        self.held = {name: renamed.get(name, name) for name in layout.columns}

    def _present(self, names: Sequence[str]) -> dict[str, str]:
        """Declared column → the file's, for those that it has. Raises DataError T360."""
        present = {name: held for name, held in self.held.items() if held in names}
        free = [name for name in names if name not in self.held.values()]
        for name, held in self.held.items():
            if names.count(held) > 1:
                raise self._refuse(f"has several columns {held!r}", "write each column once")
            near = [other for other in free if other.casefold() == held.casefold()]
            near += difflib.get_close_matches(held, free, 1, 0.8)
            if name in present or not (near or name in self.layout.required):
                continue
            close = near or difflib.get_close_matches(held, free, 3, 0.3) or free[:8]
            which = ", ".join(map(repr, close)) or "none that is left"
            raise self._refuse(
                f"has no column {held!r}",
                f"say in tacit.toml which column holds {name!r}: it has {which}",
            )
        return present

    def _refuse(self, message: str, fix: str) -> DataError:
        return DataError(f"the input {message}", code="T360", where=self.where, fix=fix)

    def _opened(self, names: Sequence[str], batches: Callable[..., Iterator[Batch]]) -> Opened:
        present = self._present(names)
        absent = tuple(name for name in self.layout.columns if name not in present)
        title = Path(self.where).name
        return Opened(title, absent, lambda broken: self._guarded(batches(present, broken)))

    def _guarded(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        try:
            yield from batches
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _unreadable(Path(self.where), error) from error

    def table(self, table: pa.Table) -> Opened:
        def batches(present: Mapping[str, str], _: Broken) -> Iterator[Batch]:
            chosen = table.select(list(present.values()))
            yield from _numbered(chosen.to_batches(ROWS), present)

        return self._opened(table.column_names, batches)

    def parquet(self, path: Path) -> Opened:
        def batches(present: Mapping[str, str], _: Broken) -> Iterator[Batch]:
            texts = {self.held[n] for n, kind in self.layout.columns.items() if kind is Type.TEXT}
            by_code = [name for name in coded(metadata) if name in texts]
            with pq.ParquetFile(path, metadata=metadata, read_dictionary=by_code) as file:
                columns = list(dict.fromkeys(present.values()))
                for batch in file.iter_batches(ROWS, columns=columns, use_threads=True):
                    batch.validate(full=True)  # text is UTF-8, lists are as long as they say
                    yield from _numbered([batch], present, first=batches_done[0])
                    batches_done[0] += batch.num_rows

        batches_done = [0]
        metadata = pq.read_metadata(path)
        return self._opened(metadata.schema.to_arrow_schema().names, batches)

    def csv(self, path: Path) -> Opened:
        with _open_csv(path, None, lambda _: "skip") as reader:
            names = reader.schema.names
        self._check_lists(names)

        def batches(present: Mapping[str, str], broken: Broken) -> Iterator[Batch]:
            columns = list(dict.fromkeys(present.values()))
            skipped: list[int] = []

            def skip(row: Any) -> str:
                number = int(row.number) - 1  # the header is row 1 to Arrow
                skipped.append(number)
                why = f"it has {row.actual_columns} values, and the header {row.expected_columns}"
                broken(Breach(number, "T366", "", why, None, {"": row.text}))
                return "skip"

            done = 0
            with _open_csv(path, columns, skip) as reader:
                for batch in reader:
                    for start in range(0, batch.num_rows, ROWS):
                        part = batch.slice(start, ROWS)
                        rows = _unskipped(done, part.num_rows, skipped)
                        done += part.num_rows
                        yield Batch({n: part.column(h) for n, h in present.items()}, rows, True)

        return self._opened(names, batches)

    def _check_lists(self, names: Sequence[str]) -> None:
        for name, kind in self.layout.columns.items():
            if kind is Type.VECTOR and self.held[name] in names:
                raise DataError(
                    f"the column {name!r} is of vectors, and CSV has no form for a list",
                    code="T369",
                    where=self.where,
                    fix="write the file as Parquet, or as JSON lines",
                )

    def lines(self, path: Path) -> Opened:
        def batches(_: Mapping[str, str], broken: Broken) -> Iterator[Batch]:
            with pa.input_stream(str(path)) as file:
                yield from _line_batches(file, self.held, self.layout, broken)

        return self._opened(list(self.held.values()), batches)


def _numbered(
    batches: Iterable[pa.RecordBatch], present: Mapping[str, str], first: int = 0
) -> Iterator[Batch]:
    for batch in batches:
        rows = np.arange(first + 1, first + 1 + batch.num_rows)
        first += batch.num_rows
        yield Batch({name: batch.column(held) for name, held in present.items()}, rows)


def _open_csv(path: Path, columns: list[str] | None, skip: Callable[[Any], str]) -> Any:
    """Every value as bytes; an empty one is null, and "" in quotes is an empty text."""
    convert = pc_csv.ConvertOptions(
        include_columns=columns,
        column_types={name: pa.binary() for name in columns or ()},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    parse = pc_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip)
    read = pc_csv.ReadOptions(use_threads=False, block_size=_BLOCK)
    return pc_csv.open_csv(path, read, parse, convert)


def _unskipped(done: int, size: int, skipped: Sequence[int]) -> Any:
    """The numbers of the next rows, given how many came and which were skipped."""
    numbers = np.arange(done + 1, done + 1 + size)
    for skip in sorted(skipped):
        numbers[numbers >= skip] += 1
    return numbers


def _line_batches(
    file: Any, held: Mapping[str, str], layout: Layout, broken: Broken
) -> Iterator[Batch]:
    """Rows of JSON lines (one object to a line; RFC 8259). Blank lines are no rows."""
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    number, rest = 0, b""
    while True:
        block = file.read(_BLOCK)
        lines = (rest + block).split(b"\n")
        rest = lines.pop() if block else b""
        if len(rest) > _LONGEST:
            raise OSError(f"line {number + len(lines) + 1} has no end")
        for line in lines:
            number += 1
            if not line.strip():
                continue
            row, why = _object(line)
            if row is None:
                text = line.decode(errors="backslashreplace")
                broken(Breach(number, "T366", "", why, None, {"": text}))
                continue
            rows.append(row)
            numbers.append(number)
            if len(rows) == _LINE_ROWS:
                yield _columns(rows, numbers, held, layout)
                rows, numbers = [], []
        if not block:
            break
    if rows:
        yield _columns(rows, numbers, held, layout)


def _object(line: bytes) -> tuple[dict[str, Any] | None, str]:
    try:
        row = json.loads(line, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        return None, f"it is not JSON: {first_line(error)}"
    return (row, "") if isinstance(row, dict) else (None, "it is not an object")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a name comes twice")
    return row


def _columns(
    rows: list[dict[str, Any]], numbers: list[int], held: Mapping[str, str], layout: Layout
) -> Batch:
    originals = [{name: row[title] for name, title in held.items() if title in row} for row in rows]
    columns, breaches = {}, {}
    for name, kind in layout.columns.items():
        columns[name], breaches[name] = column_of([row.get(name) for row in originals], kind)
    return Batch(columns, np.array(numbers), False, breaches, originals)
