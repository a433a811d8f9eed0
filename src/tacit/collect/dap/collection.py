"""The leader's collection jobs (§ Collection Job Initialization, § Obtaining Aggregate Shares).

waiting → asking: the batch is closed, and the leader's share is sealed, with its noise, once and
for all. asking → done: the helper gave its share. Or failed, with the error that says why.
"""

from __future__ import annotations

from dataclasses import replace

from tacit.collect.dap import leader_store, store
from tacit.collect.dap.aggregation import LEASE, Pauses, milliseconds
from tacit.collect.dap.database import Session
from tacit.collect.dap.errors import PROBLEMS
from tacit.collect.dap.helper import check_size
from tacit.collect.dap.leader import Leader, overlap
from tacit.collect.dap.leader_store import ASKING, DONE, FAILED, WAITING, CollectionJob
from tacit.collect.dap.messages import (
    Collection,
    CollectionRequest,
    HpkeCiphertext,
    Selector,
    ShareRequest,
)
from tacit.collect.dap.peer import Peer, Token, answered, ask, settled
from tacit.errors import CollectError

_SOON = 100  # milliseconds until a collection that must wait for jobs is looked at again


class Collecting:
    """Collections of one task. Several threads and processes may drive them."""

    def __init__(self, leader: Leader, helper: Peer, token: Token, *, lease: int = LEASE) -> None:
        self._leader, self._helper, self._token = leader, helper, token
        self._party, self.task, self._lease = leader.aggregator, leader.task, lease
        self._pauses = Pauses()

    def work(self) -> bool:
        """Move one collection on, if one can be: whether there was one. Raises CollectError T820,
        T823, T828 when the helper did not do its part; it is asked again later."""
        now = milliseconds()
        with self._leader.database.transaction(self.task.id) as session:
            job = leader_store.next_collection(session, self.task.id, now, now + self._lease)
        if job is None:
            return False
        if job.state == WAITING:
            found = self._close(job)
            if found is None:
                return False
            job = found
        if job.state == ASKING:
            self._ask(job)
        self._leader.collection_ended()
        return True

    def _close(self, job: CollectionJob) -> CollectionJob | None:
        """Close the batch, if it can be; None if it must wait."""
        task = self.task
        request = task.profile.read_query(job.request, task)
        with self._leader.database.transaction(task.id) as session:
            current = leader_store.collection(session, task.id, "id", job.id)
            if current is None or current.state != WAITING:
                return current
            try:
                moved = self._closed(session, current, request)
            except CollectError as error:
                moved = replace(current, state=FAILED, code=error.code, message=error.message)
            if moved is None:
                leader_store.set_lease(session, task.id, job.id, milliseconds() + _SOON)
                return None
            self._save(session, moved)
        return moved

    def _closed(
        self, session: Session, job: CollectionJob, request: CollectionRequest
    ) -> CollectionJob | None:
        task, party = self.task, self._party
        selector = Selector(request.mode, request.interval)
        if request.interval is None:
            batch = leader_store.ready_batch(session, task.id, task.min_batch_size)
            if batch is None:
                return None
            selector = Selector(request.mode, batch_id=batch)
            leader_store.close_batch(session, task.id, batch)
        first, last = party.span(selector)
        if store.overlaps(session, task.id, first, last):
            raise overlap()
        timed = request.interval is not None
        if timed and leader_store.unfinished(session, task.id, first, last, job.horizon):
            return None
        buckets = store.load(session, task.id, first, last)
        check_size(task.min_batch_size, sum(bucket.count for bucket in buckets))
        total = store.combine(buckets, party.batch.aggregate)
        asked = ShareRequest(request, selector, request.agg_param, total.count, total.checksum)
        own = party.seal(total.share, request, selector, request.agg_param)
        store.mark_collected(session, task.id, first, last)
        if timed:
            leader_store.drop(session, task.id, first, last)
        # The helper's place is taken by the leader's own share until the helper has given its own.
        batch_id = None if task.profile.posts else selector.batch_id
        partial = Collection(batch_id, total.count, party.interval(total), own, own)
        return replace(
            job,
            state=ASKING,
            share_request=task.profile.write_share_request(asked),
            answer=task.profile.write_collection(partial, task),
        )

    def _ask(self, job: CollectionJob) -> None:
        profile = self.task.profile
        assert job.share_request is not None
        assert job.answer is not None
        try:
            share = self._helper_share(job.share_request)
            partial = profile.read_collection(job.answer, self.task)
            whole = profile.write_collection(replace(partial, helper=share), self.task)
            moved = replace(job, state=DONE, answer=whole)
        except CollectError as error:
            if error.code not in PROBLEMS or error.code in ("T812", "T813", "T819"):
                self._postpone(job)
                raise
            moved = replace(job, state=FAILED, code=error.code, message=error.message)
        self._pauses.clear(job.id)
        with self._leader.database.transaction(self.task.id) as session:
            self._save(session, moved)

    def _helper_share(self, body: bytes) -> HpkeCiphertext:
        profile = self.task.profile
        url = self.task.url(self.task.helper, "aggregate_shares")
        response = ask(
            self._helper,
            "POST",
            url,
            body=body,
            media=profile.media["aggregate-share-req"],
            token=self._token,
        )
        if profile.posts:
            response = settled(self._helper, response, url, self._token)
        return answered(response, profile.media["aggregate-share"], profile.read_share)

    def _postpone(self, job: CollectionJob) -> None:
        until = milliseconds() + self._pauses.next(job.id)
        with self._leader.database.transaction(self.task.id) as session:
            leader_store.set_lease(session, self.task.id, job.id, until)

    def _save(self, session: Session, job: CollectionJob) -> None:
        leader_store.set_state(
            session,
            self.task.id,
            job.id,
            job.state,
            share_request=job.share_request,
            answer=job.answer,
            code=job.code,
            message=job.message,
        )
