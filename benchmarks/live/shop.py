"""A project to serve: fifty signals of a listener, three of a track; and their values for others.

`fill` brings a stream of plays into its online store. `values` reads what one listener's fifty
signals are, so that another feature server can be given the same numbers.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tacit.project import Project
from tacit.values import DAY

WINDOWS = ("1d", "3d", "7d", "14d", "21d", "30d")
OF_PLAYS = (
    ("count", 'count("{}")'),
    ("skips", 'count("{}", where="seconds < 30")'),
    ("heard", 'sum("seconds", "{}")'),
    ("mean", 'mean("seconds", "{}")'),
    ("least", 'min("seconds", "{}")'),
    ("most", 'max("seconds", "{}")'),
    ("last", 'last("seconds", "{}")'),
    ("tracks", 'distinct("track", "{}")'),
)
FIFTY = [f"{name}_{window}" for window in WINDOWS for name, _ in OF_PLAYS] + ["first", "loud"]
OF_TRACK = ["track_1d", "track_7d", "track_mean_7d"]

HEAD = '''\
"""Plays of music."""

from tacit import *

listener = Entity("Somebody who listens.", person="pseudonymous")
title = Entity("Something to listen to.")
discover = Purpose("Show what one may like.", use="personalize.content", basis="contract")
plays = Events(
    "Every play.", place="cloud", region="eu", keep="400d", basis="contract", purposes=[discover],
    time="at", category="user.behavior",
    columns={
        "listener": key(listener, "user.unique_id.pseudonymous"), "track": key(title),
        "at": time(), "seconds": number(), "gain": number(),
    },
)
'''


def module() -> str:
    """The project's declarations."""
    lines = [
        f"{name}_{window} = plays.{method.format(window)}"
        for window in WINDOWS
        for name, method in OF_PLAYS
    ]
    lines += ['first = plays.first("seconds", "30d")', 'loud = plays.max("gain", "30d")']
    lines += ['track_1d = plays.count("1d", per=title)', 'track_7d = plays.count("7d", per=title)']
    lines += ['track_mean_7d = plays.mean("seconds", "7d", per=title)']
    return HEAD + "\n".join(lines) + "\n"


def ten() -> str:
    """A project of ten signals: seven of a listener, three of a track."""
    kept = {"count_1d", "count_3d", "count_7d", "count_30d", "heard_7d", "most_30d", "last_30d"}
    kept |= set(OF_TRACK)
    lines = [line for line in module()[len(HEAD) :].splitlines() if line.split(" = ")[0] in kept]
    assert len(lines) == 10, "ten signals"
    return HEAD + "\n".join(lines) + "\n"


def write(folder: Path, text: str, serve: str = "") -> Project:
    """The project's files, loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "signals.py").write_text(text)
    (folder / "tacit.toml").write_text(f'name = "music"\n{serve}')
    return Project.load(folder)


def plays(count: int, listeners: int, tracks: int, until: int, seed: int = 7) -> pa.Table:
    """Plays of the thirty days before a moment, by time; Zipf in listeners and tracks."""
    rng = np.random.default_rng(seed)
    at = np.sort(until - rng.integers(1, 30 * DAY, count))
    who = rng.zipf(1.15, 4 * count) - 1
    who = np.where(who < listeners, who, rng.integers(0, listeners, len(who)))[:count]
    what = rng.zipf(1.2, 4 * count) - 1
    what = np.where(what < tracks, what, rng.integers(0, tracks, len(what)))[:count]
    return pa.table(
        {
            "listener": pa.array(np.char.add("u", np.char.zfill(who.astype(str), 12))),
            "track": pa.array(np.char.add("t", what.astype(str))),
            "at": at,
            "seconds": np.round(rng.random(count) * 300, 1),
            "gain": np.round(rng.normal(-14, 3, count), 2),
        }
    )


def fill(project: Project, table: pa.Table, batch: int = 100_000) -> dict[str, float]:
    """Pushes the plays in batches, as of now; events a second by the clock and of CPU time."""
    clock, cpu = time.perf_counter(), time.process_time()
    for low in range(0, table.num_rows, batch):
        project.online.push("plays", table.slice(low, batch), now=project.now())
    return {
        "per_s": table.num_rows / (time.perf_counter() - clock),
        "per_cpu_s": table.num_rows / (time.process_time() - cpu),
    }


def values(project: Project, listeners: list[str]) -> list[list[Any]]:
    """The fifty signals of listeners, now; a row for each."""
    table = project.lookup(FIFTY).many({"listener": listeners}, project.now())
    return [list(row) for row in zip(*table.columns, strict=True)]


def listener(number: int) -> str:
    return f"u{number:012}"
