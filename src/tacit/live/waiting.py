"""The rows that wait in deltas, by key: what readers and mergers take from them.

Rows of all deltas lie in one array, in the order in which they came. What a delta has of a key is a
*part* of it; each part knows the one of its key before, so that the parts of many keys are found
together, by as many steps as a key has parts at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tacit.aggregates.columns import Array
from tacit.live.form import Form
from tacit.live.prepare import Prepared


class Taken(NamedTuple):
    """What waits for some keys.

    Attributes:
        places: of those that anything waits for, among the keys that were asked for.
        rows: theirs, with their keys in that order.
        nows: of each, the moment of the last of its pushes.
    """

    places: Array
    rows: Prepared
    nows: Array


class Waiting:
    """What waits in deltas that follow each other. One thread at a time may `add`, while others
    `take` what was there before.

    Args:
        first: number of the first.

    Attributes:
        last: number of the last.
    """

    def __init__(self, form: Form, first: int) -> None:
        self.form, self.first, self.last = form, first, first - 1
        self._begins = [0]  # of each delta its first part, and of the next one
        self._newest: dict[bytes, int] = {}  # bytes and ints: no garbage to be looked through
        self._before, self._nows = _Grown(), _Grown()
        self._starts = _Grown()
        self._starts.add(np.zeros(1, np.int64))
        self._rows = _Grown((form.width,))
        self._entries, self._heap = _Grown(), _Grown(kind=np.uint8)

    @property
    def keys(self) -> list[bytes]:
        """All that anything waits for, ascending."""
        return sorted(self._newest)

    def add(self, now: int, rows: Prepared) -> None:
        """The next delta."""
        mine = rows.rows
        if len(self.form.texts):
            mine = mine.copy()
            mine[:, self.form.cells[self.form.texts]] += self._entries.size
            self._entries.add(rows.entries + (self._heap.size << 32))
            self._heap.add(rows.heap)
        self._starts.add(rows.starts[1:] + self._rows.size)
        self._rows.add(mine)
        part, newest = self._begins[-1], self._newest
        self._before.add(np.array([newest.get(key, -1) for key in rows.keys], np.int64))
        self._nows.add(np.full(len(rows.keys), now, np.int64))
        newest.update(zip(rows.keys, range(part, part + len(rows.keys)), strict=True))
        self._begins.append(part + len(rows.keys))
        self.last += 1

    def take(
        self, keys: Sequence[bytes], last: int, done: int = 0, boundary: bytes = b""
    ) -> Taken | None:
        """What deltas up to a number hold of different keys, the earlier first where moments are
        equal; those up to ``done`` hold nothing more for keys up to ``boundary``. None if that is
        nothing."""
        newest = self._newest
        parts = np.array([newest.get(key, -1) for key in keys], np.int64)
        lows = np.zeros(len(keys), np.int64)
        if done >= self.first:
            lows[[key <= boundary for key in keys]] = self._begins[done + 1 - self.first]
        parts, whose = self._parts(parts, lows, self._begins[last + 1 - self.first])
        if not len(parts):
            return None
        nows = np.full(len(keys), -(2**63))
        np.maximum.at(nows, whose, self._nows.held[parts])
        starts = self._starts.held
        begins, sizes = starts[parts], starts[parts + 1] - starts[parts]
        where = np.arange(sizes.sum()) + np.repeat(begins - np.cumsum(sizes) + sizes, sizes)
        codes = np.repeat(whose, sizes)
        order = _order(codes, self._rows.held[where, 0], len(keys))
        counts = np.bincount(codes, minlength=len(keys))
        places = np.flatnonzero(counts)
        bounds = np.append(0, np.cumsum(counts[places]))
        names = [keys[k] for k in places.tolist()]
        prepared = Prepared(names, bounds, self._rows.held[where[order]], *self._texts(), 0)
        return Taken(places, prepared, nows[places])

    def _parts(self, parts: Array, lows: Array, high: int) -> tuple[Array, Array]:
        """Of keys whose newest parts are these, all parts from a key's low to the high; whose each
        is. In the order in which they came."""
        whose, before = np.arange(len(parts)), self._before.held
        found, of = [], []
        while len(parts):
            there = parts >= lows[whose]
            parts, whose = parts[there], whose[there]
            seen = parts < high
            found.append(parts[seen])
            of.append(whose[seen])
            parts = before[parts]
        if not found:
            return parts, whose
        parts, whose = np.concatenate(found), np.concatenate(of)
        order = np.argsort(parts)
        return parts[order], whose[order]

    def _texts(self) -> tuple[Array, Array]:
        """Entries and heap, as arrays of the types that `Preparer` makes: loops are compiled for
        these."""
        if not len(self.form.texts):
            return np.zeros(0, np.int64), np.zeros(0, np.uint8)
        heap = self._heap.held[: self._heap.size]
        heap.flags.writeable = False
        return self._entries.held[: self._entries.size], heap


def _order(codes: Array, times: Array, count: int) -> Array:
    """Rows by code and time, those that come first first. Times ascend for the most part as rows
    come, which one sort is quick about, and codes of 16 bits the other."""
    order = np.argsort(times, kind="stable")
    small = codes.astype(np.uint16) if count <= 1 << 16 else codes
    found: Array = order[np.argsort(small[order], kind="stable")]
    return found


class _Grown:
    """An array that grows at its end. ``held`` has room beyond; what is in it stays as it is."""

    __slots__ = ("held", "size")

    def __init__(self, shape: tuple[int, ...] = (), kind: Any = np.int64) -> None:
        self.held: Array = np.empty((1024, *shape), kind)
        self.size = 0

    def add(self, more: Array) -> None:
        size = self.size + len(more)
        if size > len(self.held):
            room = np.empty((max(size, 2 * len(self.held)), *self.held.shape[1:]), self.held.dtype)
            room[: self.size] = self.held[: self.size]
            self.held = room
        self.held[self.size : size] = more
        self.size = size
