"""How much memory a run of the local engine takes, and what goes to files when data is larger.

The columns of a source are kept whole; the rows of a view are sorted beside them, part after part.
With less room than the columns need and an eighth of that for sorting, the columns go to files that
have no name and end with the process. They are written and read in order, so that no more of them
is in memory than what is being worked on. Results and the spine are always in memory, and so is one
key's part of the rows, however many there are.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Any

import numpy as np

from tacit.aggregates.columns import Array
from tacit.aggregates.memory import Memory
from tacit.errors import EngineError

BUDGET = 4 << 30
"""Bytes that a run takes at most, unless it is told otherwise; half of the machine's, if less."""


def default_budget() -> int:
    """Bytes."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(BUDGET, machine // 2)


class Limited(Memory):
    """Columns in memory; what is left of the budget is for sorting."""

    def __init__(self, room: int) -> None:
        self.room = room


class Files(Memory):
    """Columns in files that have no name."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._maps: list[mmap.mmap] = []

    def empty(self, size: int, dtype: Any) -> Array:
        length = size * np.dtype(dtype).itemsize
        if not length:
            return np.empty(size, dtype)
        with tempfile.TemporaryFile(prefix="tacit-") as file:
            _reserve(file.fileno(), length)
            mapped = mmap.mmap(file.fileno(), length)
        self._maps.append(mapped)
        return np.frombuffer(mapped, dtype)

    def release(self) -> None:
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)  # of a shared file: its pages stay in the file


def _reserve(file: int, length: int) -> None:
    """The whole file now: a full disk that shows while it is written would end the process."""
    if not hasattr(os, "posix_fallocate"):  # macOS has none
        os.ftruncate(file, length)
        return
    try:
        os.posix_fallocate(file, 0, length)
    except OSError as error:
        raise EngineError(
            f"{tempfile.gettempdir()} has no room for {length:,} bytes: {error.strerror}",
            code="T345",
            fix="set TMPDIR to a larger disk, or give the engine more memory",
        ) from error


def memory_for(columns: int, others: int, budget: int) -> Memory:
    """Of columns and other arrays of so many bytes: where the columns are kept."""
    left = max(budget - others, budget // 8)
    if columns + columns // 8 <= left:
        return Limited(left - columns)
    return Files(left)
