"""Metrics of content, which is about nobody: counted as it is, by DuckDB."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from tacit.engines.base import ARROW
from tacit.errors import EngineError
from tacit.operations import Computed, Join, View
from tacit.plan.asked import PERIOD, Asked, condition, keys
from tacit.plan.graph import Node
from tacit.plan.sql import DUCKDB, view_select
from tacit.project.cells import Cells, exact
from tacit.project.project import Project
from tacit.values import Type

Computing = tuple[str, Type]
"""SQL over stored columns, and its type."""

AGGREGATES: Mapping[str, str] = {
    "count": "count(*)",
    "histogram": "count(*)",
    "sum": "coalesce(sum(value), 0)",
    "mean": "avg(value)",
    "quantile": "quantile_disc(value, {q})",
}


def _view(node: Node, measure: Mapping[str, Any], computed: Mapping[str, Computing]) -> View:
    """A measure's rows. Content has no time: in its place stands the key, which is not read."""
    source = str(measure["source"])
    joins = tuple(Join(*each) for each in measure["joins"])
    columns = tuple(Computed(name, sql, kind) for name, (sql, kind) in computed.items())
    owner = (("person", measure["person"]),) if measure["person"] else ()
    columns_of = _stored(node).items()
    time = measure["time"] or next(n for n, c in columns_of if c["entity"] == node.spec["of"])
    return View(source, source, owner, time, joins, columns, ())


def _stored(source: Node) -> Mapping[str, Any]:
    found: Mapping[str, Any] = source.spec["columns"]
    return found


def select_rows(
    project: Project, measure: Mapping[str, Any], computed: Mapping[str, Computing]
) -> pa.Table:
    """A measure's rows: `person` (where there is one), `at`, and the computed columns by name.

    Raises EngineError T402 where DuckDB refuses, and what `Project.rows` raises.
    """
    plan = project.plan
    source = plan.nodes[measure["source"]]
    view = _view(source, measure, computed)
    tables = {view.source: source} | {join.table: plan.nodes[join.table] for join in view.joins}
    types = {
        (name if table == view.source else f"{table}.{name}"): Type(column["type"])
        for table, node in tables.items()
        for name, column in _stored(node).items()
    }
    select = view_select(view, types, DUCKDB)
    names = [*(name for name, _ in view.keys), "at", *computed]
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET disabled_optimizers = 'common_subexpressions'")
        for table in tables:
            connection.register(table, project.rows(table).table)
        try:
            found = connection.sql(select.sql(DUCKDB.name)).to_arrow_table()
        except duckdb.Error as error:
            raise EngineError(
                f"DuckDB could not measure {view.source!r}: {error}",
                code="T402",
                where=view.source,
                fix="check that the tables fit their declarations",
            ) from error
    kinds = [*(found.schema.field(i).type for i in range(len(view.keys) + 1))]
    kinds += [ARROW[kind] for _, kind in computed.values()]
    return found.rename_columns(names).cast(pa.schema(list(zip(names, kinds, strict=True))))


def measured_exactly(project: Project, node: Node, asked: Asked) -> Cells:
    """A metric of content, cell by cell: cells without a row are there only between others."""
    measure = node.spec["measure"]
    grouped = keys(asked, node, measure)
    computed = {name: (sql, kind) for name, sql, kind in grouped}
    which = condition(asked, node, measure)
    if measure["aggregate"] in ("sum", "mean", "quantile"):
        computed["value"] = (str(measure["value"]), Type.FLOAT)
    if which is not None:
        computed["which"] = (which, Type.BOOL)
    rows = select_rows(project, measure, computed)
    names = [f'"{name}"' for name, _, _ in grouped]
    number = AGGREGATES[measure["aggregate"]].format(q=measure.get("q"))
    tests = [f"{name} IS NOT NULL" for name in names] + (["which"] if which is not None else [])
    tests += ["value IS NOT NULL"] if "value" in computed else []
    sql = f"SELECT {', '.join([*names, f'{number}::DOUBLE AS value'])} FROM rows"  # noqa: S608
    sql += f" WHERE {' AND '.join(tests)}" if tests else ""
    sql += f" GROUP BY {', '.join(names)} ORDER BY {', '.join(names)}" if names else ""
    with duckdb.connect(":memory:") as connection:
        connection.register("rows", rows)
        found = connection.sql(sql).to_arrow_table()
    table = found.drop_columns(["value"])
    value = found["value"].to_numpy(zero_copy_only=False).astype(np.float64)
    if asked.grain is None:
        return exact(table, value)
    empty = 0.0 if measure["aggregate"] in ("count", "sum", "histogram") else np.nan
    return _between(table, value, asked.periods, empty)


def _between(table: pa.Table, value: Any, starts: list[int], empty: float) -> Cells:
    """Every period of every combination of dimensions that occurs."""
    dims = [name for name in table.column_names if name != PERIOD]
    listed = [table.column(name).to_pylist() for name in (*dims, PERIOD)]
    found = dict(zip(zip(*listed, strict=True), value, strict=True))
    groups = list(dict.fromkeys(key[:-1] for key in found)) or ([()] if not dims else [])
    cells = [(*group, start) for group, start in product(groups, starts)]
    schema = pa.schema([table.schema.field(name) for name in (*dims, PERIOD)])
    arrays = [pa.array([cell[i] for cell in cells], f.type) for i, f in enumerate(schema)]
    numbers = np.array([found.get(cell, empty) for cell in cells], np.float64)
    return exact(pa.table(arrays, schema=schema), numbers)
