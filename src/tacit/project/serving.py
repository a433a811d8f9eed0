"""Signals and formulas together, as the online store serves them.

The store keeps signals; a formula is computed of those it is over, as they are read, and so says
what a training set says of the same values. It is DENIED or STALE where one of them is, and MISSING
where all are. A signal that states a freshness is STALE also where nothing that contributes to it
is as new as that. Metrics that a sink delivers are read beside them, each number NOISED until the
next one is due (`live.released`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tacit.aggregates.columns import Array
from tacit.engines.base import ARROW, Deriving
from tacit.engines.reference import Reference
from tacit.errors import DataError
from tacit.live.feeds import fresh_window
from tacit.live.lasting import Trace
from tacit.live.reader import Lookup
from tacit.live.values import Status, Table, Values
from tacit.operations import Derived
from tacit.store.online.base import Reading
from tacit.values import Type


class Serving:
    """Some signals and formulas, ready to be read; `Project.lookup` makes it.

    Attributes:
        signals: what is read, in order.
        keys: whose keys that needs, and their types.
        lasting: whether no formula is over what grows with the clock.
        plain: whether what the store tells is what is asked, with nothing to be made of it.

    Args:
        lookup: of the signals, of those that formulas are over, and of what tells their freshness.
        names: what is asked, in order.
        formulas: those among them.
        given: what these are over that arrives with each read, and its types.
    """

    def __init__(
        self,
        lookup: Lookup,
        names: Sequence[str],
        formulas: Sequence[Derived],
        given: Mapping[str, Type] | None = None,
    ) -> None:
        self.lookup = lookup
        self.signals = self._own = tuple(names)
        self.keys: dict[str, Type] = {
            entity: kind
            for view in lookup.views
            for (entity, _), kind in zip(view.form.view.keys, view.form.types, strict=True)
        }
        self.formulas = tuple(formulas)
        self.given = dict(given or {})
        self._place = {signal: i for i, signal in enumerate(lookup.signals)}
        inputs = {
            f.signal: [self._place[name] for name, _ in f.inputs if name not in self.given]
            for f in formulas
        }
        self._places = [inputs.get(name) or [self._place[name]] for name in names]
        self._fresh = {
            place: self._place[told]
            for signal, place in self._place.items()
            if (told := fresh_window(signal)) in self._place
        }
        self.plain = not self.formulas and not self._fresh and lookup.signals == self.signals
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
        given: Mapping[str, Any] | None = None,
    ) -> Values:
        """The values at a moment of one key. See `live.reader.Lookup.one`.

        ``given`` are the values of what arrives with the read. Raises DataError T390 where one is
        missing or of another type; null is one of any type.
        """
        columns = self._given(given, 1)
        found = self.lookup.one(keys, at, now=now, allowed=self._allowed(allowed))
        return self._of_one(found, allowed, columns)

    def traced(
        self,
        store: Reading,
        keys: Mapping[str, object],
        at: int,
        *,
        allowed: Sequence[bool] | None = None,
    ) -> tuple[Values, Trace]:
        """The same where nothing is given, and what it was made of. See `Lookup.traced`."""
        found, trace = self.lookup.traced(store, keys, at, self._allowed(allowed))
        told = self._of_one(found, allowed, {})
        self._settle(trace, told.values, at)
        return told, trace

    def _settle(self, trace: Trace, values: Sequence[Any], at: int) -> None:
        """Has a trace say of what was asked, not of what was read for it."""
        if not self.lasting:
            trace.by(at)
        trace.ages = {
            self._ages[place]: since
            for place, since in trace.ages.items()
            if place in self._ages and values[self._ages[place]] is not None
        }

    def _of_one(
        self, found: Values, allowed: Sequence[bool] | None, given: Mapping[str, pa.Array]
    ) -> Values:
        if self.plain:
            return found
        read = [[value] for value in found.values]
        each = np.array([found.status], np.uint8)
        columns, status = self._told(read, each, allowed, Reference(), given)
        return Values([column[0] for column in columns], [Status(each) for each in status[0]])

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
        """The same for many keys. See `live.reader.Lookup.many`. What is given is one for all, or a
        list of as many as the keys."""
        from tacit.engines.local import Local

        found = self.lookup.many(keys, at, now=now, allowed=self._allowed(allowed), traces=traces)
        arrived = self._given(given, len(found.status))
        if not self.plain:
            columns, status = self._told(found.columns, found.status, allowed, Local(), arrived)
            found = Table(self._own, columns, status)
        for k, trace in enumerate(traces or ()):
            if trace.ages or not self.lasting:
                self._settle(trace, [column[k] for column in found.columns], at)
        return found

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
        given: Mapping[str, pa.Array],
    ) -> tuple[list[list[Any]], Array]:
        """Columns and statuses (keys, signals), in the order asked."""
        derived = self._derived(read, engine, given)
        status = status.copy()
        for place, fresh in self._fresh.items():
            old = [not newer for newer in read[fresh]]  # none at all, or none of any second key
            status[(status[:, place] == Status.FRESH) & old, place] = Status.STALE
        told = np.full((len(status), len(self._own)), Status.DENIED, np.uint8)
        columns: list[list[Any]] = []
        for k, (name, places) in enumerate(zip(self._own, self._places, strict=True)):
            if allowed is not None and not allowed[k]:
                columns.append([None] * len(status))
                continue
            columns.append(derived.get(name, read[places[0]]))
            told[:, k] = _joined(status[:, places])
        return columns, told

    def _given(self, given: Mapping[str, Any] | None, count: int) -> dict[str, pa.Array]:
        """What arrived, as columns."""
        found = {}
        for name, kind in self.given.items():
            value = (given or {}).get(name, _NOTHING)
            each = value if isinstance(value, list) else [value] * count
            if len(each) != count or not all(fits(one, kind) for one in each):
                what = "is missing" if value is _NOTHING else f"is no {kind}"
                raise DataError(
                    f"{name!r}, which a formula is over, {what}",
                    code="T390",
                    where=name,
                    fix=f"give {name} as {kind}, or null; one for all keys, or one for each",
                )
            found[name] = pa.array(each, ARROW[kind])
        return found

    def _derived(
        self, read: Sequence[list[Any]], engine: Deriving, given: Mapping[str, pa.Array]
    ) -> dict[str, list[Any]]:
        if not self.formulas:
            return {}
        inputs = dict(each for formula in self.formulas for each in formula.inputs)
        columns = {
            name: given[name] if name in given else pa.array(read[self._place[name]], ARROW[kind])
            for name, kind in inputs.items()
        }
        found = engine.derive(pa.table(columns), self.formulas)
        return {f.signal: found[f.signal].to_pylist() for f in self.formulas}


_NOTHING = object()
_TAKES: Mapping[Type, tuple[type, ...]] = {
    Type.INT: (int,),
    Type.TIME: (int,),
    Type.FLOAT: (int, float),
    Type.TEXT: (str,),
    Type.BOOL: (bool,),
}


def fits(value: Any, kind: Type) -> bool:
    """Whether a value that arrived is of a type, or null."""
    if value is None:
        return True
    if isinstance(value, bool) and kind is not Type.BOOL:
        return False
    right = isinstance(value, _TAKES[kind])
    return right and (not isinstance(value, int) or -(2**63) <= value < 2**63)


def _joined(status: Array) -> Array:
    """The statuses of rows, of those of the signals (rows, signals) that a value is made of."""
    found = np.where((status == Status.MISSING).all(axis=1), Status.MISSING, Status.FRESH)
    for worse in (Status.STALE, Status.DENIED):  # the last has the last word
        found[(status == worse).any(axis=1)] = worse
    return found.astype(np.uint8)
