"""`tacit init`: a project with a small made-up population, ready to plan and run.

On devices: what each person did stays with them. In the cloud: what an app sees of its visitors, up
to now, so that what is pushed next follows on it.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tacit.demo.interactions import made_up
from tacit.demo.synthetic import make_catalogue, make_events
from tacit.project.scaffold import check_empty, of_cloud, of_devices
from tacit.values import DAY, SECOND

DEVICES, ITEMS = 200, 300
"""Enough to try a project on; a run of it takes seconds."""
VISITORS = 4_000
GENRES = 8
REFUSES = 20
"""One visitor in so many refused."""


def start(folder: Path) -> None:
    """Makes the project of devices. Raises DataError T320 when the folder holds something."""
    check_empty(folder)
    made = made_up(DEVICES, items=ITEMS)
    as_of = pc.max(made.history.column("at")).cast(pa.int64()).as_py() + SECOND
    of_devices(folder, made.history, made.catalogue, as_of)


def start_cloud(folder: Path) -> None:
    """Makes the project of the cloud: views, choices, the catalogue, and `moments.parquet`, rows to
    learn from. Raises as `start`."""
    check_empty(folder)
    catalogue = make_catalogue(1, ITEMS, GENRES)
    events = make_events(catalogue, 1, VISITORS)
    people = pa.array([f"p{code:06}" for code in range(VISITORS)])
    items = pa.array(catalogue.ids)
    at = events.time + (time.time_ns() // 1000 - SECOND - int(events.time.max()))
    order = np.argsort(at, kind="stable")
    views = pa.table(
        {
            "person": people.take(pa.array(events.user[order])),
            "item": items.take(pa.array(events.item[order])),
            "at": pa.array(at[order]).cast(pa.timestamp("us")),
            "seconds": pa.array((events.user * 31 + events.item * 17)[order] % 300 / 2.0),
        }
    )
    first = int(at.min()) - DAY
    choices = pa.table(
        {
            "person": people,
            "at": pa.repeat(pa.scalar(first).cast(pa.timestamp("us")), VISITORS),
            "allowed": pa.array(np.arange(VISITORS) % REFUSES != REFUSES - 1),
        }
    )
    known = pa.table(
        {
            "item": items,
            "title": pa.array(catalogue.texts),
            "genre": pa.array([f"genre{code}" for code in catalogue.genre]),
        }
    )
    # Of the last month but one week, so that what came of each is known.
    late = views.filter(pc.greater(views["at"].cast(pa.int64()), int(at.max()) - 30 * DAY))
    known_by = pc.less(late["at"].cast(pa.int64()), int(at.max()) - 8 * DAY)
    moments = late.filter(known_by).select(["person", "item", "at"])
    moments = moments.rename_columns(["person", "thing", "at"])  # a spine's keys are of entities
    tables = {"views": views, "choices": choices, "catalogue": known, "moments": moments}
    of_cloud(folder, tables)
