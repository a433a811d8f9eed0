"""Lanes: what many processes do to one online store, each to keys of its own, exactly once.

A source's keys are dealt to so many *shards*, and a lane changes the keys of one of them. It does
what `Online.push` does: it prepares rows by the view, merges them into heads, folds what overflows
into partial states, quarantines with the reason, counts. In the same change it writes how far it
took its share of the stream (`Mark`), so a lane that is run again, by whomever, does nothing.

An engine that cuts a stream into numbered batches frames each with `begin` and `finish`: `begin`
writes the batch down with the moment that it is judged by, so that a batch which is run again after
a crash is judged as it was, in those lanes too that it had not reached. Between the two some lanes
have it and others not; no baseline begins there (T729).

A share's stream is named STREAM/SHARD. Nothing else tells lanes apart, so all streams of a source
deal alike (T414).
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, md5
from typing import TypeVar

import numpy as np
import pyarrow as pa

from tacit.aggregates.columns import Array
from tacit.errors import EngineError, StoreError
from tacit.live.accept import Rejected
from tacit.live.heavy import foreign
from tacit.live.intake import QUARANTINED, baseline_ids
from tacit.live.online import Online
from tacit.live.place import Mark, Place, Standing, digest, mark_key, read_mark
from tacit.live.seen import Seen
from tacit.live.writer import write
from tacit.store.online.base import Changing

SHARDS = 16
MOST_SHARDS = 256
_TRIES = 40
_WAIT = 0.05
_COUNT = struct.Struct("<4q")
COUNTED = ("accepted", "duplicates", "late", "quarantined")


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a stream that lanes take.

    Attributes:
        source: of the rows.
        stream: its name.
        number: of the batch in the stream; ascending.
        now: the moment that its rows are judged by, µs.
        version: of the source, into which they go.
        shards: how many lanes there are.
    """

    source: str
    stream: str
    number: int
    now: int
    version: int
    shards: int


@dataclass(frozen=True, slots=True)
class Share:
    """What of a stream a lane takes.

    Attributes:
        shard: the lane's.
        after: for each part of the stream how far it is taken then; parts are named by the engine.
    """

    shard: int
    after: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, batch: Batch, shard: int) -> Share:
        """All that a numbered batch has of a shard."""
        return cls(shard, {f"{batch.stream}/{shard}": (batch.number,)})


@dataclass(frozen=True, slots=True)
class Work:
    """What a lane is to do.

    Attributes:
        views: rows of the source by view, those whose keys are of the shard.
        rejected: for quarantine.
        counts: what became of rows, as `COUNTED` says.
    """

    views: Mapping[int, pa.Table]
    rejected: Sequence[Rejected] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


def shard_of(key: bytes, shards: int) -> int:
    """The shard of a key: the first byte of its MD5, which every engine can compute."""
    return md5(key, usedforsecurity=False).digest()[0] % shards


def ready(online: Online, name: str) -> bool:
    """Whether lanes may change a source: it has a version, and no baseline is being built."""
    standing = online.standing(name)
    return bool(standing.version) and not standing.building


def begin(
    online: Online, name: str, stream: str, run: str, number: int, shards: int, now: int
) -> Batch | None:
    """Begins a batch, or goes on with one that was begun; None for one that is whole.

    ``run`` identifies the checkpoint that numbers batches and holds what was read.

    Raises StoreError T728 while there is no baseline or one is being built, T727 for signals of
    another meaning; EngineError T414 where another stream deals keys to another number of lanes,
    T415 where the stream stands at a batch of another checkpoint.
    """
    feed = online.source(name).feed
    with online.backend.change() as store:
        standing = Standing.read(store, name)
        if not standing.version or standing.building:
            raise StoreError(
                "a baseline is being built, or there is none yet",
                code="T728",
                where=name,
                fix="build it with Project.rebase; the stream waits",
            )
        if standing.meaning != feed.meaning:
            raise foreign(name)
        _check_shards(standing, name, stream, shards)
        stands = standing.streams.get(stream)
        if stands is not None and stands["run"] != run:
            raise _other(name, stream)
        if stands is not None and number <= stands["number"] and not stands["open"]:
            return None
        if stands is not None and stands["open"]:
            if number != stands["number"]:
                raise _other(name, stream)
            return Batch(name, stream, number, stands["now"], standing.version, shards)
        standing.streams[stream] = {"run": run, "number": number, "now": now, "open": True}
        standing.shards = shards
        store.put([standing.item(name)])
        return Batch(name, stream, number, now, standing.version, shards)


def finish(online: Online, batch: Batch, now: int) -> None:
    """Says that every lane has the batch, and that the source was heard of."""
    with online.backend.change() as store:
        standing = Standing.read(store, batch.source)
        stands = standing.streams[batch.stream]
        if stands["number"] == batch.number:
            stands["open"] = False
        standing.progress = max(standing.progress, now)
        store.put([standing.item(batch.source)])


def _check_shards(standing: Standing, name: str, stream: str, shards: int) -> None:
    busy = [each for each, stands in standing.streams.items() if stands["open"]]
    if busy and standing.shards != shards:
        raise EngineError(
            f"keys are dealt to {standing.shards} lanes, by {busy[0]!r}, and not to {shards}",
            code="T414",
            where=name,
            fix=f"write shards = {standing.shards} in [stream], or end that stream first",
        )


def _other(name: str, stream: str) -> EngineError:
    return EngineError(
        f"{stream!r} was taken by another checkpoint than this one",
        code="T415",
        where=name,
        fix="bring its checkpoint back; or build a baseline from rows that hold all of the stream, "
        "and name a new one",
    )


_Found = TypeVar("_Found")


