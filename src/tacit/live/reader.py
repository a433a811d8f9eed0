"""Reading: the values of signals for one key, or for many, at a moment.

What is common is found by compiled code over the heads as they lie in the store; what it leaves
(heavy keys, folded rows, aggregates without a loop of their own) the algebra finds from the same
rows and from partial states.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from tacit.aggregates.columns import Array
from tacit.errors import DataError, StoreError
from tacit.live import fold, scan
from tacit.live.chosen import Answer, Chosen
from tacit.live.feed import Feed, join_parts, key_parts
from tacit.live.form import (
    BOOL,
    FLOAT,
    LEAST,
    MOST,
    SEALED,
    TEXT,
    Form,
    raw_text,
)
from tacit.live.heavy import Sealed, Segments, damaged
from tacit.live.place import Place, glance
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


@dataclass
class Sight:
    """What an answer was read from, and until when the same would be said of it
    (`live.remember` holds it against the store).

    Attributes:
        sources: of each source that was read, its version and whether it was stale.
        heads: what lay under the stored keys.
        since: the moment at which it was read.
        until: the first moment (µs) at which another answer may be right though nothing is written:
            a row enters a window or leaves one, or a value is of the moment itself (`since`).
    """

    sources: dict[str, tuple[int, bool]] = field(default_factory=dict)
    heads: dict[bytes, bytes | None] = field(default_factory=dict)
    since: int = LEAST
    until: int = MOST

    def see(self, head: bytes, raw: bytes | None, until: int, at: int, ages: bool) -> None:
        """What lay under a stored key, and until when what was found of it stands; at its own
        moment alone, where a value ages."""
        self.heads[head] = raw
        self.since, self.until = at, min(self.until, at + 1 if ages else until)


class Lookup:
    """Some signals, ready to be read. Make it once, use it from any thread.

    Args:
        stale: µs without news of a source, after which its values are STALE; None is never.
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
        # From the order of the windows to that of the signals, when one view has all of them.
        back = sorted(range(len(self.places[0])), key=self.places[0].__getitem__)
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
        sight: Sight | None = None,
    ) -> Values:
        """The values at a moment of one key: ``keys`` names the entities and gives their keys.

        ``at`` is in microseconds, UTC (`Project.now` says the present one). ``now`` decides what
        has expired and what is stale; it is ``at`` unless given. What ``allowed`` forbids, by
        signal, is DENIED. ``sight`` is told what was read, so that the answer may be given again
        while it stands. Raises DataError T390 for a key or a moment that is none, StoreError:
        T722 not reachable, T724 damaged, T725 asked too far in the past, T727 of another meaning,
        T728 without a baseline.
        """
        _check_moment(at)
        with self.backend.read() as store:
            return self._one(store, keys, at, at if now is None else now, allowed, sight)

    def _one(
        self,
        store: Reading,
        keys: Mapping[str, object],
        at: int,
        now: int,
        allowed: Sequence[bool] | None,
        sight: Sight | None,
    ) -> Values:
        if sight is not None and now != at:
            sight.until = at  # what has expired is of another moment
        values: list[Any] = [None] * len(self.signals)
        status = [Status.DENIED] * len(self.signals)
        for view, places in zip(self.views, self.places, strict=True):
            if allowed is not None and not any(allowed[i] for i in places):
                continue
            place, stale = self._place(store, view, at, *(() if sight is None else (sight,)))
            key = self._key(view, keys)
            found, known = self._values(store, view, place, key, at, now, sight)
            fresh = Status.STALE if stale else Status.FRESH
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

    def _place(self, store: Reading, view: Chosen, at: int, *sights: Sight) -> tuple[Place, bool]:
        version, progress = glance(store, view.feed.name)
        if not version:
            raise StoreError(
                f"there is nothing of {view.feed.name!r} to read yet",
                code="T728",
                where=view.feed.name,
                fix="build its baseline, or push events to a source that needs none",
            )
        stale = self.stale is not None and at - progress > self.stale
        place = view.places.get(version)
        if place is None:
            place = Place.of(view.feed.name, version, view.form.view.name)
            view.places = {version: place}
        for sight in sights:
            sight.sources[view.feed.name] = (version, stale)
        return place, stale

    def _key(self, view: Chosen, keys: Mapping[str, object]) -> bytes:
        parts = []
        for name, kind in zip(view.keys, view.form.types, strict=True):
            parts.append(check_key(name, kind, keys.get(name)))
        return join_parts(key_parts(view.form.types, parts))

    def _values(
        self,
        store: Reading,
        view: Chosen,
        place: Place,
        key: bytes,
        at: int,
        now: int,
        sight: Sight | None = None,
    ) -> tuple[list[Any], bool]:
        head = place.head(key)
        for _ in range(_PATIENCE):
            raw = store.get([head])[0]
            words = _EMPTY if raw is None else np.frombuffer(raw, np.int64)
            answer = self._answer(view, words, np.array([0, len(words)]), at, now)
            entity = int(answer.entities[0])
            sealed: Sealed | None = None
            if entity != scan.ABSENT:
                _check(view, entity, at)
            if entity == scan.HEAVY:
                sealed = self._sealed(store, view, place, key, words, answer, at)
                if sealed is None:
                    continue
            found = list(view.blank)
            if entity != scan.ABSENT:
                found = self._convert(view, raw or b"", words, answer, sealed, at)
            if sight is not None:
                ages = any(found[w] is not None for w in view.timed)
                sight.see(head, raw, view.lasting(words, answer, sealed, at), at, ages)
            return found, entity != scan.ABSENT
        raise StoreError(
            "a key changed each time it was read",
            code="T722",
            where=view.form.view.name,
            fix="try again; the store is written to faster than it is read",
        )

    def _answer(self, view: Chosen, words: Array, offsets: Array, at: int, now: int) -> Answer:
        count, size = len(offsets) - 1, len(view.windows)
        cached = getattr(self._local, "spare", None)
        spare: dict[tuple[int, int], Answer] = {} if cached is None else cached
        self._local.spare = spare
        if count != 1 or (id(view), 1) not in spare:
            made = Answer(
                np.empty(size, np.int64),
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
        lengths, hops, keeps, starts = view.all
        scan.find_starts(lengths, hops, keeps, at, now, starts)
        form = view.form
        scan.answer(
            words, offsets, form.width, form.stamp, form.kinds, form.cells, view.groups, view.ops,
            made.starts, at, earliest, int(starts.min()), made.results, made.states,
            made.entities, made.gathered,
        )  # fmt: skip
        return made

    def _sealed(
        self,
        store: Reading,
        view: Chosen,
        place: Place,
        key: bytes,
        words: Array,
        answer: Answer,
        at: int,
    ) -> Sealed | None:
        """The sealed rows of a heavy key; None when they changed after its head was read."""
        sealed = Sealed(view.segments, store, place.index(key), place.segment(key))
        if sealed.rows != words[SEALED]:
            return None
        whole = sealed.load([(int(start), at) for start in set(answer.starts.tolist())])
        return sealed if whole else None

    def _convert(
        self,
        view: Chosen,
        raw: bytes,
        words: Array,
        answer: Answer,
        sealed: Sealed | None,
        at: int,
    ) -> list[Any]:
        """The values of one key."""
        states, results = answer.states[0], answer.results[0]
        rows: fold.Rows | None = None
        adds = [True] * len(states)
        if sealed is not None:
            total, kept, adds = answer.gathered.copy(), states.copy(), view.adds
            sealed.add(total, view.groups, view.numbers, answer.starts, at)
            scan.finish_all(total, view.ops[:, 0].copy(), view.ranks, at, results, states)
            states[kept == scan.FOLDED] = scan.FOLDED
            adds = [each or self._newer(view, w, answer, sealed) for w, each in enumerate(adds)]
        found: list[Any] = results.tolist()
        floats = results.view(np.float64).tolist()
        for w in view.floats:
            found[w] = floats[w]
        odd = list(view.odd)
        if not (states == scan.VALUE).all() or not all(adds):
            odd += np.flatnonzero((states != scan.VALUE) | ~np.array(adds)).tolist()
        told: Mapping[int, int] = {}
        if sealed is not None and view.distinct:
            rows = fold.Rows(view.form, words)
            told = view.told(rows, sealed, answer, at)
        for w in odd:
            if w in told:
                found[w] = told[w]
            elif not adds[w] or states[w] > scan.VALUE:
                rows = fold.Rows(view.form, words) if rows is None else rows
                found[w] = self._algebra(view, w, rows, answer, sealed, at)
            elif states[w] == scan.NONE:
                found[w] = None
            elif view.kinds[w] == TEXT:
                number = int(answer.gathered[w, scan.LAST]) if sealed else found[w]
                found[w] = raw_text(raw, view.form.width, number)
            elif view.kinds[w] == BOOL:
                found[w] = bool(results[w])
        return found

    def _newer(self, view: Chosen, w: int, answer: Answer, sealed: Sealed) -> bool:
        """Whether a window's last value is in the head, after all that is sealed."""
        found = answer.gathered[w]
        return bool(
            view.ops[w, 0] == scan.OP_LAST
            and found[scan.COUNT]
            and found[scan.LAST_AT] > sealed.newest
        )

    def _algebra(
        self, view: Chosen, w: int, rows: fold.Rows, answer: Answer, sealed: Sealed | None, at: int
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
        sights: Sequence[Sight] | None = None,
    ) -> Table:
        """The same for many keys: each entity's keys are a list, or one for all of them; each of
        ``sights`` is told of one."""
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
                place, stale = self._place(store, view, at, *(sights or ()))
                asked = self._keys(view, keys, count)
                rows = self._many(store, view, place, asked, at, moment, sights)
                fresh = Status.STALE if stale else Status.FRESH
                for (values, known), i in zip(rows, places, strict=True):
                    if allowed is None or allowed[i]:
                        columns[i] = values
                        status[:, i] = np.where(known, fresh, Status.MISSING)
        return Table(self.signals, columns, status)

    def _keys(
        self, view: Chosen, keys: Mapping[str, Sequence[object] | object], count: int
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
        view: Chosen,
        place: Place,
        keys: list[bytes],
        at: int,
        now: int,
        sights: Sequence[Sight] | None,
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
        again = (hard & ~absent).tolist()
        for k in np.flatnonzero(hard & ~absent).tolist():
            sight = None if sights is None else sights[k]
            values, there = self._values(store, view, place, keys[k], at, now, sight)
            for w, value in enumerate(values):
                columns[w][k] = value
                known[k, w] = there and value is not None
        for k in np.flatnonzero(absent).tolist():
            for w, value in enumerate(view.blank):
                columns[w][k] = value
        for k, sight in enumerate(sights or ()):
            if now != at:
                sight.until = at
            if not again[k]:
                one = words[offsets[k] : offsets[k + 1]]
                ages = any(columns[w][k] is not None for w in view.timed)
                sight.see(heads[k], raws[k], view.lasting(one, answer, None, at), at, ages)
        return [(column, known[:, w]) for w, column in enumerate(columns)]

    def _column(
        self, view: Chosen, w: int, words: Array, offsets: Array, answer: Answer
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


def _check(view: Chosen, entity: int, at: int) -> None:
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
