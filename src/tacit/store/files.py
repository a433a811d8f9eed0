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
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tacit.errors import DataError
from tacit.values import MINUTE, Type

INGESTED = (".csv", ".csv.gz", ".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
"""Endings of files that the lake takes in, and that no source is bound to."""
ARROW: Mapping[Type, pa.DataType] = {
    Type.INT: pa.int64(),
    Type.FLOAT: pa.float64(),
    Type.TEXT: pa.string(),
    Type.BOOL: pa.bool_(),
    Type.TIME: pa.int64(),
    Type.VECTOR: pa.list_(pa.float32()),
}
UNITS: Mapping[str, int] = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}
"""Units of whole numbers that are moments, in µs; of nanoseconds a thousand make one."""
LEAST, MOST = 631_152_000_000_000, 4_102_444_800_000_000
"""1990 and 2100: a whole number beyond is taken for one of another unit, unless that is said."""
SKEW = 5 * MINUTE
"""How far ahead of now a row may be dated before it is refused: clocks disagree a little."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a source, and how many were left out because they belong to nobody.

    `table` has the declared columns, in order; times are int64 microseconds, UTC. `expired` were
    older than they may be kept.
    """

    table: pa.Table
    without_key: int = 0
    without_time: int = 0
    expired: int = 0

    @property
    def left_out(self) -> int:
        """All that is not in the table."""
        return self.without_key + self.without_time + self.expired


def read_parquet(
    path: Path,
    columns: Mapping[str, Type],
    *,
    renamed: Mapping[str, str] | None = None,
    keys: tuple[str, ...] = (),
    time: str | None = None,
    now: int | None = None,
    keep: int | None = None,
    unit: str | None = None,
) -> Rows:
    """The declared columns of a Parquet file.

    `renamed` says which file column holds a declared one, where the names differ; `unit` that of
    moments that are whole numbers, where it is said. Rows without a key or a time, and those dated
    more than `keep` microseconds before `now`, are counted and left out. Raises DataError: T301 no
    file, T302 not readable as Parquet, T303 a column missing, T304 a column of another type, T305
    times that lie in the future beyond `SKEW`, T348 times that seem to be of another unit.
    """
    wanted = _wanted(path, columns, renamed or {})
    raw = _read(path, wanted)
    arrays = []
    for name, held in wanted.items():
        where = f"{path}, column {held!r}"
        array = convert(raw.column(held), name, columns[name], where)
        if columns[name] is Type.TIME and pa.types.is_int64(raw.column(held).type):
            if name == time and unit is None:
                _check_unit(array, where)
            array = of_unit(array, unit)
        arrays.append(array)
    table = pa.table(arrays, names=list(wanted))
    with_key = _present(table, keys)
    with_time = _present(with_key, (time,) if time else ())
    current = with_time
    if time and now is not None and with_time.num_rows:
        _check_skew(with_time.column(time), now, f"{path}, column {wanted[time]!r}")
        if keep is not None:
            current = with_time.filter(pc.greater_equal(with_time.column(time), now - keep))
    return Rows(
        current,
        without_key=table.num_rows - with_key.num_rows,
        without_time=with_key.num_rows - with_time.num_rows,
        expired=with_time.num_rows - current.num_rows,
    )


def _wanted(path: Path, columns: Mapping[str, Type], renamed: Mapping[str, str]) -> dict[str, str]:
    """Declared column → the file's."""
    unknown = sorted(set(renamed) - set(columns))
    if unknown:
        raise DataError(
            f"a mapping names {unknown[0]!r}, which is not a declared column",
            code="T303",
            where=str(path),
            fix="map declared columns: " + ", ".join(columns),
        )
    return {name: renamed.get(name, name) for name in columns}


def check_file(path: Path) -> Path:
    """The path. Raises DataError T301 when there is no file."""
    if not path.is_file():
        what = "this is a folder, not a file" if path.is_dir() else "there is no such file"
        raise DataError(what, code="T301", where=str(path), fix="name one Parquet file")
    return path


def _read(path: Path, wanted: Mapping[str, str]) -> pa.Table:
    check_file(path)
    try:
        with pq.ParquetFile(path) as file:
            present = file.schema_arrow.names
            for name, held in wanted.items():
                if present.count(held) != 1:
                    raise _missing(path, name, held, present)
            rows = file.read(columns=list(dict.fromkeys(wanted.values())))
            rows.validate(full=True)  # text is UTF-8, and lists are as long as they say
            return rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the file cannot be read as Parquet: {first_line(error)}",
            code="T302",
            where=str(path),
            fix="ingest it: tacit ingest SOURCE FILE; sources are bound to Parquet alone"
            if path.name.lower().endswith(INGESTED)
            else "write it again; it is damaged, cut short, or of another format",
        ) from error


