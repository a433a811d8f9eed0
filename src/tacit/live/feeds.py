"""The feeds of a plan: its cloud-placed signals, by source, with what a store must know of them."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pyarrow as pa

from tacit.aggregates.algebra import base_key
from tacit.declare import Events, Place
from tacit.live.feed import Feed
from tacit.operations import View, Window
from tacit.plan import Plan
from tacit.plan.graph import Port
from tacit.plan.place import VECTORS
from tacit.plan.views import view_of

UNKEPT = VECTORS
"""Aggregates that the online store does not keep: rows there hold no vectors."""


def feeds_of(
    plan: Plan, content: Callable[[str], pa.Table], baselines: Collection[str] = ()
) -> tuple[Feed, ...]:
    """Every source of events with a signal in the cloud, outcomes and vectors left out.

    ``content`` gives the rows of a content table; ``baselines`` names the sources of which nothing
    is answered before a baseline is there.
    """
    views: dict[str, list[View]] = {}
    for view in plan.views:
        signals = [window.signal for window in view.windows if _kept(plan, window)]
        if signals:
            views.setdefault(view.source, []).append(view_of(view, signals))
    feeds = []
    for name, kept in views.items():
        source = plan.declarations.named[name]
        assert isinstance(source, Events), "signals are of events"
        people: dict[str, list[str]] = {}
        for title, column in source.columns.items():
            if column.entity is not None and column.entity.person:
                entity = plan.declarations.name(column.entity, source)
                people.setdefault(entity, []).append(title)
        tables = {join.table for view in kept for join in view.joins}
        signals = [window.signal for view in kept for window in view.windows]
        feeds.append(
            Feed(
                name,
                {title: column.type for title, column in source.columns.items()},
                source.time,
                tuple(kept),
                {table: content(table) for table in sorted(tables)},
                {entity: tuple(titles) for entity, titles in people.items()},
                {s: plan.label(Port(s, "value")).retention for s in signals},
                name in baselines,
            )
        )
    return tuple(feeds)


def _kept(plan: Plan, window: Window) -> bool:
    """Whether a signal is known, and asked for, at the moment of a read."""
    cloud = plan.nodes[window.signal].place is Place.CLOUD
    return cloud and not window.ahead and base_key(window.aggregate) not in UNKEPT
