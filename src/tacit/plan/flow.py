"""The flow check: no data goes where its label forbids, before anything runs.

Every output (release, model, bundle, metric, sink) has a clearance: what it says it is for, where
it stands, how long it keeps. Each dimension of a label is one rule of `plan.rules`:
`label ≤ clearance`, or the plan is refused with the path from the column that forbids it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tacit.declare import (
    AnyMetric,
    Label,
    Linkability,
    Model,
    Place,
    Private,
    Purpose,
    Release,
    Sink,
)
from tacit.errors import FlowError, Refused, TacitError
from tacit.plan.bill import bill
from tacit.plan.graph import Edge, Node, Plan, Port
from tacit.plan.label import regions
from tacit.plan.rules import AWAY, DOMAIN, DOWNLOAD, OPEN, RULES, Clearance, Rule, listed
from tacit.plan.sources import retention
from tacit.values import show_duration

STATED = ("keep", "region")
DOWNLOADS = Clearance(Place.DEVICE, {}, frozenset(), 0, Linkability.IDENTIFIED)


def check_flow(plan: Plan) -> Plan:
    """Holds every output's labels against its clearance. Raises Refused with every breach."""
    errors: list[TacitError] = []
    for node in plan.nodes.values():
        if node.kind in ("release", "model", "metric", "sink", "bundle"):
            unstated = list(_unstated(node))
            errors += unstated or _check_output(plan, node)
            errors += _check_outcomes(plan, node)
        elif node.kind == "prepare":
            errors += _check_content(plan, node)
    charges, overspent = bill(plan)
    if errors or overspent:
        raise Refused([*errors, *overspent])
    return replace(plan, bill=charges)


def _unstated(node: Node) -> Iterator[FlowError]:
    """T201 for what an output does not say; what it would have from its release is told there."""
    inherits = isinstance(node.declared, Model | AnyMetric) and not node.declassifies
    for term in STATED:
        if not node.spec[term] and not inherits:
            yield FlowError(
                f"{node.kind} {node.id!r} does not say its {term}",
                code="T201",
                where=node.declared.where,
                fix=f"write {term}=…; a clearance has no default",
            )


def _check_output(plan: Plan, node: Node) -> Iterator[FlowError]:
    """The first breach of each rule."""
    if not all(node.spec[term] for term in STATED):
        return  # what its release does not say, either
    clearance = clearance_of(plan, node)
    edges = plan.incoming[node.id]
    domain = [edge for edge in edges if edge.role == "domain"]
    rest = [edge for edge in edges if edge.role != "domain"]
    yield from _first_breach(plan, node, domain, DOMAIN, clearance)
    for rule in _rules(node):
        yield from _first_breach(plan, node, rest, rule, clearance)


def _rules(node: Node) -> tuple[Rule, ...]:
    """A metric that is measured without a mechanism is refused for that, rather than for what it
    would take to hold people's data."""
    if isinstance(node.declared, Private) and "measure" in node.spec:
        return tuple({"T202": AWAY, "T206": OPEN}.get(rule.code, rule) for rule in RULES)
    return RULES


def _check_outcomes(plan: Plan, node: Node) -> Iterator[FlowError]:
    """What is still to come is known to nobody who serves: outcomes are there to learn from."""
    if node.spec.get("to") == "training" and node.kind == "sink":
        return
    for name in node.inputs:
        ahead = plan.nodes[name].spec.get("ahead")
        if ahead:
            yield FlowError(
                f"{node.kind} {node.id!r}: {name!r} is an outcome, known {show_duration(ahead)}"
                " after its moment",
                code="T213",
                where=node.declared.where,
                path=(f"signal {name}", f"{node.kind} {node.id}"),
                fix='deliver it to a sink with to="training", or take .ahead(…) away',
            )


def _first_breach(
    plan: Plan, node: Node, edges: list[Edge], rule: Rule, clearance: Clearance
) -> Iterator[FlowError]:
    seen: set[Label] = set()
    for edge in edges:
        label = plan.label(edge.source)
        if label not in seen and rule.broken(label, clearance):
            yield _breach(plan, node, edge.source, rule, clearance)
            return
        seen.add(label)


