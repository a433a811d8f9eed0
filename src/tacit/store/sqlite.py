"""What SQLite's result codes mean to Tacit, for every store and vault kept in its format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tacit.errors import StoreError, TacitError

# Primary result codes (https://www.sqlite.org/rescode.html).
_BUSY, _LOCKED, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _NOTADB = 5, 6, 8, 10, 11, 13, 14, 26


@contextmanager
def immediate(connection: Any) -> Iterator[None]:
    """All of the block or, whatever happens, nothing; durable at its end, as the file is set.

    ``connection`` is SQLite's or SQLCipher's, in its autocommit mode. No other writer comes between
    what the block reads and what it writes.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has rolled back by itself
            connection.execute("ROLLBACK")
        raise


def refusal(error: Exception, where: str, *, corrupt: Callable[[str], TacitError]) -> TacitError:
    """The error of our tree for one that SQLite or SQLCipher raised.

    `corrupt` makes the error for a file that is damaged: T612 for a vault, T702 for a store.
    Full disk T701, locked T703, not writable or not there T704, failing medium T705, else T700.
    """
    text = str(error)
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if primary in (_CORRUPT, _NOTADB):
        return corrupt(text)
    code, message, fix = {
        _FULL: ("T701", "the disk is full; nothing was written", "free some space, then try again"),
        _BUSY: ("T703", "another process holds the file", "close the other process, or wait"),
        _LOCKED: ("T703", "another statement holds the file", "finish the open query first"),
        _READONLY: ("T704", "the file cannot be written", "make the file and its folder writable"),
        _CANTOPEN: ("T704", "the file cannot be opened", "create its folder, and allow access"),
        _IOERR: (
            "T705",
            f"the medium failed ({text}); nothing was acknowledged",
            "check the disk and the process's file size limit, then try again",
        ),
    }.get(primary, ("T700", f"SQLite refused: {text}", "mend the statement or its values"))
    return StoreError(message, code=code, where=where, fix=fix)
