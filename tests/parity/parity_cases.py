"""Random views, tables and spines for the parity tests, and how results are compared."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from tacit.aggregates.algebra import REGISTRY, base_key
from tacit.declare.expression import Node, show
from tacit.engines.reference import Reference
from tacit.operations import Computed, Join, View, Window
from tacit.values import Type

SHARED = ("count", "sum", "mean", "min", "max", "first", "last", "distinct")
MORE = ("variance", "stddev", "since", "last_k(2)", "top_k(2)", "decayed(1s)", "decayed(30d)")
SKETCHES = ("approx_distinct", "approx_quantile(0)", "approx_quantile(0.5)", "approx_quantile(1)")
TABLE, CONTENT = 'ev"ents; --', "items"
TIMES = st.one_of(
    st.integers(-5, 25),
    st.sampled_from([-(2**63), -(2**62), 2**62, 2**63 - 1]),
)
TEXTS = st.one_of(
    st.sampled_from(
        ["1", "2", "11", "12", "", "'; DROP TABLE x; --", '"', "é", "z", "\U0001f600", "￿"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4),
    st.just("long" * 500),
)
HOSTILE = st.one_of(TEXTS, st.sampled_from(["\0", "a\0b", "a\0c", "a"]))
INTS = st.one_of(
    st.integers(-3, 9),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([-(2**63), 2**63 - 1, 2**53 + 1]),
)
FLOATS = st.one_of(
    st.sampled_from(
        [0.0, -0.0, 0.1, 1.5, -2.5, math.inf, -math.inf, math.nan, 1e16, 1e300, 5e-324]
    ),
    st.floats(-1e6, 1e6),
)
COLUMNS: dict[str, tuple[Type, pa.DataType, Any]] = {
    "user": (Type.TEXT, pa.string(), st.one_of(st.sampled_from(["1", "11", "a\0", "a"]), HOSTILE)),
    "item": (Type.TEXT, pa.string(), st.sampled_from(["12", "2", "", "x"])),
    "account": (Type.INT, pa.int64(), st.one_of(st.integers(0, 2), INTS)),
    'at "time"': (Type.INT, pa.int64(), TIMES),
    "price": (Type.FLOAT, pa.float64(), FLOATS),
    "quantity": (Type.INT, pa.int64(), INTS),
    "select": (Type.INT, pa.int64(), st.integers(-2, 2)),
    "name": (Type.TEXT, pa.string(), TEXTS),
    "tag": (Type.TEXT, pa.string(), HOSTILE),
    "ok": (Type.BOOL, pa.bool_(), st.booleans()),
}
CONTENTS: dict[str, tuple[Type, pa.DataType, Any]] = {
    "id": (Type.TEXT, pa.string(), st.sampled_from(["12", "2", "", "y"])),
    "genre": (Type.TEXT, pa.string(), TEXTS),
    "weight": (Type.FLOAT, pa.float64(), FLOATS),
}
KEYS = [
    (("user", "user"),),
    (("person", "user"), ("item", "item")),
    (("account", "account"),),
    (("item", "item"), ("account", "account"), ("person", "user")),
]


@dataclass(frozen=True)
class Case:
    view: View
    sources: dict[str, pa.Table]
    spine: pa.Table


def tables(
    columns: dict[str, tuple[Type, pa.DataType, Any]], size: int
) -> st.SearchStrategy[pa.Table]:
    rows = st.tuples(
        *(st.one_of(st.none(), value, value, value) for _, _, value in columns.values())
    )

    def build(found: list[tuple[Any, ...]]) -> pa.Table:
        arrays = [
            pa.array([row[i] for row in found], arrow)
            for i, (_, arrow, _) in enumerate(columns.values())
        ]
        return pa.table(arrays, names=list(columns))

    return st.lists(rows, max_size=size).map(build)


class Grower:
    """Random well-typed expressions; plain random numbers, since strategies this deep are slow."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def pick(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def column(self, kind: Type) -> Node:
        # SQLite's LENGTH and SUBSTR stop at U+0000, so "tag" is used only as it is.
        names = [n for n, (k, _, _) in COLUMNS.items() if k is kind and n not in ("tag", "user")]
        names += [f"items.{n}" for n, (k, _, _) in CONTENTS.items() if k is kind]
        return Node("column", (), self.pick(*names))

    def literal(self, kind: Type) -> Node:
        value: Any = {
            Type.BOOL: [True, False],
            Type.INT: [0, 1, -1, 2, 7, -3, -(2**63), 2**63 - 1, 2**53 + 1],
            Type.FLOAT: [0.0, 0.1, -1.5, 2.0, 1e16, 9007199254740992.0],
            Type.TEXT: ["", "1", "12", "'; DROP TABLE x; --", "é", "\U0001f600", "'\"--"],
        }[kind]
        return Node(kind.value, (), self.pick(*value))

    def number(self, depth: int) -> Node:
        return self.tree(self.pick(Type.INT, Type.FLOAT), depth)

    def pair(self, kind: Type, depth: int) -> tuple[Node, ...]:
        """Two operands whose common type is this one."""
        if kind is not Type.FLOAT:
            return (self.tree(kind, depth), self.tree(kind, depth))
        both = [self.tree(kind, depth), self.number(depth)]
        self.random.shuffle(both)
        return tuple(both)

    def tree(self, kind: Type, depth: int = 3) -> Node:
        if depth == 0 or self.random.random() < 0.25:
            return self.column(kind) if self.random.random() < 0.7 else self.literal(kind)
        depth -= 1
        if self.random.random() < 0.25:
            return self.choice(kind, depth)
        return getattr(self, kind.value)(depth)

    def choice(self, kind: Type, depth: int) -> Node:
        op = self.pick("coalesce", "nullif", "case", "case else")
        if op == "case else":
            return Node("case", (self.tree(Type.BOOL, depth), *self.pair(kind, depth)))
        if op == "case":
            return Node(op, (self.tree(Type.BOOL, depth), self.tree(kind, depth), Node("null")))
        return Node(op, self.pair(kind, depth))

    def int(self, depth: int) -> Node:
        op = self.pick("+", "-", "*", "%", "neg", "abs", "length")
        if op == "length":
            return Node(op, (self.tree(Type.TEXT, depth),))
        return self.arithmetic(op, Type.INT, depth)

    def float(self, depth: int) -> Node:
        op = self.pick("+", "-", "*", "/", "neg", "abs", "double")
        if op == "/":
            return Node(op, (self.number(depth), self.number(depth)))
        if op == "double":
            return Node(op, (self.tree(Type.INT, depth),))
        return self.arithmetic(op, Type.FLOAT, depth)

    def arithmetic(self, op: str, kind: Type, depth: int) -> Node:
        if op not in ("neg", "abs"):
            return Node(op, self.pair(kind, depth))
        inner = self.tree(kind, depth)
        return Node("abs" if inner.op in ("int", "float") else op, (inner,))

    def text(self, depth: int) -> Node:
        if self.pick(True, False):
            return Node("||", self.pair(Type.TEXT, depth))
        start, count = Node("int", (), self.pick(1, 2, 5)), Node("int", (), self.pick(0, 1, 3))
        return Node("substr", (self.tree(Type.TEXT, depth), start, count))

    def bool(self, depth: int) -> Node:
        kind = self.pick(Type.INT, Type.FLOAT, Type.TEXT)
        boolean = self.tree(Type.BOOL, depth)
        match self.random.randrange(8):
            case 0:
                rest = [self.literal(kind) for _ in range(self.pick(1, 3))]
                return Node(self.pick("in", "not in"), (self.tree(kind, depth), *rest))
            case 1:
                args = (*self.pair(kind, depth), self.tree(kind, depth))
                return Node(self.pick("between", "not between"), args)
            case 2:
                anything = self.tree(self.pick(kind, Type.BOOL), depth)
                return Node(self.pick("is null", "is not null"), (anything,))
            case 3:
                return Node(self.pick("and", "or"), (boolean, self.tree(Type.BOOL, depth)))
            case 4:
                return Node("not", (boolean,))
            case 5:
                args = (self.tree(Type.TEXT, depth), self.literal(Type.TEXT))
                return Node("starts_with", args)
            case _:
                op = self.pick("=", "<>", "<", "<=", ">", ">=")
                return Node(op, self.pair(kind, depth))


