"""Compiled loops over blobs: what windows see of their rows, and the results of the common ones.

For each (value, filter) the rows are passed once, from the newest back, and each window takes what
has gathered when the pass reaches its start. Float sums are kept as expansions (`live.expansion`),
so that what comes out equals the algebra's exact states. What this cannot hold (more than 8 parts,
huge values) is marked HARD and left to the algebra.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tacit.live.expansion import add, quotient, rounded
from tacit.live.form import FLOAT, HEADER, LEAST, ROWS, TEXT, TEXTS

COUNT, HIGH, LOW, ABOVE, BELOW, MIN, MAX, FIRST_AT, FIRST, LAST_AT, LAST, DISTINCT = range(12)
DIFFICULT, PARTS, PART = 12, 13, 14
KEPT = 8  # parts of an expansion
GATHERED = PART + KEPT
"""Words of what a window gathers: counts, an int sum in two halves, infinities, extremes, ends, how
many distinct values, whether it is HARD, and the parts of a float sum."""

WANT_SUM, WANT_ORDER, WANT_DISTINCT = 1, 2, 4
NONE, VALUE, HARD, FOLDED = 0, 1, 2, 3
"""A result: nothing, a value, or one that the algebra must find: from the rows, or because folded
rows must be added."""

OPS = ("count", "sum", "mean", "min", "max", "first", "last", "distinct", "since", "other")
(OP_COUNT, OP_SUM, OP_MEAN, OP_MIN, OP_MAX, OP_FIRST, OP_LAST, OP_DISTINCT, OP_SINCE, OP_OTHER) = (
    range(10)
)
_HUGE = 2.0**960


@njit(cache=True, nogil=True)
def rows_before(words: Any, width: int, time: int) -> Any:
    """How many rows lie before a moment."""
    low, high = 0, words[ROWS]
    while low < high:
        middle = (low + high) >> 1
        if words[HEADER + middle * width] < time:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def ordered(word: int, kind: int) -> Any:
    """A number that orders as the value does."""
    if kind == FLOAT and word < 0:
        return np.int64(word ^ np.int64(0x7FFFFFFFFFFFFFFF))
    return np.int64(word)


@njit(cache=True, nogil=True)
def to_float(word: int, holder: Any) -> float:
    holder[0] = word
    return np.float64(holder.view(np.float64)[0])


@njit(cache=True, nogil=True)
def to_word(number: float, holder: Any) -> Any:
    holder.view(np.float64)[0] = number
    return np.int64(holder[0])


@njit(cache=True, nogil=True)
def _seen(table: Any, used: Any, word: int) -> bool:
    """Whether a word was in the set; it is now."""
    mask = table.size - 1
    mixed = np.uint64(word) * np.uint64(0x9E3779B97F4A7C15)
    slot = np.int64(mixed >> np.uint64(32)) & mask
    while used[slot]:
        if table[slot] == word:
            return True
        slot = (slot + 1) & mask
    used[slot] = True
    table[slot] = word
    return False


@njit(cache=True, nogil=True)
def gather(
    words: Any,
    width: int,
    end: int,
    starts: Any,
    value: int,
    where: int,
    wants: int,
    kinds: Any,
    cells: Any,
    out: Any,
) -> None:
    """What each window of one value and filter gathers of the rows before position ``end``.

    ``starts`` are the windows' first moments, descending; ``out`` has a row for each.
    """
    if value < 0 and where < 0:
        _number(words, width, end, starts, out)
        return
    kind: Any = kinds[value] if value >= 0 else np.int64(0)
    cell = cells[value] if value >= 0 else -1
    mask, bit = 1 + max(value, 0) // 32, max(value, 0) % 32
    passing, passes = 1 + max(where, 0) // 32, max(where, 0) % 32
    sums, orders, differs = wants & WANT_SUM, wants & WANT_ORDER, wants & WANT_DISTINCT
    holder = np.zeros(1, np.int64)
    parts = np.zeros(64, np.float64)
    floats = words.view(np.float64)
    count = high = low = above = below = distinct = difficult = 0
    many: Any = np.int64(0)
    least = most = first_at = first = last_at = last = 0
    size = 1
    if differs and kind == TEXT:  # a text's number is its place
        size = words[TEXTS]
    elif differs:
        size = 16
        while size < 2 * end:
            size *= 2
    table = np.empty(size if differs and kind != TEXT else 1, np.int64)
    used = np.zeros(size, np.bool_)
    i = end
    for w in range(starts.size):
        stop = rows_before(words, width, starts[w])
        while i > stop:
            i -= 1
            row = HEADER + i * width
            if where >= 0 and (words[row + passing] >> passes) & 0x100000001 != 0x100000001:
                continue
            word = 1
            if value >= 0:
                flags = words[row + mask] >> bit
                if flags & 1 == 0:
                    continue
                word = words[row + cell] if cell >= 0 else (flags >> 32) & 1
            at = words[row]
            count += 1
            if sums:
                if kind == FLOAT:
                    number = floats[row + cell]
                    if np.isinf(number):
                        if number > 0:
                            above += 1
                        else:
                            below += 1
                    elif abs(number) > _HUGE or many > 60:
                        difficult = 1
                    else:
                        many = add(parts, many, number)
                else:
                    high += word >> 32
                    low += word & 0xFFFFFFFF
            if orders:
                rank = ordered(word, kind)
                if count == 1:
                    least = most = first = last = word
                    first_at = last_at = at
                else:
                    if rank < ordered(least, kind):
                        least = word
                    if rank > ordered(most, kind):
                        most = word
                    if at < first_at or rank < ordered(first, kind):
                        first, first_at = word, at
                    if at == last_at and rank > ordered(last, kind):
                        last = word
            elif count == 1:
                last_at = at
            if differs:
                if kind != TEXT:
                    distinct += not _seen(table, used, word)
                elif not used[word]:
                    used[word] = True
                    distinct += 1
        found = out[w]
        found[COUNT], found[HIGH], found[LOW] = count, high, low
        found[ABOVE], found[BELOW], found[MIN], found[MAX] = above, below, least, most
        found[FIRST_AT], found[FIRST], found[LAST_AT], found[LAST] = first_at, first, last_at, last
        found[DISTINCT] = distinct
        found[DIFFICULT] = 1 if difficult or many > KEPT else 0
        found[PARTS] = many
        for j in range(min(many, KEPT)):
            found[PART + j] = to_word(parts[j], holder)


@njit(cache=True, nogil=True)
def _number(words: Any, width: int, end: int, starts: Any, out: Any) -> None:
    """The same where all rows count, and nothing of them but when the last was."""
    for w in range(starts.size):
        count = max(0, end - rows_before(words, width, starts[w]))
        out[w, :PART] = 0
        if count:
            out[w, COUNT] = count
            out[w, LAST_AT] = words[HEADER + (end - 1) * width]


@njit(cache=True, nogil=True)
def finish(found: Any, op: int, kind: int, at: int, out: Any, parts: Any, holder: Any) -> int:
    """The result of what a window gathered, into ``out[0]``; NONE, VALUE or HARD."""
    count = found[COUNT]
    if op in (OP_COUNT, OP_DISTINCT):
        out[0] = count if op == OP_COUNT else found[DISTINCT]
        return VALUE
    if op == OP_OTHER:
        return HARD
    if count == 0:
        return NONE
    if op == OP_SINCE:
        gone = at - found[LAST_AT]
        out[0] = gone
        return VALUE if gone >= 0 else NONE  # below zero: more than 64 bits
    if op in (OP_MIN, OP_MAX):
        out[0] = found[MIN] if op == OP_MIN else found[MAX]
        return VALUE
    if op in (OP_FIRST, OP_LAST):
        out[0] = found[FIRST] if op == OP_FIRST else found[LAST]
        return VALUE
    if kind == FLOAT:
        return _finish_float(found, op, out, parts, holder)
    high, low = found[HIGH] + (found[LOW] >> 32), found[LOW] & 0xFFFFFFFF
    if op == OP_SUM:
        out[0] = (high << 32) | low
        return VALUE if -(2**31) <= high < 2**31 else NONE
    if not -(2**20) <= high < 2**20:
        return HARD
    out[0] = to_word(np.float64((high << 32) | low) / count, holder)
    return VALUE


@njit(cache=True, nogil=True)
def _finish_float(found: Any, op: int, out: Any, parts: Any, holder: Any) -> int:
    if found[ABOVE] or found[BELOW]:
        if found[ABOVE] and found[BELOW]:
            return NONE
        out[0] = to_word(np.inf if found[ABOVE] else -np.inf, holder)
        return VALUE
    if found[DIFFICULT]:
        return HARD
    many = found[PARTS]
    for j in range(many):
        parts[j] = to_float(found[PART + j], holder)
    if op == OP_SUM:
        out[0] = to_word(rounded(parts, many) + 0.0, holder)
        return VALUE
    mean, certain = quotient(parts, many, found[COUNT])
    out[0] = to_word(mean + 0.0, holder)
    return VALUE if certain else HARD


@njit(cache=True, nogil=True)
def find_starts(lengths: Any, hops: Any, keeps: Any, at: int, now: int, starts: Any) -> Any:
    """The first moment that each window sees, of windows that end at ``at``.

    ``lengths``, ``hops`` and ``keeps`` are -1 where there is none. Returns the earliest moment that
    is needed for an exact answer: what has expired is not.
    """
    earliest = at
    for w in range(lengths.size):
        start = LEAST
        if lengths[w] >= 0 and at >= LEAST + lengths[w]:
            start = at - lengths[w]
            if hops[w] > 0:
                start = start // hops[w] * hops[w]
        if keeps[w] >= 0 and start < now - keeps[w]:
            start = now - keeps[w]
        elif lengths[w] >= 0:
            earliest = min(earliest, start)
        starts[w] = start
    return np.int64(earliest)
