"""Reading: the values of signals for one key, or for many, at a moment.

What is common is found by compiled code over the heads as they lie in the store; what it leaves
(heavy keys, folded rows, aggregates without a loop of their own) the algebra finds from the same
rows and from partial states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from tacit.aggregates.columns import Array
from tacit.errors import DataError, StoreError
from tacit.live import fold, look, scan
from tacit.live.chosen import Chosen
from tacit.live.feed import Feed
from tacit.live.form import BOOL, HEADER, MOST, SEALED, TEXT, Form, raw_text
from tacit.live.heavy import Segments, damaged
from tacit.live.lasting import Heads, Made, Sources, Trace, header, sealed_lasts
from tacit.live.look import Sheet
from tacit.live.place import GLANCE, Place, glance, standing_key
from tacit.live.sealed import Sealed
from tacit.live.tiles import finish_all
from tacit.live.values import Status, Table, Values
from tacit.store.online.base import Backend, Reading

_PATIENCE = 8  # times that a heavy key is read again because it changed meanwhile


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

    def numbers(self, store: Reading, keys: Mapping[str, object], at: int) -> Numbers | None:
        """The same where all are numbers that the head of one key tells, as most are, with no more
        made on the way than must be; None elsewhere."""
        view = self._only
        if view is None or self._numbers is None:
            return None
        key, stands, raw = view.key(keys), self._last, None
        if stands is not None:
            head = stands.place.head(key)
            said, raw = store.get([view.standing, head])
        if stands is None or not stands.lasts(said, at):
            stands = self._last = self._standing(store, view, at)
            head = stands.place.head(key)
            raw = store.get([head])[0]
        if raw is None:
            return None
        sheet = view.sheet
        look.one(np.frombuffer(raw, np.int64), view.program, sheet.words, at, at)
        told = view.told(sheet.raw)
        entity, until, odd, hard = told[: look.TOLD]
        if entity != look.LIGHT or hard:
            return None
        values: Sequence[Any] = self._numbers(told)
        status = self._status[stands.stale]
        if odd and self._order is not None:
            there = self._order(view.states(sheet.raw, view.after))
            values = [value if has else None for value, has in zip(values, there, strict=True)]
            status = bytes(there).translate(self._words[stands.stale])
        heads = ((head, raw[: 8 * HEADER]),)
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
            found, known, whole = self._values(store, view, place, key, at, now, trace)
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

    def _values(
        self,
        store: Reading,
        view: Chosen,
        place: Place,
        key: bytes,
        at: int,
        now: int,
        trace: Trace | None = None,
    ) -> tuple[list[Any], bool, bool]:
        """Values by window, whether anything is known of the key, and whether all have a value."""
        head, sheet = place.head(key), view.sheet
        for _ in range(_PATIENCE):
            raw = store.get([head])[0]
            words = _EMPTY if raw is None else np.frombuffer(raw, np.int64)
            look.one(words, view.program, sheet.words, at, now)
            entity, until, odd, hard = view.told(sheet.raw)[: look.TOLD]
            if entity > look.HEAVY:
                _check(view, entity, at)
            if trace is not None:
                trace.heads[head] = raw
                trace.by(until)
            if entity == look.ABSENT:
                return list(view.blank), False, False
            if entity == look.LIGHT and not hard and not view.odd:
                found = view.plain(sheet)
                for w in view.missing(sheet) if odd else ():
                    found[w] = None
                return found, True, not odd
            sealed = None
            if entity == look.HEAVY:
                sealed = self._sealed(store, view, place, key, words, at, trace)
                if sealed is None:
                    continue
            found = self._found(view, raw or b"", words, sheet, sealed, at)
            return found, True, None not in found
        raise StoreError(
            "a key changed each time it was read",
            code="T722",
            where=view.form.view.name,
            fix="try again; the store is written to faster than it is read",
        )

    def _sealed(
        self,
        store: Reading,
        view: Chosen,
        place: Place,
        key: bytes,
        words: Array,
        at: int,
        trace: Trace | None,
    ) -> Sealed | None:
        """The sealed rows of a key; None when they changed since its head was read."""
        starts = view.sheet.starts
        sealed = Sealed(view.segments, store, place.index(key), place.segment(key))
        if sealed.count != words[SEALED]:
            return None
        if not sealed.load([(int(start), at) for start in set(starts.tolist())]):
            return None
        if trace is not None:
            trace.by(sealed_lasts(sealed, view.lengths, view.hops, view.keeps, starts, at))
        return sealed

    def _found(
        self,
        view: Chosen,
        raw: bytes,
        words: Array,
        sheet: Sheet,
        sealed: Sealed | None,
        at: int,
    ) -> list[Any]:
        """The values of one key, where they are no mere numbers of its head."""
        adds = None if sealed is None else self._added(view, sheet, sealed, at)
        found, told, odd = view.plain(sheet), sheet.states.tolist(), view.odd
        if adds is not None:
            odd = [w for w, state in enumerate(told) if state != scan.VALUE or not adds[w]] + odd
        elif told.count(scan.VALUE) < len(told):
            odd = [w for w, state in enumerate(told) if state != scan.VALUE] + odd
        rows: fold.Rows | None = None
        counted: Mapping[int, int] = {}
        if sealed is not None and view.distinct:
            rows = fold.Rows(view.form, words)
            counted = view.counted(rows, sealed, sheet.starts, at)
        for w in dict.fromkeys(odd):
            if w in counted:
                found[w] = counted[w]
            elif told[w] > scan.VALUE or (adds is not None and not adds[w]):
                rows = fold.Rows(view.form, words) if rows is None else rows
                found[w] = self._algebra(view, w, rows, sheet, sealed, at)
            elif told[w] == scan.NONE:
                found[w] = None
            elif view.kinds[w] == TEXT:
                number = found[w] if sealed is None else int(sheet.gathered[w, scan.LAST])
                found[w] = raw_text(raw, view.form.width, number)
            elif view.kinds[w] == BOOL:
                found[w] = found[w] == 1
        return found

    def _added(self, view: Chosen, sheet: Sheet, sealed: Sealed, at: int) -> list[bool]:
        """Has the results be of the head and of sealed rows together, and says of which windows
        compiled code adds these up. What is gathered stays that of the head."""
        total, kept, states = sheet.gathered.copy(), sheet.states.copy(), sheet.states
        sealed.add(total, view.groups, view.numbers, sheet.starts, at)
        finish_all(total, view.ops[:, 0].copy(), view.ranks, at, sheet.results, states)
        states[kept == scan.FOLDED] = scan.FOLDED
        return [each or self._newer(view, w, sheet, sealed) for w, each in enumerate(view.adds)]

    def _newer(self, view: Chosen, w: int, sheet: Sheet, sealed: Sealed) -> bool:
        """Whether a window's last value is in the head, after all that is sealed."""
        found = sheet.gathered[w]
        return bool(
            view.ops[w, 0] == scan.OP_LAST
            and found[scan.COUNT]
            and found[scan.LAST_AT] > sealed.newest
        )

    def _algebra(
        self,
        view: Chosen,
        w: int,
        rows: fold.Rows,
        sheet: Sheet,
        sealed: Sealed | None,
        at: int,
    ) -> Any:
        """A value by partial states: of the head, of what was sealed, of what was folded."""
        slot, start = view.slots[w], int(sheet.starts[w])
        state = fold.gathered_state(rows, slot, sheet.gathered[w])
        if state is None:
            end = rows.before(at)
            state = fold.fold(rows, slot, min(rows.before(start), end), end)
        if sealed is not None:
            state = fold.merge(slot, state, sealed.state(slot, start, at))
        if view.endless[w] and rows.extra:
            base = fold.unpack(view.form.endless, rows.extra)
            state = fold.merge(slot, state, base[view.form.endless.index(slot)])
        return fold.finish(slot, state, at)

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
                found, known = self._many(store, view, place, asked, at, moment, traces)
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

    def _many(
        self,
        store: Reading,
        view: Chosen,
        place: Place,
        keys: list[bytes],
        at: int,
        now: int,
        traces: Sequence[Trace] | None,
    ) -> tuple[list[list[Any]], Array]:
        """For each window the values of all keys; and (windows, keys) of which one is known."""
        heads = [place.head(key) for key in keys]
        raws = store.get(heads)
        sizes = np.array([0 if raw is None else len(raw) // 8 for raw in raws], np.int64)
        words = np.frombuffer(b"".join([raw for raw in raws if raw is not None]), np.int64)
        shape = len(view.windows), len(keys)
        results, states = np.empty(shape, np.int64), np.empty(shape, np.int64)
        told = np.empty((2, len(keys)), np.int64)
        offsets = np.append(0, np.cumsum(sizes))
        look.each(words, offsets, view.program, at, now, results, states, told)
        for entity in set(told[0].tolist()):
            if entity > look.HEAVY:
                _check(view, entity, at)
        absent = told[0] == look.ABSENT
        hard = (told[0] == look.HEAVY) | (states >= scan.HARD).any(axis=0)
        hard &= ~absent
        known = ~absent & (states != scan.NONE)
        columns = _columns(view, raws, results, states, np.flatnonzero(absent).tolist())
        if traces is not None:
            for k in np.flatnonzero(~hard).tolist():  # of others `_values` tells
                traces[k].heads[heads[k]] = raws[k]
                traces[k].by(int(told[1, k]))
        for k in np.flatnonzero(hard).tolist():
            trace = None if traces is None else traces[k]
            values, there, _ = self._values(store, view, place, keys[k], at, now, trace)
            for w, value in enumerate(values):
                columns[w][k] = value
                known[w, k] = there and value is not None
        return columns, known


def _columns(
    view: Chosen,
    raws: Sequence[bytes | None],
    results: Array,
    states: Array,
    absent: Sequence[int],
) -> list[list[Any]]:
    """The values of each window for all keys, as far as compiled code found them."""
    columns: list[list[Any]] = results.tolist()
    if view.floats:
        floats = results.view(np.float64).tolist()
        for w in view.floats:
            columns[w] = floats[w]
    for w in view.odd:
        there = (states[w] == scan.VALUE).tolist()
        if view.kinds[w] == BOOL:
            columns[w] = [value == 1 for value in columns[w]]
            continue
        columns[w] = [
            raw_text(raw, view.form.width, code) if has and raw is not None else None
            for code, has, raw in zip(columns[w], there, raws, strict=True)
        ]
    for w, k in np.argwhere(states != scan.VALUE).tolist():
        columns[w][k] = None
    for k in absent:
        for w, value in enumerate(view.blank):
            columns[w][k] = value
    return columns


_EMPTY = np.frombuffer(bytes(8), np.int64)[:0]  # as what is read is: not to be written to


def _check(view: Chosen, entity: int, at: int) -> None:
    """Raises for what cannot be answered."""
    name = view.form.view.name
    if entity == look.BAD:
        raise damaged(name)
    if entity == look.ALIEN:
        raise foreign(name)
    if entity == look.EARLY:
        raise StoreError(
            f"a window that ends at {at} reaches back to rows that were let go",
            code="T725",
            where=name,
            fix="ask for a later moment, or of the batch; or keep more slack",
        )


def foreign(where: str) -> StoreError:
    """What is stored means something else than the plan."""
    return StoreError(
        "the online store holds signals of another meaning than the plan's",
        code="T727",
        where=where,
        fix="build a baseline for the plan that stands",
    )


def _check_moment(at: object) -> None:
    if not isinstance(at, int) or isinstance(at, bool):
        raise DataError(
            f"{at!r} is no moment to read at",
            code="T390",
            fix="give microseconds since 1970, UTC, as an int: project.now() is the present one",
        )
