"""The oracle: plain Python, slow and obvious. Every other engine is checked against it.

It reads expressions node by node, walks the rows of each window one by one, and folds them with
the algebra. Nothing here is fast on purpose, and nothing is shared with the other engines but the
algebra, whose own laws are tested.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tacit.aggregates.algebra import FAMILIES, REGISTRY, Value, clean
from tacit.declare.expression import COMPARISONS, LITERALS, Node, parse, type_of
from tacit.engines.base import (
    ARROW,
    check_inputs,
    check_spine,
    column_types,
    result_type,
    with_columns,
)
from tacit.operations import Derived, View, Window
from tacit.values import Type

Row = dict[str, Value | None]


class Reference:
    """Plain Python over lists of rows."""

    name = "reference"
    supports = frozenset((*REGISTRY, *FAMILIES))

    def features(
        self, views: Sequence[View], sources: Mapping[str, pa.Table], spine: pa.Table
    ) -> pa.Table:
        """The signals of the spine's rows. See `engines.base.Engine`."""
        found: dict[str, pa.Array] = {}
        for view in views:
            types = column_types(view, sources)
            check_spine(view, types, spine)
            groups = _prepare(view, sources, types)
            names = [name for name, _ in view.keys]
            keys = list(zip(*(_values(spine[name]) for name in names), strict=True))
            times = _values(spine["at"])
            for window in view.windows:
                results = [
                    _result(window, groups.get(key, []), at)
                    for key, at in zip(keys, times, strict=True)
                ]
                found[window.signal] = pa.array(results, result_type(view, window))
        return with_columns(spine, views, found)

    def derive(self, table: pa.Table, formulas: Sequence[Derived]) -> pa.Table:
        """The formulas of every row. See `engines.base.Deriving`."""
        check_inputs(table, formulas)
        for formula in formulas:
            tree, types = parse(formula.sql).tree, dict(formula.inputs)
            rows = _rows(table.select(list(types)))
            found = [_as(formula.type, evaluate(tree, row, types)) for row in rows]
            table = table.append_column(formula.signal, pa.array(found, ARROW[formula.type]))
        return table


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Python values; NaN as None, timestamps as microseconds."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
    return [clean(value) for value in column.to_pylist()]


def _rows(table: pa.Table) -> list[Row]:
    columns = {name: _values(table[name]) for name in table.column_names}
    return [{name: columns[name][i] for name in columns} for i in range(table.num_rows)]


