"""The online store: events in, values out, one meaning (docs/live.md).

`push` is durable when it returns: rows, what they do to every view, how far their stream was taken
and which ids were seen are one change of the backend; pushes that come together are made as one
(`live.together`). `lookup` makes readers. `Rebase` in
`live.baseline` builds a version from batch rows; `live.erasing` removes people.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from tacit.aggregates.columns import Array
from tacit.errors import DataError, StoreError, TacitError
from tacit.live import deltas, kernels
from tacit.live.accept import Accepted, Pushed, Rejected, accept, dump
from tacit.live.deltas import Delta, Merging
from tacit.live.feed import Feed
from tacit.live.form import EXTRA, HEADER, ROWS, SEALED, Form
from tacit.live.heavy import Segments
from tacit.live.journal import Entry
from tacit.live.merging import TOO_MANY, Merger
from tacit.live.place import (
    SALT,
    Mark,
    Place,
    Standing,
    digest,
    mark_key,
    read_mark,
)
from tacit.live.prepare import Prepared, Preparer
from tacit.live.reader import Lookup, foreign
from tacit.live.seen import Seen, digests
from tacit.live.together import Together
from tacit.live.writer import Written, cut_of, drop_of, seal, write
from tacit.privacy.randomness import system
from tacit.store.files import SKEW
from tacit.store.online.base import Backend, Changing, Reading
from tacit.values import DAY, HOUR

PUSHED = "push"
"""The stream of rows that came by `push`; a position is the push's number."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Where rows come from, for inputs that can be read again.

    Attributes:
        stream: its name.
        positions: of each row, ascending along the stream.
        before: the mark that was read before the rows were taken; another one now means that
            another reader took them (StoreError T726).
        after: the mark once they are in.
    """

    stream: str
    positions: Sequence[tuple[int, ...]]
    before: Mark
    after: Mark


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of pushed rows. They are on the disk, and to be read unless ``parked``.

    Attributes:
        position: of this push in the source's stream of pushes; a baseline that holds it states it.
        accepted: rows that were new.
        duplicates: rows whose id, or whose push, was seen before.
        late: rows past every window that could still see them; they changed nothing.
        quarantined: rows that did not fit, were dated in the future, or belong to a damaged key.
        parked: the rows wait in the journal until the baseline is there.
    """

    position: int
    accepted: int
    duplicates: int = 0
    late: int = 0
    quarantined: int = 0
    parked: bool = False


@dataclass
class _Source:
    """A feed, opened."""

    feed: Feed
    segments: list[Segments]
    preparers: list[Preparer]


@dataclass(frozen=True, slots=True)
class _Given:
    """A push, ready to be taken in: what can be done before its turn is done."""

    source: _Source
    accepted: Accepted
    ids: Array | None
    batch: Array | None
    taken: Taken | None
    rejected: Sequence[Rejected]
    prepared: Sequence[Prepared] | None
    now: int


@dataclass(frozen=True)
class Settings:
    """How a store keeps.

    Attributes:
        slack: how far before now a moment may lie and still be answered exactly.
        skew: how far ahead of now a row may be dated; beyond, it goes to quarantine.
        remember: how long ids are remembered, by when they came.
        stale: µs without news of a source, after which its values are stale; None is never.
        quarantine: how long quarantined rows are kept.
    """

    slack: int = HOUR
    skew: int = SKEW
    remember: int = 7 * DAY
    stale: int | None = None
    quarantine: int = 30 * DAY


