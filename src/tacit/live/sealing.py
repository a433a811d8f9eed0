"""Sealing: what a head holds too much of moves to segments, and what is past the cut goes."""

from __future__ import annotations

import itertools

import numpy as np

from tacit.aggregates.columns import Array, read_only
from tacit.live import heavy, kernels
from tacit.live.fold import Folded, Rows, all_states, merge, nothing, pack, unpack
from tacit.live.form import CUT, EXTRA, HEADER, LEAST, ROWS, SEALED, Form
from tacit.live.heavy import Segments, Tile, damaged, pack_index
from tacit.store.online.base import Changing


def rebuild(form: Form, rows: Array, table: Array, heap: Array, old: Array | None = None) -> Array:
    """A blob of these rows, which are by time and whose texts are in this table; or an old blob
    with them merged in."""
    had = np.zeros(0, np.int64) if old is None else old
    texts = 0
    if len(form.texts):
        texts = len(rows) * len(form.texts) * 2 + len(table) + len(heap) // 8 + 2
        lengths = table & 0xFFFFFFFF
        texts += int(lengths.sum()) // 8 + 1
    out = np.zeros(len(had) + rows.size + HEADER + texts + 8, np.int64)
    ends, _, states = kernels.merge_blobs(
        read_only(had),
        np.array([0, len(had)]),
        np.ascontiguousarray(rows),
        np.array([0, len(rows)]),
        read_only(table),
        read_only(heap),
        form.texts,
        form.cells,
        np.array([LEAST]),
        form.stamp,
        out,
    )
    if states[0] != kernels.FINE:
        raise damaged(form.view.name)
    return out[: ends[1]].copy()


def with_header(words: Array, extra: bytes, cut: int, sealed: int) -> Array:
    """A blob with another extra, cut and count of sealed rows."""
    body = len(words) - (int(words[EXTRA]) + 7) // 8
    padded = extra + bytes(-len(extra) % 8)
    found = np.concatenate([words[:body], np.frombuffer(padded, np.int64)])
    found[EXTRA], found[CUT], found[SEALED] = len(extra), cut, sealed
    found[0] = kernels.checksum(found)
    return found