@st.composite
def computed(draw: st.DrawFn, index: int, kinds: list[Type], plain: bool) -> Computed:
    kind = draw(st.sampled_from(kinds))
    if kind is Type.TEXT and draw(st.booleans()):
        return Computed(f"e{index}", "tag", kind)
    grower = Grower(draw(st.integers(0, 2**63)))
    found = grower.column(kind) if plain else grower.tree(kind)
    return Computed(f"e{index}", show(found), kind)


@st.composite
def views(
    draw: st.DrawFn,
    keys: tuple[tuple[str, str], ...],
    plain: bool = False,
    aggregates: Sequence[str] = SHARED,
    name: str = "v",
) -> View:
    """A view with up to six windows. ``plain``: bare columns only."""
    every = [Type.INT, Type.FLOAT, Type.TEXT, Type.BOOL]
    columns: list[Computed] = []
    windows: list[Window] = []
    for i in range(draw(st.integers(1, 6))):
        aggregate = draw(st.sampled_from(aggregates))
        parts: dict[str, str | None] = {"value": None, "by": None, "where": None}
        kinds = every if REGISTRY[aggregate].accepts(Type.TEXT) else every[:2]
        if not REGISTRY[aggregate].accepts(None) or draw(st.booleans()):
            columns.append(draw(computed(len(columns), kinds, plain)))
            parts["value"] = columns[-1].name
        for part, allowed in (("by", every), ("where", [Type.BOOL])):
            if draw(st.integers(0, 2)) == 0:
                columns.append(draw(computed(len(columns), allowed, plain)))
                parts[part] = columns[-1].name
        length = draw(st.sampled_from([1, 5, 10, 2**61, None]))
        hop = None
        if length is not None and draw(st.integers(0, 2)) == 0:
            hop = draw(st.sampled_from([h for h in (1, 3, 5, 7, length) if h <= length]))
        signal = f'{name} sig"{i}'
        windows.append(
            Window(signal, aggregate, parts["value"], parts["by"], parts["where"], length, hop)
        )
    joins = (Join(CONTENT, "item", "id"),)
    return View(name, TABLE, keys, 'at "time"', joins, tuple(columns), tuple(windows))


