"""Build, part two: signals, and the prepared rows that they share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tacit.aggregates import algebra
from tacit.declare import PUBLIC, Declaration, Entity, Events, Signal, Source, Table
from tacit.declare.expression import Expression, parse
from tacit.operations import Computed, Join, Window
from tacit.plan.draft import Draft, Preparing
from tacit.plan.expressions import infer, inline, read, roles
from tacit.plan.graph import Column, Port, Role
from tacit.plan.sources import key_columns, retention
from tacit.values import Type, duration, show_duration

ROLES: Mapping[str, Role] = {"value": "value", "by": "group", "where": "filter"}
Keys = tuple[tuple[str, str], ...]


def build_signal(draft: Draft, name: str, signal: Signal) -> None:
    """Adds a signal node, and its expressions to the prepared rows of its source and keys."""
    source = draft.standing(signal.source, signal)
    keys = _keys(draft, source, signal)
    written = {
        part: read(draft.declarations, signal, sql)
        for part, sql in (("value", signal.value), ("by", signal.by), ("where", signal.filter))
        if sql is not None
    }
    joins = _joins(draft, source, signal, written)
    _check_window(draft, source, signal, keys, written)
    prepared = _prepare(draft, source, signal, keys, joins)
    view = draft.views[prepared]
    parts = {part: _compute(draft, view, signal, each, joins) for part, each in written.items()}
    aggregate = _aggregate(draft, signal, parts)
    result = _result(draft, signal, aggregate, parts)
    value, by, where = (parts[part].name if part in parts else None for part in ROLES)
    window = Window(name, aggregate, value, by, where, signal.length, signal.step, signal.reach)
    view.windows.append(window)
    spec: dict[str, Any] = {"aggregate": aggregate, "window": signal.length}
    spec |= {"hop": signal.step} if signal.step is not None else {}
    spec |= {"ahead": signal.reach} if signal.reach else {}
    if signal.freshness is not None:
        spec["fresh"] = duration(signal.freshness)
    spec |= {part: column.sql for part, column in parts.items()}
    inputs = (prepared, *sorted(joins))
    draft.add(name, "signal", signal, inputs, (Column("value", result),), spec)
    target = Port(name, "value")
    for part, column in parts.items():
        draft.flow(Port(prepared, column.name), target, ROLES[part])
    for entity, _ in keys:
        draft.flow(Port(prepared, entity), target, "key")
    draft.flow(Port(prepared, "at"), target, "time")


def _keys(draft: Draft, source: str, signal: Signal) -> Keys:
    """(entity, column) pairs whose history the signal is: `per`, else the person of the events.

    In the order of names, so that per=(a, b) and per=(b, a) are the same.
    """
    per = signal.per
    if not per:
        columns = signal.source.columns.values()
        per = tuple({c.entity: None for c in columns if c.entity and c.entity.person})
        if len(per) != 1:
            people = "keys of several people" if per else "no key of a person"
            raise draft.wrong(
                signal,
                f"does not say whose history it is, and {source!r} has {people}",
                code="T114",
                fix="add per=entity, or per=(entity, entity)",
            )
    if len(set(per)) < len(per):
        raise draft.wrong(signal, "names an entity twice", code="T114", fix="name each once in per")
    return tuple(sorted(_key(draft, source, signal, entity) for entity in per))


def _key(draft: Draft, source: str, signal: Signal, entity: Entity) -> tuple[str, str]:
    name = draft.declarations.name(entity, signal)
    columns = key_columns(signal.source, entity)
    if len(columns) == 1:
        return name, columns[0]
    if columns:
        raise draft.wrong(
            signal,
            f"is per {name}, of which {source!r} has several keys: {', '.join(columns)}",
            code="T114",
            fix="declare an entity for each part that somebody may play, and name it in per",
        )
    raise draft.wrong(
        signal,
        f"is per {name}, of which {source!r} has no key",
        code="T114",
        fix=f"declare a column of {source!r} with key({name}, …), or choose another per",
    )


def _check_window(
    draft: Draft, source: str, signal: Signal, keys: Keys, written: Mapping[str, Expression]
) -> None:
    """Raises T107 for a window that reaches back past what is kept of anything it reads."""
    if signal.length is None:
        return
    if signal.reach and signal.length > signal.reach:
        raise draft.wrong(
            signal,
            f"is told {signal.horizon} ahead over {signal.window}: it would begin in the past",
            code="T118",
            fix=f'use a window of {signal.horizon} or less, or none, in .ahead("{signal.horizon}")',
        )
    limits = {source: retention(signal.source.keep)}
    short = draft.kept[source]
    if short:
        read = {c for expression in written.values() for c in expression.columns}
        read |= {column for _, column in keys} | {signal.source.time}
        limits |= {f"{source}.{column}": short[column] for column in sorted(read & set(short))}
    what, kept = min(limits.items(), key=lambda item: (item[1] is None, item[1]))
    if kept is not None and signal.length + (signal.step or 0) > kept:
        hop = f" and a hop of {signal.hop}" if signal.hop else ""
        both = "a window and a hop that together are" if signal.hop else "a window of"
        raise draft.wrong(
            signal,
            f"looks back {show_duration(signal.length)}{hop}, past the {show_duration(kept)} that"
            f" {what} is kept",
            code="T107",
            fix=f"use {both} {show_duration(kept)} or less, or keep {what} longer",
        )


def _prepare(
    draft: Draft, source: str, signal: Signal, keys: Keys, joins: Mapping[str, Join]
) -> str:
    """The node of the source's rows under these keys, made on first use.

    Rows of the cloud that are joined to a table of the device are prepared on the device, apart
    from those that are not.
    """
    events = signal.source
    places = {events.place, *(draft.nodes[table].spec["place"] for table in joins)}
    moved = "device" in places and events.place != "device"
    name = f"{source}:{'+'.join(entity for entity, _ in keys)}{'@device' if moved else ''}"
    if name not in draft.nodes:
        types = draft.schemas[source]
        columns = [Column(entity, str(types[column])) for entity, column in keys]
        columns.append(Column("at", str(Type.TIME)))
        spec = {"keys": keys, "time": events.time, "moved": moved}
        draft.add(name, "prepare", events, (source,), tuple(columns), spec)
        draft.views[name] = Preparing(name, source, keys, events.time)
        for entity, column in keys:
            draft.flow(Port(source, column), Port(name, entity), "value")
        draft.flow(Port(source, events.time), Port(name, "at"), "value")
        if events.arrival is not None:
            draft.flow(Port(source, events.arrival), Port(name, "at"), "time")
        for column in people(events):
            draft.flow(Port(source, column), Port(name, "at"), "row")
    return name


def people(events: Events) -> list[str]:
    """The columns that say whose doing a row is: that there is a row at all tells of them.

    Without a key of a person, every column that says something of people.
    """
    columns = events.columns.items()
    people = [title for title, column in columns if column.entity and column.entity.person]
    return people or [title for title, column in columns if column.category != PUBLIC]


def _compute(
    draft: Draft, view: Preparing, signal: Signal, written: Expression, joins: Mapping[str, Join]
) -> Computed:
    """The prepared column that holds the expression, added with its joins and flows if new."""
    if written.sql in view.written:
        return view.written[written.sql]
    expression = inline(
        draft.declarations, signal, written, derived_of(draft, view.source, written)
    )
    used = {table: joins[table] for table in tables_of(written)}
    schema = dict(draft.schemas[view.source])
    for table in used:
        schema |= {f"{table}.{name}": kind for name, kind in draft.schemas[table].items()}
    type_ = infer(draft.declarations, signal, written, schema)  # tells of columns as written
    computed = view.computed.get(expression.sql)
    if computed is None:
        computed = Computed(f"c{len(view.computed)}", expression.sql, type_)
        view.computed[expression.sql] = computed
        view.joins.update(dict.fromkeys(used.values()))
    view.written[written.sql] = computed
    target = Port(view.name, computed.name)
    for role, column in roles(written):
        table, dot, name = column.partition(".")
        draft.flow(Port(table, name) if dot else Port(view.source, column), target, role)
    for join in used.values():
        draft.flow(Port(view.source, join.left), target, "join")
        draft.flow(Port(join.table, join.right), target, "join")
    return computed


def derived_of(draft: Draft, source: str, written: Expression) -> Mapping[str, Expression]:
    """The derived columns that an expression names, of its source and of joined tables."""
    found: dict[str, Expression] = {}
    for used in written.columns:
        table, dot, column = used.partition(".")
        if not dot and used in draft.derived[source]:
            found[used] = draft.derived[source][used]
        elif dot and column in draft.derived[table]:
            inner = draft.derived[table][column]
            found[used] = inner.substitute({n: _reference(table, n) for n in inner.columns})
    return found


def _reference(table: str, column: str) -> Expression:
    quoted = column.replace('"', '""')
    return parse(f'"{table}"."{quoted}"')


def tables_of(expression: Expression) -> list[str]:
    """The content tables that an expression names."""
    return sorted({c.partition(".")[0] for c in expression.columns if "." in c})


def _joins(
    draft: Draft, source: str, signal: Signal, written: Mapping[str, Expression]
) -> dict[str, Join]:
    """The content tables that the signal names, joined by the key they share with the source."""
    tables = {table for expression in written.values() for table in tables_of(expression)}
    return {table: join_of(draft, source, signal.source, signal, table) for table in sorted(tables)}


def join_of(draft: Draft, source: str, events: Source, user: Declaration, table: str) -> Join:
    """The join of events to a content table by the key that they share. Raises T112 or T115."""
    declared = draft.declarations.named.get(table)
    if not isinstance(declared, Table):
        raise draft.wrong(
            user,
            f"names a column of {table!r}, which is not a table of this project",
            code="T115",
            fix="name a declared Table, as in films.genre",
        )
    draft.standing(declared, user)
    left = key_columns(events, declared.of)
    right = key_columns(declared, declared.of)
    if len(left) != 1:
        count = f"several keys ({', '.join(left)})" if left else "no key"
        entity = draft.declarations.name(declared.of, user)
        raise draft.wrong(
            user,
            f"names a column of {table!r}, with which {source!r} shares {count}",
            code="T115",
            fix=f"make one column of {source!r} with key({entity}, …)",
        )
    kinds = draft.schemas[source][left[0]], draft.schemas[table][right[0]]
    if kinds[0] != kinds[1]:
        raise draft.wrong(
            user,
            f"joins {source}.{left[0]}, which is {kinds[0]}, to {table}.{right[0]}, which is"
            f" {kinds[1]}",
            code="T112",
            fix="give both keys one type",
        )
    return Join(table, left[0], right[0])


def _aggregate(draft: Draft, signal: Signal, parts: Mapping[str, Computed]) -> str:
    """The key of the signal's aggregate; over a vector, that of what it means there."""
    value = parts.get("value")
    if value is None or value.type is not Type.VECTOR:
        return signal.aggregate
    table, dot, column = parse(value.sql).tree.value.partition(".")
    declared = draft.declarations.named[table] if dot else signal.source
    assert isinstance(declared, Source), "its columns were read from a source"
    size = declared.columns[column if dot else table].size
    assert size is not None, "only a column is a vector"
    return algebra.over_vectors(signal.aggregate, size)


