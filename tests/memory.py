"""Folders in memory, where the machine has that: what syncs often is slow on disks."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

MEMORY = Path("/dev/shm")


def folder() -> Iterator[Path]:
    """A new folder, gone when the generator ends."""
    made = Path(tempfile.mkdtemp(prefix="tacit-", dir=MEMORY if MEMORY.is_dir() else None))
    yield made
    shutil.rmtree(made, ignore_errors=True)
