"""h of many values at once, compiled: the first 60 bits of MD5(salt, "|", text).

MD5 is RFC 1321. It does not protect anything here (see `plan.total_sql`): it is what DuckDB and
Spark have in common, and h must be theirs to the bit. `hashlib` and DuckDB would take five times as
long, and hold their lock, or their thread.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from tacit.plan.total_sql import HASH_DIGITS

Bytes = npt.NDArray[np.uint8]
Word = np.uint32  # sums and shifts of which are wider until they are made one again
Words = npt.NDArray[Word]

_BLOCK, _LENGTH = 64, 8  # bytes: of a block, and of the length at the end of the last one
_START = np.array([0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476], np.uint32)
_SINES = np.array([int(abs(np.sin(i + 1)) * 2**32) for i in range(64)], np.uint32)
_TURNS = np.array([[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]], np.uint32)


def hashed(values: pa.Array, salt: str) -> npt.NDArray[np.int64] | None:
    """h of texts, ints, bools; None where one is null, or a text is not UTF-8."""
    texts = values.cast(pa.large_string())
    if texts.null_count:
        return None
    try:
        texts.validate(full=True)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    _, ends, data = texts.buffers()
    found = np.empty((len(texts), 2), np.uint32)
    if len(texts):
        offsets = np.frombuffer(ends, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        raw = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
        _digest(np.frombuffer(f"{salt}|".encode(), np.uint8), raw, offsets, found)
    first = found.astype("<u4", copy=False).view(">u8").reshape(-1)
    return (first >> np.uint64(64 - 4 * HASH_DIGITS)).astype(np.int64)


@njit(cache=True, nogil=True)
def _digest(head: Bytes, data: Bytes, offsets: npt.NDArray[np.int64], found: Words) -> None:
    """The first two words of the MD5 of `head` and data[offsets[i] : offsets[i + 1]], by i."""
    words, state = np.zeros(_BLOCK // 4, np.uint32), np.empty(4, np.uint32)
    for i in range(len(offsets) - 1):
        text = data[offsets[i] : offsets[i + 1]]
        length = len(head) + len(text)
        for j in range(4):
            state[j] = _START[j]
        for at in range(0, length + 1 + _LENGTH, _BLOCK):
            _fill(words, head, text, at)
            _mix(state, words)
        found[i, 0], found[i, 1] = state[0], state[1]


@njit(cache=True, nogil=True)
def _fill(words: Words, head: Bytes, text: Bytes, at: int) -> None:
    """The block of the message head ‖ text that begins `at`: with a bit after its end, and in the
    last block its length in bits."""
    block, length = words.view(np.uint8), len(head) + len(text)
    for j in range(_BLOCK):
        place = at + j
        if place < len(head):
            block[j] = head[place]
        elif place < length:
            block[j] = text[place - len(head)]
        else:
            block[j] = 0x80 if place == length else 0
    if at + _BLOCK >= length + 1 + _LENGTH:
        words[14], words[15] = Word((8 * length) & 0xFFFFFFFF), Word((8 * length) >> 32)


@njit(cache=True, nogil=True)
def _mix(state: Words, words: Words) -> None:
    """A block's 64 steps; RFC 1321, 3.4."""
    a, b, c, d = state[0], state[1], state[2], state[3]
    for k in range(16):
        mixed = Word((b & c) | (~b & d))
        a, b, c, d = d, _step(a, b, mixed, words[k], _SINES[k], _TURNS[0, k & 3]), b, c
    for k in range(16):
        mixed, word = Word((b & d) | (c & ~d)), words[(5 * k + 1) & 15]
        a, b, c, d = d, _step(a, b, mixed, word, _SINES[16 + k], _TURNS[1, k & 3]), b, c
    for k in range(16):
        mixed, word = Word(b ^ c ^ d), words[(3 * k + 5) & 15]
        a, b, c, d = d, _step(a, b, mixed, word, _SINES[32 + k], _TURNS[2, k & 3]), b, c
    for k in range(16):
        mixed, word = Word(c ^ (b | ~d)), words[7 * k & 15]
        a, b, c, d = d, _step(a, b, mixed, word, _SINES[48 + k], _TURNS[3, k & 3]), b, c
    state[0], state[1] = Word(state[0] + a), Word(state[1] + b)
    state[2], state[3] = Word(state[2] + c), Word(state[3] + d)


@njit(cache=True, nogil=True, inline="always")
def _step(a: Word, b: Word, mixed: Word, word: Word, sine: Word, turn: Word) -> Word:
    turned = Word(a + mixed + word + sine)
    return Word(b + Word(Word(turned << turn) | Word(turned >> Word(32 - turn))))
