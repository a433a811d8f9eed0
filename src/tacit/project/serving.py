"""Signals and formulas together, as the online store serves them.

The store keeps signals; a formula is computed of those it is over, as they are read, and so says
what a training set says of the same values. It is DENIED or STALE where one of them is, and MISSING
where all are. A signal that states a freshness is STALE also where nothing that contributes to it
is as new as that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tacit.aggregates.columns import Array
from tacit.engines.base import ARROW, Deriving
from tacit.engines.reference import Reference
from tacit.live.feeds import fresh_window
from tacit.live.lasting import Trace
from tacit.live.reader import Lookup, Status, Table, Values
from tacit.operations import Derived
from tacit.store.online.base import Reading


class Serving:
    """Some signals and formulas, ready to be read; `Project.lookup` makes it.

    Attributes:
        lasting: whether no formula is over what grows with the clock.

    Args:
        lookup: of the signals, of those that formulas are over, and of what tells their freshness.
        names: what is asked, in order.
        formulas: those among them.
    """

    def __init__(self, lookup: Lookup, names: Sequence[str], formulas: Sequence[Derived]) -> None:
        self.lookup = lookup
        self.signals = tuple(names)
        self.formulas = tuple(formulas)
        self._place = {signal: i for i, signal in enumerate(lookup.signals)}
        inputs = {f.signal: [self._place[name] for name, _ in f.inputs] for f in formulas}
        self._places = [inputs.get(name) or [self._place[name]] for name in names]
        self._fresh = {
            place: self._place[told]
            for signal, place in self._place.items()
            if (told := fresh_window(signal)) in self._place
        }
        self._plain = not self.formulas and not self._fresh and lookup.signals == self.signals
        inputs_of = {place for signal in inputs for place in inputs[signal]}
        self.lasting = lookup.aging.isdisjoint(inputs_of)
        self._ages = {
            places[0]: k
            for k, (name, places) in enumerate(zip(names, self._places, strict=True))
            if name not in inputs and places[0] in lookup.aging
        }

    def one(
        self,
        keys: Mapping[str, object],
        at: int,
        *,
        now: int | None = None,
        allowed: Sequence[bool] | None = None,
    ) -> Values:
        """The values at a moment of one key. See `live.reader.Lookup.one`."""
        found = self.lookup.one(keys, at, now=now, allowed=self._allowed(allowed))
        return self._of_one(found, allowed)

    def traced(
        self,
        store: Reading,
        keys: Mapping[str, object],
        at: int,
        *,
        allowed: Sequence[bool] | None = None,
    ) -> tuple[Values, Trace]:
        """The same, and what it was made of. See `live.reader.Lookup.traced`."""
        found, trace = self.lookup.traced(store, keys, at, self._allowed(allowed))
        told = self._of_one(found, allowed)
        if not self.lasting:
            trace.by(at)
        trace.ages = {
            self._ages[place]: since
            for place, since in trace.ages.items()
            if place in self._ages and told.values[self._ages[place]] is not None
        }
        return told, trace

    def _of_one(self, found: Values, allowed: Sequence[bool] | None) -> Values:
        if self._plain:
            return found
        read = [[value] for value in found.values]
        columns, status = self._told(read, np.array([found.status], np.uint8), allowed, Reference())
        return Values([column[0] for column in columns], [Status(each) for each in status[0]])

    def many(
        self,
        keys: Mapping[str, Sequence[object] | object],
        at: int,
        *,
        now: int | None = None,
        allowed: Sequence[bool] | None = None,
    ) -> Table:
        """The same for many keys. See `live.reader.Lookup.many`."""
        from tacit.engines.local import Local

        found = self.lookup.many(keys, at, now=now, allowed=self._allowed(allowed))
        columns, status = self._told(found.columns, found.status, allowed, Local())
        return Table(self.signals, columns, status)

    def _allowed(self, allowed: Sequence[bool] | None) -> list[bool] | None:
        """What may be read: each signal that is asked of something allowed."""
        if allowed is None:
            return None
        found = [False] * len(self._place)
        for each, places in zip(allowed, self._places, strict=True):
            for place in places if each else ():
                found[place] = True
                found[self._fresh.get(place, place)] = True
        return found

    def _told(
        self,
        read: Sequence[list[Any]],
        status: Array,
        allowed: Sequence[bool] | None,
        engine: Deriving,
    ) -> tuple[list[list[Any]], Array]:
        """Columns and statuses (keys, signals), in the order asked."""
        derived = self._derived(read, engine)
        status = status.copy()
        for place, fresh in self._fresh.items():
            old = [not newer for newer in read[fresh]]  # none at all, or none of any second key
            status[(status[:, place] == Status.FRESH) & old, place] = Status.STALE
        told = np.full((len(status), len(self.signals)), Status.DENIED, np.uint8)
        columns: list[list[Any]] = []
        for k, (name, places) in enumerate(zip(self.signals, self._places, strict=True)):
            if allowed is not None and not allowed[k]:
                columns.append([None] * len(status))
                continue
            columns.append(derived.get(name, read[places[0]]))
            told[:, k] = _joined(status[:, places])
        return columns, told

    def _derived(self, read: Sequence[list[Any]], engine: Deriving) -> dict[str, list[Any]]:
        if not self.formulas:
            return {}
        inputs = dict(each for formula in self.formulas for each in formula.inputs)
        columns = {
            name: pa.array(read[self._place[name]], ARROW[kind]) for name, kind in inputs.items()
        }
        found = engine.derive(pa.table(columns), self.formulas)
        return {f.signal: found[f.signal].to_pylist() for f in self.formulas}


def _joined(status: Array) -> Array:
    """The statuses of rows, of those of the signals (rows, signals) that a value is made of."""
    found = np.where((status == Status.MISSING).all(axis=1), Status.MISSING, Status.FRESH)
    for worse in (Status.STALE, Status.DENIED):  # the last has the last word
        found[(status == worse).any(axis=1)] = worse
    return found.astype(np.uint8)