@st.composite
def sources(draw: st.DrawFn, size: int) -> dict[str, pa.Table]:
    content = draw(tables(CONTENTS, 4))
    return {TABLE: draw(tables(COLUMNS, size)), CONTENT: _unique(content)}


@st.composite
def cases(
    draw: st.DrawFn, *, plain: bool = False, size: int = 14, aggregates: Sequence[str] = SHARED
) -> Case:
    """A view, its tables and a spine."""
    keys = draw(st.sampled_from(KEYS))
    view = draw(views(keys, plain, aggregates))
    return Case(view, draw(sources(size)), draw(spines(keys)))


@st.composite
def crowds(draw: st.DrawFn, *, count: int, size: int = 14) -> list[Case]:
    """Many views of the same tables, for the same spine: an engine answers them in one call."""
    found = [
        draw(views(KEYS[i % len(KEYS)], i % 3 == 0, SHARED + MORE + SKETCHES, f"v{i}"))
        for i in range(count)
    ]
    held = draw(sources(size))
    spine = draw(spines(tuple(dict.fromkeys(key for keys in KEYS for key in keys))))
    return [Case(view, held, spine) for view in found]


def _unique(content: pa.Table) -> pa.Table:
    """A content table holds each key at most once."""
    ids = content["id"].to_pylist()
    return content.take(
        pa.array([i for i, key in enumerate(ids) if key not in ids[:i]], pa.int64())
    )


