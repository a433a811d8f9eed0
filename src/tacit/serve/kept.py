"""Bodies of answers that are kept, for as long as they stand.

An answer stands until the store changes what it was made of, or the clock comes to the moment at
which a row leaves a window or enters one (`live.lasting`). Both are checked at each read: against
the number of the store's last change, and if there was one, against the headers of the heads that
it was made of. So nothing is told that a read would not have found, but where another head of the
same key has the same checksum of 64 bits, counts and cut.

What is kept is personal data in memory, as the store's own pages are: at most so many bytes of it,
and what is asked for no more is let go when as much again has been asked for, or after a while.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Hashable, Mapping
from typing import Any
from weakref import WeakSet

from tacit.live.lasting import Made

_EXTRA = 440
"""Bytes that an entry takes beside its body, about."""


class Entry:
    """An answer that may be told again. Few objects, since many are kept.

    Attributes:
        moment: the store's, when it was last found to stand.
        begun: the moment that it was made for: it says nothing of earlier ones.
        until: the first moment that it says nothing of.
        sources, heads: what it was made of (`live.lasting.Made`).
        text: JSON of its values, to be filled where some grow with the clock.
        rest: what needs no filling: JSON of its statuses, which others have too; or the binary
            body without its head.
    """

    __slots__ = (
        "_ages", "_places", "begun", "heads", "moment", "rest", "sources", "text", "until",
    )  # fmt: skip

    def __init__(
        self,
        moment: Hashable,
        begun: int,
        until: int,
        made: Made,
        ages: Mapping[int, int],
        told: tuple[bytes, bytes],
    ) -> None:
        self.moment, self.begun, self.until = moment, begun, until
        self.sources, self.heads = made.sources, made.heads
        self.text, self.rest = told
        self._places: tuple[int, ...] = ()
        self._ages: tuple[int, ...] = ()
        if ages:
            self._places = tuple(sorted(ages))
            self._ages = tuple([ages[place] for place in self._places])

    def lasts(self, at: int) -> bool:
        """Whether it says something of a moment, as long as nothing is written."""
        return self.begun <= at < self.until

    def stands(self, at: int, moment: Hashable) -> bool:
        """Whether it may be told at a moment, of a store at whose moment that is: it says something
        of it, and nothing was written since it was last found to stand. Where not, or where the
        store cannot tell (None), what it was made of must be looked at."""
        return moment is not None and moment == self.moment and self.begun <= at < self.until

    def told(self, at: int) -> bytes:
        """The text, at a moment, where it says no moment of itself; as it is if nothing in it
        ages."""
        if not self._ages:
            return self.text
        return self.text % tuple([at - since for since in self._ages])

    def packed(self, head: bytes, at: int) -> bytes:
        """The binary body behind a head, at a moment."""
        if not self._ages:
            return head + self.rest
        body = bytearray(self.rest)
        for place, since in zip(self._places, self._ages, strict=True):
            struct.pack_into("<f", body, 4 * place, at - since)
        return head + bytes(body)

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        own = len(self.text) or len(self.rest)
        return own + 200 * len(self.heads) + _EXTRA


class Shelf:
    """The entries of one question by key, in two generations. `Kept.shelf` makes it; what is on it
    goes with it.

    Attributes:
        young, old: the generations; `Kept` changes them.
    """

    __slots__ = ("__weakref__", "_kept", "old", "young")

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self.young: dict[Any, Entry] = {}
        self.old: dict[Any, Entry] = {}

    def get(self, key: Any) -> Entry | None:
        found = self.young.get(key)
        if found is None and key in self.old:
            found = self._kept.renew(self, key)
        return found

    def put(self, key: Any, entry: Entry) -> None:
        self._kept.put(self, key, entry)


class Kept:
    """All that is kept. The older generation of every shelf goes when the younger ones are full, or
    are `turned`.

    Used from several threads: what is found among the young waits for no other; what changes the
    generations does.

    Args:
        room: bytes, of all together.
    """

    def __init__(self, room: int) -> None:
        self._half = room // 2
        self._shelves: WeakSet[Shelf] = WeakSet()
        self._size = 0
        self._moment: Hashable = None
        self._lock = threading.Lock()

    def shelf(self) -> Shelf:
        """Room for the answers to one more question."""
        found = Shelf(self)
        with self._lock:
            self._shelves.add(found)
        return found

    def one_of(self, moment: Hashable) -> Hashable:
        """The moment, as the same object each time that it is asked for while it lasts: entries
        share it, and telling whether one is of it takes no look into it."""
        last = self._moment
        if moment == last:
            return last
        self._moment = moment
        return moment

    def put(self, shelf: Shelf, key: Any, entry: Entry) -> None:
        size = entry.size + _length(key)
        if size <= self._half:
            with self._lock:
                self._put(shelf, key, entry, size)

    def renew(self, shelf: Shelf, key: Any) -> Entry | None:
        """What is old was asked for again: it is young."""
        with self._lock:
            found = shelf.old.pop(key, None)
            if found is not None:
                self._put(shelf, key, found, found.size + _length(key))
        return found

    def turn(self) -> None:
        """Lets go of what was not asked for since the last time."""
        with self._lock:
            self._turn()

    def _put(self, shelf: Shelf, key: Any, entry: Entry, size: int) -> None:
        self._size += size
        if self._size > self._half:
            self._turn()
            self._size = size
        shelf.young[key] = entry

    def _turn(self) -> None:
        for shelf in self._shelves:
            shelf.old, shelf.young = shelf.young, {}
        self._size = 0


def _length(key: Any) -> int:
    """Of a key: a text, bytes, a number, or a tuple of such."""
    if type(key) is str or type(key) is bytes:
        return len(key)
    return sum(map(_length, key)) if isinstance(key, tuple) else 0
