"""The label pass: every column gets the join of the labels that flow into it.

Indirect flows count like direct ones: what a filter, a group key or a join decides tells of the
column that decided it, and that a row is there at all tells of the person it is about. Only a
release, or a metric with a mechanism, writes a new label instead of joining.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tacit.declare import (
    ANYWHERE,
    PUBLIC,
    PUBLIC_LABEL,
    AnyMetric,
    Basis,
    Column,
    Declarations,
    Label,
    Linkability,
    Model,
    Place,
    Private,
    Source,
)
from tacit.errors import FlowError, Refused
from tacit.plan.graph import Column as PlanColumn
from tacit.plan.graph import Edge, Node, Plan, Port
from tacit.plan.sources import names, retention

Joined = dict[tuple[int, int], tuple[Label, Label, Label]]
TERMS = ("place", "purposes", "basis", "region", "keep")


def label(plan: Plan) -> Plan:
    """Labels all columns. Raises Refused with T201 for every annotation that is missing."""
    errors = [error for node in plan.of("source") for error in _missing(plan, node)]
    if errors:
        raise Refused(errors)
    labels: dict[Port, Label] = {}
    joined: Joined = {}
    nodes: dict[str, Node] = {}
    for node in plan.nodes.values():
        if isinstance(node.declared, Source) and node.kind == "source":
            _label_source(plan.declarations, node.id, node.declared, labels)
        _join_edges(plan.incoming.get(node.id, ()), labels, joined)
        if node.declassifies:
            _declassify(node, labels)
        elif isinstance(node.declared, Model) or _composed(node):
            _restrict(node, labels)
        columns = tuple(
            PlanColumn(c.name, c.type, labels.get(Port(node.id, c.name), PUBLIC_LABEL))
            for c in node.columns
        )
        nodes[node.id] = Node(
            node.id, node.kind, node.declared, node.inputs, columns, node.spec, node.mentions
        )
    return replace(plan, nodes=nodes)


def _join_edges(edges: Sequence[Edge], labels: dict[Port, Label], joined: Joined) -> None:
    """Joins what flows in. `joined` remembers joins by identity, and keeps the labels alive."""
    # Within a source, edges come in the order in which derived columns depend on each other.
    for source, target, _ in edges:
        incoming = labels.get(source, PUBLIC_LABEL)
        present = labels.get(target)
        if present is None or present is incoming:
            labels[target] = incoming
            continue
        pair = (id(present), id(incoming))
        known = joined.get(pair)
        if known is None:
            known = joined[pair] = (present, incoming, present.join(incoming))
        labels[target] = known[2]


def _missing(plan: Plan, node: Node) -> list[FlowError]:
    source = node.declared
    assert isinstance(source, Source), "only sources make source nodes"
    personal = any(column.category != PUBLIC for column in source.columns.values())
    unlabelled = [title for title, c in source.columns.items() if c.category is None]
    unstated = [term for term in (TERMS if personal else TERMS[:1]) if not getattr(source, term)]
    return [
        FlowError(
            f"column {title!r} of {source.kind} {node.id!r} has no label",
            code="T201",
            where=source.where,
            path=(f"{node.id}.{title}",),
            fix='give it a fideslang category, as in text("user.behavior"), or PUBLIC',
        )
        for title in unlabelled
    ] + [
        FlowError(
            f"{source.kind} {node.id!r} has people's data and does not say its {term}"
            if personal
            else f"{source.kind} {node.id!r} does not say its {term}",
            code="T201",
            where=source.where,
            fix=f"write {term}=…; there is no default",
        )
        for term in unstated
    ]


def _label_source(
    declarations: Declarations, name: str, source: Source, labels: dict[Port, Label]
) -> None:
    assert source.place is not None, "unstated places were reported"
    place = Place[source.place.upper()]
    terms = replace(
        PUBLIC_LABEL,
        purposes=_purposes(declarations, source, source.purposes),
        regions=regions(source.region),
        retention=retention(source.keep),
    )
    public = all(column.category == PUBLIC for column in source.columns.values())
    # Public data that is not confined to devices may be anywhere. Terms stated for a source of
    # public columns alone (a licence, say) hold for these; else they are about people's data.
    about_nobody = replace(
        terms if public else PUBLIC_LABEL,
        place=place if place is Place.DEVICE else Place.CLOUD,
    )
    about_people = None if public else _personal(declarations, source, terms, place)
    for title, column in source.columns.items():
        stated = about_nobody
        if column.category != PUBLIC:
            assert about_people is not None, "a source with such a column is not public"
            assert column.category is not None, "missing categories were reported"
            stated = replace(about_people, categories=frozenset([column.category]))
        labels[Port(name, title)] = _narrow(declarations, source, column, stated)


def _personal(declarations: Declarations, source: Source, terms: Label, place: Place) -> Label:
    people = {
        declarations.name(c.entity, source): Linkability[str(c.entity.person).upper()]
        for c in source.columns.values()
        if c.entity is not None and c.entity.person
    }
    return replace(
        terms,
        place=place,
        subjects=frozenset(people),
        bases=frozenset([Basis(str(source.basis))]),
        # Personal data without anybody's key (a log, a survey) may still be tied to a person.
        linkability=max(people.values(), default=Linkability.PSEUDONYMOUS),
    )


def _narrow(declarations: Declarations, source: Source, column: Column, stated: Label) -> Label:
    for terms in column.narrowed:
        narrower = replace(
            PUBLIC_LABEL,
            purposes=_purposes(declarations, source, terms.purposes),
            regions=regions(terms.region),
            retention=retention(terms.keep),
        )
        stated = stated.join(narrower)
    return stated


def _purposes(declarations: Declarations, source: Source, given: object) -> frozenset[str] | None:
    return None if given is None else declarations.purposes(given, source)  # type: ignore[arg-type]


def regions(given: str | tuple[str, ...] | list[str] | None) -> frozenset[str] | None:
    """The regions named; None for `ANYWHERE`, and where nothing is said."""
    stated = names(given)
    return None if given is None or ANYWHERE in stated else frozenset(stated)


def _declassify(node: Node, labels: dict[Port, Label]) -> None:
    """A release's result is an aggregate with terms of its own, and so is a metric's that has a
    mechanism; the lawful bases stay."""
    port = Port(node.id, "value")
    labels[port] = replace(
        labels[port],
        place=Place[str(node.spec.get("to", "cloud")).upper()],
        subjects=frozenset(),
        purposes=frozenset(node.spec["purposes"]),
        regions=regions(node.spec["region"]),
        retention=retention(node.spec["keep"]),
        linkability=Linkability.AGGREGATE,
        releases=labels[port].releases | {node.id},
    )


def _composed(node: Node) -> bool:
    return isinstance(node.declared, AnyMetric) and not isinstance(node.declared, Private)


def _restrict(node: Node, labels: dict[Port, Label]) -> None:
    """A model is under its release's terms and its own; so then is all that is made of it. A metric
    that is made of others is under theirs and its own."""
    port = Port(node.id, "value")
    own = replace(
        PUBLIC_LABEL,
        purposes=frozenset(node.spec["purposes"]),
        regions=regions(node.spec["region"] or None),
        retention=retention(node.spec["keep"]),
    )
    labels[port] = labels[port].join(own)
