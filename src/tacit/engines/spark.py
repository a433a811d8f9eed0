"""Batch past one machine: Spark prepares and shuffles rows, Tacit's kernel computes the windows.

Spark does what it is for: it scans, joins content, computes expressions (the tree of
``plan.sql.view_select`` in its dialect), and brings the rows and the spine of a key together. Keys
are dealt into buckets by their hash, a key whole in its bucket; an executor answers a bucket with
``aggregates.windows``, as the local engine does, over Arrow (`engines.bucket`). So results do not
hang on Spark's window functions, skew costs no more than a sort, and an executor holds one bucket
at a time. The spine goes from one shuffle to the next and gathers its signals.

Executors need `tacit` with its dependencies. On a cluster, either install it in the Python that
`PYSPARK_PYTHON` names on every node, or pack a virtual environment (`venv-pack`) and pass it by
`spark.archives`; `--py-files` suffices where pyarrow, numba and numpy are installed already. Spark
4.1 or later, on Java 17 or later.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
from sqlglot import exp

from tacit.aggregates.algebra import FAMILIES, REGISTRY
from tacit.engines.base import (
    as_totals,
    check_spine,
    column_types,
    columns_read,
    leaf,
    result_type,
    with_columns,
)
from tacit.engines.bucket import Shuffle, answer, shuffles
from tacit.engines.frames import (
    TYPES,
    arrow,
    ddl,
    declared,
    failing,
    files_frame,
    micros,
    quoted,
    short,
)
from tacit.engines.scan import Files, ParquetScan
from tacit.errors import EngineError
from tacit.operations import Derived, Total, View
from tacit.plan.sql import SPARK, view_select
from tacit.plan.stability import sensitivities
from tacit.plan.total_sql import total_select
from tacit.values import Type

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Frame: TypeAlias = "DataFrame | pa.Table | str | Path | Sequence[Path] | Files"
"""A DataFrame, an Arrow table, a place that Spark reads Parquet from, or several files.

