"""The grammar of the expression subset: tokens, tree, parser, canonical text.

``declare.expression`` documents the language; nothing else should need this module.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

from tacit.values import Type

MAX_DEPTH = 64  # of a tree, derived columns inlined; recursion in every reader is bounded by it


class Node(NamedTuple):
    """One operation of a tree.

    ``op`` is a literal (``int float text bool null``), ``column``, an operator as it is written
    (``+``, ``and``, ``is null``, ``not in`` …), ``neg``, ``case`` (condition, result, … and last
    the ELSE) or a function (``coalesce nullif abs length substr starts_with double``).
    """

    op: str
    args: tuple[Node, ...] = ()
    value: Any = None


LITERALS: Mapping[str, Type | None] = {
    "int": Type.INT,
    "float": Type.FLOAT,
    "text": Type.TEXT,
    "bool": Type.BOOL,
    "null": None,
}
COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")
FUNCTIONS: Mapping[str, tuple[int, int]] = {  # name -> least and most arguments
    "coalesce": (1, 64),
    "nullif": (2, 2),
    "abs": (1, 1),
    "length": (1, 1),
    "substr": (3, 3),
    "starts_with": (2, 2),
}
_AGGREGATES = ("count", "sum", "avg", "mean", "min", "max", "first", "last", "distinct", "median")
# fmt: off
_RESERVED = frozenset((
    "and", "or", "not", "is", "null", "true", "false", "in", "between", "case", "when", "then",
    "else", "end", "cast", "as", "select", "from", "where", "like", "over", "distinct", "order",
    "group", "by", "having", "union", "all", "exists", "interval",
))
# fmt: on
_LEVEL = {"or": 1, "and": 2, "not": 3, "||": 5, "+": 6, "-": 6, "*": 7, "/": 7, "%": 7, "neg": 8}
_LEVEL |= dict.fromkeys((*COMPARISONS, "is null", "is not null"), 4)
_LEVEL |= dict.fromkeys(("in", "not in", "between", "not between"), 4)
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SURROGATE = re.compile("[\ud800-\udfff]")
_TOKEN = re.compile(
    r"(?:\s|--[^\n]*|/\*.*?\*/)*"
    r"(?:(?P<number>(?:[0-9]+\.[0-9]*|\.?[0-9]+)(?:[eE][+-]?[0-9]+)?(?!\w))|(?P<name>[^\W\d]\w*)"
    r"|(?P<text>'(?:[^']|'')*')|(?P<quoted>\"(?:[^\"]|\"\")+\")"
    r"|(?P<op><>|!=|<=|>=|\|\||[-+*/%=<>(),.])|(?P<end>\Z)|(?P<bad>.))",
    re.DOTALL,
)


class WrongError(Exception):
    """A refusal without its place; ``parse`` and ``infer`` add the place and raise it."""

    def __init__(self, message: str, fix: str, code: str = "T110") -> None:
        super().__init__(message)
        self.message, self.fix, self.code = message, fix, code


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield node
    for child in node.args:
        yield from walk(child)


class Parser:
    """Precedence climbing over the tokens: OR, AND, NOT, comparison, ||, + -, * / %, unary."""

    def __init__(self, sql: str) -> None:
        self.tokens = [(m.lastgroup or "", m[m.lastgroup or 0]) for m in _TOKEN.finditer(sql)]
        self.words = [text.lower() if k in ("name", "op") else "" for k, text in self.tokens]
        self.at = 0
        self.depth = 0

    def whole(self) -> Node:
        node = self.either()
        if self.tokens[self.at][0] != "end":
            self.stray()
        return node

    def take(self, *words: str) -> str | None:
        word = self.words[self.at]
        if word in words:
            self.at += 1
            return word
        return None

    def need(self, word: str) -> None:
        if not self.take(word):
            kind, text = self.tokens[self.at]
            found = "the end" if kind == "end" else repr(text)
            raise WrongError(
                f"{word.upper()!r} expected, {found} found", f"write {word.upper()} there"
            )

    def stray(self) -> NoReturn:
        kind, text = self.tokens[self.at]
        word = text.lower()
        fixes = {
            "select": "no subqueries: declare a join to a content table and name its column",
            "*": "name one column",
            ";": "write one expression, not a statement",
            "over": "no window functions: the signal's own window does that",
            "like": "use STARTS_WITH(text, 'literal') or =",
            "ilike": "use STARTS_WITH(text, 'literal') or =",
            "distinct": 'use the aggregate "distinct" of the signal',
            "?": "no parameters: write the value itself",
            "$": "no parameters: write the value itself",
            ":": "no parameters; a cast is written CAST(x AS DOUBLE)",
            "==": "write =",
            "'": "close the quote; a quote within text is doubled",
            '"': "close the quote",
        }
        if kind == "end":
            raise WrongError("the expression stops too early", "finish it, or remove what dangles")
        fallback = "use only what the docstring of tacit.declare.expression lists"
        if word in COMPARISONS or word in ("is", "in", "between"):
            fallback = "put parentheses around the first comparison"
        raise WrongError(f"{text!r} is not allowed there", fixes.get(word, fallback))

    def either(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise WrongError(f"more than {MAX_DEPTH} levels of nesting", "split it into columns")
        node = self.both()
        while self.take("or"):
            node = Node("or", (node, self.both()))
        self.depth -= 1
        return node

    def both(self) -> Node:
        node = self.inverse()
        while self.take("and"):
            node = Node("and", (node, self.inverse()))
        return node

    def inverse(self) -> Node:
        count = 0
        while self.take("not"):
            count += 1
        node = self.comparison()
        for _ in range(min(count, MAX_DEPTH)):
            node = Node("not", (node,))
        return node

    def comparison(self) -> Node:
        left = self.binary(5)
        word = self.take(*COMPARISONS, "!=", "is", "in", "between", "not")
        if word is None:
            return left
        if word == "is":
            op = "is not null" if self.take("not") else "is null"
            self.need("null")
            return Node(op, (left,))
        prefix = "not " if word == "not" else ""
        if prefix and (word := self.take("in", "between")) is None:
            self.stray()
        if word == "in":
            return Node(prefix + "in", (left, *self.literals()))
        low = self.binary(5)
        if word != "between":
            return Node("<>" if word == "!=" else str(word), (left, low))
        self.need("and")
        return Node(prefix + "between", (left, low, self.binary(5)))

    def literals(self) -> list[Node]:
        self.need("(")
        found = [self.unary()]
        while self.take(","):
            found.append(self.unary())
        self.need(")")
        for node in found:
            if node.op not in LITERALS or node.op == "null":
                fix = "write numbers, text or bools there; test for NULL with IS NULL"
                raise WrongError(f"{show(node)!r} in an IN list is not a literal value", fix)
        return found

    def binary(self, level: int) -> Node:
        if level == 8:
            return self.unary()
        node = self.binary(level + 1)
        while op := self.take(*(("||",), ("+", "-"), ("*", "/", "%"))[level - 5]):
            node = Node(op, (node, self.binary(level + 1)))
        return node

    def unary(self) -> Node:
        count = 0
        while self.take("-"):
            count += 1
        node = self.primary()
        for _ in range(min(count, MAX_DEPTH)):
            node = negate(node)
        return node

    def primary(self) -> Node:
        kind, text = self.tokens[self.at]
        word = self.words[self.at]
        if word == "(":
            self.at += 1
            node = self.either()
            self.need(")")
            return node
        if kind == "number":
            self.at += 1
            return _number(text)
        if kind == "text":
            self.at += 1
            return Node("text", (), text[1:-1].replace("''", "'"))
        if word in ("true", "false", "null"):
            self.at += 1
            return Node("null") if word == "null" else Node("bool", (), word == "true")
        if kind == "name" and word in ("case", "cast"):
            self.at += 1
            return self.case() if word == "case" else self.cast()
        if kind == "name" and self.words[self.at + 1] == "(" and word not in _RESERVED:
            return self.function(word)
        if not (kind == "quoted" or (kind == "name" and word not in _RESERVED)):
            self.stray()
        return self.column()

    def column(self) -> Node:
        parts = [self.name()]
        while self.take("."):
            parts.append(self.name())
        if len(parts) > 2 or any("." in part for part in parts):
            fix = 'write "column" or "table.column"; names hold no dots'
            raise WrongError(f"{'.'.join(parts)!r} is not a column", fix)
        return Node("column", (), ".".join(parts))

    def name(self) -> str:
        kind, text = self.tokens[self.at]
        if kind not in ("name", "quoted"):
            self.stray()
        self.at += 1
        return text if kind == "name" else text[1:-1].replace('""', '"')

    def function(self, word: str) -> Node:
        if word not in FUNCTIONS:
            near = difflib.get_close_matches(word, FUNCTIONS, 1)
            fix = "use " + ", ".join(name.upper() for name in (near or FUNCTIONS))
            if word in _AGGREGATES:
                fix = f"no aggregates: give the signal aggregate={word!r} and the value alone"
            raise WrongError(f"the function {self.tokens[self.at][1]!r} is not allowed", fix)
        self.at += 2
        args = [self.either()]
        while self.take(","):
            args.append(self.either())
        self.need(")")
        least, most = FUNCTIONS[word]
        if not least <= len(args) <= most:
            raise WrongError(
                f"{word.upper()} does not take {len(args)} arguments", "see the docstring"
            )
        _check_literals(word, args)
        return Node(word, tuple(args))

    def cast(self) -> Node:
        self.need("(")
        node = self.either()
        self.need("as")
        if not self.take("double"):
            fix = "only CAST(int AS DOUBLE): engines round and print numbers differently"
            raise WrongError(f"a cast to {self.tokens[self.at][1]!r} is not allowed", fix)
        self.need(")")
        return Node("double", (node,))

    def case(self) -> Node:
        subject = None if self.words[self.at] == "when" else self.either()
        args: list[Node] = []
        while self.take("when"):
            test = self.either()
            args.append(Node("=", (subject, test)) if subject else test)
            self.need("then")
            args.append(self.either())
        if not args:
            self.need("when")
        args.append(self.either() if self.take("else") else Node("null"))
        self.need("end")
        return Node("case", tuple(args))


def _number(text: str) -> Node:
    if text.isdigit():
        return Node("int", (), int(text[:40]))
    if math.isinf(float(text)):
        raise WrongError(f"{text} is beyond a double", "write a number below 1.8e308")
    return Node("float", (), float(text))


def negate(node: Node) -> Node:
    if node.op in ("int", "float"):
        return Node(node.op, (), 0.0 - node.value if node.op == "float" else -node.value)
    return Node("neg", (node,))


def _check_literals(word: str, args: list[Node]) -> None:
    if word == "starts_with" and args[1].op != "text":
        raise WrongError(
            f"{show(args[1])!r} is not a literal", "write STARTS_WITH(text, 'literal')"
        )
    if word == "substr" and not (
        args[1].op == args[2].op == "int" and args[1].value >= 1 and args[2].value >= 0
    ):
        raise WrongError(
            "the bounds of SUBSTR are not literals >= 1 and >= 0", "write SUBSTR(t, 1, 3)"
        )


def show(node: Node) -> str:
    """Canonical text: one spelling for one tree, and ``parse`` reads it back to the same tree."""
    op, args, value = node
    if op in ("int", "float"):
        return repr(value)
    if op == "text":
        return "'" + str(value).replace("'", "''") + "'"
    if op in ("bool", "null"):
        return "NULL" if op == "null" else str(value).upper()
    if op == "column":
        return ".".join(_quoted(part) for part in str(value).split("."))
    if op == "case":
        return _show_case(args)
    if op == "double":
        return f"CAST({show(args[0])} AS DOUBLE)"
    if op not in _LEVEL:
        return f"{op.upper()}({', '.join(show(child) for child in args)})"
    return _show_operator(op, args, _LEVEL[op])


def _show_case(args: tuple[Node, ...]) -> str:
    pairs = zip(args[:-1:2], args[1:-1:2], strict=True)
    whens = " ".join(f"WHEN {show(test)} THEN {show(result)}" for test, result in pairs)
    otherwise = "" if args[-1].op == "null" else f" ELSE {show(args[-1])}"
    return f"CASE {whens}{otherwise} END"


def _show_operator(op: str, args: tuple[Node, ...], level: int) -> str:
    first = _operand(args[0], level + (level == 4))
    if op == "neg":
        return f"-({first})" if first.startswith("-") else f"-{first}"
    if op == "not":
        return f"NOT {first}"
    if op in ("is null", "is not null"):
        return f"{first} {op.upper()}"
    if op in ("in", "not in"):
        return f"{first} {op.upper()} ({', '.join(show(child) for child in args[1:])})"
    rest = " AND ".join(_operand(child, level + 1) for child in args[1:])
    return f"{first} {op.upper()} {rest}"


def _operand(node: Node, level: int) -> str:
    text = show(node)
    return f"({text})" if _LEVEL.get(node.op, 9) < level else text


def _quoted(name: str) -> str:
    if _PLAIN.fullmatch(name) and name.lower() not in _RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'
