"""How many values are distinct in windows of a heavy key, without merging their sets.

What is distinct in the tiles from the i-th on is known once for an index: of each value, the last
tile in which it occurs. A window that ends after all that is sealed sees those, and of the rows at
its ends (a segment that lies across its start, the head) the values that occur in no tile of it.
Values are numbered once for an index; a segment's rows are numbered once, since it never changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from tacit.aggregates.columns import Array
from tacit.aggregates.kernels import at_least
from tacit.live.fold import Rows
from tacit.live.form import TEXT, Slot

_NONE = -1  # a row that has no value, or does not pass


class Occurring:
    """The values of a slot in the tiles of a key.

    Args:
        slot: a `distinct` of something.
        sets: what is distinct in each tile, by time.
    """

    def __init__(self, slot: Slot, sets: Sequence[frozenset[Any]]) -> None:
        self.slot = slot
        self.codes: dict[Any, int] = {}
        last: list[int] = []
        for i, values in enumerate(sets):
            for value in values:
                code = self.codes.setdefault(value, len(last))
                if code == len(last):
                    last.append(i)
                else:
                    last[code] = i
        self.last = np.array(last, np.int64)
        ends = np.bincount(self.last, minlength=len(sets)) if last else np.zeros(len(sets), int)
        self.after: Array = np.append(np.cumsum(ends[::-1])[::-1], 0)  # values from tile i on
        self._segments: dict[int, Array] = {}

    def segment(self, name: int, rows: Rows) -> Array:
        """The number of each row's value in a segment."""
        found = self._segments.get(name)
        if found is None:
            found, _ = self.number(rows)
            self._segments[name] = found
        return found

    def number(self, rows: Rows) -> tuple[Array, int]:
        """The number of each row's value, and how many numbers there are, new ones among them."""
        slot, form = self.slot, rows.form
        assert slot.value is not None, "what is distinct is a value"
        i = form.index[slot.value]
        masks = rows.rows[:, 1 + i // 32]
        kept = (masks >> (i % 32)) & 1 != 0
        if slot.where is not None:
            w = form.index[slot.where]
            passes = (rows.rows[:, 1 + w // 32] >> (w % 32)) & 0x100000001
            kept &= passes == 0x100000001
        cell = form.cells[i]
        words = (masks >> (32 + i % 32)) & 1 if cell < 0 else rows.rows[:, cell]
        found: Array = np.full(len(words), _NONE, np.int64)
        if form.kinds[i] == TEXT:  # a cell is the place of its text
            values: Sequence[Any] = rows.texts
            places = words[kept]
        else:
            distinct, places = np.unique(words[kept], return_inverse=True)
            values = [rows.value(slot.value, word) for word in distinct.tolist()]
        known, fresh = self.codes, len(self.codes)
        numbers = []
        for value in values:
            number = known.get(value, _NONE)
            if number == _NONE:
                number, fresh = fresh, fresh + 1
            numbers.append(number)
        found[kept] = np.array(numbers, np.int64)[places]
        return found, fresh


@njit(cache=True, nogil=True)
def _mark(
    times: Any, codes: Any, start: int, end: int, last: Any, first: int, seen: Any, mark: int
) -> int:
    count = 0
    low = at_least(times, np.int64(0), times.size, start)
    for i in range(low, at_least(times, low, times.size, end)):
        code = codes[i]
        if code >= 0 and seen[code] != mark:
            seen[code] = mark
            if code >= last.size or last[code] < first:
                count += 1
    return count


@njit(cache=True, nogil=True)
def count_more(
    head_times: Any, head_codes: Any, edge_times: Any, edge_codes: Any, start: int, end: int,
    last: Any, first: int, seen: Any, mark: int,
) -> Any:  # fmt: skip
    """How many values of the rows in [start, end) occur in no tile from ``first`` on.

    ``seen`` has a place for each number, none of them ``mark`` yet.
    """
    return _mark(head_times, head_codes, start, end, last, first, seen, mark) + _mark(
        edge_times, edge_codes, start, end, last, first, seen, mark
    )
