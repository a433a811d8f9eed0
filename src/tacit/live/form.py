"""The form of a blob: what a key of a view holds, as words of 64 bits.

::

    header   8 words: checksum, rows, texts, heap words, extra bytes, cut, stamp, rows in segments
    rows     by time; each: time, masks, owners, cells
    texts    where each text lies in the heap (offset << 32 | length), in the order of the texts
    heap     the texts' bytes
    extra    states of what was folded away, in the algebra's bytes (`live.fold`)

A row is as wide as its view wants: one word for its time; a word for each 32 columns, with a bit
that says whether the column has a value and, 32 above, the value of a column of bools; a word for
each person whose row it is and whom the key does not name; a word for each column that is no bool
(an int, a double's bits, the number of a text in the blob). The stamp is of the view's meaning. All
rows before the cut may have been folded or dropped, so a window that needs them cannot be answered.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tacit.aggregates.columns import Array
from tacit.operations import View, Window
from tacit.values import Type, fingerprint

HEADER = 8
CHECKSUM, ROWS, TEXTS, HEAP, EXTRA, CUT, STAMP, SEALED = range(HEADER)
INT, FLOAT, TEXT, BOOL = range(4)
KINDS: Mapping[Type, int] = {
    Type.INT: INT,
    Type.TIME: INT,
    Type.FLOAT: FLOAT,
    Type.TEXT: TEXT,
    Type.BOOL: BOOL,
}
LEAST, MOST = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Slot:
    """What windows of any length share: one partial state of it stands for a run of rows."""

    aggregate: str
    value: str | None
    by: str | None
    where: str | None


def slot_of(window: Window) -> Slot:
    return Slot(window.aggregate, window.value, window.by, window.where)


@dataclass(frozen=True)
class Form:
    """How the rows of a view lie in words, and which states stand for them.

    Attributes:
        view: the view.
        types: of its keys, in order.
        owners: columns of the source that name people whom the keys do not.
        keep: how long each signal's rows may be kept, µs; None is for ever.
    """

    view: View
    types: tuple[Type, ...]
    owners: tuple[str, ...]
    keep: Mapping[str, int | None]

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Computed column → its number."""
        return {column.name: i for i, column in enumerate(self.view.computed)}

    @cached_property
    def kinds(self) -> Array:
        """Of each column: INT, FLOAT, TEXT or BOOL."""
        return np.array([KINDS[column.type] for column in self.view.computed] or [0], np.int64)

    @cached_property
    def masks(self) -> int:
        return max(1, (len(self.view.computed) + 31) // 32)

    @cached_property
    def cells(self) -> Array:
        """Of each column, the word of a row that holds it; -1 for bools."""
        found, at = [], 1 + self.masks + len(self.owners)
        for column in self.view.computed:
            held = column.type is not Type.BOOL
            found.append(at if held else -1)
            at += held
        return np.array(found or [-1], np.int64)

    @cached_property
    def width(self) -> int:
        """Words of a row."""
        return int(max(self.cells.max(), self.masks + len(self.owners))) + 1

    @cached_property
    def texts(self) -> Array:
        """The columns of text."""
        return np.array([i for i in range(len(self.view.computed)) if self.kinds[i] == TEXT], int)

    @cached_property
    def stamp(self) -> int:
        """What a blob's rows and states mean; another stamp is another meaning."""
        view = self.view
        parts: list[Any] = [view.source, view.time, *map(list, view.keys), *self.owners]
        parts += [[join.table, join.left, join.right] for join in view.joins]
        parts += [[column.name, column.sql, column.type] for column in view.computed]
        parts += [[s.aggregate, s.value, s.by, s.where] for s in self.slots]
        return int.from_bytes(bytes.fromhex(fingerprint(parts))[:8], "little", signed=True)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The states that stand for a run of rows."""
        return tuple(dict.fromkeys(map(slot_of, self.view.windows)))

    def reach(self, window: Window) -> int | None:
        """How far back a window's rows are needed: no further than they may be kept."""
        keep = self.keep.get(window.signal)
        hop = window.hop or 0
        length = None if window.length is None else window.length + hop
        if length is None or keep is None:
            return keep if length is None else length
        return min(length, keep)

    @cached_property
    def horizon(self) -> int:
        """How far back rows are needed as rows: the longest window that ends."""
        return max(
            (reach for w in self.view.windows if (reach := self.reach(w)) is not None), default=0
        )

    @cached_property
    def endless(self) -> tuple[Slot, ...]:
        """The slots whose windows reach back for ever: rows past the horizon fold into them."""
        return tuple(dict.fromkeys(slot_of(w) for w in self.view.windows if self.reach(w) is None))

    def start(self, window: Window, at: int, now: int) -> int:
        """The first moment that a window ending at ``at`` sees: what has expired is not there."""
        start = LEAST
        if window.length is not None:
            hop = window.hop
            start = at - window.length
            start = start // hop * hop if hop else start
        keep = self.keep.get(window.signal)
        if keep is not None:
            start = max(start, now - keep)
        return max(start, LEAST)


def blob_parts(words: Array, width: int) -> tuple[Array, Array, Array, bytes]:
    """The rows (n, width), the text table, the heap's bytes and the extra of a blob."""
    rows, texts, heap = int(words[ROWS]), int(words[TEXTS]), int(words[HEAP])
    a = HEADER + rows * width
    b = a + texts
    c = b + heap
    extra = words[c:].tobytes()[: int(words[EXTRA])]
    return words[HEADER:a].reshape(rows, width), words[a:b], words[b:c].view(np.uint8), extra


def text_at(table: Array, heap: Any, code: int) -> str:
    """A text of a blob."""
    entry = int(table[code])
    start = entry >> 32
    return bytes(heap[start : start + (entry & 0xFFFFFFFF)]).decode()


_COUNTS = struct.Struct("<qq")  # of rows and texts, in the header
_ENTRY = struct.Struct("<II")


def raw_text(raw: bytes, width: int, code: int) -> str:
    """The same from a blob's bytes."""
    rows, texts = _COUNTS.unpack_from(raw, 8 * ROWS)
    table = 8 * (HEADER + rows * width)
    size, start = _ENTRY.unpack_from(raw, table + 8 * code)
    at = table + 8 * texts + start
    return raw[at : at + size].decode()
