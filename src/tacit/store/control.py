"""The control store: what was decided, in one append-only, hash-chained file.

A record is never changed and never removed. Each carries the SHA-256 of its fields and of the
record before it, and a row of its own keeps the head, so that an edit or a missing row is found:

- *found, always*: a record edited, removed or inserted without redoing every later hash; the last
  records removed without also rewriting the head; damage that SQLite itself notices (T702).
- *found by the witness* (`store.witness`), a file beside this one that is told every head: this
  file put back from an older copy, or redone from some record on (T706), or deleted (T718). A store
  that had a witness does not open without it (T719).
- *found only by a witness or an anchor elsewhere*: file and witness put back together. Give `open`
  a path on another disk or machine as a further witness, or a `head()` that was kept somewhere (a
  transparency log, a published bundle, a printout).
- *not found at all*: both files put back where nothing else remembers; records added by somebody
  who can write the file. A hash is no signature.

It holds no personal data. What an erasure must remove must not be in here: it never leaves.

SQLite in WAL mode with `synchronous=FULL`: a record is on the disk when `append` returns. Writers
in other processes wait their turn (`BEGIN IMMEDIATE`); readers are never blocked.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tacit.errors import StoreError, TacitError
from tacit.store import witness
from tacit.store.sqlite import refusal
from tacit.values import canonical_json

FORMAT = 1
WITNESSED = 0x7AC17  # the file's application id once its witness is there: it never opens without
KINDS = frozenset({"plan", "release", "spend", "bundle", "audit", "receipt", "key"})
_GENESIS = "0" * 64
_PATIENCE = 10.0  # seconds to wait for another process's transaction
_COLUMNS = "sequence, kind, key, at, body, previous, hash"
_SCHEMA = f"""
BEGIN;
CREATE TABLE records (
    sequence INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE INDEX records_by_key ON records (kind, key, sequence);
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1), sequence INTEGER NOT NULL, hash TEXT NOT NULL
);
INSERT INTO head VALUES (1, 0, '{_GENESIS}');
CREATE TRIGGER records_stay BEFORE UPDATE ON records
    BEGIN SELECT RAISE(ABORT, 'records are never changed'); END;
CREATE TRIGGER records_remain BEFORE DELETE ON records
    BEGIN SELECT RAISE(ABORT, 'records are never removed'); END;
CREATE TRIGGER records_follow BEFORE INSERT ON records
    WHEN NEW.sequence <> (SELECT sequence + 1 FROM head)
    BEGIN SELECT RAISE(ABORT, 'records follow each other'); END;
CREATE TRIGGER head_moves_on BEFORE UPDATE ON head
    WHEN NEW.sequence <> OLD.sequence + 1
    BEGIN SELECT RAISE(ABORT, 'the head only moves on'); END;
CREATE TRIGGER head_remains BEFORE DELETE ON head
    BEGIN SELECT RAISE(ABORT, 'the head remains'); END;
PRAGMA user_version = {FORMAT};
PRAGMA application_id = {WITNESSED};
COMMIT;
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Head:
    """The last record's sequence and hash; it commits to every record before. 0 when empty."""

    sequence: int
    hash: str


@dataclass(frozen=True, slots=True)
class Record:
    """One decision. `at` is when it was written, by the writer's clock: microseconds, to be read
    by people. Nothing is ever decided by it; the sequence orders."""

    sequence: int
    kind: str
    key: str
    at: int
    body: Mapping[str, Any]
    previous: str
    hash: str


