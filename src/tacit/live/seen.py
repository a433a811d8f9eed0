"""Which events were seen: digests of their ids, in sorted runs that merge as they grow.

An id that comes again within the time that ids are remembered is a duplicate. Each commit that has
ids writes a run; eight runs of a size become one of the next. Digests are keyed by the store's
salt, so what is kept tells nothing of the ids without it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

from tacit.aggregates.columns import Array
from tacit.store.online.base import Changing, Reading

FAN = 8
_RUN = struct.Struct(">BQ")  # level, sequence
_HEAD = struct.Struct("<q")  # when its youngest id came, µs


def digests(salt: bytes, source: str, ids: Iterable[object]) -> Array:
    """16 bytes for each id. An id is text or an int, and the two do not meet."""
    key = blake2b(source.encode(), key=salt, digest_size=32).digest()
    raw = [
        blake2b(f"{type(each).__name__}:{each}".encode(), key=key, digest_size=16).digest()
        for each in ids
    ]
    return np.array(raw, "S16") if raw else np.zeros(0, "S16")


class Seen:
    """The ids of one source, in a store. ``prefix`` is where its runs are."""

    def __init__(self, prefix: bytes) -> None:
        self.prefix = prefix

    def runs(self, store: Reading) -> list[Array]:
        """All that are remembered, in runs."""
        return [run for _, _, run in self._runs(store)]

    def _runs(self, store: Reading) -> list[tuple[bytes, int, Array]]:
        return [
            (key, _HEAD.unpack_from(raw)[0], np.frombuffer(raw, "S16", offset=_HEAD.size))
            for key, raw in store.scan(self.prefix)
        ]

    def fresh(self, store: Reading, ids: Array) -> Array:
        """Which of the ids were not seen yet; of those that repeat among them, the first."""
        _, first = np.unique(ids, return_index=True)
        new = np.zeros(len(ids), np.bool_)
        new[first] = True
        for _, _, run in self._runs(store):
            place = np.minimum(np.searchsorted(run, ids), len(run) - 1)
            new &= run[place] != ids
        return new

    def add(self, store: Changing, ids: Array, now: int, remember: int) -> None:
        """Remembers ids, none of them seen; forgets runs whose youngest is too old."""
        if not len(ids):
            return
        runs = self._runs(store)
        store.delete([key for key, youngest, _ in runs if youngest < now - remember])
        runs = [run for run in runs if run[1] >= now - remember]
        level, merged, youngest = 0, np.sort(ids), now
        while True:
            same = [run for run in runs if _RUN.unpack(run[0][len(self.prefix) :])[0] == level]
            if len(same) < FAN - 1:
                break
            store.delete([key for key, _, _ in same])
            merged = np.sort(np.concatenate([merged, *(run for _, _, run in same)]))
            level += 1
        taken = [_RUN.unpack(key[len(self.prefix) :])[1] for key, _, _ in runs]
        key = self.prefix + _RUN.pack(level, max(taken, default=0) + 1)
        store.put([(key, _HEAD.pack(youngest) + merged.tobytes())])
