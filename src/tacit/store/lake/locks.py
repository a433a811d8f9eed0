"""Who may work on a table at once: lock files, let go of by a process that ends, however it ends.

Reading and writing are shared; removing files from the disk is neither beside a reader, who would
find files gone, nor beside a writer, whose files nothing refers to yet.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tacit.errors import StoreError
from tacit.store.atomic import lock_file

PATIENCE = 60.0
"""Seconds to wait for others before saying that they are in the way."""


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Holds a lock beside others who share it. Raises StoreError T703 after a minute."""
    with _held(path, fcntl.LOCK_SH, PATIENCE):
        yield


@contextmanager
def exclusive(path: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Holds a lock beside nobody. Raises StoreError T703 when others keep it for `patience` s."""
    with _held(path, fcntl.LOCK_EX, patience):
        yield


@contextmanager
def _held(path: Path, kind: int, patience: float) -> Iterator[None]:
    with lock_file(path) as descriptor:
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise StoreError(
                        "others are at work on this table of the lake",
                        code="T703",
                        where=str(path),
                        fix="wait until they are done, then try again",
                    ) from None
                time.sleep(0.01)
        yield