def first_line(error: Exception) -> str:
    """The first line of what a library says; the rest is for its own authors."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _missing(path: Path, name: str, held: str, present: list[str]) -> DataError:
    close = difflib.get_close_matches(held, present, 1) or sorted(present)
    several = held in present
    return DataError(
        f"the file has {'several columns' if several else 'no column'} {held!r}",
        code="T303",
        where=str(path),
        fix="write each column once"
        if several
        else f"map it: say which column holds {name!r}, such as {', '.join(map(repr, close[:8]))}",
    )


def convert(column: pa.ChunkedArray, name: str, kind: Type, where: str) -> pa.ChunkedArray:
    """The column as its declared type holds it. Raises DataError T304 where that would guess."""
    held = column.type
    if pa.types.is_dictionary(held):
        held = held.value_type
    suits = {
        Type.INT: pa.types.is_integer(held),
        Type.FLOAT: pa.types.is_floating(held) or pa.types.is_integer(held),
        Type.TEXT: is_text(held),
        Type.BOOL: pa.types.is_boolean(held),
        Type.TIME: pa.types.is_int64(held) or pa.types.is_timestamp(held) or pa.types.is_date(held),
        Type.VECTOR: is_list(held) and pa.types.is_floating(held.value_type),
    }[kind]
    if not (suits or pa.types.is_null(held)):
        raise DataError(
            f"the declared column {name!r} is {kind}, and the file holds {held}",
            code="T304",
            where=where,
            fix=f"declare it as what it is, or write the file with {ARROW[kind]}",
        )
    try:
        plain = pc.cast(column, held)
        return micros(plain) if kind is Type.TIME else pc.cast(plain, ARROW[kind])
    except pa.ArrowException as error:
        raise DataError(
            f"a value does not fit {kind}: {first_line(error)}",
            code="T304",
            where=where,
            fix="correct it, or leave it null",
        ) from error


def of_unit(moments: pa.ChunkedArray | pa.Array, unit: str | None) -> Any:
    """Moments that are whole numbers of a unit, as µs; nanoseconds are floored. Raises DataError
    T304 for those that no 64 bits hold."""
    if unit == "ns":
        return micros(pc.cast(moments, pa.timestamp("ns")))
    try:
        return pc.multiply_checked(moments, UNITS[unit or "us"])
    except pa.ArrowException as error:
        raise DataError(
            f"moments do not fit 64 bits as microseconds: {first_line(error)}",
            code="T304",
            where=f"unit {unit!r}",
            fix="correct them, or the unit in tacit.toml",
        ) from None


def strange(moments: pa.ChunkedArray | pa.Array) -> Any:
    """Which moments are not between 1990 and 2100; null where there is none."""
    return pc.or_(pc.less(moments, LEAST), pc.greater_equal(moments, MOST))


def _check_unit(moments: pa.ChunkedArray, where: str) -> None:
    odd = pc.sum(strange(moments)).as_py()
    if odd:
        raise other_unit(odd, len(moments), where)


def other_unit(odd: int, rows: int, where: str) -> DataError:
    """What is said of whole numbers that are no microseconds of our days."""
    return DataError(
        f"the times of {odd:,} of {rows:,} rows are whole numbers that lie before 1990 or after"
        " 2100 as microseconds",
        code="T348",
        where=where,
        fix='say their unit in tacit.toml, under [sources.NAME]: unit = "s", "ms", "us" or "ns"',
    )


def is_list(held: pa.DataType) -> bool:
    """Whether an Arrow type is one of lists."""
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(held) for is_kind in kinds)


def is_text(held: pa.DataType) -> bool:
    """Whether an Arrow type is one of text's."""
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(is_kind(held) for is_kind in kinds)


def micros(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Moments as int64 µs; nanoseconds are floored, as every engine does."""
    held = column.type
    if not (pa.types.is_timestamp(held) and held.unit == "ns"):
        if pa.types.is_timestamp(held) or pa.types.is_date(held):
            column = pc.cast(column, pa.timestamp("us", getattr(held, "tz", None)))
        return pc.cast(column, pa.int64())
    nanos = pc.cast(column, pa.int64())
    towards_zero = pc.divide(nanos, 1000)
    below = pc.less(nanos, pc.multiply(towards_zero, 1000))
    return pc.subtract(towards_zero, pc.cast(below, pa.int64()))


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
