"""Reading: the values of signals for one key (`live.one_key`), or for many (`live.many_keys`), at a
moment.

What is common is found by compiled code over the heads as they lie in the store; what it leaves
(heavy keys, folded rows, aggregates without a loop of their own) the algebra finds from the same
rows and from partial states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from tacit.errors import DataError, StoreError
from tacit.live import look
from tacit.live.chosen import Chosen
from tacit.live.feed import Feed
from tacit.live.form import MOST, Form
from tacit.live.heavy import Segments
from tacit.live.lasting import Heads, Made, Sources, Trace, header
from tacit.live.many_keys import columns_of, sheets_of
from tacit.live.one_key import values_of
from tacit.live.place import GLANCE, Place, glance, standing_key
from tacit.live.values import Status, Table, Values
from tacit.store.online.base import Backend, Reading


class Numbers(NamedTuple):
    """Values of one key and their statuses, in the order in which signals were asked for; until
    when, and what they were made of (`lasting.Made`)."""

    values: Sequence[Any]
    status: bytes
    until: int
    sources: Sources
    heads: Heads


class _Stands(NamedTuple):
    """What stands of a source as it is read: where, which version and whether it is stale (of
    `lasting.Sources`), until when it is not; and how what is stored of it begins."""

    place: Place
    version: int
    stale: bool
    until: int
    sources: Sources
    said: bytes

    def tell(self, trace: Trace) -> None:
        trace.sources.update(self.sources)
        trace.by(self.until)

    def lasts(self, said: bytes | None, at: int) -> bool:
        """Whether that is so at a moment of what is stored then."""
        return (
            said is not None and said.startswith(self.said) and not self.stale and at < self.until
        )


class Lookup:
    """Some signals, ready to be read. Make it once, use it from any thread.

    Args:
        stale: µs without news of a source, after which its values are STALE; None is never.

    Attributes:
        aging: the places of signals whose values grow with the clock.
    """

    def __init__(
        self,
        backend: Backend,
        chosen: Sequence[tuple[Feed, Form, Segments]],
        signals: Sequence[str],
        stale: int | None,
    ) -> None:
        self.backend = backend
        self.signals = tuple(signals)
        self.stale = stale
        wanted = set(signals)
        self.views = [
            Chosen(feed, form, segments, windows)
            for feed, form, segments in chosen
            if (windows := [w for w in form.view.windows if w.signal in wanted])
        ]
        place = {signal: i for i, signal in enumerate(self.signals)}
        self.places = [[place[w.signal] for w in view.windows] for view in self.views]
        self.aging = frozenset(
            places[w]
            for view, places in zip(self.views, self.places, strict=True)
            for w in view.ages
        )
        # From the order of the windows to that of the signals, when one view has all of them.
        first = self.places[0] if self.places else []
        back = sorted(range(len(first)), key=first.__getitem__)
        self._order = itemgetter(*back) if len(back) > 1 else None
        self._status = [bytes([each] * len(signals)) for each in (Status.FRESH, Status.STALE)]
        # By whether a signal has a value (`scan.NONE`, `scan.VALUE`).
        self._words = [
            bytes([Status.MISSING, each]).ljust(256) for each in (Status.FRESH, Status.STALE)
        ]
        self._only: Chosen | None = None
        self._last: _Stands | None = None  # what stood of it when it was last read
        self._numbers: Callable[[tuple[Any, ...]], tuple[Any, ...]] | None = None
        if len(self.views) == 1 and len(back) == len(self.signals) > 1:
            [view] = self.views
            self._only = None if view.odd or view.ages or view.restless else view
            self._numbers = itemgetter(*(look.TOLD + w for w in back))

    # ------------------------------------------------------------------ one key

    def one(
        self,
        keys: Mapping[str, object],
        at: int,
        *,
        now: int | None = None,
        allowed: Sequence[bool] | None = None,
    ) -> Values:
        """The values at a moment of one key: ``keys`` names the entities and gives their keys.

        ``at`` is in microseconds, UTC (`Project.now` says the present one). ``now`` decides what
        has expired and what is stale; it is ``at`` unless given. What ``allowed`` forbids, by
        signal, is DENIED. Raises DataError T390 for a key or a moment that is none, StoreError:
        T722 not reachable, T724 damaged, T725 asked too far in the past, T727 of another meaning,
        T728 without a baseline.
        """
        _check_moment(at)
        with self.backend.read() as store:
            return self._one(store, keys, at, at if now is None else now, allowed, None)

    def traced(
        self,
        store: Reading,
        keys: Mapping[str, object],
        at: int,
        allowed: Sequence[bool] | None = None,
    ) -> tuple[Values, Trace]:
        """The same by a reading of the store that is under way, and what it was made of."""
        _check_moment(at)
        trace = Trace()
        return self._one(store, keys, at, at, allowed, trace), trace

    def numbers(
        self,
        store: Reading,
        several: Mapping[str, Sequence[object] | object],
        count: int,
        at: int,
    ) -> list[Numbers | None]:
        """The same of so many keys, given as to `many`, where all are numbers that the heads of one
        view tell, as most are, with no more made on the way than must be; None elsewhere."""
        view = self._only
        if view is None:
            return [None] * count
        keys = view.every_key(several, count)
        stands, raws = self._last, list[bytes | None]()
        if stands is not None:
            heads = [stands.place.head(key) for key in keys]
            said, *raws = store.get([view.standing, *heads])
            if not stands.lasts(said, at):
                stands = None
        if stands is None:
            stands = self._last = self._standing(store, view, at)
            heads = [stands.place.head(key) for key in keys]
            raws = store.get(heads)
        raw, size = sheets_of(view, raws, at, at)
        sheets = range(0, size * len(raws), size)
        return [
            self._told(view, stands, each, raw, sheet)
            for each, sheet in zip(zip(heads, raws, strict=True), sheets, strict=True)
        ]

    def _told(
        self,
        view: Chosen,
        stands: _Stands,
        read: tuple[bytes, bytes | None],
        raw: memoryview,
        sheet: int,
    ) -> Numbers | None:
        """What a sheet tells, by its place among others, of a head that was read."""
        told = view.told(raw, sheet)
        entity, until, odd, hard = told[: look.TOLD]
        if entity != look.LIGHT or hard or self._numbers is None or self._order is None:
            return None
        values: Sequence[Any] = self._numbers(told)
        status = self._status[stands.stale]
        if odd:
            there = self._order(view.states(raw, sheet + view.after))
            values = [value if has else None for value, has in zip(values, there, strict=True)]
            status = bytes(there).translate(self._words[stands.stale])
        heads = ((read[0], header(read[1])),)
        return Numbers(values, status, min(until, stands.until), stands.sources, heads)

    def stand(self, store: Reading, several: Sequence[Made], at: int) -> list[bool]:
        """Of each of several answers, whether what it was made of is still what the store holds.
        How long it lasts is for who asks to see. One trip to the store.
        """
        names = list(dict.fromkeys(name for made in several for name, _ in made.sources))
        keys = list(dict.fromkeys(key for made in several for key, _ in made.heads))
        found = store.get([*map(standing_key, names), *keys])
        stands = {}
        for name, raw in zip(names, found, strict=False):
            version, progress = glance(raw)
            stands[name] = (version, self.stale is not None and at - progress > self.stale)
        heads = dict(zip(keys, map(header, found[len(names) :]), strict=True))
        return [
            all(stands[name] == seen for name, seen in made.sources)
            and all(heads[key] == seen for key, seen in made.heads)
            for made in several
        ]

    def _one(
        self,
        store: Reading,
        keys: Mapping[str, object],
        at: int,
        now: int,
        allowed: Sequence[bool] | None,
        trace: Trace | None,
    ) -> Values:
        values: list[Any] = [None] * len(self.signals)
        status = [Status.DENIED] * len(self.signals)
        for view, places in zip(self.views, self.places, strict=True):
            if allowed is not None and not any(allowed[i] for i in places):
                continue
            stands = self._standing(store, view, at)
            place, stale = stands.place, stands.stale
            if trace is not None:
                stands.tell(trace)
            key = view.key(keys)
            found, known, whole = values_of(store, view, place, key, at, now, trace)
            fresh = Status.STALE if stale else Status.FRESH
            if trace is not None:
                for w in view.ages:
                    if found[w] is not None:
                        trace.ages[places[w]] = at - found[w]
            if allowed is None and len(places) == len(values):  # all of them are of one view
                found = self._ordered(found)
                if whole:
                    return Values(found, [fresh] * len(found))
                missing = Status.MISSING
                statuses = [missing if v is None or not known else fresh for v in found]
                return Values(found, statuses)
            for i, value in zip(places, found, strict=True):
                if allowed is None or allowed[i]:
                    values[i] = value
                    status[i] = fresh if known and value is not None else Status.MISSING
        return Values(values, status)

    def _ordered(self, found: list[Any]) -> list[Any]:
        return found if self._order is None else list(self._order(found))

    def _standing(self, store: Reading, view: Chosen, at: int) -> _Stands:
        """Raises StoreError T728 where there is nothing yet."""
        raw = store.get([view.standing])[0]
        version, progress = glance(raw)
        if not version or raw is None:
            raise StoreError(
                f"there is nothing of {view.feed.name!r} to read yet",
                code="T728",
                where=view.feed.name,
                fix="build its baseline, or push events to a source that needs none",
            )
        stale, until = False, MOST
        if self.stale is not None:
            stale = at - progress > self.stale
            until = MOST if stale else progress + self.stale + 1
        place = view.places.get(version)
        if place is None:
            place = Place.of(view.feed.name, version, view.form.view.name)
            view.places = {version: place}
        sources = ((view.feed.name, (version, stale)),)
        return _Stands(place, version, stale, until, sources, raw[:GLANCE])

    # ------------------------------------------------------------------ many keys

    def many(
        self,
        keys: Mapping[str, Sequence[object] | object],
        at: int,
        *,
        now: int | None = None,
        allowed: Sequence[bool] | None = None,
        traces: Sequence[Trace] | None = None,
    ) -> Table:
        """The same for many keys: each entity's keys are a list, or one for all of them. Each of
        ``traces`` is told what the answer of one key is made of, as of now."""
        _check_moment(at)
        moment = at if now is None else now
        sizes = {len(each) for each in keys.values() if isinstance(each, list | tuple)}
        if len(sizes) != 1:
            raise DataError(
                "the keys of a batch are lists of different lengths, or none is a list",
                code="T390",
                fix="give each entity one key, or as many as the others",
            )
        count = sizes.pop()
        status = np.full((count, len(self.signals)), Status.DENIED, np.uint8)
        columns: list[list[Any]] = [[None] * count for _ in self.signals]
        with self.backend.read() as store:
            for view, places in zip(self.views, self.places, strict=True):
                if allowed is not None and not any(allowed[i] for i in places):
                    continue
                stands = self._standing(store, view, at)
                place, stale = stands.place, stands.stale
                for trace in traces or ():
                    stands.tell(trace)
                asked = view.every_key(keys, count)
                found, known = columns_of(store, view, place, asked, at, moment, traces)
                for w in view.ages:
                    for trace, age in zip(traces or (), found[w], strict=traces is not None):
                        if age is not None:
                            trace.ages[places[w]] = at - age
                seen = [w for w, i in enumerate(places) if allowed is None or allowed[i]]
                for w in seen:
                    columns[places[w]] = found[w]
                fresh = Status.STALE if stale else Status.FRESH
                told = np.where(known[seen], fresh, Status.MISSING)
                status[:, [places[w] for w in seen]] = told.T
        return Table(self.signals, columns, status)


def _check_moment(at: object) -> None:
    if not isinstance(at, int) or isinstance(at, bool):
        raise DataError(
            f"{at!r} is no moment to read at",
            code="T390",
            fix="give microseconds since 1970, UTC, as an int: project.now() is the present one",
        )
