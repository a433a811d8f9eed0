"""The quality of a project's signals: what they look like now, and how far that is from before.

Each signal of the cloud is computed for the moments of its source's own events, a formula for those
of the first signal that it is over, and profiled day by day (`aggregates.profile`); the profile of
any range of days is the merge of its days. Two ranges are compared, or now with what the last look
found. Of people's data only aggregates leave this module: counts of `MINIMUM` rows or more, never a
value of one row.

========  ==========================================================================================
rows      spine rows looked at
nulls     the share without a value
missing   the share to whose key nothing ever happened that contributes
stale     the share whose newest event is older than the signal's stated freshness
age       the median time since that event, to an eighth
          A formula is missing where all its signals are, stale where one is, and as old as the
          oldest.
psi, js,  how far now lies from before (`learn.drift`)
ks
skew      the share of served values that differ from what the same rows would be trained on
========  ==========================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tacit.aggregates.columns import Array, read
from tacit.aggregates.profile import (
    MINIMUM,
    PROFILER,
    Profile,
    Published,
    edges,
    profile,
    published,
    share,
)
from tacit.declare import Place
from tacit.engines.base import columns_read
from tacit.errors import DataError
from tacit.learn.drift import distance
from tacit.learn.spine import AT
from tacit.learn.training import newest_view
from tacit.operations import View
from tacit.plan.views import formulas_of, views_of
from tacit.project.project import Project
from tacit.project.reading import Opened, read_moments
from tacit.project.skew import skew
from tacit.store.atomic import replace_file
from tacit.values import DAY, Type, canonical_json

METRICS = ("nulls", "missing", "stale", "psi", "js", "ks", "skew")
ROWS = 200_000
"""Rows of a range that are looked at, evenly spread."""
FORMAT = 1
NOTHING = PROFILER.init()

Against = Literal["before", "last"]


@dataclass(frozen=True, slots=True)
class Quality:
    """What is found of one signal; None is what nothing can be said of."""

    signal: str
    rows: int
    nulls: float | None = None
    missing: float | None = None
    stale: float | None = None
    age: float | None = None
    psi: float | None = None
    js: float | None = None
    ks: float | None = None
    skew: float | None = None
    served: int = 0
    distinct: int = 0
    bins: Mapping[int, int] = field(default_factory=dict)

    def beyond(self, limits: Mapping[str, float]) -> dict[str, float]:
        """The metrics that are above their limits; what cannot be told is above none."""
        found = {name: getattr(self, name) for name in limits}
        return {n: v for n, v in found.items() if v is not None and v > limits[n]}


@dataclass(frozen=True, slots=True)
class Ages:
    """Profiles of one day, or of many days merged: of the values, and of their ages in seconds.

    ``stale`` counts rows.
    """

    values: Profile = NOTHING
    ages: Profile = NOTHING
    stale: int = 0

    def merge(self, other: Ages) -> Ages:
        """Both together."""
        return Ages(
            PROFILER.merge(self.values, other.values),
            PROFILER.merge(self.ages, other.ages),
            self.stale + other.stale,
        )


def look(
    project: Project,
    *,
    days: int = 28,
    against: Against = "before",
    served: Path | None = None,
) -> list[Quality]:
    """The quality of every signal of the cloud over the last days, beside the days before them or
    what was found the last time; what is found is kept for the next time.

    ``served`` is a Parquet file of values as they were served: keys, `at`, a column per signal.
    Raises DataError T380 where no signal has a row to look at, T382 for a file of served values
    that has none, T383 for a file of the last time that cannot be read.
    """
    names = [
        node.id
        for node in (*project.plan.of("signal"), *project.plan.of("formula"))
        if node.place is Place.CLOUD and "ahead" not in node.spec
        # A profile is of values that have an order.
        if not node.columns[0].type.startswith(Type.VECTOR)
    ]
    now = project.now()
    days_of: dict[str, dict[int, Ages]] = {}
    for view, together in _at_home(project, names).items():
        days_of |= _by_day(project, view, together, now - 2 * days * DAY, now)
    skews = {} if served is None else skew(project, names, served)
    path = project.state / "quality.json"
    last = _last(path) if against == "last" else None
    found, keep = [], {}
    for name in names:
        by_day = days_of[name]
        current = _merged(by_day, now // DAY - days + 1, now // DAY)
        shown = published(current.values)
        keep[name] = shown
        before = (
            last.get(name, Published(0, 0, {}, 0, 0))
            if last is not None
            else published(_merged(by_day, now // DAY - 2 * days + 1, now // DAY - days).values)
        )
        found.append(_quality(project, name, current, shown, before, skews.get(name)))
    if not any(each.rows for each in found):
        raise DataError(
            f"no signal of the cloud has {MINIMUM} rows in the last {days} days",
            code="T380",
            where=str(project.root),
            fix="look at more days, or bind sources with rows of them",
        )
    _keep(path, keep, now)
    return found


def _merged(by_day: Mapping[int, Ages], first: int, last: int) -> Ages:
    whole = Ages()
    for day, part in by_day.items():
        if first <= day <= last:
            whole = whole.merge(part)
    return whole


def _quality(
    project: Project,
    name: str,
    found: Ages,
    shown: Published,
    before: Published,
    skewed: tuple[float, int] | None,
) -> Quality:
    if not shown.rows:
        return Quality(name, 0)
    apart = distance(before, shown)
    ages = published(found.ages)
    return Quality(
        signal=name,
        rows=shown.rows,
        nulls=shown.nulls / shown.rows,
        missing=ages.nulls / ages.rows,
        stale=share(found.stale, shown.rows) if _fresh(project, name) else None,
        age=_median(ages),
        psi=apart and apart.psi,
        js=apart and apart.js,
        ks=apart and apart.ks,
        skew=skewed and skewed[0],
        served=skewed[1] if skewed else 0,
        distinct=shown.distinct,
        bins=shown.bins,
    )


def _median(ages: Published) -> float | None:
    """Seconds: the lower edge of the bin in which half the rows are reached."""
    half, reached = sum(ages.bins.values()) / 2, 0
    for number, rows in sorted(ages.bins.items()):
        reached += rows
        if reached >= half:
            return edges(number)[0]
    return None


def _over(project: Project, name: str) -> list[str]:
    """The signals that a formula is over; of a signal, itself."""
    formulas = formulas_of(project.plan, [name])
    return [each for formula in formulas for each, _ in formula.inputs] or [name]


def _fresh(project: Project, name: str) -> dict[str, int]:
    """The freshness (µs) that a signal states, or the signals that a formula is over."""
    stated = {each: project.plan.nodes[each].spec.get("fresh") for each in _over(project, name)}
    return {each: length for each, length in stated.items() if length is not None}


def _at_home(project: Project, names: Sequence[str]) -> dict[View, list[str]]:
    """Signals by their view, and formulas by that of the first signal that they are over: all are
    of the same keys (T114)."""
    views = views_of(project.plan, names)
    found: dict[View, list[str]] = {view: [] for view in views}
    for name in names:
        first = _over(project, name)[0]
        home = next(v for v in views if first in (window.signal for window in v.windows))
        found[home].append(name)
    return {view: together for view, together in found.items() if together}


def _by_day(
    project: Project, home: View, names: Sequence[str], begin: int, end: int
) -> dict[str, dict[int, Ages]]:
    """Each signal's profiles by day, at the moments of the events of one view's source."""
    spine = read_moments(project, home.source, dict(home.keys), (begin, end), ROWS)
    views = views_of(project.plan, names)
    with Opened(project, columns_read(views), {})() as tables:
        table = project.engine.features(views, tables, spine)
        newest = project.engine.features([newest_view(view) for view in views], tables, spine)
    table = project.engine.derive(table, formulas_of(project.plan, names))
    times = read(spine[AT]).numbers
    found = {}
    for name in names:
        old = np.zeros(len(times), np.bool_)
        for each, fresh in _fresh(project, name).items():
            late = pc.greater(pc.subtract(pa.array(times), newest[each]), fresh)
            old |= np.array(pc.fill_null(late, False).to_numpy(), np.bool_)
        seen = [newest[each] for each in _over(project, name)]
        oldest = seen[0] if len(seen) == 1 else pc.min_element_wise(*seen)
        found[name] = _profiles(table[name], oldest, times, old)
    return found


def _profiles(
    values: pa.ChunkedArray, newest: pa.ChunkedArray, times: Array, stale: Array
) -> dict[int, Ages]:
    ages = pc.divide(pc.cast(pc.subtract(pa.array(times), newest), pa.float64()), 1e6)
    days = times // DAY
    order = np.argsort(days, kind="stable")
    numbers, starts = np.unique(days[order], return_index=True)
    found = {}
    groups = np.split(order, starts[1:]) if len(order) else []
    for day, rows in zip(numbers.tolist(), groups, strict=True):
        take = pa.array(rows)
        found[day] = Ages(
            profile(values.take(take)), profile(ages.take(take)), int(stale[rows].sum())
        )
    return found


def _keep(path: Path, shown: Mapping[str, Published], now: int) -> None:
    """Only what may be shown is kept."""
    signals = {
        name: {**each._asdict(), "bins": sorted(each.bins.items())} for name, each in shown.items()
    }
    replace_file(path, [canonical_json({"format": FORMAT, "at": now, "signals": signals})])


def _last(path: Path) -> dict[str, Published] | None:
    """What was found the last time; None when there was none."""
    if not path.exists():
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != FORMAT:
            raise ValueError(f"format {raw['format']}")
        return {
            name: Published(
                int(each["rows"]),
                int(each["nulls"]),
                {int(number): int(rows) for number, rows in each["bins"]},
                int(each["hidden"]),
                int(each["distinct"]),
            )
            for name, each in raw["signals"].items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"what was found the last time cannot be read: {error}",
            code="T383",
            where=str(path),
            fix="remove the file; the next look writes it anew",
        ) from None


def to_json(found: Sequence[Quality]) -> dict[str, Any]:
    """For `--json`."""
    return {
        each.signal: {n: v for n, v in asdict(each).items() if n not in ("signal", "bins")}
        for each in found
    }


def limits(given: Sequence[str]) -> dict[str, float]:
    """Thresholds from `psi=0.25`. Raises DataError T381 for one that is none."""
    found = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            limit = float(number)
        except ValueError:
            limit = float("nan")
        if name not in METRICS or not limit >= 0:
            raise DataError(
                f"{text!r} is no threshold",
                code="T381",
                where="--fail-on",
                fix=f"write one of {', '.join(METRICS)}, and a number: psi=0.25",
            )
        found[name] = limit
    return found
