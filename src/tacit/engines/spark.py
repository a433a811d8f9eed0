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
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
from sqlglot import exp

from tacit.aggregates.algebra import FAMILIES, REGISTRY
from tacit.engines.base import (
    ARROW,
    check_spine,
    column_types,
    needed,
    result_type,
    type_of,
    with_columns,
)
from tacit.engines.bucket import Shuffle, answer, shuffles
from tacit.engines.scan import Files, FilesScan, ParquetScan
from tacit.errors import DataError, EngineError, TacitError
from tacit.operations import Derived, View
from tacit.plan.place import VECTORS
from tacit.plan.sql import SPARK, view_select
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

_AS_NAMED: Mapping[str, str] = {
    "mergeSchema": "true",  # of files that were written before a column was declared
    "recursiveFileLookup": "true",  # no columns out of the names of folders
    "__globPaths__": "false",  # [, { and * in a path are letters
}
_BUCKET = 48 << 20  # bytes of a bucket, as Spark estimates them: a million rows or two
_TYPES: Mapping[Type, str] = {
    Type.INT: "bigint",
    Type.TIME: "bigint",
    Type.FLOAT: "double",
    Type.TEXT: "string",
    Type.BOOL: "boolean",
}


@dataclass(frozen=True, slots=True)
class _Held:
    """A source: its rows, and its columns as Arrow types (see `engines.base.Tabular`)."""

    schema: pa.Schema
    frame: DataFrame


class Spark:
    """A Spark session, given or made on first use. Holds nothing else between calls."""

    name = "spark"
    supports = frozenset((*REGISTRY, *FAMILIES)) - VECTORS

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
                f"Spark does not start: {_short(error)}",
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
            frame = self.session.createDataFrame(_declared(pa.table(asked)))
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
        without: Sequence[str] = (),
    ) -> int:
        """The same, and the formulas, to a folder of Parquet files; returns how many rows.

        The files, by their names, hold the spine's rows in their order: of Parquet files by the
        path of the file and the place in it, of a DataFrame as Spark computes it. The signals
        ``without`` which it is to be written are left out, as those that only formulas take in.
        """
        with failing():
            found, names = self._joined(views, sources, spine)
            ordered = found.orderBy("file", "row").drop("file", "row").toDF(*names)
            ordered = _derived(ordered, formulas).drop(*without)
            ordered.write.mode("overwrite").parquet(str(target))
            return int(self.session.read.parquet(str(target)).count())

    # ------------------------------------------------------------------ what runs on the driver

    def _joined(
        self, views: Sequence[View], sources: Mapping[str, Frame], spine: Frame
    ) -> tuple[DataFrame, list[str]]:
        """The spine's columns, their ``file`` and ``row``, and the signals; the final names."""
        frame = self._frame(spine)
        held = self._held(views, sources, _arrow(frame).empty_table())
        with failing():
            names, keys = frame.columns, _spine_keys(views)
            place = {name: f"s{i}" for i, name in enumerate(names)}
            plain = _numbered(frame, isinstance(spine, str | Path | Sequence)).toDF(
                *place.values(), "file", "row"
            )
            asked = [_micros(plain, place[name]).alias(f"k{i}") for i, name in enumerate(keys)]
            asked += [_micros(plain, place["at"]).alias("at")] if views else []
            found = self._answer(views, held, plain.select("*", *asked))
            signals = [window.signal for view in views for window in view.windows]
            return found.drop("at", *(f"k{i}" for i in range(len(keys)))), [*names, *signals]

    def _held(
        self, views: Sequence[View], sources: Mapping[str, Frame], spine: pa.Table
    ) -> dict[str, _Held]:
        """The sources that the views read. Raises DataError T341 where they or the spine lack."""
        used: dict[str, set[str]] = {}
        for view in views:
            for name in needed(view):
                table, dot, column = name.partition(".")
                used.setdefault(table if dot else view.source, set()).add(column if dot else name)
        frames = {
            name: self._frame(sources[name])
            for name in used
            if name in sources and not isinstance(sources[name], pa.Table)
        }
        shapes: dict[str, Any] = {name: sources[name] for name in used if name in sources}
        shapes |= {name: _Held(_arrow(frame), frame) for name, frame in frames.items()}
        for view in views:
            check_spine(view, column_types(view, shapes), spine)
        with failing():
            for name in used.keys() - frames.keys():
                table = shapes[name].select(sorted(used[name]))
                frames[name] = self.session.createDataFrame(_declared(table))
        return {name: _Held(shapes[name].schema, frame) for name, frame in frames.items()}

    def _frame(self, source: Frame) -> DataFrame:
        """A source as a DataFrame."""
        if isinstance(source, pa.Table):
            with failing():
                return self.session.createDataFrame(_declared(source))
        if isinstance(source, Files):
            return self._files(source)
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

    def _files(self, files: Files) -> DataFrame:
        """Files as `engines.scan.FilesScan` reads them, but for rows past their retention, which
        are left out. Raises DataError T342 for a file that is none, or that Spark passes over."""
        from pyspark.sql import functions as sql

        FilesScan(files)
        hidden = [str(path) for path in files.paths if path.name.startswith(("_", "."))]
        if hidden:
            raise DataError(
                "Spark passes over files of such names",
                code="T342",
                where=", ".join(hidden[:3]),
                fix="give them names that begin with neither _ nor a dot",
            )
        if not files.paths:
            return self._frame(files.schema.empty_table())
        with failing():
            reader = self.session.read.options(**_AS_NAMED)
            plain = reader.parquet(*(f"file:{path.absolute()}" for path in files.paths))
            place = {name: f"f{i}" for i, name in enumerate(plain.columns)}
            plain = plain.toDF(*place.values())
            at = _micros(plain, place[files.held.get(files.time, files.time)])
            columns = []
            for field in files.schema:
                held = place.get(files.held.get(field.name, field.name))
                value = _micros(plain, held) if held else sql.lit(None).cast(ddl(field.type))
                limit = files.since.get(field.name)
                if limit is not None:
                    value = sql.when(at.isNull() | (at >= limit), value)
                columns.append(value.alias(field.name))
            kept = files.since.get(files.time)
            return (plain if kept is None else plain.where(at >= kept)).select(*columns)

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
        from pyspark.sql import functions as sql

        view = shuffle.rows
        types: dict[str, Type] = {}
        for one in shuffle.views:
            types |= column_types(one, held)
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
            frames[alias] = plain.select(*(_micros(plain, name).alias(name) for name in chosen))
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

    new = ", ".join(f"{formula.signal} {_TYPES[formula.type]}" for formula in formulas)
    fields = [*frame.schema.fields, *StructType.fromDDL(new).fields]
    return frame.mapInArrow(run, StructType(fields))


