"""The device's engine: SQL text over an open SQLite or SQLCipher connection.

``statements`` writes the SQL that a device bundle carries; ``run`` needs nothing but that text, a
connection and a spine. Times are INTEGER microseconds, bools 0 and 1. Text that holds U+0000 keeps
its value, but SQLite's LENGTH and SUBSTR stop there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tacit.operations import Derived, View
from tacit.plan.window_sql import AGGREGATES
from tacit.values import Type

if TYPE_CHECKING:
    import pyarrow as pa

SPINE = "tacit_spine"
SIGNALS = "tacit_signals"
_CHUNK = 100  # formulas a statement: far below SQLite's limits on columns


class Cursor(Protocol):
    """The part of a DB-API cursor that is used."""

    description: Any

    def fetchall(self) -> list[Any]:
        """All rows that are left."""


class Connection(Protocol):
    """The part of a connection of sqlite3 or sqlcipher3 that is used."""

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        """Run one statement."""

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        """Run one statement for each row of parameters."""


def statements(view: View, types: Mapping[str, Type]) -> list[str]:
    """The SQL text that computes every signal of a view, from a spine table that ``run`` makes.

    ``types`` are those of the columns that the view reads: plain for its source, dotted for joins.
    """
    from tacit.plan.window_sql import window_statements

    made = window_statements(view, types, SPINE)
    return [one.select.sql("sqlite", copy=False) for one in made]


def run(
    connection: Connection, sql: Sequence[str], keys: Sequence[Sequence[Any]], at: Sequence[Any]
) -> dict[str, list[Any]]:
    """Runs statements for a spine of these key columns and times; a list a signal, in its order.

    A map signal is a list of (by, value) pairs, sorted; a list signal is a list. Leaves nothing
    behind in the database, and the caller's transaction as it was.
    """
    names = [f"k{i}" for i in range(len(keys))]
    found: dict[str, list[Any]] = {}
    connection.execute(f"SAVEPOINT {SPINE}")
    try:
        columns = ", ".join(f'"{name}"' for name in (*names, "at"))
        connection.execute(f'CREATE TEMP TABLE {SPINE} ("row" INTEGER PRIMARY KEY, {columns})')
        marks = ", ".join("?" * (len(names) + 2))
        rows = zip(range(len(at)), *keys, at, strict=True)
        connection.executemany(f"INSERT INTO {SPINE} VALUES ({marks})", rows)  # noqa: S608
        for text in sql:
            _collect(connection.execute(text), len(at), found)
    finally:
        connection.execute(f"ROLLBACK TO {SPINE}")
        connection.execute(f"RELEASE {SPINE}")
    return found


def derive(
    connection: Connection, sql: str, columns: Mapping[str, Sequence[Any]], row: str
) -> dict[str, list[Any]]:
    """Runs a statement of ``plan.sql.derived_select`` over these columns; a list a formula.

    Leaves nothing behind in the database, and the caller's transaction as it was.
    """
    found: dict[str, list[Any]] = {}
    size = max((len(column) for column in columns.values()), default=0)
    connection.execute(f"SAVEPOINT {SIGNALS}")
    try:
        names = ", ".join(_quoted(name) for name in columns)
        connection.execute(
            f"CREATE TEMP TABLE {SIGNALS} ({_quoted(row)} INTEGER PRIMARY KEY, {names})"
        )
        marks = ", ".join("?" * (len(columns) + 1))
        rows = zip(range(size), *columns.values(), strict=True)
        connection.executemany(f"INSERT INTO {SIGNALS} VALUES ({marks})", rows)  # noqa: S608
        cursor = connection.execute(sql)
        signals = [column[0] for column in cursor.description][1:]
        ordered = sorted(cursor.fetchall())
        found = {signal: [each[i] for each in ordered] for i, signal in enumerate(signals, 1)}
    finally:
        connection.execute(f"ROLLBACK TO {SIGNALS}")
        connection.execute(f"RELEASE {SIGNALS}")
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _collect(cursor: Cursor, size: int, found: dict[str, list[Any]]) -> None:
    names = [column[0] for column in cursor.description]
    rows = cursor.fetchall()
    if names[0] == "row":
        for i, signal in enumerate(names[1:], 1):
            values: list[Any] = [None] * size
            for row in rows:
                values[row[0]] = row[i]
            found[signal] = values
        return
    found[names[-1]] = _COLLECTORS[names[0]](rows, size)


def _maps(rows: Iterable[Any], size: int) -> list[Any]:
    maps: list[list[Any]] = [[] for _ in range(size)]
    for row, by, value in rows:
        maps[row].append((by, value))
    for pairs in maps:
        pairs.sort(key=lambda pair: pair[0])
    return maps


def _lists(rows: Iterable[Any], size: int) -> list[Any]:
    """Null where there is nothing in the list."""
    values: list[list[Any]] = [[] for _ in range(size)]
    for row, rank, value in sorted(rows, key=lambda row: row[1]):
        if value is not None and rank:
            values[row].append(value)
    return [found or None for found in values]


def _maps_of_lists(rows: Iterable[Any], size: int) -> list[Any]:
    groups: dict[tuple[int, Any], list[Any]] = {}
    for row, by, rank, value in rows:
        groups.setdefault((row, by), []).append((0, rank, value))
    return _maps(((row, by, _lists(ranked, 1)[0]) for (row, by), ranked in groups.items()), size)


_COLLECTORS = {"map": _maps, "list": _lists, "lists": _maps_of_lists}


class SQLite:
    """The signals of tables in an open database; they are named as the sources."""

    name = "sqlite"
    supports = AGGREGATES

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def features(
        self, views: Sequence[View], sources: Mapping[str, pa.Table], spine: pa.Table
    ) -> pa.Table:
        """The signals of the spine's rows. See `engines.base.Engine`.

        Of ``sources`` only the schemas are read: the rows are the database's.
        """
        import pyarrow as pa

        from tacit.engines.base import check_spine, column_types, result_type, with_columns

        found: dict[str, Any] = {}
        for view in views:
            types = column_types(view, sources)
            check_spine(view, types, spine)
            sql = statements(view, types)
            keys = [spine[name].to_pylist() for name, _ in view.keys]
            results = run(self.connection, sql, keys, _micros(spine["at"]))
            for window in view.windows:
                kind = result_type(view, window)
                found[window.signal] = pa.array(
                    [_typed(value, kind) for value in results[window.signal]], kind
                )
        return with_columns(spine, views, found)

    def derive(self, table: pa.Table, formulas: Sequence[Derived]) -> pa.Table:
        """The formulas of every row, by SQLite. See `engines.base.Deriving`."""
        import pyarrow as pa

        from tacit.engines.base import ARROW, check_inputs
        from tacit.plan.sql import SQLITE, derived_select, row_name

        check_inputs(table, formulas)
        for start in range(0, len(formulas), _CHUNK):
            chunk = formulas[start : start + _CHUNK]
            names = {name: None for formula in chunk for name, _ in formula.inputs}
            columns = {name: _micros(table[name]) for name in names}
            row = row_name(names)
            sql = derived_select(chunk, SIGNALS, row, SQLITE).sql("sqlite")
            found = derive(self.connection, sql, columns, row)
            for formula in chunk:
                kind = ARROW[formula.type]
                values = [_typed(value, kind) for value in found[formula.signal]]
                table = table.append_column(formula.signal, pa.array(values, kind))
        return table


def _micros(at: Any) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_timestamp(at.type):
        at = at.cast(pa.timestamp("us", at.type.tz)).cast(pa.int64())
    values: list[Any] = at.to_pylist()
    return values


def _typed(value: Any, kind: Any) -> Any:
    """SQLite's value as one of the Arrow type: bools come as 0 and 1, sums may be -0.0."""
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_map(kind):
        return [(_typed(by, kind.key_type), _typed(item, kind.item_type)) for by, item in value]
    if pa.types.is_list(kind):
        return [_typed(item, kind.value_type) for item in value]
    if pa.types.is_boolean(kind):
        return bool(value)
    return value + 0.0 if pa.types.is_floating(kind) else value
