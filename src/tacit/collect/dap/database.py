"""Where an aggregator's state is durable: SQLite for one process, PostgreSQL for a fleet.

Both run the same statements. Whatever is read and written in one `transaction` happens at once or
not at all, and transactions with the same scope (a task) happen one after the other: in SQLite
because there is one writer, in PostgreSQL by an advisory lock on the scope.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Final, Protocol

from tacit.collect.dap.errors import refuse
from tacit.errors import CollectError, StoreError
from tacit.store.sqlite import immediate, refusal

Row = tuple[Any, ...]
_PATIENCE: Final = 30.0  # seconds to wait for another process's transaction
_TOGETHER: Final = (64, 8, 1)  # rows of one statement


class Session(Protocol):
    """Statements in one transaction. Parameters stand as `?`."""

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """The rows of a query."""
        ...

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """How many rows a statement changed."""
        ...

    def insert(self, into: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows into a table, which may name its columns: `table (one, two)`."""
        ...


class Database(Protocol):
    """An open database. It may be used from several threads.

    `exclusive`: no other process has it open, so what one left behind is nobody's.
    """

    exclusive: bool

    def transaction(self, scope: bytes, *, durable: bool = True) -> Any:
        """A context that gives a Session, commits at its end, and rolls back on an error.

        Committed is on the disk, unless not `durable`: then a power failure may undo it, together
        with all that came after it, but never alone; the next durable commit settles it. Raises
        StoreError for a file that fails, CollectError T826 for a server that does.
        """
        ...

    def close(self) -> None:
        """Close it. What was committed stays."""
        ...


class SqliteDatabase:
    """A file of one process, with a write-ahead log.

    `secure_delete` overwrites what is removed where that costs no further write; what is left of a
    report anywhere is sealed to a key that can be destroyed.
    """

    exclusive = True

    def __init__(self, path: str | Path, schema: str) -> None:
        self._path = str(path)
        self._lock = threading.RLock()
        _own(path)
        try:
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=_PATIENCE
            )
            for pragma in (
                "locking_mode = EXCLUSIVE",  # a second process is refused
                "journal_mode = WAL",
                "synchronous = FULL",
                "secure_delete = FAST",
                "cache_size = -65536",
                "wal_autocheckpoint = 16384",  # 64 MB: commits seldom wait for a checkpoint
            ):
                self._connection.execute(f"PRAGMA {pragma}")
            self._connection.executescript(
                "BEGIN;"
                + schema.format(
                    blob="BLOB",
                    number="INTEGER",
                    serial="INTEGER PRIMARY KEY AUTOINCREMENT",
                    packed="WITHOUT ROWID",
                )
                + "COMMIT;"
            )
        except sqlite3.Error as error:
            raise self._refused(error) from None

    @contextmanager
    def transaction(self, scope: bytes, *, durable: bool = True) -> Iterator[Session]:
        with self._lock:
            try:
                level = "FULL" if durable else "NORMAL"
                self._connection.execute(f"PRAGMA synchronous = {level}")
                with immediate(self._connection):
                    yield _SqliteSession(self._connection)
            except sqlite3.Error as error:
                raise self._refused(error) from None

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _refused(self, error: sqlite3.Error) -> Exception:
        def corrupt(how: str) -> StoreError:
            fix = "restore the last good copy; collect nothing until then"
            return StoreError(f"it is damaged: {how}", code="T702", where=self._path, fix=fix)

        return refusal(error, self._path, corrupt=corrupt)


class _SqliteSession:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        return self._connection.execute(sql, values).fetchall()

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        return self._connection.execute(sql, values).rowcount

    def insert(self, into: str, rows: Sequence[Sequence[Any]]) -> None:
        # Many rows to a statement: with each one, the interpreter's lock is given away, and is back
        # only when the threads that compute let go of it. Few sizes: each is prepared once.
        at = 0
        for size in _TOGETHER:
            while len(rows) - at >= size:
                part = rows[at : at + size]
                values = list(chain.from_iterable(part))
                self._connection.execute(_insertion(into, size, len(part[0])), values)
                at += size


class PostgresDatabase:
    """A PostgreSQL server, shared by a fleet of processes of one aggregator.

    `url` is a libpq connection string. Each thread has a connection of its own. Raises CollectError
    T826 when the server cannot be reached, T825 when `psycopg` is not installed.
    """

    exclusive = False

    def __init__(self, url: str, schema: str) -> None:
        self._psycopg = _import_psycopg()
        self._url, self._local = url, threading.local()
        self._open: list[Any] = []
        with self.transaction(b"schema") as session:
            session.run(
                schema.format(
                    blob="BYTEA", number="BIGINT", serial="BIGSERIAL PRIMARY KEY", packed=""
                )
            )

    @contextmanager
    def transaction(self, scope: bytes, *, durable: bool = True) -> Iterator[Session]:
        key = int.from_bytes(scope[:8].ljust(8, b"\0"), "big", signed=True)
        try:
            connection = self._connection()
            with connection.transaction(), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (key,))
                if not durable:
                    cursor.execute("SET LOCAL synchronous_commit = off")
                yield _PostgresSession(cursor)
        except self._psycopg.Error as error:
            raise _unreachable(error) from None

    def close(self) -> None:
        for connection in self._open:
            connection.close()

    def _connection(self) -> Any:
        connection = getattr(self._local, "connection", None)
        if connection is None or connection.closed or connection.broken:
            connection = self._psycopg.connect(self._url, autocommit=True)
            self._local.connection = connection
            self._open.append(connection)
        return connection


class _PostgresSession:
    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        found: list[Row] = self._cursor.execute(sql.replace("?", "%s"), values).fetchall()
        return found

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        count: int = self._cursor.execute(sql.replace("?", "%s"), values or None).rowcount
        return count

    def insert(self, into: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            self._cursor.executemany(_insertion(into, 1, len(rows[0])).replace("?", "%s"), rows)


def open_database(place: str, schema: str) -> Database:
    """The database at a path, or at a `postgresql:` URL."""
    if place.startswith(("postgresql:", "postgres:")):
        return PostgresDatabase(place, schema)
    return SqliteDatabase(place, schema)


@cache
def _insertion(into: str, rows: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"INSERT INTO {into} VALUES {', '.join([row] * rows)}"  # noqa: S608


def _own(path: str | Path) -> None:
    """Make the file, if it is not there, so that nobody else may read it: it holds shares."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreError(
            f"the file cannot be opened: {error.strerror}",
            code="T704",
            where=str(path),
            fix="create its folder, and allow access",
        ) from None


def _import_psycopg() -> Any:
    try:
        import psycopg
    except ImportError:
        raise refuse(
            "T825",
            "PostgreSQL is named as the database, and its driver is not installed",
            'install it: pip install "tacit[dap,postgres]"',
        ) from None
    return psycopg


def _unreachable(error: Exception) -> CollectError:
    return refuse(
        "T826",
        f"the database server failed: {str(error).strip()[:300]}",
        "check the server and its address; nothing was acknowledged that was not committed",
    )
