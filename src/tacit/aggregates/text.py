"""Numbering text as it streams by: one dictionary over many batches, in order of appearance."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from tacit.aggregates.machine import fetch, load

Array = npt.NDArray[Any]
_MIX = np.uint64(0x9E3779B97F4A7C15)
_AHEAD = 64  # texts whose slots are fetched together: their waits overlap


@njit(cache=True, nogil=True)
def _word(data: Any, at: Any, length: Any) -> Any:
    """Up to eight bytes from a position on, as a little-endian number."""
    if at + 8 <= data.size:
        eight = load(np.uintp(data.ctypes.data + at))
        if length < 8:
            eight &= (np.uint64(1) << np.uint64(8 * length)) - np.uint64(1)
        return eight
    word = np.uint64(0)
    for i in range(min(length, 8)):
        word |= np.uint64(data[at + i]) << np.uint64(8 * i)
    return word


@njit(cache=True, nogil=True)
def _hash(data: Any, at: Any, length: Any) -> Any:
    state: Any = np.uint64(length) * _MIX
    for i in range(0, length, 8):
        state = (state ^ _word(data, at + i, length - i)) * _MIX
        state ^= state >> np.uint64(29)
    return state


@njit(cache=True, nogil=True)
def _same(left: Any, i: Any, right: Any, j: Any, length: Any) -> bool:
    for step in range(0, length, 8):
        if _word(left, i + step, length - step) != _word(right, j + step, length - step):
            return False
    return True


@njit(cache=True, nogil=True)
def _encode(
    offsets: Any, data: Any, start: int, slots: Any, ends: Any, store: Any, count: int, out: Any
) -> Any:
    """Numbers the texts from ``start`` on; stops where a table is full. Returns where, and count.

    ``slots`` is open addressing over a power of two: a hash, and beside it length and code, plus
    one; code c has its bytes at ``store[ends[c]:ends[c + 1]]``. Of texts of up to eight bytes the
    hash and the length tell all, so only longer ones are compared.
    """
    mask = np.int64(slots.shape[0] - 1)
    keys = np.empty(_AHEAD, np.uint64)
    ahead = start
    for row in range(start, out.size):
        if row == ahead:
            ahead = min(row + _AHEAD, out.size)
            for i in range(row, ahead):
                at = np.int64(offsets[i])
                keys[i % _AHEAD] = _hash(data, at, np.int64(offsets[i + 1]) - at)
                fetch(np.uintp(slots.ctypes.data + 16 * (np.int64(keys[i % _AHEAD]) & mask)))
        at = np.int64(offsets[row])
        length = np.int64(offsets[row + 1]) - at
        key = keys[row % _AHEAD]
        slot = np.int64(key) & mask
        code = np.int64(-1)
        while slots[slot, 1] != 0:
            if slots[slot, 0] == key and np.int64(slots[slot, 1] >> np.uint64(32)) == length:
                code = np.int64(slots[slot, 1] & np.uint64(0xFFFFFFFF)) - 1
                if length <= 8 or _same(store, ends[code], data, at, length):
                    break
                code = np.int64(-1)
            slot = (slot + 1) & mask
        if code < 0:
            if 3 * (count + 1) > 2 * slots.shape[0] or ends[count] + length > store.size:
                return row, count
            code = np.int64(count)
            slots[slot, 0] = key
            slots[slot, 1] = (np.uint64(length) << np.uint64(32)) | np.uint64(code + 1)
            for i in range(length):
                store[ends[code] + i] = data[at + i]
            ends[code + 1] = ends[code] + length
            count += 1
        out[row] = code
    return out.size, count


@njit(cache=True, nogil=True)
def _rehash(old: Any, slots: Any) -> None:
    mask = np.int64(slots.shape[0] - 1)
    for i in range(old.shape[0]):
        if old[i, 1] != 0:
            slot = np.int64(old[i, 0]) & mask
            while slots[slot, 1] != 0:
                slot = (slot + 1) & mask
            slots[slot, 0], slots[slot, 1] = old[i, 0], old[i, 1]


class TextCodes:
    """A growing dictionary. Equal texts get equal codes, from 0 on; one thread at a time."""

    def __init__(self) -> None:
        self.count = 0
        self._slots = np.zeros((1 << 12, 2), np.uint64)
        self._ends = np.zeros(1 << 12, np.int64)
        self._store = np.empty(1 << 16, np.uint8)
        self._last: tuple[pa.Array, Array] | None = None

    def _dictionary(self, dictionary: pa.Array) -> Array:
        """The codes of a batch's dictionary; the next batch often has the same one."""
        if self._last is None or not dictionary.equals(self._last[0]):
            self._last = dictionary, self.encode(dictionary)
        return self._last[1]

    def encode(self, array: pa.Array) -> Array:
        """The codes of a string or dictionary array; those of nulls mean nothing."""
        if pa.types.is_dictionary(array.type):
            codes = self._dictionary(array.dictionary)
            indices = array.indices.fill_null(0) if array.null_count else array.indices
            return codes.take(indices.to_numpy()) if len(codes) else np.zeros(len(array), np.int32)
        if not pa.types.is_large_string(array.type):
            array = array.cast(pa.string())
        kind = np.int64 if pa.types.is_large_string(array.type) else np.int32
        _, offsets, data = array.buffers()
        out = np.empty(len(array), np.int32)
        if not len(array):
            return out
        texts = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
        ends = np.frombuffer(offsets, kind)[array.offset : array.offset + len(array) + 1]
        if ends[-1] < 2**31:  # nearly always, so that one kernel is nearly always enough
            ends = ends.astype(np.int32, copy=False)
        row = 0
        while row < len(out):
            row, self.count = _encode(
                ends, texts, row, self._slots, self._ends, self._store, self.count, out
            )
            if row < len(out):
                self._grow(int(ends[row + 1] - ends[row]))
        return out

    def _grow(self, length: int) -> None:
        if 3 * (self.count + 1) > 2 * len(self._slots):
            slots = np.zeros((4 * len(self._slots), 2), np.uint64)
            _rehash(self._slots, slots)
            self._slots = slots
            self._ends = np.resize(self._ends, len(slots))
        used = int(self._ends[self.count])
        if used + length > self._store.size:
            grown = np.empty(2 * self._store.size + length, np.uint8)
            grown[:used] = self._store[:used]
            self._store = grown

    @property
    def dictionary(self) -> pa.Array:
        """The texts by code."""
        ends = self._ends[: self.count + 1].copy()
        data = self._store[: ends[-1]].copy()
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(data)]
        return pa.Array.from_buffers(pa.large_string(), self.count, buffers)
