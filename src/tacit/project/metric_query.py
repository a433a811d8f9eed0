"""What a question to a metric asks of people's rows: which cells, by which mechanism's bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from math import prod
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tacit.declare import Table
from tacit.declare.expression import parse
from tacit.engines.base import ARROW
from tacit.errors import QueryError
from tacit.plan.asked import BUCKET, PERIOD, Asked, condition, keys
from tacit.plan.graph import Node
from tacit.project.central import CentralQuery, Measure
from tacit.project.project import Project
from tacit.values import Type

MOST_CELLS = 2_000_000


def query_of(project: Project, node: Node, asked: Asked) -> CentralQuery:
    """What is asked of the rows; every cell that there can be, where the dimensions are public."""
    spec = node.spec
    measure = spec["conversion"]["base"] if "conversion" in spec else spec["measure"]
    grouped = keys(asked, node, measure)
    public = public_keys(project, node, asked, measure)
    rest = replace(asked, since=None, until=None)
    return CentralQuery(
        source=measure["source"],
        keys=tuple((name, sql) for name, sql, _ in grouped),
        measures=measures(measure),
        where=condition(rest, node, measure),
        since=asked.since,
        until=asked.until,
        team=node.declared.owner or "",
        public_keys=public,
        max_groups=groups_of(node, asked, measure, public) * periods_of(node, asked),
        max_rows=measure.get("max_rows", 1),
        person=measure["person"],
        epsilon=spec["epsilon"],
        delta=spec["delta"],
        sensitive=tuple(spec["sensitive"]),
    )


def periods_of(node: Node, asked: Asked) -> int:
    """In how many periods of an answer one person counts."""
    periods = max(1, len(asked.periods))
    return min(periods, node.spec["max_periods"] or periods)


def groups_of(node: Node, asked: Asked, measure: Mapping[str, Any], public: pa.Table | None) -> int:
    """In how many groups of one period a person counts: no more than there are."""
    most = int(node.spec["max_groups"])
    if not asked.by and "bucket" not in measure:
        return 1
    return most if public is None else min(most, public.num_rows // max(1, len(asked.periods)))


def measures(measure: Mapping[str, Any]) -> tuple[Measure, ...]:
    """The number that is asked for, as `value`, and the people behind it, as `people`."""
    people = Measure(kind="persons", name="people")
    kind = measure["aggregate"]
    if kind in ("persons", "top"):
        return (people,)
    if kind in ("count", "histogram"):
        return (Measure(kind="count", name="value"), people)
    sized = {name: measure[name] for name in ("low", "high", "step")}
    at = (measure["q"],) if kind == "quantile" else None
    return (Measure(kind=kind, column=measure["value"], at=at, name="value", **sized), people)


def public_keys(
    project: Project, node: Node, asked: Asked, measure: Mapping[str, Any]
) -> pa.Table | None:
    """Every cell that there can be, where that is public; None where cells are chosen privately.

    Raises QueryError T891 for more cells than an answer may have.
    """
    specs = [(name, node.spec["dimensions"][name]) for name in asked.by]
    specs += [(BUCKET, measure["bucket"])] if "bucket" in measure else []
    values: list[list[Any]] = []
    for _, spec in specs:
        if spec["domain"] is None:
            return None
        values.append(domain(project, spec))
    fields = [pa.field(name, ARROW[Type(spec["type"])]) for name, spec in specs]
    if asked.grain is not None:
        values.append(list(asked.periods))
        fields.append(pa.field(PERIOD, pa.int64()))
    if not fields:
        return None
    if prod(map(len, values)) > MOST_CELLS:
        raise QueryError(
            f"the answer would have more than {MOST_CELLS:,} cells",
            code="T891",
            where=node.declared.where,
            fix="ask by fewer dimensions, by a coarser grain, or for a shorter time",
        )
    cells = list(product(*values))
    arrays = [pa.array([cell[i] for cell in cells], f.type) for i, f in enumerate(fields)]
    return pa.table(arrays, schema=pa.schema(fields))


def domain(project: Project, spec: Mapping[str, Any]) -> list[Any]:
    if spec["domain"] == "bool":
        return [False, True]
    table = str(spec["domain"])
    declared = project.source(table)
    assert isinstance(declared, Table), "domains are content"
    _, dot, column = str(parse(spec["sql"]).tree.value).partition(".")
    if not dot:  # a key of the entity whose keys the table lists
        column = next(n for n, c in declared.columns.items() if c.entity is declared.of)
    values = project.rows(table).table.column(column).combine_chunks()
    found: list[Any] = pc.unique(values.drop_null()).to_pylist()
    return sorted(found)
