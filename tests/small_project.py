"""A small project with everything in it, on a few made-up people, for tests of many rooms."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tacit.demo.synthetic import make_catalogue, make_events
from tacit.learn.split import Histories, histories
from tacit.project import Project
from tacit.values import DAY, SECOND

PEOPLE, ITEMS, SEED = 45, 60, 7
CATALOGUE = make_catalogue(SEED, ITEMS, 6)
EVENTS = make_events(CATALOGUE, SEED, PEOPLE, 12.0)
NOW = int(EVENTS.time.max()) + SECOND
ENJOYED = np.arange(len(EVENTS.user)) % 5 != 0
QUANTITY = 1 + np.arange(len(EVENTS.user)) % 3
GENRE = [f"genre{code}" for code in CATALOGUE.genre]

SIGNALS = '''\
"""A shop."""

from tacit import *

person = Entity("Someone who shops here.", person="pseudonymous")
thing = Entity("Something on sale.")
discover = Purpose(
    "Show what one may want.", use="personalize.content", basis="consent", epsilon=20, delta=1e-5
)
catalogue = Table(
    "What is on sale.", of=thing, place="cloud", category=PUBLIC,
    columns={"item": key(thing), "title": text(), "genre": text(), "weight": number()},
)
history = Events(
    "What was bought.", place="device", region="eu", keep="730d", basis="consent",
    purposes=[discover], time="at", category="user.behavior",
    columns={
        "person": key(person, "user.unique_id.pseudonymous"), "item": key(thing),
        "at": time(), "enjoyed": flag(), "quantity": integer(),
    },
)
visits = Events(
    "What was looked at.", place="cloud", region="eu", keep="730d", basis="consent",
    purposes=[discover], time="at", category="user.behavior",
    columns={"person": key(person, "user.unique_id.pseudonymous"), "item": key(thing), "at": time()},
)
first = history.min("at", by="item", where="enjoyed")
bought = history.sum("CASE WHEN catalogue.genre <> 'genre0' THEN quantity END", by="item")
taste = Release(
    "What is wanted together.", signal=first, over=catalogue, mechanism="pairs", to="cloud",
    purposes=[discover], epsilon=4, delta=1e-5, region="eu", keep="ever",
    options={"max_pairs": 400},
)
demand = Release(
    "How much of each is wanted.", signal=bought, over=catalogue, mechanism="sum", to="cloud",
    purposes=[discover], epsilon=4, delta=1e-5, region="eu", keep="ever", options={"bound": 40.0},
)
popular = Metric("What sells.", release=demand, minimum=20)
recommender = Model("What goes with what.", learner="item_item", release=taste)
space = Model("Where things lie.", learner="spectral", release=taste)
looks = visits.count("7d")
last = visits.last("item")
training = Sink(
    "Rows to learn from.", signals=[looks, last], to="training", place="cloud",
    purposes=[discover], region="eu", keep="30d",
)
'''

SETTINGS = """\
name = "shop"
as_of = 2025-12-31T00:00:00Z

[sources.catalogue]
path = "catalogue.parquet"

[sources.history]
path = "history.parquet"

[sources.visits]
path = "history.parquet"
"""


def people() -> list[str]:
    return [f"p{code:03}" for code in range(PEOPLE)]


def history() -> pa.Table:
    return pa.table(
        {
            "person": [f"p{code:03}" for code in EVENTS.user],
            "item": [CATALOGUE.ids[code] for code in EVENTS.item],
            "at": pa.array(EVENTS.time).cast(pa.timestamp("us")),
            "enjoyed": pa.array(ENJOYED),
            "quantity": pa.array(QUANTITY),
        }
    )


def catalogue() -> pa.Table:
    weight = [float("nan"), None, *map(float, range(ITEMS - 2))]
    return pa.table(
        {"item": CATALOGUE.ids, "title": CATALOGUE.texts, "genre": GENRE, "weight": weight}
    )


def write(folder: Path, signals: str = SIGNALS, settings: str = SETTINGS) -> Path:
    """The project's files, not run."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(history(), folder / "history.parquet")
    pq.write_table(catalogue(), folder / "catalogue.parquet")
    (folder / "signals.py").write_text(signals)
    (folder / "tacit.toml").write_text(settings)
    return folder


def project(folder: Path, signals: str = SIGNALS, settings: str = SETTINGS) -> Project:
    return Project.load(write(folder, signals, settings))


def visits(count: int, now: int, seed: int = 5) -> list[dict[str, Any]]:
    """Rows of `visits` of the last eight days, in any order, no two of one moment; each has an id."""
    rng = random.Random(seed)
    return [
        {
            "person": f"p{rng.randrange(40):03}",
            "item": f"i{rng.randrange(9)}",
            "at": now - rng.randrange(8 * DAY // SECOND) * SECOND - i,
            "visit": f"v{seed}-{i}",
        }
        for i in range(count)
    ]


def enjoyed() -> Histories:
    """Every person's items in order of the first time they enjoyed them: the truth, by code."""
    user, item, at = (column[ENJOYED] for column in (EVENTS.user, EVENTS.item, EVENTS.time))
    return histories(user, item, at, PEOPLE)


def wanted() -> np.ndarray:
    """The truth of `bought`: amounts (people, items)."""
    amounts = np.zeros((PEOPLE, ITEMS))
    for user, item, quantity in zip(EVENTS.user, EVENTS.item, QUANTITY, strict=True):
        amounts[user, item] += quantity * (GENRE[item] != "genre0")
    return amounts


def only(signals: str, *names: str) -> str:
    """The declarations of the project without these."""
    kept, skip = [], False
    for line in signals.splitlines(keepends=True):
        if line[:1].isalpha():
            skip = line.split(" ")[0] in names
        if not skip:
            kept.append(line)
    return "".join(kept)


PAIRS_ONLY = only(SIGNALS, "demand", "popular", "bought", "training", "looks", "last", "space")
