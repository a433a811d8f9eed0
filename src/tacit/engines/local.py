"""The embedded default: DuckDB prepares the rows, the windows kernel aggregates them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa
from sqlglot import exp

from tacit.aggregates.algebra import REGISTRY
from tacit.aggregates.windows import windows
from tacit.engines.base import check_spine, column_types, needed, result_type, with_columns
from tacit.errors import EngineError
from tacit.operations import View
from tacit.plan.sql import DUCKDB, view_select


class Local:
    """DuckDB in this process, and the kernel. Holds nothing between calls."""

    name = "local"
    supports = frozenset(REGISTRY)

    def features(
        self, views: Sequence[View], sources: Mapping[str, pa.Table], spine: pa.Table
    ) -> pa.Table:
        """The signals of the spine's rows. See `engines.base.Engine`."""
        found: dict[str, pa.Array] = {}
        for view in views:
            check_spine(view, column_types(view, sources), spine)
            rows = prepare(view, sources)
            kinds = {window.signal: result_type(view, window) for window in view.windows}
            found.update(windows(view, rows, _like(spine, view, rows), kinds))
        return with_columns(spine, views, found)


def prepare(view: View, sources: Mapping[str, pa.Table]) -> pa.Table:
    """The prepared rows of a view: ``k0…``, ``at``, ``c0…``, in any order.

    Raises EngineError T402 when DuckDB refuses.
    """
    types = column_types(view, sources)
    select = view_select(view, types, DUCKDB)
    tables: dict[str, str] = {}
    for table in select.find_all(exp.Table):
        alias = tables.setdefault(table.name, f"t{len(tables)}")
        table.set("this", exp.to_identifier(alias, quoted=True))
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET preserve_insertion_order = false")
        for name, alias in tables.items():
            connection.register(alias, _slim(name, view, sources[name]))
        try:
            rows = connection.sql(select.sql(DUCKDB.name)).to_arrow_table()
        except duckdb.Error as error:
            raise EngineError(
                f"DuckDB could not prepare {view.name!r}: {error}",
                code="T402",
                where=view.name,
                fix="check that the tables fit their declarations",
            ) from error
    return rows


def _slim(name: str, view: View, table: pa.Table) -> pa.Table:
    """Only the columns that the view reads, with times as int64 µs."""
    used = set()
    for column in needed(view):
        owner, dot, rest = column.partition(".")
        if (owner if dot else view.source) == name:
            used.add(rest if dot else column)
    slim = table.select(sorted(used))
    for i, field in enumerate(slim.schema):
        if pa.types.is_timestamp(field.type):
            micros = slim.column(i).cast(pa.timestamp("us", field.type.tz)).cast(pa.int64())
            slim = slim.set_column(i, field.name, micros)
    return slim


def _like(spine: pa.Table, view: View, rows: pa.Table) -> pa.Table:
    """The spine's keys and times, in the types of the prepared rows."""
    columns = [
        spine[name].cast(rows.schema.field(f"k{i}").type) for i, (name, _) in enumerate(view.keys)
    ]
    names = [name for name, _ in view.keys]
    at = spine["at"]
    if pa.types.is_timestamp(at.type):
        at = at.cast(pa.timestamp("us", at.type.tz))
    return pa.table([*columns, at.cast(pa.int64())], names=[*names, "at"])
