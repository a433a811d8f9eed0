"""Events of a stream to rows of views, dealt to shards: what an engine's workers do before lanes.

A message is read, held to its source's contract and judged as `Online.push` does it, by the same
code. What comes out are Arrow batches of one shape, which engines shuffle by ``shard``:

::

    position  where in its batch a row stood; rows with one time keep this order
    view      number of the view; REJECTED and COUNTS are no rows
    shard     of the row's key in that view, or of its id
    id        the digest of its id, where there are ids
    reason, raw   of what is for quarantine; of counts
    f0, f1, … the source's columns, null where the view has no use for one
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tacit.aggregates.columns import Array, flat
from tacit.engines.base import ARROW, needed
from tacit.live.accept import Rejected, accept, dump
from tacit.live.feed import Feed
from tacit.live.inputs.rows import read_json
from tacit.live.intake import Settings
from tacit.live.online import Online
from tacit.live.seen import digests
from tacit.live.streams.lanes import COUNTED, Batch, Share, Work, fold, fresh, shard_of
from tacit.live.writer import drop_of
from tacit.store.online.base import Backend, Changing
from tacit.values import SECOND

REJECTED, COUNTS = -1, -2
_COUNT = struct.Struct("<4q")
_LEAD = 6


@dataclass(frozen=True)
class Opening:
    """How a worker opens the store; it travels there.

    Attributes:
        token: of this run: a worker opens a store once for each.
        backend: makes the backend, in whatever process.
        feed: the source.
        settings: how the store keeps.
        ids: the column of the events' ids, where there is one.
    """

    token: str
    backend: Callable[[], Backend] = field(repr=False)  # it has the store's URL
    feed: Feed
    settings: Settings
    ids: str | None = None

    def open(self) -> Online:
        """The store, opened once in a process."""
        if self.token not in _OPEN:
            _OPEN[self.token] = Online(self.backend(), [self.feed], self.settings)
        return _OPEN[self.token]


_OPEN: dict[str, Online] = {}


def shape(feed: Feed) -> pa.Schema:
    """Of the batches that are shuffled."""
    lead = [
        ("position", pa.int64()), ("view", pa.int64()), ("shard", pa.int64()),
        ("id", pa.binary()), ("reason", pa.string()), ("raw", pa.binary()),
    ]  # fmt: skip
    columns = [(f"f{i}", ARROW[kind]) for i, kind in enumerate(feed.schema.values())]
    return pa.schema([*lead, *columns])


def read(
    opening: Opening, messages: Sequence[bytes], positions: Array, shards: int
) -> pa.RecordBatch:
    """Messages held to the contract: rows of view 0, dealt by their ids, and what is rejected."""
    feed, ids = opening.feed, opening.ids
    rows, places, rejected = read_json(messages, ids)
    found = accept(feed, rows, unit=feed.unit)
    rejected += [Rejected(places[r.place], r.reason, r.raw) for r in found.rejected]
    table, kept = found.table, [places[i] for i in found.places]
    marks, dealt = pa.nulls(len(kept), pa.binary()), np.zeros(len(kept), np.int64)
    if ids is not None:
        given = [rows[i][ids] for i in found.places]
        each = digests(opening.open().salt, feed.name, given).tolist()
        dealt = np.array([shard_of(mark, shards) for mark in each], np.int64)
        marks = pa.array([mark.ljust(16, b"\0") for mark in each], pa.binary())
    good = _rows(feed, table, positions[kept], 0, dealt, marks)
    return _joined(feed, [good, _rejects(feed, rejected, positions, shards)])


def once(
    opening: Opening, batch: Batch, given: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Without the rows whose ids were seen. All rows of a bucket of ids must be given together."""
    table = _together(opening.feed, given)
    views, shards = table["view"].to_numpy(), table["shard"].to_numpy()
    kept = views != 0
    for bucket in np.unique(shards[~kept]).tolist():
        own = np.flatnonzero((shards == bucket) & (views == 0))
        own = own[np.argsort(table["position"].to_numpy()[own], kind="stable")]
        marks = np.array(table["id"].take(own).to_pylist(), "S16")
        new = fresh(opening.open(), batch, bucket, marks)
        kept[own[new]] = True
    gone = int((~kept).sum())
    yield from table.filter(pa.array(kept)).combine_chunks().to_batches()
    if gone:
        yield _counts(opening.feed, 0, {"duplicates": gone})


