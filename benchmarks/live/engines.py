"""Streams into the online store: by push, by Spark and by Flink, on this machine.

`python benchmarks/live/engines.py [EVENTS]`. JSON lines of a Zipf stream, ten signals in two views,
LMDB. Each engine takes the same files; starting it is told apart from taking them. On one machine
engines pay for JVMs, shuffles and other processes, and share the cores with what they are compared
to. The last line is one JSON object.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from store import batches, feed
from tacit.live.inputs.rows import read_json
from tacit.live.intake import Settings
from tacit.live.online import Online
from tacit.live.streams import flink as on_flink
from tacit.live.streams.flink import Flink, install, python_of
from tacit.live.streams.lanes import counted
from tacit.live.streams.messages import Messages
from tacit.live.streams.route import Opening
from tacit.live.streams.spark import Streaming
from tacit.store.online.lmdb import Lmdb
from tacit.values import SECOND

SHARDS = 4
HOME = Path(os.environ.get("TACIT_FLINK", Path(__file__).parents[2] / ".venv" / "flink"))


def deliver(folder: Path, tables: list[pa.Table]) -> None:
    folder.mkdir()
    for i, table in enumerate(tables):
        lines = "".join(json.dumps(row) + "\n" for row in table.to_pylist())
        (folder / f"{i:03}.jsonl").write_text(lines)


def opening(folder: Path) -> Opening:
    return Opening(str(folder), partial(Lmdb, folder), feed(many=False), Settings())


def by_push(folder: Path, now: int) -> float:
    """Events a second."""
    online = Online(Lmdb(folder / "push"), [feed(many=False)])
    start, rows = time.perf_counter(), 0
    for path in sorted((folder / "in").iterdir()):
        events, _, rejected = read_json(path.read_bytes().splitlines())
        online.push("events", events, now=now, rejected=rejected)
        rows += len(events)
    return rows / (time.perf_counter() - start)


def by_spark(folder: Path, events: int, now: int) -> tuple[float, float]:
    """Seconds to start, events a second."""
    from tacit.engines.spark import Spark

    engine = Spark(master="local[*]", config={"spark.log.level": "ERROR"})
    start = time.perf_counter()
    run_spark(engine, folder / "warm", folder / "few", now)  # starts Java and the workers
    begun = time.perf_counter()
    given = run_spark(engine, folder / "spark", folder / "in", now)
    ended = time.perf_counter()
    assert counted(given.open(), "events")["accepted"] == events
    engine.session.stop()
    return begun - start, events / (ended - begun)


def run_spark(engine: Any, folder: Path, incoming: Path, now: int) -> Opening:
    given = opening(folder)
    messages = Messages(incoming, options={"maxFilesPerTrigger": "4"})
    Streaming(
        engine, given.open(), given, messages, folder / "checkpoint", SHARDS, SECOND, lambda: now
    ).run(threading.Event(), once=True)
    return given


def by_flink(folder: Path, events: int, now: int) -> tuple[float, float]:
    """Seconds to start, events a second from the first that is in to the last."""
    try:
        python_of(HOME)
    except Exception:
        install(HOME)
    given = opening(folder / "flink")
    engine = Flink(HOME, options={"parallelism.default": str(os.cpu_count() or 1)})
    stopped, state = threading.Event(), folder / "state"
    state.mkdir()
    job = on_flink.Streaming(
        engine,
        given.open(),
        given,
        Messages(folder / "in"),
        state,
        SHARDS,
        SECOND,
        lambda: now,
        now,
    )
    start = time.perf_counter()
    running = threading.Thread(target=job.run, args=(stopped,))
    running.start()
    reached = partial(_reached, given.open(), running)
    first = reached(lambda count: count > 0)
    last = reached(lambda count: count == events)
    stopped.set()
    running.join()
    return first - start, events / (last - first)


def _reached(online: Online, running: threading.Thread, enough: Callable[[int], bool]) -> float:
    while not enough(counted(online, "events")["accepted"]):
        assert running.is_alive(), "Flink ended"
        time.sleep(0.05)
    return time.perf_counter()


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    folder = Path(tempfile.mkdtemp(prefix="tacit-engines-"))
    try:
        whole = batches(events)
        tables = [each.slice(a, 10_000) for each in whole for a in range(0, each.num_rows, 10_000)]
        deliver(folder / "in", tables)
        deliver(folder / "few", [tables[0].slice(0, 1000)])
        now = max(int(each["at"].to_numpy().max()) for each in whole)
        by_push(folder, now)  # compiles
        shutil.rmtree(folder / "push")
        push = by_push(folder, now)
        print(f"push   {push:10,.0f} events/s, one process")
        spark_start, spark = by_spark(folder, events, now)
        print(f"spark  {spark:10,.0f} events/s, {spark_start:.0f} s to start")
        flink_start, flink = by_flink(folder, events, now)
        print(f"flink  {flink:10,.0f} events/s, {flink_start:.0f} s to the first event")
        told = {"events": events, "cores": os.cpu_count(), "shards": SHARDS}
        told |= {
            "push_per_s": round(push),
            "spark_per_s": round(spark),
            "flink_per_s": round(flink),
        }
        told |= {"spark_start_s": round(spark_start), "flink_start_s": round(flink_start)}
        print(json.dumps(told))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