def _prepare(
    view: View, sources: Mapping[str, pa.Table], types: Mapping[str, Type]
) -> dict[tuple[Any, ...], list[Row]]:
    """The prepared rows of each key: what its windows choose from."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    contents = [
        (join, {row[join.right]: row for row in _rows(sources[join.table])}) for join in view.joins
    ]
    trees = {column.name: (parse(column.sql).tree, column.type) for column in view.computed}
    for row in _rows(sources[view.source]):
        key = tuple(row[source] for _, source in view.keys)
        if None in key or row[view.time] is None:
            continue
        scope = dict(row)
        for join, partners in contents:
            partner = partners.get(row[join.left], {}) if row[join.left] is not None else {}
            for name in sources[join.table].column_names:
                scope[f"{join.table}.{name}"] = partner.get(name)
        prepared: Row = {"": row[view.time]}  # the time; no column has an empty name
        for name, (tree, kind) in trees.items():
            prepared[name] = _as(kind, evaluate(tree, scope, types))
        groups.setdefault(key, []).append(prepared)
    return groups


def _result(window: Window, rows: list[Row], at: int | None) -> Any:
    """One signal of one spine row."""
    inside = []
    for row in rows:
        time = row[""]
        assert isinstance(time, int), "rows without a time were dropped"
        start = None if at is None else window.start(at)
        passes = window.where is None or row[window.where] is True
        if at is not None and time < at and (start is None or time >= start) and passes:
            inside.append(row)
    if window.by is None:
        return _aggregate(window, inside, at)
    groups: dict[Any, list[Row]] = {}
    for row in inside:
        if row[window.by] is not None:
            groups.setdefault(row[window.by], []).append(row)
    return [(by, _aggregate(window, groups[by], at)) for by in sorted(groups)]


def _aggregate(window: Window, rows: Iterable[Row], now: int | None) -> Any:
    aggregate = REGISTRY[window.aggregate]
    state = aggregate.init()
    for row in rows:
        value, at = True if window.value is None else aggregate.admit(row[window.value]), row[""]
        assert isinstance(at, int), "rows without a time were dropped"
        if value is not None:
            state = aggregate.update(state, value, at)
    return aggregate.finish(state) if now is None else aggregate.finish_at(state, now)


def evaluate(node: Node, row: Mapping[str, Value | None], types: Mapping[str, Type]) -> Any:
    """The value of an expression for one row; None is null."""
    if node.op == "column":
        return row[node.value]
    if node.op in LITERALS:
        return node.value
    kind = type_of(node, types)
    args = [evaluate(child, row, types) for child in node.args]
    kinds = [type_of(child, types) for child in node.args]
    if Type.FLOAT in kinds and node.op not in ("case", "coalesce", "is null", "is not null"):
        args = [_as(Type.FLOAT, value) for value in args]
    if node.op in ("and", "or"):
        return _logic(node.op, args)
    if node.op in _LAZY:
        return _as(kind, _LAZY[node.op](args))
    if node.op in ("in", "not in"):
        return None if args[0] is None else (args[0] in args[1:]) == (node.op == "in")
    if node.op in ("between", "not between"):
        low, high = _compare(">=", args[0], args[1]), _compare("<=", args[0], args[2])
        both = _logic("and", [low, high])
        return both if node.op == "between" or both is None else not both
    if None in args:
        return None
    if node.op in COMPARISONS:
        return _compare(node.op, args[0], args[1])
    return _within(_STRICT[node.op](*args), kind)


def _as(kind: Type | None, value: Any) -> Any:
    if kind is Type.FLOAT and value is not None:
        return clean(float(value))
    return value


def _within(value: Any, kind: Type | None) -> Any:
    """What does not fit is null: ints beyond 64 bits, floats that are not numbers."""
    if kind is Type.FLOAT:
        return clean(value)
    if kind is Type.INT and value is not None and not -(2**63) <= value < 2**63:
        return None
    return value


def _logic(op: str, args: list[bool | None]) -> bool | None:
    """Three-valued: a decisive argument decides, else a null leaves it open."""
    decisive = op == "or"
    if decisive in args:
        return decisive
    return None if None in args else not decisive


def _compare(op: str, left: Any, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    if isinstance(left, str):
        left, right = left.encode(), right.encode()
    order = int(left > right) - int(left < right)
    holds: dict[str, bool] = {
        "=": order == 0,
        "<>": order != 0,
        "<": order < 0,
        "<=": order <= 0,
        ">": order > 0,
        ">=": order >= 0,
    }
    return holds[op]


def _case(args: list[Any]) -> Any:
    for test, result in zip(args[:-1:2], args[1:-1:2], strict=True):
        if test is True:
            return result
    return args[-1]


def _divide(left: float, right: float) -> float | None:
    return None if right == 0 else float(left) / float(right)


def _remainder(left: int, right: int) -> int | None:
    if right == 0:
        return None
    rest = abs(left) % abs(right)
    return rest if left >= 0 else -rest


_LAZY: Mapping[str, Callable[[list[Any]], Any]] = {
    "case": _case,
    "coalesce": lambda args: next((value for value in args if value is not None), None),
    "nullif": lambda args: None if _compare("=", args[0], args[1]) else args[0],
    "is null": lambda args: args[0] is None,
    "is not null": lambda args: args[0] is not None,
}
_STRICT: Mapping[str, Callable[..., Any]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": _divide,
    "%": _remainder,
    "neg": lambda x: -x,
    "not": lambda x: not x,
    "abs": lambda x: math.fabs(x) if isinstance(x, float) else abs(x),
    "double": float,
    "length": len,
    "||": lambda x, y: x + y,
    "substr": lambda text, start, length: text[start - 1 : start - 1 + length],
    "starts_with": lambda text, prefix: text.startswith(prefix),
}
