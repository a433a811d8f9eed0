"""Freshness, end to end: `pusher.py FOLDER RATE SECONDS`.

This process makes events at a steady rate and pushes what has come every so often; another process
reads one key, over and over, and says when it saw which of the marks that lie among the events.
Freshness is from when an event happened until a read holds it: its wait for the push is in it.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow as pa

from tacit.project import Project

EVERY = 0.02
"""Seconds between pushes."""
MARK = "mark"


def watch(folder: str, said: Connection) -> None:
    """Says of each new count of the mark when it was first read."""
    project = Project.load(folder)
    look = project.lookup(["count_1d"])
    seen = 0
    look.one({"listener": MARK}, project.now())
    said.send("ready")
    while True:
        count = look.one({"listener": MARK}, project.now()).values[0]
        if count != seen:
            said.send((count, time.time()))
            seen = count
        else:
            time.sleep(0.0005)


def batch(rng: np.random.Generator, start: float, end: float, rate: int) -> tuple[pa.Table, float]:
    """The events of a stretch of time, evenly; one of them is the mark, whenever it was."""
    count = max(1, round((end - start) * rate))
    at = np.sort(start + rng.random(count) * (end - start))
    who = (rng.zipf(1.15, count) - 1) % 100_000
    names = np.char.add("u", np.char.zfill(who.astype(str), 12)).tolist()
    mark = int(rng.integers(count))
    names[mark] = MARK
    table = pa.table(
        {
            "listener": names,
            "track": np.char.add("t", ((rng.zipf(1.2, count) - 1) % 20_000).astype(str)),
            "at": (at * 1e6).astype(np.int64),
            "seconds": np.round(rng.random(count) * 300, 1),
            "gain": np.round(rng.normal(-14, 3, count), 2),
        }
    )
    return table, float(at[mark])


def main() -> None:
    folder, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    project = Project.load(Path(folder))
    rng = np.random.default_rng(11)
    warm, _ = batch(rng, time.time() - 60, time.time() - 59, 20_000)
    names = pa.array([name if name != MARK else "u0" for name in warm["listener"].to_pylist()])
    project.push("plays", warm.set_column(0, "listener", names))
    context = multiprocessing.get_context("spawn")
    heard, other = context.Pipe(duplex=False)
    watcher = context.Process(target=watch, args=(folder, other), daemon=True)
    watcher.start()
    assert heard.recv() == "ready"
    start = last = time.time()
    marks, pushed = [], 0
    while last < start + seconds:
        time.sleep(max(0.0, last + EVERY - time.time()))
        now = time.time()
        table, mark = batch(rng, last, now, rate)
        project.push("plays", table)
        marks.append(mark)
        pushed += table.num_rows
        last = now
    took = time.time() - start
    time.sleep(0.5)
    watcher.terminate()
    seen = []
    while heard.poll():
        seen.append(heard.recv())
    # A read that holds n marks holds the first n: pushes are in order.
    delays, counted = [], 0
    for count, when in seen:
        delays += [(when - mark) * 1000 for mark in marks[counted:count]]
        counted = count
    assert counted == len(marks), "every mark was read"
    p50, p99 = np.percentile(delays, [50, 99])
    told = {
        "fresh_p50_ms": round(float(p50), 1),
        "fresh_p99_ms": round(float(p99), 1),
        "fresh_events_per_s": round(pushed / took),
        "fresh_marks": len(marks),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