def deal(opening: Opening, batch: Batch, given: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Rows of every view, dealt by its key; and what is dated in the future, for quarantine."""
    feed = opening.feed
    views = given["view"].to_numpy()
    rest = given.filter(pa.array(views != 0))
    counts = {"quarantined": int((views == REJECTED).sum())}
    if rest.num_rows:
        yield rest
    rows = given.filter(pa.array(views == 0))
    table = columns(feed, rows)
    positions = rows["position"].to_numpy()
    judged = judge(opening, table, batch.now)
    counts["quarantined"] += len(judged.rejected)
    counts |= {"accepted": judged.table.num_rows, "late": judged.late}
    if judged.rejected:
        yield _rejects(feed, judged.rejected, positions, batch.shards)
    kept = positions[judged.places]
    for view, (shards, own) in enumerate(dealt(feed, judged.table, batch.shards)):
        part = judged.table.take(pa.array(own))
        if len(own):
            yield _rows(feed, _used(feed, view, part), kept[own], view, shards[own], None)
    if any(counts.values()):
        yield _counts(feed, 0, counts)


@dataclass(frozen=True, slots=True)
class Judged:
    """Rows of a source by the clock: those that are in, which they were, and what is not."""

    table: pa.Table
    places: Array
    rejected: list[Rejected]
    late: int


def judge(opening: Opening, table: pa.Table, now: int, came: Array | None = None) -> Judged:
    """Without rows that are dated in the future; how many no window can see any more.

    ``came`` is the moment of each row, where they came at several.
    """
    feed, settings = opening.feed, opening.settings
    at = table[feed.time].fill_null(0).to_numpy()
    ahead = at > (now if came is None else came) + settings.skew
    rejected = []
    for k in np.flatnonzero(ahead).tolist():
        early = int(at[k]) - (now if came is None else int(came[k]))
        reason = f"dated {early // SECOND} s in the future"
        rejected.append(Rejected(k, reason, dump(table.slice(k, 1).to_pylist()[0])))
    places = np.flatnonzero(~ahead)
    cut = 2**63
    for form in feed.forms:
        # Nothing is too late for a view whose windows reach back for ever.
        cut = min(cut, drop_of(form, now, settings.slack))
    kept = table.take(pa.array(places))
    times = kept[feed.time].fill_null(cut if cut < 2**63 else 0).to_numpy()
    late = int((times < cut).sum()) if feed.forms else 0
    return Judged(kept, places, rejected, late)


def dealt(feed: Feed, table: pa.Table, shards: int) -> Iterator[tuple[Array, Array]]:
    """For each view the shard of each row's key, and which rows have a key and a time."""
    for view in feed.views:
        parts = [table[source].cast(pa.string()) for _, source in view.keys]
        keys = pc.binary_join_element_wise(*parts, "\x1f") if len(parts) > 1 else parts[0]
        encoded = keys.combine_chunks().dictionary_encode()
        each = [shard_of(key.encode(), shards) for key in encoded.dictionary.to_pylist()]
        codes = encoded.indices.fill_null(0).to_numpy()
        found = np.array([*each, 0], np.int64)[codes if each else codes * 0]
        there = pc.and_(pc.is_valid(keys), pc.is_valid(table[view.time]))
        yield found, np.flatnonzero(there.to_numpy(zero_copy_only=False))


def take(
    opening: Opening, batch: Batch, given: Iterable[pa.RecordBatch]
) -> Iterator[tuple[int, bool]]:
    """The lanes of whatever shards these rows are of, each whole; whether each was new."""
    online, feed = opening.open(), opening.feed
    table = _together(feed, given)
    shards = table["shard"].to_numpy()
    for shard in np.unique(shards).tolist():
        own = table.filter(pa.array(shards == shard))
        own = own.take(pc.sort_indices(own, [("position", "ascending"), ("view", "ascending")]))
        views = own["view"].to_numpy()
        rows = {
            view: columns(feed, own.filter(pa.array(views == view)))
            for view in np.unique(views[views >= 0]).tolist()
        }
        rejects = own.filter(pa.array(views == REJECTED)).select(["reason", "raw"]).to_pylist()
        rejected = [Rejected(-1, each["reason"], each["raw"]) for each in rejects]
        totals = np.zeros(len(COUNTED), np.int64)
        for raw in own.filter(pa.array(views == COUNTS))["raw"].to_pylist():
            totals += _COUNT.unpack(raw)
        counts = dict(zip(COUNTED, totals.tolist(), strict=True))
        work = Work(rows, rejected, counts)
        yield shard, fold(online, batch, Share.of(batch, shard), partial(_same, work))


def _same(work: Work, store: Changing) -> Work:
    """What a lane is to do, whatever the store holds."""
    del store
    return work


# ------------------------------------------------------------------ the shape of batches


def _together(feed: Feed, given: Iterable[pa.RecordBatch]) -> pa.Table:
    return pa.Table.from_batches(list(given), shape(feed))


def _joined(feed: Feed, parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    whole = pa.Table.from_batches(parts, shape(feed)).combine_chunks()
    return whole.to_batches()[0] if whole.num_rows else parts[0]


def columns(feed: Feed, rows: pa.Table | pa.RecordBatch) -> pa.Table:
    """The source's columns of a batch, by their names."""
    return pa.table(rows.columns[_LEAD:], names=list(feed.schema))


def _used(feed: Feed, view: int, table: pa.Table) -> pa.Table:
    """Nulls for what the view does not read: it is not shuffled for nothing."""
    form = feed.forms[view]
    wanted = needed(form.view) | set(form.owners)
    columns = [
        column if name in wanted else pa.nulls(table.num_rows, column.type)
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    return pa.table(columns, names=table.column_names)


def _rows(
    feed: Feed, table: pa.Table, positions: Array, view: int, shards: Array, ids: pa.Array | None
) -> pa.RecordBatch:
    size = table.num_rows
    lead = [
        pa.array(positions, pa.int64()),
        pa.array(np.full(size, view, np.int64)),
        pa.array(shards, pa.int64()),
        pa.nulls(size, pa.binary()) if ids is None else ids,
        pa.nulls(size, pa.string()),
        pa.nulls(size, pa.binary()),
    ]
    return pa.record_batch([*lead, *map(flat, table.columns)], schema=shape(feed))


def _rejects(
    feed: Feed, rejected: Sequence[Rejected], positions: Array, shards: int
) -> pa.RecordBatch:
    where = np.array([positions[each.place] for each in rejected], np.int64)
    reasons = pa.array([each.reason for each in rejected], pa.string())
    raws = pa.array([each.raw for each in rejected], pa.binary())
    return _others(feed, where, REJECTED, (where % shards).astype(np.int64), reasons, raws)


def _counts(feed: Feed, shard: int, counts: Mapping[str, int]) -> pa.RecordBatch:
    raw = _COUNT.pack(*(counts.get(what, 0) for what in COUNTED))
    where, dealt = np.zeros(1, np.int64), np.array([shard], np.int64)
    return _others(feed, where, COUNTS, dealt, pa.nulls(1, pa.string()), pa.array([raw]))


def _others(
    feed: Feed, positions: Array, view: int, shards: Array, reasons: pa.Array, raws: pa.Array
) -> pa.RecordBatch:
    size = len(positions)
    lead = [
        pa.array(positions, pa.int64()), pa.array(np.full(size, view, np.int64)),
        pa.array(shards, pa.int64()), pa.nulls(size, pa.binary()), reasons, raws,
    ]  # fmt: skip
    rest = [pa.nulls(size, field.type) for field in list(shape(feed))[_LEAD:]]
    return pa.record_batch([*lead, *rest], schema=shape(feed))