class Online:
    """An open online store.

    Args:
        backend: where it is kept.
        feeds: the sources it takes, and their views.
        settings: how it keeps.
    """

    def __init__(
        self, backend: Backend, feeds: Iterable[Feed], settings: Settings | None = None
    ) -> None:
        self.settings = Settings() if settings is None else settings
        feeds = list(feeds)
        self.backend: Backend = backend
        if backend.scatters:
            forms = {feed.name: feed.forms for feed in feeds}
            self.backend = Merging(backend, forms, self.settings.slack)
        self._together = Together(backend)
        self.salt = self._salt()
        self.sources = {
            feed.name: _Source(
                feed,
                [Segments(form) for form in feed.forms],
                [Preparer(feed, form, self.salt) for form in feed.forms],
            )
            for feed in feeds
        }
        views = {name: source.segments for name, source in self.sources.items()}
        self.merger = Merger(self._together, views, self.settings.slack, self._refuse)
        # Who opens a store that is there changes nothing, and waits for nobody who does: a copy, a
        # long push, or the lease of a process that was killed.
        with backend.read() as store:
            begun = all(self._first(store, name) is None for name in self.sources)
        if not begun:
            with backend.change() as store:
                first = (self._first(store, name) for name in self.sources)
                store.put([item for item in first if item is not None])

    def _salt(self) -> bytes:
        with self.backend.read() as reading:
            found = reading.get([SALT])[0]
        if found is not None:
            return found
        with self.backend.change() as store:
            found = store.get([SALT])[0]
            if found is None:
                found = system().bytes(32)
                store.put([(SALT, found)])
            return found

    def _first(self, store: Reading, name: str) -> tuple[bytes, bytes] | None:
        """A source that needs no baseline has a first version at once: what is stored of it then;
        None where it needs one, or has one."""
        feed = self.source(name).feed
        standing = Standing.read(store, name)
        if standing.version or feed.baseline:
            return None
        return replace(standing, version=1, meaning=feed.meaning).item(name)

    def source(self, name: str) -> _Source:
        """A source of the store. Raises DataError T392 for one that it does not take."""
        found = self.sources.get(name)
        if found is None:
            raise DataError(
                f"{name!r} is not a source that the online store takes",
                code="T392",
                where=name,
                fix="push to " + (", ".join(self.sources) or "no source: none is in the cloud"),
            )
        return found

    # ------------------------------------------------------------------ writing

    def push(
        self,
        name: str,
        rows: Pushed,
        *,
        now: int,
        ids: str | Sequence[object] | None = None,
        batch: str | None = None,
        taken: Taken | None = None,
        rejected: Sequence[Rejected] = (),
    ) -> Receipt:
        """Rows of a source; on the disk when this returns.

        ``ids`` names the column that identifies an event, or gives the ids: one that was seen is
        a duplicate. ``batch`` identifies the whole push. ``taken`` says how far a stream is taken,
        ``rejected`` what of it were no rows. Raises DataError T391 for a table that does not fit,
        T348 for times of another unit, T392 for an unknown source; StoreError as the backend's
        `change`.
        """
        source = self.source(name)
        # A stream goes on past rows of another unit, which wait in quarantine; a push is refused.
        accepted = accept(source.feed, rows, unit=source.feed.unit, refuse=taken is None)
        given = _Given(
            source,
            accepted,
            self._ids(name, rows, accepted, ids),
            None if batch is None else digests(self.salt, f"{name} batch", [batch]),
            taken,
            rejected,
            self._prepared(source, accepted.table),
            now,
        )
        receipt, waiting = self._together.run(lambda store: self._take_in(store, given))
        if waiting:
            self.merger.pushed(waiting)
        return receipt

    def _prepared(self, source: _Source, table: pa.Table) -> list[Prepared] | None:
        """The rows of every view, as far as can be told before it is known which of them are new:
        others need not wait meanwhile."""
        try:
            return [prepare(table) for prepare in source.preparers]
        except TacitError:  # it is met again where the rows are merged, if they are
            return None

    def _take_in(self, store: Changing, given: _Given) -> tuple[Receipt, int]:
        """A push, within a change of the backend; and how many deltas wait then, if it is one."""
        name, accepted, now = given.source.feed.name, given.accepted, given.now
        standing = Standing.read(store, name)
        self._check(standing, given.source.feed)
        standing.number += 1
        position = standing.number
        if given.taken is not None:
            self._take(store, name, given.taken)
        new = np.ones(accepted.table.num_rows, np.bool_)
        rejected = [*accepted.rejected, *given.rejected]
        if given.batch is not None:
            first = bool(self._fresh(store, standing, name, given.batch, now)[0])
            new &= first
            if not first:  # what of it was no row is in quarantine already
                rejected = []
        if given.ids is not None and new.any():
            new &= self._fresh(store, standing, name, given.ids, now)
        receipt, waiting = self._apply(store, standing, given, new, rejected, position)
        standing.progress = max(standing.progress, now)
        store.put([standing.item(name)])
        return receipt, waiting

    def _ids(
        self,
        name: str,
        rows: Pushed,
        accepted: Accepted,
        ids: str | Sequence[object] | None,
    ) -> Any:
        if ids is None:
            return None
        if isinstance(ids, str):
            if isinstance(rows, pa.Table):
                if ids not in rows.column_names:
                    raise DataError(
                        f"pushed rows have no column {ids!r} to identify them",
                        code="T391",
                        where=name,
                        fix="name the column of the events' ids, or leave ids out",
                    )
                ids = rows[ids].to_pylist()
            else:
                ids = [row.get(ids) if isinstance(row, Mapping) else None for row in rows]
        return digests(self.salt, name, [ids[place] for place in accepted.places])

    def _check(self, standing: Standing, feed: Feed) -> None:
        if standing.version and standing.meaning != feed.meaning and not standing.building:
            raise foreign(feed.name)

    def _take(self, store: Changing, name: str, taken: Taken) -> None:
        stands = read_mark(store, name, taken.stream)
        if stands != taken.before:
            raise StoreError(
                f"another reader took {taken.stream!r} further meanwhile",
                code="T726",
                where=name,
                fix="read the mark again and skip what it holds; run one reader to a stream",
            )
        store.put([(mark_key(name, taken.stream), taken.after.dump().encode())])

    def _fresh(self, store: Changing, standing: Standing, name: str, ids: Any, now: int) -> Any:
        """Which ids are new; they are remembered."""
        live = Seen(b"i" + digest(name))
        new = live.fresh(store, ids) & Seen(b"w" + digest(name)).fresh(store, ids)
        if standing.version:
            new &= baseline_ids(name, standing.version).fresh(store, ids)
        live.add(store, ids[new], now, self.settings.remember)
        return new

    def _apply(
        self,
        store: Changing,
        standing: Standing,
        given: _Given,
        new: Any,
        out: list[Rejected],
        position: int,
    ) -> tuple[Receipt, int]:
        source, taken, ids, now = given.source, given.taken, given.ids, given.now
        feed, accepted = source.feed, given.accepted
        table = accepted.table
        duplicates = int(len(new) - new.sum())
        at = table[feed.time].fill_null(0).to_numpy()
        ahead = new & (at > now + self.settings.skew)
        for k in np.flatnonzero(ahead).tolist():
            reason = f"dated {(int(at[k]) - now) // 1_000_000} s in the future"
            out.append(Rejected(k, reason, dump(table.slice(k, 1).to_pylist()[0])))
        kept = new & ~ahead
        fresh = table if kept.all() else table.filter(pa.array(kept))
        late, waiting, parked = 0, 0, False
        if fresh.num_rows:
            parked = not standing.version
            if standing.version:
                ready = given.prepared if kept.all() else None
                if self._small(fresh, standing):
                    late, waiting = self._wait(store, source, standing, fresh, now, ready)
                else:
                    self.merger.all(store, feed.name)
                    late, refused = self.merge(store, source, standing.version, fresh, now, ready)
                    out += refused
            if parked or standing.building:
                stream = PUSHED if taken is None else taken.stream
                whose = [
                    (position,) if taken is None else tuple(taken.positions[accepted.places[k]])
                    for k in np.flatnonzero(kept).tolist()
                ]
                self._journal(
                    store, standing, feed.name,
                    Entry(stream, whose, fresh, None if ids is None else ids[kept]),
                )  # fmt: skip
        self._quarantine(store, standing, feed.name, out, now)
        receipt = Receipt(position, fresh.num_rows, duplicates, late, len(out), parked)
        for what in ("accepted", "duplicates", "late", "quarantined"):
            standing.counts[what] = standing.counts.get(what, 0) + getattr(receipt, what)
        return receipt, waiting

    def _small(self, table: pa.Table, standing: Standing) -> bool:
        """Whether rows wait in deltas: few, that only the version that stands must have."""
        few = table.num_rows <= deltas.MOST and not standing.building
        return few and self.backend.scatters

    def _wait(
        self,
        store: Changing,
        source: _Source,
        standing: Standing,
        table: pa.Table,
        now: int,
        prepared: Sequence[Prepared] | None,
    ) -> tuple[int, int]:
        """Puts rows into a delta of every view; how many were too late for all, and how many
        deltas wait."""
        cut, waiting, most = 2**63, 0, 0
        ready = prepared or [prepare(table) for prepare in source.preparers]
        for segments, rows in zip(source.segments, ready, strict=True):
            form = segments.form
            place = Place.of(source.feed.name, standing.version, form.view.name)
            cut = min(cut, drop_of(form, now, self.settings.slack))
            if rows.keys:
                state = deltas.put(store, place, form, Delta(now, rows), standing.number)
                waiting, most = max(waiting, state.waiting), max(most, state.count)
        if most >= TOO_MANY:
            self.merger.all(store, source.feed.name)
        return self._late(source, table, cut), waiting

    def _late(self, source: _Source, table: pa.Table, cut: int) -> int:
        """Rows before the moment from which on any view sees them."""
        at = table[source.feed.time].fill_null(cut if cut < 2**63 else 0).to_numpy()
        return int((at < cut).sum()) if source.segments else 0

    def _refuse(
        self, store: Changing, name: str, view: str, keys: Sequence[bytes], now: int
    ) -> None:
        """Rows that waited for heads that prove damaged, to quarantine."""
        standing = Standing.read(store, name)
        self._quarantine(store, standing, name, _refused(view, keys), now)
        standing.counts["quarantined"] = standing.counts.get("quarantined", 0) + len(keys)
        store.put([standing.item(name)])

    def merge(
        self,
        store: Changing,
        source: _Source,
        version: int,
        table: pa.Table,
        now: int,
        prepared: Sequence[Prepared] | None = None,
    ) -> tuple[int, list[Rejected]]:
        """Rows into every view of a version; how many were too late for all, and the refused.
        ``prepared`` are the same rows, where somebody prepared them already."""
        cut, refused = 2**63, list[Rejected]()
        ready = prepared or [prepare(table) for prepare in source.preparers]
        for segments, rows in zip(source.segments, ready, strict=True):
            view = segments.form.view
            place = Place.of(source.feed.name, version, view.name)
            done: Written = write(store, segments, place, rows, now, self.settings.slack)
            cut = min(cut, done.cut)
            refused += _refused(view.name, done.refused)
        return self._late(source, table, cut), refused

    def _journal(self, store: Changing, standing: Standing, name: str, entry: Entry) -> None:
        standing.number += 1
        store.put([(b"j" + digest(name) + standing.number.to_bytes(8, "big"), entry.dump())])

    def _quarantine(
        self, store: Changing, standing: Standing, name: str, out: Sequence[Rejected], now: int
    ) -> None:
        items = []
        for each in out:
            standing.number += 1
            key = b"q" + digest(name) + standing.number.to_bytes(8, "big")
            text = each.raw.decode(errors="replace")
            items.append((key, QUARANTINED.pack(now) + json.dumps([each.reason, text]).encode()))
        store.put(items)

    def heard(self, name: str, now: int) -> None:
        """Says that a source was heard of and had nothing new: what is read is not stale."""
        with self.backend.change() as store:
            standing = Standing.read(store, name)
            standing.progress = max(standing.progress, now)
            store.put([standing.item(name)])

    # ------------------------------------------------------------------ reading

    def lookup(self, signals: Sequence[str]) -> Lookup:
        """Some signals, or one, ready to be read.

        Raises DataError T393 for one that is not kept here, for none, and for one named twice.
        """
        names = [signals] if isinstance(signals, str) else list(signals)
        known = {
            window.signal: source.feed.name
            for source in self.sources.values()
            for view in source.feed.views
            for window in view.windows
        }
        wrong = next((name for name in names if name not in known), None)
        if wrong is not None or not names or len(set(names)) < len(names):
            what = "a signal is asked for twice" if names else "no signal is asked for"
            if wrong is not None:
                what = f"{wrong!r} is not a signal that the online store keeps"
            raise DataError(
                what,
                code="T393",
                where="lookup" if wrong is None else wrong,
                fix="ask for signals of the cloud, each once; Project.lookup takes formulas too: "
                + ", ".join(sorted(name for name in known if ":" not in name)[:12]),
            )
        chosen = [
            (source.feed, segments.form, segments)
            for source in self.sources.values()
            for segments in source.segments
        ]
        return Lookup(self.backend, chosen, names, self.settings.stale)

    def standing(self, name: str) -> Standing:
        """What stands of a source: its version, counts and progress."""
        with self.backend.read() as store:
            return Standing.read(store, name)

    def mark(self, name: str, stream: str) -> Mark:
        """How far a stream was taken."""
        with self.backend.read() as store:
            return read_mark(store, name, stream)

    def quarantined(self, name: str) -> Iterator[tuple[int, str, str]]:
        """When, why, and what: the rows that were refused."""
        with self.backend.read() as store:
            for _, raw in store.scan(b"q" + digest(name)):
                reason, row = json.loads(raw[QUARANTINED.size :])
                yield QUARANTINED.unpack_from(raw)[0], reason, row

    # ------------------------------------------------------------------ upkeep

    def sweep(self, now: int, *, keys: int = 1000) -> int:
        """Removes what has expired: rows past the cut, keys with nothing left, old quarantine.

        It commits every so many keys. Reading never shows what has expired, swept or not. Returns
        how many keys it changed.
        """
        changed = 0
        self.merger.run()
        for name, source in self.sources.items():
            version = self.standing(name).version
            for segments in source.segments:
                place = Place.of(name, version, segments.form.view.name)
                cut = cut_of(segments.form, now, self.settings.slack)
                for store, batch in in_batches(self.backend, place.heads, keys):
                    for at, raw in batch:
                        head = np.frombuffer(raw, np.int64)
                        if not _due(segments.form, head, cut):
                            continue
                        seal(store, segments, place, at[len(place.heads) :], head, cut)
                        changed += 1
            with self.backend.change() as store:
                old = [
                    key
                    for key, raw in store.scan(b"q" + digest(name))
                    if QUARANTINED.unpack_from(raw)[0] < now - self.settings.quarantine
                ]
                store.delete(old)
        return changed


