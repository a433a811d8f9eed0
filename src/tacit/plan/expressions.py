"""Expressions within a plan: derived columns put in their place, and how each column enters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tacit.declare import Declaration, Declarations
from tacit.declare.expression import Expression, Node, parse, walk
from tacit.errors import DeclarationError
from tacit.plan.graph import Role
from tacit.values import Type

MAX_NODES = 10_000
"""Of an expression with its derived columns in place. Each may name another twice: they double."""


def read(declarations: Declarations, user: Declaration, sql: str) -> Expression:
    """Parses one expression of a declaration. Raises DeclarationError T110 under its name."""
    try:
        return parse(sql)
    except DeclarationError as error:
        raise _named(declarations, user, error) from None


def infer(
    declarations: Declarations,
    user: Declaration,
    expression: Expression,
    schema: Mapping[str, Type],
) -> Type:
    """The expression's type. Raises DeclarationError T111, T112 under the declaration's name."""
    try:
        return expression.infer(schema)
    except DeclarationError as error:
        raise _named(declarations, user, error) from None


def inline(
    declarations: Declarations,
    user: Declaration,
    expression: Expression,
    derived: Mapping[str, Expression],
) -> Expression:
    """The expression with derived columns replaced by theirs. Raises T110 when too long."""
    if expression.columns.isdisjoint(derived):
        return expression
    sizes = {name: size(derived[name]) - 1 for name in expression.columns & set(derived)}
    used = (node.value for node in walk(expression.tree) if node.op == "column")
    if size(expression) + sum(sizes.get(name, 0) for name in used) > MAX_NODES:
        raise declarations.wrong(
            user,
            f"grows to more than {MAX_NODES:,} operations with its derived columns in place, in"
            f" {expression.sql[:80]!r}",
            code="T110",
            fix="use each derived column once, or store what it holds",
        )
    try:
        return expression.substitute(derived)
    except DeclarationError as error:
        raise _named(declarations, user, error) from None


def _named(
    declarations: Declarations, user: Declaration, error: DeclarationError
) -> DeclarationError:
    return declarations.wrong(
        user, f"cannot be read: {error.message}", code=error.code, fix=error.fix
    )


def size(expression: Expression) -> int:
    """How many operations, columns and literals it has."""
    return sum(1 for _ in walk(expression.tree))


def roles(expression: Expression) -> Iterator[tuple[Role, str]]:
    """How each column enters an expression: by its value, as the condition of a CASE, or both."""
    direct: set[str] = set()
    conditions: set[str] = set()

    def visit(node: Node, condition: bool) -> None:
        if node.op == "column":
            (conditions if condition else direct).add(node.value)
        last = len(node.args) - 1
        for index, child in enumerate(node.args):
            tested = node.op == "case" and index % 2 == 0 and index < last
            visit(child, condition or tested)

    visit(expression.tree, False)
    for name in sorted(direct):
        yield "value", name
    for name in sorted(conditions):
        yield "condition", name
