"""Spines: the rows that a training set is made for, each a moment of some keys.

A spine is an Arrow table, a Parquet file or a list of dicts. It has a column for each entity, and
``at``: int64 µs, timestamps of any unit and zone, dates, or ISO 8601 text, in which zones may be
mixed. A moment without a zone is UTC. What else it has is carried along. Rows are told apart by
their place, never by their keys; a column of row ids is kept as it is, or made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tacit.errors import DataError
from tacit.store.files import ARROW, check_file, micros, strange
from tacit.values import DAY, Type, moment

Rows: TypeAlias = pa.Table | Path | str | Sequence[Mapping[str, Any]]
ROW, AT = "row", "at"


@dataclass(frozen=True, slots=True)
class Spine:
    """A spine that was read.

    Attributes:
        table: the row ids, then all other columns as they came; ``at`` is int64 µs.
        row: the column of row ids.
        keys: the columns of entities' keys.
        carried: the columns that no signal asks for.
    """

    table: pa.Table
    row: str
    keys: tuple[str, ...]
    carried: tuple[str, ...]

    @property
    def asked(self) -> pa.Table:
        """What engines want of it: keys and time."""
        return self.table.select([*self.keys, AT])


def read_spine(given: Rows, keys: Mapping[str, Type], row: str | None = None) -> Spine:
    """The rows of a spine, with times in microseconds. ``row`` names its column of row ids.

    Raises DataError as `read_moments`.
    """
    table = read_moments(given, keys, row)
    chosen = row or ROW
    if chosen not in table.column_names:
        table = table.add_column(0, chosen, pa.array(np.arange(table.num_rows)))
    carried = (n for n in table.column_names if n not in (chosen, AT) and n not in keys)
    return Spine(table, chosen, tuple(keys), tuple(carried))


def read_moments(given: Rows, keys: Mapping[str, Type], row: str | None = None) -> pa.Table:
    """The rows of a spine as they came, with ``at`` in microseconds and keys of their types.

    Raises DataError T301 or T302 for a file, T348 for whole numbers of another unit, T371 for a
    column that is missing, there twice or without a moment in some row.
    """
    table = _table(given)
    names = table.column_names
    for name in names:
        if names.count(name) > 1:
            _wrong(f"it has two columns {name!r}", "give each column a name of its own")
    for name in (AT, *keys, *([row] if row else [])):
        if name not in names:
            what = {AT: "the moment of each row"}.get(name, f"the key of the entity {name!r}")
            what = "the row ids" if name == row else what
            _wrong(f"it has no column {name!r}", f"add it: it holds {what}")
    if pa.types.is_integer(table[AT].type) and not isinstance(given, list | tuple):
        _check_unit(table[AT])
    at = _moments(table[AT])
    if at.null_count:
        first = pc.index(pc.is_null(at), True).as_py()
        _wrong(f"{at.null_count:,} rows have no moment, the first is row {first}", "leave them out")
    table = table.set_column(names.index(AT), AT, at)
    for name, kind in keys.items():
        if pa.types.is_null(table[name].type):
            nothing = pa.nulls(table.num_rows, ARROW[kind])
            table = table.set_column(names.index(name), name, nothing)
    return table


def _check_unit(whole: pa.ChunkedArray) -> None:
    """Raises DataError T348 where most of the moments that are whole numbers are of no day near
    ours: nothing would be found, and nobody told."""
    odd = pc.sum(strange(whole)).as_py() or 0
    if 2 * odd > len(whole):
        raise DataError(
            f"{odd:,} of {len(whole):,} rows are at whole numbers that as microseconds lie before"
            " 1990 or after 2100",
            code="T348",
            where="spine",
            fix="give microseconds since 1970 UTC, timestamps, or ISO 8601 text",
        )


def check_columns(table: pa.Table, names: Sequence[str]) -> None:
    """Raises DataError T371 where a column of the spine, or another signal, has a name already."""
    taken = [*table.column_names, *names]
    twice = next((name for name in names if taken.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            f"there would be two columns {twice!r}",
            code="T371",
            where="spine",
            fix="rename the spine's column, or name each signal and label once",
        )


def with_given(found: pa.Table, spine: pa.Table, given: Mapping[str, Type]) -> pa.Table:
    """What was found for the rows of a spine, and what the spine gives to formulas: its columns of
    these names. Raises DataError T371 for one that is missing or of another type."""
    for name, kind in given.items():
        if name not in spine.column_names:
            _wrong(
                f"it has no column {name!r}, which a formula is over",
                "add what was given with each request",
            )
        column = spine[name]
        whole = pa.types.is_integer(column.type) or pa.types.is_null(column.type)
        if column.type != ARROW[kind] and (whole or kind is Type.TIME):
            try:
                column = micros(column) if kind is Type.TIME else column.cast(ARROW[kind])
            except (pa.ArrowException, DataError):
                _wrong(f"its column {name!r} is no {kind}", f"give it as {ARROW[kind]}")
        if column.type != ARROW[kind]:
            _wrong(f"its column {name!r} is {column.type}, no {kind}", f"give it as {ARROW[kind]}")
        found = found.append_column(name, column)
    return found


def _wrong(message: str, fix: str) -> NoReturn:
    raise DataError(f"the spine cannot be used: {message}", code="T371", where="spine", fix=fix)


def _table(given: Rows) -> pa.Table:
    if isinstance(given, pa.Table):
        return given
    if isinstance(given, pa.RecordBatch):
        return pa.Table.from_batches([given])
    if isinstance(given, str | Path):
        path = check_file(Path(given))
        try:
            return pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"the file cannot be read as Parquet: {error}",
                code="T302",
                where=str(path),
                fix="write it again; it is damaged, cut short, or of another format",
            ) from error
    rows: Any = given  # a caller may not heed the types
    if isinstance(rows, Sequence) and all(isinstance(each, Mapping) for each in rows):
        return _from_dicts(rows)
    return _wrong(
        f"it is a {type(rows).__name__}", "give an Arrow table, a Parquet file or a list of dicts"
    )


def _from_dicts(given: Sequence[Mapping[str, Any]]) -> pa.Table:
    names = list(dict.fromkeys(name for each in given for name in each))
    columns = {}
    for name in names:
        values = [each.get(name) for each in given]
        if name == AT:
            _check_unit(pa.chunked_array([[v for v in values if type(v) is int]], pa.int64()))
            columns[name] = pa.array([_moment(v, i) for i, v in enumerate(values)], pa.int64())
            continue
        try:
            columns[name] = pa.array(values)
        except pa.ArrowException as error:
            _wrong(f"its column {name!r} is of no one type: {error}", "give values of one type")
    return pa.table(columns)


def _moment(value: object, row: int) -> int | None:
    """Microseconds of one value; without a zone it is UTC."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, date):
        return (value - date(1970, 1, 1)).days * DAY
    if isinstance(value, str):
        try:
            return moment(datetime.fromisoformat(value.strip()))
        except ValueError:
            pass
    return _wrong(
        f"row {row} is at {str(value)[:40]!r}, which is no moment",
        "write microseconds since 1970 UTC, a datetime, or ISO 8601 text",
    )


def _moments(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        coded = pa.chunked_array([column.cast(pa.string()).combine_chunks()]).dictionary_encode()
        coded = coded.combine_chunks()
        coded = coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded
        firsts = _first_rows(coded)
        texts = coded.dictionary.to_pylist()
        read = [_moment(text, first) for text, first in zip(texts, firsts, strict=True)]
        return pa.chunked_array([pa.array(read, pa.int64()).take(coded.indices)])
    if not (pa.types.is_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        if pa.types.is_null(kind):
            return pa.chunked_array([pa.nulls(len(column), pa.int64())])
        _wrong(
            f"its column {AT!r} is {kind}",
            "give microseconds as int64, timestamps, or ISO 8601 text",
        )
    return micros(column)


def _first_rows(coded: pa.DictionaryArray) -> list[int]:
    """The first row of each value: dictionaries are in order of appearance."""
    present = pc.is_valid(coded).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(present)
    codes = coded.indices.to_numpy(zero_copy_only=False)[present]
    _, first = np.unique(codes, return_index=True)
    found: list[int] = rows[first].tolist()
    return found
