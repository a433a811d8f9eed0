"""Freshness, end to end: `pusher.py FOLDER RATE SECONDS`.

This process makes events at a steady rate and pushes what has come every so often, without waiting
for what it pushed before, as the clients of a server do: up to `CLIENTS` pushes are under way at a
time, and come to be made as one where the disk is slow. Another process reads one key of each
client's, over and over, and says when it saw which of the marks that lie among the events.
Freshness is from when an event happened until a read holds it: its wait for the push is in it. Told
beside it: how long pushes took until they were durable, and how long the disk alone takes to have
4 KiB (`fsync_p99_ms`), since nothing can be durable sooner.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow as pa

from tacit.project import Project

EVERY = 0.02
"""Seconds between pushes."""
CLIENTS = 4
WARM = 2
"""Seconds of it that are not counted, at first."""


def mark(client: int) -> str:
    """The key that a client's events of one push have one of."""
    return f"mark{client}"


def watch(folder: str, said: Connection) -> None:
    """Says of each new count of a mark when it was first read."""
    project = Project.load(Path(folder))
    look = project.lookup(["count_1d"])
    marks = {"listener": [mark(client) for client in range(CLIENTS)]}
    seen = [0] * CLIENTS
    look.many(marks, project.now())
    said.send("ready")
    while True:
        counts = look.many(marks, project.now()).columns[0]
        if counts != seen:
            said.send((counts, time.time()))
            seen = counts
        else:
            time.sleep(0.0005)


def batch(
    rng: np.random.Generator, start: float, end: float, rate: int, key: str
) -> tuple[pa.Table, float]:
    """The events of a stretch of time, evenly; one of them is of this key, whenever it was."""
    count = max(1, round((end - start) * rate))
    at = np.sort(start + rng.random(count) * (end - start))
    who = (rng.zipf(1.15, count) - 1) % 100_000
    names = np.char.add("u", np.char.zfill(who.astype(str), 12)).tolist()
    marked = int(rng.integers(count))
    names[marked] = key
    table = pa.table(
        {
            "listener": names,
            "track": np.char.add("t", ((rng.zipf(1.2, count) - 1) % 20_000).astype(str)),
            "at": (at * 1e6).astype(np.int64),
            "seconds": np.round(rng.random(count) * 300, 1),
            "gain": np.round(rng.normal(-14, 3, count), 2),
        }
    )
    return table, float(at[marked])


def disk(folder: Path) -> list[float]:
    """How long the disk takes to have 4 KiB, ms."""
    path, found = folder / "probe", []
    with path.open("wb") as file:
        for _ in range(100):
            file.write(bytes(4096))
            file.flush()
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            found.append((time.perf_counter() - start) * 1000)
    path.unlink()
    return found


class Client:
    """One that pushes what it is given, and keeps when each of its marks happened."""

    def __init__(self, project: Project, number: int) -> None:
        self.project, self.key = project, mark(number)
        self.pool = ThreadPoolExecutor(1)
        self.marks: list[float] = []
        self.took: list[float] = []
        self.last: Future[None] | None = None

    @property
    def idle(self) -> bool:
        return self.last is None or self.last.done()

    def push(self, table: pa.Table, at: float) -> None:
        self.marks.append(at)
        self.last = self.pool.submit(self._push, table)

    def _push(self, table: pa.Table) -> None:
        start = time.perf_counter()
        self.project.push("plays", table)
        self.took.append((time.perf_counter() - start) * 1000)


def run(project: Project, rate: int, seconds: float) -> tuple[list[Client], int, float]:
    """The clients, how many events they pushed, and how long it took."""
    rng = np.random.default_rng(11)
    clients = [Client(project, number) for number in range(CLIENTS)]
    start = last = time.time()
    pushed = 0
    while last < start + seconds:
        time.sleep(max(0.0, last + EVERY - time.time()))
        client = next((each for each in clients if each.idle), None)
        if client is None:  # what comes meanwhile is pushed with the next
            time.sleep(0.001)
            continue
        now = time.time()
        table, at = batch(rng, last, now, rate, client.key)
        client.push(table, at)
        pushed += table.num_rows
        last = now
    for client in clients:
        client.pool.shutdown()
        if client.last is not None:  # it had its turn
            client.last.result()
    return clients, pushed, time.time() - start


def delays(
    seen: list[tuple[list[int], float]], clients: list[Client], counted: list[int]
) -> list[float]:
    """Of each mark, ms until it was read. A read that holds n marks of a client's holds its first
    n: a client's pushes are in order. As many as ``counted`` were there before."""
    found, before = [], list(counted)
    for counts, when in seen:
        for i, count in enumerate(counts):
            marks = clients[i].marks[counted[i] - before[i] : count - before[i]]
            found += [(when - at) * 1000 for at in marks]
            counted[i] = count
    marks = [len(client.marks) for client in clients]
    assert [a - b for a, b in zip(counted, before, strict=True)] == marks, "every mark was read"
    return found


def main() -> None:
    folder, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    project = Project.load(Path(folder))
    warm, _ = batch(np.random.default_rng(1), time.time() - 60, time.time() - 59, 20_000, "u0")
    project.push("plays", warm)
    slow = disk(Path(folder))
    context = multiprocessing.get_context("spawn")
    heard, other = context.Pipe(duplex=False)
    watcher = context.Process(target=watch, args=(folder, other), daemon=True)
    watcher.start()
    assert heard.recv() == "ready"
    warmed, _, _ = run(project, rate, WARM)  # both processes load what they run
    time.sleep(0.5)
    while heard.poll():
        heard.recv()
    cpu = time.process_time()
    clients, pushed, took = run(project, rate, seconds)
    cpu = time.process_time() - cpu
    time.sleep(0.5)
    watcher.terminate()
    seen = []
    while heard.poll():
        seen.append(heard.recv())
    found = delays(seen, clients, [len(client.marks) for client in warmed])
    durable = [each for client in clients for each in client.took]
    told = {
        "fresh_p50_ms": round(float(np.percentile(found, 50)), 1),
        "fresh_p99_ms": round(float(np.percentile(found, 99)), 1),
        "fresh_events_per_s": round(pushed / took),
        "fresh_marks": len(found),
        "push_p50_ms": round(float(np.percentile(durable, 50)), 1),
        "push_p99_ms": round(float(np.percentile(durable, 99)), 1),
        "push_cpu_ms": round(cpu * 1000 / len(durable), 1),
        "fsync_p50_ms": round(float(np.percentile(slow, 50)), 1),
        "fsync_p99_ms": round(float(np.percentile(slow, 99)), 1),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
