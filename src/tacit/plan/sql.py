"""Lowering: views and windows to SQL, once, as sqlglot trees.

``view_select`` prepares the rows of a view: columns ``k0, k1, …`` (its keys, in order), ``at``, and
``c0, c1, …`` (its computed columns, in order). Names are positional, so that no two can collide,
also not where an engine folds case. ``plan.window_sql`` puts windows on top, for engines
without a kernel. A ``Dialect`` says how an engine spells the few things that SQL leaves
open; every identifier is quoted, every literal is typed.

What the trees guarantee, in every engine alike: NaN is null, -0.0 is 0.0, an int beyond 64 bits is
null, ``/`` is float and null for a divisor of 0, ints and floats mix as floats.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from tacit.declare.expression import LITERALS, Node, parse, type_of, unite
from tacit.operations import Derived, View
from tacit.values import Type


@dataclass(frozen=True, slots=True)
class Dialect:
    """How an engine spells what SQL leaves open. ``name`` is sqlglot's."""

    name: str
    typed: bool  # values have the type of their column; False: SQLite's dynamic types
    guarded: bool = False  # has try_add and the like, and no TRY around an expression


DUCKDB = Dialect("duckdb", typed=True)
SQLITE = Dialect("sqlite", typed=False)
SPARK = Dialect("spark", typed=True, guarded=True)


def view_select(view: View, types: Mapping[str, Type], dialect: Dialect = DUCKDB) -> exp.Select:
    """The prepared rows: rows without a key or a time are dropped.

    ``types`` covers the source's columns and, dotted, those of its joins, as far as the view names
    them.
    """
    lower = _Lowering(view, types, dialect)
    columns = [
        exp.alias_(lower.cast_column(source), f"k{i}", quoted=True)
        for i, (_, source) in enumerate(view.keys)
    ]
    columns.append(exp.alias_(lower.cast_column(view.time), "at", quoted=True))
    for i, computed in enumerate(view.computed):
        tree = lower.result(parse(computed.sql).tree, computed.type)
        columns.append(exp.alias_(tree, f"c{i}", quoted=True))
    select = exp.select(*columns).from_(table_as(view.source, "s"))
    for i, join in enumerate(view.joins):
        on = exp.EQ(this=column_of("s", join.left), expression=column_of(f"j{i}", join.right))
        select = select.join(table_as(join.table, f"j{i}"), on=on, join_type="left")
    needed = [source for _, source in view.keys] + [view.time]
    return select.where(*(not_null(column_of("s", name)) for name in needed))


def derived_select(
    derived: Sequence[Derived], table: str, row: str, dialect: Dialect = DUCKDB
) -> exp.Select:
    """The columns ``row`` and one a formula, over a table that holds ``row`` and their inputs."""
    types = {name: kind for one in derived for name, kind in one.inputs}
    columns = [exp.alias_(column_of("s", row), row, quoted=True)]
    for one in derived:
        tree = expression_tree(one.sql, one.type, types, dialect)
        columns.append(exp.alias_(tree, one.signal, quoted=True))
    return exp.select(*columns).from_(table_as(table, "s"))


def expression_tree(
    sql: str, kind: Type, types: Mapping[str, Type], dialect: Dialect = DUCKDB
) -> exp.Expr:
    """An expression over the columns, of these types, of a table that is called ``s``."""
    lower = _Lowering(View("s", "s", (), "", (), (), ()), types, dialect)
    return lower.result(parse(sql).tree, kind)


def row_name(names: Iterable[str]) -> str:
    """A name for a column of row numbers that no engine takes for one of these."""
    taken = {name.casefold() for name in names}
    row = "row"
    while row in taken:
        row += "_"
    return row


def table_as(name: str, alias: str) -> exp.Table:
    return exp.Table(
        this=exp.to_identifier(name, quoted=True),
        alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True)),
    )


def column_of(table: str, name: str) -> exp.Column:
    return exp.column(name, table=table, quoted=True)


def not_null(tree: exp.Expr) -> exp.Expr:
    return exp.Not(this=exp.Is(this=tree, expression=exp.Null()))


def whole(value: int) -> exp.Expr:
    literal = exp.Literal.number(str(abs(value)))
    return exp.Paren(this=exp.Neg(this=literal)) if value < 0 else literal


def within_64_bits(tree: exp.Expr) -> exp.Expr:
    """SQLite goes on in floats where ints end: null there."""
    kind = exp.EQ(
        this=exp.Anonymous(this="typeof", expressions=[tree.copy()]),
        expression=exp.Literal.string("integer"),
    )
    return exp.Case(ifs=[exp.If(this=kind, true=tree)])


