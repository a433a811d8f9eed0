"""Questions about what people did one after the other: conversions, and when each first came.

Both need one person's rows together, in order, before anything is counted. So each person's rows
become few: one for each cell, with whether the second event followed; or the first of all. These
rows are a source of their own, in memory, for one question; `project.central` bounds and counts
them as it does any other. What a person changes stays what it was: their own rows, and no others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tacit.declare import Column, Declarations, Entity, Events, Purpose
from tacit.plan import Plan, compile_plan
from tacit.plan.asked import PERIOD, Asked, condition, keys
from tacit.plan.graph import Node
from tacit.project.central import CentralQuery, Measure
from tacit.project.exact import select_rows
from tacit.project.metric_query import periods_of
from tacit.project.project import Project
from tacit.project.withheld import withheld
from tacit.store.files import Rows
from tacit.values import Type

if TYPE_CHECKING:
    from contextlib import ExitStack

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Prepared(Project):
    """A project of one source, whose rows are in memory; its ledger is the whole project's."""

    events: Events | None = None
    held: pa.Table = field(default_factory=lambda: pa.table({}))

    @cached_property
    def plan(self) -> Plan:
        """The checked plan of that source."""
        return compile_plan(self.declarations, "local")

    def in_lake(self, source: str) -> bool:
        """It is not."""
        return False

    def file(self, source: str) -> Path:
        """What an error calls it."""
        return self.root

    def rows(
        self, source: str, *, also: Collection[str] = (), only: Collection[str] | None = None
    ) -> Rows:
        """The rows."""
        return Rows(self.held)

    def scannable(
        self, source: str, held: ExitStack, only: Collection[str], also: Collection[str] = ()
    ) -> pa.Table:
        """The same."""
        return self.held


def prepared(
    project: Project, node: Node, asked: Asked, query: CentralQuery, newcomers: bool
) -> tuple[Prepared, CentralQuery]:
    """The rows of a conversion, or of newcomers, and what is asked of them.

    Raises PrivacyError T877 for rows that do not fit.
    """
    measure = node.spec["measure"] if newcomers else node.spec["conversion"]["base"]
    made_of = _newcomers if newcomers else _conversion
    table = withheld(query.source, lambda: made_of(project, node, asked))
    names = [key[0] for key in query.keys]
    short = {name: f"d{i}" for i, name in enumerate(names)}
    kinds = {short[name]: kind for name, _, kind in keys(asked, node, measure)}
    made = table.rename_columns([short.get(name, name) for name in table.column_names])
    measures = [Measure(kind="persons", name="people")]
    if not newcomers:
        both = Measure(kind="persons", column="CASE WHEN both THEN 1 END", name="both")
        measures.append(both)
        kinds["both"] = Type.BOOL
    source = f"{node.id}_rows"
    asking = _project(project, node, measure, source, kinds, made)
    return asking, replace(
        query,
        source=source,
        keys=tuple((name, short[name]) for name in names),
        measures=tuple(measures),
        where=None,
        since=None,  # who came first, and what followed, may lie outside of the question's time
        until=None,
        # A newcomer comes once to each group, in one period.
        max_groups=query.max_groups // periods_of(node, asked) if newcomers else query.max_groups,
        max_rows=1,
        person="person",
    )


def _newcomers(project: Project, node: Node, asked: Asked) -> pa.Table:
    return _first(_rows(project, node, asked, node.spec["measure"]), list(asked.by))


def _conversion(project: Project, node: Node, asked: Asked) -> pa.Table:
    parts = node.spec["conversion"]
    rows = _rows(project, node, asked, parts["base"])
    after = _rows(project, node, replace(asked, by=(), grain=None), parts["then"], later=True)
    return _converted(rows, after, parts["within"])


