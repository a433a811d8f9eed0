"""What leader and helper both keep: batch buckets, what is collected, ids of reports (§ Batch
Buckets).

A bucket's key is bytes that sort as the buckets do: eight big-endian bytes of a count of time
precisions, or a batch id of 32. Every function works within a transaction of its caller.

**Replays.** The id of each report that was taken is remembered, with the key of its time, until the
report could not be taken again whatever its id: because its time was collected, or lies before the
task's horizon. The horizon only moves on, and is kept: a clock that is put back takes no old report
in again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tacit.collect.dap.database import Session
from tacit.collect.dap.errors import refuse
from tacit.collect.dap.messages import EMPTY_CHECKSUM
from tacit.collect.dap.task import Task

SHARED_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS tasks (task {blob} PRIMARY KEY, configuration {blob} NOT NULL);
CREATE TABLE IF NOT EXISTS seen (
    task {blob} NOT NULL, report {blob} NOT NULL, key {blob} NOT NULL, PRIMARY KEY (task, report)
) {packed};
CREATE INDEX IF NOT EXISTS seen_by_key ON seen (task, key);
CREATE TABLE IF NOT EXISTS horizons (task {blob} PRIMARY KEY, key {blob} NOT NULL);
CREATE TABLE IF NOT EXISTS buckets (
    task {blob} NOT NULL, key {blob} NOT NULL, share {blob} NOT NULL, count {number} NOT NULL,
    checksum {blob} NOT NULL, first {number} NOT NULL, last {number} NOT NULL,
    PRIMARY KEY (task, key)
);
CREATE TABLE IF NOT EXISTS collected (
    task {blob} NOT NULL, first {blob} NOT NULL, last {blob} NOT NULL, PRIMARY KEY (task, first)
);
"""
_MOST_PARAMETERS = 500

Merge = Callable[[Sequence[bytes]], bytes]
"""The sum of aggregate shares."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """What was committed to a bucket: a share, and of how many reports, of which ids and times.

    `checksum` is the XOR of SHA-256 of the ids; `first` and `last` are times on the wire.
    """

    share: bytes
    count: int
    checksum: bytes
    first: int
    last: int


def time_key(bucket: int) -> bytes:
    """The key of a time bucket."""
    return bucket.to_bytes(8, "big")


def checksum(ids: Iterable[bytes]) -> bytes:
    """The XOR of the SHA-256 of each id."""
    total = 0
    for report in ids:
        total ^= int.from_bytes(hashlib.sha256(report).digest(), "big")
    return total.to_bytes(len(EMPTY_CHECKSUM), "big")


def combine(buckets: Sequence[Bucket], merge: Merge) -> Bucket:
    """All of them as one; at least one."""
    total = 0
    for bucket in buckets:
        total ^= int.from_bytes(bucket.checksum, "big")
    return Bucket(
        merge([bucket.share for bucket in buckets]),
        sum(bucket.count for bucket in buckets),
        total.to_bytes(len(EMPTY_CHECKSUM), "big"),
        min(bucket.first for bucket in buckets),
        max(bucket.last for bucket in buckets),
    )


def register(session: Session, task: Task, secret_mark: bytes) -> None:
    """Hold a task to the parameters it was first served with. Raises CollectError T822.

    `secret_mark` is a digest of its keys: to change one is to change the task.
    """
    mark = hashlib.sha256(
        bytes((task.version,)) + task.configuration + repr(task.noise).encode() + secret_mark
    ).digest()
    session.run("INSERT INTO tasks VALUES (?, ?) ON CONFLICT DO NOTHING", (task.id, mark))
    [[held]] = session.all("SELECT configuration FROM tasks WHERE task = ?", (task.id,))
    if bytes(held) != mark:
        raise refuse(
            "T822",
            "the task was served with other parameters before, and a task never changes",
            "give the changed task another id",
            f"task {task.name}",
        )


def seen(session: Session, task: bytes, ids: Sequence[bytes]) -> set[bytes]:
    """Which of the reports are remembered."""
    found: set[bytes] = set()
    for part in _parts(ids):
        marks = ", ".join("?" * len(part))
        sql = f"SELECT report FROM seen WHERE task = ? AND report IN ({marks})"  # noqa: S608
        found.update(bytes(row[0]) for row in session.all(sql, (task, *part)))
    return found


def remember(session: Session, task: bytes, reports: Iterable[tuple[bytes, bytes]]) -> None:
    """Remember reports that are not: id, and the key of their time."""
    # In their order: what lies together in the tree is written together.
    session.insert("seen (task, report, key)", [(task, *report) for report in sorted(reports)])


def horizon(session: Session, task: bytes, key: bytes) -> bytes:
    """The key of the first time of which reports are still taken: this one, or a later one that it
    was before. The ids of reports before it are forgotten."""
    rows = session.all("SELECT key FROM horizons WHERE task = ?", (task,))
    held = bytes(rows[0][0]) if rows else time_key(0)
    if key <= held:
        return held
    session.run("DELETE FROM seen WHERE task = ? AND key < ?", (task, key))
    session.run("DELETE FROM horizons WHERE task = ?", (task,))
    session.run("INSERT INTO horizons VALUES (?, ?)", (task, key))
    return key


def add(session: Session, task: bytes, key: bytes, more: Bucket, merge: Merge) -> None:
    """Commit to a bucket."""
    held = load(session, task, key, key)
    total = combine([*held, more], merge)
    row = (total.share, total.count, total.checksum, total.first, total.last, task, key)
    if held:
        session.run(
            "UPDATE buckets SET share = ?, count = ?, checksum = ?, first = ?, last = ?"
            " WHERE task = ? AND key = ?",
            row,
        )
    else:
        session.run(
            "INSERT INTO buckets (share, count, checksum, first, last, task, key)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            row,
        )


def load(session: Session, task: bytes, first: bytes, last: bytes) -> list[Bucket]:
    """The buckets with keys from `first` to `last`, both included."""
    rows = session.all(
        "SELECT share, count, checksum, first, last FROM buckets"
        " WHERE task = ? AND key >= ? AND key <= ? ORDER BY key",
        (task, first, last),
    )
    return [Bucket(bytes(r[0]), int(r[1]), bytes(r[2]), int(r[3]), int(r[4])) for r in rows]


def overlaps(session: Session, task: bytes, first: bytes, last: bytes) -> bool:
    """Whether any key from `first` to `last` was collected."""
    return bool(
        session.all(
            "SELECT 1 FROM collected WHERE task = ? AND first <= ? AND last >= ? LIMIT 1",
            (task, last, first),
        )
    )


def collected_among(session: Session, task: bytes, keys: Iterable[bytes]) -> set[bytes]:
    """Which of the keys were collected."""
    return {key for key in set(keys) if overlaps(session, task, key, key)}


def mark_collected(session: Session, task: bytes, first: bytes, last: bytes) -> None:
    """From now on nothing is committed to keys from `first` to `last`, and they are not asked for
    again. Where they are times, the ids of their reports need not be remembered any more."""
    session.run("INSERT INTO collected VALUES (?, ?, ?)", (task, first, last))
    if len(first) == len(time_key(0)):
        session.run(
            "DELETE FROM seen WHERE task = ? AND key >= ? AND key <= ?", (task, first, last)
        )


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _MOST_PARAMETERS):
        yield items[start : start + _MOST_PARAMETERS]
