"""Writing a file so that it is there whole, or not at all, whatever happens meanwhile."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tacit.errors import StoreError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PRIVATE = 0o600
"""The mode of what a project keeps: its owner may read it, and nobody else."""

Part = bytes | memoryview


def replace_file(path: Path, parts: Iterable[Part], *, mode: int = PRIVATE) -> None:
    """Puts the parts under the path, in one step that a crash or a full disk cannot halve.

    Makes the folder. Raises StoreError T701 for a full disk, T704 where nothing may be written;
    what stood there before still stands.
    """
    with _aside(path, parts, mode) as aside:
        os.replace(aside, path)


def create_file(path: Path, parts: Iterable[Part], *, mode: int = PRIVATE) -> bool:
    """`replace_file` that never replaces: of several callers at once one makes the file.

    Returns whether this one did.
    """
    if path.exists():
        return False
    with _aside(path, parts, mode) as aside:
        try:
            os.link(aside, path)
        except FileExistsError:
            return False
    return True


def make_folder(path: Path) -> Path:
    """Makes a folder and those above it. Raises StoreError T701 or T704."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(error, path) from None
    return path


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Holds a lock file while the block runs; a process that ends, however, lets go of it.

    Raises StoreError T703 when another holds it.
    """
    with lock_file(path) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                "another process is at work here",
                code="T703",
                where=str(path.parent),
                fix="wait until it is done, then try again",
            ) from None
        yield


@contextmanager
def lock_file(path: Path) -> Iterator[int]:
    """The descriptor of a lock file, made if need be; its locks end with the block, or the process.

    Raises StoreError T704 where it cannot be made.
    """
    make_folder(path.parent)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, PRIVATE)
    except OSError as error:
        raise unwritable(error, path) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def unwritable(error: OSError, path: Path) -> StoreError:
    """StoreError T701 for a full disk, T704 for all else that keeps a file from being written."""
    full = error.errno in FULL
    return StoreError(
        f"the file cannot be written: {error.strerror or error}",
        code="T701" if full else "T704",
        where=str(path),
        fix="free some space" if full else "write to a folder that exists and may be written",
    )


@contextmanager
def _aside(path: Path, parts: Iterable[Part], mode: int) -> Iterator[str]:
    """The parts in a file beside the path, on the disk; the block gives it its name."""
    aside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        yield aside
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(error, path) from None
    finally:
        if aside is not None:
            with suppress(OSError):
                os.unlink(aside)  # gone already, where it was given its name by moving it
