"""Pushed rows held to their source's declaration: what fits, and what does not with the reason."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from tacit.errors import DataError
from tacit.live.feed import Feed
from tacit.store.files import ARROW, UNITS, convert, of_unit, other_unit, strange
from tacit.values import Type

Pushed: TypeAlias = pa.Table | Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that is no event of its source: to quarantine, with the reason."""

    place: int  # among the rows pushed
    reason: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """The rows that are events, of the declared types, and which of those pushed they are."""

    table: pa.Table
    places: list[int]
    rejected: list[Rejected]


def accept(feed: Feed, rows: Pushed, *, unit: str | None = None, refuse: bool = False) -> Accepted:
    """Rows as a table of the declared columns; other columns are left out.

    A table must have every column, of its type: DataError T391 otherwise. Of rows as mappings,
    those that do not fit are rejected, each by itself; a column that a row lacks is null, unless
    the row has another in its place. Rows that belong to nobody are rejected: no erasure would
    find them.

    ``unit`` is that of moments that are whole numbers. Where it is not said, it is the µs, and a
    row whose time is none of our days as such is rejected, as the lake does; where most are, they
    are no mistakes of rows: with ``refuse`` that is DataError T348.
    """
    if isinstance(rows, pa.Table):
        found = Accepted(_table(feed, rows, unit), list(range(rows.num_rows)), [])
    else:
        try:
            found = Accepted(_listed(feed, rows, unit), list(range(len(rows))), [])
        except _UNFIT:
            found = _one_by_one(feed, rows, unit)
    return _owned(feed, found if unit is not None else _of_our_days(feed, found, rows, refuse))


def _of_our_days(feed: Feed, found: Accepted, rows: Pushed, refuse: bool) -> Accepted:
    """Without the rows whose times are whole numbers of another unit than the µs."""
    odd = strange(found.table[feed.time]).fill_null(False)
    if isinstance(rows, pa.Table):
        if not pa.types.is_int64(rows.schema.field(feed.time).type):
            return found
    elif pc.any(odd).as_py():
        whole = [type(rows[place].get(feed.time)) is int for place in found.places]
        odd = pc.and_(odd, pa.array(whole))
    count = pc.sum(odd).as_py() or 0
    if not count:
        return found
    if refuse and 2 * count > len(odd):
        raise other_unit(count, len(odd), f"{feed.name}, column {feed.time!r}")
    return _without(
        found, odd, "its time is no microsecond between 1990 and 2100: another unit? (T348)"
    )


def _owned(feed: Feed, found: Accepted) -> Accepted:
    """Without the rows whose person is null."""
    for column in feed.required:
        if not found.table[column].null_count:
            continue
        gone = pc.is_null(found.table[column])
        found = _without(found, gone, f"the row has no {column}: it belongs to nobody")
    return found


def _without(found: Accepted, gone: pa.ChunkedArray, reason: str) -> Accepted:
    """Without some rows, which are rejected."""
    lost = pc.indices_nonzero(gone)
    if not len(lost):
        return found
    rejected = [
        Rejected(found.places[i], reason, dump(row))
        for i, row in zip(lost.to_pylist(), found.table.take(lost).to_pylist(), strict=True)
    ]
    kept = pc.indices_nonzero(pc.invert(gone))  # an array: an empty list would have no type
    places = [found.places[i] for i in kept.to_pylist()]
    return Accepted(found.table.take(kept), places, found.rejected + rejected)


_UNFIT = (pa.ArrowException, DataError, TypeError, ValueError, AttributeError, OverflowError)


def _table(feed: Feed, rows: pa.Table, unit: str | None) -> pa.Table:
    columns = []
    for name, kind in feed.schema.items():
        found = rows.schema.get_all_field_indices(name)
        if len(found) != 1:
            raise DataError(
                f"pushed rows have {'several columns' if found else 'no column'} {name!r}",
                code="T391",
                where=feed.name,
                fix="push every column of the source, each once; null where there is no value",
            )
        try:
            column = convert(rows.column(found[0]), name, kind, f"{feed.name}.{name}")
            whole = kind is Type.TIME and pa.types.is_int64(rows.schema.field(found[0]).type)
            columns.append(of_unit(column, unit) if whole and unit not in (None, "us") else column)
        except DataError as error:
            raise DataError(error.message, code="T391", where=error.where, fix=error.fix) from None
    return pa.table(columns, names=list(feed.schema))


def _listed(feed: Feed, rows: Iterable[Mapping[str, Any]], unit: str | None) -> pa.Table:
    held = list(rows)
    for row in held:
        lacking, unknown = feed.schema.keys() - row.keys(), row.keys() - feed.schema.keys()
        if lacking and unknown:
            raise TypeError(f"it has no {min(lacking)}, and {min(unknown, key=str)!r} is no column")
    arrays = []
    for name, kind in feed.schema.items():
        values = [row.get(name) for row in held]
        if kind is Type.TIME:
            values = [
                value if isinstance(value, int | None) else _moment(value) for value in values
            ]
            if unit not in (None, "us"):
                given = (row.get(name) for row in held)
                pairs = zip(values, given, strict=True)
                values = [
                    v if v is None or type(g) is not int else _of_unit(v, unit) for v, g in pairs
                ]
        if kind in (Type.INT, Type.TIME) and any(type(v) not in _WHOLE for v in values):
            raise TypeError(f"{name} is {kind}")
        arrays.append(pa.array(values, ARROW[kind]))
    return pa.table(arrays, names=list(feed.schema))


_WHOLE = (int, type(None))


def _of_unit(value: int, unit: str) -> int:
    """A whole number of a unit, in µs; nanoseconds are floored."""
    return value // 1000 if unit == "ns" else value * UNITS[unit]


def _moment(value: Any) -> int:
    """Microseconds of ISO 8601 text, or of a datetime; without a zone it is UTC."""
    scalar = pa.scalar(value)
    if pa.types.is_string(scalar.type):
        text = str(value)
        zoned = text.endswith("Z") or "+" in text[10:] or "-" in text[10:]
        kind = pa.timestamp("us", "UTC" if zoned else None)
        return int(pc.cast(pa.array([text]), kind).cast(pa.int64())[0].as_py())
    if not pa.types.is_timestamp(scalar.type):
        raise TypeError("not a moment")
    return int(pc.cast(scalar, pa.timestamp("us", scalar.type.tz)).cast(pa.int64()).as_py())


def _one_by_one(feed: Feed, rows: Sequence[Mapping[str, Any]], unit: str | None) -> Accepted:
    tables, places, rejected = [], [], []
    for place, row in enumerate(rows):
        try:
            tables.append(_listed(feed, [row], unit))
            places.append(place)
        except _UNFIT as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            rejected.append(Rejected(place, f"the row does not fit: {reason}", dump(row)))
    empty = pa.schema([(name, ARROW[kind]) for name, kind in feed.schema.items()]).empty_table()
    return Accepted(pa.concat_tables([empty, *tables]), places, rejected)


def dump(row: Any) -> bytes:
    """A rejected row as it can be kept: at most 64 KiB of JSON, or of what it prints as."""
    try:
        text = json.dumps(row, default=repr)
    except (TypeError, ValueError, RecursionError):
        text = repr(row)
    return text.encode(errors="replace")[: 1 << 16]