@contextmanager
def failing() -> Iterator[None]:
    """What Spark raises, as EngineError T410."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except TacitError:
        raise
    except (PySparkException, Py4JError) as error:
        raise EngineError(
            f"Spark failed: {_short(error)}",
            code="T410",
            where="spark",
            fix="check that the tables fit their declarations, and Spark's own log",
        ) from error


def _short(error: Exception) -> str:
    """What went wrong, without the trace of the JVM."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = [line for line in lines if "Error" in line.partition(":")[0]]
    return (raised[-1] if raised else lines[0] if lines else type(error).__name__)[:500]


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


def ddl(kind: pa.DataType) -> str:
    """A result's type, as Spark writes it."""
    if pa.types.is_map(kind):
        return f"map<{ddl(kind.key_type)}, {ddl(kind.item_type)}>"
    if pa.types.is_list(kind):
        return f"array<{ddl(kind.value_type)}>"
    if pa.types.is_float32(kind):  # an element of a vector
        return "float"
    found = type_of(kind)
    assert found is not None, "results have declared types"
    return _TYPES[found]


def _declared(table: pa.Table) -> pa.Table:
    """Columns in the one Arrow type that their kind has; others as they are."""
    columns = []
    for column in table.columns:
        kind = type_of(column.type)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", column.type.tz))
        columns.append(column if kind is None else column.cast(ARROW[kind]))
    return pa.table(columns, names=table.column_names)


def _micros(frame: DataFrame, name: str) -> Any:
    """A column; a moment as int64 µs. One without a zone is read as UTC, as everywhere."""
    from pyspark.sql import functions as sql

    kind = frame.schema[name].dataType.typeName()
    if kind == "timestamp":
        return sql.unix_micros(name)
    if kind == "timestamp_ntz":
        epoch = "TIMESTAMP_NTZ '1970-01-01 00:00:00'"
        return sql.expr(f"timestampdiff(MICROSECOND, {epoch}, {name})")
    return sql.col(name)


_ARROW_OF: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("byte", "short", "integer", "long"), pa.int64()),
    **dict.fromkeys(("float", "double"), pa.float64()),
    **dict.fromkeys(("string", "char", "varchar"), pa.string()),
    **dict.fromkeys(("timestamp", "timestamp_ntz"), pa.timestamp("us", "UTC")),
    "boolean": pa.bool_(),
}


def _arrow(frame: DataFrame) -> pa.Schema:
    """The columns of a DataFrame as Arrow types; what has no declared type is binary."""
    return pa.schema(
        [
            (field.name, _ARROW_OF.get(field.dataType.typeName(), pa.binary()))
            for field in frame.schema.fields
        ]
    )
