"""Lineage: which stored columns a column is made of, and what a column flows on into.

A way through the plan is direct when every edge on it carries the value itself; it is indirect as
soon as one only decides (a filter, a key, a join, the condition of a CASE). The terms are those of
OpenLineage's ColumnLineageDatasetFacet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tacit.plan.graph import Edge, Flow, Plan, Port


class Reach(NamedTuple):
    """A column at the other end of a way through the plan."""

    port: Port
    flow: Flow


def origins(plan: Plan, port: Port) -> tuple[Reach, ...]:
    """The stored columns that a column is made of, each with every way in which it enters.

    Shapes: sorted by column, direct before indirect; a stored column is its own direct origin.
    """
    backward: dict[Port, list[Edge]] = {}
    for edge in plan.edges:
        backward.setdefault(edge.target, []).append(edge)
    found = _walk(port, {p: [(e.source, e.flow) for e in es] for p, es in backward.items()})
    return tuple(sorted(reach for reach in found if reach.port not in backward))


def reached(plan: Plan, port: Port) -> tuple[Reach, ...]:
    """Everything that a column flows into, itself left out; sorted as `origins` is."""
    forward: dict[Port, list[tuple[Port, Flow]]] = {}
    for edge in plan.edges:
        forward.setdefault(edge.source, []).append((edge.target, edge.flow))
    return tuple(sorted(reach for reach in _walk(port, forward) if reach.port != port))


def _walk(start: Port, steps: Mapping[Port, Iterable[tuple[Port, Flow]]]) -> set[Reach]:
    seen: set[Reach] = set()
    waiting = [Reach(start, "direct")]
    while waiting:
        reach = waiting.pop()
        if reach not in seen:
            seen.add(reach)
            for port, flow in steps.get(reach.port, ()):
                through: Flow = "direct" if flow == reach.flow == "direct" else "indirect"
                waiting.append(Reach(port, through))
    return seen
