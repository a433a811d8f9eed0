"""The feeds of a plan: its cloud-placed signals, by source, with what a store must know of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import pyarrow as pa

from tacit.aggregates.algebra import base_key
from tacit.declare import Events, Place
from tacit.live.feed import Feed
from tacit.operations import View, Window
from tacit.plan import Plan
from tacit.plan.graph import Port
from tacit.plan.place import VECTORS
from tacit.plan.sources import narrowed, retention
from tacit.plan.views import view_of

UNKEPT = VECTORS
"""Aggregates that the online store does not keep: rows there hold no vectors."""


def fresh_window(signal: str) -> str:
    """The name of the window that tells whether a signal is fresh; no signal has a name like it."""
    return f"{signal}:fresh"


def feeds_of(
    plan: Plan,
    content: Callable[[str], pa.Table],
    baselines: Collection[str] = (),
    units: Mapping[str, str | None] | None = None,
) -> tuple[Feed, ...]:
    """Every source of events with a signal in the cloud, outcomes and vectors left out.

    A signal that states a freshness has a second window beside it, of what contributes to it and is
    no older. ``content`` gives the rows of a content table; ``baselines`` names the sources of
    which nothing is answered before a baseline is there; ``units`` are those of sources' moments.
    """
    views: dict[str, list[View]] = {}
    for view in plan.views:
        signals = [window.signal for window in view.windows if _kept(plan, window)]
        if signals:
            kept = view_of(view, signals)
            told = [fresh for window in kept.windows if (fresh := _fresh(plan, window))]
            kept = replace(kept, windows=(*kept.windows, *told))
            views.setdefault(view.source, []).append(kept)
    feeds = []
    for name, several in views.items():
        source = plan.declarations.named[name]
        assert isinstance(source, Events), "signals are of events"
        people: dict[str, list[str]] = {}
        for title, column in source.columns.items():
            if column.entity is not None and column.entity.person:
                entity = plan.declarations.name(column.entity, source)
                people.setdefault(entity, []).append(title)
        tables = {join.table for view in several for join in view.joins}
        signals = [window.signal for view in several for window in view.windows]
        nodes = {signal: signal.removesuffix(fresh_window("")) for signal in signals}
        feeds.append(
            Feed(
                name,
                {title: column.type for title, column in source.columns.items()},
                source.time,
                tuple(several),
                {table: content(table) for table in sorted(tables)},
                {entity: tuple(titles) for entity, titles in people.items()},
                {s: plan.label(Port(node, "value")).retention for s, node in nodes.items()},
                name in baselines,
                (units or {}).get(name),
                retention(source.keep, source.where),
                narrowed(source),
            )
        )
    return tuple(feeds)


def _fresh(plan: Plan, window: Window) -> Window | None:
    """How much contributes to a signal within its freshness; None where it states none."""
    length = plan.nodes[window.signal].spec.get("fresh")
    if length is None:
        return None
    name = fresh_window(window.signal)
    return Window(name, "count", window.value, window.by, window.where, length)


def _kept(plan: Plan, window: Window) -> bool:
    """Whether a signal is known, and asked for, at the moment of a read."""
    cloud = plan.nodes[window.signal].place is Place.CLOUD
    return cloud and not window.ahead and base_key(window.aggregate) not in UNKEPT
