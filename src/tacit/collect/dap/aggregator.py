"""What leader and helper do alike: open shares, begin to verify, commit output shares, and seal
an aggregate share to the collector."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tacit.collect.dap import store
from tacit.collect.dap.codec import encode
from tacit.collect.dap.database import Session
from tacit.collect.dap.errors import ReportError, malformed, refuse
from tacit.collect.dap.messages import (
    HPKE_CONFIG,
    CollectionRequest,
    HpkeCiphertext,
    HpkeConfig,
    Interval,
    Role,
    Selector,
)
from tacit.collect.dap.profile import agg_share_info
from tacit.collect.dap.sealing import KeyPair, Opener, Share, suite_of
from tacit.collect.dap.store import Bucket, time_key
from tacit.collect.dap.task import Task
from tacit.errors import PrivacyError
from tacit.privacy import hpke
from tacit.privacy.prio3.batch import Batch
from tacit.privacy.prio3.roles import VerifyState
from tacit.privacy.randomness import Randomness
from tacit.values import Secret

Clock = Callable[[], int]
"""Seconds since the epoch."""

LATE: Final = 14 * 86_400
"""Seconds after a task's end in which reports of its time are still taken."""

INITIALIZE, CONTINUE, FINISH = 0, 1, 2  # ping-pong messages (VDAF, section 5.7.1)
_LENGTH = struct.Struct(">BI")


def system_clock() -> int:
    """The system's."""
    return int(time.time())


