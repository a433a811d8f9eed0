"""The helper: it answers the leader, and holds it to the rules.

§ Helper Initialization, § Obtaining Aggregate Shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tacit.collect.dap import helper_store, store
from tacit.collect.dap.aggregator import (
    FINISH,
    INITIALIZE,
    Aggregator,
    Begun,
    Output,
    digest,
    read_ping_pong,
    write_ping_pong,
)
from tacit.collect.dap.database import Database, Session
from tacit.collect.dap.errors import ReportError, malformed, refuse
from tacit.collect.dap.helper_store import JOB, SHARE, Answer
from tacit.collect.dap.messages import (
    JOB_ID_BYTES,
    BatchMode,
    JobInit,
    RespKind,
    Selector,
    ShareRequest,
    VerifyResp,
)
from tacit.collect.dap.task import to_base64
from tacit.errors import CollectError

KEY_ID: Final = 0  # one verification key a task


class Helper:
    """One task at the helper. It may be used from several threads."""

    def __init__(self, aggregator: Aggregator, database: Database) -> None:
        self._party, self.task, self._database = aggregator, aggregator.task, database
        self._batch = aggregator.batch
        with database.transaction(self.task.id) as session:
            store.register(session, self.task, aggregator.key_mark)

    @property
    def aggregator(self) -> Aggregator:
        """What it does as the leader does too."""
        return self._party

    def start_job(self, body: bytes, job_id: bytes | None = None) -> tuple[bytes, bytes]:
        """An AggregationJobInitReq; gives the job's id and an AggregationJobResp.

        In draft 18 the id follows from the request, in draft 09 the leader chose `job_id`. Raises
        CollectError T801, T806, T810; T814 when the id was given to another request.
        """
        mark = digest(self.task, body)
        id = mark[:JOB_ID_BYTES] if job_id is None else job_id
        with self._database.transaction(self.task.id) as session:
            held = self._held(session, JOB, id, mark)
        if held is not None:
            return id, held
        job = self.task.profile.read_job(body, self.task)
        self._party.check_parameter(job.agg_param)
        ids = [init.metadata.id for init in job.inits]
        if not ids or len(set(ids)) != len(ids):
            raise malformed("a job has no reports, or one of them twice")
        if job.key_id != KEY_ID:
            raise malformed("the verification key is not known here")
        outputs, responses = self._verify(job)
        with self._database.transaction(self.task.id) as session:
            # Nobody else may have answered meanwhile: a leader that asks twice at once.
            held = self._held(session, JOB, id, mark)
            if held is not None:
                return id, held
            self._commit(session, outputs, responses)
            answer = Answer(mark, self.task.profile.write_responses(responses))
            helper_store.keep(session, self.task.id, JOB, id, answer)
        return id, answer.body

    def continue_job(self, job_id: bytes, body: bytes) -> bytes:
        """An AggregationJobContinueReq: always refused, for Prio3 ends with the first answer.

        Raises CollectError T801, T803, T808.
        """
        self.job(job_id)
        request = self.task.profile.read_continue(body)
        if request.step == 0:
            raise malformed("a job is not continued to step 0")
        if request.continues:
            raise malformed("none of these reports waits for another step")
        raise refuse("T808", "the job has no further step", "take the answer it has given")

    def job(self, job_id: bytes) -> bytes:
        """The answer of a job. Raises CollectError T803 for one that is not known."""
        with self._database.transaction(self.task.id) as session:
            held = helper_store.answer(session, self.task.id, JOB, job_id)
        if held is None:
            raise refuse(
                "T803", f"there is no job {to_base64(job_id)}", "start it again", self.task.name
            )
        return held.body

    def delete_job(self, job_id: bytes) -> None:
        """Forget a job's answer; its reports stay counted and remembered. Raises T803."""
        self.job(job_id)
        with self._database.transaction(self.task.id) as session:
            helper_store.forget(session, self.task.id, JOB, job_id)

    def start_share(self, body: bytes) -> tuple[bytes, bytes]:
        """An AggregateShareReq; gives the resource's id and an AggregateShare.

        The batch is collected from then on. Raises CollectError T801, T804, T805, T807, T809 to
        T811.
        """
        mark = digest(self.task, body)
        id = mark[:JOB_ID_BYTES]
        request = self.task.profile.read_share_request(body, self.task)
        with self._database.transaction(self.task.id) as session:
            held = self._held(session, SHARE, id, mark)
            if held is not None:
                return id, held
            answer = Answer(mark, self._collect(session, request))
            helper_store.keep(session, self.task.id, SHARE, id, answer)
        return id, answer.body

    def share(self, share_id: bytes) -> bytes:
        """An aggregate share that was asked for. Raises CollectError T813."""
        with self._database.transaction(self.task.id) as session:
            held = helper_store.answer(session, self.task.id, SHARE, share_id)
        if held is None:
            raise refuse("T813", "there is no such aggregate share", "ask for it by POST")
        return held.body

    def delete_share(self, share_id: bytes) -> None:
        """Forget an aggregate share; its batch stays collected. Raises CollectError T813."""
        self.share(share_id)
        with self._database.transaction(self.task.id) as session:
            helper_store.forget(session, self.task.id, SHARE, share_id)

    def _held(self, session: Session, resource: str, id: bytes, mark: bytes) -> bytes | None:
        held = helper_store.answer(session, self.task.id, resource, id)
        if held is not None and held.digest != mark:
            raise refuse("T814", "the id was given to another request", "choose a new id")
        return None if held is None else held.body

    def _verify(self, job: JobInit) -> tuple[dict[int, Output], list[VerifyResp]]:
        """Verify every report: output shares by position, and the answer if they are committed."""
        shares = [(init.metadata, init.public_share, init.encrypted) for init in job.inits]
        begun = self._party.begin(shares)
        refused = begun.refused
        messages = self._decide(job, begun)
        at = list(messages)
        done = self._batch.verify_next([begun.states[i] for i in at], [messages[i] for i in at])
        for row in done.refused:
            refused[at[row]] = ReportError.VDAF_VERIFY_ERROR
        outputs = {}
        for row, share in done.accepted.items():
            metadata = job.inits[at[row]].metadata
            key = self._party.key(metadata.time, job.batch_id)
            outputs[at[row]] = Output(metadata.id, metadata.time, key, share)
        responses = [
            VerifyResp(init.metadata.id, RespKind.REJECT, error=refused[i])
            if i in refused
            else VerifyResp(
                init.metadata.id, RespKind.CONTINUE, write_ping_pong(FINISH, messages[i])
            )
            for i, init in enumerate(job.inits)
        ]
        return outputs, responses

    def _decide(self, job: JobInit, begun: Begun) -> dict[int, bytes]:
        """The verifier messages of the reports whose proofs hold, by position."""
        pairs: dict[int, Sequence[bytes]] = {}
        for i, own in begun.shares.items():
            try:
                pairs[i] = (read_ping_pong(INITIALIZE, job.inits[i].payload), own)
            except CollectError:
                begun.refused[i] = ReportError.VDAF_VERIFY_ERROR
        at = list(pairs)
        decided = self._batch.verifier_shares_to_message(
            self._party.context, [pairs[i] for i in at]
        )
        for row in decided.refused:
            begun.refused[at[row]] = ReportError.VDAF_VERIFY_ERROR
        return {at[row]: message for row, message in decided.accepted.items()}

    def _commit(
        self, session: Session, outputs: dict[int, Output], responses: list[VerifyResp]
    ) -> None:
        """Commit what may be; what may not turns into a refusal (§ Batch Buckets)."""
        task = self.task.id
        first = store.horizon(session, task, self._party.horizon())
        replayed = store.seen(session, task, [output.id for output in outputs.values()])
        closed = store.collected_among(session, task, (o.key for o in outputs.values()))
        times = {i: self._party.key(output.time, None) for i, output in outputs.items()}
        committed, remembered = [], []
        for i, output in outputs.items():
            error = None
            if output.key in closed:
                error = ReportError.BATCH_COLLECTED
            elif output.id in replayed:
                error = ReportError.REPORT_REPLAYED
            elif times[i] < first:
                error = ReportError.REPORT_DROPPED
            if error is None:
                committed.append(output)
                remembered.append((output.id, times[i]))
            else:
                responses[i] = VerifyResp(output.id, RespKind.REJECT, error=error)
        store.remember(session, task, remembered)
        self._party.commit(session, committed)

    def _collect(self, session: Session, request: ShareRequest) -> bytes:
        task = self.task
        if request.agg_param:  # § Obtaining Aggregate Shares has this error for it, not T806
            raise malformed("the reports of the batch were aggregated with another parameter")
        if request.request is not None and request.request.interval is not None:
            # Draft 18 brings the collector's own query along: it must be one too.
            self._party.span(request_selector(request))
        first, last = self._party.span(request.selector)
        if store.overlaps(session, task.id, first, last):
            raise refuse(
                "T809", "a part of the batch was collected before", "ask for a batch that was not"
            )
        buckets = store.load(session, task.id, first, last)
        if not buckets and task.mode is BatchMode.LEADER_SELECTED:
            raise refuse("T804", "there is no such batch", "name one that jobs were made for")
        count = sum(bucket.count for bucket in buckets)
        check_size(task.min_batch_size, count)
        total = store.combine(buckets, self._batch.aggregate)
        if (total.count, total.checksum) != (request.report_count, request.checksum):
            raise refuse(
                "T807",
                f"the helper aggregated {total.count} reports, the leader {request.report_count},"
                " or other ones",
                "collect again when all jobs of the batch are done",
            )
        store.mark_collected(session, task.id, first, last)
        sealed = self._party.seal(total.share, request.request, request.selector, request.agg_param)
        return task.profile.write_share(sealed)


def request_selector(request: ShareRequest) -> Selector:
    """The collector's query as a batch of its own."""
    assert request.request is not None
    return Selector(request.request.mode, interval=request.request.interval)


def check_size(minimum: int, count: int) -> None:
    """Raises CollectError T805 for too few reports; of how few, the collector is told nothing: it
    may ask for any interval, and would see when each report came."""
    if count < minimum:
        raise refuse(
            "T805",
            f"the batch has fewer reports than the {minimum} that may be summed",
            "wait for more reports, or ask for a longer interval",
        )
