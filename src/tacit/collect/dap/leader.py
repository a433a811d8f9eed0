"""The leader's answers to clients and to the collector (§ Upload Request, § Collection Job
Initialization).

What it does of itself stands in `aggregation` and `collection`. Every step there is durable before
the next begins, and each request to the helper is stored before it is sent, and sent again as it
was: so wherever the leader stops, it goes on from there, and no report counts twice.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from tacit.collect.dap import leader_store, store
from tacit.collect.dap.aggregator import Aggregator, digest
from tacit.collect.dap.database import Database, Session
from tacit.collect.dap.errors import ReportError, refuse
from tacit.collect.dap.leader_store import DONE, FAILED, CollectionJob
from tacit.collect.dap.messages import JOB_ID_BYTES, Report, Selector, UploadStatus
from tacit.collect.dap.sealing import check_time
from tacit.collect.dap.store import time_key
from tacit.collect.dap.task import to_base64
from tacit.collect.dap.writer import ReportWriter, Verdicts
from tacit.errors import CollectError
from tacit.privacy.randomness import Randomness

_MOST_WAITING: Final = 4  # collectors
_SLACK: Final = 4096  # bytes that a report may have beyond what its shares need


class Leader:
    """One task at the leader. It may be used from several threads.

    `patience`: seconds for which a collector that asks for a collection is kept waiting, rather
    than told to ask again, if the collection is ready by then.
    """

    def __init__(
        self,
        aggregator: Aggregator,
        database: Database,
        writer: ReportWriter,
        randomness: Randomness,
        *,
        patience: float = 0.0,
    ) -> None:
        self.aggregator, self.task, self.database = aggregator, aggregator.task, database
        self._writer, self._randomness = writer, randomness
        self._patience, self._ended = patience, threading.Condition()
        self._places = threading.Semaphore(_MOST_WAITING)
        lay = aggregator.prio3.layout
        self._longest = lay.public_share_bytes + lay.leader_bytes + lay.helper_bytes + _SLACK
        with database.transaction(self.task.id) as session:
            store.register(session, self.task, aggregator.key_mark)

    def upload(self, body: bytes) -> list[UploadStatus]:
        """An UploadRequest: the reports that did not get in, in their order. The others are on the
        disk. Raises CollectError T801 for what is no upload."""
        profile, now = self.task.profile, self.aggregator.clock()
        reports = profile.read_upload(body)
        verdicts: Verdicts = []
        rows = []
        for report, encoded in reports:
            verdict = self._check(report, len(encoded), now)
            verdicts.append(verdict)
            if verdict is None:
                key = time_key(profile.bucket(report.metadata.time, self.task.time_precision))
                rows.append((key, report.metadata.id, encoded))
        first = self.aggregator.horizon()
        written = iter(self._writer.write(self.task.id, rows, first) if rows else ())
        statuses = []
        for (report, _), verdict in zip(reports, verdicts, strict=True):
            error = next(written) if verdict is None else verdict
            if error is not None:
                statuses.append(UploadStatus(report.metadata.id, error))
        return statuses

    def start_collection(self, body: bytes, job_id: bytes | None = None) -> bytes:
        """A CollectionJobReq; gives the job's id. The same request again is the same job.

        Raises CollectError T801, T804, T806, T809 to T811; T814 when `job_id` (draft 09) was given
        to another request.
        """
        request = self.task.profile.read_query(body, self.task)
        self.aggregator.check_parameter(request.agg_param)
        span = None
        if request.interval is not None:
            span = self.aggregator.span(Selector(request.mode, request.interval))
        mark = digest(self.task, body)
        with self.database.transaction(self.task.id) as session:
            held = self._held(session, job_id, mark, body)
            if held is not None:
                return held.id
            if span is not None and store.overlaps(session, self.task.id, *span):
                raise overlap()
            id = job_id or self._randomness.bytes(JOB_ID_BYTES)
            leader_store.start_collection(session, self.task.id, id, mark, body)
        return id

    def collection(self, job_id: bytes) -> bytes | None:
        """A CollectionJobResp, or None while it is not ready. Raises CollectError T813 for an
        unknown job, and what made the job fail."""
        with self.database.transaction(self.task.id) as session:
            job = leader_store.collection(session, self.task.id, "id", job_id)
        if job is None:
            raise _no_collection(job_id)
        if job.state == FAILED:
            raise refuse(
                job.code or "T800", job.message or "it failed", "ask again, or for another batch"
            )
        return job.answer if job.state == DONE else None

    def awaited_collection(self, job_id: bytes) -> bytes | None:
        """`collection`, once it is ready, or patience is at its end."""
        if not self._places.acquire(blocking=False):  # whoever waits takes up a thread
            return self.collection(job_id)
        try:
            with self._ended:
                answer = self.collection(job_id)
                if answer is None and self._ended.wait(self._patience):
                    answer = self.collection(job_id)
            return answer
        finally:
            self._places.release()

    def collection_ended(self) -> None:
        """Wake those who wait for one."""
        with self._ended:
            self._ended.notify_all()

    def delete_collection(self, job_id: bytes) -> None:
        """Forget a collection job; its batch stays collected. Raises CollectError T813."""
        with self.database.transaction(self.task.id) as session:
            if not leader_store.delete_collection(session, self.task.id, job_id):
                raise _no_collection(job_id)

    def _check(self, report: Report, size: int, now: int) -> ReportError | None:
        """What is seen of a report without opening it."""
        if not self.aggregator.opener.knows(report.leader.config_id):
            return ReportError.OUTDATED_CONFIG
        late = check_time(self.task, report.metadata.time, now)
        if late in (ReportError.TASK_NOT_STARTED, ReportError.TASK_EXPIRED):
            return ReportError.REPORT_DROPPED
        if late is not None:
            return late
        if report.metadata.extensions or size > self._longest:
            return ReportError.INVALID_MESSAGE
        return None

    def _held(
        self, session: Session, job_id: bytes | None, mark: bytes, body: bytes
    ) -> CollectionJob | None:
        """The job that the request made before; a failed one is tried anew.

        One that failed for want of reports is made anew. One that failed at the helper asks it the
        same again: its batch is closed, and the leader's share, with its noise, stays the one there
        is. The others failed for what does not change.
        """
        column, value = ("digest", mark) if job_id is None else ("id", job_id)
        held = leader_store.collection(session, self.task.id, column, value)
        if held is None:
            return None
        if held.request != body:
            raise refuse("T814", "the job's id was given to another request", "choose a new id")
        if held.state == FAILED and held.share_request is not None:
            leader_store.resume(session, self.task.id, held.id)
        elif held.state == FAILED and held.code == "T805":
            leader_store.delete_collection(session, self.task.id, held.id)
            return None
        return held


def overlap() -> CollectError:
    """T809."""
    return refuse(
        "T809", "a part of the batch was collected before", "ask for a batch that was not"
    )


def first_error(statuses: Sequence[UploadStatus]) -> CollectError:
    """What draft 09 says of the one report of an upload."""
    error = statuses[0].error
    code = {ReportError.OUTDATED_CONFIG: "T815", ReportError.REPORT_TOO_EARLY: "T817"}.get(error)
    return refuse(
        code or "T816",
        f"the report is refused: {error.name.lower()}",
        "make a new report of the measurement with current keys, if it was not taken before",
    )


def _no_collection(job_id: bytes) -> CollectError:
    return refuse(
        "T813", f"there is no collection job {to_base64(job_id)}", "start it, or look for a typo"
    )
