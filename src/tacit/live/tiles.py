"""Compiled: what windows gather of sealed rows: of whole tiles, and of the rows at their ends."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tacit.aggregates.kernels import at_least
from tacit.live.expansion import add
from tacit.live.scan import (
    ABOVE,
    BELOW,
    COUNT,
    DIFFICULT,
    FIRST,
    FIRST_AT,
    HIGH,
    KEPT,
    LAST,
    LAST_AT,
    LOW,
    MAX,
    MIN,
    PART,
    PARTS,
    finish,
    gather,
    ordered,
    rows_before,
    to_float,
    to_word,
)


@njit(cache=True, nogil=True)
def combine(into: Any, other: Any, kind: int, parts: Any, holder: Any) -> None:
    """Adds what was gathered of other rows. Values of text and distinct counts do not combine."""
    if other[COUNT] == 0:
        return
    if into[COUNT] == 0:
        for j in range(other.size):
            into[j] = other[j]
        return
    into[COUNT] += other[COUNT]
    into[HIGH] += other[HIGH]
    into[LOW] += other[LOW]
    into[ABOVE] += other[ABOVE]
    into[BELOW] += other[BELOW]
    if ordered(other[MIN], kind) < ordered(into[MIN], kind):
        into[MIN] = other[MIN]
    if ordered(other[MAX], kind) > ordered(into[MAX], kind):
        into[MAX] = other[MAX]
    at, word = other[FIRST_AT], other[FIRST]
    if at < into[FIRST_AT] or (
        at == into[FIRST_AT] and ordered(word, kind) < ordered(into[FIRST], kind)
    ):
        into[FIRST_AT], into[FIRST] = at, word
    at, word = other[LAST_AT], other[LAST]
    if at > into[LAST_AT] or (
        at == into[LAST_AT] and ordered(word, kind) > ordered(into[LAST], kind)
    ):
        into[LAST_AT], into[LAST] = at, word
    if into[DIFFICULT] or other[DIFFICULT]:
        into[DIFFICULT] = 1
        return
    many = into[PARTS]
    for j in range(many):
        parts[j] = to_float(into[PART + j], holder)
    for j in range(other[PARTS]):
        many = add(parts, many, to_float(other[PART + j], holder))
    into[DIFFICULT] = 1 if many > KEPT else 0
    into[PARTS] = many
    for j in range(min(many, KEPT)):
        into[PART + j] = to_word(parts[j], holder)


@njit(cache=True, nogil=True)
def suffixes(tiles: Any, kinds: Any) -> Any:
    """Of what was gathered of tiles (tiles, slots): from each tile to the last; one more, empty."""
    found = np.zeros((tiles.shape[0] + 1, tiles.shape[1], tiles.shape[2]), np.int64)
    parts, holder = np.zeros(64, np.float64), np.zeros(1, np.int64)
    for i in range(tiles.shape[0] - 1, -1, -1):
        for s in range(tiles.shape[1]):
            for j in range(tiles.shape[2]):
                found[i, s, j] = found[i + 1, s, j]
            combine(found[i, s], tiles[i, s], kinds[s], parts, holder)
    return found


@njit(cache=True, nogil=True)
def add_tiles(
    total: Any, tiles: Any, after: Any, lows: Any, highs: Any, slots: Any, kinds: Any,
    starts: Any, at: int,
) -> None:  # fmt: skip
    """Adds to each window the tiles that lie within it."""
    parts, holder = np.zeros(64, np.float64), np.zeros(1, np.int64)
    last = at_least(highs, np.int64(0), highs.size, at)
    for w in range(starts.size):
        first = at_least(lows, np.int64(0), lows.size, starts[w])
        slot = slots[w]
        if last == lows.size:
            combine(total[w], after[first, slot], kinds[slot], parts, holder)
        else:
            for i in range(first, last):
                combine(total[w], tiles[i, slot], kinds[slot], parts, holder)


@njit(cache=True, nogil=True)
def add_edge(
    total: Any, words: Any, width: int, low: int, high: int, kinds: Any, cells: Any, groups: Any,
    starts: Any, at: int, scratch: Any,
) -> None:  # fmt: skip
    """Adds to each window the rows that it has of a segment that lies across one of its ends."""
    parts, holder = np.zeros(64, np.float64), np.zeros(1, np.int64)
    end = rows_before(words, width, at)
    for g in range(groups.shape[0]):
        value, where, wants, a, b = groups[g]
        kind: Any = kinds[value] if value >= 0 else np.int64(0)
        if high < at:  # it ends within: only windows that start in it
            while b > a and starts[b - 1] <= low:
                b -= 1
        if a == b or end == 0:
            continue
        gather(words, width, end, starts[a:b], value, where, wants, kinds, cells, scratch[a:b])
        for w in range(a, b):
            combine(total[w], scratch[w], kind, parts, holder)


@njit(cache=True, nogil=True)
def finish_all(total: Any, ops: Any, kinds: Any, at: int, results: Any, states: Any) -> None:
    """The results of what windows gathered."""
    parts, holder = np.zeros(KEPT, np.float64), np.zeros(1, np.int64)
    for w in range(ops.size):
        states[w] = finish(total[w], ops[w], kinds[w], at, results[w : w + 1], parts, holder)
