"""Past one process: batch and streams on Spark's standalone cluster and streams on Flink's, whose
members are killed with SIGKILL on the way; the states are those of `push` on one machine."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from clusters import FlinkCluster, SparkCluster, wait
from live_cases import events, expected, online, table, views
from servers import redis_server
from streams_cases import FEED, NOW, POISON, counted, lmdb, opening, states, stream, written
from test_streams_flink import HOME, flink, streaming

from tacit.live.inputs.rows import read_json
from tacit.live.online import Online
from tacit.live.streams.flink import Flink
from tacit.store.online.redis import Redis

pytestmark = pytest.mark.slow
__all__ = ["flink"]
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def spark_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkCluster]:
    pytest.importorskip("pyspark")
    cluster = SparkCluster(tmp_path_factory.mktemp("cluster") / "spark")
    yield cluster
    cluster.stop()


def driver(cluster: SparkCluster, folder: Path, *what: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    return subprocess.Popen(
        [sys.executable, HERE / "cluster_driver.py", cluster.url, folder, *what],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=(folder / "driver.log").open("wb"),
    )


def same(x: Any, y: Any) -> bool:
    """To the last bit, floats to 1e-9."""
    if isinstance(x, float) and isinstance(y, float):
        return x == y or math.isclose(x, y, rel_tol=1e-9) or (math.isnan(x) and math.isnan(y))
    if isinstance(x, list | tuple) and isinstance(y, list | tuple):
        return len(x) == len(y) and all(map(same, x, y))
    return bool(x == y)


def test_batch_on_a_spark_cluster(spark_cluster: SparkCluster, tmp_path: Path) -> None:
    rng = random.Random(5)
    rows = events(rng, 3000, NOW)
    for row in rows:  # what cancels is the parity tests' business
        row["price"] = None if abs(row["price"] or 0) > 1e15 else row["price"]
    pq.write_table(table(rows), tmp_path / "events.parquet")
    spines = []
    for i, view in enumerate(views()):
        asked = [rng.choice(rows) for _ in range(150)]
        spine = {key: [row[column] for row in asked] for key, column in view.keys}
        spine["at"] = [NOW - rng.randrange(7 * 3600) * 1_000_000 for _ in asked]
        spines.append(expected(view, rows, spine))
        names = [*spine]
        pq.write_table(spines[-1].select(names), tmp_path / f"spine{i}.parquet")
    run = driver(spark_cluster, tmp_path, "batch")
    said, _ = run.communicate(timeout=400)
    assert run.returncode == 0, (tmp_path / "driver.log").read_text()[-2000:]
    assert b"executors 2" in said
    for i, wanted in enumerate(spines):
        found = pq.read_table(tmp_path / f"found{i}.parquet")
        for name in wanted.column_names:
            pairs = zip(found[name].to_pylist(), wanted[name].to_pylist(), strict=True)
            assert all(same(x, y) for x, y in pairs), name


def test_a_spark_worker_dies(tmp_path: Path) -> None:
    """One of two workers is killed with its executor, in the midst of a stream."""
    rows, messages = stream(41, 1500)
    written(tmp_path / "in", messages, 200)
    server = redis_server(tmp_path)
    redis = f"redis://127.0.0.1:{server.port}/0"
    cluster = SparkCluster(tmp_path / "spark")
    run = driver(cluster, tmp_path, "stream", redis)
    try:
        store = opening(partial(Redis, redis, name="cluster"), "event", token="here").open()
        wait("the first batch", lambda: counted(store, "events")["accepted"] > 0)
        cluster.workers[0].kill()
        assert counted(store, "events")["accepted"] < len(rows), "killed in the midst of it"
        run.communicate(timeout=400)
        assert run.returncode == 0, (tmp_path / "driver.log").read_text()[-2000:]
        _as_pushed(store, rows, messages, tmp_path)
    finally:
        run.kill()
        cluster.stop()
        server.stop()


def test_a_flink_task_manager_dies(flink: Flink, tmp_path: Path) -> None:
    """One of two task managers is killed in the midst of a stream; the job goes on on the other."""
    rows, messages = stream(43, 1500)
    given = opening(lmdb(tmp_path / "store"), "event", token=str(tmp_path))
    store = given.open()
    written(tmp_path / "in", messages[:900], 150)
    cluster = FlinkCluster(tmp_path / "cluster", HOME)
    stopped = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            streaming(Flink(flink.home, options=cluster.options), given, tmp_path).run(stopped)
        except BaseException as error:
            failed.append(error)

    job = threading.Thread(target=run)
    try:
        job.start()
        wait("the first segments", lambda: bool(failed) or _taken(store) > 0)
        cluster.workers[0].kill()
        written(tmp_path / "in", messages[900:], 150, "t")
        wait("the rest", lambda: bool(failed) or _taken(store) == len(rows) + len(POISON))
        stopped.set()
        job.join(200)
        assert not failed, failed
        assert not store.standing("events").streams["flink"]["open"]
        _as_pushed(store, rows, messages, tmp_path)
    finally:
        stopped.set()
        cluster.stop()
        job.join(60)


def _taken(store: Online) -> int:
    told = counted(store, "events")
    return told["accepted"] + told["quarantined"]


def _as_pushed(
    store: Online, rows: list[dict[str, Any]], messages: list[bytes], folder: Path
) -> None:
    local = online(folder / "push", FEED)
    found, _, rejected = read_json(messages, "event")
    local.push("events", found, now=NOW, ids="event", rejected=rejected)
    assert states(store) == states(local)
    assert counted(store, "events") == counted(local, "events")
    assert counted(store, "events")["accepted"] == len(rows)
