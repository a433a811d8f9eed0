"""The plan in words: what runs where, what leaves, on which terms, what it costs, what changed.

It is what a privacy engineer signs. Whatever leaves a place is listed with what it is made of, the
mechanism that lets it pass, its loss, its terms, and who must be trusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tacit.declare import Label, Place, Purpose, Release
from tacit.plan.bill import composed
from tacit.plan.document import Difference
from tacit.plan.epoch_bill import epoch_bill
from tacit.plan.graph import Crossing, Node, Plan, Port
from tacit.plan.lineage import origins
from tacit.privacy.mechanism import mechanism
from tacit.values import show_duration

LISTED = 40
"""Signals, changes and columns listed one by one; of more, the rest is counted."""

_BAR = 20


@dataclass(frozen=True, slots=True)
class Line:
    """A line of output. `mark` is "" for a heading, else +, ~, -, → or a space."""

    mark: str
    text: str


def explain(plan: Plan, change: Difference | None) -> Iterator[Line]:
    """The lines of `tacit plan`. `change` is None when no plan was applied before."""
    if not plan.nodes:
        yield Line("", "nothing is declared that could run")
    for place in Place:
        nodes = [node for node in plan.nodes.values() if node.place is place]
        if nodes:
            yield Line("", f"on the {place}" if place is Place.DEVICE else f"in the {place}")
            yield from _nodes(nodes, change)
    yield Line("", "released")
    yield from _releases(plan)
    yield Line("", "moved without a release")
    yield from _moves(plan)
    yield Line("", "privacy bill")
    yield from _bill(plan)
    if change is not None:
        yield Line("", "since the plan last applied")
        yield from _changes(change)


def _width(names: Sequence[str]) -> int:
    return min(28, max((len(name) for name in names), default=0)) + 2


def _nodes(nodes: Sequence[Node], change: Difference | None) -> Iterator[Line]:
    signals = [node for node in nodes if node.kind == "signal"]
    several = len(signals) > LISTED
    formulas = sum(node.kind == "formula" for node in nodes)
    hidden = {"prepare"} | ({"signal"} if several else set())
    hidden |= {"formula"} if formulas > LISTED else set()
    shown = [node for node in nodes if node.kind not in hidden]
    groups: dict[str, int] = {}
    for node in signals if several else ():
        groups[node.inputs[0]] = groups.get(node.inputs[0], 0) + 1
    width = _width([*(node.id for node in shown), *groups])
    for node in shown:
        yield Line(_mark(node.id, change), f"{node.id:<{width}}{describe(node)}")
    for group, count in groups.items():
        source, _, keys = group.partition(":")
        yield Line(" ", f"{source:<{width}}{count:,} signals per {_keys(keys)}")
    if formulas > LISTED:
        yield Line(" ", f"{'':<{width}}{formulas:,} formulas over signals")


def _mark(name: str, change: Difference | None) -> str:
    if change is None:
        return " "
    if name in change.added:
        return "+"
    return "~" if name in change.changed or name in change.affected else " "


def describe(node: Node) -> str:
    """One line that says what a node does."""
    spec = node.spec
    match node.kind:
        case "source":
            return f"{node.declared.kind}, {_held(node.label)}"
        case "signal":
            return f"{_signal(node)}   {node.engine}"
        case "formula":
            return f"{spec['sql']}   {node.engine}"
        case "prepare":
            return f"rows of {node.inputs[0]} per {_keys(node.id.partition(':')[2])}"
        case "release":
            return f"{spec['mechanism']} of {node.inputs[0]} over the keys of {node.inputs[1]}"
        case "model":
            return f"{spec['learner']} from {node.inputs[0]}, {_terms(node)}"
        case "bundle":
            return f"signed, used for {show_duration(spec['expires'])} at most"
        case "metric":
            return f"{_measured(node)}, {_terms(node)}"
        case "sink":
            return f"{spec['to']} of {_taken(node)}, at most {spec['linkability']}, {_terms(node)}"


def _taken(node: Node) -> str:
    """What a sink takes."""
    released = node.spec.get("released", {})
    count = len(node.inputs) - len(released)
    words = [f"{count} signal{'s' if count != 1 else ''}"] if count else []
    every = node.spec.get("every")
    anew = f", anew each {every}" if every else ""
    words += [f"{name} by {by['entity']}, noised{anew}" for name, by in released.items()]
    return " and ".join(words)


def _measured(node: Node) -> str:
    """What a metric is, in its own terms."""
    spec = node.spec
    if "ratio" in spec:
        return f"{spec['ratio']['numerator']} / {spec['ratio']['denominator']}"
    if "sql" in spec:
        return str(spec["sql"])
    if "cumulative" in spec:
        window = spec["cumulative"]["window"]
        span = "to date" if window is None else f"over the last {show_duration(window)}"
        return f"{spec['cumulative']['metric']} {span}"
    if "conversion" in spec:
        parts = spec["conversion"]
        within = show_duration(parts["within"])
        what = f"{_measure(parts['base'])}, then within {within} {_measure(parts['then'])}"
        return f"{parts['shows']} of {what}{_cohort(spec)}"
    if "measure" in spec:
        return f"{_measure(spec['measure'])}{_cohort(spec)}"
    return f"from {node.inputs[0]}, of {spec['minimum']:,} devices or more"


def _measure(measure: Mapping[str, Any]) -> str:
    words = [str(measure["aggregate"]), *(str(measure[n]) for n in ("q", "k") if n in measure)]
    words += ["of", str(measure["value"])] if "value" in measure else []
    words += ["in" if "value" in measure else "of", str(measure["source"])]
    words += ["where", str(measure["where"])] if "where" in measure else []
    return " ".join(words)


def _cohort(spec: Mapping[str, Any]) -> str:
    by = f", by {', '.join(spec['dimensions'])}" if spec["dimensions"] else ""
    return by + (f", of {spec['minimum']:,} people or more" if "minimum" in spec else "")


def _signal(node: Node) -> str:
    spec = node.spec
    words = [str(spec["aggregate"])]
    for part, word in (("value", "of"), ("by", "by"), ("where", "where")):
        words += [word, str(spec[part])] if part in spec else []
    window = show_duration(spec["window"])
    window += f" by hops of {show_duration(spec['hop'])}" if "hop" in spec else ""
    if "ahead" in spec:
        window = f"the {window} up to {show_duration(spec['ahead'])} ahead"
    return f"{' '.join(words)}, per {_keys(node.inputs[0].partition(':')[2])}, {window}"


def _keys(keys: str) -> str:
    return keys.removesuffix("@device").replace("+", " and ")


def _held(label: Label) -> str:
    if not label.categories:
        return "public"
    bases = ", ".join(sorted(label.bases))
    return (
        f"{label.linkability}, for {_names(label.purposes)}, on {bases}, in"
        f" {_regions(label.regions)}, kept {show_duration(label.retention)}"
    )


def _terms(node: Node) -> str:
    spec = node.spec
    return f"for {', '.join(spec['purposes'])}, in {_regions(spec['region'])}, kept {spec['keep']}"


def _names(names: frozenset[str] | None) -> str:
    return "anything" if names is None else ", ".join(sorted(names)) or "nothing"


def _regions(regions: Iterable[str] | None) -> str:
    if regions is None or "anywhere" in regions:
        return "any region"
    return " or ".join(sorted(regions)) or "no region"


def _releases(plan: Plan) -> Iterator[Line]:
    if not plan.bill:
        yield Line(" ", "nothing: no private statistic leaves its place")
    for node in plan.of("release"):
        yield from _release(plan, node)
    for node in plan.of("metric"):
        if node.declassifies:
            yield from _answered(plan, node)


def _answered(plan: Plan, node: Node) -> Iterator[Line]:
    """A metric whose rows stay in the cloud, and whose number leaves it for whoever may ask."""
    spec = node.spec
    uses = [f"{name} ({plan.vocabulary[name].spec['use']})" for name in spec["purposes"]]
    delta = f"at δ {spec['delta']:g}" if spec["delta"] else "with no δ"
    ways = _reported(spec) if spec["mechanism"] == "prio3" else _bounded(spec)
    origin = plan.nodes[node.inputs[0]].place
    sinks = [sink for sink in plan.of("sink") if node.id in sink.spec.get("released", ())]
    each = sorted({str(sink.spec["every"]) for sink in sinks})
    when = "".join(f", and each {every} to be served" for every in each)
    yield Line("→", f"{node.id}   {origin} → {node.place}, when it is asked{when}")
    yield from _facts(
        [
            ("what", [_measured(node)]),
            ("made of", _made_of(plan, Port(node.id, "value"))),
            ("passes by", [f"{spec['mechanism']}: {ways.shows}"]),
            ("a person", [ways.counts]),
            (
                "costs",
                [f"ε {spec['epsilon']:g} {delta} {ways.each}, for each person; {ways.times}"],
            ),
            ("for", uses),
            ("kept", [f"{spec['keep']}, in {_regions(spec['region'])}"]),
            ("trust", list(ways.trust)),
        ]
    )


class _Ways(NamedTuple):
    """How a mechanism answers, in words."""

    shows: str
    counts: str
    each: str
    times: str
    trust: Sequence[str]


def _bounded(spec: Mapping[str, Any]) -> _Ways:
    from tacit.privacy.central.budget import TRUST

    several = spec["answers"] != 1
    periods = "every period" if spec["max_periods"] is None else f"{spec['max_periods']} periods"
    groups = f"{spec['max_groups']} group{'s' if spec['max_groups'] != 1 else ''}"
    return _Ways(
        "sums of what is bounded for each person, with noise",
        f"counts in {groups} of {periods} of an answer at most",
        "an answer",
        f"{spec['answers']:,} different question{'s' if several else ''}",
        TRUST,
    )


def _reported(spec: Mapping[str, Any]) -> _Ways:
    from tacit.privacy.sum_noise import TRUST

    several = spec["answers"] != 1
    return _Ways(
        "a sum of all devices' reports, none alone, with noise",
        "sends one report a period, or none",
        "a period",
        f"{spec['answers']:,} period{'s' if several else ''}",
        TRUST,
    )


def _facts(facts: Iterable[tuple[str, list[str]]]) -> Iterator[Line]:
    for title, values in facts:
        for index, value in enumerate(values):
            yield Line(" ", f"  {title if index == 0 else '':<11}{value}")


def _release(plan: Plan, node: Node) -> Iterator[Line]:
    release = node.declared
    assert isinstance(release, Release), "only releases make release nodes"
    signal = plan.nodes[node.inputs[0]]
    chosen = mechanism(release.mechanism)
    uses = [f"{name} ({plan.vocabulary[name].spec['use']})" for name in node.spec["purposes"]]
    yield Line("→", f"{node.id}   {signal.place} → {node.place}")
    facts = [
        ("what", [f"{signal.id}: {_signal(signal)}", f"over the keys of {node.inputs[1]}"]),
        ("made of", _made_of(plan, Port(signal.id, "value"))),
        ("passes by", [f"{release.mechanism}: {chosen.shows}"]),
        ("costs", [f"ε {release.epsilon:g} {_delta(release)}, for each device, once"]),
        ("for", uses),
        ("kept", [f"{node.spec['keep']}, in {_regions(node.spec['region'])}"]),
        ("trust", list(chosen.trust)),
    ]
    yield from _facts(facts)


def _delta(release: Release) -> str:
    """The δ that the loss has: none where the mechanism's price is pure."""
    price = mechanism(release.mechanism).price(release.epsilon, release.delta)
    return f"at δ {release.delta:g}" if price.rho else "with no δ"


