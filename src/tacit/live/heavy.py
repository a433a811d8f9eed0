"""Keys with many rows: sealed segments of raw rows, and a tile of partial states for each.

The head keeps the newest rows. When it overflows, the others move to segments, which part time
among themselves: each has all sealed rows of its stretch, and never are two rows of one moment in
two of them. The index says of each where it starts and ends, and holds the states of all its rows,
in the algebra's bytes. A window is then the states of the tiles that lie in it, the rows of at most
two segments at its ends, and the rows of the head: exact, wherever it starts.

A segment is never written again under its name: what changes it writes another, so a reader that
holds an older index finds it missing, not different, and reads the index anew.

Here are sizes and the index; `live.sealing` writes segments, `live.sealed` reads them.
"""

from __future__ import annotations

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
from tacit.live.distinct import Occurring
from tacit.live.fold import Folded, merge, nothing, op_of, pack, spread, unpack
from tacit.live.form import INT, TEXT, Form, Slot
from tacit.live.tiles import suffixes
from tacit.store.online.base import Reading

HEAD = 512
"""Rows of a head; beyond, all but `KEPT` are sealed."""
KEPT = 128
SEGMENT = 1024
"""Rows of a segment; it parts in two at twice as many."""
_TILE = struct.Struct("<qqQII")


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
            self._gathered = Gathered(found, suffixes(found, kinds), lows, highs, kinds)
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


def foreign(where: str) -> StoreError:
    """What is stored means something else than the plan."""
    return StoreError(
        "the online store holds signals of another meaning than the plan's",
        code="T727",
        where=where,
        fix="build a baseline for the plan that stands",
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
