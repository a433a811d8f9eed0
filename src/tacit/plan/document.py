"""The plan as a document: JSON that is stored, compared with the last applied plan, and printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tacit.declare import Label
from tacit.declare.arguments import plain
from tacit.plan.epoch_bill import epoch_bill
from tacit.plan.graph import Entry, Node, Plan
from tacit.values import show_duration

FORMAT = 2
"""2 added `vocabulary` and `mentions`."""


def document(plan: Plan) -> dict[str, Any]:
    """The whole plan as JSON data: nodes with labels, lineage, crossings and the privacy bill."""
    return {
        "format": FORMAT,
        "hash": plan.hash,
        "vocabulary": {entry.id: _entry(entry) for entry in plan.vocabulary.values()},
        "nodes": {node.id: _node(node) for node in plan.nodes.values()},
        "lineage": [
            {"from": str(e.source), "to": str(e.target), "flow": e.flow, "role": e.role}
            for e in plan.edges
        ],
        "crossings": [
            {
                "from": c.source,
                "to": c.target,
                "origin": str(c.origin),
                "destination": str(c.destination),
                "by": c.by,
            }
            for c in plan.crossings
        ],
        "bill": [
            {
                "release": charge.release,
                "mechanism": charge.mechanism,
                "purposes": list(charge.purposes),
                "epsilon": charge.epsilon,
                "delta": charge.delta,
                "loss": charge.loss.to_json(),
            }
            for charge in plan.bill
        ],
    } | _epochs(plan)


def _epochs(plan: Plan) -> dict[str, Any]:
    lines = [line.to_json() for line in epoch_bill(plan, plan.bill)]
    return {"epochs": lines} if lines else {}


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "doc": entry.declared.doc,
        "owner": entry.declared.owner,
        "where": entry.declared.where,
        "hash": entry.hash,
        "spec": plain(entry.spec),
        "budget": plain(entry.budget),
    }


def _node(node: Node) -> dict[str, Any]:
    return {
        "kind": node.kind,
        "doc": node.declared.doc,
        "owner": node.declared.owner,
        "where": node.declared.where,
        "inputs": list(node.inputs),
        "mentions": list(node.mentions),
        "place": str(node.place),
        "engine": node.engine,
        "hash": node.hash,
        "spec": plain(node.spec),
        "columns": {
            column.name: {"type": column.type, "label": column.label and label_json(column.label)}
            for column in node.columns
        },
    }


FACETS = ("kind", "spec", "budget", "place", "engine", "inputs", "mentions")
"""What a node or an entry itself is, apart from what it stands on."""


def label_json(label: Label) -> dict[str, Any]:
    """A label as JSON data; null is "any"."""
    return {
        "place": str(label.place),
        "subjects": sorted(label.subjects),
        "categories": sorted(label.categories),
        "purposes": None if label.purposes is None else sorted(label.purposes),
        "bases": sorted(label.bases),
        "regions": None if label.regions is None else sorted(label.regions),
        "retention": show_duration(label.retention),
        "linkability": str(label.linkability),
        "releases": sorted(label.releases),
    }


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed in meaning between two plans, by node id.

    `affected` did not change themselves but stand on something that did. `details` says of each
    that changed what it was and what it is.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    affected: tuple[str, ...]
    details: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.affected)


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> Difference:
    """Compares two plan documents by the hashes of their nodes and entries."""
    old, new = _all(before), _all(after)
    both = [name for name in new if name in old]
    moved = [name for name in both if new[name]["hash"] != old[name]["hash"]]
    changed = [n for n in moved if any(new[n].get(f) != old[n].get(f) for f in FACETS)]
    return Difference(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        changed=tuple(changed),
        affected=tuple(name for name in moved if name not in set(changed)),
        details={name: tuple(_details(old[name], new[name])) for name in changed},
    )


def _details(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What differs, as "keep 30d → 60d"; within columns by their dotted names."""
    for facet in FACETS:
        yield from _compare(
            "" if facet in ("spec", "budget") else facet, old.get(facet), new.get(facet)
        )


def _compare(name: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for each in [*old, *(key for key in new if key not in old)]:
            yield from _compare(f"{name}.{each}".lstrip("."), old.get(each), new.get(each))
    elif old != new:
        yield f"{name} {_shown(name, old)} → {_shown(name, new)}"


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "ever" if name == "window" else "none"
    if name in ("window", "hop", "expires", "epoch"):
        return show_duration(value)
    if isinstance(value, list):
        return ", ".join(str(each) for each in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {each}" for key, each in value.items() if each)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _all(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {**document.get("vocabulary", {}), **document["nodes"]}
