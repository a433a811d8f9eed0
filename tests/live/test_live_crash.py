"""kill -9 at random moments: what was acknowledged is there, and nothing is there twice."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import live_worker
import pytest
import redis
from live_cases import NOW, check, crash_feed, events, online
from live_worker import batch
from servers import redis_server

# Each process begins as a copy of one that has everything imported: importing takes seconds.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["live_worker"])


@pytest.fixture(autouse=True, scope="module")
def _preloaded() -> None:
    """The server of forks finds what it is to import beside this file."""
    before = os.environ.get("PYTHONPATH")
    here = Path(__file__).parent
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (here, here.parent / "parity")))
    forkserver.ensure_running()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


class Doomed:
    """A process that will be killed."""

    def __init__(self, work: Callable[..., None], *args: Any) -> None:
        self.said, other = FORKS.Pipe(duplex=False)
        self.process = FORKS.Process(target=work, args=(*args, other), daemon=True)
        self.process.start()
        other.close()

    def kill(self) -> list[Any]:
        """Kills it; what it had said and nobody had heard."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()
        return drain(self.said)


def drain(said: Connection) -> list[Any]:
    found = []
    with contextlib.suppress(EOFError, OSError):
        while said.poll():
            found.append(said.recv())
    return found


def kill_while_pushing(folder: Path, times: int, seed: int) -> None:
    rng, acknowledged = random.Random(seed), -1
    for _ in range(times):
        # As a client would: what was not acknowledged is sent again.
        process = Doomed(live_worker.push, str(folder), acknowledged + 1)
        acknowledged = process.said.recv()  # it is up and writing
        time.sleep(rng.random() * 0.1)
        acknowledged = max([acknowledged, *process.kill()])
    store = online(folder, crash_feed())
    rows = [row for number in range(acknowledged + 1) for row in batch(number)]
    last = batch(acknowledged + 1)  # it may be in without having been acknowledged
    store.push("events", last, now=NOW, batch=str(acknowledged + 1))
    assert acknowledged + 1 >= times
    check(store, crash_feed(), rows + last, NOW)
    assert store.standing("events").counts["accepted"] == len(rows) + len(last)


def kill_while_streaming(folder: Path, times: int, seed: int) -> None:
    rng, rows = random.Random(seed), []
    server = redis_server(folder)
    url = f"redis://127.0.0.1:{server.port}/0"
    client: Any = redis.Redis.from_url(url)
    try:
        for _ in range(times):
            process = Doomed(live_worker.stream, str(folder / "store"), url)
            assert process.said.recv() == "ready"
            for _ in range(rng.randrange(1, 6)):
                part = events(rng, 30, NOW)
                with client.pipeline() as pipe:
                    for row in part:
                        pipe.xadd("events", {"event": json.dumps(row)})
                    pipe.execute()
                rows += part
                time.sleep(rng.random() * 0.05)
            process.kill()
        process = Doomed(live_worker.stream, str(folder / "store"), url)
        while process.said.recv() != "idle":
            pass
        process.kill()
        assert client.xpending("events", "tacit")["pending"] == 0
        store = online(folder / "store", crash_feed())
        assert store.standing("events").counts["accepted"] == len(rows)
        check(store, crash_feed(), rows, NOW)
    finally:
        server.stop()


def test_killed_while_pushing(tmp_path: Path) -> None:
    kill_while_pushing(tmp_path, 3, 1)


def test_killed_while_streaming(tmp_path: Path) -> None:
    kill_while_streaming(tmp_path, 2, 1)


@pytest.mark.slow
def test_killed_fifty_times_while_pushing(tmp_path: Path) -> None:
    kill_while_pushing(tmp_path, 50, 2)


@pytest.mark.slow
def test_killed_fifty_times_while_streaming(tmp_path: Path) -> None:
    kill_while_streaming(tmp_path, 50, 3)
