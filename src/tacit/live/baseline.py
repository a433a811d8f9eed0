"""Building a version from batch rows, and going on live without a gap or an overlap.

::

    begin    a new version's number; from here on, what is pushed is journaled too
    add      batch rows, merged into the new version, which nobody reads
    finish   the journal's rows that the batch does not hold, then one switch

What the batch holds is said by *marks* (for each stream the position up to which it holds every
row) or by *ids*, never by time: rows come late, so a moment tells nothing of what had come.

No gap: a row that came before `begin` is in the batch (for streams this is checked: the batch's
mark covers the one at `begin`, else T729); one that came after is in the journal. No overlap: a
journaled row is left out exactly if its position is within the batch's mark, or its id among the
batch's ids; one that comes after the switch is held to the marks and ids that stand then. The
switch, the last of the journal and the marks are one change: a crash before it leaves the old
version, one after it the new.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from tacit.errors import StoreError
from tacit.live.accept import accept
from tacit.live.intake import PUSHED, baseline_ids
from tacit.live.journal import Entry
from tacit.live.online import Online, in_batches
from tacit.live.place import Mark, Standing, digest, mark_key, read_mark, versioned
from tacit.live.seen import Seen, digests
from tacit.store.online.base import Changing

_ENTRIES = 64  # of the journal, taken in one change
_ROWS = 1 << 18  # of the batch, merged in one change
_KEYS = 10_000  # removed in one change


class Baseline:
    """A version that is being built; `begin` makes it."""

    def __init__(self, online: Online, name: str, version: int, begun: Mapping[str, Mark]) -> None:
        self.online = online
        self.name = name
        self.version = version
        self.begun = begun
        self._source = online.source(name)

    def add(
        self,
        rows: pa.Table,
        *,
        now: int,
        ids: str | None = None,
        progress: Callable[[int], None] = lambda rows: None,
    ) -> int:
        """Batch rows, whose ids are in a column if they have any; how many are kept of it.

        Rows that come twice by their id are taken once. ``progress`` is told how many more were
        looked at. Raises DataError T391 for rows that do not fit.
        """
        kept = 0
        for start in range(0, rows.num_rows, _ROWS):
            part = rows.slice(start, _ROWS)
            kept += self._add(part, now, ids)
            progress(part.num_rows)
        return kept

    def _add(self, rows: pa.Table, now: int, ids: str | None) -> int:
        table = accept(self._source.feed, rows, unit="us").table  # as rows are, once read
        with self.online.backend.change() as store:
            self._standing(store)
            if ids is not None:
                each = digests(self.online.salt, self.name, rows[ids].to_pylist())
                seen = baseline_ids(self.name, self.version)
                new = seen.fresh(store, each)
                seen.add(store, each[new], now, 2**62)
                table = table.filter(pa.array(new))
            ahead = table[self._source.feed.time].fill_null(0).to_numpy()
            table = table.filter(pa.array(ahead <= now + self.online.settings.skew))
            if table.num_rows:
                self.online.intake.merge(store, self._source, self.version, table, now)
        return int(table.num_rows)

    def pushed(self) -> tuple[int, int]:
        """How many ids are remembered that came before `begin`, and how many of them the batch does
        not hold."""
        with self.online.backend.read() as store:
            held = baseline_ids(self.name, self.version)
            journal = [Entry.load(raw).ids for _, raw in store.scan(b"j" + digest(self.name))]
            came = [each for each in journal if each is not None]
            after = np.sort(np.concatenate(came)) if came else np.zeros(0, "S16")
            known = absent = 0
            for lead in (b"i", b"w"):
                for run in Seen(lead + digest(self.name)).runs(store):
                    before = run[~np.isin(run, after)]
                    known += len(before)
                    absent += int(held.fresh(store, before).sum())
            return known, absent

    def give_up(self) -> None:
        """Leaves the version that is read as it is; nothing where another was begun meanwhile."""
        with self.online.backend.change() as store:
            standing = Standing.read(store, self.name)
            if standing.building != self.version:
                return
            if standing.version:  # else the journal goes on, from the first row
                store.delete([key for key, _ in store.scan(b"j" + digest(self.name))])
            store.put([replace(standing, building=0).item(self.name)])
        remove_versions(self.online, self.name)

    def finish(self, *, now: int, marks: Mapping[str, Mark] | None = None) -> None:
        """Switches to the version. ``marks`` say how much of each stream the batch holds; that of
        `push` is ``{PUSHED: Mark((receipt.position,))}``.

        Raises StoreError T729 when it holds less of a stream than was taken before `begin`.
        """
        held = dict(marks or {})
        for stream, begun in self.begun.items():
            mark = held.get(stream)
            if mark is not None and not mark.covers(begun):
                raise StoreError(
                    f"the batch holds {stream!r} up to {mark.floor}, and the journal begins after"
                    f" {begun.floor}: rows between them are lost",
                    code="T729",
                    where=self.name,
                    fix="read the batch after begin(), or later than the marks that it states",
                )
        while not self._advance(now, held):
            pass
        remove_versions(self.online, self.name)

    def _standing(self, store: Changing) -> Standing:
        standing = Standing.read(store, self.name)
        if standing.building != self.version:
            raise StoreError(
                "another baseline was begun meanwhile",
                code="T729",
                where=self.name,
                fix="build one baseline of a source at a time",
            )
        return standing

    def _advance(self, now: int, held: Mapping[str, Mark]) -> bool:
        """Takes some of the journal; with the last of it, switches. Whether it did."""
        prefix = b"j" + digest(self.name)
        with self.online.backend.change() as store:
            standing = self._standing(store)
            taken = []
            for key, raw in store.scan(prefix):
                taken.append((key, Entry.load(raw)))
                if len(taken) == _ENTRIES:
                    break
            for _, entry in taken:
                rows = self._beyond(store, entry, held)
                if rows.num_rows:
                    self.online.intake.merge(store, self._source, self.version, rows, now)
            store.delete([key for key, _ in taken])
            if len(taken) == _ENTRIES:
                return False
            for stream, mark in held.items():
                stands = read_mark(store, self.name, stream)
                if stream != PUSHED and mark.covers(stands):
                    store.put([(mark_key(self.name, stream), mark.dump().encode())])
            standing = replace(
                standing,
                version=self.version,
                building=0,
                meaning=self._source.feed.meaning,
                progress=max(standing.progress, now),
                begun={},
            )
            store.put([standing.item(self.name)])
            return True

    def _beyond(self, store: Changing, entry: Entry, held: Mapping[str, Mark]) -> pa.Table:
        """The rows of a journal entry that the batch does not hold."""
        mark = held.get(entry.stream, Mark())
        out = np.array([position not in mark for position in entry.positions], np.bool_)
        if entry.ids is not None:
            out &= baseline_ids(self.name, self.version).fresh(store, entry.ids)
        return entry.table.filter(pa.array(out))


def begin(online: Online, name: str) -> Baseline:
    """Begins a baseline; one that was begun and never finished is given up.

    Read the batch's rows after this returns: they must hold every row that came before.
    """
    online.source(name)
    with online.backend.change() as store:
        standing = Standing.read(store, name)
        _whole(standing, name)
        prefix = b"o" + digest(name)
        begun = {key[len(prefix) :].decode(): Mark.load(raw) for key, raw in store.scan(prefix)}
        if standing.version:
            begun[PUSHED] = Mark((standing.number,))
            # What an earlier attempt journaled came before this one began: the batch holds it.
            store.delete([key for key, _ in store.scan(b"j" + digest(name))])
        else:
            begun = {}  # the journal has had everything from the first row on
        version = max(standing.version, standing.building) + 1
        store.put([replace(standing, building=version).item(name)])
    remove_versions(online, name)
    return Baseline(online, name, version, begun)


def _whole(standing: Standing, name: str) -> None:
    """Raises StoreError T729 while some lanes have a batch of a stream that others have not."""
    half = [stream for stream, stands in standing.streams.items() if stands["open"]]
    if half:
        raise StoreError(
            f"the stream {half[0]!r} is in the middle of a batch",
            code="T729",
            where=name,
            fix="begin again when a batch of Spark is through; end a stream of Flink in order",
        )


def remove_versions(online: Online, name: str) -> None:
    """Removes all versions of a source but the one that is read and the one being built."""
    standing = online.standing(name)
    kept = {versioned(name, version) for version in (standing.version, standing.building)}
    for lead in (b"d", b"v"):
        prefix = lead + digest(name)
        size = len(prefix) + 4
        with online.backend.read() as store:
            found, after = set(), prefix
            while True:
                key = next((key for key, _ in store.scan(prefix, after)), None)
                if key is None:
                    break
                found.add(key[:size])
                after = key[:size] + b"\xff" * 480
        for version in found:
            if b"d" + version[1:] not in kept:
                for store, batch in in_batches(online.backend, version, _KEYS):
                    store.delete([key for key, _ in batch])
