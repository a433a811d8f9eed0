"""The rows that a private question is about: which columns it reads, and whether it may."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tacit.declare import Events, Linkability, Place, Purpose, Source
from tacit.errors import FlowError, PrivacyError, Refused
from tacit.operations import Computed, Join, View
from tacit.plan.draft import Draft
from tacit.plan.expressions import infer, inline, read
from tacit.plan.graph import Plan, Port
from tacit.plan.rules import RULES, Clearance
from tacit.plan.signals import derived_of, join_of, tables_of
from tacit.plan.sources import build_source
from tacit.values import Type

_HELD = ("T202", "T203", "T207", "T208")  # where, for what, sensitive, on which basis


@dataclass(frozen=True, slots=True)
class Question:
    """What is read: a view of the source's rows by person, and every column behind it.

    `types` are those of the source's columns and, dotted, of content tables.
    """

    view: View
    types: Mapping[str, Type]
    ports: tuple[Port, ...]


def question(
    plan: Plan,
    events: Events,
    person: str | None,
    named: Mapping[str, str],
    keys: Collection[str] = (),
) -> Question:
    """The rows of events with these expressions, name → SQL, as computed columns.

    `keys` are the names of those that are grouped by.

    Raises DeclarationError T110 to T115 for expressions, PrivacyError T873 where rows are not of
    one person each, keys tell people apart, or content is about people: nobody could bound what
    they change.
    """
    declarations = plan.declarations
    draft, source = Draft(declarations), declarations.name(events, events)
    for name, declared in declarations.of(Source).items():
        build_source(draft, name, declared)
    owner = _person(events, source, person)
    joins: dict[str, Join] = {}
    computed, types = [], dict(draft.schemas[source])
    columns = {owner, events.time}
    for name, sql in named.items():
        written = read(declarations, events, sql)
        for table in tables_of(written):
            joins[table] = join_of(draft, source, events, events, table)
            types |= {f"{table}.{c}": kind for c, kind in draft.schemas[table].items()}
        flat = inline(declarations, events, written, derived_of(draft, source, written))
        if name in keys and owner in flat.columns:
            raise _refused(
                events,
                f"it is asked by {sql!r}, which tells one person from another",
                "group by what many people share",
            )
        computed.append(Computed(name, flat.sql, infer(declarations, events, written, types)))
        columns |= flat.columns
    view = View(
        source,
        source,
        (("person", owner),),
        events.time,
        tuple(joins.values()),
        tuple(computed),
        (),
    )
    for join in joins.values():
        columns |= {join.left, f"{join.table}.{join.right}"}
    ports = tuple(_port(source, name) for name in sorted(columns))
    for port in ports:
        if port.node != source and plan.label(port).linkability is not Linkability.PUBLIC:
            raise _not_public(events, port)
    return Question(view, types, ports)


def check_use(plan: Plan, asked: Question, purpose: str, sensitive: Sequence[str] = ()) -> None:
    """Raises FlowError T202, T203, T207 or T208 where the purpose may not use what is read, or the
    cloud may not have it; Refused with all of them where there are several."""
    bases = frozenset(plan.declarations.of(Purpose)[purpose].bases)
    clearance = Clearance(
        Place.CLOUD, {purpose: bases}, None, None, Linkability.IDENTIFIED, tuple(sensitive)
    )
    errors = []
    for rule in RULES:
        broken = (p for p in asked.ports if rule.broken(plan.label(p), clearance))
        port = next(broken, None) if rule.code in _HELD else None
        if port is not None:
            label = plan.label(port)
            errors.append(
                FlowError(
                    f"a private question: {rule.message(label, clearance)}",
                    code=rule.code,
                    where=plan.nodes[port.node].declared.where,
                    path=(f"{port} ({label.place})", f"question for {purpose}"),
                    fix=rule.fix(label, clearance),
                )
            )
    if len(errors) > 1:
        raise Refused(errors)
    if errors:
        raise errors[0]


def _person(events: Events, source: str, person: str | None) -> str:
    """The column of the people's key. There is one: of a row of two people, what one of them
    changes would be bounded, and what the other one does would not."""
    people = [n for n, c in events.columns.items() if c.entity is not None and c.entity.person]
    if len(people) > 1:
        named = ", ".join(people)
        fix = "ask about events with one column that is the key of a person"
        raise _refused(events, f"{source!r} has keys of several people: {named}", fix)
    if not people:
        fix = "declare the column of the person's key with key(entity, …)"
        raise _refused(events, f"{source!r} has no key of a person", fix)
    if person not in (None, *people):
        raise _refused(events, f"{person!r} is no key of a person", f"name {people[0]}")
    return people[0]


def _port(source: str, name: str) -> Port:
    table, dot, column = name.partition(".")
    return Port(table, column) if dot else Port(source, name)


def _not_public(events: Events, port: Port) -> PrivacyError:
    return _refused(
        events,
        f"the content {port} is not public, so one person may have changed it",
        "join public content only, or bring the value into the events",
    )


def _refused(events: Events, what: str, fix: str) -> PrivacyError:
    return PrivacyError(what, code="T873", where=events.where, fix=fix)
