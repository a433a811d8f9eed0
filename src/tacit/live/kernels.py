"""Compiled loops over blobs: merging new rows into them. The form is in ``live.form``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tacit.aggregates.kernels import at_least
from tacit.aggregates.sorting import sort_times
from tacit.live.form import CUT, EXTRA, HEADER, HEAP, LEAST, ROWS, SEALED, STAMP, TEXTS

FINE, DAMAGED, FOREIGN = 0, 1, 2
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SECOND = np.uint64(0xD6E8FEB86659FD93)


@njit(cache=True, nogil=True)
def checksum(words: Any) -> Any:
    """A 64-bit mix of all words but the first, in four lanes. It finds damage, not malice."""
    a, b, c, d = _MIX, _SECOND, _MIX ^ _SECOND, np.uint64(words.size)
    i = 1
    while i + 4 <= words.size:
        a = (a ^ np.uint64(words[i])) * _MIX
        b = (b ^ np.uint64(words[i + 1])) * _MIX
        c = (c ^ np.uint64(words[i + 2])) * _MIX
        d = (d ^ np.uint64(words[i + 3])) * _MIX
        a ^= a >> np.uint64(29)
        b ^= b >> np.uint64(29)
        c ^= c >> np.uint64(29)
        d ^= d >> np.uint64(29)
        i += 4
    while i < words.size:
        a = (a ^ np.uint64(words[i])) * _MIX
        a ^= a >> np.uint64(29)
        i += 1
    for lane in (b, c, d):
        a = (a ^ lane) * _SECOND
        a ^= a >> np.uint64(32)
    return np.int64(a)


@njit(cache=True, nogil=True)
def state_of(words: Any, width: int, stamp: int) -> int:
    """FINE, DAMAGED, or FOREIGN for a blob of another meaning."""
    if words.size < HEADER or checksum(words) != words[0]:
        return DAMAGED
    if words[STAMP] != stamp:
        return FOREIGN
    size = HEADER + words[ROWS] * width + words[TEXTS] + words[HEAP] + (words[EXTRA] + 7) // 8
    return FINE if size == words.size else DAMAGED


@njit(cache=True, nogil=True)
def _ordered(left: Any, one: int, right: Any, other: int) -> int:
    """How the texts of two entries are ordered: by bytes, which for UTF-8 is by code points."""
    a, b, size, length = one >> 32, other >> 32, one & 0xFFFFFFFF, other & 0xFFFFFFFF
    for i in range(min(size, length)):
        if left[a + i] != right[b + i]:
            return -1 if left[a + i] < right[b + i] else 1
    return 0 if size == length else (-1 if size < length else 1)


@njit(cache=True, nogil=True)
def _by_text(codes: Any, entries: Any, bytes_: Any) -> Any:
    """Places of codes in the order of their texts. Of one batch they are so already; where several
    batches are together, they are sorted (by merging, from below)."""
    found = np.arange(codes.size)
    size = 1
    for i in range(1, codes.size):
        if _ordered(bytes_, entries[codes[i - 1]], bytes_, entries[codes[i]]) > 0:
            break
    else:
        size = codes.size
    while size < codes.size:
        before = found.copy()
        for low in range(0, codes.size, 2 * size):
            middle, high = min(low + size, codes.size), min(low + 2 * size, codes.size)
            i, j = low, middle
            for k in range(low, high):
                left = j == high
                if i < middle and j < high:
                    one, other = entries[codes[before[i]]], entries[codes[before[j]]]
                    left = _ordered(bytes_, one, bytes_, other) <= 0
                if left:
                    found[k] = before[i]
                    i += 1
                else:
                    found[k] = before[j]
                    j += 1
        size *= 2
    return found


@njit(cache=True, nogil=True)
def _has(row: Any, column: int) -> Any:
    return (row[1 + column // 32] >> (column % 32)) & 1 != 0


@njit(cache=True, nogil=True)
def _copy(words: Any, out: Any) -> None:
    """Into the first words of ``out``. Assigning a slice to a slice would be the same, and take
    seconds to compile, for the words of its error."""
    for i in range(words.size):
        out[i] = words[i]


@njit(cache=True, nogil=True)
def _interleave(old: Any, fresh: Any, cut: int, out: Any) -> int:
    """Rows of both by time, those before the cut left out; how many. Old ones first in a tie."""
    i, j, n = 0, 0, 0
    while i < old.shape[0] and old[i, 0] < cut:
        i += 1
    while j < fresh.shape[0] and fresh[j, 0] < cut:
        j += 1
    while i < old.shape[0] or j < fresh.shape[0]:
        if j == fresh.shape[0] or (i < old.shape[0] and old[i, 0] <= fresh[j, 0]):
            _copy(old[i], out[n])
            out[n, -1] = 0
            i += 1
        else:
            _copy(fresh[j], out[n])
            out[n, -1] = 1
            j += 1
        n += 1
    return n


@njit(cache=True, nogil=True)
def _distinct(codes: Any) -> int:
    """Brings the distinct ones to the front, in order; how many."""
    sort_times(codes, np.empty(codes.size, np.int32))
    count = 0
    for i in range(codes.size):
        if i == 0 or codes[i] != codes[i - 1]:
            codes[count] = codes[i]
            count += 1
    return count


@njit(cache=True, nogil=True)
def _texts(
    rows: Any, table: Any, heap: Any, entries: Any, bytes_: Any, columns: Any, cells: Any, out: Any
) -> Any:
    """Numbers the texts that the rows use, in their order; writes table and heap to ``out``.

    A row's last word says whether its texts are of the old blob (0) or of the batch (1). Returns
    how many texts there are and how many words of heap.
    """
    used = np.zeros(table.size, np.bool_)
    codes = np.empty(rows.shape[0] * columns.size, np.int64)
    count = 0
    for i in range(rows.shape[0]):
        for column in columns:
            if _has(rows[i], column):
                code = rows[i, cells[column]]
                if rows[i, -1] == 0:
                    used[code] = True
                else:
                    codes[count] = code
                    count += 1
    fresh = codes[: _distinct(codes[:count])]
    by_text = _by_text(fresh, entries, bytes_)
    of_old = np.empty(table.size, np.int64)
    of_new = np.empty(fresh.size, np.int64)
    texts, at = np.empty(table.size + fresh.size, np.int64), 0
    source = np.empty(table.size + fresh.size, np.int64)
    i, j, n = 0, 0, 0
    while True:
        while i < table.size and not used[i]:
            i += 1
        if i == table.size and j == fresh.size:
            break
        order = 0
        new: Any = np.int64(0)
        if j < fresh.size:
            new = entries[fresh[by_text[j]]]
        if i == table.size:
            order = 1
        elif j == fresh.size:
            order = -1
        else:
            order = _ordered(heap, table[i], bytes_, new)
        size = (table[i] if order <= 0 else new) & 0xFFFFFFFF
        texts[n] = at << 32 | size
        source[n] = i if order <= 0 else -1 - fresh[by_text[j]]
        at += size
        if order <= 0:
            of_old[i] = n
            i += 1
        if order >= 0:
            while j < fresh.size and _ordered(bytes_, new, bytes_, entries[fresh[by_text[j]]]) == 0:
                of_new[by_text[j]] = n
                j += 1
        n += 1
    _copy(texts[:n], out)
    words = (at + 7) // 8
    out[n : n + words] = 0
    into = out[n : n + words].view(np.uint8)
    for k in range(n):
        start, size = texts[k] >> 32, texts[k] & 0xFFFFFFFF
        if source[k] >= 0:
            begin = table[source[k]] >> 32
            _copy(heap[begin : begin + size], into[start : start + size])
        else:
            begin = entries[-1 - source[k]] >> 32
            _copy(bytes_[begin : begin + size], into[start : start + size])
    for i in range(rows.shape[0]):
        for column in columns:
            if _has(rows[i], column):
                code = rows[i, cells[column]]
                if rows[i, -1] == 0:
                    rows[i, cells[column]] = of_old[code]
                else:
                    rows[i, cells[column]] = of_new[at_least(fresh, np.int64(0), fresh.size, code)]
    return n, words


@njit(cache=True, nogil=True)
def merge_blobs(
    old: Any,
    offsets: Any,
    fresh: Any,
    starts: Any,
    entries: Any,
    bytes_: Any,
    columns: Any,
    cells: Any,
    cuts: Any,
    stamp: int,
    out: Any,
) -> Any:
    """New rows into blobs: key k has ``old[offsets[k]:offsets[k+1]]`` and ``fresh[starts[k]:…]``.

    ``entries`` and ``bytes_`` are the texts of the new rows, in any order, some perhaps twice;
    ``columns`` are those that hold text. They and ``old`` come as `read_only`. Rows before the
    key's cut are left out. Writes the new blobs to ``out``; returns where each starts, how many
    rows each has, and the state of what was there. What is not FINE stays as it was: its new blob
    is empty.
    """
    keys, width = offsets.size - 1, fresh.shape[1]
    ends = np.zeros(keys + 1, np.int64)
    counts = np.zeros(keys, np.int64)
    states = np.zeros(keys, np.int64)
    none = np.zeros(HEADER, np.int64)
    none[CUT] = LEAST
    most = 0
    for k in range(keys):
        had = (offsets[k + 1] - offsets[k]) // width
        most = max(most, had + starts[k + 1] - starts[k])
    scratch = np.empty((most, width + 1), np.int64)
    at = 0
    for k in range(keys):
        blob = old[offsets[k] : offsets[k + 1]]
        if blob.size:
            states[k] = state_of(blob, width, stamp)
        else:
            blob = none
        if states[k] == FINE:
            a = HEADER + blob[ROWS] * width
            b = a + blob[TEXTS]
            c = b + blob[HEAP]
            had = blob[HEADER:a].reshape((blob[ROWS], width))
            n = _interleave(had, fresh[starts[k] : starts[k + 1]], cuts[k], scratch)
            rows = scratch[:n]
            end = at + HEADER + n * width
            texts, words = 0, 0
            if columns.size:
                texts, words = _texts(
                    rows, blob[a:b], blob[b:c].view(np.uint8), entries, bytes_, columns, cells,
                    out[end:],
                )  # fmt: skip
            for i in range(n):
                _copy(rows[i, :-1], out[at + HEADER + i * width :])
            end += texts + words
            _copy(blob[c:], out[end:])
            end += blob.size - c
            out[at + ROWS] = n
            out[at + TEXTS] = texts
            out[at + HEAP] = words
            out[at + EXTRA] = blob[EXTRA]
            out[at + CUT] = max(blob[CUT], cuts[k])
            out[at + STAMP] = stamp
            out[at + SEALED] = blob[SEALED]
            out[at] = checksum(out[at:end])
            counts[k] = n
            at = end
        ends[k + 1] = at
    return ends, counts, states
