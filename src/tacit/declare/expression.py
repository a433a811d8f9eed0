"""Tacit's SQL expression subset: what a signal's value, filter and grouping may say.

Only what gives the same answer in DuckDB, SQLite (SQLCipher) and Spark is here. Everything else is
refused by name. The grammar is small enough to be read by its own parser, some ten times faster
than a general SQL parser: a plan of ten thousand signals parses each of its expressions.

==================  ===========================================================================
literals            ``1`` ``1.5`` ``1e3`` ``'text'`` ``TRUE`` ``FALSE`` ``NULL``
columns             ``price``, ``items.genre`` (joined), ``"odd name"``; case matters
arithmetic          ``+ - *`` and unary ``-``; ``/`` is always float, null when the divisor is 0;
                    ``%`` on ints, with the sign of the dividend, null when the divisor is 0
comparison          ``= <> != < <= > >=``, ``[NOT] BETWEEN``, ``[NOT] IN (literals)``,
                    ``IS [NOT] NULL``
logic               ``AND OR NOT``, three-valued
choice              ``CASE WHEN … THEN … [ELSE …] END``, ``CASE x WHEN …``, ``COALESCE``, ``NULLIF``
numbers             ``ABS``, ``CAST(int AS DOUBLE)``
text                ``||``, ``LENGTH`` (code points), ``SUBSTR(text, start, n)`` (literal start >= 1
                    and n >= 0), ``STARTS_WITH(text, 'literal')``
==================  ===========================================================================

One meaning: an int beyond 64 bits is null, a float that is not a number is null, ints and floats
mixed become floats before anything is done to them, text compares by code point, bools only by
``=`` and ``<>``. Not here, since engines differ: subqueries, aggregates (the signal has one),
window functions, casts to int or text, LIKE, UPPER and LOWER, ROUND, dates, regular expressions.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

from tacit.declare.syntax import (
    COMPARISONS,
    LITERALS,
    MAX_DEPTH,
    SURROGATE,
    Node,
    Parser,
    WrongError,
    negate,
    show,
    walk,
)
from tacit.errors import DeclarationError
from tacit.values import SCALARS, Type

__all__ = [
    "COMPARISONS",
    "LITERALS",
    "MAX_DEPTH",
    "OPERATORS",
    "Expression",
    "Node",
    "parse",
    "show",
    "type_of",
    "unite",
    "walk",
]


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression: its canonical text, the columns it reads, its tree."""

    sql: str
    columns: frozenset[str]
    tree: Node

    def infer(self, schema: Mapping[str, Type], *, where: str | None = None) -> Type:
        """The type over columns of these types.

        Raises DeclarationError T111 for an unknown column and T112 for a wrong type.
        """
        try:
            kind = type_of(self.tree, schema)
            if kind is None:
                raise WrongError(
                    "NULL alone has no type", "give it a value beside the NULL", "T112"
                )
        except WrongError as wrong:
            _refuse(self.sql, wrong, where)
        return kind

    def substitute(self, mapping: Mapping[str, Expression]) -> Expression:
        """The expression with these columns replaced by expressions (derived columns inlined)."""
        if self.columns.isdisjoint(mapping):
            return self
        try:
            return _expression(_substitute(self.tree, mapping))
        except WrongError as wrong:
            _refuse(self.sql, wrong, None)


def parse(sql: str, *, where: str | None = None) -> Expression:
    """Read one expression. Raises DeclarationError T110, naming the fragment and the fix."""
    try:
        return _parse(sql)
    except WrongError as wrong:
        _refuse(sql, wrong, where)


def _refuse(sql: str, wrong: WrongError, where: str | None) -> NoReturn:
    shown = sql if len(sql) <= 200 else sql[:200] + "…"
    raise DeclarationError(
        f"{wrong.message} in {shown!r}", fix=wrong.fix, code=wrong.code, where=where
    ) from None


@lru_cache(maxsize=65_536)
def _parse(sql: str) -> Expression:
    if not isinstance(sql, str):
        raise WrongError(
            "an expression is text", 'write it as a string of SQL, such as "price * 2"'
        )
    if "\0" in sql or SURROGATE.search(sql):
        raise WrongError("a character that no engine stores", "remove U+0000 and lone surrogates")
    return _expression(Parser(sql).whole())


def _expression(tree: Node) -> Expression:
    columns: set[str] = set()
    _measure(tree, columns, 1)
    return Expression(show(tree), frozenset(columns), tree)