def _made_of(plan: Plan, port: Port) -> list[str]:
    """The stored columns it is made of, with their categories; `decides` marks indirect ones."""
    found: dict[Port, list[str]] = {}
    for reach in origins(plan, port):
        found.setdefault(reach.port, []).append(reach.flow)
    width = _width([str(port) for port in found])
    lines = []
    for origin, flows in found.items():
        how = "value" if "direct" in flows else "decides"
        categories = ", ".join(sorted(plan.label(origin).categories)) or "public"
        lines.append(f"{origin!s:<{width}}{how:<9}{categories}")
    return [*lines[:LISTED], f"and {len(lines) - LISTED:,} more"] if len(lines) > LISTED else lines


def _moves(plan: Plan) -> Iterator[Line]:
    readers: dict[Crossing, list[str]] = {}
    for crossing in plan.crossings:
        if crossing.by != "release":
            reader = plan.nodes[crossing.target]
            name = reader.inputs[0] if reader.kind == "prepare" else reader.id
            readers.setdefault(replace(crossing, target=""), []).append(name)
    if not readers:
        yield Line(" ", "nothing: everything else stays where it is")
    width = _width([crossing.source for crossing in readers])
    for crossing, names in readers.items():
        why = _why(plan, crossing, list(dict.fromkeys(names)))
        yield Line(
            "→", f"{crossing.source:<{width}}{crossing.origin} → {crossing.destination}   {why}"
        )


