"""Rows from files, held to the columns that a source declares.

Nothing is guessed: a column that is missing, or of a type that would have to be reinterpreted, is
an error that names the file, the column and the mend. What widens without loss (int32 to int, float
to double, dates and timestamps of any unit to microseconds) is widened.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tacit.errors import DataError
from tacit.values import MINUTE, Type

ARROW: Mapping[Type, pa.DataType] = {
    Type.INT: pa.int64(),
    Type.FLOAT: pa.float64(),
    Type.TEXT: pa.string(),
    Type.BOOL: pa.bool_(),
    Type.TIME: pa.int64(),
}
SKEW = 5 * MINUTE
"""How far ahead of now a row may be dated before it is refused: clocks disagree a little."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a source, and how many were left out because they belong to nobody.

    `table` has the declared columns, in order; times are int64 microseconds, UTC.
    """

    table: pa.Table
    without_key: int
    without_time: int


def read_parquet(
    path: Path,
    columns: Mapping[str, Type],
    *,
    renamed: Mapping[str, str] | None = None,
    keys: tuple[str, ...] = (),
    time: str | None = None,
    now: int | None = None,
) -> Rows:
    """The declared columns of a Parquet file.

    `renamed` says which file column holds a declared one, where the names differ. Rows without a
    key or a time are counted and left out. Raises DataError: T301 no file, T302 not readable as
    Parquet, T303 a column missing, T304 a column of another type, T305 times that lie in the
    future beyond `SKEW`.
    """
    renamed = dict(renamed or {})
    unknown = set(renamed) - set(columns)
    if unknown:
        raise DataError(
            f"a mapping names {sorted(unknown)[0]!r}, which is not a declared column",
            code="T303",
            where=str(path),
            fix="map declared columns: " + ", ".join(columns),
        )
    wanted = {name: renamed.get(name, name) for name in columns}
    raw = _read(path, wanted)
    arrays = [
        _convert(raw.column(held), name, columns[name], f"{path}, column {held!r}")
        for name, held in wanted.items()
    ]
    table = pa.table(arrays, names=list(wanted))
    with_key = _present(table, keys)
    with_time = _present(with_key, (time,) if time else ())
    if time and now is not None and with_time.num_rows:
        _check_skew(with_time.column(time), now, f"{path}, column {wanted[time]!r}")
    return Rows(
        with_time, table.num_rows - with_key.num_rows, with_key.num_rows - with_time.num_rows
    )


def _read(path: Path, wanted: Mapping[str, str]) -> pa.Table:
    if not path.is_file():
        raise DataError("there is no such file", code="T301", where=str(path), fix="check the path")
    try:
        with pq.ParquetFile(path) as file:
            present = file.schema_arrow.names
            for name, held in wanted.items():
                if held not in present:
                    raise _missing(path, name, held, present)
            return file.read(columns=list(dict.fromkeys(wanted.values())))
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"the file cannot be read as Parquet: {error}",
            code="T302",
            where=str(path),
            fix="write it again; it is damaged, cut short, or of another format",
        ) from error


def _missing(path: Path, name: str, held: str, present: list[str]) -> DataError:
    close = difflib.get_close_matches(held, present, 1) or sorted(present)
    return DataError(
        f"the file has no column {held!r}",
        code="T303",
        where=str(path),
        fix=f"map it: say which column holds {name!r}, such as {', '.join(map(repr, close[:8]))}",
    )


def _convert(column: pa.ChunkedArray, name: str, kind: Type, where: str) -> pa.ChunkedArray:
    held = column.type
    if pa.types.is_dictionary(held):
        column = pc.cast(column, held.value_type)
        held = held.value_type
    if kind is Type.TIME and (pa.types.is_timestamp(held) or pa.types.is_date(held)):
        unit = pa.timestamp("us", getattr(held, "tz", None))
        return pc.cast(pc.cast(column, unit, safe=False), pa.int64())
    suits = {
        Type.INT: pa.types.is_integer(held),
        Type.FLOAT: pa.types.is_floating(held) or pa.types.is_integer(held),
        Type.TEXT: pa.types.is_string(held) or pa.types.is_large_string(held),
        Type.BOOL: pa.types.is_boolean(held),
        Type.TIME: pa.types.is_int64(held),
    }[kind]
    if pa.types.is_null(held) or suits:
        try:
            return pc.cast(column, ARROW[kind])
        except pa.ArrowInvalid as error:
            raise DataError(
                f"a value does not fit {kind}: {error}", code="T304", where=where, fix="correct it"
            ) from error
    raise DataError(
        f"the declared column {name!r} is {kind}, and the file holds {held}",
        code="T304",
        where=where,
        fix=f"declare it as what it is, or write the file with {ARROW[kind]}",
    )


def _present(table: pa.Table, columns: tuple[str, ...]) -> pa.Table:
    for column in columns:
        if table.column(column).null_count:
            table = table.filter(pc.is_valid(table.column(column)))
    return table


def _check_skew(times: pa.ChunkedArray, now: int, where: str) -> None:
    latest = pc.max(times).as_py()
    if latest > now + SKEW:
        ahead = pc.sum(pc.greater(times, now + SKEW)).as_py()
        raise DataError(
            f"{ahead:,} rows are dated in the future, the furthest by"
            f" {(latest - now) // 60_000_000:,} minutes",
            code="T305",
            where=where,
            fix="check the clock and the unit that wrote them: times are microseconds, UTC",
        )
