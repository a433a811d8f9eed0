"""Whose a source's rows are, and how long rows and columns of it may be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tacit.declare import Events, Source, Table
from tacit.errors import warn
from tacit.plan.sources import key_columns, narrowed, retention

if TYPE_CHECKING:
    import pyarrow as pa


def people_columns(source: Source) -> tuple[str, ...]:
    """The columns that hold the keys of people."""
    return tuple(n for n, c in source.columns.items() if c.entity and c.entity.person)


def owner(source: Source) -> tuple[str, ...]:
    """The column without which a row belongs to nobody: a table's own key, of events that of their
    person. Where there is no one such column, engines tell by themselves."""
    if isinstance(source, Table):
        return tuple(key_columns(source, source.of))
    people = people_columns(source)
    return people if len(people) == 1 else ()


def required(source: Source) -> tuple[str, ...]:
    """The columns without which there is no row: its owner's key, and its time."""
    time = (source.time,) if isinstance(source, Events) else ()
    return tuple(dict.fromkeys([*owner(source), *time]))


def row_retention(source: Source) -> int | None:
    """µs for which rows are kept: as the source says, or as a column without which there is no row;
    None for ever."""
    kept = narrowed(source)
    terms = [retention(source.keep, source.where), *(kept.get(name) for name in required(source))]
    return min((term for term in terms if term is not None), default=None)


def none_kept(source: str, rows: int) -> None:
    """Warns (T349) that retention leaves no row of a source."""
    warn(
        f"all {rows:,} rows of {source!r} are older than they may be kept: nothing is left to"
        " compute from",
        code="T349",
        where=source,
        fix="bring newer rows, or declare a longer keep=, of the source and of its columns",
    )


def current(source: Events, rows: pa.Table, now: int) -> pa.Table:
    """Rows of events as they may still be seen: without the values of columns past their
    retention. Rows past theirs were left out as they were read."""
    kept = narrowed(source)
    if not kept:
        return rows
    from tacit.store.lake.layout import Layout
    from tacit.store.lake.rows import current as as_the_lake

    layout = Layout(source.time, {}, required=required(source), time=source.time, kept=kept)
    return as_the_lake(layout, rows, now)
