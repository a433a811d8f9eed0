"""Reading: the values of signals for one key, or for many, at a moment.

What is common is found by compiled code over the heads as they lie in the store; what it leaves
(heavy keys, folded rows, aggregates without a loop of their own) the algebra finds from the same
rows and from partial states.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from tacit.aggregates.columns import Array
from tacit.errors import DataError, StoreError
from tacit.live import fold, scan
from tacit.live.feed import Feed, join_parts, key_parts
from tacit.live.form import BOOL, FLOAT, HEADER, LEAST, SEALED, TEXT, Form, Slot, raw_text, slot_of
from tacit.live.heavy import Sealed, Segments, adds_up, damaged, kind_of
from tacit.live.lasting import Trace, forgotten, lasts, sealed_lasts
from tacit.live.place import Place, glance, look, standing_key
from tacit.operations import Window
from tacit.store.online.base import Backend, Reading
from tacit.values import Type

_PATIENCE = 8  # times that a heavy key is read again because it changed meanwhile


class Status(IntEnum):
    """What is known of a value.

    FRESH: it is of all events that were there. STALE: its source was not heard of for too long.
    MISSING: nothing is known: no such key, all of it expired, or no event to tell of; the value is
    what the aggregate says of nothing. DENIED: the purpose may not see it, or the person refused.
    NOISED: it is an estimate, from a release whose noise it bears.
    """

    FRESH = 0
    STALE = 1
    MISSING = 2
    DENIED = 3
    NOISED = 4


class Values(NamedTuple):
    """The values of one key, in the order in which signals were asked for, and their statuses."""

    values: list[Any]
    status: list[Status]


@dataclass(frozen=True)
class Table:
    """The values of many keys: for each signal a list as long as the keys, and its statuses."""

    signals: tuple[str, ...]
    columns: Sequence[list[Any]]
    status: Array  # (keys, signals) uint8

    def floats(self) -> Array:
        """(keys, signals) float32, NaN where there is no number."""
        found = np.full(self.status.shape, np.nan, np.float32)
        for i, column in enumerate(self.columns):
            found[:, i] = [value if isinstance(value, int | float) else np.nan for value in column]
        return found


class _Chosen:
    """The windows that are asked of one view, as arrays."""

    def __init__(self, feed: Feed, form: Form, segments: Segments, windows: Sequence[Window]):
        self.feed, self.form, self.segments = feed, form, segments
        ranked = sorted(windows, key=lambda w: (*self._group(w), -1 if w.length is None else 0))
        groups: dict[tuple[Any, ...], list[Window]] = {}
        for window in ranked:
            groups.setdefault(self._group(window), []).append(window)
        self.windows = [
            w
            for group in groups.values()
            for w in sorted(group, key=lambda w: (w.length is None, w.length or 0))
        ]
        self.slots = [slot_of(window) for window in self.windows]
        ops = [fold.op_of(slot) for slot in self.slots]
        rows, at = [], 0
        for group in groups.values():
            wants = 0
            for window in group:
                wants |= fold.wants_of(fold.op_of(slot_of(window)))
            first = group[0]
            value = -1 if first.value is None else form.index[first.value]
            where = -1 if first.where is None else form.index[first.where]
            rows.append((value, where, wants, at, at + len(group)))
            at += len(group)
        self.groups = np.array(rows, np.int64)
        endless = [form.reach(window) is None for window in self.windows]
        self.ops = np.array(list(zip(ops, endless, strict=True)), np.int64)
        self.endless = endless
        self.lengths = _numbers(window.length for window in self.windows)
        self.hops = _numbers(window.hop for window in self.windows)
        self.keeps = _numbers(form.keep.get(window.signal) for window in self.windows)
        whole = form.view.windows
        self.all = (
            _numbers(window.length for window in whole),
            _numbers(window.hop for window in whole),
            _numbers(form.keep.get(window.signal) for window in whole),
        )
        self.kinds = [
            -1 if slot.value is None or op in (scan.OP_COUNT, scan.OP_DISTINCT, scan.OP_SINCE)
            else (FLOAT if op == scan.OP_MEAN else int(form.kinds[form.index[slot.value]]))
            for slot, op in zip(self.slots, ops, strict=True)
        ]  # fmt: skip
        self.floats = [w for w, kind in enumerate(self.kinds) if kind == FLOAT]
        self.odd = [w for w, kind in enumerate(self.kinds) if kind in (TEXT, BOOL)]
        self.places: dict[int, Place] = {}
        self.numbers = np.array([form.slots.index(slot) for slot in self.slots], np.int64)
        self.ranks = np.array([kind_of(form, slot) for slot in self.slots], np.int64)
        self.adds = [adds_up(form, slot) for slot in self.slots]
        self.ages = [w for w, slot in enumerate(self.slots) if _ages(slot) and slot.by is None]
        self.restless = any(
            fold.ages(slot) and not (_ages(slot) and slot.by is None) for slot in self.slots
        )
        self.distinct: dict[Slot, list[int]] = {}
        for w, op in enumerate(ops):
            if op == scan.OP_DISTINCT:
                self.distinct.setdefault(self.slots[w], []).append(w)
        self.blank = [fold.finish(slot, fold.nothing(slot), 0) for slot in self.slots]
        self.keys = [name for name, _ in form.view.keys]

    def told(self, rows: fold.Rows, sealed: Sealed, answer: Answer, at: int) -> dict[int, int]:
        """Windows of a heavy key that count what is distinct, as far as no base adds to them."""
        found: dict[int, int] = {}
        for slot, several in self.distinct.items():
            plain = [w for w in several if not (self.endless[w] and rows.extra)]
            told = sealed.distinct(slot, rows, [int(answer.starts[w]) for w in plain], at)
            found |= dict(zip(plain, told or (), strict=told is not None))
        return found

    def warm_up(self) -> None:
        """Loads the compiled code that reading a key takes."""
        nothing = np.zeros(HEADER, np.int64)
        lasts(nothing, self.form.width, *self.all, np.zeros(len(self.all[0]), np.int64), 0)
        forgotten(nothing, self.form.width, *self.all, 0)

    def _group(self, window: Window) -> tuple[Any, ...]:
        """Windows whose starts keep the order of their lengths share one pass."""
        keep = self.form.keep.get(window.signal)
        other = fold.op_of(slot_of(window)) == scan.OP_OTHER
        hop = window.hop or 0
        return (window.value or "", window.where or "", hop, -1 if keep is None else keep, other)


def _ages(slot: Slot) -> bool:
    """Whether its result grows with the clock, a microsecond each microsecond."""
    return slot.aggregate == "since"


def _numbers(values: Iterator[int | None] | Any) -> Array:
    return np.array([-1 if value is None else value for value in values], np.int64)


class Answer(NamedTuple):
    """What compiled code found for some keys of a view. ``whole`` are the starts of all its
    windows, also of those that are not asked for."""

    starts: Array
    whole: Array
    results: Array
    states: Array
    entities: Array
    gathered: Array


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
            _Chosen(feed, form, segments, windows)
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
        self._local = threading.local()

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

    def stands(self, store: Reading, trace: Trace, at: int) -> bool:
        """Whether what an answer was made of is still what the store holds, and its time not over.

        One trip to the store.
        """
        return self.all_stand(store, [trace], at)[0]

    def all_stand(self, store: Reading, traces: Sequence[Trace], at: int) -> list[bool]:
        """The same of each of several, in one trip."""
        names = list(dict.fromkeys(name for trace in traces for name in trace.sources))
        keys = list(dict.fromkeys(key for trace in traces for key in trace.heads))
        found = store.get([*map(standing_key, names), *keys])
        stand = {}
        for name, raw in zip(names, found, strict=False):
            version, progress = look(raw)
            stand[name] = (version, self.stale is not None and at - progress > self.stale)
        heads = dict(zip(keys, found[len(names) :], strict=True))
        return [
            at < trace.until
            and all(stand[name] == seen for name, seen in trace.sources.items())
            and all(heads[key] == raw for key, raw in trace.heads.items())
            for trace in traces
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
            place, stale = self._place(store, view, at, *(() if trace is None else (trace,)))
            key = self._key(view, keys)
            found, known = self._values(store, view, place, key, at, now, trace)
            fresh = Status.STALE if stale else Status.FRESH
            if trace is not None:
                for w in view.ages:
                    if found[w] is not None:
                        trace.ages[places[w]] = at - found[w]
            if allowed is None and len(places) == len(values):  # all of them are of one view
                found = self._ordered(found)
                if known and None not in found:
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

    def _place(self, store: Reading, view: _Chosen, at: int, *traces: Trace) -> tuple[Place, bool]:
        version, progress = glance(store, view.feed.name)
        if not version:
            raise StoreError(
                f"there is nothing of {view.feed.name!r} to read yet",
                code="T728",
                where=view.feed.name,
                fix="build its baseline, or push events to a source that needs none",
            )
        stale = self.stale is not None and at - progress > self.stale
        for trace in traces:
            trace.sources[view.feed.name] = (version, stale)
            if self.stale is not None and not stale:
                trace.by(progress + self.stale + 1)
        place = view.places.get(version)
        if place is None:
            place = Place.of(view.feed.name, version, view.form.view.name)
            view.places = {version: place}
        return place, stale

    def _key(self, view: _Chosen, keys: Mapping[str, object]) -> bytes:
        parts = []
        for name, kind in zip(view.keys, view.form.types, strict=True):
            parts.append(check_key(name, kind, keys.get(name)))
        return join_parts(key_parts(view.form.types, parts))

    def _values(
        self,
        store: Reading,
        view: _Chosen,
        place: Place,
        key: bytes,
        at: int,
        now: int,
        trace: Trace | None = None,
    ) -> tuple[list[Any], bool]:
        head = place.head(key)
        for _ in range(_PATIENCE):
            raw = store.get([head])[0]
            if trace is not None:
                trace.heads[head] = raw
            words = _EMPTY if raw is None else np.frombuffer(raw, np.int64)
            answer = self._answer(view, words, np.array([0, len(words)]), at, now)
            entity = int(answer.entities[0])
            if trace is not None and raw is not None:
                trace.by(self._lasts(view, words, answer, at))
            if entity == scan.ABSENT:
                return list(view.blank), False
            _check(view, entity, at)
            found = self._convert(store, view, place, key, raw or b"", words, answer, at, trace)
            if found is not None:
                return found, True
        raise StoreError(
            "a key changed each time it was read",
            code="T722",
            where=view.form.view.name,
            fix="try again; the store is written to faster than it is read",
        )

    def _lasts(self, view: _Chosen, words: Array, answer: Answer, at: int) -> int:
        """Until when what is seen of a head is the same. Whether anything is known of a key depends
        on windows that are not asked for, too."""
        if view.restless:
            return at
        windows = view.lengths, view.hops, view.keeps
        seen = lasts(words, view.form.width, *windows, answer.starts, at)
        return min(int(seen), int(forgotten(words, view.form.width, *view.all, at)))

    def _answer(self, view: _Chosen, words: Array, offsets: Array, at: int, now: int) -> Answer:
        count, size = len(offsets) - 1, len(view.windows)
        cached = getattr(self._local, "spare", None)
        spare: dict[tuple[int, int], Answer] = {} if cached is None else cached
        self._local.spare = spare
        if count != 1 or (id(view), 1) not in spare:
            made = Answer(
                np.empty(size, np.int64),
                np.empty(len(view.all[0]), np.int64),
                np.zeros((count, size), np.int64),
                np.zeros((count, size), np.int64),
                np.zeros(count, np.int64),
                np.zeros((size, scan.GATHERED), np.int64),
            )
            if count == 1:
                spare[id(view), 1] = made
        else:
            made = spare[id(view), 1]
        earliest = scan.find_starts(view.lengths, view.hops, view.keeps, at, now, made.starts)
        scan.find_starts(*view.all, at, now, made.whole)
        form = view.form
        scan.answer(
            words, offsets, form.width, form.stamp, form.kinds, form.cells, view.groups, view.ops,
            made.starts, at, earliest, int(made.whole.min()), made.results, made.states,
            made.entities, made.gathered,
        )  # fmt: skip
        return made

    def _convert(
        self,
        store: Reading,
        view: _Chosen,
        place: Place,
        key: bytes,
        raw: bytes,
        words: Array,
        answer: Answer,
        at: int,
        trace: Trace | None = None,
    ) -> list[Any] | None:
        """The values of one key; None when its segments changed meanwhile."""
        states, results = answer.states[0], answer.results[0]
        rows: fold.Rows | None = None
        sealed: Sealed | None = None
        adds: list[bool] | None = None
        if answer.entities[0] == scan.HEAVY:
            sealed = Sealed(view.segments, store, place.index(key), place.segment(key))
            if sealed.count != words[SEALED]:  # rows were sealed after the head was read
                return None
            if not sealed.load([(int(start), at) for start in set(answer.starts.tolist())]):
                return None
            if trace is not None:
                windows = view.lengths, view.hops, view.keeps, answer.starts
                trace.by(sealed_lasts(sealed, *windows, at))
            total, kept, adds = answer.gathered.copy(), states.copy(), view.adds
            sealed.add(total, view.groups, view.numbers, answer.starts, at)
            scan.finish_all(total, view.ops[:, 0].copy(), view.ranks, at, results, states)
            states[kept == scan.FOLDED] = scan.FOLDED
            adds = [each or self._newer(view, w, answer, sealed) for w, each in enumerate(adds)]
        found: list[Any] = results.tolist()
        floats = results.view(np.float64).tolist()
        for w in view.floats:
            found[w] = floats[w]
        odd, told = view.odd, states.tolist()
        if adds is not None:
            odd = [w for w, state in enumerate(told) if state != scan.VALUE or not adds[w]] + odd
        elif told.count(scan.VALUE) < len(told):
            odd = [w for w, state in enumerate(told) if state != scan.VALUE] + odd
        counted: Mapping[int, int] = {}
        if sealed is not None and view.distinct:
            rows = fold.Rows(view.form, words)
            counted = view.told(rows, sealed, answer, at)
        for w in dict.fromkeys(odd):
            if w in counted:
                found[w] = counted[w]
            elif told[w] > scan.VALUE or (adds is not None and not adds[w]):
                rows = fold.Rows(view.form, words) if rows is None else rows
                found[w] = self._algebra(view, w, rows, answer, sealed, at)
            elif told[w] == scan.NONE:
                found[w] = None
            elif view.kinds[w] == TEXT:
                number = int(answer.gathered[w, scan.LAST]) if sealed else found[w]
                found[w] = raw_text(raw, view.form.width, number)
            elif view.kinds[w] == BOOL:
                found[w] = bool(results[w])
        return found

    def _newer(self, view: _Chosen, w: int, answer: Answer, sealed: Sealed) -> bool:
        """Whether a window's last value is in the head, after all that is sealed."""
        found = answer.gathered[w]
        return bool(
            view.ops[w, 0] == scan.OP_LAST
            and found[scan.COUNT]
            and found[scan.LAST_AT] > sealed.newest
        )

    def _algebra(
        self, view: _Chosen, w: int, rows: fold.Rows, answer: Answer, sealed: Sealed | None, at: int
    ) -> Any:
        """A value by partial states: of the head, of what was sealed, of what was folded."""
        slot, start = view.slots[w], int(answer.starts[w])
        state = None
        if len(answer.entities) == 1:
            state = fold.gathered_state(rows, slot, answer.gathered[w])
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
                place, stale = self._place(store, view, at, *(traces or ()))
                asked = self._keys(view, keys, count)
                rows = self._many(store, view, place, asked, at, moment, traces)
                for k, trace in enumerate(traces or ()):
                    for w in view.ages:
                        if (age := rows[w][0][k]) is not None:
                            trace.ages[places[w]] = at - age
                fresh = Status.STALE if stale else Status.FRESH
                for (values, known), i in zip(rows, places, strict=True):
                    if allowed is None or allowed[i]:
                        columns[i] = values
                        status[:, i] = np.where(known, fresh, Status.MISSING)
        return Table(self.signals, columns, status)

    def _keys(
        self, view: _Chosen, keys: Mapping[str, Sequence[object] | object], count: int
    ) -> list[bytes]:
        lists = []
        for name, kind in zip(view.keys, view.form.types, strict=True):
            given = keys.get(name)
            each = given if isinstance(given, list | tuple) else [given] * count
            lists.append([check_key(name, kind, key) for key in each])
        types = view.form.types
        return [join_parts(key_parts(types, parts)) for parts in zip(*lists, strict=True)]

    def _many(
        self,
        store: Reading,
        view: _Chosen,
        place: Place,
        keys: list[bytes],
        at: int,
        now: int,
        traces: Sequence[Trace] | None,
    ) -> list[tuple[list[Any], Array]]:
        """For each window the values of all keys, and of which anything is known."""
        heads = [place.head(key) for key in keys]
        raws = store.get(heads)
        sizes = np.array([0 if raw is None else len(raw) // 8 for raw in raws], np.int64)
        offsets = np.append(0, np.cumsum(sizes))
        words = np.frombuffer(b"".join(raw for raw in raws if raw is not None), np.int64)
        answer = self._answer(view, words, offsets, at, now)
        for entity in set(answer.entities.tolist()):
            _check(view, entity, at)
        absent = answer.entities == scan.ABSENT
        known = np.repeat(~absent[:, None], len(view.windows), axis=1)
        known &= answer.states != scan.NONE
        columns = [self._column(view, w, words, offsets, answer) for w in range(len(view.windows))]
        hard = (answer.entities == scan.HEAVY) | (answer.states >= scan.HARD).any(axis=1)
        for k in np.flatnonzero(hard & ~absent).tolist():
            trace = None if traces is None else traces[k]
            values, there = self._values(store, view, place, keys[k], at, now, trace)
            for w, value in enumerate(values):
                columns[w][k] = value
                known[k, w] = there and value is not None
        for k in np.flatnonzero(absent).tolist():
            for w, value in enumerate(view.blank):
                columns[w][k] = value
        for k, trace in enumerate(traces or ()):
            if absent[k] or not hard[k]:  # of others `_values` told
                trace.heads[heads[k]] = raws[k]
                if raws[k] is not None:
                    one = words[offsets[k] : offsets[k + 1]]
                    trace.by(self._lasts(view, one, answer, at))
        return [(column, known[:, w]) for w, column in enumerate(columns)]

    def _column(
        self, view: _Chosen, w: int, words: Array, offsets: Array, answer: Answer
    ) -> list[Any]:
        """The values of a window for all keys, as far as compiled code found them."""
        found = np.ascontiguousarray(answer.results[:, w])
        there = answer.states[:, w] == scan.VALUE
        kind = view.kinds[w]
        if kind == TEXT:
            return [
                fold.Rows(view.form, words[offsets[k] : offsets[k + 1]]).text(code) if has else None
                for k, (code, has) in enumerate(zip(found.tolist(), there.tolist(), strict=True))
            ]
        values: list[Any] = (found.view(np.float64) if kind == FLOAT else found).tolist()
        if kind == BOOL:
            values = [value == 1 for value in values]
        for k in np.flatnonzero(~there).tolist():
            values[k] = None
        return values


_EMPTY = np.zeros(0, np.int64)


def _check(view: _Chosen, entity: int, at: int) -> None:
    """Raises for what cannot be answered."""
    name = view.form.view.name
    if entity == scan.BAD:
        raise damaged(name)
    if entity == scan.ALIEN:
        raise foreign(name)
    if entity == scan.EARLY:
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


def check_key(name: str, kind: Type, key: object) -> object:
    """The key. Raises DataError T390 for one that is missing or of another type."""
    fits = isinstance(key, str) if kind is Type.TEXT else type(key) is int
    if not fits or (isinstance(key, int) and not LEAST <= key < 2**63):
        raise DataError(
            f"the key of {name!r} is {type(key).__name__ if key is not None else 'missing'},"
            f" not {kind}",
            code="T390",
            where=name,
            fix=f"give {name} as {kind}",
        )
    return key


def _check_moment(at: object) -> None:
    if not isinstance(at, int) or isinstance(at, bool):
        raise DataError(
            f"{at!r} is no moment to read at",
            code="T390",
            fix="give microseconds since 1970, UTC, as an int: project.now() is the present one",
        )
