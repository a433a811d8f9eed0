"""Folders in memory, where the machine has that: what syncs often is slow on disks."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM = 2 << 30
"""Bytes. Containers often have 64 MB there, which some tests alone would fill."""


def place() -> Path | None:
    """Where such folders lie; None for the usual place of what is temporary."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM else None


def folder() -> Iterator[Path]:
    """A new folder, gone when the generator ends."""
    made = Path(tempfile.mkdtemp(prefix="tacit-", dir=place()))
    yield made
    shutil.rmtree(made, ignore_errors=True)
