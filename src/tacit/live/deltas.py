"""Deltas: the rows of a small push, written as one value and merged into their heads later.

A push of some hundred rows changes as many heads, each on a page of its own, and a disk that must
have four hundred pages here and there takes longer than one that has a few in a row. So what a
small push does to a view is put whole: its prepared rows, by key. A read merges what deltas hold of
a key into its head, as the push would have, and sees no difference. `live.merging` does it for
good, when many wait: by key, so each head is written once for all. (A differential file: Severance
and Lohman 1976, "Differential Files", ACM TODS 1 (3); in today's stores a level of a log-structured
merge-tree: O'Neil et al. 1996.)

Deltas of a view have numbers, in the order in which they came. Those up to ``frozen`` are being
merged, key by key in order: of keys up to ``boundary`` the heads hold what they hold.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from tacit.aggregates.columns import Array, read_only
from tacit.live import kernels
from tacit.live.form import HEADER, Form
from tacit.live.heavy import damaged
from tacit.live.place import STATE, Place
from tacit.live.prepare import Prepared
from tacit.live.reader import foreign
from tacit.live.writer import drop_of, text_words
from tacit.store.online.base import Backend, Changing, Reading

MOST = 1024
"""Rows of a push that becomes a delta."""
_HEAD = struct.Struct("<qqqqqqq")  # stamp, now, words a row, keys, rows, texts, bytes of texts
_STATE = struct.Struct("<qqq")
_LENGTH = 17  # of a `Place`'s prefix
_VERSIONED, _HEADS = b"dh"


@dataclass(frozen=True, slots=True)
class State:
    """Which deltas of a view there are: those of the numbers ``first`` to ``last``. Those up to
    ``frozen`` are being merged, and are for keys up to ``boundary``."""

    first: int
    last: int
    frozen: int = 0
    boundary: bytes = b""

    @classmethod
    def read(cls, store: Reading, place: Place) -> State | None:
        raw = store.get([place.deltas])[0]
        return None if raw is None else cls.load(raw)

    @classmethod
    def load(cls, raw: bytes) -> State:
        first, last, frozen = _STATE.unpack_from(raw)
        return cls(first, last, frozen, raw[_STATE.size :])

    @property
    def count(self) -> int:
        return self.last - self.first + 1

    @property
    def waiting(self) -> int:
        """How many nobody has begun to merge."""
        return self.last - max(self.frozen, self.first - 1)

    def item(self, place: Place) -> tuple[bytes, bytes]:
        return place.deltas, _STATE.pack(self.first, self.last, self.frozen) + self.boundary


class Delta(NamedTuple):
    """What one push did to a view, at which moment."""

    now: int
    rows: Prepared


def dump(delta: Delta, form: Form) -> bytes:
    """As it is stored: the head, keys' lengths, starts, rows, texts, keys, the texts' bytes; and a
    CRC of all."""
    rows = delta.rows
    sizes = (rows.rows.shape[1], len(rows.keys), len(rows.rows), len(rows.entries), len(rows.heap))
    body = b"".join(
        [
            _HEAD.pack(form.stamp, delta.now, *sizes),
            np.array([len(key) for key in rows.keys], np.int64).tobytes(),
            rows.starts.astype(np.int64).tobytes(),
            rows.rows.tobytes(),
            rows.entries.astype(np.int64).tobytes(),
            *rows.keys,
            rows.heap.tobytes(),
        ]
    )
    return body + zlib.crc32(body).to_bytes(4, "little")


def load(raw: bytes | None, form: Form) -> Delta:
    """Raises StoreError T724 for one that is damaged, or gone; T727 for one of another meaning."""
    body = bytearray(raw or b"")  # arrays as `Preparer` makes them: to be written to
    if len(body) < _HEAD.size + 4 or zlib.crc32(body[:-4]).to_bytes(4, "little") != body[-4:]:
        raise damaged(form.view.name)
    stamp, now, width, keys, rows, entries, heap = _HEAD.unpack_from(body)
    if stamp != form.stamp:
        raise foreign(form.view.name)
    counts = (keys, keys + 1, rows * width, entries)
    words = np.frombuffer(body, np.int64, sum(counts), _HEAD.size)
    lengths, starts, cells, texts = np.split(words, np.cumsum(counts)[:-1])
    at = _HEAD.size + words.nbytes
    ends = np.cumsum(lengths) + at
    names = [
        bytes(body[a:b]) for a, b in zip((ends - lengths).tolist(), ends.tolist(), strict=True)
    ]
    held = _heap(bytes(body[len(body) - 4 - heap : -4]))
    return Delta(now, Prepared(names, starts, cells.reshape(rows, width), texts, held, 0))


def _heap(raw: bytes) -> Array:
    """Texts, as an array of the type that `Preparer` makes: loops are compiled for that."""
    return np.frombuffer(raw, np.uint8) if raw else np.zeros(0, np.uint8)


def put(store: Changing, place: Place, form: Form, delta: Delta, number: int) -> State:
    """Adds one; what stands then. ``number`` is that of the push: the first of deltas has it, so
    that no two ever have one number."""
    state = State.read(store, place) or State(number, number - 1)
    state = replace(state, last=state.last + 1)
    store.put([(place.delta(state.last), dump(delta, form)), state.item(place)])
    return state


def read(store: Reading, place: Place, form: Form, first: int, last: int) -> list[Delta]:
    """The deltas of some numbers."""
    return [load(raw, form) for raw in store.get([place.delta(n) for n in range(first, last + 1)])]


def together(deltas: Sequence[Delta], form: Form) -> Prepared:
    """The rows of several, the earlier ones first where moments are equal."""
    each = [delta.rows for delta in deltas]
    keys = sorted({key for rows in each for key in rows.keys})
    rank = {key: i for i, key in enumerate(keys)}
    codes = np.concatenate(
        [np.repeat([rank[key] for key in rows.keys], np.diff(rows.starts)) for rows in each]
    )
    texts = [
        [bytes(rows.heap[e >> 32 : (e >> 32) + (e & 0xFFFFFFFF)]) for e in rows.entries.tolist()]
        for rows in each
    ]
    whole = sorted({text for some in texts for text in some})
    number = {text: i for i, text in enumerate(whole)}
    cells = []
    for rows, some in zip(each, texts, strict=True):
        found = rows.rows.copy()
        new = np.array([number[text] for text in some], np.int64)
        for column in form.texts.tolist() if len(new) else ():
            there = (found[:, 1 + column // 32] >> (column % 32)) & 1 == 1
            at = int(form.cells[column])
            found[there, at] = new[found[there, at]]
        cells.append(found)
    all_ = np.concatenate(cells)
    order = np.lexsort((all_[:, 0], codes))
    starts = np.append(0, np.cumsum(np.bincount(codes, minlength=len(keys))))
    return Prepared(keys, starts, all_[order], *_numbered(whole), 0)


def _numbered(texts: Sequence[bytes]) -> tuple[Array, Array]:
    """Texts, ascending, as entries and a heap."""
    lengths = np.array([len(text) for text in texts], np.int64)
    return (np.cumsum(lengths) - lengths) << 32 | lengths, _heap(b"".join(texts))


def part(rows: Prepared, low: int, high: int) -> Prepared:
    """The keys low to high of prepared rows."""
    starts = rows.starts[low : high + 1]
    cells = rows.rows[starts[0] : starts[-1]]
    return Prepared(rows.keys[low:high], starts - starts[0], cells, rows.entries, rows.heap, 0)


# ---------------------------------------------------------------------- reading


class _Known(NamedTuple):
    """Deltas of a place that were read: of each the place of its keys, and of each key the bits of
    the deltas that have it. (Bytes and ints: the garbage collector need not look at them.)"""

    first: int
    last: int
    deltas: Mapping[int, tuple[Delta, Mapping[bytes, int]]]
    bits: Mapping[bytes, int]


class _View:
    """A view whose deltas are read. Used from several threads."""

    def __init__(self, form: Form, slack: int) -> None:
        self.form = form
        self.slack = slack
        self._known: dict[bytes, _Known] = {}
        self._lock = threading.Lock()

    def known(self, store: Reading, place: Place, state: State) -> _Known:
        found = self._known.get(place.prefix)
        if found is not None and (found.first, found.last) == (state.first, state.last):
            return found
        old = {} if found is None else found.deltas
        numbers = range(state.first, state.last + 1)
        new = [n for n in numbers if n not in old]
        read = {}
        for n, raw in zip(new, store.get([place.delta(n) for n in new]), strict=True):
            delta = load(raw, self.form)
            read[n] = delta, dict(zip(delta.rows.keys, range(len(delta.rows.keys)), strict=True))
        deltas = {n: read[n] if n in read else old[n] for n in numbers}
        grown = found is not None and found.first == state.first and found.last < state.last
        bits = dict(found.bits) if found is not None and grown else {}
        for n in new if grown else numbers:
            bit = 1 << (n - state.first)
            for key in deltas[n][1]:
                bits[key] = bits.get(key, 0) | bit
        known = _Known(state.first, state.last, deltas, bits)
        with self._lock:
            self._known = {place.prefix: known}
        return known

    def forget(self) -> None:
        """Lets go of what was read: there are no deltas."""
        if self._known:
            with self._lock:
                self._known = {}

    def head(self, known: _Known, state: State, key: bytes, raw: bytes | None) -> bytes | None:
        """A head with what deltas hold of its key."""
        bits = known.bits.get(key)
        if bits is None:
            return raw
        done = state.frozen if key <= state.boundary else 0
        several = []
        for n, (delta, places) in known.deltas.items():
            if n > done and bits >> (n - known.first) & 1:
                several.append((delta, places[key]))
        if len(several) > 1:
            several = [(_one(several, self.form), 0)]
        for delta, k in several:
            merged = self._merged(delta, k, raw)
            if merged is None:  # it is damaged: who reads it is told
                return raw
            raw = merged
        return raw

    def _merged(self, delta: Delta, k: int, raw: bytes | None) -> bytes | None:
        """A head with a delta's rows of its key; None where it is damaged."""
        form, mine = self.form, part(delta.rows, k, k + 1)
        old = np.frombuffer(raw or b"", np.int64)
        out = np.empty(len(old) + mine.rows.size + HEADER + text_words(form, mine), np.int64)
        ends, _, states = kernels.merge_blobs(
            old, np.array([0, len(old)]), mine.rows, mine.starts, read_only(mine.entries),
            read_only(mine.heap), form.texts, form.cells, drop_of(form, delta.now, self.slack),
            form.stamp, out,
        )  # fmt: skip
        return out[: ends[1]].tobytes() if states[0] == kernels.FINE else None


