"""Answers as bodies: JSON, or a binary one of float32 for those who feed a model.

JSON, of one key::

    {"signals": ["looks", "last"], "at": 1767139200000000,
     "values": [2, "i2"], "status": ["fresh", "fresh"]}

and of many, ``values`` and ``status`` are lists of such lists, one for each key. ``at`` is the
moment in µs, UTC. What JSON cannot write (an infinity) is null; the binary body has it.

Binary (`application/vnd.tacit.float32`), little-endian, for n keys and m signals::

    offset      size    what
    0           4       "TF32"
    4           2       version, 1
    6           2       0
    8           4       n
    12          4       m
    16          8       at, µs, signed
    24          4nm     float32 by rows: key 0's m signals first; NaN where there is no number
    24 + 4nm    nm      statuses, one byte each, by rows

Statuses: 0 fresh, 1 stale, 2 missing, 3 denied, 4 noised. A bool is 0 or 1, a moment µs rounded to
float32; text, lists and maps are no numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np

from tacit.aggregates.columns import Array
from tacit.live.reader import Status

JSON: Final = b"application/json"
FLOAT32: Final = b"application/vnd.tacit.float32"
WORDS: Final = tuple(f'"{status.name.lower()}"'.encode() for status in Status)
_HEAD = struct.Struct("<4sHHIIq")
_encode = msgspec.json.Encoder().encode


Told: TypeAlias = tuple[bytes, bytes]
"""JSON of a key's values, and of its statuses."""


class Encoder:
    """Bodies of answers for some signals. ``types`` are those of the plan."""

    def __init__(self, signals: Sequence[str], types: Sequence[str]) -> None:
        self._start = b'{"signals":' + _encode(list(signals)) + b',"at":'
        self._size = len(signals)
        self._fresh = b"[" + b",".join([WORDS[0]] * self._size) + b"]"
        self._maps = [i for i, kind in enumerate(types) if kind.startswith("map<")]

    def told(self, values: Sequence[Any], status: Sequence[int]) -> Told:
        """JSON of one key's values, and of its statuses."""
        return _encode(self.plain(values)), self._status(status)

    def one(self, told: Told, at: int) -> bytes:
        """JSON of one key."""
        return b'%s%d,"values":%s,"status":%s}' % (self._start, at, *told)

    def many(self, told: Sequence[Told], at: int) -> bytes:
        """JSON of many keys."""
        values = b",".join([each[0] for each in told])
        status = b",".join([each[1] for each in told])
        return b'%s%d,"values":[%s],"status":[%s]}' % (self._start, at, values, status)

    def _status(self, status: Sequence[int]) -> bytes:
        if not any(status):
            return self._fresh
        return b"[" + b",".join([WORDS[each] for each in status]) + b"]"

    def plain(self, values: Sequence[Any]) -> Sequence[Any]:
        """The values as JSON has them: histograms are objects."""
        if not self._maps:
            return values
        found = list(values)
        for i in self._maps:
            if found[i] is not None:
                found[i] = {_word(key): value for key, value in found[i]}
        return found

    def packed(self, floats: Array, status: Array, at: int) -> bytes:
        """The binary body; floats and statuses are (keys, signals)."""
        head = _HEAD.pack(b"TF32", 1, 0, len(floats), self._size, at)
        return head + floats.astype("<f4").tobytes() + status.astype(np.uint8).tobytes()


def _word(key: Any) -> str:
    """The second key of a histogram, as JSON has it: pairs come in, an object goes out."""
    if isinstance(key, str):
        return key
    return _encode(key).decode()


def floats_of(values: Sequence[Any]) -> Array:
    """(1, signals) float32 of one key's values."""
    found = [value if isinstance(value, int | float) else np.nan for value in values]
    return np.array([found], np.float32)