class ControlStore:
    """An open control store. One object may be used from several threads."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, witnesses: Sequence[Path] = ()
    ) -> None:
        self._path = path
        self._connection = connection
        self._witnesses = (witness.beside(path), *witnesses)
        self._appended = False
        self._lock = threading.RLock()

    @classmethod
    def create(cls, path: str | Path) -> Self:
        """A new, empty store, and its witness. Raises StoreError T707 if there is a file: it may
        hold a budget; T718 if there was one.

        It is made aside, and gets its name when it is whole: a crash leaves no half of one. The
        witness comes first: a crash between leaves one that was told of nothing.
        """
        place = Path(os.path.abspath(path))
        witness.check_gone(place, [witness.beside(place)])
        taken = _error("T707", place, "a file is there already", "open it instead")
        if place.exists():
            raise taken
        aside = place.with_name(f".{place.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            aside.unlink(missing_ok=True)
            os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except OSError as error:
            why = f"the file cannot be made: {error.strerror}"
            raise _error("T704", place, why, "create its folder, and allow access") from None
        try:
            with cls(aside, _connect(aside)) as store, store._guarded():
                store._connection.executescript(_SCHEMA)
            witness.tell(witness.beside(place), 0, _GENESIS)
            os.link(aside, place)
        except FileExistsError:
            raise taken from None
        except OSError as error:
            why = f"the file cannot be named: {error.strerror}"
            raise _error("T704", place, why, "keep it where files have hard links") from None
        finally:
            for suffix in ("", "-wal", "-shm", "-journal"):
                aside.with_name(aside.name + suffix).unlink(missing_ok=True)
        return cls(place, _connect(place))

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        anchor: Head | None = None,
        witnesses: Sequence[str | Path] = (),
        accept: bool = False,
    ) -> Self:
        """An existing store, every record verified (about 6 µs each).

        `witnesses` are further ones than the file beside it. `accept`: witnesses that are not there
        are made anew, and nobody knows whether the store is an older copy of itself. Opening never
        creates: a store that is gone is a budget forgotten. Raises StoreError: T707 not there, T718
        not there any more, T719 without a witness, T702 damaged, T706 edited or rolled back, T708
        of another format.
        """
        place = Path(os.path.abspath(path))
        others = [Path(os.path.abspath(each)) for each in witnesses]
        if not place.exists():
            witness.check_gone(place, [witness.beside(place), *others])
            fix = "restore it from a backup; ControlStore.create() starts with nothing spent"
            raise _error("T707", place, "there is no control store", fix)
        store = None
        try:
            # Before the store is read: it holds what its witnesses were told by then.
            seen = {each: witness.last_seen(each) for each in (witness.beside(place), *others)}
            store = cls(place, _connect(place), others)
            store._check_format()
            store.verify(anchor, *(Head(*each) for each in seen.values() if each))
            head, marked = store.head(), store._witnessed()
            if head.sequence and marked and not accept:
                witness.check_told(place, seen)
            if any(each is None or each.sequence < head.sequence for each in seen.values()):
                store._tell(head)
            if not marked:  # it is from before witnesses were part of a store
                with store._guarded():
                    store._connection.execute(f"PRAGMA application_id = {WITNESSED}")
        except BaseException as error:
            if store:
                store.close()
            if isinstance(error, UnicodeDecodeError) or getattr(error, "code", "") == "T700":
                # SQLite could not make sense of the schema, or Python of SQLite's complaint.
                raise _damaged(place, "its schema cannot be read") from None
            raise
        return store

    def append(
        self, kind: str, key: str, body: Mapping[str, Any], *, at: int | None = None
    ) -> Record:
        """Add a record; it is on the disk when this returns, or when the `transaction` around ends.

        `kind` is one of `KINDS`, `body` is anything JSON holds as an object. Raises StoreError T709
        for another kind or a body that is not JSON.
        """
        if kind not in KINDS:
            raise _error("T709", self._path, f"no kind {kind!r}", f"use one of {sorted(KINDS)}")
        try:
            text = canonical_json(dict(body)).decode()
        except (ValueError, TypeError, RecursionError):
            fix = "use texts, finite numbers, lists and objects"
            raise _error("T709", self._path, "the body is not JSON", fix) from None
        with self.transaction():
            head = self.head()
            moment = time.time_ns() // 1000 if at is None else at
            fields = (head.sequence + 1, kind, key, moment, text, head.hash)
            record = self._record((*fields, _digest(*fields)))
            self._connection.execute(
                f"INSERT INTO records ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                (*fields, record.hash),
            )
            self._connection.execute(
                "UPDATE head SET sequence = ?, hash = ? WHERE one = 1",
                (record.sequence, record.hash),
            )
            self._appended = True
        return record

    def read(self, kind: str, key: str | None = None, *, after: int = 0) -> tuple[Record, ...]:
        """The records of a kind (and key), oldest first, with a sequence greater than `after`."""
        return self._select("kind = ? AND sequence > ?", (kind, after), key)

    def latest(self, kind: str, key: str) -> Record | None:
        """The last record of a kind and key."""
        last = "sequence = (SELECT max(sequence) FROM records WHERE kind = ? AND key = ?)"
        return next(iter(self._select(last, (kind, key))), None)

    def head(self) -> Head:
        """What an outside anchor keeps."""
        with self._guarded():
            row = self._connection.execute("SELECT sequence, hash FROM head").fetchone()
        if row is None:
            raise self._edited("the head is gone")
        return Head(int(row[0]), str(row[1]))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is read and appended in the block happens at once, or not at all; it may nest.

        No other writer, in this process or another, comes in between. Raises StoreError T703 when
        another one holds the store for ten seconds, T701 when the disk is full.
        """
        with self._guarded():
            if self._connection.in_transaction:
                yield  # the outer block commits
                return
            self._connection.execute("BEGIN IMMEDIATE")
            self._appended = False
            try:
                yield
                head = self.head() if self._appended else None
                self._connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            if head is not None:
                self._tell(head)

    def verify(self, *anchors: Head | None) -> None:
        """Check the file's structure and recompute the whole chain. Raises StoreError T702 if it is
        damaged, T706 at the first record that is not right, or if one of `anchors` is not in it."""
        with self._snapshot():
            # A damaged index would make `read` skip records that the chain has.
            [fault] = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
            if fault != "ok":
                raise _damaged(self._path, fault)
            if _schema(self._connection) != _expected_schema():
                raise self._edited("its tables or triggers are not those it was created with")
            cursor = self._connection.execute(f"SELECT {_COLUMNS} FROM records ORDER BY sequence")  # noqa: S608
            at, missing = Head(0, _GENESIS), {each for each in anchors if each and each.sequence}
            for row in cursor:
                if (row[0], row[5]) != (at.sequence + 1, at.hash) or row[6] != _digest(*row[:6]):
                    raise self._edited(f"record {row[0]} is not the one that was written")
                at = Head(row[0], row[6])
                missing.discard(at)
            if self.head() != at:
                raise self._edited(f"the records end at {at.sequence}, and the head does not")
        for each in missing:
            raise self._edited(f"record {each.sequence} was seen, and is not in it (rolled back)")

    def close(self) -> None:
        """Close the file. Everything appended is on the disk already."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ControlStore({str(self._path)!r})"

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """All reads of the block see one state, whatever other processes write meanwhile."""
        with self._guarded():
            outer = self._connection.in_transaction
            if not outer:
                self._connection.execute("BEGIN")
            try:
                yield
            finally:
                if not outer:
                    self._roll_back()

    def _tell(self, head: Head) -> None:
        for each in self._witnesses:
            witness.tell(each, head.sequence, head.hash)

    def _witnessed(self) -> bool:
        """Whether its witness was there when it was made, or since."""
        with self._guarded():
            [mark] = self._connection.execute("PRAGMA application_id").fetchone()
        return bool(mark == WITNESSED)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # a full disk has rolled back by itself
            self._connection.execute("ROLLBACK")

    def _select(
        self, condition: str, values: tuple[Any, ...], key: str | None = None
    ) -> tuple[Record, ...]:
        if key is not None:
            condition, values = f"{condition} AND key = ?", (*values, key)
        with self._guarded():
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM records WHERE {condition} ORDER BY sequence",  # noqa: S608
                values,
            ).fetchall()
        return tuple(map(self._record, rows))

    def _record(self, row: tuple[Any, ...]) -> Record:
        if row[6] != _digest(*row[:6]):
            raise self._edited(f"record {row[0]} is not the one that was written")
        sequence, kind, key, at, text, previous, own = row
        try:
            body = json.loads(text)
        except (ValueError, TypeError, RecursionError):
            body = None
        if not isinstance(body, dict):  # `append` writes none such, whatever its hash says
            raise self._edited(f"record {sequence} holds no JSON object")
        return Record(sequence, kind, key, at, body, previous, own)

    def _edited(self, how: str) -> StoreError:
        fix = "restore the last good copy; release nothing until it is clear what was spent"
        return _error("T706", self._path, f"the control store was changed: {how}", fix)

    def _check_format(self) -> None:
        with self._guarded():
            version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if version == 0:
            raise _damaged(self._path, "it is empty, or its first page is lost")
        if version != FORMAT:
            why = f"format {version}; this release of Tacit reads format {FORMAT}"
            raise _error("T708", self._path, why, "use the release of Tacit that wrote it")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise _refused(error, self._path) from None


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=_PATIENCE
        )
    except sqlite3.Error as error:
        raise _refused(error, path) from None
    try:
        connection.text_factory = _lenient
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cell_size_check = ON")
    except BaseException as error:
        connection.close()
        raise (_refused(error, path) if isinstance(error, sqlite3.Error) else error) from None
    return connection


def _schema(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()


@functools.cache
def _expected_schema() -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_SCHEMA)
        return _schema(connection)


def _digest(*fields: Any) -> str:
    """Of sequence, kind, key, at, body and previous. Empty if they are of no types of ours."""
    try:
        return hashlib.sha256(canonical_json(fields)).hexdigest()
    except (ValueError, TypeError):
        return ""


def _lenient(raw: bytes) -> str:
    """Text that is not UTF-8 is an edit: let it come as far as its hash, which will be wrong."""
    return raw.decode(errors="surrogateescape")


def _refused(error: sqlite3.Error, path: Path) -> TacitError:
    return refusal(error, str(path), corrupt=lambda how: _damaged(path, how))


def _damaged(path: Path, how: str) -> StoreError:
    why = f"the control store is damaged: {how}"
    return _error("T702", path, why, "restore the last good copy; release nothing until then")


def _error(code: str, path: Path, message: str, fix: str) -> StoreError:
    return StoreError(message, code=code, where=str(path), fix=fix)
