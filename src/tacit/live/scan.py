"""Compiled loops over blobs: what windows see of their rows, and the results of the common ones.

For each (value, filter) the rows are passed once, from the newest back, and each window takes what
has gathered when the pass reaches its start. Float sums are kept as Shewchuk expansions (Adaptive
Precision Floating-Point Arithmetic, 1997, §2.4): a few doubles whose sum is the exact sum; so that
what comes out equals the algebra's exact states. What this cannot hold (more than 8 parts, huge
values) is marked HARD and left to the algebra.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from tacit.live.form import CUT, EXTRA, FLOAT, HEADER, LEAST, ROWS, SEALED
from tacit.live.kernels import FINE, _has, state_of

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
ABSENT, LIGHT, HEAVY, BAD, ALIEN, EARLY = range(6)
"""What a key is: unknown, answered here, in segments, damaged, of another meaning, asked too far
in the past."""


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
def _float(word: int, holder: Any) -> float:
    holder[0] = word
    return np.float64(holder.view(np.float64)[0])


@njit(cache=True, nogil=True)
def _word(number: float, holder: Any) -> Any:
    holder.view(np.float64)[0] = number
    return np.int64(holder[0])


@njit(cache=True, nogil=True)
def _add(parts: Any, count: int, x: float) -> int:
    """Adds to an expansion: Shewchuk's GROW-EXPANSION, zeros dropped. How many parts it has now."""
    kept = 0
    for j in range(count):
        y = parts[j]
        if abs(x) < abs(y):
            x, y = y, x
        high = x + y
        low = y - (high - x)
        if low != 0.0:
            parts[kept] = low
            kept += 1
        x = high
    if x != 0.0:
        parts[kept] = x
        kept += 1
    return kept


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
    kind = kinds[value] if value >= 0 else 0
    cell = cells[value] if value >= 0 else -1
    holder = np.zeros(1, np.int64)
    parts = np.zeros(64, np.float64)
    count = high = low = above = below = distinct = difficult = many = 0
    least = most = first_at = first = last_at = last = 0
    size = 16
    while size < 2 * end:
        size *= 2
    table = np.empty(size if wants & WANT_DISTINCT else 1, np.int64)
    used = np.zeros(size if wants & WANT_DISTINCT else 1, np.bool_)
    i = end
    for w in range(starts.size):
        stop = rows_before(words, width, starts[w])
        while i > stop:
            i -= 1
            row = words[HEADER + i * width : HEADER + (i + 1) * width]
            if where >= 0 and (row[1 + where // 32] >> (where % 32)) & 0x100000001 != 0x100000001:
                continue
            word = 1
            if value >= 0:
                if not _has(row, value):
                    continue
                word = row[cell] if cell >= 0 else (row[1 + value // 32] >> (32 + value % 32)) & 1
            at = row[0]
            count += 1
            if wants & WANT_SUM:
                if kind == FLOAT:
                    number = _float(word, holder)
                    if np.isinf(number):
                        if number > 0:
                            above += 1
                        else:
                            below += 1
                    elif abs(number) > _HUGE or many > 60:
                        difficult = 1
                    else:
                        many = _add(parts, many, number)
                else:
                    high += word >> 32
                    low += word & 0xFFFFFFFF
            if wants & WANT_ORDER:
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
            if wants & WANT_DISTINCT and not _seen(table, used, word):
                distinct += 1
        found = out[w]
        found[COUNT], found[HIGH], found[LOW] = count, high, low
        found[ABOVE], found[BELOW], found[MIN], found[MAX] = above, below, least, most
        found[FIRST_AT], found[FIRST], found[LAST_AT], found[LAST] = first_at, first, last_at, last
        found[DISTINCT] = distinct
        found[DIFFICULT] = 1 if difficult or many > KEPT else 0
        found[PARTS] = many
        for j in range(min(many, KEPT)):
            found[PART + j] = _word(parts[j], holder)


@njit(cache=True, nogil=True)
def _rounded(parts: Any, count: int) -> Any:
    """The sum of an expansion, rounded once, half to even (as CPython's math.fsum ends)."""
    if count == 0:
        return 0.0
    k = count - 1
    high, low = parts[k], 0.0
    while k > 0:
        x = high
        k -= 1
        y = parts[k]
        high = x + y
        low = y - (high - x)
        if low != 0.0:
            break
    if k > 0 and ((low < 0 and parts[k - 1] < 0) or (low > 0 and parts[k - 1] > 0)):
        y = low * 2.0
        x = high + y
        if y == x - high:
            high = x
    return high


@njit(cache=True, nogil=True)
def _quotient(parts: Any, many: int, count: int) -> Any:
    """The sum of an expansion over a count, rounded once; whether that is certain.

    A candidate q is right when the exact rest of the sum after q·count is less than half a unit of
    q times count. The rest comes from an exact product (Dekker 1971), but for a relative error of
    about 2^-50; what lies that close to the half is not certain. Tiny and huge sums are not either.
    """
    total = _rounded(parts, many)
    n = np.float64(count)
    if total == 0.0:
        return 0.0, many == 0
    if abs(total) > 2.0**900 or abs(total) < 2.0**-800:
        return 0.0, False
    q = total / n
    if count & (count - 1) == 0:  # a power of two only moves the point, of ties too
        return q, True
    for _ in range(2):
        split = 134217729.0 * q
        q_high = split - (split - q)
        q_low = q - q_high
        split = 134217729.0 * n
        n_high = split - (split - n)
        n_low = n - n_high
        product = q * n
        error = ((q_high * n_high - product) + q_high * n_low + q_low * n_high) + q_low * n_low
        rest = 0.0
        for j in range(many - 1, -1, -1):
            if j == many - 1:
                rest = (parts[j] - product) - error
            else:
                rest += parts[j]
        fraction, exponent = math.frexp(abs(q))
        half = math.ldexp(1.0, exponent - 54) * n
        if fraction == 0.5:  # beneath a power of two the units are half as large
            half *= 0.5
        if abs(rest) < half * (1.0 - 1e-9):
            return q, True
        q = q + rest / n
    return q, False


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
    out[0] = _word(np.float64((high << 32) | low) / count, holder)
    return VALUE


@njit(cache=True, nogil=True)
def _finish_float(found: Any, op: int, out: Any, parts: Any, holder: Any) -> int:
    if found[ABOVE] or found[BELOW]:
        if found[ABOVE] and found[BELOW]:
            return NONE
        out[0] = _word(np.inf if found[ABOVE] else -np.inf, holder)
        return VALUE
    if found[DIFFICULT]:
        return HARD
    many = found[PARTS]
    for j in range(many):
        parts[j] = _float(found[PART + j], holder)
    if op == OP_SUM:
        out[0] = _word(_rounded(parts, many) + 0.0, holder)
        return VALUE
    mean, certain = _quotient(parts, many, found[COUNT])
    out[0] = _word(mean + 0.0, holder)
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


@njit(cache=True, nogil=True)
def answer(
    blobs: Any,
    offsets: Any,
    width: int,
    stamp: int,
    kinds: Any,
    cells: Any,
    groups: Any,
    windows: Any,
    starts: Any,
    at: int,
    earliest: int,
    floor: int,
    results: Any,
    states: Any,
    entities: Any,
    gathered: Any,
) -> None:
    """Every window for every key: ``blobs[offsets[k]:offsets[k+1]]`` is what key k holds.

    ``groups``: value, filter, wants, first and last window; ``windows``: op, whether it is endless;
    ``starts`` by window, descending within a group. A key with nothing in ``[floor, at)`` is
    ABSENT: all it has is past every window, or in the future. One that was cut after ``earliest``
    is EARLY. Fills ``results`` and ``states`` (keys,
    windows), ``entities`` (keys), and ``gathered`` for the last key.
    """
    parts = np.zeros(KEPT, np.float64)
    holder = np.zeros(1, np.int64)
    nothing = np.zeros(GATHERED, np.int64)
    for k in range(offsets.size - 1):
        words = blobs[offsets[k] : offsets[k + 1]]
        entities[k] = LIGHT
        if words.size == 0:
            entities[k] = ABSENT
        else:
            state = state_of(words, width, stamp)
            if state != FINE:
                entities[k] = BAD if state == 1 else ALIEN
                continue
            if words[SEALED]:
                entities[k] = HEAVY
            if earliest < words[CUT]:
                entities[k] = EARLY
                continue
        end = rows_before(words, width, at) if words.size else 0
        folded = words.size > 0 and words[EXTRA] > 0
        if entities[k] == LIGHT and not folded and rows_before(words, width, floor) >= end:
            entities[k] = ABSENT
        for g in range(groups.shape[0]):
            value, where, wants, low, high = groups[g]
            kind = kinds[value] if value >= 0 else 0
            if end:
                gather(
                    words, width, end, starts[low:high], value, where, wants, kinds, cells,
                    gathered[low:high],
                )  # fmt: skip
            for w in range(low, high):
                found = gathered[w] if end else nothing
                states[k, w] = finish(
                    found, windows[w, 0], kind, at, results[k, w : w + 1], parts, holder
                )
                if folded and windows[w, 1]:
                    states[k, w] = FOLDED
        if not end:
            gathered[:] = 0


@njit(cache=True, nogil=True)
def combine(into: Any, other: Any, kind: int, parts: Any, holder: Any) -> None:
    """Adds what was gathered of other rows. Values of text and distinct counts do not combine."""
    if other[COUNT] == 0:
        return
    if into[COUNT] == 0:
        into[:] = other
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
        parts[j] = _float(into[PART + j], holder)
    for j in range(other[PARTS]):
        many = _add(parts, many, _float(other[PART + j], holder))
    into[DIFFICULT] = 1 if many > KEPT else 0
    into[PARTS] = many
    for j in range(min(many, KEPT)):
        into[PART + j] = _word(parts[j], holder)


@njit(cache=True, nogil=True)
def suffixes(tiles: Any, kinds: Any) -> Any:
    """Of what was gathered of tiles (tiles, slots): from each tile to the last; one more, empty."""
    found = np.zeros((tiles.shape[0] + 1, tiles.shape[1], tiles.shape[2]), np.int64)
    parts, holder = np.zeros(64, np.float64), np.zeros(1, np.int64)
    for i in range(tiles.shape[0] - 1, -1, -1):
        for s in range(tiles.shape[1]):
            found[i, s] = found[i + 1, s]
            combine(found[i, s], tiles[i, s], kinds[s], parts, holder)
    return found


@njit(cache=True, nogil=True)
def add_tiles(
    total: Any, tiles: Any, after: Any, lows: Any, highs: Any, slots: Any, kinds: Any,
    starts: Any, at: int,
) -> None:  # fmt: skip
    """Adds to each window the tiles that lie within it."""
    parts, holder = np.zeros(64, np.float64), np.zeros(1, np.int64)
    last = np.searchsorted(highs, at)
    for w in range(starts.size):
        first = np.searchsorted(lows, starts[w])
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
        kind = kinds[value] if value >= 0 else 0
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
