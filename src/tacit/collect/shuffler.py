"""The anonymising shuffler: reports go in with all that a transport knows; messages come out.

It stands between devices and a collector of a local mechanism (`privacy/shuffle` says what that is
worth). Of each report only the message goes on:

- *identity*: report ids, and whatever a transport adds, are dropped; they serve to refuse replays,
  for which their hashes are kept.
- *order and time*: a batch is permuted uniformly with the system's randomness, and forwarded in one
  piece; when a report came within the batch leaves no trace. When the batch goes does, so forward
  at set times, not when a report arrives.
- *length*: every message has the one length that was declared; others are refused (T582). Devices
  whose messages vary pad them (`padded`) before they encrypt them.
- *few reports*: below the minimum nothing is forwarded (T581), and no part of a batch ever is.

**Once.** A batch is sealed in one transaction: the permuted messages are on the disk under a random
name, and the reports are gone, or neither. It is the sealed bytes that are sent, again after a
crash, never a second permutation of the same reports; and `Batch.reports` derives ids from name and
place, so that a collector that had the batch already refuses all of it as a repetition.

The shuffler must be honest, and another party than the collector: together they know who sent what.
Messages should be encrypted to the collector; the shuffler needs to read none.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from tacit.errors import PrivacyError, StoreError
from tacit.privacy.local.draws import Draws
from tacit.privacy.mechanism import ID_BYTES, Report
from tacit.privacy.randomness import Randomness, system
from tacit.store.atomic import make_folder
from tacit.store.sqlite import immediate, refusal

_LENGTH_BYTES = 4
_PATIENCE = 10.0  # seconds to wait for another process's transaction
# Rows are kept in the order of their keys, which are hashes of random ids: not in that of arrival.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting (mark BLOB PRIMARY KEY, message BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (mark BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    name BLOB PRIMARY KEY, messages BLOB NOT NULL, size INTEGER NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages without their senders. `name` is random; `rows` (n, size) are the messages."""

    name: bytes
    rows: npt.NDArray[np.uint8]

    def reports(self) -> Iterator[Report]:
        """The messages as reports, under ids that are the same each time the batch is sent."""
        for place, row in enumerate(self.rows):
            digest = hashlib.blake2b(place.to_bytes(8, "little"), key=self.name, digest_size=16)
            yield Report(digest.digest(), (row.tobytes(),))