@dataclass(slots=True)
class Begun:
    """Reports after `verify_init`, by position: states and verifier shares, or the errors."""

    states: dict[int, VerifyState] = field(default_factory=dict)
    shares: dict[int, bytes] = field(default_factory=dict)
    refused: dict[int, ReportError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Output:
    """An output share that is ready to be committed."""

    id: bytes
    time: int
    key: bytes
    share: bytes


class Aggregator:
    """One task at one aggregator. Immutable, safe to share among threads.

    `verify_key` is known to both aggregators and to nobody else; `collector` is the collector's
    HPKE configuration. `expiry`: seconds after which a report is too old to be taken; None: never,
    while the task lasts. Raises PrivacyError T550 for a key of another size.
    """

    def __init__(
        self,
        task: Task,
        role: Role,
        verify_key: Secret,
        keys: Sequence[KeyPair],
        collector: HpkeConfig,
        *,
        randomness: Randomness,
        clock: Clock = system_clock,
        expiry: int | None = None,
    ) -> None:
        self.task, self.profile, self.role = task, task.profile, role
        self._expiry = expiry
        self.collector, self.clock = collector, clock
        self.prio3 = task.vdaf.prio3
        self.prio3.layout.check_verify_key(verify_key.reveal())
        suite_of(collector).check()
        self.opener = Opener(task, role, keys)
        self.batch: Batch[Any, Any] = Batch(self.prio3)
        self.context = self.profile.context(task.id)
        self._verify_key, self._randomness = verify_key, randomness

    @property
    def index(self) -> int:
        """The aggregator's number in the VDAF: 0 leader, 1 helper."""
        return self.role - Role.LEADER

    @property
    def key_mark(self) -> bytes:
        """A digest of the verification key and of the collector's configuration."""
        collector = encode(HPKE_CONFIG, self.collector)
        return hashlib.sha256(b"keys" + self._verify_key.reveal() + collector).digest()

    def begin(self, reports: Sequence[Share]) -> Begun:
        """Open, check and begin to verify each report; a bad one never stops the others."""
        opened = self.opener.open_all(reports, self.clock())
        begun = Begun(refused=opened.refused)
        at = list(opened.accepted)
        found = self.batch.verify_init(
            self._verify_key.reveal(),
            self.context,
            self.index,
            [reports[i][0].id for i in at],
            [reports[i][1] for i in at],
            [opened.accepted[i] for i in at],
        )
        for row, (state, share) in found.accepted.items():
            begun.states[at[row]], begun.shares[at[row]] = state, share
        for row, error in found.refused.items():
            begun.refused[at[row]] = verify_error(error)
        return begun

    def key(self, time: int, batch_id: bytes | None) -> bytes:
        """The key of the bucket that a report belongs to."""
        if batch_id is not None:
            return batch_id
        return time_key(self.profile.bucket(time, self.task.time_precision))

    def horizon(self) -> bytes:
        """The key of the first time of which a report is taken now.

        What is older is dropped (§ Input Share Validation lets an aggregator do so with reports
        whose ids it does not remember any more): by its age, or because the task ended `LATE` ago.
        """
        now, precision, first = self.clock(), self.task.time_precision, 0
        if self._expiry is not None:
            first = max(0, now - self._expiry) // precision
        if self.task.interval is not None and now > self.task.interval.end * precision + LATE:
            first = max(first, self.task.interval.end)
        return time_key(first)

    def commit(self, session: Session, outputs: Iterable[Output]) -> None:
        """Add output shares to their buckets."""
        by_key: dict[bytes, list[Output]] = {}
        for output in outputs:
            by_key.setdefault(output.key, []).append(output)
        for key, group in by_key.items():
            times = [output.time for output in group]
            bucket = Bucket(
                self.batch.aggregate(output.share for output in group),
                len(group),
                store.checksum(output.id for output in group),
                min(times),
                max(times),
            )
            store.add(session, self.task.id, key, bucket, self.batch.aggregate)

    def span(self, selector: Selector) -> tuple[bytes, bytes]:
        """The first and the last bucket key of a batch. Raises CollectError T804 if it is none."""
        if selector.batch_id is not None:
            return selector.batch_id, selector.batch_id
        assert selector.interval is not None
        interval, precision = selector.interval, self.task.time_precision
        first = self.profile.bucket(interval.start, precision)
        after = self.profile.bucket(interval.end, precision)
        whole = all(
            self.profile.time(bucket, precision) == wire
            for bucket, wire in ((first, interval.start), (after, interval.end))
        )
        if not whole or after <= first or interval.end >= 1 << 63:
            raise refuse(
                "T804",
                "the batch interval is not of one or more whole time precisions",
                f"use multiples of the task's time precision of {precision} seconds",
            )
        return time_key(first), time_key(after - 1)

    def check_parameter(self, agg_param: bytes) -> None:
        """Raises CollectError T806: Prio3 has one aggregation parameter, and it is empty."""
        if agg_param:
            raise refuse("T806", "Prio3 takes no aggregation parameter", "send an empty one")

    def interval(self, bucket: Bucket) -> Interval:
        """The least interval of whole time precisions with all reports of a bucket in it."""
        precision = self.task.time_precision
        first, last = (self.profile.bucket(t, precision) for t in (bucket.first, bucket.last))
        start = self.profile.time(first, precision)
        return Interval(start, self.profile.time(last + 1, precision) - start)

    def seal(
        self,
        share: bytes,
        request: CollectionRequest | None,
        selector: Selector,
        agg_param: bytes,
    ) -> HpkeCiphertext:
        """The aggregate share with the task's noise in it, sealed to the collector.

        Call it once for a batch and keep the result: a second call draws other noise, and the
        average of many would show what the noise hides.
        """
        if self.task.noise is not None:
            share = self.task.noise.add(self.prio3, share, self._randomness)
        enc, sealed = hpke.seal(
            suite_of(self.collector),
            self.collector.public_key,
            agg_share_info(self.profile.label, self.role),
            self.profile.agg_share_aad(self.task, request, selector, agg_param),
            share,
            self._randomness,
        )
        return HpkeCiphertext(self.collector.id, enc, sealed)

    def warm_up(self) -> None:
        """Compile what verifying needs, so that the first report does not wait for it."""
        lay, circuit = self.prio3.layout, self.prio3.circuit
        rand, nonce = bytes(lay.rand_bytes), bytes(16)
        zero = circuit.decode([0] * circuit.output_len, 0)
        measurement = 0 if self.task.vdaf.name == "histogram" else zero
        [(public, shares)] = self.batch.shard(self.context, [measurement], [nonce], [rand])
        key = self._verify_key.reveal()
        both = [
            self.batch.verify_init(key, self.context, i, [nonce], [public], [shares[i]])
            for i in (0, 1)
        ]
        if all(one.accepted for one in both):
            rows = [[one.accepted[0][1] for one in both]]
            self.batch.verifier_shares_to_message(self.context, rows)
        self.batch.aggregate([bytes(lay.out_share_bytes)] * 2)


def verify_error(error: PrivacyError) -> ReportError:
    """T552 is a share that cannot be decoded; all else is a proof that does not hold."""
    if error.code == "T552":
        return ReportError.INVALID_MESSAGE
    return ReportError.VDAF_VERIFY_ERROR


def write_ping_pong(kind: int, message: bytes) -> bytes:
    """A ping-pong message with one part: initialize or finish (VDAF, section 5.7.1)."""
    return _LENGTH.pack(kind, len(message)) + message


def read_ping_pong(kind: int, data: bytes) -> bytes:
    """The part of a ping-pong message. Raises CollectError T801 for another kind or length."""
    if len(data) < _LENGTH.size:
        raise malformed("a verification message is cut short")
    found, size = _LENGTH.unpack_from(data)
    if found != kind or size != len(data) - _LENGTH.size:
        raise malformed("a verification message is not the one that is due")
    return data[_LENGTH.size :]


def digest(task: Task, body: bytes) -> bytes:
    """What a request is known by when it comes again."""
    return hashlib.sha256(task.id + body).digest()
