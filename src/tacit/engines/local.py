"""The embedded default: columns straight from Arrow or Parquet, expressions by DuckDB, windows by
the kernel.

The views of one source are read in one go, row group by row group, on all cores. Bare columns are
taken as they are; DuckDB computes expressions and columns of joined tables, batch by batch. So no
more of a source is in memory than the numbers of the columns that are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sqlglot import exp

from tacit.aggregates.algebra import FAMILIES, REGISTRY
from tacit.aggregates.columns import Array, Column, read
from tacit.aggregates.keys import Keys
from tacit.aggregates.memory import Memory
from tacit.aggregates.parts import THREADS, Asked, Prepared
from tacit.aggregates.rows import Rows, Writer, stored
from tacit.aggregates.windows import compute
from tacit.declare.expression import Node, parse, show
from tacit.engines.base import (
    ARROW,
    as_totals,
    check_inputs,
    check_spine,
    column_types,
    columns_read,
    leaf,
    moments_whole,
    needed,
    result_type,
    with_columns,
)
from tacit.engines.coded import encode
from tacit.engines.few import few
from tacit.engines.memory import default_budget, memory_for
from tacit.engines.scan import Piece, Scan, Source, scan, scans
from tacit.errors import EngineError
from tacit.operations import Computed, Derived, Join, Total, View
from tacit.plan.sql import DUCKDB, derived_select, row_name, view_select
from tacit.plan.stability import sensitivities
from tacit.plan.total_sql import total_select
from tacit.values import Type

_ROWS, _FEW = "0rows", "0few"  # no declared table has such names


class Local:
    """This process. Holds nothing between calls.

    Args:
        memory: the budget of a run, in bytes; None for `engines.memory.default_budget`. With less,
            rows are sorted in more passes, and columns go to files; results are the same.
    """

    name = "local"
    supports = frozenset((*REGISTRY, *FAMILIES))

    def __init__(self, memory: int | None = None) -> None:
        self.memory = default_budget() if memory is None else memory

    def features(
        self, views: Sequence[View], sources: Mapping[str, Source], spine: pa.Table
    ) -> pa.Table:
        """The signals of the spine's rows. See `engines.base.Engine`.

        A source is a table, a Parquet file, or several files that follow each other. Raises
        DataError T342 for a file that is not one, EngineError T402 when DuckDB refuses.
        """
        if not views:
            return spine
        found: dict[str, pa.Array] = {}
        opened = scans(sources)
        for view in views:
            check_spine(view, column_types(view, opened), spine)
        spine_columns = _asked(spine, views)
        at = read(spine_columns["at"])
        others = 2 * spine.nbytes + 16 * spine.num_rows * sum(len(v.windows) for v in views)
        with ThreadPoolExecutor(THREADS) as pool:
            for (source, time), group in groupby(
                sorted(views, key=lambda view: (view.source, view.time)),
                key=lambda view: (view.source, view.time),
            ):
                together = list(group)
                reading = _Reading(source, time, together, opened)
                memory = memory_for(reading.size, others, self.memory)
                prepared, keys = reading.run(pool, memory), Keys()
                for view in together:
                    rows = _rows(view, prepared)
                    names = [name for name, _ in view.keys]
                    asked = Asked([spine_columns[name] for name in names], at)
                    kinds = {window.signal: result_type(view, window) for window in view.windows}
                    found.update(compute(view, rows, asked, kinds, pool, keys, memory))
        return with_columns(spine, views, found)

    def write(
        self,
        views: Sequence[View],
        sources: Mapping[str, Source],
        spine: Source,
        target: Path,
        formulas: Sequence[Derived] = (),
        signals: Sequence[str] | None = None,
    ) -> int:
        """The same, and the formulas, from a spine that may be in Parquet, to a Parquet file; how
        many rows. See `engines.base.Computing`."""
        asked = scan(spine)
        names = asked.schema.names
        with ThreadPoolExecutor(THREADS) as pool:
            pieces = pool.map(lambda piece: list(asked.read(piece, names)), asked.pieces)
            tables = [table for piece in pieces for table in piece]
        whole = pa.concat_tables(tables or [asked.schema.empty_table()]).unify_dictionaries()
        result = self.derive(self.features(views, sources, whole), formulas)
        if signals is not None:
            result = result.select([*names, *signals])
        texts = [
            field.name
            for field in result.schema
            if pa.types.is_string(field.type) or pa.types.is_dictionary(field.type)
        ]
        # Numbers seldom repeat: looking for a dictionary would cost as much as writing them.
        pq.write_table(
            result, target, use_dictionary=texts or False, compression=_compression(result.schema)
        )
        rows: int = result.num_rows
        return rows

    def derive(self, table: pa.Table, formulas: Sequence[Derived]) -> pa.Table:
        """The formulas of every row, by DuckDB. See `engines.base.Deriving`.

        Raises EngineError T402 when DuckDB refuses.
        """
        check_inputs(table, formulas)
        if not formulas:
            return table
        inputs = {name: None for formula in formulas for name, _ in formula.inputs}
        row = row_name(inputs)
        given = moments_whole(table.select(list(inputs)))
        given = given.append_column(row, pa.array(np.arange(table.num_rows)))
        select = derived_select(formulas, "t", row).order_by(exp.column(row, quoted=True))
        with duckdb.connect(":memory:") as connection:
            connection.register("t", given)
            try:
                found = connection.sql(select.sql(DUCKDB.name)).to_arrow_table()
            except duckdb.Error as error:
                raise EngineError(
                    f"DuckDB could not compute formulas: {error}",
                    code="T402",
                    where=", ".join(formula.signal for formula in formulas),
                    fix="check that the signals fit their declarations",
                ) from error
        for formula in formulas:
            column = found[formula.signal].cast(ARROW[formula.type])
            table = table.append_column(formula.signal, column)
        return table

    def totals(self, totals: Sequence[Total], sources: Mapping[str, Source]) -> list[pa.Table]:
        """The sums of each tree, by DuckDB. See `engines.base.Totalling`.

        Raises EngineError T402 when DuckDB refuses.
        """
        opened = scans(sources)
        types = [column_types(leaf(total).view, opened) for total in totals]
        for total, kinds in zip(totals, types, strict=True):
            sensitivities(total, kinds)
        held = columns_read(leaf(total).view for total in totals)
        with duckdb.connect(":memory:") as connection, ThreadPoolExecutor(THREADS) as pool:
            # It would take what TRY guards out of the TRY, where two expressions share it.
            connection.execute("SET disabled_optimizers = 'common_subexpressions'")
            whole = {name: _whole(opened[name], sorted(held[name]), pool) for name in held}
            try:
                return [
                    _total(connection, *one, whole, pool) for one in zip(totals, types, strict=True)
                ]
            except duckdb.Error as error:
                raise EngineError(
                    f"DuckDB could not sum: {error}",
                    code="T402",
                    where=", ".join(sorted(held)),
                    fix="check that the tables fit their declarations",
                ) from error


def _total(
    connection: duckdb.DuckDBPyConnection,
    total: Total,
    types: Mapping[str, Type],
    tables: Mapping[str, pa.Table],
    pool: Executor,
) -> pa.Table:
    """One tree's sums. Keys that are only grouped by are numbers meanwhile (`engines.coded`), and
    what each person has is made few before DuckDB sums it (`engines.few`)."""
    coded = encode(total, types, tables, pool)
    rows = view_select(leaf(coded.total).view, coded.types, DUCKDB)
    for name, table in {**tables, **coded.tables}.items():
        connection.register(name, table)
    kept = few(connection, coded, rows, _ROWS, pool)
    held = None if kept is None else (kept.step, _FEW)
    if kept is not None:
        connection.register(_FEW, kept.table)
    else:
        for name, table in coded.in_full().tables.items():
            connection.register(name, table)
    select = total_select(coded.total, _ROWS, coded.types, DUCKDB, coded.hashed, held)
    if kept is None:
        prepared = exp.to_identifier(_ROWS, quoted=True)
        select = select.with_(prepared, rows, copy=False)
    found = connection.sql(select.sql(DUCKDB.name, copy=False)).to_arrow_table()
    return as_totals(total, coded.decode(found), types)


def _compression(schema: pa.Schema) -> str | dict[str, str]:
    """Floats shrink by a seventh and would take a third longer to write; the rest is worth it."""
    if any(pa.types.is_nested(field.type) for field in schema):
        return "lz4"
    return {f.name: "none" if pa.types.is_floating(f.type) else "lz4" for f in schema}


def _bare(sql: str) -> str | None:
    """The source's own column that an expression is; None for anything else."""
    tree = parse(sql).tree
    if tree.op != "column" or "." in str(tree.value):
        return None
    return str(tree.value)


