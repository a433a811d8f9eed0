"""The small values that every room shares: moments, durations, secrets, fingerprints.

Time is a signed 64-bit count of microseconds since 1970-01-01T00:00:00Z, in every engine and on
every wire: no engine then applies a time zone of its own. Durations are microseconds too.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from tacit.errors import DeclarationError

MICROSECOND = 1
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY

_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": WEEK}
_DURATION = re.compile(r"([0-9]{1,15})\s*([smhdw])")


class Type(StrEnum):
    """What a column or an expression holds. One name, one meaning, in every engine."""

    INT = "int"  # signed, 64 bit
    FLOAT = "float"  # IEEE 754 double; NaN means missing, as null does
    TEXT = "text"  # UTF-8
    BOOL = "bool"
    TIME = "time"  # microseconds since the epoch, UTC; an INT to arithmetic's eyes
    VECTOR = "vector"  # so many 32-bit floats, as its column says; no expression computes with it

    @property
    def numeric(self) -> bool:
        return self in (Type.INT, Type.FLOAT)


SCALARS = (Type.INT, Type.FLOAT, Type.TEXT, Type.BOOL, Type.TIME)
"""The types that expressions compute with."""


def duration(text: str, *, where: str | None = None) -> int:
    """Microseconds of a duration such as ``"90s"``, ``"5m"``, ``"1h"``, ``"30d"`` or ``"2w"``.

    Raises DeclarationError T101 when the text is not one, or is zero.
    """
    match = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    length = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < length < 2**62:
        raise DeclarationError(
            f"{text!r} is not a duration of more than nothing",
            code="T101",
            where=where,
            fix='write a number and a unit: "90s", "5m", "1h", "30d" or "2w"',
        )
    return length


def show_duration(length: int | None) -> str:
    """The shortest text that ``duration`` reads back; ``"ever"`` for no bound."""
    if length is None:
        return "ever"
    for unit in ("w", "d", "h", "m", "s"):
        if length % _UNITS[unit] == 0 and (unit != "w" or length == WEEK):
            return f"{length // _UNITS[unit]}{unit}"
    return f"{length}µs"


def moment(at: datetime) -> int:
    """Microseconds since the epoch. A datetime without a zone is read as UTC."""
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    delta = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds


class Secret:
    """Bytes that never print themselves. Comparison takes constant time."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    def reveal(self) -> bytes:
        """The bytes. Every call of this is a place to review."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({len(self._value)} bytes)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Secret is not pickled; hand over a derived key instead")


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: the form that is hashed and signed. Refuses NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def fingerprint(*parts: str | bytes | Sequence[Any] | Mapping[str, Any] | None) -> str:
    """A 128-bit hex digest of the parts, each length-prefixed so that no two lists collide."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = part if isinstance(part, bytes) else canonical_json(part)
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()
