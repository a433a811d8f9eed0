"""Whether what was served is what would be trained on: values of the same rows, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tacit.aggregates.profile import MINIMUM, share
from tacit.declare import Events
from tacit.engines.base import columns_read
from tacit.errors import DataError
from tacit.learn.known import features_as_known
from tacit.learn.spine import read_spine
from tacit.operations import View
from tacit.plan.views import formulas_of, views_of
from tacit.project.project import Project
from tacit.project.reading import Opened
from tacit.project.training import keys_of
from tacit.store.files import check_file

TOLERANCE = 1e-9
"""By which floats may differ, relative, and still be the same."""


def skew(project: Project, names: Sequence[str], served: Path) -> dict[str, tuple[float, int]]:
    """Signal → the share of served values that differ from those of training, and how many there
    are.

    Of a source that declares ``arrival=``, what had arrived before each row counts. When the lake
    took a row in (``_arrived``) does not: it may be long after an online store had it.

    Raises DataError T382 for a file without a column of any signal, T371 for one without a key.
    """
    present = [n for n in pq.read_schema(check_file(served)).names if n in set(names)]
    if not present:
        raise DataError(
            "the served values are of no signal of the cloud",
            code="T382",
            where=str(served),
            fix="give keys, `at`, and a column per signal: " + ", ".join(names[:8]),
        )
    views = views_of(project.plan, present)
    spine = read_spine(served, keys_of(project, views))
    arrivals = {view.source: arrival for view in views if (arrival := _arrival(project, view))}
    known = [view for view in views if view.source in arrivals]
    other = [view for view in views if view.source not in arrivals]
    with Opened(project, columns_read(views), arrivals)() as tables:
        trained = features_as_known(project.engine, known, tables, spine.asked, arrivals)
        trained = project.engine.features(other, tables, trained)
    trained = project.engine.derive(trained, formulas_of(project.plan, present))
    found = {}
    for name in present:
        rows = spine.table.num_rows
        apart = different(spine.table[name], trained[name])
        if rows >= MINIMUM:
            found[name] = share(apart, rows), rows
    return found


def _arrival(project: Project, view: View) -> str | None:
    source = project.source(view.source)
    return source.arrival if isinstance(source, Events) else None


def different(served: pa.ChunkedArray, trained: pa.ChunkedArray) -> int:
    """How many values differ; floats by more than `TOLERANCE`."""
    pairs = zip(served.to_pylist(), trained.to_pylist(), strict=True)
    return sum(not _alike(one, other) for one, other in pairs)


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, float) or isinstance(other, float):
        if one is None or other is None:
            return one is other
        return bool(one == other or abs(one - other) <= TOLERANCE * max(abs(one), abs(other)))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, tuple) and isinstance(other, tuple):
        return all(map(_alike, one, other))
    return bool(one == other)
