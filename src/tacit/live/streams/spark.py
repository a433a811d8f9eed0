"""Spark Structured Streaming: batches of a stream, read, dealt and folded on its executors.

::

    read      each executor its messages: JSON, the contract, what is rejected      (route.read)
    once      with ids: rows dealt by id, those that were seen left out             (route.once)
    deal      a row for each view, dealt by its key in that view                    (route.deal)
    take      each shard's rows by one task: prepared, merged, folded into the
              online store, with the mark of the batch in the same change           (route.take)

Spark's checkpoint says which messages a batch has, and gives a batch that it is not sure of once
more, with its number and its messages; lanes that have it do nothing. So the checkpoint and the
store may be killed apart, and at any moment.

Executors open the store themselves: on several machines it is in Redis. They need `tacit`, as for
batch (`engines.spark`). For Kafka, Spark wants the package `spark-sql-kafka-0-10`: name it in
`[engines.spark]` as `spark.jars.packages`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tacit.engines.frames import ddl, failing
from tacit.engines.spark import Spark
from tacit.errors import StoreError, TacitError
from tacit.live.online import Online
from tacit.live.streams import route
from tacit.live.streams.lanes import Batch, begin, finish
from tacit.live.streams.messages import Messages, spark_options
from tacit.live.streams.route import Opening
from tacit.store.atomic import make_folder

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.query import StreamingQuery

STREAM = "spark"
_POLL = 1.0
_PATIENCE = 60.0


@dataclass(frozen=True)
class Streaming:
    """One source's stream into the online store.

    Attributes:
        spark: the engine.
        online: the store.
        opening: how executors open it.
        messages: where events come from.
        checkpoint: the folder of Spark's checkpoint: of this machine or of a file system that all
            see.
        shards: how many lanes there are.
        every: how often a batch begins, µs.
        clock: now, µs.
    """

    spark: Spark
    online: Online
    opening: Opening
    messages: Messages
    checkpoint: Path | str
    shards: int
    every: int
    clock: Callable[[], int]

    def run(self, stopped: threading.Event, *, once: bool = False) -> None:
        """Takes the stream until it is stopped; ``once``, what is there now.

        Raises EngineError T410 and T411 when Spark fails, T414 and T415 for a stream that does not
        fit what the store holds, StoreError for a store that cannot be written: run it again, and
        it goes on where it was.
        """
        failed: list[TacitError] = []
        if self.messages.folder is not None:
            make_folder(self.messages.folder)
        with failing():
            query = self._start(stopped, failed, once)
            try:
                while not stopped.is_set() and query.isActive:
                    query.awaitTermination(_POLL)
                end = time.monotonic() + _PATIENCE
                while query.status["isTriggerActive"] and time.monotonic() < end:
                    time.sleep(_POLL / 10)  # a batch that is whole can be followed by a baseline
                error = query.exception()
                if error is not None:
                    raise error
            except Exception:
                if not failed:
                    raise
            finally:
                query.stop()
        if failed and not stopped.is_set():
            raise failed[0]

    def _start(
        self, stopped: threading.Event, failed: list[TacitError], once: bool
    ) -> StreamingQuery:
        from pyspark.sql import functions as sql

        options = spark_options(self.messages)
        reader = self.spark.session.readStream.format(self.messages.kind("text", "kafka"))
        frame = reader.options(**options).load(*self.messages.places())
        frame = frame.select(sql.col("value").cast("binary").alias("value"))
        named, run = threading.Event(), [""]

        def each(rows: DataFrame, number: int) -> None:
            named.wait()
            try:
                self._batch(rows, run[0], number, stopped)
            except TacitError as error:
                failed.append(error)
                raise

        # A schedule of its own for each source: their batches share the executors.
        writer = frame.writeStream.foreachBatch(each).option(
            "checkpointLocation", str(self.checkpoint)
        )
        how: dict[str, Any] = {"processingTime": f"{max(self.every // 1000, 1)} milliseconds"}
        query = writer.trigger(**({"availableNow": True} if once else how)).start()
        run[0] = str(query.id)
        named.set()
        return query

    def _batch(self, rows: DataFrame, run: str, number: int, stopped: threading.Event) -> None:
        name = self.opening.feed.name
        while True:
            try:
                batch = begin(
                    self.online, name, STREAM, run, number, self.shards, self.clock()
                )  # fmt: skip
                break
            except StoreError as error:
                # Until there is a baseline, rows wait where they are; so does a busy store.
                if error.code not in ("T721", "T728") or stopped.is_set():
                    raise
                time.sleep(_POLL)
        if batch is None:
            return
        with failing():
            self._taken(rows, batch).collect()
        finish(self.online, batch, self.clock())

    def _taken(self, rows: DataFrame, batch: Batch) -> DataFrame:
        from pyspark.sql import functions as sql

        opening, shards = self.opening, self.shards
        columns = ", ".join(f"{field.name} {_ddl(field)}" for field in route.shape(opening.feed))

        def read(given: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for each in given:
                found = route.read(
                    opening, each.column(0).to_pylist(), each.column(1).to_numpy(), shards
                )
                yield from [found] if opening.ids else route.deal(opening, batch, found)

        def once(given: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for each in route.once(opening, batch, given):
                yield from route.deal(opening, batch, each)

        def take(given: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            done = list(route.take(opening, batch, given))
            yield pa.record_batch(
                {"shard": pa.array([shard for shard, _ in done], pa.int64()),
                 "new": pa.array([new for _, new in done], pa.bool_())}
            )  # fmt: skip

        # Of the same files or offsets it numbers the same, so that ties are where they were.
        numbered = rows.select("value", sql.monotonically_increasing_id())
        found = numbered.mapInArrow(read, columns)
        if opening.ids:
            found = found.repartition(shards, "shard").mapInArrow(once, columns)
        return found.repartition(shards, "shard").mapInArrow(take, "shard bigint, new boolean")


def _ddl(field: pa.Field) -> str:
    return "binary" if pa.types.is_binary(field.type) else ddl(field.type)
