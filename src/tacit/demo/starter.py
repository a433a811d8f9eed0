"""`tacit init`: the starter project with a small made-up population, ready to plan and run."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tacit.demo.interactions import made_up
from tacit.project.scaffold import check_empty, scaffold
from tacit.values import SECOND

DEVICES, ITEMS = 200, 300
"""Enough to try a project on; a run of it takes seconds."""


def start(folder: Path) -> None:
    """Makes the project. Raises DataError T320 when the folder holds something already."""
    check_empty(folder)
    made = made_up(DEVICES, items=ITEMS)
    as_of = pc.max(made.history.column("at")).cast(pa.int64()).as_py() + SECOND
    scaffold(folder, made.history, made.catalogue, as_of)
