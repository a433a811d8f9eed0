"""The leader's durable state: what both keep, reports that wait, jobs and collections under way.

Reports of a task are numbered as they come. A job takes those that have waited longest, so it is a
span of numbers, and no report is written again to say so: what is past the task's cursor waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tacit.collect.dap.database import Session
from tacit.collect.dap.store import SHARED_SCHEMA

LEADER_SCHEMA: Final = (
    SHARED_SCHEMA
    + """
CREATE TABLE IF NOT EXISTS pending (
    seq {serial}, task {blob} NOT NULL, key {blob} NOT NULL, body {blob} NOT NULL
);
CREATE INDEX IF NOT EXISTS pending_by_task ON pending (task, seq);
CREATE INDEX IF NOT EXISTS pending_by_key ON pending (task, key);
CREATE TABLE IF NOT EXISTS cursors (task {blob} PRIMARY KEY, seq {number} NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (
    task {blob} NOT NULL, id {blob} NOT NULL, batch {blob}, request {blob}, lease {number} NOT NULL,
    first {number} NOT NULL, last {number} NOT NULL, PRIMARY KEY (task, id)
);
CREATE TABLE IF NOT EXISTS batches (
    task {blob} NOT NULL, id {blob} NOT NULL, assigned {number} NOT NULL, seq {number} NOT NULL,
    PRIMARY KEY (task, id)
);
CREATE TABLE IF NOT EXISTS collections (
    task {blob} NOT NULL, id {blob} NOT NULL, digest {blob} NOT NULL, request {blob} NOT NULL,
    state TEXT NOT NULL, horizon {number} NOT NULL, lease {number} NOT NULL, share_request {blob},
    answer {blob}, code TEXT, message TEXT, PRIMARY KEY (task, id)
);
"""
)
WAITING, ASKING, DONE, FAILED = "waiting", "asking", "done", "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """An aggregation job under way. `request` is None until it was computed; then it is what is
    sent, however often. `reports` are encoded, in the order in which they came."""

    id: bytes
    batch: bytes | None
    request: bytes | None
    reports: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CollectionJob:
    """A collection under way. `share_request` is what the helper is asked, and `answer` the whole
    response once it is there; before that, the leader's own sealed share. `code` and `message` say
    why it failed."""

    id: bytes
    request: bytes
    state: str
    horizon: int
    share_request: bytes | None
    answer: bytes | None
    code: str | None
    message: str | None


def insert(session: Session, task: bytes, rows: Sequence[tuple[bytes, bytes, bytes]]) -> None:
    """Queue reports: (key, id, encoding)."""
    session.insert("pending (task, key, body)", [(task, key, body) for key, _, body in rows])


def waiting(session: Session, task: bytes, most: int) -> int:
    """How many reports are in no job yet; counts up to `most`."""
    sql = "SELECT count(*) FROM (SELECT 1 FROM pending WHERE task = ? AND seq > ? LIMIT ?) q"
    return int(session.all(sql, (task, _cursor(session, task), most))[0][0])


def claim(
    session: Session, task: bytes, id: bytes, batch: bytes | None, most: int, lease: int
) -> Job | None:
    """Make a job of the reports that have waited longest, if any wait."""
    rows = session.all(
        "SELECT seq, body FROM pending WHERE task = ? AND seq > ? ORDER BY seq LIMIT ?",
        (task, _cursor(session, task), most),
    )
    if not rows:
        return None
    first, last = int(rows[0][0]), int(rows[-1][0])
    if not session.run("UPDATE cursors SET seq = ? WHERE task = ?", (last, task)):
        session.run("INSERT INTO cursors VALUES (?, ?)", (task, last))
    session.run(
        "INSERT INTO jobs VALUES (?, ?, ?, NULL, ?, ?, ?)", (task, id, batch, lease, first, last)
    )
    return Job(id, batch, None, tuple(bytes(row[1]) for row in rows))


def _cursor(session: Session, task: bytes) -> int:
    """The number of the last report that any job took."""
    rows = session.all("SELECT seq FROM cursors WHERE task = ?", (task,))
    return int(rows[0][0]) if rows else 0


def abandoned(session: Session, task: bytes, now: int, lease: int) -> Job | None:
    """A job whose lease ran out, with a new lease."""
    rows = session.all(
        "SELECT id, batch, request, first, last FROM jobs WHERE task = ? AND lease <= ?"
        " ORDER BY id LIMIT 1",
        (task, now),
    )
    if not rows:
        return None
    id, batch, request = (None if part is None else bytes(part) for part in rows[0][:3])
    assert id is not None
    session.run("UPDATE jobs SET lease = ? WHERE task = ? AND id = ?", (lease, task, id))
    reports = session.all(
        "SELECT body FROM pending WHERE task = ? AND seq >= ? AND seq <= ? ORDER BY seq",
        (task, *rows[0][3:]),
    )
    return Job(id, batch, request, tuple(bytes(row[0]) for row in reports))


def set_request(session: Session, task: bytes, id: bytes, request: bytes) -> None:
    """What the job sends, from now on and after any crash."""
    session.run("UPDATE jobs SET request = ? WHERE task = ? AND id = ?", (request, task, id))


def postpone(session: Session, task: bytes, id: bytes, until: int) -> None:
    """Try the job again at that moment."""
    session.run("UPDATE jobs SET lease = ? WHERE task = ? AND id = ?", (until, task, id))


def finish(session: Session, task: bytes, id: bytes) -> bool:
    """Remove a job and its reports from the queue; False if somebody did so before."""
    rows = session.all("SELECT first, last FROM jobs WHERE task = ? AND id = ?", (task, id))
    if session.run("DELETE FROM jobs WHERE task = ? AND id = ?", (task, id)) != 1:
        return False
    session.run("DELETE FROM pending WHERE task = ? AND seq >= ? AND seq <= ?", (task, *rows[0]))
    return True


def release_leases(session: Session) -> None:
    """Nobody works on anything: what was under way may be taken up at once."""
    session.run("UPDATE jobs SET lease = 0")
    session.run("UPDATE collections SET lease = 0")


def open_batch(session: Session, task: bytes, size: int, fresh: bytes) -> tuple[bytes, int]:
    """The leader-selected batch that still takes reports, and how many; `fresh` names a new one."""
    rows = session.all(
        "SELECT id, assigned FROM batches WHERE task = ? AND assigned < ? ORDER BY seq LIMIT 1",
        (task, size),
    )
    if rows:
        return bytes(rows[0][0]), size - int(rows[0][1])
    [[last]] = session.all("SELECT COALESCE(MAX(seq), 0) FROM batches WHERE task = ?", (task,))
    session.run("INSERT INTO batches VALUES (?, ?, 0, ?)", (task, fresh, int(last) + 1))
    return fresh, size


def assign(session: Session, task: bytes, batch: bytes, more: int) -> None:
    """Count reports into a batch, or rejected ones out of it."""
    session.run(
        "UPDATE batches SET assigned = assigned + ? WHERE task = ? AND id = ?", (more, task, batch)
    )


def close_batch(session: Session, task: bytes, batch: bytes) -> None:
    """The batch takes no more reports."""
    session.run("DELETE FROM batches WHERE task = ? AND id = ?", (task, batch))


def ready_batch(session: Session, task: bytes, minimum: int) -> bytes | None:
    """The oldest batch with enough reports and no job under way."""
    rows = session.all(
        "SELECT b.id FROM batches b JOIN buckets k ON k.task = b.task AND k.key = b.id"
        " WHERE b.task = ? AND k.count >= ? AND NOT EXISTS"
        " (SELECT 1 FROM jobs j WHERE j.task = b.task AND j.batch = b.id) ORDER BY b.seq LIMIT 1",
        (task, minimum),
    )
    return bytes(rows[0][0]) if rows else None


def unfinished(session: Session, task: bytes, first: bytes, last: bytes, horizon: int) -> bool:
    """Whether reports of an interval are in a job, or came up to the horizon and are in none."""
    return bool(
        session.all(
            "SELECT 1 FROM pending WHERE task = ? AND key >= ? AND key <= ? AND seq <= ? LIMIT 1",
            (task, first, last, max(horizon, _cursor(session, task))),
        )
    )


def drop(session: Session, task: bytes, first: bytes, last: bytes) -> None:
    """Remove the reports of an interval that are in no job: it was collected without them."""
    session.run(
        "DELETE FROM pending WHERE task = ? AND key >= ? AND key <= ? AND seq > ?",
        (task, first, last, _cursor(session, task)),
    )


def start_collection(session: Session, task: bytes, id: bytes, mark: bytes, request: bytes) -> None:
    """A collection of all reports that have come until now."""
    [[last]] = session.all("SELECT COALESCE(MAX(seq), 0) FROM pending WHERE task = ?", (task,))
    session.run(
        "INSERT INTO collections VALUES (?, ?, ?, ?, ?, ?, 0, NULL, NULL, NULL, NULL)",
        (task, id, mark, request, WAITING, int(last)),
    )


_COLUMNS: Final = "id, request, state, horizon, share_request, answer, code, message"


def collection(session: Session, task: bytes, column: str, value: bytes) -> CollectionJob | None:
    """The collection whose `id` or `digest` has that value."""
    sql = f"SELECT {_COLUMNS} FROM collections WHERE task = ? AND {column} = ?"  # noqa: S608
    rows = session.all(sql, (task, value))
    return _collection(rows[0]) if rows else None


def next_collection(session: Session, task: bytes, now: int, lease: int) -> CollectionJob | None:
    """A collection that is to be driven, with a lease on it; the least recently tried one."""
    rows = session.all(
        f"SELECT {_COLUMNS} FROM collections WHERE task = ? AND state IN (?, ?) AND lease <= ?"  # noqa: S608
        " ORDER BY lease, id LIMIT 1",
        (task, WAITING, ASKING, now),
    )
    if not rows:
        return None
    found = _collection(rows[0])
    set_lease(session, task, found.id, lease)
    return found


def set_lease(session: Session, task: bytes, id: bytes, until: int) -> None:
    """Drive the collection again at that moment."""
    session.run("UPDATE collections SET lease = ? WHERE task = ? AND id = ?", (until, task, id))


def set_state(
    session: Session,
    task: bytes,
    id: bytes,
    state: str,
    *,
    share_request: bytes | None = None,
    answer: bytes | None = None,
    code: str | None = None,
    message: str | None = None,
) -> None:
    """Move a collection on."""
    session.run(
        "UPDATE collections SET state = ?, share_request = ?, answer = ?, code = ?, message = ?"
        " WHERE task = ? AND id = ?",
        (state, share_request, answer, code, message, task, id),
    )


def resume(session: Session, task: bytes, id: bytes) -> None:
    """Ask the helper again, for a collection whose batch is closed."""
    session.run(
        "UPDATE collections SET state = ?, lease = 0, code = NULL, message = NULL"
        " WHERE task = ? AND id = ?",
        (ASKING, task, id),
    )


def delete_collection(session: Session, task: bytes, id: bytes) -> bool:
    """Remove a collection; what it collected stays collected. Whether there was one."""
    return session.run("DELETE FROM collections WHERE task = ? AND id = ?", (task, id)) == 1


def _collection(row: Sequence[Any]) -> CollectionJob:
    id, request, state, horizon, share_request, answer, code, message = row
    return CollectionJob(
        bytes(id),
        bytes(request),
        state,
        int(horizon),
        None if share_request is None else bytes(share_request),
        None if answer is None else bytes(answer),
        code,
        message,
    )
