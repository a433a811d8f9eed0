"""A project's training sets: what is asked, held against the plan, and brought to its rows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from tacit.declare import Basis, Events, Formula, Place, Purpose, Signal
from tacit.engines.base import columns_read
from tacit.errors import DataError
from tacit.plan import Node
from tacit.plan.graph import Port
from tacit.plan.sources import key_columns
from tacit.plan.views import formulas_of, given_of, views_of
from tacit.project.reading import Opened, read_moments
from tacit.project.sinks import cleared, purpose_of
from tacit.project.terms import row_retention
from tacit.store.lake.layout import ARRIVED
from tacit.values import Type, moment

if TYPE_CHECKING:
    import pyarrow as pa

    from tacit.learn.consent import Consent
    from tacit.learn.spine import Rows
    from tacit.learn.training_set import TrainingSet
    from tacit.operations import View
    from tacit.project.project import Project

Names = str | Signal | Formula | Iterable[str | Signal | Formula]
Labels = Mapping[str, str | Signal] | Names
AsOf = int | datetime | str | Literal["spine"] | None


def make_training_set(
    project: Project,
    spine: Rows,
    signals: Names,
    *,
    labels: Labels = (),
    as_of: AsOf = None,
    sink: str | None = None,
    purpose: str | Purpose | None = None,
    row: str | None = None,
    consent: Consent | None = None,
) -> TrainingSet:
    """See `Project.training_set`."""
    from tacit.learn.spine import read_spine
    from tacit.learn.training import Question, make

    names = named(project, signals)
    outcomes = _labels(project, labels)
    check_kinds(project, names, outcomes)
    asked = [*names, *outcomes.values()]
    node = cleared(project, "training", asked, sink, purpose_of(project, purpose))
    views = views_of(project.plan, names)
    told = views_of(project.plan, outcomes.values())
    spine_read = read_spine(spine, keys_of(project, [*views, *told]), row)
    known = _moment(as_of)
    now = project.now()
    if isinstance(known, int) and known > now:
        raise _future(f"as_of lies {_ahead(known - now)} ahead of now", "name a moment of the past")
    _check_past(spine_read.table, min(now, known) if isinstance(known, int) else now)
    arrivals = {} if known is None else arrivals_of(project, [*views, *told])
    computed = (window.signal for view in (*views, *told) for window in view.windows)
    personal = {name for name in computed if project.plan.nodes[name].label.subjects}
    allowed = None
    if consent is not None:
        purposes = [purpose_of(project, purpose)] if purpose else list(node.spec["purposes"])
        allowed = _allowed(project, spine_read.asked, personal, purposes, consent)
    question = Question(
        spine=spine_read,
        views=views,
        formulas=formulas_of(project.plan, names),
        given=given_of(project.plan, names),
        outcomes=told,
        labels=outcomes,
        sources=Opened(project, columns_read([*views, *told]), arrivals),
        arrivals=arrivals,
        as_of=known,
        now=now,
        kept=_kept(project, [*views, *told]),
        fresh=_fresh(project, views),
        personal=frozenset(personal),
        allowed=allowed,
    )
    return make(project.engine, question, names)


def named(project: Project, signals: Names) -> list[str]:
    """The declared names of signals and formulas of the cloud, or of one.

    Raises DataError T313 for what is none.
    """
    several = [signals] if isinstance(signals, str | Signal | Formula) else signals
    return [_named(project, signal) for signal in several]


def _named(project: Project, signal: str | Signal | Formula) -> str:
    """The declared name of a signal or a formula."""
    declared = {**project.declarations.of(Signal), **project.declarations.of(Formula)}
    name = signal if isinstance(signal, str) else None
    for known, each in declared.items():
        if each is signal:
            name = known
    node = project.plan.nodes.get(name or "")
    if node is None or node.kind not in ("signal", "formula") or node.place is not Place.CLOUD:
        cloud = [n for n in declared if project.plan.nodes[n].place is Place.CLOUD]
        close = difflib.get_close_matches(name or "", cloud, 1) if node is None else []
        raise DataError(
            f"{name or 'a signal'!r} is not a signal of the cloud",
            code="T313",
            where=str(project.settings.module),
            fix=f"did you mean {close[0]!r}?"
            if close
            else "name declared signals whose sources are in the cloud; a release may reach others",
        )
    return node.id


def _labels(project: Project, labels: Labels) -> dict[str, str]:
    if isinstance(labels, Mapping):
        return {column: _named(project, signal) for column, signal in labels.items()}
    return {name: name for name in named(project, labels)}


def check_kinds(project: Project, names: Sequence[str], labels: Mapping[str, str]) -> None:
    """Raises DataError T375 for an outcome among features, or a feature among labels."""
    nodes = project.plan.nodes
    for name in names:
        if "ahead" in nodes[name].spec:
            raise DataError(
                f"{name!r} is an outcome, and asked for as a feature: nobody knows it then",
                code="T375",
                where=nodes[name].declared.where,
                fix=f"name it in training_set(…, labels=…), or take {name!r} without .ahead(…)",
            )
    for label, name in labels.items():
        if "ahead" not in nodes[name].spec:
            raise DataError(
                f"the label {label!r} is of the time before the row's moment",
                code="T375",
                where=nodes[name].declared.where,
                fix='declare what comes of it, as in orders.count().ahead("7d")',
            )


def keys_of(project: Project, views: Sequence[View]) -> dict[str, Type]:
    """The entities of the spine, and the types of their keys."""
    found: dict[str, Type] = {}
    for view in views:
        schema = project.schema(view.source)
        found |= {entity: schema[column] for entity, column in view.keys}
    return found


def _moment(as_of: AsOf) -> int | Literal["spine"] | None:
    if as_of is None or as_of == "spine":
        return as_of  # type: ignore[return-value]
    if isinstance(as_of, datetime):
        return moment(as_of)
    if isinstance(as_of, int) and not isinstance(as_of, bool):
        return as_of
    try:
        return moment(datetime.fromisoformat(str(as_of)))
    except ValueError:
        raise DataError(
            f"as_of={as_of!r} is no moment",
            code="T371",
            where="as_of",
            fix='give a datetime, microseconds UTC, ISO 8601 text, or "spine"',
        ) from None


def _future(message: str, fix: str) -> DataError:
    return DataError(message, code="T373", where="spine", fix=fix)


def _ahead(length: int) -> str:
    return f"{length / 60_000_000:,.1f} minutes"


def _check_past(spine: pa.Table, latest: int) -> None:
    """Raises DataError T373 for rows of a moment that is still to come."""
    import pyarrow.compute as pc

    ahead = pc.sum(pc.greater(spine["at"], latest)).as_py()
    if ahead:
        furthest = pc.max(spine["at"]).as_py() - latest
        raise _future(
            f"{ahead:,} rows of the spine are dated after the moment as of which it is asked, the"
            f" furthest by {_ahead(furthest)}",
            "leave them out: what will be known then is not known yet",
        )


def arrivals_of(project: Project, views: Sequence[View]) -> dict[str, str]:
    """Source → the column that says when its rows arrived."""
    import pyarrow.parquet as pq

    found = {}
    for source in sorted({view.source for view in views}):
        declared = project.source(source)
        assert isinstance(declared, Events), "views are of events"
        column = declared.arrival
        if column is None and (
            project.in_lake(source) or ARRIVED in pq.read_schema(project.file(source)).names
        ):
            column = ARRIVED
        if column is None:
            raise DataError(
                f"what was known then cannot be told: {source!r} does not keep when rows arrived",
                code="T370",
                where=declared.where,
                fix='declare a column of moments and arrival="…"; the lake knows when each row was'
                " ingested, which tells nothing of the time before",
            )
        found[source] = column
    return found


def _kept(project: Project, views: Sequence[View]) -> dict[str, int]:
    """Signal → the shortest time for which anything that it is made of is kept: its rows, or a
    column that it reads."""
    kept = {}
    for view in views:
        rows = row_retention(project.source(view.source))
        for window in view.windows:
            label = project.plan.label(Port(window.signal, "value"))
            terms = [term for term in (rows, label.retention) if term is not None]
            if terms:
                kept[window.signal] = min(terms)
    return kept


def _fresh(project: Project, views: Sequence[View]) -> dict[str, int]:
    names = [window.signal for view in views for window in view.windows]
    stated = {name: project.plan.nodes[name].spec.get("fresh") for name in names}
    return {name: length for name, length in stated.items() if length is not None}


def _allowed(
    project: Project,
    spine: pa.Table,
    personal: Iterable[str],
    purposes: Sequence[str | None],
    consent: Consent,
) -> Any:
    from tacit.learn.consent import allowed

    labels = [project.plan.nodes[name].label for name in personal]
    subjects = sorted(set().union(*(label.subjects for label in labels)) & set(spine.column_names))
    on_consent = any(Basis.CONSENT in label.bases for label in labels)
    return allowed(spine, subjects, [p for p in purposes if p], consent, not on_consent)


def moments_of(project: Project, node: Node) -> pa.Table | None:
    """The moments that a training sink has rows for when a project runs: those of all events until
    now of the first of its sources that has one key of every entity; None where none has, or where
    a formula is over what is given with requests.

    A fast clock may date an event a little ahead of now: it has no row yet.
    """
    import pyarrow as pa

    if given_of(project.plan, node.inputs):
        return None  # what came with a request is not known for the moments of events
    views = views_of(project.plan, node.inputs)
    entities = {entity for view in views for entity, _ in view.keys}
    for source in dict.fromkeys(view.source for view in views):
        declared = project.source(source)
        assert isinstance(declared, Events), "views are of events"
        columns = {
            name: key_columns(declared, project.declarations.named[name])  # type: ignore[arg-type]
            for name in sorted(entities)
        }
        if all(len(found) == 1 for found in columns.values()):
            keys = {name: found[0] for name, found in columns.items()}
            rows = read_moments(project, source, keys, (None, project.now()))
            # Timestamps: whole numbers of long ago would be taken for another unit.
            moments = rows["at"].cast(pa.timestamp("us", "UTC"))
            return rows.set_column(rows.column_names.index("at"), "at", moments)
    return None
