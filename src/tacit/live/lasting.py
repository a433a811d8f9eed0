"""How long an answer lasts: until a row leaves one of its windows, or a later one enters.

Between two such moments the rows that windows see are the same, and so is what they tell; only
ages (`since`) grow with the clock. Together with what was read (the heads, and which version
stands) that is all an answer depends on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numba import njit

from tacit.aggregates.columns import Array
from tacit.live.form import HEADER, LEAST, MOST, ROWS
from tacit.live.scan import rows_before
from tacit.live.sealed import Sealed

Sources: TypeAlias = tuple[tuple[str, tuple[int, bool]], ...]
Heads: TypeAlias = tuple[tuple[bytes, bytes | None], ...]


class Made(Protocol):
    """What an answer was made of, as `Trace` tells it: each source with its version and whether it
    was stale, each stored key with the `header` of what lay there."""

    @property
    def sources(self) -> Sources: ...

    @property
    def heads(self) -> Heads: ...


class Parts(NamedTuple):
    """That by itself."""

    sources: Sources
    heads: Heads


@dataclass(slots=True)
class Trace:
    """What an answer was made of; it is gathered while it is read.

    Attributes:
        until: the first moment at which it may be another, although nothing was written.
        heads: what was read, by its stored key.
        sources: version of each source, and whether it was stale.
        ages: place of each signal that tells an age → the moment that it counts from.
    """

    until: int = MOST
    heads: dict[bytes, bytes | None] = field(default_factory=dict)
    sources: dict[str, tuple[int, bool]] = field(default_factory=dict)
    ages: dict[int, int] = field(default_factory=dict)

    def made(self) -> Parts:
        """What of it is to be kept."""
        heads = tuple([(key, header(raw)) for key, raw in self.heads.items()])
        return Parts(tuple(self.sources.items()), heads)

    def by(self, moment: int) -> None:
        """It may be another at this moment."""
        if moment < self.until:
            self.until = moment


def header(raw: bytes | None) -> bytes | None:
    """What tells a head from any other of its key: its checksum, counts, cut and stamp."""
    return None if raw is None else raw[: 8 * HEADER]


@njit(cache=True, nogil=True)
def leaves(time: int, length: int, hop: int, keep: int) -> Any:
    """When a row of this time leaves a window; -1 is no length, hop or keep."""
    found = MOST
    if length >= 0:
        first = time + 1 if hop <= 0 else (time // hop + 1) * hop
        found = first + length
    if keep >= 0:
        found = min(found, time + keep + 1)
    return found


@njit(cache=True, nogil=True)
def lasts(words: Any, width: int, lengths: Any, hops: Any, keeps: Any, starts: Any, at: int) -> Any:
    """When what windows see at a moment of a blob's rows is first another."""
    found = MOST
    end = rows_before(words, width, at)
    if end < words[ROWS]:
        found = words[HEADER + end * width] + 1
    for w in range(lengths.size):
        if starts[w] == LEAST:
            continue
        i = rows_before(words, width, starts[w])
        if i < end:
            time = words[HEADER + i * width]
            found = min(found, leaves(time, lengths[w], hops[w], keeps[w]))
    return found


@njit(cache=True, nogil=True)
def forgotten(words: Any, width: int, lengths: Any, hops: Any, keeps: Any, at: int) -> Any:
    """When the last row before a moment leaves the last of these windows: nothing is known of the
    key from then on. MOST where that is past, or there is none."""
    end = rows_before(words, width, at)
    if end == 0:
        return MOST
    row, gone = words[HEADER + (end - 1) * width], LEAST
    for w in range(lengths.size):
        gone = max(gone, leaves(row, lengths[w], hops[w], keeps[w]))
    return gone if gone > at else MOST


def sealed_lasts(
    sealed: Sealed, lengths: Array, hops: Array, keeps: Array, starts: Array, at: int
) -> int:
    """The same of sealed rows: whole segments by their ends, those at windows' ends by their rows.

    The moment itself where a segment would have to be read to tell.
    """
    found, tiles = MOST, sealed.index.tiles
    highs = sealed.index.gathered(sealed.segments.form).highs
    last = int(np.searchsorted(highs, at))
    if last < len(tiles):
        tile = tiles[last]
        if tile.low >= at:
            found = tile.low + 1
        else:
            rows = sealed.rows(tile.name)
            if rows is None:
                return at
            found = int(rows.rows[rows.before(at), 0]) + 1
    different = set(
        zip(starts.tolist(), lengths.tolist(), hops.tolist(), keeps.tolist(), strict=True)
    )
    for start, length, hop, keep in different:
        place = int(np.searchsorted(highs, start))
        if start == LEAST or place == len(tiles) or tiles[place].low >= at:
            continue
        tile = tiles[place]
        time = tile.low
        if time < start:
            rows = sealed.rows(tile.name)
            if rows is None:
                return at
            time = int(rows.rows[rows.before(start), 0])
        if time < at:
            found = min(found, int(leaves(time, length, hop, keep)))
    return found