class _Reading:
    """One pass over a source, for all views that share it and their time.

    Columns are known by their expression: those that two views compute are computed once.
    """

    def __init__(
        self, source: str, time: str, views: Sequence[View], tables: Mapping[str, Scan]
    ) -> None:
        self.scan = tables[source]
        self.types: dict[str, Type] = {}
        self.kinds: dict[str, Type] = {}  # of each column, by its expression
        self.ordered: set[str] = set()
        joins: dict[str, Join] = {}
        for view in views:
            self.types |= column_types(view, tables)
            joins |= {join.table: join for join in view.joins}
            for _, name in view.keys:
                self.kinds[_column(name)] = self.types[name]
            for column in view.computed:
                self.kinds[parse(column.sql).sql] = column.type
                self.ordered.add(parse(column.sql).sql)
        self.at = _column(time)
        self.kinds[self.at] = Type.TIME
        self.bare = {sql: own for sql in self.kinds if (own := _bare(sql)) is not None}
        row = "row"
        while row in self.types:
            row += "_"
        self.row = row
        rest = [Computed(row, _column(row), Type.INT)] + [
            Computed(sql, sql, kind) for sql, kind in self.kinds.items() if sql not in self.bare
        ]
        used = tuple(join for join in joins.values())
        self.rest = View("rows", source, (), time, used, tuple(rest), ())
        self.joined = {
            join.table: _whole(tables[join.table], _used(self.rest, join.table)) for join in used
        }
        # A joined column may be named only in an expression of a view that joins it.
        self.columns = sorted({name for view in views for name in needed(view) if "." not in name})

    @property
    def size(self) -> int:
        """Bytes of the columns: numbers, a byte for nulls, and the numbers of a view's keys."""
        width: int = sum(stored(kind).itemsize + 1 for kind in self.kinds.values())
        return self.scan.rows * (width + 4)

    def run(self, pool: Executor, memory: Memory) -> dict[str, Column]:
        """The columns, by their expressions."""
        rows = Rows(self.scan.rows, self.kinds, memory)
        pieces = self.scan.pieces
        lanes = [
            (rows.writer(), pieces[lane::THREADS]) for lane in range(min(THREADS, len(pieces)))
        ]
        list(pool.map(lambda lane: self._lane(*lane), lanes or [(rows.writer(), [])]))
        return rows.finish(frozenset(self.ordered), pool)

    def _lane(self, writer: Writer, pieces: Sequence[Piece]) -> None:
        """What one thread reads."""
        expressions = len(self.rest.computed) > 1
        with duckdb.connect(":memory:") as connection:
            if expressions:
                connection.execute("SET threads = 1")
                # It would take what TRY guards out of the TRY, where two expressions share it.
                connection.execute("SET disabled_optimizers = 'common_subexpressions'")
                for i, table in enumerate(self.joined.values()):
                    connection.register(f"j{i}", table)
            for piece in pieces:
                start = piece.start
                for batch in self.scan.read(piece, self.columns):
                    columns = {sql: batch[name] for sql, name in self.bare.items()}
                    if expressions:
                        columns |= self._expressions(connection, batch)
                    writer.put(start, columns)
                    start += batch.num_rows

    def _expressions(
        self, connection: duckdb.DuckDBPyConnection, batch: pa.Table
    ) -> dict[str, pa.ChunkedArray]:
        """What DuckDB computes of a batch, in its order; rows without a time are null."""
        numbered = moments_whole(batch).append_column(self.row, pa.array(np.arange(batch.num_rows)))
        select = view_select(self.rest, self.types | {self.row: Type.INT}, DUCKDB)
        for table in select.find_all(exp.Table):
            name = "t" if table.alias == "s" else table.alias
            table.set("this", exp.to_identifier(name, quoted=True))
        connection.register("t", numbered)
        try:
            found = connection.sql(select.sql(DUCKDB.name)).to_arrow_table()
        except duckdb.Error as error:
            raise EngineError(
                f"DuckDB could not prepare {self.rest.source!r}: {error}",
                code="T402",
                where=self.rest.source,
                fix="check that the tables fit their declarations",
            ) from error
        place: Array = np.full(batch.num_rows, -1, np.int64)
        place[found["c0"].to_numpy()] = np.arange(found.num_rows)
        take = pa.array(place, mask=place < 0)
        return {
            column.name: found[f"c{i}"].take(take)
            for i, column in enumerate(self.rest.computed)
            if i > 0
        }