class Sealing:
    """Moves what a head holds too much of: past the cut into the base or away, the rest to
    segments."""

    def __init__(self, segments: Segments, store: Changing, index_at: bytes, segment_at: bytes):
        self.segments = segments
        self.form = segments.form
        self.store = store
        self.index_at = index_at
        self.segment_at = segment_at

    def run(self, head: Array, cut: int, *, owners: Array | None = None) -> Array:
        """The new head. Rows and tiles before ``cut`` are folded or dropped. With ``owners``, rows
        of these are taken out first, everywhere."""
        form, rows = self.form, Rows(self.form, head)
        kept = rows.rows if owners is None else rows.rows[~self._owned(rows.rows, owners)]
        base = (
            unpack(form.endless, rows.extra) if rows.extra else [nothing(s) for s in form.endless]
        )
        past = int(np.searchsorted(kept[:, 0], cut))
        if form.endless and past:
            gone = Rows(form, rebuild(form, kept[:past], rows.table, rows.heap))
            states = all_states(gone, form.endless)
            base = [merge(s, a, b) for s, a, b in zip(form.endless, base, states, strict=True)]
        kept = kept[past:]
        tiles = list(self.segments.index(self.store, self.index_at).tiles) if head[SEALED] else []
        before = [tile.name for tile in tiles]
        if owners is not None:
            tiles = self._without(tiles, owners)
        tiles, base = self._expire(tiles, base, cut)
        if len(kept) > heavy.HEAD:
            tiles = self._seal(tiles, kept[: -heavy.KEPT], rows)
            kept = kept[-heavy.KEPT :]
        self._keep(before, tiles)
        folded = any(state != nothing(s) for s, state in zip(form.endless, base, strict=True))
        extra = pack(form.endless, base) if folded else b""
        new = rebuild(form, kept, rows.table, rows.heap)
        sealed = sum(tile.rows for tile in tiles)
        return with_header(new, extra, max(cut, int(head[CUT])), sealed)

    def _owned(self, rows: Array, owners: Array) -> Array:
        first = 1 + self.form.masks
        found = np.zeros(len(rows), np.bool_)
        for i in range(len(self.form.owners)):
            found |= np.isin(rows[:, first + i], owners)
        return found

    def _without(self, tiles: list[Tile], owners: Array) -> list[Tile]:
        """The tiles without the rows of some people, their states found anew."""
        raws = self.store.get([self._at(tile.name) for tile in tiles])
        found, name = [], max((tile.name for tile in tiles), default=0)
        for tile, raw in zip(tiles, raws, strict=True):
            rows = Rows(self.form, self.segments.words(raw))
            owned = self._owned(rows.rows, owners)
            if not owned.any():
                found.append(tile)
            elif not owned.all():
                name += 1
                words = rebuild(self.form, rows.rows[~owned], rows.table, rows.heap)
                found.append(self._write(words, name))
        return found

    def _at(self, name: int) -> bytes:
        return self.segment_at + name.to_bytes(8, "big")

    def _write(self, words: Array, name: int) -> Tile:
        rows = Rows(self.form, words)
        self.store.put([(self._at(name), words.tobytes())])
        times = rows.rows[:, 0]
        states = all_states(rows, self.form.slots)
        return Tile(int(times[0]), int(times[-1]), name, len(times), states)

    def _expire(
        self, tiles: list[Tile], base: list[Folded], cut: int
    ) -> tuple[list[Tile], list[Folded]]:
        numbers = [self.form.slots.index(slot) for slot in self.form.endless]
        for tile in tiles:
            if tile.high < cut:
                base = [
                    merge(slot, state, tile.states[number])
                    for slot, state, number in zip(self.form.endless, base, numbers, strict=True)
                ]
        return [tile for tile in tiles if tile.high >= cut], base

    def _seal(self, tiles: list[Tile], rows: Array, source: Rows) -> list[Tile]:
        """The tiles with these rows in their segments."""
        name = max((tile.name for tile in tiles), default=0)
        lows = np.array([tile.low for tile in tiles], np.int64)
        place = np.maximum(np.searchsorted(lows, rows[:, 0], "right") - 1, 0)
        found: list[Tile] = []
        if (
            tiles and tiles[-1].rows >= heavy.SEGMENT
        ):  # a full one grows no further by what is newer
            place[rows[:, 0] > tiles[-1].high] = len(tiles)
        elif not tiles:
            place[:] = 0
        for i in range(max(len(tiles), int(place.max()) + 1)):
            part = rows[place == i]
            if not len(part):
                found.append(tiles[i])
                continue
            old = None
            if i < len(tiles):
                old = self.segments.words(self.store.get([self._at(tiles[i].name)])[0])
            words = rebuild(self.form, part, source.table, source.heap, old)
            for piece in self._parts(words):
                name += 1
                found.append(self._write(piece, name))
        return found

    def _parts(self, words: Array) -> list[Array]:
        """A segment cut into such of about `SEGMENT` rows, never within a moment."""
        if words[ROWS] <= 2 * heavy.SEGMENT:
            return [words]
        rows = Rows(self.form, words)
        times, cuts = rows.rows[:, 0], [0]
        while len(times) - cuts[-1] > 2 * heavy.SEGMENT:
            cut = int(np.searchsorted(times, times[cuts[-1] + heavy.SEGMENT]))
            if cut == cuts[-1]:  # one moment fills it: it ends where the moment does
                cut = int(np.searchsorted(times, times[cut], "right"))
            cuts.append(cut)
        cuts.append(len(times))
        return [
            rebuild(self.form, rows.rows[a:b], rows.table, rows.heap)
            for a, b in itertools.pairwise(cuts)
            if b > a
        ]

    def _keep(self, before: list[int], tiles: list[Tile]) -> None:
        """Writes the index, removes segments that are no more."""
        names = {tile.name for tile in tiles}
        self.store.delete([self._at(name) for name in before if name not in names])
        if tiles:
            self.store.put([(self.index_at, pack_index(self.form.slots, tiles))])
        elif before:
            self.store.delete([self.index_at])
