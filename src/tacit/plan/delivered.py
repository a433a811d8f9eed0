"""Build, part seven: metrics that a sink delivers to the online store, to be read by a key.

What is delivered is a number for each key of one entity, with noise in it: so the metric must have
been released (by devices, or by a mechanism over rows of the cloud), and be asked by the one
dimension that is such a key. Of what has a time, the last whole period is released, once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tacit.declare import AnyMetric, Entity, Release, Sink, Source
from tacit.declare.expression import parse
from tacit.plan.asked import BUCKET, adds_up, leaves
from tacit.plan.draft import Draft
from tacit.plan.graph import Node
from tacit.plan.sources import key_columns


class ByKey(NamedTuple):
    """How a metric is asked for a number for each key of an entity.

    Attributes:
        by: the dimension that is asked for; "" for a histogram, which is by its values as it is.
        column: of the answer, which holds the keys.
        type: of the keys.
    """

    by: str
    column: str
    entity: str
    type: str


def deliveries(draft: Draft, sink: Sink, metrics: Sequence[str]) -> dict[str, Any]:
    """What a sink's spec says of the metrics among what it takes; nothing where there are none.

    Raises T116 for metrics elsewhere than online, T114 for one that is not by one key, T350 for one
    that has no noise or is delivered twice for a purpose, T132 for one whose period is not said, or
    is none of its grains.
    """
    if not metrics:
        if sink.every is not None:
            raise draft.wrong(
                sink,
                f"is released anew each {sink.every}, and takes no metric",
                code="T116",
                fix="leave every=… out: signals are kept up as events come",
            )
        return {}
    if sink.to != "online":
        raise draft.wrong(
            sink,
            f"takes the metric {metrics[0]!r}, which is asked and joined to no rows",
            code="T116",
            fix='deliver metrics by a Sink(to="online", …), or ask: tacit query',
        )
    found = {}
    for metric in metrics:
        node = draft.nodes[metric]
        _check_noised(draft, sink, node)
        _check_time(draft, sink, node)
        _check_once(draft, sink, metric)
        found[metric] = _by_key(draft, sink, node)._asdict()
    return {"released": found, "every": sink.every}


def _check_noised(draft: Draft, sink: Sink, node: Node) -> None:
    parts = leaves(draft, node)
    if not any(_released(draft, part) or "mechanism" in part.spec for part in parts):
        raise draft.wrong(
            sink,
            f"takes the metric {node.id!r}, which has no mechanism: nothing of it is noised",
            code="T350",
            fix="take a metric of a Release, or one with a mechanism; content is read where it is",
        )


def _check_time(draft: Draft, sink: Sink, node: Node) -> None:
    """What has a time is released by periods; a sum over periods has none of its own."""
    parts = leaves(draft, node)
    grains = [set(part.spec.get("grains", ())) for part in parts]
    if adds_up(draft, node):
        raise draft.wrong(
            sink,
            f"takes the metric {node.id!r}, which adds up over periods",
            code="T132",
            fix="take the metric that it adds up",
        )
    if all(grains):
        shared = sorted(set.intersection(*grains))
        if sink.every not in shared:
            raise draft.wrong(
                sink,
                f"does not say how often the metric {node.id!r} is released"
                if sink.every is None
                else f"releases the metric {node.id!r} each {sink.every}, none of its grains",
                code="T132",
                fix=f"write every={shared[0]!r}: each period is an answer of its answers=…"
                if shared
                else "let its parts share a grain",
            )


def _check_once(draft: Draft, sink: Sink, metric: str) -> None:
    purposes = draft.declarations.purposes(sink.purposes, sink)
    for other in draft.nodes.values():
        if other.kind != "sink" or metric not in other.spec.get("released", ()):
            continue
        twice = sorted(purposes.intersection(other.spec["purposes"]))
        if twice:
            raise draft.wrong(
                sink,
                f"delivers the metric {metric!r} for {twice[0]}, as the sink {other.id!r} does",
                code="T350",
                fix="deliver it once for each purpose",
            )


def _by_key(draft: Draft, sink: Sink, node: Node) -> ByKey:
    """The one key that all parts of a metric may be asked by."""
    parts = [set(_keys(draft, sink, leaf)) for leaf in leaves(draft, node)]
    shared = sorted(set.intersection(*parts))
    if len(shared) != 1:
        known = ", ".join(each.by or each.column for each in shared) or "none"
        raise draft.wrong(
            sink,
            f"takes the metric {node.id!r}, of whose dimensions one must be a key: {known}",
            code="T114",
            fix="let it have one dimension that is a column made with key(…), as in"
            ' dimensions=["item"]',
        )
    return shared[0]


def _keys(draft: Draft, sink: Sink, leaf: Node) -> Iterator[ByKey]:
    """The dimensions of a measured metric that are keys of an entity."""
    release = _released(draft, leaf)
    if release is not None:
        for title in key_columns(release.over, release.over.of):
            column = release.over.columns[title]
            named = draft.declarations.name(release.over.of, sink)
            yield ByKey(title, title, named, str(column.type))
        return
    spec = leaf.spec
    measure = spec["conversion"]["base"] if "conversion" in spec else spec["measure"]
    source = draft.declarations.named[measure["source"]]
    if "bucket" in measure:
        entity = _entity(draft, source, measure["bucket"])
        if entity is not None:
            named = draft.declarations.name(entity, sink)
            yield ByKey("", BUCKET, named, measure["bucket"]["type"])
        return
    for name, dimension in spec["dimensions"].items():
        entity = _entity(draft, source, dimension)
        if entity is not None:
            yield ByKey(name, name, draft.declarations.name(entity, sink), dimension["type"])


def _entity(draft: Draft, source: Any, dimension: Mapping[str, Any]) -> Entity | None:
    """Whose key a dimension is; None for any other."""
    tree = parse(dimension["sql"]).tree
    if tree.op != "column":
        return None
    table, dot, column = str(tree.value).rpartition(".")
    held = draft.declarations.named[table] if dot else source
    assert isinstance(held, Source), "dimensions are columns of sources"
    declared = held.columns.get(column)
    return None if declared is None else declared.entity


def _released(draft: Draft, leaf: Node) -> Release | None:
    """The release that answers a metric, if one does."""
    first = draft.nodes[leaf.inputs[0]].declared
    assert isinstance(leaf.declared, AnyMetric), "leaves are metrics"
    return first if isinstance(first, Release) else None