def _check_content(plan: Plan, node: Node) -> Iterator[FlowError]:
    """Rows prepared on a device: what the cloud adds to them is downloaded by every device."""
    incoming = list(plan.incoming[node.id])
    if min(plan.label(edge.source).place for edge in incoming) is Place.DEVICE:
        yield from _first_breach(plan, node, incoming, DOWNLOAD, DOWNLOADS)


def clearance_of(plan: Plan, node: Node) -> Clearance:
    """What an output may hold, by its own statement."""
    spec, purposes = node.spec, plan.declarations.of(Purpose)
    # What a release takes in is gone when it has run; its `keep` is that of its result.
    keep = 0 if node.declassifies else retention(spec["keep"])
    bundle = node.kind == "bundle"
    return Clearance(
        place=_standing(plan, node),
        purposes={name: frozenset(purposes[name].bases) for name in spec["purposes"]},
        regions=regions(spec["region"]),
        keep=spec["expires"] if bundle else keep,
        linkability=_highest(node),
        sensitive=tuple(spec.get("sensitive", ())),
        term="expires" if bundle else "keep",
    )


def _standing(plan: Plan, node: Node) -> Place:
    """Where an output takes its data in: a release does so where its signal is."""
    if isinstance(node.declared, Release):
        return plan.label(Port(node.inputs[0], "value")).place
    if node.spec.get("mechanism") == "prio3":
        return plan.nodes[node.inputs[0]].label.place
    if node.kind == "bundle":
        return Place.DEVICE
    return (
        Place[str(node.spec["place"]).upper()] if isinstance(node.declared, Sink) else Place.CLOUD
    )


def _highest(node: Node) -> Linkability:
    if node.declassifies:
        return Linkability.IDENTIFIED
    return Linkability[str(node.spec.get("linkability", "aggregate")).upper()]


def _breach(plan: Plan, node: Node, start: Port, rule: Rule, clearance: Clearance) -> FlowError:
    label = plan.label(start)
    return FlowError(
        f"{node.kind} {node.id!r}: {rule.message(label, clearance)}",
        code=rule.code,
        where=_place_of_user(plan, node, start),
        path=[*_trace(plan, start, rule, clearance), f"{node.kind} {node.id}"],
        fix=rule.fix(label, clearance),
    )


def _place_of_user(plan: Plan, node: Node, start: Port) -> str:
    """The line to change. Prepared rows are nobody's line: it is that of the first signal that
    asks for what they may not hold, or of the source itself."""
    if node.kind != "prepare":
        return node.declared.where
    columns = {e.target for e in plan.incoming[node.id] if e.source == start}
    for edge in plan.edges:
        if edge.source in columns and plan.nodes[edge.target.node].kind == "signal":
            return plan.nodes[edge.target.node].declared.where
    return node.declared.where


def _trace(plan: Plan, port: Port, rule: Rule, clearance: Clearance) -> list[str]:
    """From the source column that forbids it to `port`, by one way on which the rule is broken."""
    steps = [_step(plan, port)]
    while True:
        kind = plan.nodes[port.node].kind
        if plan.nodes[port.node].declassifies:  # what came before no longer counts
            return steps[::-1]
        edges = [e for e in plan.incoming.get(port.node, ()) if e.target == port]
        broken = [e for e in edges if rule.broken(plan.label(e.source), clearance)]
        if not broken:
            if edges and kind not in ("model", "metric"):
                # Only together do the inputs forbid it: purposes or regions with no overlap.
                steps.append(" + ".join(sorted({str(e.source) for e in edges})))
            return steps[::-1]
        # By its value rather than by what it decides, where there are both.
        chosen = min(broken, key=lambda edge: edge.flow)
        steps[-1] += "" if chosen.flow == "direct" else f" (by {chosen.role})"
        port = chosen.source
        steps.append(_step(plan, port))


def _step(plan: Plan, port: Port) -> str:
    node = plan.nodes[port.node]
    label = plan.label(port)
    if node.kind == "source":
        held = listed(label.categories) if label.categories else "public"
        return f"{port} ({label.place}, {held})"
    if node.kind == "prepare":
        view = next(view for view in plan.views if view.name == port.node)
        written = [c.sql for c in view.computed if c.name == port.column]
        return f"{port.node} {written[0] if written else port.column}"
    return f"{node.kind} {node.id}"
