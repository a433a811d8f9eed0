"""The rows that a private question is about: which columns it reads, and whether it may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def question(plan: Plan, events: Events, person: str | None, named: Mapping[str, str]) -> Question:
    """The rows of events with these expressions, name → SQL, as computed columns.

    Raises DeclarationError T110 to T115 for expressions, PrivacyError T873 where it is not said
    whose the rows are, or where content is about people: nobody could bound what they change.
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
    people = [n for n, c in events.columns.items() if c.entity is not None and c.entity.person]
    if person in people:
        assert person is not None, "no column is named None"
        return person
    if person is None and len(people) == 1:
        return people[0]
    told = "has keys of several people" if len(people) > 1 else "has no key of a person"
    raise PrivacyError(
        f"{source!r} {told}" if person is None else f"{person!r} is no key of a person",
        code="T873",
        where=events.where,
        fix=f"name the person whose privacy it is: {', '.join(people)}"
        if people
        else "declare the column of the person's key with key(entity, …)",
    )


def _port(source: str, name: str) -> Port:
    table, dot, column = name.partition(".")
    return Port(table, column) if dot else Port(source, name)


def _not_public(events: Events, port: Port) -> PrivacyError:
    return PrivacyError(
        f"the content {port} is not public, so one person may have changed it",
        code="T873",
        where=events.where,
        fix="join public content only, or bring the value into the events",
    )
