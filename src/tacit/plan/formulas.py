"""Build, part three: formulas, in the order in which they stand on each other."""

from __future__ import annotations

import difflib

from tacit.declare import Declaration, Formula, Given, Signal
from tacit.declare.expression import Expression, parse
from tacit.operations import Derived
from tacit.plan.draft import Draft
from tacit.plan.expressions import infer, inline, read, roles
from tacit.plan.graph import Column, Port, prepared
from tacit.values import SCALARS, Type


def build_formula(draft: Draft, name: str, formula: Formula) -> None:
    """Adds a formula node, after the formulas that it names; each is tried once.

    Raises T122 for a name that is no signal, or one that holds more than a value, T123 for
    formulas that stand on each other in a circle, T114 for signals of different keys.
    """
    if name in draft.tried:
        return
    draft.tried.add(name)
    written = read(draft.declarations, formula, formula.sql)
    chosen = {used: _input(draft, formula, used) for used in sorted(written.columns)}
    given = {used for used, (_, declared) in chosen.items() if isinstance(declared, Given)}
    if len(given) == len(chosen):
        raise draft.wrong(
            formula, "names no signal", code="T122", fix='write one, as in "skips_7d / plays_7d"'
        )
    for input_name, declared in chosen.values():
        if isinstance(declared, Formula):
            _form(draft, name, formula, input_name, declared)
    names = {used: draft.standing(declared, formula) for used, (_, declared) in chosen.items()}
    schema = {used: _type(draft, formula, of) for used, of in names.items()}
    type_ = infer(draft.declarations, formula, written, schema)
    _check_keys(draft, formula, [of for used, of in names.items() if used not in given])
    flats = {used: _flat(draft, of) for used, of in names.items()}
    flat = inline(draft.declarations, formula, written, flats)
    inputs = {each: _type(draft, formula, each) for each in sorted(flat.columns)}
    draft.formulas[name] = Derived(name, flat.sql, type_, tuple(inputs.items()))
    meant = written.substitute({used: _reference(of) for used, of in names.items()})
    # Signals first: whose rows it is of is told by the first input.
    standing = tuple(sorted(set(names.values()), key=lambda of: (of in given, of)))
    columns = (Column("value", str(type_)),)
    draft.add(name, "formula", formula, standing, columns, {"sql": meant.sql})
    for role, used in roles(written):
        draft.flow(Port(names[used], "value"), Port(name, "value"), role)


def _form(draft: Draft, name: str, formula: Formula, other: str, declared: Formula) -> None:
    """Builds a formula before the one that names it."""
    draft.forming.append(name)
    if other in draft.forming:
        circle = [*draft.forming[draft.forming.index(other) :], other]
        draft.forming.pop()
        raise draft.wrong(
            formula,
            f"stands on itself: {' → '.join(circle)}",
            code="T123",
            fix="write one of them over signals alone",
        )
    with draft.attempt():
        build_formula(draft, other, declared)
    draft.forming.pop()


def _input(draft: Draft, formula: Formula, used: str) -> tuple[str, Signal | Formula | Given]:
    """What a name stands for: one of the formula's own inputs, else a signal of the project or what
    is given with a request."""
    declared: Declaration | None = formula.inputs.get(used) or draft.declarations.named.get(used)
    if isinstance(declared, Signal) and declared.horizon is not None:
        raise draft.wrong(
            formula,
            f"names {used!r}, which is an outcome: nobody knows it at the row's moment",
            code="T122",
            fix="name a signal without .ahead(…)",
        )
    if isinstance(declared, Signal | Formula | Given):
        return draft.declarations.name(declared, formula), declared
    known = [n for n, d in draft.declarations if isinstance(d, Signal | Formula | Given)]
    close = difflib.get_close_matches(used, [*formula.inputs, *known], 1)
    what = f"declared as {declared.kind}" if declared is not None else "not declared"
    raise draft.wrong(
        formula,
        f"names {used!r}, which is {what}; a formula is over signals",
        code="T122",
        fix=f"did you mean {close[0]!r}?" if close else "name a signal, or add it to inputs={…}",
    )


def _type(draft: Draft, formula: Formula, name: str) -> Type:
    held = draft.nodes[name].columns[0].type
    if held not in SCALARS:
        raise draft.wrong(
            formula,
            f"names {name!r}, which is {held}; an expression takes one value",
            code="T122",
            fix="name a signal without by=, of an aggregate that yields one value",
        )
    return Type(held)


def _check_keys(draft: Draft, formula: Formula, names: list[str]) -> None:
    keys: dict[str, str] = {}
    for name in names:
        node = prepared(draft.nodes, name)
        types = {column.name: column.type for column in node.columns}
        listed = " and ".join(f"{key} ({types[key]})" for key, _ in node.spec["keys"])
        keys.setdefault(listed, name)
    if len(keys) > 1:
        told = "; ".join(f"{name} per {key}" for key, name in sorted(keys.items()))
        raise draft.wrong(
            formula,
            f"is over signals of different keys: {told}",
            code="T114",
            fix="give all of them the same per=…",
        )


def _flat(draft: Draft, name: str) -> Expression:
    """A signal by its name; a formula by its expression over signals alone."""
    return parse(draft.formulas[name].sql) if name in draft.formulas else _reference(name)


def _reference(name: str) -> Expression:
    return parse(f'"{name}"')
