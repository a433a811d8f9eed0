"""The bytes of shared sums: a fixed header that binds a message to its mechanism, role and report.

Little-endian, 44 bytes, then the body::

    0   4   b"TVS1": magic and version
    4   1   role: 0 leader's share, 1 helper's seed, 2 leader's aggregate, 3 helper's aggregate
    5   1   bits of a word: 32 or 64
    6   2   zero
    8   4   length d of the vector
    12  16  tag: fingerprint of every parameter of the mechanism, its name included
    28  16  report id; zero in an aggregate

The body is d words (share), a 32-byte seed, or a 32-byte checksum and d words (aggregate).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tacit.errors import PrivacyError
from tacit.privacy.mechanism import ID_BYTES
from tacit.privacy.randomness import SEED_BYTES

LEADER, HELPER = 0, 1
CHECKSUM_BYTES = 32
_AGGREGATE = 2
_NO_ID = bytes(ID_BYTES)
_HEADER = struct.Struct("<4sBBHI16s16s")
HEADER_BYTES = _HEADER.size


@dataclass(frozen=True, slots=True)
class Frame:
    """The header of one mechanism's messages, and the check of received ones."""

    length: int
    bits: int
    tag: bytes

    def report(self, index: int, report_id: bytes) -> bytes:
        """The header of a device's message for aggregator `index`."""
        return self._header(index, report_id)

    def aggregate(self, index: int) -> bytes:
        """The header of aggregator `index`'s aggregate."""
        return self._header(index + _AGGREGATE, _NO_ID)

    def check_report(self, index: int, report_id: bytes, message: bytes) -> memoryview:
        """The body of a device's message. Raises PrivacyError T531 (form), T532 (foreign)."""
        if not isinstance(report_id, bytes) or len(report_id) != ID_BYTES:
            raise _malformed(f"a report id has {ID_BYTES} bytes")
        body = SEED_BYTES if index == HELPER else self._words
        return self._check(self.report(index, report_id), message, body)

    def check_aggregate(self, index: int, message: bytes) -> memoryview:
        """The body of an aggregate. Raises PrivacyError T531 (form), T532 (foreign)."""
        return self._check(self.aggregate(index), message, CHECKSUM_BYTES + self._words)

    @property
    def _words(self) -> int:
        return self.length * self.bits // 8

    def _header(self, role: int, report_id: bytes) -> bytes:
        return _HEADER.pack(b"TVS1", role, self.bits, 0, self.length, self.tag, report_id)

    def _check(self, expected: bytes, message: bytes, body: int) -> memoryview:
        if not isinstance(message, bytes) or len(message) < HEADER_BYTES:
            raise _malformed("a message is shorter than its header")
        if message[:HEADER_BYTES] != expected:
            raise PrivacyError(
                f"a message is foreign: its {self._difference(expected, message)} differs",
                code="T532",
                fix="send it to the aggregator, mechanism and report id it was made for",
            )
        if len(message) != HEADER_BYTES + body:
            raise _malformed(f"a message has {len(message) - HEADER_BYTES} bytes, not {body},")
        return memoryview(message)[HEADER_BYTES:]

    def _difference(self, expected: bytes, message: bytes) -> str:
        fields = ("version", "role", "word size", "reserved field", "length", "mechanism", "id")
        pairs = zip(fields, _HEADER.unpack(expected), _HEADER.unpack_from(message), strict=True)
        return next(name for name, right, got in pairs if right != got)


def _malformed(what: str) -> PrivacyError:
    return PrivacyError(
        f"{what} and cannot be read",
        code="T531",
        fix="drop the message; the device may send a new report",
    )
