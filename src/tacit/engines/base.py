"""What an engine is, and what all of them share: column types, and the shape of their result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from tacit.aggregates.algebra import REGISTRY
from tacit.declare.expression import parse
from tacit.errors import DataError
from tacit.operations import Derived, Rows, Step, Total, View, Window
from tacit.plan.stability import facts_of
from tacit.values import Type

ARROW: Mapping[Type, pa.DataType] = {
    Type.INT: pa.int64(),
    Type.FLOAT: pa.float64(),
    Type.TEXT: pa.string(),
    Type.BOOL: pa.bool_(),
    Type.TIME: pa.int64(),
    Type.VECTOR: pa.list_(pa.float32()),
}


class Engine(Protocol):
    """Computes the windows of views for the rows of a spine."""

    @property
    def name(self) -> str:
        """The engine's short name, as plans print it."""

    @property
    def supports(self) -> frozenset[str]:
        """The aggregates it computes. Anything else is refused when the plan is made (T401)."""

    def features(
        self, views: Sequence[View], sources: Mapping[str, pa.Table], spine: pa.Table
    ) -> pa.Table:
        """The spine, and one column for each window of each view, in order.

        ``spine`` has the key columns that the views name and ``at``, int64 µs. Rows come out as
        they went in: as many, in the same order. Raises DataError T341 for a table or a column
        that is missing or of a type that no declaration has.
        """


class Deriving(Protocol):
    """Computes formulas over what `features` found."""

    def derive(self, table: pa.Table, formulas: Sequence[Derived]) -> pa.Table:
        """The table, and one column for each formula, in order; rows stay as they are.

        ``table`` has the columns that the formulas take in, of their types. Raises DataError T341
        for one that is missing or of another type.
        """


class Totalling(Protocol):
    """Sums bounded rows over everybody, for private answers."""

    def totals(self, totals: Sequence[Total], sources: Mapping[str, Any]) -> list[pa.Table]:
        """Of each tree a table: the columns `by`, in the types of the rows, and the sums, int64.

        A row for each value of `by` that occurs, in no order; one row where there is no `by`. They
        are exact sums, alike in every engine, and **not private**: noise is still to come. Raises
        PrivacyError T870 to T872 for a tree of which one person's part has no bound: it is not run.
        """


class Computing(Engine, Deriving, Totalling, Protocol):
    """What computes signals and formulas, and bounded totals, as the cloud's engine does."""

    def write(
        self,
        views: Sequence[View],
        sources: Mapping[str, Any],
        spine: Any,
        target: Path,
        formulas: Sequence[Derived] = (),
        without: Sequence[str] = (),
    ) -> int:
        """What `features` and `derive` give, as Parquet, without some signals; how many rows.

        ``spine`` is a table, a Parquet file, or several.
        """


def check_inputs(table: pa.Table, formulas: Sequence[Derived]) -> None:
    """Raises DataError T341 unless the table has what the formulas take in, of their types."""
    for formula in formulas:
        for name, kind in formula.inputs:
            found = checked_type({"signals": table}, "signals", name)
            if found is not kind and {found, kind} != {Type.INT, Type.TIME}:
                raise DataError(
                    f"the column {name!r} is {found}, not {kind}",
                    code="T341",
                    where=f"the inputs of {formula.signal!r}",
                    fix=f"give it as {ARROW[kind]}",
                )


def leaf(total: Total) -> Rows:
    """The rows that a total is over."""
    step: Step = total.below
    while not isinstance(step, Rows):
        step = step.below
    return step


def as_totals(total: Total, table: pa.Table, types: Mapping[str, Type]) -> pa.Table:
    """What an engine found, in the types that are promised."""
    kinds = facts_of(total.below, types).types
    return pa.table(
        [
            table.column(i).cast(ARROW[kinds[name]])
            for i, name in enumerate((*total.by, *total.sums))
        ],
        names=[*total.by, *total.sums],
    )


