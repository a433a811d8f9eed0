"""Signals and formulas together, as the online store serves them.

The store keeps signals; a formula is computed of those it is over, as they are read, and so says
what a training set says of the same values. It is DENIED or STALE where one of them is, and MISSING
where all are. A signal that states a freshness is STALE also where nothing that contributes to it
is as new as that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tacit.aggregates.columns import Array
from tacit.declare import Purpose
from tacit.engines.base import ARROW, Deriving
from tacit.engines.reference import Reference
from tacit.errors import warn
from tacit.live.feeds import feeds_of, fresh_window
from tacit.live.online import Online, Settings
from tacit.live.reader import Lookup, Status, Table, Values
from tacit.operations import Derived
from tacit.plan.views import formulas_of, served, views_of
from tacit.project.sinks import cleared, purpose_of
from tacit.project.training import Names, check_kinds, named
from tacit.store.online.base import Backend

if TYPE_CHECKING:
    from tacit.project.project import Project


class Serving:
    """Some signals and formulas, ready to be read; `Project.lookup` makes it.

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


def open_online(project: Project, backend: Backend) -> Online:
    """See `Project.online`."""
    where = project.settings.online
    feeds = feeds_of(project.plan, lambda table: project.rows(table).table, where.baseline)
    return Online(backend, feeds, Settings(stale=where.stale))


def lookup(
    project: Project, signals: Names, sink: str | None, purpose: str | Purpose | None
) -> Serving:
    """See `Project.lookup`."""
    names = named(project, signals)
    check_kinds(project, names, {})
    if sink is not None or purpose is not None or served(project.plan):
        cleared(project, "online", names, sink, purpose_of(project, purpose))
    views = views_of(project.plan, names)
    for source in sorted({view.source for view in views}):
        check_based(project, source)
    read = [window.signal for view in views for window in view.windows]
    read += [fresh_window(name) for name in read if "fresh" in project.plan.nodes[name].spec]
    return Serving(project.online.lookup(read), names, formulas_of(project.plan, names))


def check_based(project: Project, source: str) -> None:
    """Warns (T318) where a source has rows that the online store never took: none of them is in
    what it answers."""
    online = project.online
    binding = project.settings.sources.get(source)
    has_rows = (binding is not None and binding.path is not None) or project.in_lake(source)
    if not has_rows or source not in online.sources or online.sources[source].feed.baseline:
        return
    if online.standing(source).version <= 1:
        warn(
            f"the online store knows of {source!r} only what was pushed: no baseline was built from"
            " its rows",
            code="T318",
            where=f"[sources.{source}]",
            fix=f"project.rebase({source!r}); to answer nothing before that, name it under"
            " [online] baseline",
        )


def _joined(status: Array) -> Array:
    """The statuses of rows, of those of the signals (rows, signals) that a value is made of."""
    found = np.where((status == Status.MISSING).all(axis=1), Status.MISSING, Status.FRESH)
    for worse in (Status.STALE, Status.DENIED):  # the last has the last word
        found[(status == worse).any(axis=1)] = worse
    return found.astype(np.uint8)
