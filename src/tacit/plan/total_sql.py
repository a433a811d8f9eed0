"""Totals over bounded rows as SQL: one nested SELECT for each step of the tree.

Only what DuckDB and Spark read alike is used: GROUP BY, CASE, DENSE_RANK and a running SUM over
rows, MD5 of text, division of ints that are not negative. All that is summed are ints, so both
give the same sums to the last unit. A person's sum saturates at 2^62 instead of failing or turning
over: a query that fails because of one person's values would tell of them.

**Which keys of a person are kept.** Each value x, of a person or a key, has h(x), the first 60 bits
of MD5(salt, x). With M = 2^31 - 1 a prime, a person's keys are ranked by h(person) · Σ h(key) mod
M, ties by h(key): for each person another order, in which no other person has a say. The salt is
new for each answer, so nobody is left out of every answer, and nobody can choose to be kept. MD5
needs no more here than to spread; privacy holds for any order that a person's own rows decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, singledispatch

import sqlglot
from sqlglot import exp

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
from tacit.plan.sql import DUCKDB, Dialect, expression_tree, table_as
from tacit.plan.stability import facts_of
from tacit.values import Type

_SATURATED = 1 << 62
_PRIME = (1 << 31) - 1
_SPREAD = 1_103_515_245  # of cells, which are small numbers and not hashed
HASH_DIGITS = 15  # of hexadecimal: 60 bits


def total_select(
    total: Total,
    rows: str,
    types: Mapping[str, Type],
    dialect: Dialect = DUCKDB,
    hashed: frozenset[str] = frozenset(),
    held: tuple[Step, str] | None = None,
) -> exp.Select:
    """The sums, a row for each value of `by`, over the table `rows`.

    ``rows`` has ``k0`` (the person's key) and ``c0, c1, …``, as `plan.sql.view_select` makes them.
    ``types`` are those of the source's columns. Columns that are ``hashed`` hold h(x), an int, in
    place of x. ``held`` is a step whose rows are there already, and the table that has them. The
    result has the columns `by`, then `sums`.
    """
    lower = _Lowering(rows, types, dialect, hashed, held)
    sums = [lower.summed(name) for name in total.sums]
    return lower.grouped(total.below, total.by, sums)


def step_select(
    step: Step,
    rows: str,
    types: Mapping[str, Type],
    hashed: frozenset[str],
    columns: Sequence[str],
) -> exp.Select:
    """Columns of the rows of one step, by DuckDB; all else as for `total_select`."""
    return _Lowering(rows, types, DUCKDB, hashed).over(step, columns)


class _Lowering:
    """Steps to trees, in one dialect."""

    def __init__(
        self,
        rows: str,
        types: Mapping[str, Type],
        dialect: Dialect,
        hashed: frozenset[str],
        held: tuple[Step, str] | None = None,
    ) -> None:
        self.rows = rows
        self.types = types
        self.dialect = dialect
        self.hashed = hashed
        self.held = held

    def over(self, below: Step, columns: Iterable[str | exp.Expr]) -> exp.Select:
        """`SELECT columns FROM (below) AS s`."""
        trees = [_tree(column) if isinstance(column, str) else column for column in columns]
        if self.held is not None and below is self.held[0]:
            return exp.select(*trees).from_(table_as(self.held[1], "s"), copy=False)
        return exp.select(*trees).from_(lowered(below, self).subquery("s", copy=False), copy=False)

    def names(self, step: Step) -> list[str]:
        """The columns of a step, in order."""
        return list(facts_of(step, self.types).types)

    def owner(self, step: Step) -> str:
        """The column of the person's key; the checker has seen that it is there."""
        owner = facts_of(step, self.types).owner
        assert owner is not None, "a step by person has passed `sensitivities`"
        return owner

    def but(self, below: Step, *written: str) -> list[str]:
        """The columns of the step below, without those that are written now."""
        return [name for name in self.names(below) if name not in written]

    def summed(self, name: str) -> str:
        """A sum of ints that saturates, and is 0 of nothing."""
        value = f"CAST({name} AS DECIMAL(20, 0))" if self.dialect.guarded else name
        held = f"LEAST(GREATEST(COALESCE(SUM({value}), 0), -{_SATURATED}), {_SATURATED})"
        return f"CAST({held} AS BIGINT) AS {name}"

    def grouped(self, below: Step, by: tuple[str, ...], sums: list[str]) -> exp.Select:
        """`SELECT by, sums … GROUP BY by`."""
        select = self.over(below, [*by, *sums])
        return select.group_by(*(_tree(name) for name in by), copy=False) if by else select

    def hash(self, salt: str, name: str) -> str:
        """h of a column."""
        if name in self.hashed:
            return name
        digits = f"LEFT({hash_sql(salt, name)}, {HASH_DIGITS})"
        if self.dialect.guarded:
            return f"CAST(CONV({digits}, 16, 10) AS BIGINT)"
        return f"CAST('0x' || {digits} AS BIGINT)"

    def order(self, salt: str, owner: str, by: Sequence[str], cell: str | None = None) -> str:
        """By what a person's groups are ranked; see the module."""
        hashes = [self.hash(salt, name) for name in by]
        parts = [f"{h} % {_PRIME}" for h in hashes]
        parts += [] if cell is None else [f"({cell} * {_SPREAD}) % {_PRIME}"]
        group = f"({' + '.join(parts)}) % {_PRIME}"
        place = f"(({self.hash(salt, owner)} % {_PRIME}) * ({group})) % {_PRIME}"
        ties = dict.fromkeys([*hashes, *by, *([] if cell is None else [cell])])
        return ", ".join([place, *ties])


def hash_sql(salt: str, name: str) -> str:
    """The digest of a column's value, as hexadecimal text."""
    return f"MD5('{salt}' || '|' || CAST({name} AS TEXT))"


@lru_cache(maxsize=1024)
def _parsed(sql: str) -> exp.Expr:
    return sqlglot.parse_one(sql, dialect="duckdb")


def _tree(sql: str) -> exp.Expr:
    return _parsed(sql).copy()


@singledispatch
def lowered(step: Step, lower: _Lowering) -> exp.Select:
    """The rows of a step."""
    raise AssertionError(f"{type(step).__name__} has passed `sensitivities`")


@lowered.register
def _(step: Rows, lower: _Lowering) -> exp.Select:
    names = [step.owner, *(column.name for column in step.view.computed)]
    held = ["k0", *(f"c{i}" for i in range(len(step.view.computed)))]
    columns = [exp.alias_(exp.column(h, quoted=True), n) for h, n in zip(held, names, strict=True)]
    return exp.select(*columns).from_(exp.Table(this=exp.to_identifier(lower.rows, quoted=True)))


@lowered.register
def _(step: Define, lower: _Lowering) -> exp.Select:
    types = facts_of(step.below, lower.types).types
    new = [
        exp.alias_(expression_tree(column.sql, column.type, types, lower.dialect), column.name)
        for column in step.columns
    ]
    return lower.over(step.below, [*lower.but(step.below, *(c.name for c in step.columns)), *new])


@lowered.register
def _(step: Where, lower: _Lowering) -> exp.Select:
    types = facts_of(step.below, lower.types).types
    condition = expression_tree(step.sql, Type.BOOL, types, lower.dialect)
    return lower.over(step.below, lower.names(step.below)).where(condition, copy=False)


@lowered.register
def _(step: Grid, lower: _Lowering) -> exp.Select:
    """Bounds are compared before the cast: no infinity and no huge number reaches it."""
    shift = 0.5 if step.nearest else 0.0
    number = f"CAST({step.value} AS DOUBLE)"
    place = _plain(number, step.origin, step.step, shift)
    below = lower.over(step.below, [*lower.but(step.below, "_at"), f"{place} AS _at"])
    whole = (
        f"CASE WHEN _at <= {step.low} THEN {step.low} WHEN _at >= {step.high} THEN {step.high}"
        f" ELSE CAST(FLOOR(_at) AS BIGINT) END"
    )
    columns = [*lower.but(step.below, step.name), f"CAST({whole} AS BIGINT) AS {step.name}"]
    return exp.select(*map(_tree, columns)).from_(below.subquery("s", copy=False), copy=False)


def _plain(number: str, origin: float, step: float, shift: float) -> str:
    """(number - origin) / step + shift, in doubles."""
    return f"({number} - CAST('{origin!r}' AS DOUBLE)) / CAST('{step!r}' AS DOUBLE) + {shift!r}"


@lowered.register
def _(step: PerPerson, lower: _Lowering) -> exp.Select:
    by = (lower.owner(step.below), *step.by)
    return lower.grouped(step.below, by, [lower.summed(name) for name in step.sums])


@lowered.register
def _(step: LimitGroups, lower: _Lowering) -> exp.Select:
    owner = lower.owner(step.below)
    order = lower.order(step.salt, owner, step.by)
    rank = f"DENSE_RANK() OVER (PARTITION BY {owner} ORDER BY {order}) AS _rank"
    names = lower.names(step.below)
    ranked = lower.over(step.below, [*names, rank])
    return (
        exp.select(*names)
        .from_(ranked.subquery("s", copy=False), copy=False)
        .where(_tree(f"_rank <= {step.most}"), copy=False)
    )


@lowered.register
def _(step: LimitRows, lower: _Lowering) -> exp.Select:
    owner = lower.owner(step.below)
    group = [owner, *step.by]
    order = lower.order(step.salt, owner, step.by, step.cell)
    frame = "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
    # LEAST would leave a null out, and take the other number in its place.
    held = f"COALESCE({step.count}, 0)"
    count = f"CAST({held} AS DECIMAL(20, 0))" if lower.dialect.guarded else held
    before = f"SUM({count}) OVER (PARTITION BY {', '.join(group)} ORDER BY {order} {frame})"
    names = lower.names(step.below)
    summed = lower.over(step.below, [*names, f"COALESCE({before}, 0) AS _before"])
    left = f"GREATEST(LEAST({held}, {step.most} - _before), 0)"
    columns = [*lower.but(step.below, step.count), f"CAST({left} AS BIGINT) AS {step.count}"]
    select = exp.select(*map(_tree, columns)).from_(summed.subquery("s", copy=False), copy=False)
    return select.where(_tree(f"_before < {step.most}"), copy=False)


@lowered.register
def _(step: Clamp, lower: _Lowering) -> exp.Select:
    clamped = _clamped(step.column, step.low, step.high)
    return lower.over(step.below, [*lower.but(step.below, step.column), clamped])


def _clamped(column: str, low: int, high: int, value: str | None = None) -> str:
    """Null stays null: LEAST and GREATEST would leave it out."""
    value = column if value is None else value
    case = (
        f"CASE WHEN {value} < {low} THEN {low} WHEN {value} > {high} THEN {high} ELSE {value} END"
    )
    return f"CAST({case} AS BIGINT) AS {column}"


@lowered.register
def _(step: Shrink, lower: _Lowering) -> exp.Select:
    """floor(a m / n) is (a // n) m + (a % n) m // n, of which no part leaves 64 bits: a is at most
    2^62, n at least 1 and above m wherever it is divided."""
    total, count, most = step.total, step.count, step.most
    above = f"GREATEST({total} - {count} * {step.low}, 0)"
    kept = f"({above} // {count}) * {most} + (({above} % {count}) * {most}) // {count}"
    shrunk = f"CASE WHEN {count} > {most} THEN {kept} + {most * step.low} ELSE {total} END"
    below = lower.over(
        step.below,
        [*lower.but(step.below, total), f"{shrunk} AS {total}"],
    )
    low, high = min(0, most * step.low), max(0, most * step.high)
    columns = [
        *lower.but(step.below, total, count),
        _clamped(total, low, high),
        _clamped(count, 0, most),
    ]
    return exp.select(*map(_tree, columns)).from_(below.subquery("s", copy=False), copy=False)
