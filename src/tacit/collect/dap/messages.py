"""What the parties say to each other, whatever draft it is written in (§ Protocol Definition).

Times are as on the wire: multiples of the task's time precision in draft 18, seconds in draft 09.
`BatchMode`, `Role` and the identifiers have the same values in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from tacit.collect.dap.codec import (
    U8,
    U16,
    U64,
    Codec,
    Fixed,
    Items,
    Number,
    Opaque,
    Reader,
    Struct,
)
from tacit.collect.dap.errors import ReportError, malformed

TASK_ID_BYTES: Final = 32
REPORT_ID_BYTES: Final = 16
BATCH_ID_BYTES: Final = 32
JOB_ID_BYTES: Final = 16
CHECKSUM_BYTES: Final = 32
MOST_REPORTS: Final = 8192  # in one message: it bounds what a message costs before it is refused
LONGEST_JOB: Final = 64 << 20  # bytes of an aggregation job
_MOST_EXTENSIONS = 64


class Role(IntEnum):
    """Who speaks (§ Basic Type Definitions)."""

    COLLECTOR = 0
    CLIENT = 1
    LEADER = 2
    HELPER = 3


class BatchMode(IntEnum):
    """How reports are assigned to batches (§ Batch Modes)."""

    TIME_INTERVAL = 1
    LEADER_SELECTED = 2


class RespKind(IntEnum):
    """What became of a report at the helper (§ Helper Initialization)."""

    CONTINUE = 0
    FINISH = 1
    REJECT = 2


@dataclass(frozen=True, slots=True)
class HpkeConfig:
    """A public key, its one-byte name, and the algorithms it is for (§ HPKE Configuration)."""

    id: int
    kem: int
    kdf: int
    aead: int
    public_key: bytes


@dataclass(frozen=True, slots=True)
class HpkeCiphertext:
    """A sealed message, and the configuration it was sealed to."""

    config_id: int
    enc: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class Extension:
    """A type and its data; used for reports, tasks and jobs alike."""

    kind: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Interval:
    """`start` is in it, `start + duration` is not."""

    start: int
    duration: int

    @property
    def end(self) -> int:
        """The first time after it."""
        return self.start + self.duration


@dataclass(frozen=True, slots=True)
class ReportMetadata:
    """The public part of a report."""

    id: bytes
    time: int
    extensions: tuple[Extension, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What a client uploads."""

    metadata: ReportMetadata
    public_share: bytes
    leader: HpkeCiphertext
    helper: HpkeCiphertext


@dataclass(frozen=True, slots=True)
class PlaintextInputShare:
    """What is sealed to one aggregator."""

    extensions: tuple[Extension, ...]
    payload: bytes


@dataclass(frozen=True, slots=True)
class UploadStatus:
    """A report that an upload did not get in, and why."""

    id: bytes
    error: ReportError


@dataclass(frozen=True, slots=True)
class VerifyInit:
    """The helper's share of a report, and the leader's first message about it."""

    metadata: ReportMetadata
    public_share: bytes
    encrypted: HpkeCiphertext
    payload: bytes


@dataclass(frozen=True, slots=True)
class JobInit:
    """An aggregation job. `batch_id` is there in the leader-selected mode only."""

    agg_param: bytes
    batch_id: bytes | None
    inits: tuple[VerifyInit, ...]
    key_id: int = 0


@dataclass(frozen=True, slots=True)
class Continue:
    """The leader's next message about a report."""

    id: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class JobContinue:
    """The next step of a job; for VDAFs of more than one round, which none here is."""

    step: int
    continues: tuple[Continue, ...]


@dataclass(frozen=True, slots=True)
class VerifyResp:
    """The helper's answer about one report; `payload` to continue, `error` to reject."""

    id: bytes
    kind: RespKind
    payload: bytes = b""
    error: ReportError | None = None


