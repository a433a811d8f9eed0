"""Lakes under test lie in memory where they can: each commit syncs a dozen files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import memory


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    yield from memory.folder()
