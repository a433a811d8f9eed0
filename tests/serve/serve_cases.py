"""A small project that is served: two purposes, three kinds of keys, a formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tacit.project import Project
from tacit.values import DAY, HOUR, MINUTE, SECOND

NOW = 1_767_139_200 * SECOND  # 2025-12-31T00:00:00Z

SIGNALS = '''\
"""What people look at."""

from tacit import *

person = Entity("Someone who looks.", person="pseudonymous")
thing = Entity("Something to look at.")
discover = Purpose("Show what one may want.", use="personalize.content", basis="consent")
measure = Purpose("Count what is used.", use="analytics.reporting", basis=["consent", "contract"])
sell = Purpose("Sell it on.", use="third_party_sharing", basis="legitimate_interest")
visits = Events(
    "What was looked at.", place="cloud", region="eu", keep="400d", basis="consent",
    purposes=[discover, measure], time="at", category="user.behavior",
    columns={
        "person": key(person, "user.unique_id.pseudonymous"), "thing": key(thing),
        "at": time(), "seconds": number(), "liked": flag().narrow(purposes=[discover]),
    },
)
looks = visits.count("7d")
last = visits.last("thing", "7d")
spent = visits.sum("seconds", "30d")
average = visits.mean("seconds", "30d")
likes = visits.count("30d", where="liked")
fond = visits.last("liked", "30d")
kinds = visits.count("30d", by="thing")
seen = visits.count("30d", per=thing)
both = visits.count("30d", per=(person, thing))
lately = visits.count("30d").fresh("1d")
share = Formula("How much of it is liked.", sql="likes / looks")
'''

SETTINGS = """\
name = "shop"
as_of = 2025-12-31T00:00:00Z
"""

ROWS: list[dict[str, Any]] = [
    {"person": "p1", "thing": "i1", "at": NOW - HOUR, "seconds": 2.5, "liked": True},
    {"person": "p1", "thing": "i2", "at": NOW - MINUTE, "seconds": 0.25, "liked": False},
    {"person": "p2", "thing": "i1", "at": NOW - 2 * DAY, "seconds": 7.0, "liked": None},
]


def project(folder: Path, signals: str = SIGNALS, settings: str = SETTINGS) -> Project:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "signals.py").write_text(signals)
    (folder / "tacit.toml").write_text(settings)
    return Project.load(folder)


def filled(folder: Path, signals: str = SIGNALS, settings: str = SETTINGS) -> Project:
    """The same with a few events in it."""
    found = project(folder, signals, settings)
    found.push("visits", ROWS, batch="first")
    return found
