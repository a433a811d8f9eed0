"""Writing a file so that it is there whole, or not at all, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tacit.errors import StoreError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def replace_file(path: Path, parts: Iterable[bytes]) -> None:
    """Puts the parts under the path, in one step that a crash or a full disk cannot halve.

    Makes the folder. Raises StoreError T701 for a full disk, T704 where nothing may be written;
    what stood there before still stands.
    """
    aside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        aside = None
        sync_folder(path.parent)
    except OSError as error:
        full = error.errno in FULL
        raise StoreError(
            f"the file cannot be written: {error.strerror}",
            code="T701" if full else "T704",
            where=str(path),
            fix="free some space" if full else "write to a folder that exists and may be written",
        ) from None
    finally:
        if aside is not None:
            Path(aside).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