def _measure(node: Node, columns: set[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise WrongError(
            f"more than {MAX_DEPTH} levels of nesting", "split it; use IN for a chain of ORs"
        )
    if node.op == "column":
        columns.add(node.value)
    elif node.op == "int" and not -(2**63) <= node.value < 2**63:
        raise WrongError(f"{node.value} does not fit 64 bits", "write it as a float")
    for child in node.args:
        _measure(child, columns, depth + 1)


def _substitute(node: Node, mapping: Mapping[str, Expression]) -> Node:
    if node.op == "column":
        return mapping[node.value].tree if node.value in mapping else node
    if not node.args:
        return node
    args = tuple(_substitute(child, mapping) for child in node.args)
    return negate(args[0]) if node.op == "neg" else Node(node.op, args, node.value)


def type_of(node: Node, schema: Mapping[str, Type]) -> Type | None:
    """The type of a node over these columns; None for a bare NULL. Raises like ``infer``."""
    if node.op == "column":
        kind = schema.get(node.value)
        return kind if kind is not None else _unknown(node.value, schema)
    if node.op in LITERALS:
        return LITERALS[node.op]
    kinds = [type_of(child, schema) for child in node.args]
    if Type.VECTOR in kinds:
        vector = show(node.args[kinds.index(Type.VECTOR)])
        fix = "take a sum, mean or last of the vector as it is"
        raise WrongError(f"{node.op.upper()} of {vector!r}, which is a vector", fix, "T112")
    return _RULES[node.op](node, kinds)


def _unknown(name: str, schema: Mapping[str, Type]) -> NoReturn:
    near = difflib.get_close_matches(name, schema, 1, 0.5)
    fix = f"did you mean {near[0]!r}?" if near else "columns: " + ", ".join(sorted(schema)[:20])
    raise WrongError(f"there is no column {name!r}", fix, "T111")


_Kinds = list[Type | None]
_WHOLE = (Type.INT, Type.TIME)
_NUMBER = (*_WHOLE, Type.FLOAT)
_ANY = SCALARS


def _expect(node: Node, kinds: _Kinds, allowed: tuple[Type, ...], fix: str) -> None:
    for child, kind in zip(node.args, kinds, strict=True):
        if kind not in allowed:
            name = kind.value if kind else "a NULL without a type"
            raise WrongError(f"{node.op.upper()} of {show(child)!r}, which is {name}", fix, "T112")


def unite(kinds: _Kinds) -> Type | None:
    """The one type that all of them can take; raises when there is none. Nulls take any."""
    known = set(kinds) - {None}
    if len(known) <= 1:
        return known.pop() if known else None
    if known <= set(_NUMBER):
        return Type.FLOAT if Type.FLOAT in known else Type.INT
    names = " and ".join(sorted(kind.value for kind in known if kind))
    raise WrongError(f"{names} have no type in common", "compare and mix like with like", "T112")


def _arithmetic(node: Node, kinds: _Kinds) -> Type | None:
    _expect(node, kinds, _NUMBER, "give it numbers; text is joined by ||")
    if node.op == "/" or Type.FLOAT in kinds:
        return Type.FLOAT
    return Type.INT


def _whole(node: Node, kinds: _Kinds) -> Type | None:
    _expect(node, kinds, _WHOLE, "% and CAST take ints")
    return Type.FLOAT if node.op == "double" else Type.INT


def _compare(node: Node, kinds: _Kinds) -> Type | None:
    ordered = node.op not in ("=", "<>", "in", "not in")
    allowed = (*_NUMBER, Type.TEXT) if ordered else _ANY
    _expect(node, kinds, allowed, "bools compare by = and <> only; test for NULL with IS NULL")
    unite(kinds)
    return Type.BOOL


def _logic(node: Node, kinds: _Kinds) -> Type | None:
    _expect(node, kinds, (Type.BOOL,), "write a condition, such as x > 0 or x IS NOT NULL")
    return Type.BOOL


def _case(node: Node, kinds: _Kinds) -> Type | None:
    tests = Node("case when", node.args[:-1:2])
    _logic(tests, kinds[:-1:2])
    return unite([*kinds[1:-1:2], kinds[-1]])


def _text(node: Node, kinds: _Kinds) -> Type | None:
    first = node._replace(args=node.args[:1]) if node.op == "substr" else node
    _expect(first, kinds[: len(first.args)], (Type.TEXT,), "give it text")
    return {"length": Type.INT, "starts_with": Type.BOOL}.get(node.op, Type.TEXT)


def _nullif(node: Node, kinds: _Kinds) -> Type | None:
    _expect(node, kinds, _ANY, "compare with a value")
    return unite(kinds)


_RULES: Mapping[str, Callable[[Node, _Kinds], Type | None]] = {
    **dict.fromkeys(("+", "-", "*", "/", "neg", "abs"), _arithmetic),
    **dict.fromkeys(("%", "double"), _whole),
    **dict.fromkeys((*COMPARISONS, "in", "not in", "between", "not between"), _compare),
    **dict.fromkeys(("and", "or", "not"), _logic),
    **dict.fromkeys(("is null", "is not null"), lambda node, kinds: Type.BOOL),
    **dict.fromkeys(("length", "||", "substr", "starts_with"), _text),
    "case": _case,
    "coalesce": lambda node, kinds: unite(kinds),
    "nullif": _nullif,
}
OPERATORS: tuple[str, ...] = tuple(_RULES)
"""Everything that a node may be, but columns and literals."""