def _why(plan: Plan, crossing: Crossing, readers: list[str]) -> str:
    label = plan.nodes[crossing.source].label
    if crossing.by == "bundle":
        losses = ", ".join(sorted(label.releases))
        return f"{label.linkability}, in a signed bundle; its loss is that of {losses}"
    return f"{label.linkability} content, for {', '.join(readers)}"


def _bill(plan: Plan) -> Iterator[Line]:
    if not plan.bill:
        yield Line(" ", "nothing is released, nothing is spent")
    purposes = plan.declarations.of(Purpose)
    width = _width(list(purposes))
    for name, purpose in purposes.items():
        if purpose.per_epoch:
            continue
        releases = [charge.release for charge in plan.bill if name in charge.purposes]
        if releases:
            spent = composed(plan.bill, name, purpose.delta)
            filled = min(_BAR, round(_BAR * spent / purpose.epsilon)) if purpose.epsilon else 0
            bar = "█" * filled + "░" * (_BAR - filled)
            yield Line(
                " ",
                f"{name:<{width}}{bar} ε {spent:.3g} of {purpose.epsilon:g} a device at"
                f" δ {purpose.delta:g}: {', '.join(releases)}",
            )
    for line in epoch_bill(plan, plan.bill):
        filled = min(_BAR, round(_BAR * line.share))
        yield Line(
            " ",
            f"{line.name or 'no team':<{width}}{'█' * filled + '░' * (_BAR - filled)}"
            f" {line.share:.0%} of ε {line.epsilon:g}, {_WHOSE[line.what]} each"
            f" {show_duration(line.length)} epoch of a {line.subject} at δ {line.delta:g}:"
            f" {', '.join(line.releases) or 'nothing'}",
        )


_WHOSE = {
    "filter": "all that may be learned of",
    "querier": "the team's quota of",
    "purpose": "the purpose's of",
}


def _changes(change: Difference) -> Iterator[Line]:
    if not change:
        yield Line(" ", "nothing")
    for mark, names in (("+", change.added), ("~", change.changed), ("-", change.removed)):
        for name in names[:LISTED]:
            details = "; ".join(change.details.get(name, ()))
            yield Line(mark, f"{name}   {details}" if details else name)
        if len(names) > LISTED:
            yield Line(mark, f"and {len(names) - LISTED:,} more")
    if change.affected:
        verb = "stands" if len(change.affected) == 1 else "stand"
        yield Line("~", f"{len(change.affected):,} more {verb} on what changed")
