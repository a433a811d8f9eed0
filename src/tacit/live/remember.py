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

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

from tacit.live.place import glance
from tacit.live.reader import Lookup, Sight
from tacit.store.online.base import Reading

MOST = 64 << 20
"""Bytes of heads and answers that are kept."""
_EACH = 400  # bytes that an entry takes beside them, about

Answer = TypeVar("Answer")


class _Entry(NamedTuple, Generic[Answer]):
    sight: Sight
    answer: Answer
    size: int


class Remembered(Generic[Answer]):
    """Answers of one lookup by what was asked; the oldest go first. One for each thread.

    Args:
        lookup: whose answers they are.
        most: bytes that may be kept.
    """

    def __init__(self, lookup: Lookup, most: int = MOST) -> None:
        self.lookup = lookup
        self.most = most
        self.size = 0
        self._kept: OrderedDict[Hashable, _Entry[Answer]] = OrderedDict()

    def get(self, asked: Hashable, at: int) -> Answer | None:
        """The answer if it is still right at a moment, not before that at which it was made.

        Raises StoreError T722 when the store cannot be reached.
        """
        entry = self._kept.get(asked)
        if entry is None:
            return None
        sight = entry.sight
        if at < sight.until:
            with self.lookup.backend.read() as store:
                if sight.sources == self._sources(store, sight, at):
                    heads = sight.heads
                    if store.get(list(heads)) == list(heads.values()):
                        return entry.answer
        self._drop(asked)
        return None

    def get_all(self, several: Sequence[Hashable], at: int) -> list[Answer | None]:
        """The same for several, in one trip."""
        entries = [self._kept.get(asked) for asked in several]
        standing = [entry is not None and at < entry.sight.until for entry in entries]
        if not any(standing):
            return [None] * len(several)
        heads: dict[bytes, bytes | None] = {}
        for entry in entries:
            if entry is not None:
                heads |= dict.fromkeys(entry.sight.heads)
        with self.lookup.backend.read() as store:
            heads = dict(zip(heads, store.get(list(heads)), strict=True))
            sources: dict[str, tuple[int, bool]] = {}
            for entry in entries:
                if entry is not None and not entry.sight.sources.keys() <= sources.keys():
                    sources |= self._sources(store, entry.sight, at)
        found: list[Answer | None] = [None] * len(several)
        for i, entry in enumerate(entries):
            if entry is not None and standing[i]:
                sight = entry.sight
                same = all(heads[key] == raw for key, raw in sight.heads.items())
                if same and all(sources[name] == seen for name, seen in sight.sources.items()):
                    found[i] = entry.answer
        return found

    def _sources(self, store: Reading, sight: Sight, at: int) -> dict[str, tuple[int, bool]]:
        stale, found = self.lookup.stale, {}
        for name in sight.sources:
            version, progress = glance(store, name)
            found[name] = (version, stale is not None and at - progress > stale)
        return found

    def put(self, asked: Hashable, sight: Sight, answer: Answer, size: int) -> None:
        """Keeps an answer of so many bytes, that was made of what ``sight`` was told of."""
        self._drop(asked)
        size += _EACH + sum(len(raw or b"") for raw in sight.heads.values())
        if size > self.most // 16:
            return
        self._kept[asked] = _Entry(sight, answer, size)
        self.size += size
        while self.size > self.most:
            self._drop(next(iter(self._kept)))

    def _drop(self, asked: Hashable) -> None:
        entry = self._kept.pop(asked, None)
        if entry is not None:
            self.size -= entry.size