Executors open files by the path that they have here: on a cluster, where all nodes see them.
"""

DEFAULTS: Mapping[str, str] = {
    "spark.sql.caseSensitive": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.inferTimestampNTZ.enabled": "false",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
"""What a session of our own is started with; any of it may be set otherwise."""

_ROWS = "0rows"  # no column has such a name
_BUCKET = 48 << 20  # bytes of a bucket, as Spark estimates them: a million rows or two


@dataclass(frozen=True, slots=True)
class _Held:
    """A source: its rows, and its columns as Arrow types (see `engines.base.Tabular`)."""

    schema: pa.Schema
    frame: DataFrame


class Spark:
    """A Spark session, given or made on first use. Holds nothing else between calls."""

    name = "spark"
    supports = frozenset((*REGISTRY, *FAMILIES))

    def __init__(
        self,
        session: SparkSession | None = None,
        *,
        master: str = "local[*]",
        buckets: int | None = None,
        config: Mapping[str, str] | None = None,
    ) -> None:
        """``buckets``: into how many the keys are dealt; left out, by the size of the source.

        ``master`` and ``config`` (`spark.executor.memory`, …) are for a session of our own.
        """
        self._given = session
        self.master = master
        self.buckets = buckets
        self.config = {**DEFAULTS, **(config or {})}

    @classmethod
    def configured(cls, options: Mapping[str, Any]) -> Spark:
        """From `[engines.spark]` of `tacit.toml`: ``master``, ``buckets``, and any ``spark.*``.

        Raises EngineError T412 for anything else.
        """
        flat = dict(_flat("", options))
        master, buckets = flat.pop("master", "local[*]"), flat.pop("buckets", None)
        wrong = [name for name in flat if not name.startswith("spark.")]
        if not isinstance(master, str):
            wrong.append("master")
        if buckets is not None and (type(buckets) is not int or buckets < 1):
            wrong.append("buckets")
        if wrong:
            raise EngineError(
                f"the setting {wrong[0]!r} of [engines.spark] is wrong",
                code="T412",
                where="tacit.toml",
                fix='write master = "…", buckets = a count, and settings of Spark as spark.… = "…"',
            )
        return cls(master=master, buckets=buckets, config={k: _text(v) for k, v in flat.items()})

    @cached_property
    def session(self) -> SparkSession:
        """The session. Raises EngineError T411 where Spark cannot start."""
        if self._given is not None:
            return self._given
        try:
            from pyspark.sql import SparkSession

            builder = SparkSession.builder.appName("tacit").master(self.master)
            for name, value in self.config.items():
                builder = builder.config(name, value)
            session = builder.getOrCreate()
            if self.master.startswith("local") and "PYSPARK_PYTHON" not in os.environ:
                session.sparkContext.pythonExec = sys.executable  # else whatever python3 is
            return session
        except Exception as error:  # a missing package, Java, port or cluster: all say so in text
            raise EngineError(
                f"Spark does not start: {short(error)}",
                code="T411",
                where=self.master,
                fix='install "tacit[spark]" and Java 17 or later, or name a cluster that runs',
            ) from error

    def derive(self, table: pa.Table, formulas: Sequence[Derived]) -> pa.Table:
        """The formulas of every row of a result, by the local engine: it lies on this machine."""
        from tacit.engines.local import Local

        return Local().derive(table, formulas)

    def features(
        self, views: Sequence[View], sources: Mapping[str, Frame], spine: pa.Table
    ) -> pa.Table:
        """The signals of the spine's rows, in its order. See `engines.base.Engine`.

        Raises DataError T342 for files that are none, EngineError T410 when Spark fails.
        """
        held = self._held(views, sources, spine)
        with failing():
            keys = {f"k{i}": spine[name] for i, name in enumerate(_spine_keys(views))}
            asked = {"row": pa.array(np.arange(spine.num_rows)), **keys}
            asked |= {"at": spine["at"]} if views else {}
            frame = self.session.createDataFrame(declared(pa.table(asked)))
            found = self._answer(views, held, frame)
            signals = [name for name in found.columns if name.startswith("g")]
            result = found.select("row", *signals).toArrow()
        back = np.argsort(result["row"].to_numpy(), kind="stable")
        if not np.array_equal(result["row"].to_numpy()[back], np.arange(spine.num_rows)):
            raise EngineError(
                f"Spark returned {result.num_rows} rows for a spine of {spine.num_rows}",
                code="T410",
                where="spine",
                fix="look for tasks that failed in Spark's log, and run it again",
            )
        windows = [(view, window) for view in views for window in view.windows]
        columns = {
            window.signal: result[f"g{i}"]
            .combine_chunks()
            .cast(result_type(view, window))
            .take(pa.array(back))
            for i, (view, window) in enumerate(windows)
        }
        return with_columns(spine, views, columns)

    def signals(
        self, views: Sequence[View], sources: Mapping[str, Frame], spine: Frame
    ) -> DataFrame:
        """The spine with its signals, as a DataFrame that has not run yet; its rows in no order.

        Raises DataError T341 and T342 at once, EngineError T410 when Spark refuses.
        """
        found, names = self._joined(views, sources, spine)
        return found.drop("file", "row").toDF(*names)

    def write(
        self,
        views: Sequence[View],
        sources: Mapping[str, Frame],
        spine: Frame,
        target: Path | str,
        formulas: Sequence[Derived] = (),
        signals: Sequence[str] | None = None,
    ) -> int:
        """The same, and the formulas, to a folder of Parquet files; returns how many rows.

        The files, by their names, hold the spine's rows in their order: of Parquet files by the
        path of the file and the place in it, of a DataFrame as Spark computes it. ``signals`` are
        those that are written, in their order; left out, all.
        """
        with failing():
            found, names = self._joined(views, sources, spine)
            ordered = found.orderBy("file", "row").drop("file", "row").toDF(*names)
            ordered = _derived(ordered, formulas)
            if signals is not None:
                spine_columns = names[: len(names) - sum(len(v.windows) for v in views)]
                ordered = ordered.select(*map(quoted, (*spine_columns, *signals)))
            ordered.write.mode("overwrite").parquet(str(target))
            return int(self.session.read.parquet(str(target)).count())

    def totals(self, totals: Sequence[Total], sources: Mapping[str, Frame]) -> list[pa.Table]:
        """The sums of each tree. See `engines.base.Totalling`. Executors do all the work."""
        found = []
        for total in totals:
            view = leaf(total).view
            held = self._held([view], sources, None)
            types = column_types(view, held)
            sensitivities(total, types)
            with failing():
                rows = self._rows(view, types, held)
                select = total_select(total, _ROWS, types, SPARK).sql(SPARK.name)
                text = select.replace("{", "{{").replace("}", "}}").replace(f"`{_ROWS}`", "{rows}")
                table = self.session.sql(text, rows=rows).toArrow()
                found.append(as_totals(total, table, types))
        return found

    # ------------------------------------------------------------------ what runs on the driver

    def _joined(
        self, views: Sequence[View], sources: Mapping[str, Frame], spine: Frame
    ) -> tuple[DataFrame, list[str]]:
        """The spine's columns, their ``file`` and ``row``, and the signals; the final names."""
        frame = self._frame(spine)
        held = self._held(views, sources, arrow(frame).empty_table())
        with failing():
            names, keys = frame.columns, _spine_keys(views)
            place = {name: f"s{i}" for i, name in enumerate(names)}
            plain = _numbered(frame, isinstance(spine, str | Path | Sequence)).toDF(
                *place.values(), "file", "row"
            )
            asked = [micros(plain, place[name]).alias(f"k{i}") for i, name in enumerate(keys)]
            asked += [micros(plain, place["at"]).alias("at")] if views else []
            found = self._answer(views, held, plain.select("*", *asked))
            signals = [window.signal for view in views for window in view.windows]
            return found.drop("at", *(f"k{i}" for i in range(len(keys)))), [*names, *signals]

    def _held(
        self,
        views: Sequence[View],
        sources: Mapping[str, Frame],
        spine: pa.Table | None,
    ) -> dict[str, _Held]:
        """The sources that the views read. Raises DataError T341 where they or the spine lack."""
        used = columns_read(views)
        frames = {
            name: self._frame(sources[name])
            for name in used
            if name in sources and not isinstance(sources[name], pa.Table)
        }
        shapes: dict[str, Any] = {name: sources[name] for name in used if name in sources}
        shapes |= {name: _Held(arrow(frame), frame) for name, frame in frames.items()}
        for view in views if spine is not None else ():
            check_spine(view, column_types(view, shapes), spine)
        with failing():
            for name in used.keys() - frames.keys():
                table = shapes[name].select(sorted(used[name]))
                frames[name] = self.session.createDataFrame(declared(table))
        return {name: _Held(shapes[name].schema, frame) for name, frame in frames.items()}

    def _frame(self, source: Frame) -> DataFrame:
        """A source as a DataFrame."""
        if isinstance(source, pa.Table):
            with failing():
                return self.session.createDataFrame(declared(source))
        if isinstance(source, Files):
            return files_frame(self.session, source)
        if not isinstance(source, str | Path | Sequence):
            return source
        paths = [source] if isinstance(source, str | Path) else list(source)
        files = [path for path in paths if isinstance(path, Path) and not path.is_dir()]
        if files or not paths:
            ParquetScan(files)  # Spark would take a guess at files that are none, or that differ
        with failing():
            named = str(not all(isinstance(path, Path) for path in paths)).lower()
            reader = self.session.read.options(mergeSchema="true", __globPaths__=named)
            return reader.parquet(*(str(path) for path in paths))

    def _answer(
        self, views: Sequence[View], held: Mapping[str, _Held], spine: DataFrame
    ) -> DataFrame:
        """The spine's columns (``row``, ``k…``, ``at`` among them), and ``g0, g1, …``."""
        keys = _spine_keys(views)
        for shuffle in shuffles(views, lambda view: column_types(view, held)):
            events = self._prepared(shuffle, held)
            buckets = self.buckets or self._buckets(events)
            spine = _cogrouped(shuffle, events, spine, keys, buckets)
        return spine

    def _prepared(self, shuffle: Shuffle, held: Mapping[str, _Held]) -> DataFrame:
        """The prepared rows: ``k…`` (the shared keys), ``at``, ``c…``; see `plan.sql`.

        Columns are taken by position: Spark may fold the case of names, and parses dots in them.
        """
        types: dict[str, Type] = {}
        for one in shuffle.views:
            types |= column_types(one, held)
        return self._rows(shuffle.rows, types, held)

    def _rows(self, view: View, types: Mapping[str, Type], held: Mapping[str, _Held]) -> DataFrame:
        """The rows of `plan.sql.view_select`."""
        from pyspark.sql import functions as sql

        select = view_select(view, types, SPARK)
        frames: dict[str, DataFrame] = {}
        places: dict[tuple[str, str], str] = {}
        tables = [(view.source, "s"), *((join.table, f"j{i}") for i, join in enumerate(view.joins))]
        for table, alias in tables:
            frame = held[table].frame
            places |= {(alias, name): f"{alias}_{i}" for i, name in enumerate(frame.columns)}
            plain = frame.toDF(*(f"{alias}_{i}" for i in range(len(frame.columns))))
            wanted = {c.name for c in select.find_all(exp.Column) if c.table == alias}
            chosen = [places[alias, name] for name in sorted(wanted)]
            frames[alias] = plain.select(*(micros(plain, name).alias(name) for name in chosen))
        for column in list(select.find_all(exp.Column)):
            name = places[column.table, column.name]
            column.replace(exp.column(exp.to_identifier(name, quoted=True)))
        found = frames["s"]
        for i, join in enumerate(select.args.get("joins") or []):
            found = found.join(frames[f"j{i}"], sql.expr(join.args["on"].sql("spark")), "left")
        found = found.where(sql.expr(select.args["where"].this.sql("spark")))
        return found.select(
            *(sql.expr(e.this.sql("spark")).alias(e.alias) for e in select.expressions)
        )

    def _buckets(self, events: DataFrame) -> int:
        """By Spark's own estimate of the size; some for each core, so that none waits for long."""
        least = 2 * int(self.session.sparkContext.defaultParallelism)
        try:
            size = int(str(events._jdf.queryExecution().optimizedPlan().stats().sizeInBytes()))
        except AttributeError:  # a session of Spark Connect does not tell
            return max(least, 200)
        return max(least, min(size // _BUCKET, 1 << 16))


def _cogrouped(
    shuffle: Shuffle, events: DataFrame, spine: DataFrame, keys: Sequence[str], buckets: int
) -> DataFrame:
    """The spine with the signals of these views."""
    from pyspark.sql import functions as sql

    shared = [f"k{keys.index(name)}" for name, _ in shuffle.rows.keys]
    own = [f"k{i}" for i in range(len(shared))]
    hashed = f"CAST(pmod(xxhash64({', '.join(shared)}), {buckets}) AS INT)"
    absent = " OR ".join(f"{name} IS NULL" for name in shared)
    # Rows without a key have no events: they are dealt round, not heaped upon one bucket.
    dealt = f"CASE WHEN {absent} THEN CAST(pmod(row, {buckets}) AS INT) ELSE {hashed} END"
    left = spine.withColumn("bucket", sql.expr(dealt)).repartition(buckets, "bucket")
    hashed = f"CAST(pmod(xxhash64({', '.join(own)}), {buckets}) AS INT)"
    right = events.withColumn("bucket", sql.expr(hashed)).drop(*own).repartition(buckets, "bucket")
    result = ", ".join(
        f"{window.signal} {ddl(result_type(view, window))}"
        for view in shuffle.views
        for window in view.windows
    )

    def run(asked: pa.Table, rows: pa.Table) -> pa.Table:
        return answer(shuffle, keys, asked, rows)

    from pyspark.sql.types import StructType

    fields = [*spine.schema.fields, *(StructType.fromDDL(result).fields if result else [])]
    grouped = left.groupBy("bucket").cogroup(right.groupBy("bucket"))
    return grouped.applyInArrow(run, StructType(fields))


def _derived(frame: DataFrame, formulas: Sequence[Derived]) -> DataFrame:
    """With the formulas of every row, which the local engine computes on the executors."""
    from pyspark.sql.types import StructType

    if not formulas:
        return frame

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from tacit.engines.local import Local

        for batch in batches:
            found = Local().derive(pa.Table.from_batches([batch]), formulas)
            yield from found.combine_chunks().to_batches()

    new = ", ".join(f"{formula.signal} {TYPES[formula.type]}" for formula in formulas)
    fields = [*frame.schema.fields, *StructType.fromDDL(new).fields]
    return frame.mapInArrow(run, StructType(fields))


def _flat(prefix: str, options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """`spark.executor.memory = "8g"` is a table of tables to TOML."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield prefix + name, value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _numbered(frame: DataFrame, filed: bool) -> DataFrame:
    """With two columns more, that tell the order of the rows. Spark reads large files first."""
    from pyspark.sql import functions as sql

    if filed:
        return frame.select("*", "_metadata.file_path", "_metadata.row_index")
    return frame.select("*", sql.lit(""), sql.monotonically_increasing_id())


def _spine_keys(views: Sequence[View]) -> list[str]:
    """The spine's key columns, each once."""
    return list(dict.fromkeys(name for view in views for name, _ in view.keys))
