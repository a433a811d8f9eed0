"""Build, part one: sources with their derived columns."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from tacit.declare import ANYWHERE, PUBLIC, Column, Entity, Events, Source, Table
from tacit.declare.expression import Expression
from tacit.plan.draft import Draft
from tacit.plan.expressions import infer, inline, read, roles
from tacit.plan.graph import Column as PlanColumn
from tacit.plan.graph import Port
from tacit.plan.taxonomy import CATEGORIES, nearest
from tacit.values import Type, duration, show_duration

Derived = Mapping[str, tuple[Expression, Expression]]


def build_source(draft: Draft, name: str, source: Source) -> None:
    """Adds a source node with its stored and derived columns."""
    if not source.columns:
        raise draft.wrong(source, "has no columns", code="T116", fix="declare columns={…}")
    for title, column in source.columns.items():
        _check_column(draft, source, title, column)
    _check_shape(draft, source)
    schema = {title: column.type for title, column in source.columns.items()}
    derived = _derive(draft, source, schema)
    draft.schemas[name] = schema
    draft.derived[name] = {title: flat for title, (_, flat) in derived.items()}
    draft.kept[name] = _kept(source, derived)
    columns = tuple(PlanColumn(title, str(type_)) for title, type_ in schema.items())
    spec = _spec(draft, source, derived)
    draft.add(name, "source", source, (), columns, spec, _mentions(draft, source))
    for title, (expression, _) in derived.items():
        for role, used in roles(expression):
            draft.flow(Port(name, used), Port(name, title), role)


def _check_column(draft: Draft, source: Source, title: str, column: Column) -> None:
    entity = column.entity
    if entity is not None:
        draft.declarations.name(entity, source)
    category = column.category
    if category is not None and category != PUBLIC and category not in CATEGORIES:
        raise draft.wrong(
            source,
            f"labels the column {title!r} with an unknown category {category!r}",
            code="T104",
            fix=nearest(category, CATEGORIES, "data categories"),
        )
    if category == PUBLIC and entity is not None and entity.person:
        raise draft.wrong(
            source,
            f"labels {title!r} as public, but it is the key of a person",
            code="T104",
            fix='give it a category of people, such as "user.unique_id.pseudonymous"',
        )


def _check_shape(draft: Draft, source: Source) -> None:
    if isinstance(source, Events):
        when = source.columns.get(source.time)
        if when is None or when.type is not Type.TIME:
            close = [c for c, column in source.columns.items() if column.type is Type.TIME]
            happens = (
                f"happens at {source.time!r}" if source.time else "does not say when it happens"
            )
            raise draft.wrong(
                source,
                f"{happens}, and that is not a column of moments" if source.time else happens,
                code="T103",
                fix=f"write time={close[0]!r}" if close else "add a column made with time(…)",
            )
        if source.arrival is not None:
            _check_arrival(draft, source, source.arrival)
    if isinstance(source, Table):
        draft.declarations.name(source.of, source)
        keys = key_columns(source, source.of)
        if len(keys) != 1:
            raise draft.wrong(
                source,
                f"has {' and '.join(keys) or 'no column'} as the key of its entity, not one column",
                code="T114",
                fix="make one column of it with key(entity, …)",
            )


def _check_arrival(draft: Draft, source: Events, arrival: str) -> None:
    column = source.columns.get(arrival)
    if column is None or column.type is not Type.TIME or arrival == source.time:
        what = "when it happens" if arrival == source.time else "no column of moments"
        raise draft.wrong(
            source,
            f"arrives at {arrival!r}, and that is {what}",
            code="T103",
            fix="name another column made with time(…), or leave arrival out",
        )


def key_columns(source: Source, entity: Entity) -> list[str]:
    """The columns that hold a key of the entity."""
    return [title for title, column in source.columns.items() if column.entity is entity]


def _derive(draft: Draft, source: Source, schema: dict[str, Type]) -> Derived:
    """Each derived column's expression, as written and over stored columns; extends the schema.

    Raises DeclarationError T106 on a cycle.
    """
    written = {n: read(draft.declarations, source, sql) for n, sql in source.derived.items()}
    needs = {n: sorted(e.columns & set(written)) for n, e in written.items()}
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        circle = error.args[1][::-1]
        raise draft.wrong(
            source,
            f"derives columns in a circle: {' → '.join(circle)}",
            code="T106",
            fix=f"write {circle[0]!r} over stored columns alone",
        ) from None
    done: dict[str, tuple[Expression, Expression]] = {}
    for name in order:
        expression = written[name]
        schema[name] = infer(draft.declarations, source, expression, schema)
        flats = {used: done[used][1] for used in needs[name]}
        done[name] = (expression, inline(draft.declarations, source, expression, flats))
    return done


def narrowed(source: Source) -> dict[str, int]:
    """Column → the microseconds that it is kept, for stored ones that state a time of their own."""
    return {
        title: min(limits)
        for title, column in source.columns.items()
        if (limits := [k for t in column.narrowed if (k := retention(t.keep)) is not None])
    }


def _kept(source: Source, derived: Derived) -> dict[str, int]:
    """Column → the microseconds that it is kept, for columns kept shorter than their source."""
    kept = narrowed(source)
    for title, (_, flat) in derived.items():
        limits = [kept[used] for used in flat.columns & set(kept)]
        if limits:
            kept[title] = min(limits)
    return kept


def _mentions(draft: Draft, source: Source) -> tuple[str, ...]:
    """The entities and purposes that the source's labels speak of."""
    found: set[str] = set(draft.declarations.purposes(source.purposes, source))
    for column in source.columns.values():
        if column.entity is not None:
            found.add(draft.declarations.name(column.entity, source))
        for terms in column.narrowed:
            found |= draft.declarations.purposes(terms.purposes, source)
    return tuple(sorted(found))


