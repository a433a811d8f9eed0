"""DataFrames: from Arrow tables and files, with moments as int64 µs, and Spark's errors as ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tacit.engines.base import ARROW, type_of
from tacit.engines.scan import Files, FilesScan
from tacit.errors import DataError, EngineError, TacitError
from tacit.values import Type

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType

_AS_NAMED: Mapping[str, str] = {
    "mergeSchema": "true",  # of files that were written before a column was declared
    "recursiveFileLookup": "true",  # no columns out of the names of folders
    "__globPaths__": "false",  # [, { and * in a path are letters
}
TYPES: Mapping[Type, str] = {
    Type.INT: "bigint",
    Type.TIME: "bigint",
    Type.FLOAT: "double",
    Type.TEXT: "string",
    Type.BOOL: "boolean",
    Type.VECTOR: "array<float>",
}


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
            f"Spark failed: {short(error)}",
            code="T410",
            where="spark",
            fix="check that the tables fit their declarations, and Spark's own log",
        ) from error


def short(error: Exception) -> str:
    """What went wrong, without the trace of the JVM."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = [line for line in lines if "Error" in line.partition(":")[0]]
    return (raised[-1] if raised else lines[0] if lines else type(error).__name__)[:500]


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
    return TYPES[found]


def declared(table: pa.Table) -> pa.Table:
    """Columns in the one Arrow type that their kind has; others as they are.

    Each has a chunk, be it an empty one: PySpark takes no lists without any.
    """
    columns = []
    for column in table.columns:
        kind = type_of(column.type)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", column.type.tz))
        column = column if kind is None else column.cast(ARROW[kind])
        columns.append(column if column.num_chunks else pa.array([], column.type))
    return pa.table(columns, names=table.column_names)


def quoted(name: str) -> str:
    """A column's name, whatever letters are in it."""
    return "`" + name.replace("`", "``") + "`"


def micros(frame: DataFrame, name: str) -> Any:
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


def arrow(frame: DataFrame) -> pa.Schema:
    """The columns of a DataFrame as Arrow types; what has no declared type is binary."""
    return pa.schema([(field.name, _arrow(field.dataType)) for field in frame.schema.fields])


def _arrow(kind: DataType) -> pa.DataType:
    if kind.typeName() == "array" and kind.elementType.typeName() in ("float", "double"):
        return ARROW[Type.VECTOR]
    return _ARROW_OF.get(kind.typeName(), pa.binary())


def files_frame(session: SparkSession, files: Files) -> DataFrame:
    """Files as `engines.scan.FilesScan` reads them, but for rows that do not count, which are
    left out. Raises DataError T342 for a file that is none, or that Spark passes over."""
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
        with failing():
            return session.createDataFrame(declared(files.schema.empty_table()))
    with failing():
        reader = session.read.options(**_AS_NAMED)
        plain = reader.parquet(*(f"file:{path.absolute()}" for path in files.paths))
        place = {name: f"f{i}" for i, name in enumerate(plain.columns)}
        plain = plain.toDF(*place.values())
        at = micros(plain, place[files.held.get(files.time, files.time)])
        columns = []
        for field in files.schema:
            held = place.get(files.held.get(field.name, field.name))
            value = micros(plain, held) if held else sql.lit(None).cast(ddl(field.type))
            limit = files.since.get(field.name)
            if limit is not None:
                value = sql.when(at.isNull() | (at >= limit), value)
            columns.append(value.alias(field.name))
        for name in files.required:
            plain = plain.where(sql.col(place[files.held.get(name, name)]).isNotNull())
        if files.arrived is not None:
            name, moment = files.arrived
            when = place.get(files.held.get(name, name))
            plain = plain.where(micros(plain, when) <= moment if when else sql.lit(False))
        kept = files.since.get(files.time)
        return (plain if kept is None else plain.where(at >= kept)).select(*columns)
