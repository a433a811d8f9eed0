"""Answers that were given, kept, and given again while they are right.

An answer depends on what the store holds of its keys, on which version of each source stands and
whether it is stale, and on the moment. The first two are looked at each time, in one snapshot where
the backend has them: the bytes of every head must be those that were read (a head changes whenever
anything of its key does, segments too: it says how many rows are sealed, and up to when rows were
let go). Of the moment the answer knows when it ends (`Sight.until`): when the first row that one of
its windows sees leaves it, when the next one that lies in the future enters, or at once where a
value is of the moment itself. So what is given again is what would be found.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

from tacit.live.place import glanced, standing_key
from tacit.live.reader import Sight
from tacit.store.online.base import Backend

MOST = 64 << 20
"""Bytes of heads and answers that are kept."""
_EACH = 400  # bytes that an entry takes beside them, about

Answer = TypeVar("Answer")


class _Entry(NamedTuple, Generic[Answer]):
    """An answer, and what it stands on: under ``keys`` lie first the standings of the sources, then
    the heads."""

    answer: Answer
    since: int
    until: int
    keys: list[bytes]
    sources: list[tuple[int, bool]]
    heads: list[bytes | None]
    size: int


class Remembered(Generic[Answer]):
    """Answers of one store by what was asked, from any thread; the oldest go first.

    Args:
        backend: of the store.
        stale: µs without news of a source, after which its values are stale; None is never.
        most: bytes that may be kept.
    """

    def __init__(self, backend: Backend, stale: int | None, most: int = MOST) -> None:
        self.backend = backend
        self.stale = stale
        self.most = most
        self.size = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, _Entry[Answer]] = OrderedDict()

    def get(self, asked: Hashable, at: int) -> Answer | None:
        """The answer if it is right at a moment.

        Raises StoreError T722 when the store cannot be reached.
        """
        entry = self._kept.get(asked)
        if entry is None or not entry.since <= at < entry.until:
            return None
        with self.backend.read() as store:
            raws = store.get(entry.keys)
        return entry.answer if self._stands(entry, raws, at) else None

    def get_all(self, several: Sequence[Hashable], at: int) -> list[Answer | None]:
        """The same for several, in one trip."""
        entries = {}
        for i, asked in enumerate(several):
            entry = self._kept.get(asked)
            if entry is not None and entry.since <= at < entry.until:
                entries[i] = entry
        found: list[Answer | None] = [None] * len(several)
        if not entries:
            return found
        keys = list(dict.fromkeys(key for entry in entries.values() for key in entry.keys))
        with self.backend.read() as store:
            there = dict(zip(keys, store.get(keys), strict=True))
        for i, entry in entries.items():
            if self._stands(entry, [there[key] for key in entry.keys], at):
                found[i] = entry.answer
        return found

    def _stands(self, entry: _Entry[Answer], raws: list[bytes | None], at: int) -> bool:
        """Whether the store holds what the answer was made of."""
        count, stale = len(entry.sources), self.stale
        if raws[count:] != entry.heads:
            return False
        for raw, seen in zip(raws, entry.sources, strict=False):
            version, progress = glanced(raw)
            if seen != (version, stale is not None and at - progress > stale):
                return False
        return True

    def put(self, asked: Hashable, sight: Sight, answer: Answer, size: int) -> None:
        """Keeps an answer of so many bytes, that was made of what ``sight`` was told of."""
        size += _EACH + sum(len(raw or b"") for raw in sight.heads.values())
        with self._lock:
            self._drop(asked)
            if size > self.most // 16:
                return
            self._kept[asked] = _Entry(
                answer, sight.since, sight.until,
                [*map(standing_key, sight.sources), *sight.heads],
                list(sight.sources.values()), list(sight.heads.values()), size,
            )  # fmt: skip
            self.size += size
            while self.size > self.most:
                self._drop(next(iter(self._kept)))

    def _drop(self, asked: Hashable) -> None:
        entry = self._kept.pop(asked, None)
        if entry is not None:
            self.size -= entry.size