def _one(several: Sequence[tuple[Delta, int]], form: Form) -> Delta:
    """Some deltas' rows of one key, as those of one."""
    parts, whose = [], list[Prepared]()
    for delta, k in several:
        starts = delta.rows.starts
        parts.append(delta.rows.rows[starts[k] : starts[k + 1]])
        whose += [delta.rows] * len(parts[-1])
    rows = np.concatenate(parts)
    entries, heap = _texts(rows, whose, form)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    mine = Prepared([b""], np.array([0, len(rows)]), rows, entries, heap, 0)
    return Delta(max(delta.now for delta, _ in several), mine)


def _texts(rows: Array, whose: Sequence[Prepared], form: Form) -> tuple[Array, Array]:
    """Numbers the texts of rows anew, together: of each it is given whose numbers it has."""
    if not len(form.texts):
        return whose[0].entries, whose[0].heap
    found, texts = [], set[bytes]()
    for column in form.texts.tolist():
        there = np.flatnonzero((rows[:, 1 + column // 32] >> (column % 32)) & 1)
        mine, at = [], int(form.cells[column])
        for i, code in zip(there.tolist(), rows[there, at].tolist(), strict=True):
            entry = int(whose[i].entries[code])
            mine.append(whose[i].heap[entry >> 32 : (entry >> 32) + (entry & 0xFFFFFFFF)].tobytes())
        found.append((there, at, mine))
        texts.update(mine)
    whole = sorted(texts)
    number = {text: i for i, text in enumerate(whole)}
    for there, at, mine in found:
        rows[there, at] = [number[text] for text in mine]
    return _numbered(whole)


class _Merged:
    """A reading of `Merging`, for the length of a block: heads with what deltas hold of them."""

    __slots__ = ("_block", "_heads", "_inner", "_seen", "_views")

    def __init__(
        self, block: AbstractContextManager[Reading], views: Mapping[bytes, _View]
    ) -> None:
        self._block, self._views = block, views
        self._heads: dict[bytes, bytes | None] = {}  # merged: a batch reads some keys again
        self._seen: dict[bytes, tuple[_View, State, _Known] | None] = {}

    def __enter__(self) -> _Merged:
        self._inner = self._block.__enter__()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._block.__exit__(*error)

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        heads = [
            i for i, key in enumerate(keys)
            if key[0] == _VERSIONED and len(key) > _LENGTH and key[_LENGTH] == _HEADS
        ]  # fmt: skip
        if not heads:
            return self._inner.get(keys)
        new = {keys[i][:_LENGTH] for i in heads}.difference(self._seen)
        found = self._inner.get([*keys, *[prefix + STATE for prefix in new]])
        for prefix in new:
            self._seen[prefix] = self._known(prefix, found[len(keys)])
            del found[len(keys)]
        for i in heads:
            seen = self._seen[keys[i][:_LENGTH]]
            if seen is None:
                continue
            key = keys[i]
            if key in self._heads:
                found[i] = self._heads[key]
                continue
            view, state, known = seen
            merged = view.head(known, state, key[_LENGTH + 1 :], found[i])
            if merged is not found[i]:
                found[i] = self._heads[key] = merged
        return found

    def _known(self, prefix: bytes, raw: bytes | None) -> tuple[_View, State, _Known] | None:
        """What is known of a place's deltas, as of this reading."""
        view = self._views.get(view_of(prefix))
        if view is None:
            return None
        if raw is None:
            view.forget()
            return None
        state = State.load(raw)
        return view, state, view.known(self._inner, Place(prefix), state)

    def scan(self, prefix: bytes, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return self._inner.scan(prefix, after)

    def moment(self) -> Hashable:
        return self._inner.moment()


def view_of(prefix: bytes) -> bytes:
    """Of a `Place`'s prefix the source and the view, whatever the version."""
    return prefix[1:7] + prefix[11:_LENGTH]


class Merging:
    """A backend whose readings show heads with what deltas hold of their keys. A scan, and a
    change, see what is stored: `live.merging` first, who changes heads that are there.

    Args:
        forms: of each view of each source.
        slack: how far back moments are answered.
    """

    def __init__(self, inner: Backend, forms: Mapping[str, Sequence[Form]], slack: int) -> None:
        self.inner = inner
        self.scatters = inner.scatters
        self.moment = inner.moment
        self._views = {
            view_of(Place.of(name, 0, form.view.name).prefix): _View(form, slack)
            for name, several in forms.items()
            for form in several
        }

    def read(self) -> AbstractContextManager[Reading]:
        return _Merged(self.inner.read(), self._views)

    def change(self, lane: str = "", *, settle: bool = True) -> AbstractContextManager[Changing]:
        return self.inner.change(lane, settle=settle)

    def settle(self) -> None:
        self.inner.settle()

    def compact(self) -> None:
        self.inner.compact()

    def size(self) -> int:
        return self.inner.size()

    def close(self) -> None:
        self.inner.close()
