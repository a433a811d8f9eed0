"""Each person's rows made few by whole columns: `PerPerson` with the `LimitGroups` above it.

DuckDB would group all rows by (person, key) in a hash table, and sort every person's groups in a
window to cut them. Here a counting sort brings a person's rows together, and one pass over people,
whose few rows are in the cache by then, sums and cuts. Threads share both: rows first, then people.
The sums and the groups that are kept are those of `plan.total_sql`, to the last unit: the same
hashes, the same order, the same saturation. What lies below and above stays with DuckDB, and the
sensitivity is read from the tree, by whoever runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from tacit.aggregates.columns import read_only
from tacit.aggregates.parts import THREADS
from tacit.aggregates.sorting import count_ids
from tacit.engines.coded import Coded, numbered
from tacit.engines.few_kernel import PRIME, Codes, Integers, by_person, keep
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

    codes: Codes
    values: pa.Array
    hashes: Integers


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
        else pool.submit(_key, found.column(i), limit.salt)
        for i, name in enumerate(names)
    ]
    keys = [each.result() for each in asked]
    whole = [key for key in keys if key is not None]
    if len(whole) < len(keys):
        return None
    coded_by = dict(zip(names, whole, strict=True))
    return Few(limit, _kept(found, coded_by, limit, grouped.sums, pool))


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


def _key(column: pa.ChunkedArray, salt: str) -> _Key | None:
    """A column without nulls, coded; None where two values share a hash."""
    found = numbered(column, salt)
    if found is None:
        return None
    codes, values, hashes = found
    return _Key(codes.to_numpy().astype(np.int32, copy=False), values, hashes)


def _kept(
    found: pa.Table,
    keys: dict[str, _Key],
    limit: LimitGroups,
    sums: Sequence[str],
    pool: Executor,
) -> pa.Table:
    """The rows of the limit."""
    (owner, people), *rest = keys.items()
    group, members = _groups([key.codes for _, key in rest], [len(key.values) for _, key in rest])
    ranked, ranks = _ranks([keys[name] for name in limit.by], members[: len(limit.by)])
    starts, rows = _by_person(people.codes, len(people.values), group, pool)
    values, places = _values([found.column(name) for name in sums])
    spread = people.hashes % PRIME

    def one(people: slice) -> tuple[Codes, Codes, Integers]:
        """What is kept of some people: person, group, and sums (s, …)."""
        begins = starts[people.start : people.stop + 1]
        own = rows[begins[0] : begins[-1]]
        out = np.empty(len(own), np.int32), np.empty(len(own), np.int32)
        added = np.empty((len(sums), len(own)), np.int64)
        count = keep(
            begins, people.start, own, ranked, spread, ranks, limit.most, values, places, *out,
            added,
        )  # fmt: skip
        return out[0][:count], out[1][:count], added[:, :count]

    parts = list(pool.map(one, _shared(starts)))
    columns = {owner: [people.values.take(pa.array(person)) for person, _, _ in parts]}
    for (name, key), codes in zip(rest, members, strict=True):
        columns[name] = [key.values.take(pa.array(codes[group])) for _, group, _ in parts]
    for place, name in enumerate(sums):
        columns[name] = [pa.array(added[place]) for _, _, added in parts]
    return pa.table({name: pa.chunked_array(parts) for name, parts in columns.items()})


def _by_person(
    people: Codes, count: int, group: Codes, pool: Executor
) -> tuple[Integers, Integers]:
    """Where each person's rows begin (count + 1,); group and number of each row, by person."""
    cuts = [len(people) * lane // THREADS for lane in range(THREADS + 1)]
    lanes = [slice(*ends) for ends in pairwise(cuts)]
    counts = np.zeros((THREADS, count), np.int64)
    people, group = read_only(people), read_only(group)
    list(pool.map(lambda lane, own: count_ids(people[lane], own), lanes, counts))
    starts = np.zeros(count + 1, np.int64)
    np.cumsum(counts.sum(axis=0), out=starts[1:])
    following = np.cumsum(counts, axis=0) - counts + starts[:-1]
    rows = np.empty(len(people), np.int64)

    def put(lane: slice, following: Integers) -> None:
        by_person(people[lane], group[lane], lane.start, following, rows)

    list(pool.map(put, lanes, following))
    return starts, rows


def _shared(starts: Integers) -> list[slice]:
    """People by as many ranges as there are threads, each of about as many rows."""
    cuts = [starts[-1] * lane // THREADS for lane in range(1, THREADS)]
    ends = [0, *np.searchsorted(starts[:-1], cuts).tolist(), len(starts) - 1]
    return [slice(*pair) for pair in pairwise(ends)]


def _values(columns: Sequence[pa.ChunkedArray]) -> tuple[Integers, Integers]:
    """The values of all columns, null as 0, one after another; and of each column (s, 2) where they
    begin, and 1. A column that has one value, as that of a count, has it once, and 0."""
    whole, places, size = [np.zeros(0, np.int64)], np.zeros((len(columns), 2), np.int64), 0
    for place, column in enumerate(columns):
        values = column.fill_null(0).to_numpy()
        alike = len(values) > 0 and bool((values == values[0]).all())
        whole.append(values[:1] if alike else values)
        places[place] = size, not alike
        size += len(whole[-1])
    return np.concatenate(whole), places


def _groups(codes: Sequence[Codes], sizes: Sequence[int]) -> tuple[Codes, list[Codes]]:
    """A code of its own for each combination that occurs, by row; and by that, those it is of."""
    group, members = codes[0], [np.arange(sizes[0], dtype=np.int32)]
    for more, size in zip(codes[1:], sizes[1:], strict=True):
        both = pc.dictionary_encode(pa.array(group.astype(np.int64) * size + more))
        group, pairs = both.indices.to_numpy(), both.dictionary.to_numpy()
        members = [each[pairs // size] for each in members]
        members.append((pairs % size).astype(np.int32))
    return group, members


def _ranks(keys: Sequence[_Key], members: Sequence[Codes]) -> tuple[Codes, Integers]:
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
