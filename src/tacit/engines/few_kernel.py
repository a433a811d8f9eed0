"""The compiled loops of `few`: rows by person, and what is kept of each person's.

Threads share the work without a lock: first each has a range of rows, then one of people.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from tacit.aggregates.sorting import sort_times

Codes = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]

PRIME = (1 << 31) - 1
_SATURATED = 1 << 62
_LOW = (1 << 32) - 1
_FEW = 48  # numbers that are sorted by insertion


@njit(cache=True, nogil=True)
def by_person(codes: Codes, groups: Codes, first: int, following: Integers, out: Integers) -> None:
    """Puts each of some rows where the next one of its person goes, which `following` says: its
    group and its number, of which the first is `first`, in the upper and the lower 32 bits."""
    for i in range(len(codes)):
        person = codes[i]
        out[following[person]] = (np.int64(groups[i]) << 32) | (first + i)
        following[person] += 1


@njit(cache=True, nogil=True)
def keep(
    starts: Integers,
    first: int,
    rows: Integers,
    ranked: Codes,
    people: Integers,
    ranks: Integers,
    most: int,
    values: Integers,
    places: Integers,
    out_person: Codes,
    out_group: Codes,
    sums: Integers,
) -> int:
    """Sums values by person and group; of each person the groups of `most` ranks at most.

    `rows` are those of the people from `first` on, as `by_person` puts them, and `starts` where
    each person's begin (people + 1,): they are brought in order. Sum j is of
    values[places[j, 0] + row · places[j, 1]]. `ranked` says by group which rank it has: groups of
    one rank are kept, or not, together. A person's ranks are ordered by
    people[person] · ranks[rank] mod PRIME, ties by rank; both factors are below PRIME. Writes the
    first rows of `out_person`, `out_group` and `sums` (s, …) and returns their number.

    A sum is exact in two words of 32 bits and then held within 2^62: no number of rows below 2^31
    overflows them.
    """
    width = len(places)
    high, low = np.zeros(width, np.int64), np.zeros(width, np.int64)
    longest = 0
    for person in range(len(starts) - 1):
        longest = max(longest, starts[person + 1] - starts[person])
    order, sorted_order = np.empty(longest, np.int64), np.empty(longest, np.int64)
    done = 0
    for person in range(len(starts) - 1):
        begun, begin, end = done, starts[person] - starts[0], starts[person + 1] - starts[0]
        _sort(rows[begin:end])
        for at in range(begin, end):
            group, row = rows[at] >> 32, rows[at] & _LOW
            for j in range(width):
                value = values[places[j, 0] + row * places[j, 1]]
                high[j] += value >> 32
                low[j] += value & _LOW
            if at + 1 < end and rows[at + 1] >> 32 == group:
                continue
            out_person[done], out_group[done] = first + person, group
            for j in range(width):
                sums[j, done] = _held(high[j] + (low[j] >> 32), low[j] & _LOW)
                high[j] = low[j] = 0
            done += 1
        if done - begun > most:
            own = people[first + person]
            for at in range(begun, done):
                rank = ranked[out_group[at]]
                order[at - begun] = (own * ranks[rank] % PRIME << 31) | rank
            limit = _limit(order[: done - begun], sorted_order, most)
            kept = begun
            for at in range(begun, done):
                if order[at - begun] <= limit:
                    out_person[kept], out_group[kept] = out_person[at], out_group[at]
                    for j in range(width):
                        sums[j, kept] = sums[j, at]
                    kept += 1
            done = kept
    return done


@njit(cache=True, nogil=True, inline="always")
def _held(high: int, low: int) -> int:
    """A sum within its bounds."""
    if high >= _SATURATED >> 32:
        return _SATURATED
    if high < -(_SATURATED >> 32):
        return -_SATURATED
    return (high << 32) + low


@njit(cache=True, nogil=True)
def _limit(order: Integers, room: Integers, most: int) -> int:
    """The greatest of the `most` least distinct numbers; `room` for them."""
    own = room[: len(order)]
    for i in range(len(order)):
        own[i] = order[i]
    _sort(own)
    distinct = 0
    for i in range(1, len(own)):
        if own[i] != own[i - 1]:
            distinct += 1
            if distinct == most:
                return int(own[i - 1])
    return int(own[-1])


@njit(cache=True, nogil=True)
def _sort(numbers: Integers) -> None:
    if len(numbers) > _FEW:
        sort_times(numbers, np.empty(len(numbers), np.int32))
        return
    for i in range(1, len(numbers)):
        moved, j = numbers[i], i
        while j and numbers[j - 1] > moved:
            numbers[j] = numbers[j - 1]
            j -= 1
        numbers[j] = moved
