"""A witness of a control store: its head, kept outside of it, so that a rollback is found.

A store that is put back from an older copy is whole in itself: every hash in it is right. Only
something that was not put back with it can tell. A witness is a small file that is told the head
after every commit. When the store is opened it must hold the head that each witness was told last,
and it must be there at all if one was told of it.

There is always one beside the store, made with it, against a file that is restored or deleted by
itself; a store that is not empty does not open without it. So a witness that somebody deletes, to
put an older copy in the store's place, is missed. Against a folder or a disk that is
restored as a whole, put another where it is not: on another machine's disk, or anywhere else that
remembers (`ControlStore.open(…, witnesses=…)`).

Order: the store commits, durably, and then its witnesses are told. A crash between the two leaves a
witness that is behind, which is no contradiction. The file is a ring of lines, sequence and hash,
written under a lock of the file; a line that a crash cut short does not count, and the one before
it still stands. Its size never changes, so that a full disk cannot come between.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tacit.errors import StoreError
from tacit.store.atomic import PRIVATE, unwritable

_LINE: Final = re.compile(rb"(\d{20}) ([0-9a-f]{64})\n")
_WIDTH: Final = 20 + 1 + 64 + 1
_LINES: Final = 32
_BLANK: Final = (b" " * (_WIDTH - 1) + b"\n") * _LINES


class Seen(NamedTuple):
    """The last head that a witness was told."""

    sequence: int
    hash: str


def beside(store: Path) -> Path:
    """Where the witness is that every store has."""
    return store.with_name(store.name + ".witness")


def last_seen(path: Path) -> Seen | None:
    """What a witness was told last; None when there is no witness, or it was told nothing.

    Raises StoreError T718 for a file that is no witness, T704 for one that cannot be read.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(len(_BLANK) + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(
            f"the control store's witness cannot be read: {error.strerror}",
            code="T704",
            where=str(path),
            fix="allow access to it; without it nobody knows whether the store was rolled back",
        ) from None
    return _last(raw, path)


def check_gone(store: Path, witnesses: Sequence[Path]) -> None:
    """Raises StoreError T718 where a witness remembers a store that is not there any more."""
    for each in () if store.exists() else witnesses:
        seen = last_seen(each)
        if seen and seen.sequence:
            raise StoreError(
                f"the control store is gone, and {each} knows of it",
                code="T718",
                where=str(store),
                fix=f"restore it from a backup, up to record {seen.sequence}; what it spent is"
                " spent",
            )


def check_told(store: Path, seen: Mapping[Path, Seen | None]) -> None:
    """Raises StoreError T719 for a witness that is not there, or was emptied. A store tells its
    witnesses before it lets anything out, so there was one; and a new one may not be made without
    being asked for, or deleting it would be as good as having none."""
    gone = [path for path, last in seen.items() if last is None]
    if gone:
        raise StoreError(
            f"{gone[0]}, the witness of the control store, is not there: nobody knows whether the"
            " store is an older copy of itself, with spends forgotten",
            code="T719",
            where=str(store),
            fix="restore the witness; or make it anew, if it is new or you know that nothing was"
            " put back: tacit budget --new-witness",
        )


def tell(path: Path, sequence: int, digest: str) -> None:
    """Notes a head, durably, unless a later one is noted. Raises StoreError T701 for a full disk,
    T704 where it cannot be written, T718 for a file that is no witness."""
    line = b"%020d %s\n" % (sequence, digest.encode())
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            raw = os.pread(descriptor, len(_BLANK) + 1, 0)
            seen = _last(raw, path)
            if len(raw) < len(_BLANK):
                os.pwrite(descriptor, _BLANK[len(raw) :], len(raw))
            if seen is None or seen.sequence < sequence:
                os.pwrite(descriptor, line, sequence % _LINES * _WIDTH)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unwritable(error, path) from None


def _last(raw: bytes, path: Path) -> Seen | None:
    lines = [raw[at : at + _WIDTH] for at in range(0, len(raw), _WIDTH)]
    found = [Seen(int(m[1]), m[2].decode()) for line in lines if (m := _LINE.fullmatch(line))]
    blank = sum(line == _BLANK[: len(line)] for line in lines)
    # One line may be torn by a crash.
    if len(raw) > len(_BLANK) or len(lines) > len(found) + blank + 1:
        raise StoreError(
            "the file beside the control store is not its witness, or is damaged",
            code="T718",
            where=str(path),
            fix="restore it; without it nobody knows whether the store was rolled back",
        )
    return max(found, default=None)