def _refused(view: str, keys: Sequence[bytes]) -> list[Rejected]:
    reason = f"what {view!r} holds of its key is damaged (T724)"
    return [Rejected(-1, reason, key) for key in keys]


def _due(form: Form, head: Any, cut: int) -> bool:
    """Whether a sweep would change a head; a damaged one is left for a baseline to mend."""
    if kernels.state_of(head, form.width, form.stamp) != kernels.FINE:
        return False
    empty = not head[ROWS] and not head[EXTRA] and not head[SEALED]
    return bool(empty or head[SEALED] or (head[ROWS] and head[HEADER] < cut))


def in_batches(
    backend: Backend, prefix: bytes, size: int
) -> Iterator[tuple[Changing, list[tuple[bytes, bytes]]]]:
    """Keys with a prefix, some at a time, each time within a change of their own."""
    after = b""
    while True:
        with backend.change() as store:
            batch = []
            for item in store.scan(prefix, after):
                batch.append(item)
                if len(batch) == size:
                    break
            if not batch:
                return
            yield store, batch
            after = batch[-1][0]


def baseline_ids(name: str, version: int) -> Seen:
    """The ids of the events that a version's baseline holds."""
    return Seen(b"v" + digest(name) + version.to_bytes(4, "big"))


QUARANTINED = struct.Struct("<q")
