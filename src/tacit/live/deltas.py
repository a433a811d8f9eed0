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
import zlib
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tacit.aggregates.columns import Array
from tacit.live.form import Form
from tacit.live.heavy import damaged, foreign
from tacit.live.place import Place
from tacit.live.prepare import Prepared
from tacit.store.online.base import Changing, Reading

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


def part(rows: Prepared, low: int, high: int) -> Prepared:
    """The keys low to high of prepared rows."""
    starts = rows.starts[low : high + 1]
    cells = rows.rows[starts[0] : starts[-1]]
    return Prepared(rows.keys[low:high], starts - starts[0], cells, rows.entries, rows.heap, 0)
