"""What a process does to a store until it is killed; `test_live_crash` starts it."""

from __future__ import annotations

import random
from multiprocessing.connection import Connection
from pathlib import Path

from live_cases import NOW, crash_feed, events, online

from tacit.live.inputs.redis_stream import RedisStream


def batch(number: int) -> list[dict[str, object]]:
    """The rows of a push; the same in every process."""
    rng = random.Random(number)
    return events(rng, rng.randrange(1, 30), NOW)


def push(folder: str, number: int, said: Connection) -> None:
    """Pushes batch after batch, from a number on; says which are acknowledged."""
    store = online(Path(folder), crash_feed())
    while True:
        rows = batch(number)
        store.push("events", rows, now=NOW, batch=str(number))
        said.send(number)
        number += 1


def stream(folder: str, url: str, said: Connection) -> None:
    """Takes a Redis stream; says when there is nothing more."""
    store = online(Path(folder), crash_feed())
    reader = RedisStream(store, "events", url, "events", clock=lambda: NOW, batch=40)
    said.send("ready")
    while True:
        if reader.step(wait=100) is None:
            said.send("idle")
