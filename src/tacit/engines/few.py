"""Each person's rows made few by whole columns: `PerPerson` with the `LimitGroups` above it.

DuckDB would group all rows by (person, key) in a hash table, and sort every person's groups in a
window to cut them. Here both are two counting sorts and one pass over the rows. The sums and the
groups that are kept are those of `plan.total_sql`, to the last unit: the same hashes, the same
order, the same saturation. What lies below and above stays with DuckDB, and the sensitivity is read
from the tree, by whoever runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from tacit.engines.coded import Coded, hashes_of
from tacit.engines.few_kernel import PRIME, by_person, keep, ordered
from tacit.operations import LimitGroups, PerPerson, Rows, Step, Total
from tacit.plan.sql import DUCKDB
from tacit.plan.stability import facts_of
from tacit.plan.total_sql import step_select
from tacit.values import Type

_MOST_ROWS = (1 << 31) - 1
_GROUPED = (Type.TEXT, Type.INT, Type.BOOL, Type.TIME)  # of which equal is the same bits


@dataclass(frozen=True, slots=True)
class Few:
    """The rows of `step`, as a table with its columns."""

    step: LimitGroups
    table: pa.Table


@dataclass(frozen=True, slots=True)
class _Key:
    """A column to group by: a code for each row, what the codes stand for, and h of that."""

    codes: npt.NDArray[np.int32]
    values: pa.Array
    hashes: npt.NDArray[np.int64]


def few(
    connection: duckdb.DuckDBPyConnection,
    coded: Coded,
    prepared: exp.Select,
    rows: str,
    pool: Executor,
) -> Few | None:
    """What is left of each person, where the tree groups by person and then limits groups at once.

    `prepared` selects the source's rows, which `rows` names. None where the tree is another one, a
    key is null, or two values of a key share a hash: then DuckDB does it all.
    """
    limit = _limit(coded.total)
    if limit is None:
        return None
    grouped = limit.below
    assert isinstance(grouped, PerPerson), "it is found so"
    facts = facts_of(grouped, coded.types)
    owner = facts.owner
    assert owner is not None, "a step by person has passed `sensitivities`"
    if owner in grouped.by or any(facts.types[name] not in _GROUPED for name in grouped.by):
        return None
    # What is limited comes first: a group's rank is that of its first keys.
    by = (*limit.by, *(name for name in grouped.by if name not in limit.by))
    names = (owner, *by)
    columns = (*names, *grouped.sums)
    select = step_select(grouped.below, rows, coded.types, coded.hashed, columns)
    select = select.with_(exp.to_identifier(rows, quoted=True), prepared)
    found = connection.sql(select.sql(DUCKDB.name)).to_arrow_table()
    if found.num_rows > _MOST_ROWS or any(found.column(name).null_count for name in names):
        return None
    asked = [
        pool.submit(_coded, found.column(i), coded.keys[name][1])
        if name in coded.keys
        else pool.submit(_key, connection, found.column(i), limit.salt)
        for i, name in enumerate(names)
    ]
    keys = [each.result() for each in asked]
    whole = [key for key in keys if key is not None]
    if len(whole) < len(keys):
        return None
    return Few(limit, _kept(found, dict(zip(names, whole, strict=True)), limit, grouped.sums))


def _limit(total: Total) -> LimitGroups | None:
    """The limit of groups that stands right above the only grouping by person."""
    step: Step = total.below
    while not isinstance(step, Rows):
        if isinstance(step, LimitGroups) and isinstance(step.below, PerPerson):
            plain = len(set(step.below.by)) == len(step.below.by) > 0
            return step if plain and 0 < len(set(step.by)) == len(step.by) else None
        step = step.below
    return None


def _coded(column: pa.ChunkedArray, hashes: pa.Array) -> _Key:
    """A column that holds codes already, which stand for hashes."""
    return _Key(column.to_numpy().astype(np.int32), hashes, hashes.to_numpy())


def _key(connection: duckdb.DuckDBPyConnection, column: pa.ChunkedArray, salt: str) -> _Key | None:
    """A column without nulls, coded; None where two values share a hash."""
    coded = pc.dictionary_encode(column).unify_dictionaries().combine_chunks()
    if isinstance(coded, pa.ChunkedArray):
        if not coded.num_chunks:
            return None
        coded = coded.chunk(0)
    hashes = hashes_of(connection, coded.dictionary, salt)
    if hashes is None:
        return None
    return _Key(coded.indices.to_numpy(), coded.dictionary, hashes.to_numpy())


def _kept(
    found: pa.Table, keys: dict[str, _Key], limit: LimitGroups, sums: Sequence[str]
) -> pa.Table:
    """The rows of the limit."""
    (owner, people), *rest = keys.items()
    group, members = _groups([key.codes for _, key in rest], [len(key.values) for _, key in rest])
    ranked, ranks = _ranks([keys[name] for name in limit.by], members[: len(limit.by)])
    rows = ordered(group, len(members[0]), np.arange(found.num_rows, dtype=np.int32))
    starts, rows, groups = by_person(people.codes, len(people.values), rows, group)
    values = np.empty((len(sums), found.num_rows), np.int64)
    for place, name in enumerate(sums):
        values[place] = found.column(name).fill_null(0).to_numpy()
    out_person, out_group = np.empty(len(rows), np.int32), np.empty(len(rows), np.int32)
    added = np.empty_like(values)
    count = keep(
        starts, rows, groups, ranked, people.hashes % PRIME, ranks, limit.most,
        values, out_person, out_group, added,
    )  # fmt: skip
    taken = out_group[:count]
    columns = {owner: people.values.take(pa.array(out_person[:count]))}
    for (name, key), codes in zip(rest, members, strict=True):
        columns[name] = key.values.take(pa.array(codes[taken]))
    columns |= {name: pa.array(added[place, :count]) for place, name in enumerate(sums)}
    return pa.table(columns)


def _groups(
    codes: Sequence[npt.NDArray[np.int32]], sizes: Sequence[int]
) -> tuple[npt.NDArray[np.int32], list[npt.NDArray[np.int32]]]:
    """A code of its own for each combination that occurs, by row; and by that, those it is of."""
    group, members = codes[0], [np.arange(sizes[0], dtype=np.int32)]
    for more, size in zip(codes[1:], sizes[1:], strict=True):
        both = pc.dictionary_encode(pa.array(group.astype(np.int64) * size + more))
        group, pairs = both.indices.to_numpy(), both.dictionary.to_numpy()
        members = [each[pairs // size] for each in members]
        members.append((pairs % size).astype(np.int32))
    return group, members


def _ranks(
    keys: Sequence[_Key], members: Sequence[npt.NDArray[np.int32]]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """By group its rank among the combinations of what is limited, ordered by their hashes; by
    rank Σ h mod PRIME, of which a person's order is made."""
    hashes = [key.hashes[codes] for key, codes in zip(keys, members, strict=True)]
    order = np.lexsort(tuple(reversed(hashes)))
    listed = [each[order] for each in hashes]
    first = np.ones(len(order), bool)
    first[1:] = np.logical_or.reduce([each[1:] != each[:-1] for each in listed])
    ranked = np.empty(len(order), np.int32)
    ranked[order] = np.cumsum(first) - 1
    total = np.zeros(int(first.sum()), np.int64)
    for each in listed:
        total += each[first] % PRIME
    return ranked, total % PRIME
