"""The collector: it asks for a batch's sum, and makes a release of it (§ Collecting Results).

A task whose aggregators add noise has a privacy claim, and its sums are released only through the
ledger: reserve, collect, commit, and only then open. `collect` refuses such a task.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tacit.collect.dap.errors import refuse
from tacit.collect.dap.messages import (
    JOB_ID_BYTES,
    BatchMode,
    Collection,
    HpkeCiphertext,
    Interval,
    Role,
    Selector,
)
from tacit.collect.dap.peer import (
    POLL,
    Peer,
    Response,
    Token,
    ask,
    check_media,
    last_segment,
    pause,
    retried,
)
from tacit.collect.dap.profile import agg_share_info
from tacit.collect.dap.sealing import KeyPair, suite_of
from tacit.collect.dap.task import Task, from_base64, to_base64
from tacit.errors import CollectError, PrivacyError, SecurityError
from tacit.govern.reservation import Reservation
from tacit.privacy import hpke
from tacit.privacy.mechanism import Claim
from tacit.privacy.randomness import Randomness, system
from tacit.privacy.sum_noise import check_range, signed

_PATIENCE: Final = 300.0


@dataclass(frozen=True, slots=True)
class Collected:
    """A batch's sum: `value` as the VDAF has it, of `reports` reports from within `interval` (in
    times on the wire). `sigma` is the noise's standard deviation on each number of it; 0: exact."""

    value: Any
    reports: int
    interval: Interval
    sigma: float


@dataclass(frozen=True, slots=True)
class Sealed:
    """A collection before it is opened; its bytes are what a ledger commits to."""

    query: bytes
    answer: bytes


