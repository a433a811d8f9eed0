"""Released numbers beside what is served of each key, at the same moment and by the same reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tacit.live.lasting import Trace
from tacit.live.reader import Lookup
from tacit.live.released import Released
from tacit.live.values import Status, Table, Values
from tacit.operations import Derived
from tacit.project.serving import Serving
from tacit.store.online.base import Reading
from tacit.values import Type


class Noised(Serving):
    """The same, with released numbers among what is read.

    Args:
        names: all that is asked, in order: what the lookup and formulas give, and metrics.
        metrics: whose keys they need, and the types. Those that `released` has not are denied.
    """

    def __init__(
        self,
        lookup: Lookup,
        names: Sequence[str],
        formulas: Sequence[Derived],
        given: Mapping[str, Type],
        metrics: Mapping[str, tuple[str, Type]],
        released: Released,
    ) -> None:
        super().__init__(lookup, [n for n in names if n not in metrics], formulas, given)
        self.signals = tuple(names)
        self.released = released
        self.keys |= dict(metrics.values())
        place = {name: k for k, name in enumerate(names)}
        self._back = [place[name] for name in self._own]
        self._there = [place[each.metric] for each in released.deliveries]

    def one(
        self,
        keys: Mapping[str, object],
        at: int,
        *,
        now: int | None = None,
        allowed: Sequence[bool] | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> Values:
        own = super().one(keys, at, now=now, allowed=self._of_own(allowed), given=given)
        with self.lookup.backend.read() as store:
            return self._beside(store, own, keys, (at, at if now is None else now), allowed, ())

    def traced(
        self,
        store: Reading,
        keys: Mapping[str, object],
        at: int,
        *,
        allowed: Sequence[bool] | None = None,
    ) -> tuple[Values, Trace]:
        own, trace = super().traced(store, keys, at, allowed=self._of_own(allowed))
        return self._beside(store, own, keys, (at, at), allowed, (trace,)), trace

    def many(
        self,
        keys: Mapping[str, Sequence[object] | object],
        at: int,
        *,
        now: int | None = None,
        allowed: Sequence[bool] | None = None,
        given: Mapping[str, Any] | None = None,
        traces: Sequence[Trace] | None = None,
    ) -> Table:
        own = super().many(
            keys, at, now=now, allowed=self._of_own(allowed), given=given, traces=traces
        )
        count = len(own.status)
        status = np.full((count, len(self.signals)), Status.DENIED, np.uint8)
        status[:, self._back] = own.status
        columns: list[list[Any]] = [[None] * count for _ in self.signals]
        for place, column in zip(self._back, own.columns, strict=True):
            columns[place] = column
        moments = at, at if now is None else now
        with self.lookup.backend.read() as store:
            found = self.released.read(store, keys, count, *moments, self._aged(traces or ()))
        for place, (values, told) in zip(self._there, found, strict=True):
            if allowed is None or allowed[place]:
                columns[place], status[:, place] = list(values), told
        return Table(self.signals, columns, status)

    def _beside(
        self,
        store: Reading,
        own: Values,
        keys: Mapping[str, object],
        moments: tuple[int, int],
        allowed: Sequence[bool] | None,
        traces: Sequence[Trace],
    ) -> Values:
        """One key's numbers beside its other values."""
        values: list[Any] = [None] * len(self.signals)
        status = [Status.DENIED] * len(self.signals)
        for place, value, each in zip(self._back, *own, strict=True):
            values[place], status[place] = value, each
        found = self.released.read(store, keys, 1, *moments, self._aged(traces))
        for place, ([value], [each]) in zip(self._there, found, strict=True):
            if allowed is None or allowed[place]:
                values[place], status[place] = value, each
        return Values(values, status)

    def _of_own(self, allowed: Sequence[bool] | None) -> list[bool] | None:
        return None if allowed is None else [allowed[place] for place in self._back]

    def _aged(self, traces: Sequence[Trace]) -> Sequence[Trace]:
        """Traces whose ages are at their places among all that is read."""
        for trace in traces:
            trace.ages = {self._back[place]: since for place, since in trace.ages.items()}
        return traces
