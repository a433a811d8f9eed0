"""The helper's durable state: what both keep, and the answers that it has given.

An answer is stored in the transaction that commits what it says. So a request that comes again,
after a crash too, gets the same answer and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tacit.collect.dap.database import Session
from tacit.collect.dap.store import SHARED_SCHEMA

HELPER_SCHEMA: Final = (
    SHARED_SCHEMA
    + """
CREATE TABLE IF NOT EXISTS answers (
    task {blob} NOT NULL, resource TEXT NOT NULL, id {blob} NOT NULL, digest {blob} NOT NULL,
    body {blob} NOT NULL, PRIMARY KEY (task, resource, id)
);
"""
)
JOB, SHARE = "aggregation_jobs", "aggregate_shares"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, and the digest of the request that it answers."""

    digest: bytes
    body: bytes


def answer(session: Session, task: bytes, resource: str, id: bytes) -> Answer | None:
    """The answer given under an id, if one was and was not deleted."""
    rows = session.all(
        "SELECT digest, body FROM answers WHERE task = ? AND resource = ? AND id = ?",
        (task, resource, id),
    )
    return Answer(bytes(rows[0][0]), bytes(rows[0][1])) if rows else None


def keep(session: Session, task: bytes, resource: str, id: bytes, given: Answer) -> None:
    """Keep an answer under a new id."""
    session.run(
        "INSERT INTO answers VALUES (?, ?, ?, ?, ?)", (task, resource, id, given.digest, given.body)
    )


def forget(session: Session, task: bytes, resource: str, id: bytes) -> bool:
    """Delete an answer; what it committed stays. Whether there was one."""
    sql = "DELETE FROM answers WHERE task = ? AND resource = ? AND id = ?"
    return session.run(sql, (task, resource, id)) == 1
