"""A driver on a Spark cluster, in a process of its own: Java knows one session in each.

python cluster_driver.py MASTER FOLDER batch
python cluster_driver.py MASTER FOLDER stream REDIS
"""

from __future__ import annotations

import sys
import threading
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
from live_cases import ITEMS, views
from streams_cases import NOW, opening

from tacit.engines.spark import Spark
from tacit.live.streams.messages import Messages
from tacit.live.streams.spark import Streaming
from tacit.store.online.redis import Redis
from tacit.values import SECOND


def batch(spark: Spark, folder: Path) -> None:
    """The signals of every view, of the files `events` and `spine`, into files."""
    items = folder / "items.parquet"
    pq.write_table(ITEMS, items)
    sources = {"events": folder / "events.parquet", "items": items}
    for i, view in enumerate(views()):
        found = spark.features([view], sources, pq.read_table(folder / f"spine{i}.parquet"))
        pq.write_table(found, folder / f"found{i}.parquet")


def stream(spark: Spark, folder: Path, redis: str) -> None:
    """What is in the folder `in`, a file at a time, into Redis."""
    given = opening(partial(Redis, redis, name="cluster"), "event", token=str(folder))
    messages = Messages(folder / "in", ids="event", options={"maxFilesPerTrigger": "1"})
    Streaming(
        spark, given.open(), given, messages, folder / "checkpoint", 4, SECOND, lambda: NOW
    ).run(threading.Event(), once=True)


if __name__ == "__main__":
    master, folder, what, *rest = sys.argv[1:]
    config = {
        "spark.executor.memory": "600m",
        "spark.executor.cores": "1",
        "spark.driver.host": "127.0.0.1",
        "spark.log.level": "ERROR",
        "spark.sql.shuffle.partitions": "4",
    }
    engine = Spark(master=master, buckets=4, config=config)
    if what == "batch":
        batch(engine, Path(folder))
    else:
        stream(engine, Path(folder), *rest)
    count = engine.session.sparkContext._jsc.sc().getExecutorMemoryStatus().size() - 1
    print("executors", count)
    engine.session.stop()
