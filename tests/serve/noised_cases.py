"""A project that serves a released number of each thing beside signals of people and things."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from serve_cases import NOW

from tacit.project import Project
from tacit.values import HOUR

SIGNALS = '''\
"""What people look at, and how many look at it."""

from tacit import *

person = Entity("Someone who looks.", person="pseudonymous")
thing = Entity("Something to look at.")
discover = Purpose(
    "Show what one may want.", use="personalize.content", basis="consent", epsilon=1e5, delta=1e-5
)
measure = Purpose("Count what is used.", use="analytics.reporting", basis="consent")
things = Table(
    "What there is.", of=thing, place="cloud", category=PUBLIC, columns={"thing": key(thing)}
)
visits = Events(
    "What was looked at.", place="cloud", region="eu", keep="400d", basis="consent",
    purposes=[discover, measure], time="at", category="user.behavior",
    columns={
        "person": key(person, "user.unique_id.pseudonymous"), "thing": key(thing), "at": time(),
    },
)
looks = visits.count("7d")
seen = visits.count("30d", per=thing)
both = visits.count("30d", per=(person, thing))
viewers = Metric(
    "How many people looked at it.", measure=Measure.persons(visits), mechanism="central",
    epsilon=900, delta=1e-10, minimum=5, answers=2, max_groups=5, dimensions=["thing"],
    purposes=[discover], region="eu", keep="90d",
)
page = Sink(
    "What the page shows.", signals=[looks, seen, both, viewers], to="online", place="cloud",
    purposes=[discover], region="eu", keep="10d", every="1d",
)
aside = Sink(
    "What reports show.", signals=[seen], to="online", place="cloud", purposes=[measure],
    region="eu", keep="10d",
)
'''

SETTINGS = """\
name = "shop"
as_of = {at}
{more}
[sources.things]
path = "things.parquet"

[sources.visits]
path = "visits.parquet"
"""

THINGS = ["i1", "i2", "few", "none"]
PEOPLE = {"i1": 30, "i2": 12, "few": 2, "unlisted": 40}
"""How many people looked at each; nobody at `none`, and the table does not list `unlisted`."""


def rows(at: int = NOW - HOUR, people: dict[str, int] | None = None) -> pa.Table:
    each = [
        {"person": f"p{i}", "thing": thing, "at": at}
        for thing, count in (people or PEOPLE).items()
        for i in range(count)
    ]
    return pa.Table.from_pylist(each)


def project(
    folder: Path, at: int = NOW, signals: str = SIGNALS, more: str = "", table: Any = None
) -> Project:
    """The project at a moment."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"thing": THINGS}), folder / "things.parquet")
    pq.write_table(rows() if table is None else table, folder / "visits.parquet")
    (folder / "signals.py").write_text(signals)
    moment = datetime.fromtimestamp(at / 1e6, UTC).isoformat()
    (folder / "tacit.toml").write_text(SETTINGS.format(at=moment, more=more))
    return Project.load(folder)
