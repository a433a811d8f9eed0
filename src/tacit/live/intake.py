"""Taking in: rows of a source into its views, once, with all that stands or falls with them.

What can be done before a push has its turn is done before (`given`): it is held to the source's
declaration, and its rows are prepared. The rest is one change of the backend (`take`).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tacit.aggregates.columns import Array
from tacit.errors import DataError, StoreError, TacitError
from tacit.live import deltas
from tacit.live.accept import Accepted, Pushed, Rejected, accept, dump
from tacit.live.deltas import Delta
from tacit.live.feed import Feed
from tacit.live.heavy import Segments, foreign
from tacit.live.journal import Entry
from tacit.live.merging import TOO_MANY, Merger
from tacit.live.place import Mark, Place, Standing, digest, mark_key, read_mark
from tacit.live.prepare import Prepared, Preparer
from tacit.live.seen import Seen, digests
from tacit.live.together import Together
from tacit.live.writer import Written, drop_of, write
from tacit.store.files import SKEW
from tacit.store.online.base import Changing
from tacit.values import DAY, HOUR, SECOND

QUARANTINED = struct.Struct("<q")
"""When a row in quarantine came, before why and what it is."""

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
        duplicates: rows whose id, or whose push, was seen before; also of those that are no events.
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
class Source:
    """A feed, opened."""

    feed: Feed
    segments: list[Segments]
    preparers: list[Preparer]


@dataclass(frozen=True, slots=True)
class Given:
    """A push, ready to be taken in: what can be done before its turn is done.

    ``odd`` are digests of `Accepted.rejected`, each with its id, where a push has ids: it may be
    sent again. Of a stream the mark tells what comes again.
    """

    source: Source
    accepted: Accepted
    ids: Array | None
    odd: Array | None
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


class Intake:
    """What takes rows of the sources in.

    Args:
        salt: of the store.
        together: makes its changes.
        scatters: whether small pushes wait as deltas (`Backend.scatters`).
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        settings: Settings,
        salt: bytes,
        together: Together,
        scatters: bool,
    ) -> None:
        self.settings, self.salt, self.scatters = settings, salt, scatters
        views = {name: source.segments for name, source in sources.items()}
        self.merger = Merger(together, views, settings.slack, self._refuse)

    def given(
        self,
        source: Source,
        rows: Pushed,
        *,
        now: int,
        ids: str | Sequence[object] | None,
        batch: str | None,
        taken: Taken | None,
        rejected: Sequence[Rejected],
    ) -> Given:
        """A push, with all that can be done before its turn. Raises as `Online.push`."""
        name = source.feed.name
        # A stream goes on past rows of another unit, which wait in quarantine; a push is refused.
        accepted = accept(source.feed, rows, unit=source.feed.unit, refuse=taken is None)
        each = _ids(name, rows, ids)
        known, odd = None, None
        if each is not None:
            own = [each[place] for place in accepted.places]
            known = digests(self.salt, name, own)
            if taken is None:
                raws = [(each[out.place], out.raw) for out in accepted.rejected]
                odd = digests(self.salt, f"{name} odd", raws)
        return Given(
            source,
            accepted,
            known,
            odd,
            None if batch is None else digests(self.salt, f"{name} batch", [batch]),
            taken,
            rejected,
            self._prepared(source, accepted.table),
            now,
        )

    def _prepared(self, source: Source, table: pa.Table) -> list[Prepared] | None:
        """The rows of every view, as far as can be told before it is known which of them are new:
        others need not wait meanwhile."""
        try:
            return [prepare(table) for prepare in source.preparers]
        except TacitError:  # it is met again where the rows are merged, if they are
            return None

    def take(self, store: Changing, given: Given) -> tuple[Receipt, int]:
        """A push, within a change of the backend; and how many deltas wait then, if it is one."""
        name, accepted, now = given.source.feed.name, given.accepted, given.now
        standing = Standing.read(store, name)
        self._check(standing, given.source.feed)
        standing.number += 1
        position = standing.number
        if given.taken is not None:
            self._take(store, name, given.taken)
        new = np.ones(accepted.table.num_rows, np.bool_)
        rejected, again = [*accepted.rejected, *given.rejected], 0
        if given.batch is not None:
            first = bool(self._once(store, name, given.batch, now)[0])
            new &= first
            if not first:  # what of it was no row is in quarantine already
                rejected = []
        at = accepted.table[given.source.feed.time].fill_null(0).to_numpy()
        ahead = at > now + self.settings.skew
        if given.ids is not None and new.any():  # of what is no event yet, the id may come again
            new[~ahead] &= self._fresh(store, standing, name, given.ids[~ahead], now)
        if given.odd is not None and (rejected or (new & ahead).any()):
            told = self._odd(store, given, ahead)
            again = int((~told[: len(given.odd)]).sum())
            new[ahead] &= told[len(given.odd) :]
            rejected = [out for out, first in zip(accepted.rejected, told, strict=False) if first]
            rejected += given.rejected
        duplicates = int(len(new) - new.sum()) + again
        receipt, waiting = self._apply(
            store, standing, given, new, ahead, rejected, position, duplicates
        )
        standing.progress = max(standing.progress, now)
        store.put([standing.item(name)])
        return receipt, waiting

    def _odd(self, store: Changing, given: Given, ahead: Array) -> Array:
        """Which of `Accepted.rejected`, then of the rows dated ahead, are not in quarantine yet;
        they are remembered."""
        assert given.odd is not None and given.ids is not None, "the push has ids"  # noqa: PT018
        name = given.source.feed.name
        early = digests(self.salt, f"{name} ahead", given.ids[ahead].tolist())
        return self._once(store, name, np.append(given.odd, early), given.now)

    def _once(self, store: Changing, name: str, marks: Array, now: int) -> Array:
        """Which digests, of what is known otherwise than by an event's id, are new; they are
        remembered as long as ids, beside them: ids alone are looked for in a baseline's rows."""
        seen = Seen(b"e" + digest(name))
        new = seen.fresh(store, marks)
        seen.add(store, marks[new], now, self.settings.remember)
        return new

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

    def _fresh(self, store: Changing, standing: Standing, name: str, ids: Array, now: int) -> Array:
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
        given: Given,
        new: Any,
        ahead: Any,
        out: list[Rejected],
        position: int,
        duplicates: int,
    ) -> tuple[Receipt, int]:
        source, taken, ids, now = given.source, given.taken, given.ids, given.now
        feed, accepted = source.feed, given.accepted
        table = accepted.table
        for k in np.flatnonzero(new & ahead).tolist():
            early = table[feed.time][k].as_py() - now
            reason = f"dated {early // SECOND} s in the future"
            out.append(Rejected(k, reason, dump(table.slice(k, 1).to_pylist()[0])))
        kept = new & ~ahead
        fresh = table if kept.all() else table.filter(pa.array(kept))
        late, waiting, parked = 0, 0, False
        if fresh.num_rows:
            # A version of another meaning is for those who have that plan.
            parked = not standing.version or standing.meaning != feed.meaning
            if not parked:
                ready = given.prepared if kept.all() else None
                if self._small(fresh, standing):
                    late, waiting = self._wait(store, source, standing, fresh, now, ready)
                else:
                    self._merge_all(store, standing, feed.name)
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
        return few and self.scatters

    def _wait(
        self,
        store: Changing,
        source: Source,
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
            self._merge_all(store, standing, source.feed.name)
        return self._late(source, table, cut), waiting

    def _merge_all(self, store: Changing, standing: Standing, name: str) -> None:
        """Merges what waits. What is refused then has numbers and counts of the source's, too."""
        store.put([standing.item(name)])
        self.merger.all(store, name)
        after = Standing.read(store, name)
        standing.number, standing.counts = after.number, after.counts

    def _late(self, source: Source, table: pa.Table, cut: int) -> int:
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
        source: Source,
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


def _ids(name: str, rows: Pushed, ids: str | Sequence[object] | None) -> Sequence[object] | None:
    """The id of each pushed row; None where they have none."""
    if not isinstance(ids, str):
        return ids
    if not isinstance(rows, pa.Table):
        return [row.get(ids) if isinstance(row, Mapping) else None for row in rows]
    if ids not in rows.column_names:
        raise DataError(
            f"pushed rows have no column {ids!r} to identify them",
            code="T391",
            where=name,
            fix="name the column of the events' ids, or leave ids out",
        )
    found: list[object] = rows[ids].to_pylist()
    return found


def _refused(view: str, keys: Sequence[bytes]) -> list[Rejected]:
    reason = f"what {view!r} holds of its key is damaged (T724)"
    return [Rejected(-1, reason, key) for key in keys]


def baseline_ids(name: str, version: int) -> Seen:
    """The ids of the events that a version's baseline holds."""
    return Seen(b"v" + digest(name) + version.to_bytes(4, "big"))