def type_of(arrow: pa.DataType) -> Type | None:
    """The declared type that an Arrow type carries; None when there is none."""
    if pa.types.is_dictionary(arrow):
        return type_of(arrow.value_type)
    if pa.types.is_integer(arrow) or pa.types.is_timestamp(arrow):
        return Type.TIME if pa.types.is_timestamp(arrow) else Type.INT
    if pa.types.is_floating(arrow):
        return Type.FLOAT
    if pa.types.is_string(arrow) or pa.types.is_large_string(arrow):
        return Type.TEXT
    if pa.types.is_string_view(arrow):
        return Type.TEXT
    if (
        pa.types.is_list(arrow)
        or pa.types.is_large_list(arrow)
        or pa.types.is_fixed_size_list(arrow)
    ):
        return Type.VECTOR if pa.types.is_floating(arrow.value_type) else None
    return Type.BOOL if pa.types.is_boolean(arrow) else None


def needed(view: View) -> frozenset[str]:
    """The columns that a view reads: those of its source plain, those of its joins dotted."""
    names = {view.time} | {source for _, source in view.keys} | {join.left for join in view.joins}
    names |= {f"{join.table}.{join.right}" for join in view.joins}
    return frozenset(names.union(*(parse(column.sql).columns for column in view.computed)))


class Tabular(Protocol):
    """What has named, typed columns: an Arrow table, or an open Parquet file."""

    @property
    def schema(self) -> pa.Schema:
        """Its columns' names and Arrow types."""


def column_types(view: View, tables: Mapping[str, Tabular]) -> dict[str, Type]:
    """The types of the columns that the view reads. Raises DataError T341."""
    types = {}
    for name in sorted(needed(view)):
        table, dot, column = name.partition(".")
        table, column = (table, column) if dot else (view.source, name)
        types[name] = checked_type(tables, table, column)
    return types


def checked_type(tables: Mapping[str, Tabular], table: str, column: str) -> Type:
    """The type of a table's column. Raises DataError T341 when there is none."""
    if table not in tables:
        raise DataError(
            f"there is no table {table!r}", code="T341", fix="give it among the sources"
        )
    schema = tables[table].schema
    found = schema.get_all_field_indices(column)
    kind = type_of(schema.field(found[0]).type) if len(found) == 1 else None
    if kind is None:
        why = f"of Arrow type {schema.field(found[0]).type}" if found else "missing"
        raise DataError(
            f"the column {column!r} is {why}",
            code="T341",
            where=f"table {table!r}",
            fix="give it once, as int64, float64, string, bool, a timestamp or lists of floats",
        )
    return kind


def check_spine(view: View, types: Mapping[str, Type], spine: pa.Table) -> None:
    """Raises DataError T341 unless the spine has the view's keys, of their types, and ``at``."""
    assert not any(window.ahead for window in view.windows), "engines compute what is past"
    wanted = {name: types[source] for name, source in view.keys} | {"at": Type.TIME}
    for name, kind in wanted.items():
        found = checked_type({"spine": spine}, "spine", name)
        if found is not kind and {found, kind} != {Type.INT, Type.TIME}:
            raise DataError(
                f"the column {name!r} is {found}, not {kind}",
                code="T341",
                where="table 'spine'",
                fix=f"give it as {ARROW[kind]}, the type of the source's column",
            )


def result_type(view: View, window: Window) -> pa.DataType:
    """The Arrow type of a signal: its aggregate's, or a list of it; with ``by``, a map to that."""
    value = None if window.value is None else view.column(window.value).type
    aggregate = REGISTRY[window.aggregate]
    result = ARROW[aggregate.result(value)]
    if aggregate.many:
        result = pa.list_(result)
    if window.by is None:
        return result
    return pa.map_(ARROW[view.column(window.by).type], result)


def with_columns(
    spine: pa.Table, views: Sequence[View], found: Mapping[str, pa.Array | pa.ChunkedArray]
) -> pa.Table:
    """The spine and every signal, each of its type: rows out are rows in."""
    names, columns = list(spine.column_names), list(spine.columns)
    for view in views:
        for window in view.windows:
            column = found[window.signal]
            assert len(column) == spine.num_rows, "rows out are rows in"
            assert column.type == result_type(view, window), "results have their declared type"
            names.append(window.signal)
            columns.append(column)
    return pa.table(columns, names=names)
