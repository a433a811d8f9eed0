"""Compiled: what windows of a view tell of keys, and until when, from the bytes of their heads.

All that is the same for every key (the form, groups of windows, their lengths) is in one array, the
*program*, and all that a call makes for one key in another, the *sheet*: what a call takes is then
little, since each array that is handed over costs as much as a hundred rows do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit

from tacit.aggregates.columns import Array
from tacit.live.form import CUT, EXTRA, MOST, SEALED
from tacit.live.kernels import FINE, state_of
from tacit.live.lasting import forgotten, lasts
from tacit.live.scan import (
    FOLDED,
    GATHERED,
    KEPT,
    NONE,
    VALUE,
    find_starts,
    finish,
    gather,
    rows_before,
)

ABSENT, LIGHT, HEAVY, BAD, ALIEN, EARLY = range(6)
"""What a key is: unknown, answered here, in segments, damaged, of another meaning, asked too far
in the past."""
_WIDTH, _STAMP, _RESTLESS, _COLUMNS, _GROUPS, _WINDOWS, _WHOLE = range(7)
TOLD: Final = 4
"""Words that lead a sheet: what the key is, until when, how many windows have no value, and of how
many it is left to the algebra."""


def program(
    width: int,
    stamp: int,
    restless: bool,
    columns: tuple[Array, Array],
    groups: Array,
    windows: tuple[Array, ...],
    whole: tuple[Array, ...],
) -> Array:
    """What `one` and `each` run.

    Args:
        restless: whether anything asked changes all the time.
        columns: kinds and cells of the view's columns.
        groups: rows of value, filter, wants, first and last window.
        windows: op, whether it is endless, length, hop and keep of each that is asked for, those of
            a group by falling starts.
        whole: length, hop and keep of all that the view has: they decide whether a key is known.
    """
    sizes = [len(columns[0]), len(groups), len(windows[0]), len(whole[0])]
    head = np.array([width, stamp, restless, *sizes], np.int64)
    return np.concatenate([head, *columns, groups.ravel(), *windows, *whole]).astype(np.int64)


class Sheet(NamedTuple):
    """What is found of one key; all are parts of ``words``. ``whole`` are the starts of all windows
    of the view; ``raw`` are the bytes of all."""

    words: Array
    told: Array
    results: Array
    states: Array
    starts: Array
    whole: Array
    gathered: Array
    raw: memoryview


def sheet(program: Array) -> Sheet:
    """Room for what a program finds."""
    count, whole = int(program[_WINDOWS]), int(program[_WHOLE])
    sizes: Sequence[int] = (TOLD, count, count, count, whole, count * GATHERED)
    words: Array = np.zeros(sum(sizes), np.int64)
    told, results, states, starts, all_, gathered = np.split(words, np.cumsum(sizes)[:-1])
    raw = words.data.cast("B")
    return Sheet(words, told, results, states, starts, all_, gathered.reshape(count, GATHERED), raw)


def lead(program: Array) -> int:
    """Words that lead a sheet: what is told, results and states."""
    return TOLD + 2 * int(program[_WINDOWS])


@njit(cache=True, nogil=True)
def one(words: Any, program: Any, sheet: Any, at: int, now: int) -> None:
    """Fills the sheet of a key whose head is ``words``; empty for none."""
    count, whole = program[_WINDOWS], program[_WHOLE]
    results = sheet[TOLD : TOLD + count]
    states = sheet[TOLD + count : TOLD + 2 * count]
    starts = sheet[TOLD + 2 * count : TOLD + 3 * count]
    of_all = sheet[TOLD + 3 * count : TOLD + 3 * count + whole]
    gathered = sheet[TOLD + 3 * count + whole :].reshape((count, GATHERED))
    earliest, floor = _starts(program, at, now, starts, of_all)
    entity, until = _key(
        words, program, at, earliest, floor, starts, gathered, results, states,
        np.zeros(KEPT, np.float64), np.zeros(1, np.int64),
    )  # fmt: skip
    sheet[0], sheet[1] = entity, until
    sheet[2], sheet[3] = _lacking(states)


@njit(cache=True, nogil=True)
def each(blobs: Any, offsets: Any, program: Any, at: int, now: int, sheets: Any) -> None:
    """The same of many: ``blobs[offsets[k]:offsets[k+1]]`` is what key k holds. Fills of each key's
    sheet what `lead` is long: what it is told, results and states."""
    count = program[_WINDOWS]
    starts, of_all = np.empty(count, np.int64), np.empty(program[_WHOLE], np.int64)
    gathered = np.empty((count, GATHERED), np.int64)
    parts, holder = np.zeros(KEPT, np.float64), np.zeros(1, np.int64)
    earliest, floor = _starts(program, at, now, starts, of_all)
    for k in range(offsets.size - 1):
        sheet = sheets[k]
        results, states = sheet[TOLD : TOLD + count], sheet[TOLD + count : TOLD + 2 * count]
        sheet[0], sheet[1] = _key(
            blobs[offsets[k] : offsets[k + 1]], program, at, earliest, floor, starts, gathered,
            results, states, parts, holder,
        )  # fmt: skip
        sheet[2], sheet[3] = _lacking(states)


@njit(cache=True, nogil=True)
def _lacking(states: Any) -> Any:
    """How many windows have no value, and of how many it is left to the algebra."""
    odd = hard = 0
    for state in states:
        odd += state != VALUE
        hard += state > VALUE
    return odd, hard


@njit(cache=True, nogil=True)
def _windows(program: Any) -> Any:
    """Where in a program the windows that are asked for begin, and all of the view."""
    a = _WHOLE + 1 + 2 * program[_COLUMNS] + 5 * program[_GROUPS]
    return a, a + 5 * program[_WINDOWS]


@njit(cache=True, nogil=True)
def _starts(program: Any, at: int, now: int, starts: Any, of_all: Any) -> Any:
    """Fills the starts; the earliest moment that is needed, and that anything is seen of."""
    count, whole = program[_WINDOWS], program[_WHOLE]
    a, b = _windows(program)
    a += 2 * count
    earliest = find_starts(
        program[a : a + count], program[a + count : a + 2 * count],
        program[a + 2 * count : a + 3 * count], at, now, starts,
    )  # fmt: skip
    find_starts(
        program[b : b + whole], program[b + whole : b + 2 * whole],
        program[b + 2 * whole : b + 3 * whole], at, now, of_all,
    )  # fmt: skip
    return earliest, of_all.min()


@njit(cache=True, nogil=True)
def _key(
    words: Any,
    program: Any,
    at: int,
    earliest: int,
    floor: int,
    starts: Any,
    gathered: Any,
    results: Any,
    states: Any,
    parts: Any,
    holder: Any,
) -> Any:
    """Every window of one key: fills ``gathered``, ``results`` and ``states``; what the key is, and
    until when that is so.

    One with nothing in ``[floor, at)`` is ABSENT: all it has is past every window, or in the
    future. One that was cut after ``earliest`` is EARLY.
    """
    width = program[_WIDTH]
    if words.size == 0:
        states[:] = NONE
        return ABSENT, MOST
    found = state_of(words, width, program[_STAMP])
    if found != FINE:
        return (BAD if found == 1 else ALIEN), at
    if earliest < words[CUT]:
        return EARLY, at
    until = at if program[_RESTLESS] else _until(words, program, starts, at)
    end, folded = rows_before(words, width, at), words[EXTRA] > 0
    entity = HEAVY if words[SEALED] else LIGHT
    if entity == LIGHT and not folded and rows_before(words, width, floor) >= end:
        states[:] = NONE
        return ABSENT, until
    columns, count = program[_COLUMNS], program[_WINDOWS]
    kinds = program[_WHOLE + 1 : _WHOLE + 1 + columns]
    cells = program[_WHOLE + 1 + columns : _WHOLE + 1 + 2 * columns]
    group = _WHOLE + 1 + 2 * columns
    ops, _ = _windows(program)
    for _ in range(program[_GROUPS]):
        value, where, wants = program[group], program[group + 1], program[group + 2]
        low, high = program[group + 3], program[group + 4]
        group += 5
        kind = kinds[value] if value >= 0 else 0
        gather(
            words, width, end, starts[low:high], value, where, wants, kinds, cells,
            gathered[low:high],
        )  # fmt: skip
        for w in range(low, high):
            states[w] = finish(
                gathered[w], program[ops + w], kind, at, results[w : w + 1], parts, holder
            )
            if folded and program[ops + count + w]:
                states[w] = FOLDED
    return entity, until


@njit(cache=True, nogil=True)
def _until(words: Any, program: Any, starts: Any, at: int) -> Any:
    """Until when what is seen of a head is the same. Whether anything is known of a key depends on
    windows that are not asked for, too."""
    count, whole, width = program[_WINDOWS], program[_WHOLE], program[_WIDTH]
    a, b = _windows(program)
    a += 2 * count
    seen = lasts(
        words, width, program[a : a + count], program[a + count : a + 2 * count],
        program[a + 2 * count : a + 3 * count], starts, at,
    )  # fmt: skip
    gone = forgotten(
        words, width, program[b : b + whole], program[b + whole : b + 2 * whole],
        program[b + 2 * whole : b + 3 * whole], at,
    )  # fmt: skip
    return min(seen, gone)