def spines(keys: tuple[tuple[str, str], ...]) -> st.SearchStrategy[pa.Table]:
    return tables(
        {spine: COLUMNS[source] for spine, source in keys} | {"at": (Type.INT, pa.int64(), TIMES)},
        6,
    )


def with_magnitudes(view: View) -> View:
    """The view with a sum of magnitudes for every sum of floats: the scale of its error."""
    columns, windows = list(view.computed), list(view.windows)
    for window in view.windows:
        key = base_key(window.aggregate)
        if key in ("sum", "mean", "variance", "stddev", "decayed") and window.value is not None:
            value = view.column(window.value)
            square = key == "variance"
            name = f"square {value.name}" if square else f"abs {value.name}"
            sql = f"ABS(({value.sql}) + 0.0)"  # of the least int there is no ABS
            sql = f"({sql}) * ({sql})" if square else sql
            if name not in {column.name for column in columns}:
                columns.append(Computed(name, sql, Type.FLOAT))
            windows.append(
                replace(window, signal=f"abs {window.signal}", aggregate="sum", value=name)
            )
    return replace(view, computed=tuple(columns), windows=tuple(windows))


def check_crowd(crowd: list[Case], *results: tuple[str, pa.Table]) -> None:
    """Each view's part of every result."""
    spine = crowd[0].spine
    signals = [window.signal for case in crowd for window in case.view.windows]
    for name, result in results:
        assert result.column_names == [*spine.column_names, *signals], name
    for case in crowd:
        own = [*spine.column_names, *(window.signal for window in case.view.windows)]
        check(case, *((name, result.select(own)) for name, result in results))


def check(case: Case, *results: tuple[str, pa.Table]) -> None:
    """Every result equals the oracle's: floats to 1e-9 of the sum of magnitudes, the rest exactly."""
    expected = Reference().features([with_magnitudes(case.view)], case.sources, case.spine)
    for name, result in results:
        assert result.num_rows == case.spine.num_rows
        assert result.column_names == [
            *case.spine.column_names,
            *(w.signal for w in case.view.windows),
        ]
        assert result.select(case.spine.column_names).equals(case.spine)
        for window in case.view.windows:
            scales: list[Any] = [0.0] * case.spine.num_rows
            if f"abs {window.signal}" in expected.column_names:
                scales = expected[f"abs {window.signal}"].to_pylist()
            assert result[window.signal].type == expected[window.signal].type
            ours = result[window.signal].to_pylist()
            theirs = expected[window.signal].to_pylist()
            for row, (found, wanted, scale) in enumerate(zip(ours, theirs, scales, strict=True)):
                assert same(found, wanted, scale), (name, window, row, found, wanted, scale)


def same(found: Any, wanted: Any, scale: Any) -> bool:
    if isinstance(wanted, list) and all(not isinstance(value, tuple) for value in wanted):
        return found is not None and [plain(value) for value in found] == [
            plain(value) for value in wanted
        ]
    if isinstance(wanted, list):
        scales = dict(scale) if isinstance(scale, list) else {}
        return [by for by, _ in found] == [by for by, _ in wanted] and all(
            same(x, y, scales.get(by, 0.0)) for (by, x), (_, y) in zip(found, wanted, strict=True)
        )
    if isinstance(wanted, float) and isinstance(found, float):
        if found == wanted:
            return math.copysign(1, found) == math.copysign(1, wanted) or wanted != 0
        return bool(scale) and abs(found - wanted) <= 1e-9 * scale + 1e-320
    if scale is not None and scale > 1.7e308:
        return True  # magnitudes that overflow a double leave a float sum open
    return bool(found == wanted and type(found) is type(wanted))


def plain(value: Any) -> tuple[type, Any, float]:
    """What equal values of a list have in common: also their type, and the sign of a zero."""
    return type(value), value, math.copysign(1, value) if isinstance(value, float) else 0.0