def _patiently(change: Callable[[], _Found]) -> _Found:
    """Tries again where another process was changing the store (T721): nothing was kept then."""
    for left in range(_TRIES, -1, -1):
        try:
            return change()
        except StoreError as error:
            if error.code != "T721" or not left:
                raise
            time.sleep(_WAIT)
    raise AssertionError("the last try returns or raises")


def lane_of(name: str, shard: int) -> str:
    return f"{digest(name).hex()}:{shard}"


def fold(
    online: Online,
    batch: Batch,
    share: Share,
    work: Callable[[Changing], Work],
    *,
    alone: bool = False,
) -> bool:
    """A lane's share of a batch into the store; whether it was new.

    ``work`` says what it is, within the change. ``alone`` keeps all other lanes out: for keys that
    are of another shard.

    Raises StoreError T728 when a baseline was begun meanwhile, T726 when another took some of it,
    and as `Backend.change`.
    """
    lane = "" if alone else lane_of(batch.source, share.shard)

    def once() -> bool:
        with online.backend.change(lane) as store:
            stands = {part: read_mark(store, batch.source, part).floor for part in share.after}
            done = [bool(stands[part]) and end <= stands[part] for part, end in share.after.items()]
            if all(done):
                return False
            standing = Standing.read(store, batch.source)
            if any(done) or standing.version != batch.version or standing.building:
                raise StoreError(
                    "another process took some of it, or began a baseline meanwhile",
                    code="T726" if any(done) else "T728",
                    where=batch.source,
                    fix="run one taker for a shard, and end streams before a baseline is built",
                )
            todo = work(store)
            refused = _views(online, store, batch, todo.views)
            _quarantine(store, batch, share, [*todo.rejected, *refused])
            _count(store, batch.source, share.shard, todo.counts, len(refused))
            store.put(
                [
                    (mark_key(batch.source, part), Mark(end).dump().encode())
                    for part, end in share.after.items()
                ]
            )
        return True

    return _patiently(once)


def _views(
    online: Online, store: Changing, batch: Batch, views: Mapping[int, pa.Table]
) -> list[Rejected]:
    source, refused = online.source(batch.source), []
    for i, table in sorted(views.items()):
        segments, prepare = source.segments[i], source.preparers[i]
        place = Place.of(batch.source, batch.version, segments.form.view.name)
        slack = online.settings.slack
        done = write(store, segments, place, prepare(table), batch.now, slack)
        reason = f"what {segments.form.view.name!r} holds of its key is damaged (T724)"
        refused += [Rejected(-1, reason, key) for key in done.refused]
    return refused


def _quarantine(store: Changing, batch: Batch, share: Share, out: Sequence[Rejected]) -> None:
    """Under names that follow from the batch: pushes number theirs, and lanes cannot."""
    items = []
    for i, each in enumerate(out):
        said = json.dumps([share.shard, *sorted(share.after.items()), i])
        name = bytearray(blake2b(said.encode(), digest_size=8).digest())
        name[0] |= 0x80  # after all that are numbered
        text = each.raw.decode(errors="replace")
        raw = QUARANTINED.pack(batch.now) + json.dumps([each.reason, text]).encode()
        items.append((b"q" + digest(batch.source) + bytes(name), raw))
    store.put(items)


def _count(
    store: Changing, source: str, shard: int, counts: Mapping[str, int], refused: int
) -> None:
    key = counts_prefix(source) + bytes([shard])
    raw = store.get([key])[0]
    held = _COUNT.unpack(raw) if raw else (0,) * len(COUNTED)
    total = [had + counts.get(what, 0) for had, what in zip(held, COUNTED, strict=True)]
    total[-1] += refused
    store.put([(key, _COUNT.pack(*total))])


def counts_prefix(source: str) -> bytes:
    return b"n" + digest(source)


def counted(online: Online, name: str) -> dict[str, int]:
    """What became of a source's rows: those pushed, and those that lanes took."""
    with online.backend.read() as store:
        found = dict.fromkeys(COUNTED, 0) | Standing.read(store, name).counts
        for _, raw in store.scan(counts_prefix(name)):
            for what, count in zip(COUNTED, _COUNT.unpack(raw), strict=True):
                found[what] += count
    return found


def fresh(online: Online, batch: Batch, bucket: int, ids: Array) -> Array:
    """Which ids (`live.seen.digests`), all those of a bucket, are new; of equal ones the first.

    They are remembered. A batch that is run again is told what it was told before.
    """
    name = batch.source
    stream = f"{batch.stream}/ids {bucket}"
    at = b"b" + digest(name) + f"{batch.stream}/{bucket}".encode()

    def once() -> Array:
        with online.backend.change(f"{lane_of(name, bucket)}:ids") as store:
            if read_mark(store, name, stream).floor >= (batch.number,):
                told = np.frombuffer(store.get([at])[0] or b"", "S16")
                _, first = np.unique(ids, return_index=True)
                leads = np.zeros(len(ids), np.bool_)
                leads[first] = True
                return leads & np.isin(ids, told)
            new = unseen(online, store, batch, bytes([0, 0, bucket]), ids)
            store.put([(at, ids[new].tobytes())])
            store.put([(mark_key(name, stream), Mark((batch.number,)).dump().encode())])
        return new

    return _patiently(once)


def unseen(online: Online, store: Changing, batch: Batch, share: bytes, ids: Array) -> Array:
    """Which ids are new to this share, to pushes and to the baseline; they are remembered."""
    own = Seen(b"w" + digest(batch.source) + share)
    new = own.fresh(store, ids)
    for other in (Seen(b"i" + digest(batch.source)), baseline_ids(batch.source, batch.version)):
        new &= other.fresh(store, ids)
    own.add(store, ids[new], batch.now, online.settings.remember)
    return new