def _rows(
    project: Project, node: Node, asked: Asked, measure: Mapping[str, Any], *, later: bool = False
) -> pa.Table:
    """The rows that a question is about: `person`, `at`, and its keys; none of these null.

    `later`: rows after the question's time count too, for what follows is seen there.
    """
    grouped = keys(asked, node, measure)
    computed = {name: (sql, kind) for name, sql, kind in grouped}
    about = replace(asked, where=None, until=None) if later else asked
    which = condition(about, node, measure)
    if which is not None:
        computed["which"] = (which, Type.BOOL)
    rows = select_rows(project, measure, computed)
    if which is not None:
        rows = rows.filter(rows.column("which")).drop_columns(["which"])
    return rows.drop_null()


def _first(rows: pa.Table, dims: list[str]) -> pa.Table:
    """Of each person in each group the first row, with its period."""
    table = rows.sort_by([("at", "ascending")])
    kept = table.group_by(["person", *dims], use_threads=False).aggregate(
        [("at", "first"), (PERIOD, "first")]
    )
    return kept.rename_columns([name.removesuffix("_first") for name in kept.column_names])


def _converted(rows: pa.Table, after: pa.Table, within: int) -> pa.Table:
    """One row for each person and cell, with whether a second event came later than one of the
    first ones there, by `within` µs at most."""
    people = pa.chunked_array(
        [*rows.column("person").chunks, *after.column("person").chunks],
        rows.schema.field("person").type,
    )
    codes = pc.dictionary_encode(people).combine_chunks().indices.to_numpy().astype(np.int64)
    person, other = codes[: rows.num_rows], codes[rows.num_rows :]
    at, then = (each.column("at").to_numpy().astype(np.int64) for each in (rows, after))
    found = followed((person, at), (other, then), within)
    names = [name for name in rows.column_names if name != "at"]
    table = rows.append_column("both", pa.array(found))
    kept = table.group_by(names, use_threads=False).aggregate([("at", "min"), ("both", "max")])
    return kept.rename_columns([*kept.column_names[: len(names)], "at", "both"])


def followed(
    first: tuple[Integers, Integers], second: tuple[Integers, Integers], within: int
) -> npt.NDArray[np.bool_]:
    """Of each first event (person, at) whether a second one of the same person came in
    (at, at + within]."""
    (person, at), (other, then) = first, second
    if not len(then):
        return np.zeros(len(at), bool)
    times, ranks = np.unique(np.concatenate([at, then]), return_inverse=True)
    width = len(times) + 1
    sought = person * width + ranks[: len(at)]
    order = np.lexsort((then, other))
    listed = (other * width + ranks[len(at) :])[order]
    place = np.searchsorted(listed, sought, side="right")
    there = np.minimum(place, len(then) - 1)
    same = (place < len(then)) & (other[order][there] == person)
    found: npt.NDArray[np.bool_] = same & (then[order][there] - at <= within)
    return found


def _project(
    project: Project,
    node: Node,
    measure: Mapping[str, Any],
    name: str,
    kinds: Mapping[str, Type],
    table: pa.Table,
) -> Prepared:
    """A project whose one source has these rows, on the terms of what they were made of.

    The plan has held the metric against its rows' labels; these are what they are carried under.
    """
    source = project.source(measure["source"])
    key = source.columns[measure["person"]]
    columns = {
        "person": key,
        "at": Column(Type.TIME, key.category),
        **{title: Column(kind, key.category) for title, kind in kinds.items()},
    }
    events = Events(
        f"Rows of {node.id}.",
        name=name,
        columns=columns,
        place="cloud",
        purposes=list(node.spec["purposes"]),
        basis=source.basis,
        region=source.region,
        keep=source.keep,
        time="at",
    )
    said = project.declarations
    named = {**said.of(Entity), **said.of(Purpose), name: events}
    listed = {id(declared): title for title, declared in named.items()}
    declarations = Declarations(MappingProxyType(named), MappingProxyType(listed))
    asking = Prepared(
        project.root, project.settings, declarations, events, table.select(list(columns))
    )
    # One connection, and one ledger: the budget is the project's.
    asking.__dict__.update(control=project.control, ledger=project.ledger)
    return asking