class Shuffler:
    """A shuffler with its spool, a file that only it may read. Several processes may share it.

    `size`: bytes of every message. `minimum`: the fewest reports of a batch, two or more. Raises
    PrivacyError T583 for others, StoreError for a spool that cannot be used.
    """

    def __init__(
        self, path: Path, *, size: int, minimum: int, randomness: Randomness | None = None
    ) -> None:
        if not (type(size) is int and size >= 1 and type(minimum) is int and minimum >= 2):
            raise PrivacyError(
                f"a shuffler of messages of {size} bytes, {minimum} or more, hides nothing",
                code="T583",
                fix="give the bytes of a message, and a minimum of two reports or more",
            )
        self._size, self._minimum = size, minimum
        self._randomness = randomness or system()
        self._where = str(path)
        make_folder(path.parent)
        with self._refusing():
            self._database = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
            path.chmod(0o600)
            self._database.execute("PRAGMA secure_delete = ON")
            self._database.execute("PRAGMA journal_mode = TRUNCATE")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)

    # ------------------------------------------------------------------ reports come

    def receive(self, reports: Iterable[Report]) -> dict[bytes, PrivacyError]:
        """Takes the reports that are well-formed, all durably; returns why others are not, by id.

        T582: another length than all have, or not one message. T535: a report that was here before,
        in this batch or in an earlier one.
        """
        refused: dict[bytes, PrivacyError] = {}
        with self._transaction():
            for report in reports:
                error = self._take(report)
                if error is not None:
                    refused[report.id] = error
        return refused

    def _take(self, report: Report) -> PrivacyError | None:
        message = report.messages[0] if len(report.messages) == 1 else None
        named = isinstance(report.id, bytes) and len(report.id) == ID_BYTES
        if not (named and isinstance(message, bytes) and len(message) == self._size):
            return _wrong_length(f"a report is not one message of {self._size} bytes")
        mark = hashlib.blake2b(report.id, digest_size=16, person=b"tacit shuffler").digest()
        added = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (mark,))
        if not added.rowcount:
            return PrivacyError(
                "a report came twice",
                code="T535",
                fix="send each report once; the first one counts",
            )
        self._database.execute("INSERT INTO waiting VALUES (?, ?)", (mark, message))
        return None

    @property
    def waiting(self) -> int:
        """The reports of the batch to come."""
        with self._refusing():
            return int(self._database.execute("SELECT count(*) FROM waiting").fetchone()[0])

    # ------------------------------------------------------------------ batches go

    def seal(self) -> Batch:
        """Makes one batch of all that waits. Raises PrivacyError T581 below the minimum, StoreError
        T702 where messages of another length wait: together they would tell who sent which."""
        with self._transaction():
            messages = [row for (row,) in self._database.execute("SELECT message FROM waiting")]
            if not all(isinstance(each, bytes) and len(each) == self._size for each in messages):
                raise self._damaged(f"messages that are not of {self._size} bytes wait in it")
            if len(messages) < self._minimum:
                raise PrivacyError(
                    f"{len(messages)} reports wait, fewer than the {self._minimum} of a batch",
                    code="T581",
                    where=self._where,
                    fix="wait for more devices; nothing was forwarded",
                )
            order = Draws(self._randomness).permutation(len(messages))
            whole = np.frombuffer(b"".join(messages), np.uint8).reshape(-1, self._size)[order]
            name = self._randomness.bytes(ID_BYTES)
            row = (name, whole.tobytes(), self._size)
            self._database.execute("INSERT INTO batches VALUES (?, ?, ?)", row)
            self._database.execute("DELETE FROM waiting")
        return Batch(name, whole)

    def unsent(self) -> list[Batch]:
        """Sealed batches that are not known to have arrived, in the order of their random names.

        Raises StoreError T702 for one that is damaged.
        """
        with self._refusing():
            found = self._database.execute("SELECT name, messages, size FROM batches").fetchall()
        if not all(_whole(*row) for row in found):
            raise self._damaged("a sealed batch is not made of whole messages")
        return [
            Batch(name, np.frombuffer(raw, np.uint8).reshape(-1, size)) for name, raw, size in found
        ]

    def forward(self, send: Callable[[Batch], None]) -> int:
        """Sends what is unsent, and then a batch of all that waits if that is enough for one.

        A batch is forgotten when `send` has returned. Returns the number of batches sent.
        """
        with contextlib.suppress(PrivacyError):  # T581: too few yet
            self.seal()
        batches = self.unsent()
        for batch in batches:
            send(batch)
            with self._transaction():
                self._database.execute("DELETE FROM batches WHERE name = ?", (batch.name,))
        return len(batches)

    # ------------------------------------------------------------------ inside

    def close(self) -> None:
        """Lets go of the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._refusing(), immediate(self._database):
            yield

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise refusal(error, self._where, corrupt=self._damaged) from None

    def _damaged(self, why: str) -> StoreError:
        return StoreError(
            f"the shuffler's spool is damaged: {why}",
            code="T702",
            where=self._where,
            fix="restore it from a backup, or begin a new one: devices send their reports again",
        )


def _whole(name: object, messages: object, size: object) -> bool:
    """Whether a row is a batch."""
    if not (isinstance(name, bytes) and isinstance(messages, bytes) and isinstance(size, int)):
        return False
    return len(name) == ID_BYTES and size > 0 and bool(messages) and len(messages) % size == 0


def padded(message: bytes, size: int) -> bytes:
    """The message behind its length (4 bytes, little-endian), filled with zeros to `size` bytes.

    Raises PrivacyError T582 for a message that does not fit.
    """
    if len(message) + _LENGTH_BYTES > size:
        raise _wrong_length(
            f"a message of {len(message)} bytes does not fit {size} with its length"
        )
    return (len(message).to_bytes(_LENGTH_BYTES, "little") + message).ljust(size, b"\0")


def unpadded(raw: bytes) -> bytes:
    """What `padded` hid. Raises PrivacyError T582 for anything that it did not write."""
    size = int.from_bytes(raw[:_LENGTH_BYTES], "little")
    message, rest = raw[_LENGTH_BYTES : _LENGTH_BYTES + size], raw[_LENGTH_BYTES + size :]
    if len(raw) < _LENGTH_BYTES or len(message) != size or rest.strip(b"\0"):
        raise _wrong_length("a padded message is malformed")
    return message


def _wrong_length(what: str) -> PrivacyError:
    return PrivacyError(
        what,
        code="T582",
        fix="send what the mechanism encodes, or pad every message to the declared size",
    )
