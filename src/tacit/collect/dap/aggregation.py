"""The leader's aggregation jobs (§ Leader Initialization): claimed, verified, sent, committed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tacit.collect.dap import leader_store
from tacit.collect.dap.aggregator import (
    FINISH,
    INITIALIZE,
    Begun,
    Output,
    read_ping_pong,
    write_ping_pong,
)
from tacit.collect.dap.errors import refuse
from tacit.collect.dap.leader import Leader
from tacit.collect.dap.leader_store import Job
from tacit.collect.dap.messages import (
    BATCH_ID_BYTES,
    JOB_ID_BYTES,
    BatchMode,
    JobInit,
    Report,
    RespKind,
    VerifyInit,
    VerifyResp,
)
from tacit.collect.dap.peer import Peer, Token, answered, ask, settled
from tacit.collect.dap.task import to_base64
from tacit.errors import CollectError
from tacit.privacy.randomness import Randomness

JOB_SIZE: Final = 512
LEASE: Final = 60_000  # milliseconds that a piece of work is left to whoever took it
_LONGEST_PAUSE: Final = 30_000


@dataclass(slots=True)
class Pauses:
    """When to try again what failed: 0.2 s later, and each time twice as late, up to 30 s."""

    _failures: dict[bytes, int] = field(default_factory=dict)

    def next(self, id: bytes) -> int:
        """Milliseconds until the next attempt."""
        count = self._failures[id] = self._failures.get(id, 0) + 1
        return int(min(200 << min(count - 1, 20), _LONGEST_PAUSE))

    def clear(self, id: bytes) -> None:
        """It worked."""
        self._failures.pop(id, None)


def milliseconds() -> int:
    """The moment, for leases."""
    return time.time_ns() // 1_000_000


class Aggregation:
    """Jobs of one task. Several threads, and several processes on one database, may drive them."""

    def __init__(
        self,
        leader: Leader,
        helper: Peer,
        token: Token,
        randomness: Randomness,
        *,
        job_size: int = JOB_SIZE,
        lease: int = LEASE,
    ) -> None:
        self._leader, self._helper, self._token = leader, helper, token
        self._party, self.task = leader.aggregator, leader.task
        self._randomness, self.job_size, self._lease = randomness, job_size, lease
        self._pauses = Pauses()

    def backlog(self) -> int:
        """How many reports are in no job, counted up to one job's size."""
        with self._leader.database.transaction(self.task.id, durable=False) as session:
            return leader_store.waiting(session, self.task.id, self.job_size)

    def work(self) -> bool:
        """Do one job, if there is one: whether there was. Raises CollectError T820, T821, T823,
        T828 when the helper did not do its part; the job is tried again later."""
        job = self._take()
        if job is None:
            return False
        try:
            self._do(job)
        except CollectError:
            until = milliseconds() + self._pauses.next(job.id)
            with self._leader.database.transaction(self.task.id) as session:
                leader_store.postpone(session, self.task.id, job.id, until)
            raise
        self._pauses.clear(job.id)
        return True

    def _take(self) -> Job | None:
        """A job that was left by somebody, or a new one. It need not be durable: before `_do` sends
        anything, it makes it so; and until then, nobody misses it."""
        task, now = self.task.id, milliseconds()
        with self._leader.database.transaction(task, durable=False) as session:
            left = leader_store.abandoned(session, task, now, now + self._lease)
            if left is not None:
                return left
            batch, most = None, self.job_size
            if not leader_store.waiting(session, task, 1):
                return None
            if self.task.mode is BatchMode.LEADER_SELECTED:
                fresh = self._randomness.bytes(BATCH_ID_BYTES)
                size = self.task.min_batch_size
                batch, room = leader_store.open_batch(session, task, size, fresh)
                most = min(most, room)
            id = self._randomness.bytes(JOB_ID_BYTES)
            job = leader_store.claim(session, task, id, batch, most, now + self._lease)
            if job is not None and batch is not None:
                leader_store.assign(session, task, batch, len(job.reports))
            return job

    def _do(self, job: Job) -> None:
        profile = self.task.profile
        reports = [profile.read_report(body) for body in job.reports]
        begun = self._party.begin([(r.metadata, r.public_share, r.leader) for r in reports])
        body = job.request
        if body is None:
            if not begun.shares:
                self._finish(job, [])
                return
            body = self._request(job, reports, begun)
            with self._leader.database.transaction(self.task.id) as session:
                leader_store.set_request(session, self.task.id, job.id, body)
            sent = [reports[i].metadata.id for i in sorted(begun.shares)]
        else:
            sent = [init.metadata.id for init in profile.read_job(body, self.task).inits]
        responses = self._send(job, body, sent)
        self._finish(job, self._outputs(job, reports, begun, responses))

    def _request(self, job: Job, reports: Sequence[Report], begun: Begun) -> bytes:
        inits = tuple(
            VerifyInit(
                reports[i].metadata,
                reports[i].public_share,
                reports[i].helper,
                write_ping_pong(INITIALIZE, begun.shares[i]),
            )
            for i in sorted(begun.shares)
        )
        return self.task.profile.write_job(JobInit(b"", job.batch, inits))

    def _send(self, job: Job, body: bytes, sent: Sequence[bytes]) -> tuple[VerifyResp, ...]:
        profile, path = self.task.profile, ["aggregation_jobs"]
        if not profile.posts:
            path.append(to_base64(job.id))
        url = self.task.url(self.task.helper, *path)
        response = ask(
            self._helper,
            "POST" if profile.posts else "PUT",
            url,
            body=body,
            media=profile.media["aggregation-job-init-req"],
            token=self._token,
        )
        if profile.posts:
            response = settled(self._helper, response, url, self._token, query="?step=0")
        media = profile.media["aggregation-job-resp"]
        responses = answered(response, media, profile.read_responses)
        if [response.id for response in responses] != list(sent):
            raise refuse("T823", "the helper answers about other reports", "check the helper")
        if any(response.kind is RespKind.FINISH for response in responses):
            raise refuse("T823", "the helper finishes what it must continue", "check the helper")
        return responses

    def _outputs(
        self,
        job: Job,
        reports: Sequence[Report],
        begun: Begun,
        responses: Sequence[VerifyResp],
    ) -> list[Output]:
        """The output shares of the reports that the helper has committed to."""
        position = {report.metadata.id: i for i, report in enumerate(reports)}
        continued = [r for r in responses if r.kind is RespKind.CONTINUE]
        at = [position[response.id] for response in continued]
        messages = [read_ping_pong(FINISH, response.payload) for response in continued]
        if any(i not in begun.states for i in at):
            raise refuse(
                "T823",
                "a key that reports of this job were sealed to is gone",
                "give the leader its old HPKE key back until its jobs are done",
            )
        done = self._party.batch.verify_next([begun.states[i] for i in at], messages)
        outputs = []
        for row, share in done.accepted.items():
            metadata = reports[at[row]].metadata
            key = self._party.key(metadata.time, job.batch)
            outputs.append(Output(metadata.id, metadata.time, key, share))
        return outputs

    def _finish(self, job: Job, outputs: Sequence[Output]) -> None:
        # Undone by a power failure, the job is sent again, and its answer is the same.
        task = self.task.id
        with self._leader.database.transaction(task, durable=False) as session:
            if not leader_store.finish(session, task, job.id):
                return  # another process had taken the job up, and has finished it
            self._party.commit(session, outputs)
            if job.batch is not None:
                rejected = len(job.reports) - len(outputs)
                leader_store.assign(session, task, job.batch, -rejected)
