"""The compiled loops of `few`: rows in the order of person and group, and what is kept of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Codes = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]

PRIME = (1 << 31) - 1
_SATURATED = 1 << 62
_LOW = (1 << 32) - 1
_FEW = 48  # groups that are sorted by insertion


@njit(cache=True)
def ordered(codes: Codes, count: int, rows: Codes) -> Codes:
    """The rows in the order of their code, equal ones as they came: a counting sort; (n,)."""
    starts = np.zeros(count + 1, np.int64)
    for code in codes:
        starts[code + 1] += 1
    for code in range(count):
        starts[code + 1] += starts[code]
    out = np.empty(len(rows), np.int32)
    for row in rows:
        code = codes[row]
        out[starts[code]] = row
        starts[code] += 1
    return out


@njit(cache=True)
def by_person(codes: Codes, count: int, rows: Codes, group: Codes) -> tuple[Integers, Codes, Codes]:
    """Rows that are in the order of their group, in that of person and group: where each person's
    begin (count + 1,), and by place the row (n,) and its group (n,). `ordered`, which also brings
    what is read next to where it is read."""
    starts = np.zeros(count + 1, np.int64)
    for code in codes:
        starts[code + 1] += 1
    for code in range(count):
        starts[code + 1] += starts[code]
    place = starts[:-1].copy()
    out, groups = np.empty(len(rows), np.int32), np.empty(len(rows), np.int32)
    for row in rows:
        code = codes[row]
        at = place[code]
        out[at], groups[at] = row, group[row]
        place[code] = at + 1
    return starts, out, groups


@njit(cache=True)
def keep(
    starts: Integers,
    rows: Codes,
    groups: Codes,
    ranked: Codes,
    people: Integers,
    ranks: Integers,
    most: int,
    values: Integers,
    out_person: Codes,
    out_group: Codes,
    sums: Integers,
) -> int:
    """Sums `values` (s, n) by person and group; of each person the groups of `most` ranks at most.

    `starts`, `rows` and `groups` are those of `by_person`. `ranked` says by group which rank it
    has: groups of one rank are kept, or not, together. A person's ranks are ordered by
    people[person] · ranks[rank] mod PRIME, ties by rank; both factors are below PRIME. Writes the
    first rows of `out_person`, `out_group` and `sums` (s, …) and returns their number.

    A sum is exact in two words of 32 bits and then held within 2^62: no number of rows below 2^31
    overflows them.
    """
    width = values.shape[0]
    high, low = np.zeros(width, np.int64), np.zeros(width, np.int64)
    longest = 0
    for person in range(len(starts) - 1):
        longest = max(longest, starts[person + 1] - starts[person])
    places = np.empty(longest, np.int64)
    done = 0
    for person in range(len(starts) - 1):
        begun, end = done, starts[person + 1]
        for at in range(starts[person], end):
            for j in range(width):
                value = values[j, rows[at]]
                high[j] += value >> 32
                low[j] += value & _LOW
            if at + 1 < end and groups[at + 1] == groups[at]:
                continue
            out_person[done], out_group[done] = person, groups[at]
            for j in range(width):
                top = high[j] + (low[j] >> 32)
                if top >= _SATURATED >> 32:
                    sums[j, done] = _SATURATED
                elif top < -(_SATURATED >> 32):
                    sums[j, done] = -_SATURATED
                else:
                    sums[j, done] = (top << 32) + (low[j] & _LOW)
                high[j] = low[j] = 0
            done += 1
        if done - begun > most:
            for at in range(begun, done):
                rank = ranked[out_group[at]]
                places[at - begun] = (people[person] * ranks[rank] % PRIME << 31) | rank
            done = _cut(places, begun, done, most, out_person, out_group, sums)
    return done


@njit(cache=True)
def _cut(
    places: Integers,
    begun: int,
    done: int,
    most: int,
    out_person: Codes,
    out_group: Codes,
    sums: Integers,
) -> int:
    """Drops of one person's groups, those from `begun` on, all whose place is not among the least;
    `places` are theirs, from 0 on."""
    own = places[: done - begun].copy()
    if len(own) <= _FEW:
        for i in range(1, len(own)):
            moved, j = own[i], i
            while j and own[j - 1] > moved:
                own[j] = own[j - 1]
                j -= 1
            own[j] = moved
    else:
        own.sort()
    distinct, limit = 0, own[-1]
    for i in range(len(own)):
        if i == 0 or own[i] != own[i - 1]:
            if distinct == most:
                limit = own[i - 1]
                break
            distinct += 1
    kept = begun
    for at in range(begun, done):
        if places[at - begun] <= limit:
            out_person[kept], out_group[kept] = out_person[at], out_group[at]
            for j in range(sums.shape[0]):
                sums[j, kept] = sums[j, at]
            kept += 1
    return kept
