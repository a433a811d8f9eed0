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
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from tacit.aggregates.columns import Array
from tacit.live.values import Status, Table

JSON: Final = b"application/json"
FLOAT32: Final = b"application/vnd.tacit.float32"
WORDS: Final = tuple(f'"{status.name.lower()}"'.encode() for status in Status)
_HEAD = struct.Struct("<4sHHIIq")
_MOST = 1024  # lists of statuses whose JSON is kept
_MARK: Final = b"\x00"
"""A byte that no JSON has: where a number is to be filled in."""
_HOLE: Final = msgspec.Raw(_MARK)
_encode = msgspec.json.Encoder().encode


class Encoder:
    """Bodies of answers for some signals. ``types`` are those of the plan."""

    def __init__(self, signals: Sequence[str], types: Sequence[str]) -> None:
        self._start = b'{"signals":' + _encode(list(signals)) + b',"at":'
        self._words: dict[bytes, bytes] = {}
        self._size = len(signals)
        self._maps = [i for i, kind in enumerate(types) if kind.startswith("map<")]

    def one(self, values: Sequence[Any], status: Sequence[int], at: int) -> bytes:
        """JSON of one key."""
        return self.whole(self.row(values, ()), self.statuses(status), at)

    def whole(self, row: bytes, statuses: bytes, at: int) -> bytes:
        """The same of what `row` and `statuses` made."""
        return b'%s%d,"values":%s,"status":%s}' % (self._start, at, row, statuses)

    def row(self, values: Sequence[Any], ages: Collection[int], names: Sequence[str] = ()) -> bytes:
        """JSON of one key's values, a list, or an object by ``names``; as it is where there are no
        ages, else to be filled by ``%`` at these places."""
        if ages:
            return self._holed(values, ages, names)
        told = self.plain(values)
        return _encode(dict(zip(names, told, strict=True)) if names else told)

    def _holed(
        self, values: Sequence[Any], ages: Iterable[int], names: Sequence[str] = ()
    ) -> bytes:
        told = list(self.plain(values))
        for place in ages:
            told[place] = _HOLE
        body = _encode(dict(zip(names, told, strict=True)) if names else told)
        if b"%" in body:
            body = body.replace(b"%", b"%%")
        return body.replace(_MARK, b"%d")

    def rows(self, told: Sequence[tuple[bytes, bytes]], at: int) -> bytes:
        """JSON of many keys, of each its values and its statuses."""
        values = b",".join([each[0] for each in told])
        status = b",".join([each[1] for each in told])
        return b'%s%d,"values":[%s],"status":[%s]}' % (self._start, at, values, status)

    def plain(self, values: Sequence[Any]) -> Sequence[Any]:
        """The values as JSON has them: histograms are objects."""
        return self._values(values) if self._maps else values

    def many(self, table: Table, at: int) -> bytes:
        """JSON of many keys."""
        rows = list(map(list, zip(*table.columns, strict=True)))
        told = [self._values(row) for row in rows] if self._maps else rows
        status = b",".join([self.statuses(row) for row in table.status.tolist()])
        return b'%s%d,"values":%s,"status":[%s]}' % (self._start, at, _encode(told), status)

    def statuses(self, status: Sequence[int]) -> bytes:
        """JSON of one key's statuses."""
        shown = bytes(status)
        found = self._words.get(shown)
        if found is None:
            found = b"[" + b",".join([WORDS[each] for each in status]) + b"]"
            if len(self._words) < _MOST:
                self._words[shown] = found
        return found

    def _values(self, values: Sequence[Any]) -> list[Any]:
        found = list(values)
        for i in self._maps:
            if found[i] is not None:
                found[i] = {_word(key): value for key, value in found[i]}
        return found

    def head(self, count: int, at: int) -> bytes:
        """The first 24 bytes of the binary body."""
        return _HEAD.pack(b"TF32", 1, 0, count, self._size, at)

    def packed(self, floats: Array, status: Array, at: int) -> bytes:
        """The binary body."""
        return self.head(len(floats), at) + self.body(floats, status)

    def body(self, floats: Array, status: Any) -> bytes:
        """What follows them: floats and statuses are (keys, signals)."""
        return floats.astype("<f4").tobytes() + np.asarray(status, np.uint8).tobytes()


def _word(key: Any) -> str:
    """The second key of a histogram, as JSON has it: pairs come in, an object goes out."""
    if isinstance(key, str):
        return key
    return _encode(key).decode()


def floats_of(values: Sequence[Any]) -> Array:
    """(1, signals) float32 of one key's values."""
    found = [value if isinstance(value, int | float) else np.nan for value in values]
    return np.array([found], np.float32)
