"""Signals: an aggregate of events in a window before a moment, for each key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from tacit.declare.arguments import DURATION, SQL, WORD, Takes, optional, several
from tacit.declare.base import Declaration
from tacit.declare.entity import Entity
from tacit.values import duration

if TYPE_CHECKING:
    from tacit.declare.source import Events

_length = lru_cache(maxsize=4096)(duration)


@dataclass(frozen=True, eq=False, kw_only=True)
class Signal(Declaration):
    """An aggregate over the half-open window `[t - window, t)`; made by the methods of `Events`.

    With a `hop`, the window starts at a multiple of it since the epoch (UTC), so that it can be
    kept in tiles: it covers `[floor((t - window) / hop) * hop, t)`, which is never less than
    `window` and always less than `window + hop`. Its end is `t` itself, always.

    Args:
        source: the events.
        aggregate: a registered aggregate, such as "sum".
        value: SQL of what is aggregated.
        window: a duration such as "30d"; None reaches back for ever.
        hop: a duration of at most `window`; None for the exact window.
        by: SQL of a second key; the result is then a histogram.
        filter: SQL that says which events count.
        per: the entities whose history it is; empty means the person of the events.
        horizon: for an outcome, how far ahead it is told; made by `ahead`.
        freshness: how old its newest event may be before the value is stale; made by `fresh`.
    """

    kind: ClassVar[str] = "signal"
    takes: ClassVar[Mapping[str, Takes]] = {
        **Declaration.takes,
        # Events are made of signals' methods, so this file cannot import them.
        "source": Takes("Events", "the events", lambda v: getattr(v, "kind", "") == "events"),
        "aggregate": WORD,
        "value": optional(SQL),
        "window": optional(DURATION),
        "hop": optional(DURATION),
        "by": optional(SQL),
        "filter": replace(optional(SQL), example='"quantity > 0"', argument="where"),
        "per": several(Entity, "an Entity or a tuple of entities", "entity"),
        "horizon": optional(DURATION),
        "freshness": optional(DURATION),
    }

    source: Events
    aggregate: str
    value: str | None = None
    window: str | None = None
    by: str | None = None
    filter: str | None = None
    per: tuple[Entity, ...] = ()
    hop: str | None = None
    horizon: str | None = None
    freshness: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hop is None:
            return
        if self.length is None:
            raise self.wrong(
                f"hops by {self.hop} but has no window",
                code="T118",
                fix='add a window, such as window="30d", or leave the hop out',
            )
        if _length(self.hop) > self.length:
            raise self.wrong(
                f"hops by {self.hop}, which is longer than its window of {self.window}",
                code="T118",
                fix=f"use a hop of {self.window} or less",
            )
        if self.horizon is not None:
            raise self.wrong(
                "is an outcome and hops: its window would begin before the row's moment",
                code="T118",
                fix="leave the hop out",
            )

    def ahead(self, horizon: str) -> Signal:
        """The outcome that this signal is of the time to come: a label, never a feature.

        It is told at `t + horizon`, over `[t, t + horizon)`, or the last `window` of it:
        `orders.count().ahead("7d")` is how many orders the seven days after `t` bring.
        """
        return replace(self, horizon=horizon)

    def fresh(self, within: str) -> Signal:
        """The same signal, stale where its newest event is older than `within`."""
        return replace(self, freshness=within)

    @property
    def step(self) -> int | None:
        """The hop in microseconds; None for an exact window."""
        return None if self.hop is None else _length(self.hop)

    @property
    def length(self) -> int | None:
        """The window in microseconds; None for ever. An outcome begins at `t` at the earliest."""
        window = self.window or self.horizon
        return None if window is None else _length(window)

    @property
    def reach(self) -> int:
        """How far ahead of `t` the outcome is told, in microseconds; 0 for what is no outcome."""
        return 0 if self.horizon is None else _length(self.horizon)
