"""A small project with metrics of everything, and its truth by brute force."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tacit.project import Project
from tacit.values import DAY, HOUR, moment

START = moment(dt.datetime(2026, 1, 5, tzinfo=dt.UTC))  # a Monday
DAYS = 28

SIGNALS = '''\
"""Films that people watch, and what they buy."""

from tacit import *

person = Entity("Someone.", person="pseudonymous")
film = Entity("A film.")
understand = Purpose(
    "What is watched.", use="analytics", basis="consent", epsilon={budget}, delta=1e-5
)
bill = Purpose("What is owed.", use="essential.service", basis="consent", epsilon={budget}, delta=1e-5)
films = Table(
    "All films.", of=film, place="cloud", category=PUBLIC,
    columns={{"film": key(film), "genre": text(), "minutes": integer()}},
)
plays = Events(
    "What was watched.", place="cloud", region="eu", keep="400d", basis="consent",
    purposes=[understand, bill], category="user.behavior",
    columns={{
        "person": key(person, "user.unique_id.pseudonymous"), "film": key(film),
        "country": text(), "seconds": integer(), "at": time(),
    }},
)
orders = Events(
    "What was bought.", place="cloud", region="eu", keep="400d", basis="consent",
    purposes=[understand], category="user.behavior",
    columns={{
        "buyer": key(person, "user.unique_id.pseudonymous"), "price": number(), "at": time(),
    }},
)
releases = Events(
    "When films came out.", place="cloud", category=PUBLIC,
    columns={{"film": key(film), "at": time()}},
)

_terms = dict(
    mechanism="central", epsilon={epsilon}, delta=1e-10, minimum={minimum}, answers={answers},
    region="eu", keep="90d", max_groups={groups},
)
_dims = {{"genre": "films.genre", "film": "film", "long": "seconds > 3600", "country": "country"}}
viewers = Metric(
    "People who watched.", measure=Measure.persons(plays), dimensions=_dims,
    purposes=[understand], **_terms,
)
watched = Metric(
    "Plays.", measure=Measure.count(plays, max_rows={rows}), dimensions=_dims,
    purposes=[understand, bill], **_terms,
)
time_spent = Metric(
    "Seconds.", measure=Measure.sum(plays, "seconds", low=0, high=7200, step=1, max_rows={rows}),
    dimensions=_dims, purposes=[understand], **_terms,
)
typical = Metric(
    "Mean seconds.",
    measure=Measure.mean(plays, "seconds", low=0, high=7200, step=1, max_rows={rows}),
    dimensions=_dims, purposes=[understand], **_terms,
)
middle = Metric(
    "Median seconds.",
    measure=Measure.quantile(plays, "seconds", 0.5, low=0, high=7200, step=60, max_rows={rows}),
    dimensions=_dims, purposes=[understand], **_terms,
)
kinds = Metric(
    "Plays by genre.", measure=Measure.histogram(plays, "films.genre", max_rows={rows}),
    dimensions=["film"], purposes=[understand], **_terms,
)
favourites = Metric(
    "What most people watch.", measure=Measure.top(plays, "film", 3), dimensions=_dims,
    purposes=[understand], **_terms,
)
each = RatioMetric("Plays a viewer.", numerator=watched, denominator=viewers)
over = DerivedMetric("More than one.", sql="(watched - viewers) / viewers")
mixed = DerivedMetric("Nothing simple.", sql="watched * viewers")
so_far = CumulativeMetric("Plays to date.", metric=watched)
lately = CumulativeMetric("Plays of three days.", metric=watched, window="3d")
reached = CumulativeMetric("People to date.", metric=viewers)
bought = ConversionMetric(
    "Who bought after.", base=Measure.persons(plays), then=Measure.persons(orders, where="price > 1"),
    within="2d", dimensions=_dims, purposes=[understand], **_terms,
)
buyers = ConversionMetric(
    "How many bought after.", base=Measure.persons(plays), then=Measure.persons(orders),
    within="2d", shows="persons", dimensions=_dims, purposes=[understand], **_terms,
)
catalogue = Metric(
    "Films.", measure=Measure.count(films), dimensions=["genre"], purposes=[understand]
)
length = Metric(
    "Minutes.", measure=Measure.sum(films, "minutes"), dimensions=["genre"], purposes=[understand]
)
premieres = Metric(
    "Films that came out.", measure=Measure.count(releases), dimensions={{"genre": "films.genre"}},
    purposes=[understand],
)
growth = CumulativeMetric("Films that have come out.", metric=premieres)
'''

SETTINGS = f"""\
name = "films"
as_of = {dt.datetime.fromtimestamp((START + DAYS * DAY) / 1e6, dt.UTC).isoformat()}

[sources.films]
path = "films.parquet"
[sources.plays]
path = "plays.parquet"
[sources.orders]
path = "orders.parquet"
[sources.releases]
path = "releases.parquet"
"""

USUAL = {"budget": 500_000, "epsilon": 900.0, "minimum": 2, "answers": 50, "groups": 64, "rows": 64}


def tables(seed: int, people: int = 30, films: int = 8, plays: int = 400) -> dict[str, pa.Table]:
    """Made-up rows: some films that no table has, some without a key, ties in time."""
    rng = np.random.default_rng(seed)
    ids = [f"f{i}" for i in range(films)]
    times = START + rng.integers(0, DAYS * 4, plays) * 6 * HOUR
    watched = rng.integers(0, films + 1, plays)
    return {
        "films": pa.table(
            {
                "film": ids,
                "genre": [["drama", "comedy", None][i % 3] for i in range(films)],
                "minutes": pa.array(rng.integers(80, 120, films)),
            }
        ),
        "plays": pa.table(
            {
                "person": [f"p{i}" for i in rng.integers(0, people, plays)],
                "film": [None if i == 3 else f"f{i}" for i in watched],
                "country": [["fr", "de"][i] for i in rng.integers(0, 2, plays)],
                "seconds": pa.array(rng.integers(0, 7200, plays)),
                "at": pa.array(times),
            }
        ),
        "orders": pa.table(
            {
                "buyer": [f"p{i}" for i in rng.integers(0, people, plays // 8)],
                "price": rng.integers(0, 5, plays // 8).astype(float),
                "at": pa.array(START + rng.integers(0, DAYS * 4, plays // 8) * 6 * HOUR),
            }
        ),
        "releases": pa.table(
            {"film": ids, "at": pa.array(START + rng.integers(0, DAYS, films) * DAY)}
        ),
    }


def project(folder: Path, held: dict[str, pa.Table], **settings: object) -> Project:
    """The project in a folder, over these rows."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in held.items():
        pq.write_table(table, folder / f"{name}.parquet")
    (folder / "signals.py").write_text(SIGNALS.format(**(USUAL | settings)))
    (folder / "tacit.toml").write_text(SETTINGS)
    return Project.load(folder)
