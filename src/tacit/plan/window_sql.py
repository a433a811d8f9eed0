"""Windows in plain SQL, for engines that have no kernel.

A spine table (columns ``row``, ``k0, k1, …``, ``at``) is joined with the prepared rows of its keys
before ``at``, and grouped by ``row``. first and last rank rows by (time, value), so that ties are
exact; maps group by ``by`` too. Only constructs that DuckDB, SQLite and Spark read alike are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlglot import exp

from tacit.aggregates.algebra import base_key
from tacit.operations import View, Window
from tacit.plan.nested_sql import LISTS, NESTED, nested
from tacit.plan.sql import (
    SQLITE,
    Dialect,
    column_of,
    not_null,
    table_as,
    view_select,
    whole,
    within_64_bits,
)
from tacit.values import Type

AGGREGATES = frozenset(
    ("count", "sum", "mean", "min", "max", "first", "last", "distinct", "since", *NESTED)
)
_ALONE = ("first", "last", *NESTED)  # take a statement each
_CHUNK = 100  # signals a statement: far below every engine's limits on columns and aggregates


@dataclass(frozen=True, slots=True)
class Statement:
    """One query of the pure-SQL form.

    ``wide``: columns ``row``, then one a signal. ``map``: columns ``map`` (the row), ``by`` and the
    one signal. ``list``: columns ``list`` (the row), ``rank`` and one value of the signal;
    ``lists``: columns ``lists`` (the row), ``by``, ``rank`` and one value. A row of the spine may
    have several rows, or none. Rows come in no order.
    """

    shape: Literal["wide", "map", "list", "lists"]
    signals: tuple[str, ...]
    select: exp.Select


def window_statements(
    view: View, types: Mapping[str, Type], spine: str, dialect: Dialect = SQLITE
) -> list[Statement]:
    """The windows of a view over the spine table of that name; together they yield every signal."""
    rows = view_select(view, types, dialect)
    build = _Windows(view, rows, spine, dialect)
    plain = [w for w in view.windows if w.by is None and base_key(w.aggregate) not in _ALONE]
    found = [
        Statement("wide", tuple(w.signal for w in chunk), build.wide(chunk))
        for chunk in _chunks(plain)
    ]
    for window in view.windows:
        if base_key(window.aggregate) in NESTED:
            found.append(build.nested(window))
        elif window.by is not None:
            found.append(Statement("map", (window.signal,), build.single(window)))
        elif window.aggregate in ("first", "last"):
            found.append(Statement("wide", (window.signal,), build.single(window)))
    return found


def _chunks(windows: list[Window]) -> Iterator[list[Window]]:
    for start in range(0, len(windows), _CHUNK):
        yield windows[start : start + _CHUNK]


class _Windows:
    def __init__(self, view: View, rows: exp.Select, spine: str, dialect: Dialect) -> None:
        self.view = view
        # Each statement holds the same rows: their text is made once, and put in as it is.
        self.rows = exp.Subquery(this=exp.Var(this=rows.sql(dialect.name, copy=False)))
        self.spine = spine
        self.dialect = dialect
        self.position = {column.name: f"c{i}" for i, column in enumerate(view.computed)}

    def computed(self, name: str) -> exp.Expr:
        return column_of("r", self.position[name])

    def wide(self, windows: list[Window]) -> exp.Select:
        """One row a spine row, one column a window."""
        reaches = [window.reach for window in windows]
        longest = None if None in reaches else max(reach for reach in reaches if reach)
        columns = [exp.alias_(column_of("s", "row"), "row", quoted=True)]
        for window in windows:
            whole = window.hop is None and window.length == longest
            tests = [] if whole else [self.after(window.length, window.hop)]
            if window.where is not None:
                tests.append(self.computed(window.where))
            tree = self.aggregate(window, tests or [not_null(column_of("r", "at"))])
            columns.append(exp.alias_(tree, window.signal, quoted=True))
        select = exp.select(*columns)
        found = self.joined(select, self.matches(longest), "left")
        return found.group_by(column_of("s", "row"), copy=False)

    def single(self, window: Window) -> exp.Select:
        """One window alone: a map, or a first or last."""
        on = self.matches(window.length, window.hop)
        if window.where is not None:
            on.append(self.computed(window.where))
        name = "row" if window.by is None else "map"
        groups: list[tuple[str, exp.Expr]] = [(name, column_of("s", "row"))]
        if window.by is not None:
            groups.append(("by", self.computed(window.by)))
            on.append(not_null(self.computed(window.by)))
        if window.aggregate in ("first", "last"):
            return self.ranked(window, groups, on)
        columns = [exp.alias_(tree, name, quoted=True) for name, tree in groups]
        tree = self.aggregate(window, [])
        select = exp.select(*columns, exp.alias_(tree, window.signal, quoted=True))
        found = self.joined(select, on)
        return found.group_by(*(tree.copy() for _, tree in groups), copy=False)

    def nested(self, window: Window) -> Statement:
        """One window whose aggregate stands on the rows themselves."""
        assert window.value is not None, "these are of a value"
        on = self.matches(window.length, window.hop)
        if window.where is not None:
            on.append(self.computed(window.where))
        shape: Literal["wide", "map", "list", "lists"] = "wide" if window.by is None else "map"
        if base_key(window.aggregate) in LISTS:
            shape = "list" if window.by is None else "lists"
        first = "row" if shape == "wide" else shape
        columns = {first: column_of("s", "row"), "value": self.computed(window.value)}
        if window.by is not None:
            columns["by"] = self.computed(window.by)
            on.append(not_null(self.computed(window.by)))
        columns |= {"at": column_of("r", "at"), "now": column_of("s", "at")}
        select = exp.select(*(exp.alias_(tree, name) for name, tree in columns.items()))
        groups = [first] if window.by is None else [first, "by"]
        found = nested(window, self.joined(select, on), groups)
        return Statement(shape, (window.signal,), found)

    def ranked(
        self,
        window: Window,
        groups: Sequence[tuple[str, exp.Expr]],
        on: list[exp.Expr],
    ) -> exp.Select:
        assert window.value is not None, "first and last are of a value"
        value = self.computed(window.value)
        missing = exp.Case(
            ifs=[exp.If(this=exp.Is(this=value, expression=exp.Null()), true=whole(1))],
            default=whole(0),
        )
        order: list[exp.Expr] = [exp.Ordered(this=missing, nulls_first=True)]
        for tree in (column_of("r", "at"), value.copy()):
            descending = window.aggregate == "last"
            # what each engine does by itself with nulls, so that no NULLS clause is written
            order.append(exp.Ordered(this=tree, desc=descending, nulls_first=not descending))
        rank = exp.Window(
            this=exp.RowNumber(),
            partition_by=[tree.copy() for _, tree in groups],
            order=exp.Order(expressions=order),
        )
        columns = [exp.alias_(tree, name, quoted=True) for name, tree in groups]
        inner = self.joined(
            exp.select(
                *columns,
                exp.alias_(value.copy(), "value", quoted=True),
                exp.alias_(rank, "rank", quoted=True),
            ),
            on,
        )
        names = [exp.column(name, quoted=True) for name, _ in groups]
        result = exp.alias_(exp.column("value", quoted=True), window.signal, quoted=True)
        first = exp.EQ(this=exp.column("rank", quoted=True), expression=whole(1))
        ranked = inner.subquery("ranked", copy=False)
        return exp.select(*names, result).from_(ranked, copy=False).where(first, copy=False)

    def joined(self, select: exp.Select, on: list[exp.Expr], side: str = "inner") -> exp.Select:
        rows = self.rows.copy()
        rows.set("alias", exp.TableAlias(this=exp.to_identifier("r")))
        found = select.from_(table_as(self.spine, "s"), copy=False)
        return found.join(rows, on=exp.and_(*on, copy=False), join_type=side, copy=False)

    def matches(self, length: int | None, hop: int | None = None) -> list[exp.Expr]:
        """Same keys, before the spine row's time, and within the window."""
        names = [f"k{i}" for i in range(len(self.view.keys))]
        tests: list[exp.Expr] = [
            exp.EQ(this=column_of("r", name), expression=column_of("s", name)) for name in names
        ]
        tests.append(exp.LT(this=column_of("r", "at"), expression=column_of("s", "at")))
        return tests if length is None else [*tests, self.after(length, hop)]

    def after(self, length: int | None, hop: int | None = None) -> exp.Expr:
        """Whether a row is not before the window: the start is a multiple of the hop."""
        assert length is not None, "the longest window of all has no start to test"
        start: exp.Expr = exp.Sub(this=column_of("s", "at"), expression=whole(length))
        if hop is not None:
            # What engines call % takes the sign of the left: with it, twice rounds down.
            first = exp.paren(exp.Mod(this=exp.paren(start), expression=whole(hop)))
            above = exp.paren(exp.Add(this=first, expression=whole(hop)))
            rest = exp.paren(exp.Mod(this=above, expression=whole(hop)))
            start = exp.Sub(this=start.copy(), expression=rest)
        return exp.GTE(this=column_of("r", "at"), expression=start)

    def aggregate(self, window: Window, tests: list[exp.Expr]) -> exp.Expr:
        """The aggregate of the rows that pass the tests (all of a map's rows do)."""
        value = whole(1) if window.value is None else self.computed(window.value)
        if window.aggregate == "since":
            if window.value is not None:
                tests = [*tests, not_null(value)]
            value = column_of("r", "at")
        if tests:
            value = exp.Case(ifs=[exp.If(this=exp.and_(*tests), true=value)])
        match window.aggregate:
            case "count":
                return exp.Count(this=value)
            case "distinct":
                return exp.Count(this=exp.Distinct(expressions=[value]))
            case "min":
                return exp.Min(this=value)
            case "max":
                return exp.Max(this=value)
            case "mean":
                return self.number(exp.Avg(this=value))
            case "since":
                gone = exp.Sub(this=column_of("s", "at"), expression=exp.Max(this=value))
                return within_64_bits(gone)
        assert window.aggregate == "sum", "the plan places only what AGGREGATES names"
        assert window.value is not None, "a sum is of a value"
        if self.view.column(window.value).type is Type.FLOAT:
            return self.number(exp.Sum(this=value))
        return self.whole_sum(value)

    def number(self, tree: exp.Expr) -> exp.Expr:
        """inf - inf is null."""
        if not self.dialect.typed:
            return tree
        nan = exp.Cast(this=exp.Literal.string("NaN"), to=exp.DataType.build("DOUBLE"))
        return exp.Nullif(this=tree, expression=nan)

    def whole_sum(self, value: exp.Expr) -> exp.Expr:
        """A sum of ints; null beyond 64 bits.

        SQLite raises on overflow, so there the upper and lower halves are summed apart, and put
        together again when the result fits.
        """
        if self.dialect.typed:
            total = exp.Sum(this=value)
            return exp.TryCast(this=total, to=exp.DataType.build("BIGINT"))
        mask, half = whole(0xFFFFFFFF), whole(2**31)
        low = exp.Sum(this=exp.BitwiseAnd(this=exp.paren(value), expression=mask))
        high = exp.Sum(this=exp.BitwiseRightShift(this=exp.paren(value), expression=whole(32)))
        carry = exp.paren(exp.BitwiseRightShift(this=low, expression=whole(32)))
        upper = exp.paren(exp.Add(this=high, expression=carry))
        fits = exp.Between(this=upper, low=exp.Neg(this=half), high=whole(2**31 - 1))
        shifted = exp.paren(exp.BitwiseLeftShift(this=upper.copy(), expression=whole(32)))
        rest = exp.paren(exp.BitwiseAnd(this=low.copy(), expression=mask.copy()))
        joined = exp.BitwiseOr(this=shifted, expression=rest)
        return exp.Case(ifs=[exp.If(this=fits, true=joined)])