def _spec(draft: Draft, source: Source, derived: Derived) -> dict[str, Any]:
    """All that a source's meaning depends on; sentences, owners and lines are left out."""
    declarations = draft.declarations
    columns = {
        name: {
            "type": str(column.type),
            "category": column.category,
            "entity": column.entity and declarations.name(column.entity, source),
            **({"size": column.size} if column.size else {}),
            "narrowed": [
                {
                    "purposes": terms.purposes is not None
                    and sorted(declarations.purposes(terms.purposes, source)),
                    "region": regions(terms.region),
                    "keep": keep(terms.keep),
                }
                for terms in column.narrowed
            ],
        }
        for name, column in source.columns.items()
    }
    arrival = source.arrival if isinstance(source, Events) else None
    return ({} if arrival is None else {"arrival": arrival}) | {
        "columns": columns,
        "derived": {name: expression.sql for name, (expression, _) in derived.items()},
        "place": source.place,
        "purposes": sorted(declarations.purposes(source.purposes, source)),
        "basis": source.basis,
        "region": regions(source.region),
        "keep": keep(source.keep),
        "time": source.time if isinstance(source, Events) else None,
        "of": declarations.name(source.of, source) if isinstance(source, Table) else None,
    }


def names(given: str | tuple[str, ...] | list[str] | None) -> tuple[str, ...]:
    """One name or several, as a tuple."""
    return (given,) if isinstance(given, str) else tuple(given or ())


def regions(given: str | tuple[str, ...] | list[str] | None) -> list[str]:
    """Regions in one spelling: in order, each once; with `ANYWHERE`, the others say nothing."""
    stated = set(names(given))
    return [ANYWHERE] if ANYWHERE in stated else sorted(stated)


def keep(given: str | None) -> str | None:
    """A `keep` in one spelling: "24h" and "1d" mean the same."""
    return given if given in (None, "ever") else show_duration(retention(given))


def retention(given: str | None, where: str | None = None) -> int | None:
    """Microseconds of a `keep`; None for "ever"."""
    return None if given in (None, "ever") else duration(str(given), where=where)
