"""Keys with many rows: sealed segments of raw rows, and a tile of partial states for each.

The head keeps the newest rows. When it overflows, the others move to segments, which part time
among themselves: each has all sealed rows of its stretch, and never are two rows of one moment in
two of them. The index says of each where it starts and ends, and holds the states of all its rows,
in the algebra's bytes. A window is then the states of the tiles that lie in it, the rows of at most
two segments at its ends, and the rows of the head: exact, wherever it starts.

A segment is never written again under its name: what changes it writes another, so a reader that
holds an older index finds it missing, not different, and reads the index anew.
"""

from __future__ import annotations

import itertools
import struct
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from tacit.aggregates.columns import Array
from tacit.errors import DataError, StoreError
from tacit.live import kernels, scan
from tacit.live.distinct import Occurring, count_more
from tacit.live.fold import (
    Folded,
    Rows,
    all_states,
    merge,
    nothing,
    op_of,
    pack,
    spread,
    state_between,
    unpack,
)
from tacit.live.form import (
    CUT,
    EXTRA,
    HEADER,
    INT,
    LEAST,
    ROWS,
    SEALED,
    TEXT,
    Form,
    Slot,
)
from tacit.store.online.base import Changing, Reading

HEAD = 512
"""Rows of a head; beyond, all but `KEPT` are sealed."""
KEPT = 128
SEGMENT = 1024
"""Rows of a segment; it parts in two at twice as many."""
_TILE = struct.Struct("<qqQII")
_NO_ROWS = np.zeros(0, np.int64)


class Tile(NamedTuple):
    """What the index says of a segment: its first and last moment, name, rows, states."""

    low: int
    high: int
    name: int
    rows: int
    states: list[Folded]


class Gathered(NamedTuple):
    """Tiles as arrays: what was gathered of each slot, that from each tile on, their ends."""

    tiles: Array
    after: Array
    lows: Array
    highs: Array
    kinds: Array


def kind_of(form: Form, slot: Slot) -> int:
    return INT if slot.value is None else int(form.kinds[form.index[slot.value]])


def adds_up(form: Form, slot: Slot) -> bool:
    """Whether compiled code adds the slot up over blobs: texts have numbers of their own in each,
    and what is distinct must be seen together."""
    op = op_of(slot)
    text = kind_of(form, slot) == TEXT and op not in (scan.OP_COUNT, scan.OP_SINCE)
    return op not in (scan.OP_OTHER, scan.OP_DISTINCT) and not text


@dataclass
class Index:
    """The tiles of a key, by time."""

    tiles: list[Tile]
    _gathered: Gathered | None = None
    _after: dict[int, list[Folded]] = field(default_factory=dict)
    _occurring: dict[int, Occurring] = field(default_factory=dict)

    def gathered(self, form: Form) -> Gathered:
        """The tiles as compiled code adds them up; slots that it cannot are left empty."""
        if self._gathered is None:
            kinds = np.array([kind_of(form, slot) for slot in form.slots], np.int64)
            found = np.zeros((len(self.tiles), len(kinds), scan.GATHERED), np.int64)
            for i, tile in enumerate(self.tiles):
                for s, slot in enumerate(form.slots):
                    if adds_up(form, slot):
                        state = spread(slot, int(kinds[s]), tile.states[s])
                        if state is None:
                            found[i, s, scan.COUNT] = found[i, s, scan.DIFFICULT] = 1
                        else:
                            found[i, s] = state
            lows = np.array([tile.low for tile in self.tiles], np.int64)
            highs = np.array([tile.high for tile in self.tiles], np.int64)
            self._gathered = Gathered(found, scan.suffixes(found, kinds), lows, highs, kinds)
        return self._gathered

    def occurring(self, slots: Sequence[Slot], number: int) -> Occurring:
        """The values of a slot that is `distinct`."""
        found = self._occurring.get(number)
        if found is None:
            sets = [tile.states[number] for tile in self.tiles]
            found = self._occurring[number] = Occurring(slots[number], sets)
        return found

    def merged(self, slots: Sequence[Slot], number: int, i: int, j: int) -> Folded:
        """The state of a slot over tiles [i, j). Those that reach to the end are kept."""
        slot = slots[number]
        if j < len(self.tiles):
            state = nothing(slot)
            for tile in self.tiles[i:j]:
                state = merge(slot, state, tile.states[number])
            return state
        if number not in self._after:
            state, found = nothing(slot), [nothing(slot)]
            for tile in reversed(self.tiles):
                state = merge(slot, tile.states[number], state)
                found.append(state)
            self._after[number] = found
        return self._after[number][len(self.tiles) - i]


def pack_index(slots: Sequence[Slot], tiles: Sequence[Tile]) -> bytes:
    """The index as bytes, a digest first."""
    parts = []
    for tile in tiles:
        states = pack(slots, tile.states)
        parts.append(_TILE.pack(tile.low, tile.high, tile.name, tile.rows, len(states)) + states)
    body = b"".join(parts)
    return blake2b(body, digest_size=16).digest() + body


def unpack_index(slots: Sequence[Slot], raw: bytes, where: str) -> Index:
    """The index back. Raises StoreError T724 for bytes that are none."""
    body = raw[16:]
    if blake2b(body, digest_size=16).digest() != raw[:16]:
        raise damaged(where)
    tiles, at = [], 0
    try:
        while at < len(body):
            low, high, name, rows, size = _TILE.unpack_from(body, at)
            at += _TILE.size
            tiles.append(Tile(low, high, name, rows, unpack(slots, body[at : at + size])))
            at += size
    except (DataError, struct.error):
        raise damaged(where) from None
    return Index(tiles)


