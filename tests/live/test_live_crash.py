"""kill -9 at random moments: what was acknowledged is there, and nothing is there twice."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from live_cases import NOW, check, crash_feed, events, online
from live_worker import batch
from servers import redis_server

WORKER = [sys.executable, str(Path(__file__).parent / "live_worker.py")]


def kill_while_pushing(folder: Path, times: int, seed: int) -> None:
    rng, next_one, acknowledged = random.Random(seed), 0, -1
    for _ in range(times):
        process = subprocess.Popen(
            [*WORKER, "push", str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{next_one}\n")
        process.stdin.flush()
        first = process.stdout.readline()  # it is up and writing
        acknowledged = max(acknowledged, int(first))
        time.sleep(rng.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        for line in rest.split("\n"):
            if line:
                acknowledged = max(acknowledged, int(line))
        next_one = acknowledged + 1  # as a client would: what was not acknowledged is sent again
    store = online(folder, crash_feed())
    rows = [row for number in range(acknowledged + 1) for row in batch(number)]
    last = batch(acknowledged + 1)  # it may be in without having been acknowledged
    store.push("events", last, now=NOW, batch=str(acknowledged + 1))
    assert acknowledged >= times
    check(store, crash_feed(), rows + last, NOW)
    total = sum(store.standing("events").counts[each] for each in ("accepted", "duplicates"))
    assert store.standing("events").counts["accepted"] == len(rows) + len(last) <= total


def kill_while_streaming(folder: Path, times: int, seed: int) -> None:
    rng, rows = random.Random(seed), []
    server = redis_server(folder)
    url = f"redis://127.0.0.1:{server.port}/0"
    client: Any = redis.Redis.from_url(url)
    try:
        for _ in range(times):
            process = subprocess.Popen(
                [*WORKER, "stream", str(folder / "store"), url], stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            process.stdout.readline()
            for _ in range(rng.randrange(1, 6)):
                part = events(rng, 30, NOW)
                with client.pipeline() as pipe:
                    for row in part:
                        pipe.xadd("events", {"event": json.dumps(row)})
                    pipe.execute()
                rows += part
                time.sleep(rng.random() * 0.05)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        process = subprocess.Popen(
            [*WORKER, "stream", str(folder / "store"), url], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        while process.stdout.readline() != "idle\n":
            pass
        process.kill()
        process.communicate()
        assert client.xpending("events", "tacit")["pending"] == 0
        store = online(folder / "store", crash_feed())
        assert store.standing("events").counts["accepted"] == len(rows)
        check(store, crash_feed(), rows, NOW)
    finally:
        server.stop()


def test_killed_while_pushing(tmp_path: Path) -> None:
    kill_while_pushing(tmp_path, 5, 1)


def test_killed_while_streaming(tmp_path: Path) -> None:
    kill_while_streaming(tmp_path, 5, 1)


@pytest.mark.slow
def test_killed_a_hundred_times(tmp_path: Path) -> None:
    kill_while_pushing(tmp_path / "push", 50, 2)
    (tmp_path / "stream").mkdir()
    kill_while_streaming(tmp_path / "stream", 50, 3)
