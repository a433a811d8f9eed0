"""Spark Structured Streaming writes the states that `push` writes; real runs."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import pytest
from live_cases import check, online
from servers import redis_server
from streams_cases import FEED, NOW, POISON, counted, lmdb, opening, states, stream, written

from tacit.engines.spark import Spark
from tacit.errors import EngineError
from tacit.live.inputs.rows import read_json
from tacit.live.streams.messages import Messages
from tacit.live.streams.spark import Streaming
from tacit.store.online.redis import Redis
from tacit.values import SECOND

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("backend", "ids"), [("lmdb", "event"), ("redis", None)])
def test_spark_writes_the_states_of_push(
    spark: Spark, tmp_path: Path, ids: str | None, backend: str
) -> None:
    rows, messages = stream(11, 1500)
    server = redis_server(tmp_path) if backend == "redis" else None
    where = lmdb(tmp_path / "spark")
    if server:
        where = partial(Redis, f"redis://127.0.0.1:{server.port}/0", name="spark")
    folder = written(tmp_path / "in", messages[:1200], 400)
    given = opening(where, ids, token=str(tmp_path))
    store = given.open()
    job = Streaming(
        spark, store, given, Messages(folder, ids=ids, options={"maxFilesPerTrigger": "1"}),
        tmp_path / "checkpoint", 4, SECOND, lambda: NOW,
    )  # fmt: skip
    job.run(threading.Event(), once=True)
    written(folder, messages[1200:], 1000, "t")
    job.run(threading.Event(), once=True)
    job.run(threading.Event(), once=True)  # nothing is there
    local = online(tmp_path / "push", FEED)
    for a in range(0, len(messages), 500):
        found, _, rejected = read_json(messages[a : a + 500], ids)
        local.push("events", found, now=NOW, ids=ids, rejected=rejected)
    told = counted(store, "events")
    assert states(store) == states(local)
    assert told == counted(local, "events")
    for at in (NOW, NOW - 777, NOW - 1234567) if ids else ():
        check(store, FEED, rows, at)
    assert told["accepted"] == (len(rows) if ids else len(messages) - len(POISON))
    assert told["quarantined"] == len(POISON)
    other = Streaming(
        spark, store, given, job.messages, tmp_path / "another", 4, SECOND, lambda: NOW
    )
    with pytest.raises(EngineError) as refused:  # it would count all of it once more
        other.run(threading.Event(), once=True)
    assert refused.value.code == "T415"
    if server:
        server.stop()