def damaged(where: str) -> StoreError:
    """What a key holds is damaged: no value is told."""
    return StoreError(
        "what the online store holds of a key is damaged",
        code="T724",
        where=where,
        fix="build a new baseline; until then the key has no values",
    )


class Segments:
    """What is common to the segments of a view: their form, and the indexes last decoded."""

    def __init__(self, form: Form, size: int = 4096) -> None:
        self.form = form
        self.where = form.view.name
        self._known: OrderedDict[bytes, tuple[bytes, Index]] = OrderedDict()
        self._size = size

    def index(self, store: Reading, at: bytes) -> Index:
        """The index that stands under a stored key; decoded once while it stays the same."""
        raw = store.get([at])[0]
        if raw is None:
            return Index([])
        known = self._known.get(at)
        if known is not None and known[0] == raw[:16]:
            return known[1]
        index = unpack_index(self.form.slots, raw, self.where)
        self._known[at] = (raw[:16], index)
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return index

    def words(self, raw: bytes | None) -> Array:
        """A segment's words, verified."""
        found = np.frombuffer(raw or b"", np.int64)
        if kernels.state_of(found, self.form.width, self.form.stamp) != kernels.FINE:
            raise damaged(self.where)
        return found


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
        had,
        np.array([0, len(had)]),
        np.ascontiguousarray(rows),
        np.array([0, len(rows)]),
        table,
        heap,
        form.texts,
        form.cells,
        LEAST,
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
        if len(kept) > HEAD:
            tiles = self._seal(tiles, kept[:-KEPT], rows)
            kept = kept[-KEPT:]
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
        if tiles and tiles[-1].rows >= SEGMENT:  # a full one grows no further by what is newer
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
        if words[ROWS] <= 2 * SEGMENT:
            return [words]
        rows = Rows(self.form, words)
        times, cuts = rows.rows[:, 0], [0]
        while len(times) - cuts[-1] > 2 * SEGMENT:
            cut = int(np.searchsorted(times, times[cuts[-1] + SEGMENT]))
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


class Sealed:
    """The sealed rows of one key as a reader sees them: states of windows."""

    def __init__(self, segments: Segments, store: Reading, index_at: bytes, segment_at: bytes):
        self.segments = segments
        self.store = store
        self.segment_at = segment_at
        self.index = segments.index(store, index_at)
        self._rows: dict[int, Rows] = {}

    def load(self, spans: Sequence[tuple[int, int]]) -> bool:
        """Reads the segments at the ends of these windows, in one trip; False when one is gone."""
        names = {
            tile.name
            for start, end in spans
            for tile in self.index.tiles
            if tile.low < end and tile.high >= start and (tile.low < start or tile.high >= end)
        }
        wanted = sorted(names)
        raws = self.store.get([self.segment_at + name.to_bytes(8, "big") for name in wanted])
        for name, raw in zip(wanted, raws, strict=True):
            if raw is None:
                return False
            self._rows[name] = Rows(self.segments.form, self.segments.words(raw))
        return True

    def add(self, total: Array, groups: Array, slots: Array, starts: Array, at: int) -> None:
        """Adds to what windows gathered of the head what they see of sealed rows."""
        form, tiles = self.segments.form, self.index.gathered(self.segments.form)
        scan.add_tiles(
            total, tiles.tiles, tiles.after, tiles.lows, tiles.highs, slots, tiles.kinds, starts, at
        )
        scratch = np.zeros_like(total)
        for tile in self.index.tiles:
            rows = self._rows.get(tile.name)
            if rows is not None:
                scan.add_edge(
                    total, rows.words, form.width, tile.low, tile.high, form.kinds, form.cells,
                    groups, starts, at, scratch,
                )  # fmt: skip

    def distinct(self, slot: Slot, head: Rows, starts: Sequence[int], end: int) -> list[int] | None:
        """How many values of a slot are distinct in [start, end), here and in the head; None where
        something is sealed past the end."""
        tiles, slots = self.index.tiles, self.segments.form.slots
        if tiles[-1].high >= end:
            return None
        lows = self.index.gathered(self.segments.form).lows
        there = self.index.occurring(slots, slots.index(slot))
        codes, numbers = there.number(head)
        times, seen = np.ascontiguousarray(head.rows[:, 0]), np.full(numbers, -1, np.int64)
        found = []
        for mark, start in enumerate(starts):
            first = int(np.searchsorted(lows, start))
            edge_times = edge_codes = _NO_ROWS
            if first and tiles[first - 1].high >= start:
                name = tiles[first - 1].name
                edge_codes = there.segment(name, self._rows[name])
                edge_times = np.ascontiguousarray(self._rows[name].rows[:, 0])
            more = count_more(
                times, codes, edge_times, edge_codes, start, end, there.last, first, seen, mark
            )
            found.append(int(there.after[first]) + int(more))
        return found

    @property
    def count(self) -> int:
        """How many rows are sealed."""
        return sum(tile.rows for tile in self.index.tiles)

    def rows(self, name: int) -> Rows | None:
        """A segment's rows, if it was read."""
        return self._rows.get(name)

    @property
    def newest(self) -> int:
        """The last moment that is sealed."""
        return self.index.tiles[-1].high

    def state(self, slot: Slot, start: int, end: int) -> Folded:
        """The state of a slot over the sealed rows in [start, end)."""
        slots, tiles = self.segments.form.slots, self.index.tiles
        inside = [i for i, tile in enumerate(tiles) if tile.low >= start and tile.high < end]
        state = nothing(slot)
        if inside:
            state = self.index.merged(slots, slots.index(slot), inside[0], inside[-1] + 1)
        for tile in tiles:
            if tile.low < end and tile.high >= start and (tile.low < start or tile.high >= end):
                edge = state_between(self._rows[tile.name], slot, start, end)
                state = merge(slot, state, edge)
        return state
