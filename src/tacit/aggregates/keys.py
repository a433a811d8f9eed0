"""Numbering keys by the spine: what nobody asks for is dropped before it is sorted.

Distinct keys of the spine are numbered in order of appearance, column by column: equal numbers mean
equal keys, and nothing is concatenated. An event whose key the spine lacks, or that is null, gets
-1; so does a spine row whose key is null or that no event can have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from tacit.aggregates.columns import Array, Column, flat, plain, read_only
from tacit.aggregates.machine import fetch
from tacit.aggregates.text import TextCodes

_MIX = np.uint64(0x9E3779B97F4A7C15)
_AHEAD = 64  # keys whose slots are fetched together: their waits overlap


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
    ids = np.empty(keys.size, np.int32)
    ids[:] = -1
    count = 0
    for i in range(keys.size):
        if i % _AHEAD == 0:
            for j in range(i, min(i + _AHEAD, keys.size)):
                fetch(np.uintp(table.ctypes.data + 16 * _slot(keys[j], bits)))
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
        if i % _AHEAD == 0:
            for j in range(i, min(i + _AHEAD, keys.size)):
                bit = _slot(keys[j], sieve_bits)
                if out[j] >= 0 and (sieve[bit >> 3] >> (bit & 7)) & 1:
                    fetch(np.uintp(table.ctypes.data + 16 * _slot(keys[j], bits)))
                else:
                    out[j] = -1
        if out[i] < 0:
            continue
        out[i] = -1
        slot = _slot(keys[i], bits)
        while table[slot, 1] >= 0:
            if table[slot, 0] == keys[i]:
                out[i] = table[slot, 1]
                break
            slot = (slot + 1) & mask


@njit(cache=True, nogil=True)
def _place(codes: Any, place: Any, out: Any) -> None:
    for i in range(codes.size):
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


class Numbering(Protocol):
    """The numbers of one key column, or of several together."""

    wanted: Array  # of each row of the spine, int32; -1 for none
    count: int  # how many numbers there are

    def find(self, rows: slice) -> Array:
        """The numbers of these rows, int32, -1 for none; a fresh array."""


class _Finder:
    """Ints to their numbers."""

    def __init__(self, keys: Array, valid: Array) -> None:
        self.bits = max(4, int(2 * len(keys)).bit_length())
        self.sieve_bits = min(24, self.bits + 3)
        self.table, self.ids, self.sieve, self.count = _build(
            read_only(keys), valid, self.bits, self.sieve_bits
        )

    def find(self, keys: Array, out: Array) -> None:
        _find(read_only(keys), self.table, self.bits, self.sieve, self.sieve_bits, out)


class _Texts:
    """Of a column of text: its codes, renumbered."""

    def __init__(self, column: Column, spine: pa.ChunkedArray) -> None:
        assert column.dictionary is not None, "text has a dictionary"
        self.column = column
        self.wanted = _codes_of(spine, column.dictionary)
        self.place = np.full(max(len(column.dictionary), 1), -1, np.int32)
        self.count = int(_first_seen(self.wanted, self.place))

    def find(self, rows: slice) -> Array:
        codes = self.column.numbers[rows]
        out = np.empty(len(codes), np.int32)
        _place(read_only(codes), self.place, out)
        if self.column.valid is not None:
            out[~self.column.valid[rows]] = -1
        return out


class _Numbers:
    """Of a column of ints (floats by their bits)."""

    def __init__(self, column: Column, spine: pa.ChunkedArray) -> None:
        self.column = column
        array = flat(spine)
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if column.numbers.dtype.kind == "f":
            asked = array.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False) + 0.0
            valid = ~np.isnan(asked)
        else:
            valid = pc.is_valid(array).to_numpy(zero_copy_only=False)
            asked = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        self.finder = _Finder(np.ascontiguousarray(asked).view(np.int64), valid)
        self.wanted, self.count = self.finder.ids, self.finder.count

    def find(self, rows: slice) -> Array:
        numbers = self.column.numbers[rows]
        wide = numbers if numbers.dtype.itemsize == 8 else numbers.astype(np.int64)
        out = np.zeros(len(numbers), np.int32)
        if self.column.valid is not None:
            out[~self.column.valid[rows]] = -1
        self.finder.find(wide.view(np.int64), out)
        return out


class _Pairs:
    """Of two numberings together."""

    def __init__(self, left: Numbering, right: Numbering) -> None:
        self.left, self.right = left, right
        wanted = left.wanted.copy()
        together = np.zeros(len(wanted), np.int64)
        _pair(wanted, right.wanted, right.count, together)
        self.finder = _Finder(together, wanted >= 0)
        self.wanted, self.count = self.finder.ids, self.finder.count

    def find(self, rows: slice) -> Array:
        out = self.left.find(rows)
        keys = np.empty(len(out), np.int64)
        _pair(out, self.right.find(rows), self.right.count, keys)
        self.finder.find(keys, out)
        return out


class Keys:
    """The numberings of the views of one source and one spine: each column is numbered once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Numbering] = {}
        self._held: list[Any] = []  # what is known by its id lives as long as this

    def numbering(self, events: Sequence[Column], spine: Sequence[pa.ChunkedArray]) -> Numbering:
        """Of the key columns of a view."""
        found = self._single(events[0], spine[0])
        for column, asked in zip(events[1:], spine[1:], strict=True):
            found = _Pairs(found, self._single(column, asked))
        return found

    def _single(self, column: Column, spine: pa.ChunkedArray) -> Numbering:
        key = id(column), id(spine)
        if key not in self._known:
            self._known[key] = (_Numbers if column.dictionary is None else _Texts)(column, spine)
            self._held += column, spine
        return self._known[key]


def _codes_of(spine: pa.ChunkedArray, dictionary: pa.Array) -> Array:
    """Where each text of the spine is in the dictionary; -1 for nowhere. A fresh array."""
    texts = TextCodes()
    texts.encode(dictionary)  # its texts differ, so each gets its place as its code
    parts = [np.empty(0, np.int32)]
    for chunk in map(plain, spine.chunks):
        codes = texts.encode(chunk)
        known = codes < len(dictionary)
        if chunk.null_count:
            known &= pc.is_valid(chunk).to_numpy(zero_copy_only=False)
        parts.append(np.where(known, codes, np.int32(-1)))
    return np.concatenate(parts)
