"""The online store: events in, values out, one meaning (docs/live.md).

`push` is durable when it returns: rows, what they do to every view, how far their stream was taken
and which ids were seen are one change of the backend; pushes that come together are made as one
(`live.together`). `lookup` makes readers. `Rebase` in
`live.baseline` builds a version from batch rows; `live.erasing` removes people.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from tacit.errors import DataError, warn
from tacit.live import kernels
from tacit.live.accept import Pushed, Rejected
from tacit.live.feed import Feed
from tacit.live.form import EXTRA, HEADER, ROWS, SEALED, Form
from tacit.live.heavy import Segments
from tacit.live.intake import QUARANTINED, Intake, Receipt, Settings, Source, Taken
from tacit.live.journal import Entry
from tacit.live.merged import Merging
from tacit.live.place import SALT, Mark, Place, Standing, digest, read_mark
from tacit.live.prepare import Preparer
from tacit.live.reader import Lookup
from tacit.live.together import Together
from tacit.live.writer import cut_of, seal
from tacit.privacy.randomness import system
from tacit.store.online.base import Backend, Changing, Reading
from tacit.values import show_duration

_ENTRIES = 8  # of the journal, looked through in one change


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
            feed.name: Source(
                feed,
                [Segments(form) for form in feed.forms],
                [Preparer(feed, form, self.salt) for form in feed.forms],
            )
            for feed in feeds
        }
        self.intake = Intake(
            self.sources, self.settings, self.salt, self._together, backend.scatters
        )
        self.merger = self.intake.merger
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

    def source(self, name: str) -> Source:
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
        ``rejected`` what of it were no rows. Raises DataError T391 for a table that does not fit
        and for a row without an id where there are to be some, T348 for times of another unit, T392
        for an unknown source; StoreError as the backend's `change`.
        """
        source = self.source(name)
        if ids is not None:
            _identified(name, rows, ids)
        given = self.intake.given(
            source, rows,
            now=now, ids=ids, batch=batch, taken=taken, rejected=rejected,
        )  # fmt: skip
        receipt, waiting = self._together.run(lambda store: self.intake.take(store, given))
        if waiting:
            self.merger.pushed(waiting)
        return receipt

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

    def sweep(self, now: int, *, keys: int = 1000, go_on: Callable[[], bool] = lambda: True) -> int:
        """Removes what has expired: rows past the cut, keys with nothing left, old quarantine, and
        rows past their source's retention that wait for a baseline, which it warns of (T428).

        It commits every so many keys, and ends where ``go_on``, asked before each time, says no.
        Reading never shows what has expired, swept or not. Returns how many keys it changed.
        """
        changed = 0
        for name, source in self.sources.items():
            standing = self.standing(name)
            if standing.meaning == source.feed.meaning:  # else it is left to the next baseline
                self.merger.run([name])
            version = standing.version
            for segments in source.segments:
                place = Place.of(name, version, segments.form.view.name)
                cut = cut_of(segments.form, now, self.settings.slack)
                for store, batch in in_batches(self.backend, place.heads, keys, go_on):
                    for at, raw in batch:
                        head = np.frombuffer(raw, np.int64)
                        if not _due(segments.form, head, cut):
                            continue
                        seal(store, segments, place, at[len(place.heads) :], head, cut)
                        changed += 1
            changed += self._sweep_journal(source.feed, now, go_on)
            with self.backend.change() as store:
                old = [
                    key
                    for key, raw in store.scan(b"q" + digest(name))
                    if QUARANTINED.unpack_from(raw)[0] < now - self.settings.quarantine
                ]
                store.delete(old)
        return changed

    def _sweep_journal(self, feed: Feed, now: int, go_on: Callable[[], bool]) -> int:
        """Removes rows, and values, past their retention from the journal; how many of its entries
        that changed."""
        if feed.retention is None and not feed.kept:
            return 0
        changed = gone = 0
        for store, batch in in_batches(self.backend, b"j" + digest(feed.name), _ENTRIES, go_on):
            lost = 0
            for key, raw in batch:
                entry = Entry.load(raw)
                left = entry.within(feed, now)
                if left is entry:
                    continue
                lost += entry.table.num_rows - left.table.num_rows
                changed += 1
                if left.table.num_rows:
                    store.put([(key, left.dump())])
                else:
                    store.delete([key])
            if lost:
                standing = Standing.read(store, feed.name)
                standing.counts["expired"] = standing.counts.get("expired", 0) + lost
                store.put([standing.item(feed.name)])
                gone += lost
        if gone:
            warn(
                f"{gone:,} rows of {feed.name!r} waited for a baseline past their retention of"
                f" {show_duration(feed.retention)}, and are removed",
                code="T428",
                where=feed.name,
                fix="build it with Project.rebase, from rows that hold what may be kept",
            )
        return changed


def _identified(name: str, rows: Pushed, ids: str | Sequence[object]) -> None:
    """Raises DataError T391 where a row has no id: rows without one are not one another's."""
    if not isinstance(ids, str):
        lacking = any(each is None for each in ids)
    elif isinstance(rows, pa.Table):
        lacking = ids in rows.column_names and rows[ids].null_count > 0
    else:
        lacking = any(isinstance(row, Mapping) and row.get(ids) is None for row in rows)
    if lacking:
        raise DataError(
            "a pushed row has no id, so that it could be counted twice or not at all",
            code="T391",
            where=name,
            fix="give each row an id, as text or a whole number; or leave ids out",
        )


def _due(form: Form, head: Any, cut: int) -> bool:
    """Whether a sweep would change a head; a damaged one is left for a baseline to mend."""
    if kernels.state_of(head, form.width, form.stamp) != kernels.FINE:
        return False
    empty = not head[ROWS] and not head[EXTRA] and not head[SEALED]
    return bool(empty or head[SEALED] or (head[ROWS] and head[HEADER] < cut))


def in_batches(
    backend: Backend, prefix: bytes, size: int, go_on: Callable[[], bool] = lambda: True
) -> Iterator[tuple[Changing, list[tuple[bytes, bytes]]]]:
    """Keys with a prefix, some at a time, each time within a change of their own."""
    after = b""
    while go_on():
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
