"""Merging deltas into the heads of their keys: by a thread of its own while pushes go on, or at
once by who changes heads that are there.

The deltas that stand when it begins are frozen and brought together, and their keys merged some at
a time, each time as one change with the pushes that wait meanwhile (`live.together`). A process
that dies in the midst leaves a boundary, from which whoever comes next goes on.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from tacit.live import deltas
from tacit.live.deltas import State
from tacit.live.heavy import Segments
from tacit.live.place import Place, Standing
from tacit.live.prepare import Prepared
from tacit.live.together import Together
from tacit.live.waiting import Waiting
from tacit.live.writer import write
from tacit.store.online.base import Changing, Reading

ENOUGH = 32
"""Deltas of a view that wait before the thread merges them while pushes go on."""
TOO_MANY = 4 * ENOUGH
"""Deltas that may wait at most: a push that finds as many merges them itself."""
_KEYS = 256  # merged in one change, beside pushes
_IDLE = 0.3  # seconds without a push, after which all are merged
_GLANCE = 0.05  # seconds between looks at whether the process ends
_ALL = 1 << 62
_NONE = State(1, 0)


@dataclass(frozen=True, slots=True)
class _Frozen:
    """What the deltas of some numbers hold together, and as of when."""

    first: int
    last: int
    now: int
    rows: Prepared


Refuse = Callable[[Changing, str, str, Sequence[bytes], int], None]
"""Told of the keys of a view whose heads are damaged: source, view, keys, now."""


class Merger:
    """Merges the deltas of a store's sources. May be used from several threads.

    Args:
        views: of each source.
        slack: how far back moments are answered, µs.
    """

    def __init__(
        self,
        together: Together,
        views: Mapping[str, Sequence[Segments]],
        slack: int,
        refuse: Refuse,
    ) -> None:
        self._together, self._views = together, views
        self._slack, self._refuse = slack, refuse
        self._frozen: dict[bytes, _Frozen] = {}
        self._told = threading.Condition()
        self._thread: threading.Thread | None = None
        self._pushes = self._merged = 0  # pushes that came, and those that were merged when idle
        self._last, self._enough = 0.0, False

    # ------------------------------------------------------------------ within a change

    def all(self, store: Changing, name: str) -> None:
        """Merges all deltas of a source."""
        for segments in self._views[name]:
            while self._some(store, name, segments, _ALL).count:
                pass

    def _some(self, store: Changing, name: str, segments: Segments, keys: int) -> State:
        """Merges so many keys of a view, at most; what stands then."""
        version = Standing.read(store, name).version
        place = Place.of(name, version, segments.form.view.name)
        state = State.read(store, place) if version else None
        if state is None:
            return _NONE
        if not state.frozen:
            known = self._frozen.get(place.prefix)
            ready = known is not None and known.first == state.first
            state = replace(state, frozen=known.last if known and ready else state.last)
        frozen = self._frozen.get(place.prefix)
        if frozen is None or (frozen.first, frozen.last) != (state.first, state.frozen):
            # Not kept: if the change is undone, other deltas have these numbers.
            frozen = _gathered(store, place, segments, state)
        low = bisect_right(frozen.rows.keys, state.boundary) if state.boundary else 0
        high = min(low + keys, len(frozen.rows.keys))
        if high > low:
            rows = deltas.part(frozen.rows, low, high)
            done = write(store, segments, place, rows, frozen.now, self._slack)
            if done.refused:
                self._refuse(store, name, segments.form.view.name, done.refused, frozen.now)
            state = replace(state, boundary=frozen.rows.keys[high - 1])
        if high == len(frozen.rows.keys):
            store.delete([place.delta(n) for n in range(state.first, state.frozen + 1)])
            state = State(state.frozen + 1, state.last)
            self._frozen.pop(place.prefix, None)
        if state.count:
            store.put([state.item(place)])
        else:
            store.delete([place.deltas])
        return state

    # ------------------------------------------------------------------ beside pushes

    def run(self, names: Iterable[str] | None = None) -> None:
        """Merges all that stood when it began, of all sources or some, some keys at a time."""
        try:
            for name in self._views if names is None else names:
                for segments in self._views[name]:
                    state = self._step(name, segments)
                    last = state.last
                    while state.count and state.first <= last:
                        state = self._step(name, segments)
        finally:
            self._frozen.clear()  # also of deltas that went with their version, or by another

    def _step(self, name: str, segments: Segments) -> State:
        """Some keys of a view, as a change; what they are told from is brought together before."""
        with self._together.backend.read() as store:
            version = Standing.read(store, name).version
            place = Place.of(name, version, segments.form.view.name)
            state = State.read(store, place)
            if state is None:
                return _NONE
            known = self._frozen.get(place.prefix)
            other = known is None or known.first != state.first
            if other or (known and state.frozen and known.last != state.frozen):
                frozen = replace(state, frozen=state.frozen or state.last)
                self._frozen[place.prefix] = _gathered(store, place, segments, frozen)
        return self._together.run(lambda store: self._some(store, name, segments, _KEYS))

    def pushed(self, count: int) -> None:
        """Says that a push left so many deltas of a view: they are merged before long."""
        with self._told:
            self._pushes, self._last = self._pushes + 1, time.monotonic()
            self._enough |= count >= ENOUGH
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="tacit merge")
                with suppress(RuntimeError):  # no more threads, or the process ends: a later push's
                    thread.start()
                    self._thread = thread
            elif self._enough:
                self._told.notify()

    def _work(self) -> None:
        """Merges when it is time, and ends when nothing has come since, or the process ends.

        What goes wrong ends it too: who reads or pushes meets it, and the next push begins anew.
        """
        try:
            while self._due():
                self.run()
        except Exception:
            with self._told:
                self._thread = None

    def _due(self) -> bool:
        """Waits until deltas are to be merged, because there are enough or nothing comes any more;
        false where the thread is to end."""
        main = threading.main_thread()
        with self._told:
            while main.is_alive() and self._pushes > self._merged:
                if self._enough:
                    self._enough = False
                    return True
                if time.monotonic() > self._last + _IDLE:
                    self._merged = self._pushes
                    return True
                self._told.wait(_GLANCE)
            self._thread = None
            return False


def _gathered(store: Reading, place: Place, segments: Segments, state: State) -> _Frozen:
    several = deltas.read(store, place, segments.form, state.first, state.frozen)
    waiting = Waiting(segments.form, state.first)
    for delta in several:
        waiting.add(delta.now, delta.rows)
    taken = waiting.take(waiting.keys, state.frozen)
    assert taken is not None, "a delta has rows"
    rows = taken.rows
    return _Frozen(state.first, state.frozen, max(delta.now for delta in several), rows)