_BINARY: Mapping[str, type[exp.Binary]] = {
    "+": exp.Add,
    "-": exp.Sub,
    "*": exp.Mul,
    "=": exp.EQ,
    "<>": exp.NEQ,
    "<": exp.LT,
    "<=": exp.LTE,
    ">": exp.GT,
    ">=": exp.GTE,
    "and": exp.And,
    "or": exp.Or,
    "||": exp.DPipe,
}
_CHAIN = frozenset(("+", "-", "*", "neg", "abs"))  # may leave the 64 bits
_LONGEST = 2**31 - 1  # characters of a text
_TRIED = {"+": "try_add", "-": "try_subtract", "*": "try_multiply", "neg": "try_subtract"}


def _call(name: str, *args: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=list(args))


class _Lowering:
    """Expression trees to sqlglot trees, with the types known."""

    def __init__(self, view: View, types: Mapping[str, Type], dialect: Dialect) -> None:
        self.tables = {join.table: f"j{i}" for i, join in enumerate(view.joins)}
        self.types = types
        self.dialect = dialect

    def result(self, node: Node, kind: Type) -> exp.Expr:
        """A whole expression as a column of that type."""
        tree = self.lower(node, kind)
        if kind is Type.FLOAT:  # + 0.0 turns -0.0 into 0.0
            return exp.Add(this=exp.paren(tree), expression=self.literal(Node("float", (), 0.0)))
        return tree

    def cast_column(self, name: str) -> exp.Expr:
        """A column, brought to the one type that its kind has: engines store narrower ones too."""
        table, dot, column = name.partition(".")
        tree = column_of(self.tables[table], column) if dot else column_of("s", name)
        kind = self.types[name]
        if not self.dialect.typed:
            return self.cast(tree, "REAL") if kind is Type.FLOAT else tree
        cast = self.cast(tree, _SQL_TYPES[kind])
        return self.finite(cast) if kind is Type.FLOAT else cast

    def cast(self, tree: exp.Expr, to: str) -> exp.Expr:
        return exp.Cast(this=tree, to=exp.DataType.build(to))

    def finite(self, tree: exp.Expr) -> exp.Expr:
        """NaN becomes null. NaN equals NaN where columns are typed; SQLite has none."""
        if not self.dialect.typed:
            return tree
        if self.dialect.guarded:
            return _call("nanvl", tree, self.cast(exp.Null(), "DOUBLE"))
        nan = self.cast(exp.Literal.string("NaN"), "DOUBLE")
        return exp.Nullif(this=tree, expression=nan)

    def lower(self, node: Node, want: Type | None = None) -> exp.Expr:
        """The tree of a node; an int is made a float where one is wanted."""
        kind = type_of(node, self.types)
        if want is Type.FLOAT and kind not in (Type.FLOAT, None):
            if node.op == "int":
                return self.literal(Node("float", (), float(node.value)))
            return self.cast(self.lower(node), "DOUBLE" if self.dialect.typed else "REAL")
        if node.op == "column":
            return self.cast_column(node.value)
        if node.op in LITERALS:
            return self.literal(node)
        if node.op in _CHAIN or node.op == "/":
            chain = self.chain(node, kind)
            return chain if kind is Type.FLOAT else self.within_64_bits(chain)
        name = "remainder" if node.op == "%" else node.op.replace(" ", "_")
        method = getattr(self, "op_" + name, None)
        return method(node) if method else self.operator(node)

    def literal(self, node: Node) -> exp.Expr:
        if node.op == "text":
            return exp.Literal.string(node.value)
        if node.op == "bool":
            return exp.Boolean(this=node.value)
        if node.op == "null":
            return exp.Null()
        if node.op == "int":
            return (
                self.cast(whole(node.value), "BIGINT") if self.dialect.typed else whole(node.value)
            )
        text = repr(abs(node.value))  # with an exponent: else a DECIMAL to some engines
        number = exp.Literal.number(text if "e" in text else text + "e0")
        return exp.Paren(this=exp.Neg(this=number)) if node.value < 0 else number

    def chain(self, node: Node, kind: Type | None) -> exp.Expr:
        """Arithmetic. Ints are guarded once around the chain, floats at each operation."""
        want = Type.FLOAT if kind is Type.FLOAT else None
        args = []
        for child in node.args:
            inner = want is None and child.op in _CHAIN
            tree = self.chain(child, kind) if inner else self.lower(child, want)
            args.append(exp.paren(tree) if isinstance(tree, exp.Binary | exp.Neg) else tree)
        if want is None and self.dialect.guarded and node.op in _TRIED:
            first = [self.literal(Node("int", (), 0))] if node.op == "neg" else []
            return _call(_TRIED[node.op], *first, *args)
        if node.op == "neg":
            if want is None and self.dialect.typed:
                # DuckDB folds -(a constant) while it binds, where no TRY guards it yet.
                return exp.Sub(this=self.literal(Node("int", (), 0)), expression=args[0])
            return exp.Neg(this=args[0])
        if node.op == "abs":
            # abs() of the least int raises there
            if want is None and (self.dialect.guarded or not self.dialect.typed):
                args[0] = exp.Nullif(this=args[0], expression=whole(-(2**63)))
            return exp.Abs(this=args[0])
        if node.op == "/":
            zero = self.literal(Node("float", (), 0.0))
            divisor = exp.Nullif(this=args[1], expression=zero)
            return self.finite(exp.Div(this=args[0], expression=divisor, typed=False, safe=False))
        tree = _BINARY[node.op](this=args[0], expression=args[1])
        return self.finite(tree) if want else tree

    def within_64_bits(self, tree: exp.Expr) -> exp.Expr:
        if self.dialect.guarded:
            return tree
        return exp.Try(this=tree) if self.dialect.typed else within_64_bits(tree)

    def operands(self, node: Node) -> list[exp.Expr]:
        """The arguments, brought to one type and put in parentheses where they are operators."""
        common = unite([type_of(child, self.types) for child in node.args])
        trees = [self.lower(child, common) for child in node.args]
        loose = (exp.Binary, exp.Not, exp.Between, exp.In, exp.Neg)
        return [exp.paren(tree) if isinstance(tree, loose) else tree for tree in trees]

    def operator(self, node: Node) -> exp.Expr:
        args = self.operands(node)
        return _BINARY[node.op](this=args[0], expression=args[1])

    def op_not(self, node: Node) -> exp.Expr:
        return exp.Not(this=self.operands(node)[0])

    def op_is_null(self, node: Node) -> exp.Expr:
        return exp.Is(this=self.operands(node)[0], expression=exp.Null())

    def op_is_not_null(self, node: Node) -> exp.Expr:
        return exp.Not(this=exp.Paren(this=self.op_is_null(node)))

    def op_in(self, node: Node) -> exp.Expr:
        first, *rest = self.operands(node)
        return exp.In(this=first, expressions=rest)

    def op_not_in(self, node: Node) -> exp.Expr:
        return exp.Not(this=exp.Paren(this=self.op_in(node)))

    def op_between(self, node: Node) -> exp.Expr:
        first, low, high = self.operands(node)
        return exp.Between(this=first, low=low, high=high)

    def op_not_between(self, node: Node) -> exp.Expr:
        return exp.Not(this=exp.Paren(this=self.op_between(node)))

    def op_case(self, node: Node) -> exp.Expr:
        want = type_of(node, self.types)
        ifs = [
            exp.If(this=self.lower(test), true=self.lower(result, want))
            for test, result in zip(node.args[:-1:2], node.args[1:-1:2], strict=True)
        ]
        return exp.Case(ifs=ifs, default=self.lower(node.args[-1], want))

    def op_coalesce(self, node: Node) -> exp.Expr:
        first, *rest = self.operands(node)
        # SQLite refuses COALESCE of one argument
        return exp.Coalesce(this=first, expressions=rest or [exp.Null()])

    def op_nullif(self, node: Node) -> exp.Expr:
        left, right = self.operands(node)
        return exp.Nullif(this=left, expression=right)

    def op_length(self, node: Node) -> exp.Expr:
        return exp.Length(this=self.lower(node.args[0]))

    def op_substr(self, node: Node) -> exp.Expr:
        """No text is so long that the ends here cut off any. Past them engines raise, but only
        where there is a row: whoever asks a private question would see that there is one."""
        text, start, length = node.args
        first, count = (whole(min(each.value, _LONGEST)) for each in (start, length))
        return exp.Substring(this=self.lower(text), start=first, length=count)

    def op_starts_with(self, node: Node) -> exp.Expr:
        text, prefix = node.args
        head = exp.Substring(this=self.lower(text), start=whole(1), length=whole(len(prefix.value)))
        return exp.EQ(this=head, expression=self.literal(prefix))

    def op_double(self, node: Node) -> exp.Expr:
        return self.lower(node.args[0], Type.FLOAT)

    def op_remainder(self, node: Node) -> exp.Expr:
        """The sign is the dividend's, so dividing by 1 is dividing by -1, which can overflow."""
        left, right = (exp.paren(self.lower(child)) for child in node.args)
        divisor: exp.Expr = exp.Nullif(this=right, expression=whole(0))
        if node.args[1].op == "int" and node.args[1].value not in (0, -1):
            divisor = right
        elif self.dialect.typed:
            test = exp.EQ(this=right.copy(), expression=whole(-1))
            divisor = exp.Case(ifs=[exp.If(this=test, true=whole(1))], default=divisor)
        return exp.Mod(this=left, expression=divisor)


_SQL_TYPES: Mapping[Type, str] = {
    Type.INT: "BIGINT",
    Type.TIME: "BIGINT",
    Type.FLOAT: "DOUBLE",
    Type.TEXT: "TEXT",
    Type.BOOL: "BOOLEAN",
    Type.VECTOR: "FLOAT[]",
}