class Collector:
    """Collections of one task. `keys` is the pair whose configuration the aggregators have."""

    def __init__(
        self,
        task: Task,
        keys: KeyPair,
        peer: Peer,
        token: Token,
        *,
        randomness: Randomness | None = None,
        sleep: Callable[[float], Any] = time.sleep,
    ) -> None:
        self._task, self._keys, self._peer, self._token = task, keys, peer, token
        self._randomness, self._sleep = randomness or system(), sleep
        self._prio3 = task.vdaf.prio3

    def interval(self, start: int, end: int) -> Selector:
        """The query for reports of the seconds from `start` up to `end`."""
        precision, profile = self._task.time_precision, self._task.profile
        first = profile.time(start // precision, precision)
        after = profile.time(-(-end // precision), precision)
        return Selector(BatchMode.TIME_INTERVAL, Interval(first, after - first))

    def next_batch(self) -> Selector:
        """The query for whichever batch the leader has ready next."""
        return Selector(BatchMode.LEADER_SELECTED)

    def claim(self, name: str, delta: float) -> Claim:
        """What a release of this task promises. Raises CollectError T827 if it has no noise."""
        if self._task.noise is None:
            raise refuse(
                "T827",
                "the task's aggregators add no noise, so its sums have no privacy claim",
                "make a task with noise, or collect it as the exact sum that it is",
            )
        return self._task.noise.claim(self._prio3, name, delta)

    def collect(self, query: Selector, *, patience: float = _PATIENCE) -> Collected:
        """The exact sum of a batch. Raises CollectError T827 for a task with noise, whose sums need
        the ledger; what the leader says; T828 when `patience` seconds were not enough."""
        if self._task.noise is not None:
            raise refuse(
                "T827",
                "the task claims differential privacy: its sums are released through the ledger",
                "reserve its claim, and call release",
            )
        return self.open(self.fetch(query, patience=patience))

    def release(
        self, query: Selector, reservation: Reservation, *, patience: float = _PATIENCE
    ) -> tuple[Collected, Sealed]:
        """The noisy sum of a batch, paid for by a reservation of `claim`.

        The reservation is committed with the sealed answer before that is opened. Keep `Sealed` as
        long as the sum may be wanted again: `open` gives it at no further cost. After a crash the
        same reservation, committed by then, gives the same sum or nothing. Raises PrivacyError T543
        for a refunded reservation or one of another loss, T564 for another answer than was
        committed, else as `collect`.
        """
        claim = self.claim("release", 1e-6)
        if reservation.state == "refunded" or reservation.loss != claim.loss:
            raise PrivacyError(
                f"the ledger has this release as {reservation.state}, or at another loss",
                code="T543",
                where=repr(reservation),
                fix="reserve this task's claim for a new epoch; a release is collected once",
            )
        sealed = self.fetch(query, patience=patience)
        reservation.commit(sealed.query + sealed.answer)
        return self.open(sealed), sealed

    def fetch(self, query: Selector, *, patience: float = _PATIENCE) -> Sealed:
        """A batch's collection, sealed. Raises CollectError as `collect`."""
        task, profile = self._task, self._task.profile
        body = profile.write_query(task, query)
        deadline = time.monotonic() + patience
        while True:
            try:
                answer = self._fetch(body, deadline)
            except CollectError as error:
                if error.code != "T805" or time.monotonic() >= deadline:
                    raise
                self._sleep(POLL)  # more reports may come
                continue
            return Sealed(body, answer)

    def open(self, sealed: Sealed) -> Collected:
        """The sum in a collection. Raises SecurityError T643 if a share does not open, CollectError
        T823 for an answer that breaks the task's rules, PrivacyError T556 for more reports than the
        field has room for."""
        task, profile = self._task, self._task.profile
        request = profile.read_query(sealed.query, task)
        try:
            found = profile.read_collection(sealed.answer, task)
        except CollectError as error:
            raise refuse("T823", f"the answer is no collection: {error.message}", error.fix) from (
                error
            )
        self._check(found, request.interval)
        sigma = 0.0 if task.noise is None else self.claim("open", 1e-6).sigma
        check_range(self._prio3, found.report_count, sigma)
        selector = Selector(request.mode, request.interval, found.batch_id)
        aad = profile.agg_share_aad(task, request, selector, request.agg_param)
        shares = [
            self._open(role, sealed_share, aad)
            for role, sealed_share in ((Role.LEADER, found.leader), (Role.HELPER, found.helper))
        ]
        value = self._prio3.unshard(shares, found.report_count)
        if task.noise is not None:
            value = signed(self._prio3, value)
        return Collected(value, found.report_count, found.interval, sigma)

    def _fetch(self, body: bytes, deadline: float) -> bytes:
        profile = self._task.profile
        path = ["collection_jobs"]
        if not profile.posts:
            path.append(to_base64(self._randomness.bytes(JOB_ID_BYTES)))
        response = self._ask("POST" if profile.posts else "PUT", path, body)
        if profile.posts:
            try:
                path.append(to_base64(from_base64(last_segment(response), JOB_ID_BYTES)))
            except ValueError as error:
                raise refuse("T823", f"the leader names no job: {error}", "check it") from None
        while not response.body:
            if time.monotonic() >= deadline:
                raise refuse(
                    "T828",
                    "the collection was not ready in time",
                    "collect again with more patience: it goes on meanwhile",
                    self._task.url(self._task.leader, *path),
                )
            self._sleep(pause(response))
            response = self._ask("GET" if profile.posts else "POST", path)
        check_media(response, profile.media["collection-job-resp"])
        return response.body

    def forget(self, query: Selector) -> None:
        """Let the leader drop a collection, once its answer is kept. In the leader-selected mode
        the same query then asks for the next batch. Draft 09 needs none of it."""
        profile = self._task.profile
        if profile.posts:
            body = profile.write_query(self._task, query)
            response = self._ask("POST", ["collection_jobs"], body)
            self._ask("DELETE", ["collection_jobs", last_segment(response)])

    def _ask(self, method: str, path: Sequence[str], body: bytes = b"") -> Response:
        return retried(
            lambda: ask(
                self._peer,
                method,
                self._task.url(self._task.leader, *path),
                body=body,
                media=self._task.profile.media["collection-job-req"] if body else None,
                token=self._token,
            )
        )

    def _check(self, found: Collection, asked: Interval | None) -> None:
        if found.report_count < self._task.min_batch_size:
            raise refuse("T823", "the batch has fewer reports than the task allows", "check it")
        if asked is not None and not (
            asked.start <= found.interval.start and found.interval.end <= asked.end
        ):
            raise refuse("T823", "the batch is not within the query", "check the leader")

    def _open(self, role: Role, share: HpkeCiphertext, aad: bytes) -> bytes:
        info = agg_share_info(self._task.profile.label, role)
        suite, key = suite_of(self._keys.config), self._keys.key
        try:
            return hpke.open_(suite, key, info, aad, share.enc, share.payload)
        except SecurityError:
            raise SecurityError(
                f"the {role.name.lower()}'s aggregate share does not open",
                code="T643",
                where=f"task {self._task.name}",
                fix="check that all parties have the same task and this collector's key",
            ) from None
