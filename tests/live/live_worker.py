"""A process that writes to a store until it is killed; `test_live_crash` starts it."""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "parity")]

from live_cases import NOW, crash_feed, events, online  # noqa: E402

from tacit.live.inputs.redis_stream import RedisStream  # noqa: E402


def batch(number: int) -> list[dict[str, object]]:
    """The rows of a push; the same in every process."""
    rng = random.Random(number)
    return events(rng, rng.randrange(1, 30), NOW)


def push(folder: str) -> None:
    """Pushes batch after batch, from the number on stdin; says which are acknowledged."""
    store = online(Path(folder), crash_feed())
    number = int(sys.stdin.readline())
    while True:
        rows = batch(number)
        store.push("events", rows, now=NOW, batch=str(number))
        print(number, flush=True)
        number += 1


def stream(folder: str, url: str) -> None:
    """Takes a Redis stream."""
    store = online(Path(folder), crash_feed())
    reader = RedisStream(store, "events", url, "events", clock=lambda: NOW, batch=40)
    print("ready", flush=True)
    while True:
        if reader.step(wait=200) is None:
            print("idle", flush=True)


if __name__ == "__main__":
    {"push": push, "stream": stream}[sys.argv[1]](*sys.argv[2:])
