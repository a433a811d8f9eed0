"""The sealed rows of a key as a reader sees them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tacit.aggregates.columns import Array, read_only
from tacit.live.distinct import count_more
from tacit.live.fold import Folded, Rows, merge, nothing, state_between
from tacit.live.form import Slot
from tacit.live.heavy import Segments
from tacit.live.tiles import add_edge, add_tiles
from tacit.store.online.base import Reading

_NO_ROWS, _NO_CODES = read_only(np.zeros(0, np.int64)), np.zeros(0, np.int64)


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
        add_tiles(
            total, tiles.tiles, tiles.after, tiles.lows, tiles.highs, slots, tiles.kinds, starts, at
        )
        scratch = np.zeros_like(total)
        for tile in self.index.tiles:
            rows = self._rows.get(tile.name)
            if rows is not None:
                add_edge(
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
        times, seen = _times(head), np.full(numbers, -1, np.int64)
        found = []
        for mark, start in enumerate(starts):
            first = int(np.searchsorted(lows, start))
            edge_times, edge_codes = _NO_ROWS, _NO_CODES
            if first and tiles[first - 1].high >= start:
                name = tiles[first - 1].name
                edge_codes = there.segment(name, self._rows[name])
                edge_times = _times(self._rows[name])
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


def _times(rows: Rows) -> Array:
    return read_only(np.ascontiguousarray(rows.rows[:, 0]))