def _meant(key: str) -> str:
    """The mend of an aggregate that is none: a share for a percentage, an example, or the list."""
    name, _, rest = key.partition("(")
    if name not in algebra.FAMILIES:
        examples = (example for _, _, example in algebra.FAMILIES.values())
        return "use one of " + ", ".join((*algebra.REGISTRY, *examples))
    _, read, example = algebra.FAMILIES[name]
    try:
        share = f"{float(rest.rstrip(')')) / 100:g}"
    except ValueError:
        share = ""
    if read(share) is not None:
        return f"did you mean {share}? It takes a share, as in {example}"
    return f"write it as {example}"


def _result(draft: Draft, signal: Signal, key: str, parts: Mapping[str, Computed]) -> str:
    """The signal's type. Raises T113 for a value that its aggregate does not take."""
    if "where" in parts and parts["where"].type is not Type.BOOL:
        raise draft.wrong(
            signal,
            f"is filtered by {signal.filter!r}, which is {parts['where'].type}, not true or false",
            code="T112",
            fix="write a condition, such as quantity > 0",
        )
    if "by" in parts and parts["by"].type is Type.VECTOR:
        raise draft.wrong(
            signal,
            f"is by {signal.by!r}, which is a vector",
            code="T112",
            fix="group by a column of text, ints, floats, bools or moments",
        )
    aggregate = algebra.REGISTRY.get(key)
    if aggregate is None:
        raise draft.wrong(
            signal,
            f"asks for an unknown aggregate {signal.aggregate!r}",
            code="T117",
            fix=_meant(signal.aggregate),
        )
    value = parts["value"].type if "value" in parts else None
    if not aggregate.accepts(value):
        given = f"of {signal.value!r}, which is {value}" if value else "of nothing"
        raise draft.wrong(
            signal,
            f"takes the {signal.aggregate} {given}",
            code="T113",
            fix=f"{signal.aggregate} takes {aggregate.takes}",
        )
    result = f"list<{aggregate.result(value)}>" if aggregate.many else str(aggregate.result(value))
    if value is Type.VECTOR:
        result = f"vector{key.removeprefix(algebra.base_key(key))}"
    return f"map<{parts['by'].type}, {result}>" if "by" in parts else result
