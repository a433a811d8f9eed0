"""Streams for engines: files of events, among them late ones, duplicates and poison; and the states
that a store holds of each key, whoever wrote them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from live_cases import NOW, events, feed, views

from tacit.live import kernels
from tacit.live.feed import Feed
from tacit.live.fold import Rows, all_states, merge, nothing, pack, unpack
from tacit.live.form import EXTRA, SEALED
from tacit.live.intake import Settings
from tacit.live.online import Online
from tacit.live.place import Place
from tacit.live.sealed import Sealed
from tacit.live.streams.lanes import Batch, begin, counted, finish
from tacit.live.streams.route import Opening, deal, once, read, shape, take
from tacit.store.online.base import Backend
from tacit.store.online.lmdb import Lmdb

POISON = (
    b"{not json",
    b'"a text"',
    b"\xff\xfe",
    b'{"user": null, "item": "i0", "at": 1750000000000000}',
    b'{"user": "ann", "item": "i0", "at": "no moment", "price": 1.0, "quantity": 1}',
    b'{"user": "ann", "item": "i0", "at": 1750000000000000, "price": "dear", "quantity": 1}',
    b'{"user": "ann", "item": "i0", "at": 1750000000000000, "quantity": 1.5}',
    b'{"user": "ann", "item": "i0", "at": 1750000900000000, "price": 1.0, "quantity": 1, "event": "p"}',
)
FEED = feed()


def stream(
    seed: int, count: int, distinct: bool = True
) -> tuple[list[dict[str, Any]], list[bytes]]:
    """The events, and their messages in the order of arrival, duplicates and poison among them.

    With ``distinct`` no two events of a key have one moment: then no order decides anything.
    """
    rng = random.Random(seed)
    rows = events(rng, count, NOW)
    for i, row in enumerate(rows):
        row["event"] = f"e{i}"
        if distinct:
            row["at"] += i % 1000 * 1000 + i // 1000
    messages = [json.dumps(row).encode() for row in rows]
    for message in rng.sample(messages, count // 10):
        messages.insert(rng.randrange(len(messages)), message)
    for poison in POISON:
        messages.insert(rng.randrange(len(messages)), poison)
    return rows, messages


def opening(backend: partial[Any], ids: str | None, given: Feed = FEED, token: str = "") -> Opening:
    return Opening(token or repr(backend), backend, given, Settings(), ids)


def states(online: Online, name: str = "events") -> dict[tuple[str, bytes], bytes]:
    """Every key's whole partial states, in the algebra's bytes: head, segments and base."""
    found = {}
    online.merger.run()
    source, version = online.source(name), online.standing(name).version
    with online.backend.read() as store:
        for segments in source.segments:
            form = segments.form
            place = Place.of(name, version, form.view.name)
            for at, raw in store.scan(place.heads):
                key = at[len(place.heads) :]
                head = np.frombuffer(raw, np.int64)
                assert kernels.state_of(head, form.width, form.stamp) == kernels.FINE
                rows = Rows(form, head)
                whole = all_states(rows, form.slots)
                if head[SEALED]:
                    sealed = Sealed(segments, store, place.index(key), place.segment(key))
                    old = [sealed.state(slot, -(2**62), 2**62) for slot in form.slots]
                    whole = [merge(s, a, b) for s, a, b in zip(form.slots, old, whole, strict=True)]
                base = [nothing(slot) for slot in form.slots]
                if head[EXTRA]:
                    for slot, state in zip(
                        form.endless, unpack(form.endless, rows.extra), strict=True
                    ):
                        base[form.slots.index(slot)] = state
                whole = [merge(s, a, b) for s, a, b in zip(form.slots, base, whole, strict=True)]
                found[form.view.name, key] = pack(form.slots, whole)
    return found


class Engine:
    """What an engine does, without one: reads, shuffles and runs lanes, in this process."""

    def __init__(self, given: Opening, shards: int, parts: int = 3) -> None:
        self.given, self.shards, self.parts = given, shards, parts

    def shuffled(self, batches: Iterator[pa.RecordBatch]) -> list[list[pa.RecordBatch]]:
        table = pa.Table.from_batches(list(batches), shape(self.given.feed))
        shards = table["shard"].to_numpy()
        return [
            table.filter(pa.array(shards % self.parts == part)).to_batches()
            for part in range(self.parts)
        ]

    def routed(self, batch: Batch, messages: Sequence[bytes]) -> list[list[pa.RecordBatch]]:
        given, size = self.given, max(1, len(messages) // 3)
        found = [
            read(
                given,
                messages[a : a + size],
                np.arange(a, min(a + size, len(messages))),
                self.shards,
            )
            for a in range(0, len(messages), size)
        ]
        if given.ids:
            found = [
                each for part in self.shuffled(iter(found)) for each in once(given, batch, part)
            ]
        return self.shuffled(each for one in found for each in deal(given, batch, one))

    def batch(
        self, number: int, messages: Sequence[bytes], run: str = "r", now: int = NOW
    ) -> list[bool]:
        online, name = self.given.open(), self.given.feed.name
        batch = begin(online, name, "engine", run, number, self.shards, now)
        if batch is None:
            return []
        done = [
            new for part in self.routed(batch, messages) for _, new in take(self.given, batch, part)
        ]
        finish(online, batch, now)
        return done


def lmdb(folder: Path) -> partial[Backend]:
    return partial(Lmdb, folder, sync=False)


def written(folder: Path, messages: list[bytes], size: int, name: str = "s") -> Path:
    """Files as a producer writes them: aside, then renamed."""
    folder.mkdir(exist_ok=True)
    for i, a in enumerate(range(0, len(messages), size)):
        aside = folder / f".{name}{i:03}"
        aside.write_bytes(b"".join(m + b"\n" for m in messages[a : a + size]))
        aside.rename(folder / f"{name}{i:03}.jsonl")
    return folder


__all__ = [
    "FEED",
    "NOW",
    "POISON",
    "Engine",
    "counted",
    "lmdb",
    "opening",
    "states",
    "stream",
    "views",
    "written",
]