def _column(name: str) -> str:
    """The expression that is a column."""
    return show(Node("column", (), name))


def _used(view: View, table: str) -> list[str]:
    names = (name.partition(".") for name in needed(view))
    return sorted({column for owner, dot, column in names if dot and owner == table})


def _whole(tables: Scan, columns: Sequence[str], pool: Executor | None = None) -> pa.Table:
    """These columns of a whole table."""
    read = map if pool is None else pool.map
    pieces = read(lambda piece: list(tables.read(piece, columns)), tables.pieces)
    parts = [part for piece in pieces for part in piece]
    for name in columns:  # files may hold a text by dictionary, and others of its table as it is
        kinds = {part.schema.field(name).type for part in parts}
        if len(kinds) > 1:
            parts = [_decoded(part, name) for part in parts]
    empty = pa.schema([tables.schema.field(name) for name in columns]).empty_table()
    return moments_whole(pa.concat_tables(parts) if parts else empty)


def _decoded(table: pa.Table, name: str) -> pa.Table:
    """With a column as plain values."""
    place = table.schema.get_field_index(name)
    kind = table.schema.field(place).type
    if not pa.types.is_dictionary(kind):
        return table
    return table.set_column(place, name, table.column(place).cast(kind.value_type))


def _rows(view: View, columns: Mapping[str, Column]) -> Prepared:
    return Prepared(
        [columns[_column(name)] for _, name in view.keys],
        columns[_column(view.time)],
        {column.name: columns[parse(column.sql).sql] for column in view.computed},
    )


def _asked(spine: pa.Table, views: Sequence[View]) -> dict[str, pa.ChunkedArray]:
    """The spine's times and all keys that a view names."""
    names = dict.fromkeys(["at", *(name for view in views for name, _ in view.keys)])
    table = moments_whole(spine.select(list(names)))
    return {name: table[name] for name in names}