@dataclass(frozen=True, slots=True)
class CollectionRequest:
    """A collector's query. `interval` is None in the leader-selected mode; `raw` is its encoding,
    which is what requests are told apart by."""

    mode: BatchMode
    interval: Interval | None
    agg_param: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class Selector:
    """The batch that an aggregate share is asked of: an interval, or a batch id."""

    mode: BatchMode
    interval: Interval | None = None
    batch_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class ShareRequest:
    """The leader asks the helper for its aggregate share. `request` is None in draft 09, where the
    collector's own words do not reach the helper."""

    request: CollectionRequest | None
    selector: Selector
    agg_param: bytes
    report_count: int
    checksum: bytes


@dataclass(frozen=True, slots=True)
class Collection:
    """The answer to a collector. `batch_id` stands in draft 09's leader-selected mode only."""

    batch_id: bytes | None
    report_count: int
    interval: Interval
    leader: HpkeCiphertext
    helper: HpkeCiphertext


HPKE_CONFIG = Struct(HpkeConfig, id=U8, kem=U16, kdf=U16, aead=U16, public_key=Opaque(2, 1))
HPKE_CONFIGS = Items(HPKE_CONFIG, prefix=2, least=1, most=256)


class _Ciphertext(Struct[HpkeCiphertext]):
    """`HpkeCiphertext`, of which there are two in every report: read in one go."""

    def read(self, reader: Reader) -> HpkeCiphertext:
        data, at, end = reader.data, reader.at, reader.end
        enc = at + 3
        if enc > end:
            raise malformed("a ciphertext is cut short")
        after = enc + int.from_bytes(data[at + 1 : enc], "big")
        payload = after + 4
        if payload > end:
            raise malformed("a ciphertext is cut short")
        stop = payload + int.from_bytes(data[after:payload], "big")
        if stop > end or after == enc or stop == payload:
            raise malformed("a ciphertext is cut short, or a part of it is empty")
        reader.at = stop
        return HpkeCiphertext(data[at], data[enc:after], data[payload:stop])


CIPHERTEXT = _Ciphertext(HpkeCiphertext, config_id=U8, enc=Opaque(2, 1), payload=Opaque(4, 1))
EXTENSION = Struct(Extension, kind=U16, data=Opaque(2))
EXTENSIONS = Items(EXTENSION, prefix=2, most=_MOST_EXTENSIONS)
INTERVAL = Struct(Interval, start=U64, duration=U64)
REPORT_ID, BATCH_ID = Fixed(REPORT_ID_BYTES), Fixed(BATCH_ID_BYTES)
BATCH_MODE = Number(1, tuple(map(int, BatchMode)))
EMPTY_CHECKSUM: Final = bytes(CHECKSUM_BYTES)


class ErrorCode:
    """`ReportError` by its numbers in a draft: `codes` to write, `meanings` to read."""

    def __init__(
        self, codes: Mapping[ReportError, int], meanings: Mapping[int, ReportError]
    ) -> None:
        self._codes, self._meanings = codes, meanings
        self._number = Number(1, tuple(meanings))

    def write(self, out: bytearray, value: ReportError) -> None:
        out.append(self._codes[value])

    def read(self, reader: Reader) -> ReportError:
        return self._meanings[self._number.read(reader)]


class Response:
    """`VerifyResp`, whose last field depends on its type."""

    def __init__(self, payload: Codec[bytes], error: Codec[ReportError]) -> None:
        self._payload, self._error = payload, error
        self._kind = Number(1, tuple(map(int, RespKind)))

    def write(self, out: bytearray, value: VerifyResp) -> None:
        REPORT_ID.write(out, value.id)
        out.append(value.kind)
        if value.kind is RespKind.CONTINUE:
            self._payload.write(out, value.payload)
        elif value.kind is RespKind.REJECT:
            assert value.error is not None
            self._error.write(out, value.error)

    def read(self, reader: Reader) -> VerifyResp:
        report, kind = REPORT_ID.read(reader), RespKind(self._kind.read(reader))
        if kind is RespKind.CONTINUE:
            return VerifyResp(report, kind, self._payload.read(reader))
        if kind is RespKind.REJECT:
            return VerifyResp(report, kind, error=self._error.read(reader))
        return VerifyResp(report, kind)
