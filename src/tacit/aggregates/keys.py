"""Numbering keys by the spine: what nobody asks for is dropped before it is sorted.

Distinct keys of the spine are numbered in order of appearance, column by column: equal numbers mean
equal keys, and nothing is concatenated. An event whose key the spine lacks, or that is null, gets
-1; so does a spine row whose key is null or that no event can have.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from tacit.aggregates.columns import Array, Column, flat

_CHUNK = 1 << 20
_MIX = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True, nogil=True)
def _first_seen(codes: Any, place: Any) -> int:
    """Numbers the codes (-1: none) in order of appearance, in place; ``place`` maps old to new."""
    count = 0
    for i in range(codes.size):
        if codes[i] >= 0:
            if place[codes[i]] < 0:
                place[codes[i]] = count
                count += 1
            codes[i] = place[codes[i]]
    return count


@njit(cache=True, nogil=True)
def _slot(key: Any, bits: int) -> Any:
    mixed = (np.uint64(key) ^ (np.uint64(key) >> np.uint64(32))) * _MIX
    return np.int64(mixed >> np.uint64(64 - bits))


@njit(cache=True, nogil=True)
def _build(keys: Any, valid: Any, bits: int, sieve_bits: int) -> Any:
    """A table of the distinct keys, numbered as they come; the keys' numbers; a sieve; how many.

    The sieve is a bit a hash: small enough for the cache, it turns most strangers away.
    """
    size = 1 << bits
    table = np.empty((size, 2), np.int64)
    table[:, 1] = -1
    sieve = np.zeros(1 << (sieve_bits - 3), np.uint8)
    ids = np.full(keys.size, -1, np.int32)
    count = 0
    for i in range(keys.size):
        if not valid[i]:
            continue
        slot = _slot(keys[i], bits)
        while table[slot, 1] >= 0 and table[slot, 0] != keys[i]:
            slot = (slot + 1) & (size - 1)
        if table[slot, 1] < 0:
            table[slot, 0] = keys[i]
            table[slot, 1] = count
            count += 1
            bit = _slot(keys[i], sieve_bits)
            sieve[bit >> 3] |= np.uint8(1 << (bit & 7))
        ids[i] = table[slot, 1]
    return table, ids, sieve, count


@njit(cache=True, nogil=True)
def _find(keys: Any, table: Any, bits: int, sieve: Any, sieve_bits: int, out: Any) -> None:
    """The number of each key whose ``out`` is not -1 already; -1 for those not in the table."""
    mask = table.shape[0] - 1
    for i in range(keys.size):
        if out[i] < 0:
            continue
        out[i] = -1
        bit = _slot(keys[i], sieve_bits)
        if not (sieve[bit >> 3] >> (bit & 7)) & 1:
            continue
        slot = _slot(keys[i], bits)
        while table[slot, 1] >= 0:
            if table[slot, 0] == keys[i]:
                out[i] = table[slot, 1]
                break
            slot = (slot + 1) & mask


@njit(cache=True, nogil=True)
def _place(codes: Any, place: Any, out: Any) -> None:
    for i in range(codes.size):
        if out[i] >= 0:
            out[i] = place[codes[i]]


@njit(cache=True, nogil=True)
def _pair(left: Any, right: Any, width: int, out: Any) -> None:
    """Two numbers as one; the sign of ``left`` tells whether both are there."""
    for i in range(left.size):
        if left[i] < 0 or right[i] < 0:
            left[i] = -1
            out[i] = 0
        else:
            out[i] = np.int64(left[i]) * width + right[i]


def key_ids(
    events: Sequence[Column], at: Column, spine: Sequence[pa.ChunkedArray], pool: Executor
) -> tuple[Array, Array, int]:
    """The key number of each event and of each spine row, int32, and how many keys there are."""
    ids, wanted, count = _single(events[0], at.valid, spine[0], pool)
    for column, asked in zip(events[1:], spine[1:], strict=True):
        more, also, width = _single(column, at.valid, asked, pool)
        together = np.zeros(len(wanted), np.int64)
        _pair(wanted, also, width, together)
        finder = _Finder(together, wanted >= 0)

        def narrow(start: int, ids: Array = ids, more: Array = more) -> None:
            part = slice(start, start + _CHUNK)
            keys = np.empty(len(ids[part]), np.int64)
            _pair(ids[part], more[part], width, keys)  # noqa: B023 - it runs in this round
            finder.find(keys, ids[part])  # noqa: B023

        list(pool.map(narrow, range(0, len(ids), _CHUNK)))
        wanted, count = finder.ids, finder.count
    return ids, wanted, count


class _Finder:
    """Ints to their numbers."""

    def __init__(self, keys: Array, valid: Array) -> None:
        self.bits = max(4, int(2 * len(keys)).bit_length())
        self.sieve_bits = min(24, self.bits + 3)
        self.table, self.ids, self.sieve, self.count = _build(
            keys, valid, self.bits, self.sieve_bits
        )

    def find(self, keys: Array, out: Array) -> None:
        _find(keys, self.table, self.bits, self.sieve, self.sieve_bits, out)


def _single(
    events: Column, present: Array | None, spine: pa.ChunkedArray, pool: Executor
) -> tuple[Array, Array, int]:
    """The numbers of one key column."""
    size = len(events.numbers)
    ids = np.zeros(size, np.int32)
    for valid in (events.valid, present):
        if valid is not None:
            ids[~valid] = -1
    if events.dictionary is None:
        return _whole(events, ids, spine, pool)
    wanted = _codes_of(spine, events.dictionary)
    place = np.full(max(len(events.dictionary), 1), -1, np.int32)
    count = _first_seen(wanted, place)

    def number(start: int) -> None:
        part = slice(start, start + _CHUNK)
        _place(events.numbers[part], place, ids[part])

    list(pool.map(number, range(0, size, _CHUNK)))
    return ids, wanted, count


def _codes_of(spine: pa.ChunkedArray, dictionary: pa.Array) -> Array:
    """Where each text of the spine is in the dictionary; -1 for nowhere. A fresh array."""
    array = flat(spine)
    if not pa.types.is_dictionary(array.type):
        found = pc.index_in(array.cast(dictionary.type), value_set=dictionary, skip_nulls=True)
        return np.array(found.fill_null(-1).to_numpy(), np.int32)
    # The dictionary of the spine is small; its rows are many.
    places = pc.index_in(
        array.dictionary.cast(dictionary.type), value_set=dictionary, skip_nulls=True
    )
    found = places.take(array.indices)
    return np.array(found.fill_null(-1).to_numpy(), np.int32)


def _whole(
    events: Column, ids: Array, spine: pa.ChunkedArray, pool: Executor
) -> tuple[Array, Array, int]:
    """The numbers of a column of ints (floats by their bits)."""
    array = flat(spine)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if events.numbers.dtype.kind == "f":
        asked = array.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False) + 0.0
        valid = ~np.isnan(asked)
    else:
        valid = pc.is_valid(array).to_numpy(zero_copy_only=False)
        asked = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    finder = _Finder(np.ascontiguousarray(asked).view(np.int64), valid)

    def number(start: int) -> None:
        part = slice(start, start + _CHUNK)
        numbers = events.numbers[part]
        wide = numbers if numbers.dtype.itemsize == 8 else numbers.astype(np.int64)
        finder.find(wide.view(np.int64), ids[part])

    list(pool.map(number, range(0, len(ids), _CHUNK)))
    return ids, finder.ids, finder.count
