"""Rows on their way into and out of a vault: every value is checked before SQL sees it.

Errors name the table, the column and the row, never the value: it is somebody's history, and errors
end in logs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from tacit.errors import DataError
from tacit.values import MINUTE, SECOND, Type, moment

Columns = Mapping[str, Type]

# How far ahead of the device's clock a row may be dated: two clocks that are both kept by NTP
# differ by less. Further ahead is a wrong clock, or nanoseconds taken for microseconds.
SKEW = 5 * MINUTE

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_RESERVED = ("sqlite_", "tacit_")
_ROWID = ("rowid", "oid", "_rowid_")
_SQL = {Type.FLOAT: "REAL", Type.TEXT: "TEXT"}
_ARROW = {Type.FLOAT: pa.float64(), Type.TEXT: pa.string(), Type.BOOL: pa.bool_()}
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def sql_type(kind: Type) -> str:
    """The column type of a STRICT table. BOOL is 0 or 1, TIME is microseconds."""
    return _SQL.get(kind, "INTEGER")


def check_tables(tables: Mapping[str, Columns]) -> None:
    """Raises DataError T335 unless every name can stand in SQL and means one thing only."""
    _check_names("table", "the vault", tables)
    for table, columns in tables.items():
        if not columns:
            raise _name_error("table", "the vault", table, "it has no columns")
        _check_names("column", table, columns)


def clocks_of(tables: Mapping[str, Columns], named: Mapping[str, str] | None) -> dict[str, str]:
    """The column that dates each table's rows: the named one, else the only TIME column."""
    clocks = {}
    for table, columns in tables.items():
        times = [name for name, kind in columns.items() if kind is Type.TIME]
        if len(times) == 1:
            clocks[table] = times[0]
    for table, column in (named or {}).items():
        if tables.get(table, {}).get(column) is not Type.TIME:
            raise DataError(
                f"{column!r} cannot date rows: it is no TIME column of {table!r}",
                code="T331",
                where=f"clocks[{table!r}]",
                fix="name a column of type TIME",
            )
        clocks[table] = column
    return clocks


def as_tuples(
    table: str,
    columns: Columns,
    clock: str | None,
    rows: Sequence[Mapping[str, Any]] | pa.Table,
    now: int,
) -> list[tuple[Any, ...]]:
    """The rows as tuples in the order of the columns, checked and in the form SQLite keeps.

    NaN becomes null, -0.0 becomes 0.0. Rows whose clock is null are left out. Raises DataError:
    T332 unknown column, T333 a value of another type, T334 dated too far ahead.
    """
    if isinstance(rows, pa.Table):
        rows = _from_arrow(table, columns, rows)
    known = columns.keys()
    checks = [(name, _CHECKS[kind]) for name, kind in columns.items()]
    dated = list(columns).index(clock) if clock is not None else None
    kept = []
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise _value_error(table, "*", index, f"the row is a {type(row).__name__}")
        if row.keys() - known:
            raise _unknown(table, sorted(map(str, row.keys() - known))[0], index, columns)
        values: list[Any] = []
        for name, check in checks:
            value = row.get(name)
            if value is not None:
                try:
                    value = check(value)
                except (ValueError, OverflowError) as error:
                    raise _value_error(table, name, index, str(error)) from None
            values.append(value)
        if dated is not None:
            if values[dated] is None:
                continue
            if values[dated] > now:
                values[dated] = _clamped(table, str(clock), index, values[dated], now)
        kept.append(tuple(values))
    return kept


def as_arrow(columns: Columns, rows: Sequence[Sequence[Any]]) -> pa.Table:
    """What a query returned, as a table of the declared types; TIME is int64."""
    arrays = []
    lists: Iterable[Sequence[Any]] = zip(*rows, strict=True) if rows else [()] * len(columns)
    for kind, values in zip(columns.values(), lists, strict=True):
        if kind is Type.BOOL:
            values = [None if value is None else bool(value) for value in values]
        arrays.append(pa.array(values, _ARROW.get(kind, pa.int64())))
    return pa.Table.from_arrays(arrays, names=list(columns))


