"""Keys as numbers while rows are grouped: each distinct text is hashed once, not once a row.

A column of the source that serves only as the person's key or to group by is replaced by h of its
values (see `plan.total_sql`), 60 bits of their salted hash: what the tree would compute of it
anyway. Grouping by h is grouping by the value as long as no two values share one, which is looked
at; where two do, the column stays as it is. Results hold the values again, and are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tacit.declare.expression import Node, parse
from tacit.engines.base import leaf
from tacit.engines.digest import hashed
from tacit.operations import (
    Clamp,
    Define,
    Grid,
    LimitGroups,
    LimitRows,
    PerPerson,
    Rows,
    Shrink,
    Step,
    Total,
    Where,
)
from tacit.values import Type


@dataclass(frozen=True, slots=True)
class Coded:
    """A tree, and its tables with hashes in place of keys.

    `tables` are those that differ, `types` the types of all columns now, `hashed` the columns of
    the tree that hold hashes, `values` what they stand for, by their place in the result. `keys`
    are the columns of `source` that do, with the distinct hashes: as long as they are not empty,
    its table holds the places among these in their stead.
    """

    total: Total
    tables: Mapping[str, pa.Table]
    types: Mapping[str, Type]
    hashed: frozenset[str]
    values: Mapping[int, tuple[pa.Array, pa.Array]]  # distinct hashes, and their values
    source: str = ""
    keys: Mapping[str, tuple[str, pa.Array]] = field(default_factory=dict)

    def in_full(self) -> Coded:
        """With the hashes themselves in the table."""
        if not self.keys:
            return self
        table = self.tables[self.source]
        for column, hashes in self.keys.values():
            place = table.column_names.index(column)
            table = table.set_column(place, column, hashes.take(table.column(column)))
        return replace(self, tables={self.source: table}, keys={})

    def decode(self, found: pa.Table) -> pa.Table:
        """A result with the values in the place of their hashes."""
        for place, (hashes, values) in self.values.items():
            at = pc.index_in(found.column(place), hashes)  # null for null
            found = found.set_column(place, found.field(place).name, values.take(at))
        return found


def encode(
    total: Total,
    types: Mapping[str, Type],
    tables: Mapping[str, pa.Table],
    pool: Executor,
) -> Coded:
    """The tables with hashes in place of keys, where that changes nothing."""
    view = leaf(total).view
    table, kinds = tables[view.source], dict(types)
    salts = {s.salt for s in _steps(total) if isinstance(s, LimitGroups | LimitRows)}
    keys: dict[str, tuple[str, pa.Array]] = {}
    values = {}
    grouping = list(_grouping(total, types)) if len(salts) == 1 else []
    asked = [pool.submit(numbered, table[of], min(salts)) for _, of in grouping]
    for (name, column), each in zip(grouping, asked, strict=True):
        found = each.result()
        if found is None:
            continue
        codes, texts, made = found
        table = table.set_column(table.column_names.index(column), column, codes)
        kinds[column] = Type.INT
        keys[name] = column, pa.array(made)
        if name in total.by:
            values[total.by.index(name)] = keys[name][1], texts
    changed = {view.source: table} if keys else {}
    whole = tuple(
        replace(each, type=Type.INT) if each.name in keys else each for each in view.computed
    )
    rows = replace(leaf(total), view=replace(view, computed=whole))
    coded = replace(total, below=_over(rows, total.below))
    return Coded(coded, changed, kinds, frozenset(keys), values, view.source, keys)


def _over(rows: Rows, step: Step) -> Step:
    """The step over other rows."""
    return rows if isinstance(step, Rows) else replace(step, below=_over(rows, step.below))


def numbered(
    column: pa.ChunkedArray, salt: str
) -> tuple[pa.ChunkedArray, pa.Array, npt.NDArray[np.int64]] | None:
    """The place of every row's value, null for null; the distinct values, and h of each.

    None where two values share one, and for a column that has no rows, or holds no plain values.
    """
    coded = pc.dictionary_encode(column)
    if not coded.num_chunks or any(chunk.dictionary.null_count for chunk in coded.chunks):
        return None
    # What is read of one row group comes in pieces that have the same dictionary. To see that they
    # do costs a tenth of looking up each value of one in the other.
    values = coded.chunk(0).dictionary
    if not all(chunk.dictionary.equals(values) for chunk in coded.chunks[1:]):
        coded = coded.unify_dictionaries()
        values = coded.chunk(0).dictionary
    made = hashed(values, salt)
    if made is None or (np.diff(np.sort(made)) == 0).any():
        return None
    return pa.chunked_array([chunk.indices for chunk in coded.chunks]), values, made


def _grouping(total: Total, types: Mapping[str, Type]) -> Iterator[tuple[str, str]]:
    """(column of the tree, column of the source) for those that are grouped by and nothing else."""
    rows = leaf(total)
    view = rows.view
    bare = {rows.owner: view.keys[0][1]}
    for computed in view.computed:
        tree = parse(computed.sql).tree
        if tree.op == "column":
            bare[computed.name] = str(tree.value)
    busy = {view.time, *(join.left for join in view.joins)}
    for computed in view.computed:
        if computed.name not in bare or computed.name not in total.by:
            busy |= parse(computed.sql).columns
    computing = _computing(total)
    for name, column in bare.items():
        alone = list(bare.values()).count(column) == 1 and column not in busy
        plain = "." not in column and types[column] in (Type.TEXT, Type.INT)
        if alone and plain and name not in computing and (name in total.by or name == rows.owner):
            yield name, column


def _computing(total: Total) -> set[str]:
    """The columns whose values some step looks at, beyond grouping by them and missing nulls."""
    found: set[str] = set(total.sums)
    for step in _steps(total):
        if isinstance(step, Define):
            found |= {name for each in step.columns for name in parse(each.sql).columns}
            found |= {each.name for each in step.columns}
        elif isinstance(step, Where):
            found |= set(_looked_at(parse(step.sql).tree))
        elif isinstance(step, Grid):
            found |= {step.name, step.value}
        elif isinstance(step, Clamp):
            found.add(step.column)
        elif isinstance(step, Shrink):
            found |= {step.total, step.count}
        elif isinstance(step, LimitRows):
            found |= {step.cell, step.count}
        elif isinstance(step, PerPerson):
            found |= set(step.sums)
    return found


def _looked_at(node: Node) -> Iterator[str]:
    if node.op == "column":
        yield node.value
    if node.op not in ("is null", "is not null") or node.args[0].op != "column":
        for child in node.args:
            yield from _looked_at(child)


def _steps(total: Total) -> Iterator[Step]:
    step: Step = total.below
    while not isinstance(step, Rows):
        yield step
        step = step.below