def _clamped(table: str, clock: str, index: int, at: int, now: int) -> int:
    if at - now <= SKEW:
        return now
    raise DataError(
        f"the row is dated {(at - now) / SECOND:.0f} s ahead of the device's clock",
        code="T334",
        where=f"table {table}, column {clock}, row {index}",
        fix="set the clock, or give microseconds (nanoseconds look like the far future); if the"
        " column does not say when something happened, declare the table's clock",
    )


def _integer(value: Any) -> int:
    value = _plain(value)
    if type(value) is not int:
        raise ValueError(f"INT takes an int, not a {type(value).__name__}")
    if not -(2**63) <= value < 2**63:
        raise ValueError("INT takes 64 bits, and the number is larger")
    return value


def _float(value: Any) -> float | None:
    value = _plain(value)
    if type(value) not in (float, int):
        raise ValueError(f"FLOAT takes a float, not a {type(value).__name__}")
    number = float(value)
    if number != value and not math.isnan(number):
        raise ValueError("FLOAT cannot hold this int exactly")
    return None if math.isnan(number) else number + 0.0  # -0.0 + 0.0 is 0.0


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"TEXT takes a str, not a {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("TEXT takes Unicode, and the text holds half a surrogate pair") from None
    return value


def _bool(value: Any) -> int:
    value = _plain(value)
    if type(value) is not bool:
        raise ValueError(f"BOOL takes a bool, not a {type(value).__name__}")
    return int(value)


def _time(value: Any) -> int:
    if isinstance(value, datetime):
        return moment(value)
    value = _plain(value)
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise ValueError(
            f"TIME takes a datetime or 64 bits of microseconds, not a {type(value).__name__}"
        )
    return value


_CHECKS: dict[Type, Callable[[Any], Any]] = {
    Type.INT: _integer,
    Type.FLOAT: _float,
    Type.TEXT: _text,
    Type.BOOL: _bool,
    Type.TIME: _time,
}


def _plain(value: Any) -> Any:
    """A numpy scalar as Python's; anything else as it is."""
    return value.item() if type(value).__module__ == "numpy" else value


def _from_arrow(table: str, columns: Columns, rows: pa.Table) -> list[dict[str, Any]]:
    for name in rows.column_names:
        if name not in columns:
            raise _unknown(table, name, 0, columns)
    lists = {}
    for name in rows.column_names:
        array = rows.column(name)
        unit = array.type.unit if pa.types.is_timestamp(array.type) else None
        try:
            if pa.types.is_dictionary(array.type):
                array = array.cast(array.type.value_type)
            values = (array.cast(pa.int64()) if unit else array).to_pylist()
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise _value_error(table, name, 0, f"Arrow cannot read it ({error})") from None
        if unit:
            scale = _PER_SECOND[unit]
            values = [None if v is None else v * SECOND // scale for v in values]
        lists[name] = values
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _check_names(what: str, where: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _name_error(what, where, name, "it is not letters, digits and _, at most 63")
        folded = name.lower()
        if folded.startswith(_RESERVED) or folded in _ROWID:
            raise _name_error(what, where, name, "it is taken by the vault itself")
        if folded in seen:
            raise _name_error(what, where, name, "SQL does not tell it from one of other case")
        seen.add(folded)


def _name_error(what: str, where: str, name: object, why: str) -> DataError:
    return DataError(
        f"{name!r} cannot name a {what}: {why}",
        code="T335",
        where=where,
        fix=f"rename the {what}",
    )


def _unknown(table: str, column: str, index: int, columns: Columns) -> DataError:
    return DataError(
        f"the row has a column {column!r}, which the table has not",
        code="T332",
        where=f"table {table}, column {column}, row {index}",
        fix=f"leave it out, or declare it; the columns are {', '.join(columns)}",
    )


def _value_error(table: str, column: str, index: int, why: str) -> DataError:
    return DataError(
        why,
        code="T333",
        where=f"table {table}, column {column}, row {index}",
        fix="convert the value before appending it; leave it out or give None for null",
    )
