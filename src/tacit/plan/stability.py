"""What one person can change: facts of each operation's rows, from the leaf to the `Total`.

Nobody states a sensitivity here. It is derived from the tree that will run, step by step, from what
each step *makes* of its rows; a step that writes a column takes away all that was known of it. So a
column that is redefined after it was bounded has the bound of its new expression, by interval
arithmetic, or none, and then the tree is refused (T870). (OpenDP's issue 2949 is the case to
remember: a column redefined after truncation kept its old sensitivity there.)

**Facts** of a table whose rows belong to one person each:

==========  ====================================================================================
`owner`     the column that holds exactly the key of the row's own person; None if none does
`rows`      a person has at most so many rows
`ranges`    column → the interval that holds its ints; nulls count as 0
`groups`    columns → a person has at most so many distinct values of them together
`unique`    sets of columns of which a person has each value in at most one row
`within`    (columns, column) → Σ |column| over a person's rows of one value of columns is at most
==========  ====================================================================================

**Why each step keeps them true.** *Whose a row is* never changes: `Define`, `Where`, `Grid`,
`Clamp` and `Shrink` make one row or none of one row; `PerPerson`, `LimitGroups` and `LimitRows`
make rows of one person's rows, because they group by `owner`, which they demand. Taking rows away
or making absolute values smaller breaks no fact. A written column drops every fact in which it is
named; `rows` names none. What a step adds is said at each of them below.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import singledispatch
from typing import TypeAlias

from tacit.declare.expression import parse
from tacit.errors import PrivacyError
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
from tacit.plan.intervals import ALL, Bound, Range, interval, times
from tacit.privacy.central.sensitivity import Sensitivity
from tacit.values import Type

Names: TypeAlias = frozenset[str]

_NAME = re.compile(r"[a-z][a-z0-9_]*")  # so that no two are one to an engine that folds case
WIDEST = 1 << 31
"""Of a grid, a clamp, a number of rows or groups: far within what engines sum in 64 bits."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the rows of a step; see the module."""

    types: Mapping[str, Type]
    owner: str | None
    rows: Bound = math.inf
    ranges: Mapping[str, Range] = field(default_factory=dict)
    groups: Mapping[Names, Bound] = field(default_factory=dict)
    unique: frozenset[Names] = frozenset()
    within: Mapping[tuple[Names, str], Bound] = field(default_factory=dict)

    def range(self, column: str) -> Range:
        """The interval of an int column."""
        return self.ranges.get(column, ALL)

    def distinct(self, by: Names) -> Bound:
        """The most distinct values of these columns that a person has."""
        if not by:
            return 1
        known = (count for names, count in self.groups.items() if by <= names)
        return min([*known, self.rows])

    def most(self, column: str, by: Names) -> Bound:
        """The most of Σ |column| over the rows of a person with one value of these columns."""
        size = self.range(column).size
        found = [times(size, self.rows)]
        if any(names <= by for names in self.unique):
            found.append(size)
        found += [n for (names, of), n in self.within.items() if of == column and names <= by]
        return min(found)

    def sensitivity(self, column: str, by: Names) -> Sensitivity | None:
        """Of the sums of a column by these; None where one person's part has no bound."""
        best = None
        for part in {by, frozenset(), *(names for names in self.groups if names <= by)}:
            groups, most = self.distinct(part), self.most(column, part)
            if math.isfinite(groups) and math.isfinite(most):
                one = Sensitivity.of(int(groups), int(most))
                best = one if best is None else best.least(one)
        return best

    def written(self, names: Iterable[str], types: Mapping[str, Type]) -> Facts:
        """Without the facts that name these columns, which now have these types."""
        lost = frozenset(names)
        return Facts(
            {**self.types, **types},
            None if self.owner in lost else self.owner,
            self.rows,
            {name: kept for name, kept in self.ranges.items() if name not in lost},
            {by: count for by, count in self.groups.items() if not by & lost},
            frozenset(by for by in self.unique if not by & lost),
            {(by, of): n for (by, of), n in self.within.items() if not by & lost | {of} & lost},
        )

    def ranged(self, name: str, low: Bound, high: Bound) -> Facts:
        """With an int column written, that holds ints of this interval."""
        kept = self.written([name], {name: Type.INT})
        return replace(kept, ranges={**kept.ranges, name: Range(low, high)})


def sensitivities(total: Total, types: Mapping[str, Type]) -> dict[str, Sensitivity]:
    """Of each sum: by how much one person changes it at most. `types` are those of the source.

    Raises PrivacyError T870 where that has no bound, T871 for a step that needs the person's key
    and no longer has it, T872 for a tree that makes no sense.
    """
    facts = facts_of(total.below, types)
    _known(facts, (*total.by, *total.sums), "a total")
    found = {}
    for column in total.sums:
        _int(facts, column, "a total")
        sensitivity = facts.sensitivity(column, frozenset(total.by))
        if sensitivity is None:
            raise _unbounded(total, column, facts)
        found[column] = sensitivity
    return found


def facts_of(step: Step, types: Mapping[str, Type]) -> Facts:
    """What is known of a step's rows. Raises as `sensitivities`."""
    if isinstance(step, Rows):
        return _rows(step, types)
    return _after(step, facts_of(step.below, types))


def _rows(step: Rows, types: Mapping[str, Type]) -> Facts:
    """The rows of a source: each is of the person whose key it bears. Joins with content find one
    row of it or none, and content is nobody's."""
    if len(step.view.keys) != 1 or step.view.windows:
        raise _senseless("the rows below a total are of a view with one key and no windows")
    own = types[step.view.keys[0][1]]
    held = {step.owner: own} | {column.name: column.type for column in step.view.computed}
    _named(held)
    if len(held) != 1 + len(step.view.computed):
        raise _senseless("two columns of the rows have one name")
    return Facts(held, step.owner)


@singledispatch
def _after(step: Step, facts: Facts) -> Facts:
    raise _senseless(f"{type(step).__name__} is no step below a total")


@_after.register
def _(step: Define, facts: Facts) -> Facts:
    """New columns have the interval of their expression over the old ones."""
    _named(column.name for column in step.columns)
    ranges = {}
    for column in step.columns:
        expression = parse(column.sql)
        if expression.infer(facts.types) is not column.type:
            raise _senseless(f"{column.sql!r} is not {column.type}")
        if column.type is Type.INT:
            ranges[column.name] = interval(expression.tree, facts.ranges, facts.types)
    types = {column.name: column.type for column in step.columns}
    if len(types) < len(step.columns):
        raise _senseless("one step defines a column twice")
    kept = facts.written(types, types)
    return replace(kept, ranges={**kept.ranges, **ranges})


@_after.register
def _(step: Where, facts: Facts) -> Facts:
    if parse(step.sql).infer(facts.types) is not Type.BOOL:
        raise _senseless(f"{step.sql!r} is no condition")
    return facts


@_after.register
def _(step: Grid, facts: Facts) -> Facts:
    """`name` is an int of the grid, by the clamp in its own definition."""
    _named([step.name])
    _known(facts, [step.value], "a grid")
    _bounds(step.low, step.high)
    if facts.types[step.value] not in (Type.INT, Type.FLOAT, Type.TIME):
        raise _senseless(f"a grid of {facts.types[step.value]}")
    if not (step.step > 0 and math.isfinite(step.step) and math.isfinite(step.origin)):
        raise _senseless("a grid has a positive, finite step and a finite origin")
    return facts.ranged(step.name, step.low, step.high)


@_after.register
def _(step: PerPerson, facts: Facts) -> Facts:
    """A person has one row for each value of `by`, so as many rows as values. Facts about `by`
    alone still hold; a sum is within what all rows of the value hold together."""
    owner = _owned(step, facts)
    _known(facts, (*step.by, *step.sums), "a sum for each person")
    by = frozenset(step.by)
    types = {name: facts.types[name] for name in (owner, *step.by)}
    ranges = {name: kept for name, kept in facts.ranges.items() if name in by}
    for column in step.sums:
        _int(facts, column, "a sum for each person")
        if column in by or column == owner or step.sums.count(column) > 1:
            raise _senseless(f"{column!r} is both summed and something else")
        most, had = facts.most(column, by), facts.range(column)
        ranges[column] = Range(-most if had.low < 0 else 0, most if had.high > 0 else 0)
    groups = {names: count for names, count in facts.groups.items() if names <= by}
    return Facts(
        types | dict.fromkeys(step.sums, Type.INT),
        owner,
        facts.distinct(by),
        ranges,
        groups,
        frozenset({by}),
    )


@_after.register
def _(step: LimitGroups, facts: Facts) -> Facts:
    """At most `most` values of `by` are left; where each has one row, at most so many rows."""
    _owned(step, facts)
    _known(facts, step.by, "a limit of groups")
    _positive(step.most)
    by = frozenset(step.by)
    groups = {**facts.groups, by: min(facts.groups.get(by, math.inf), step.most)}
    unique = any(names <= by for names in facts.unique)
    rows = min(facts.rows, step.most) if unique else facts.rows
    return replace(facts, groups=groups, rows=rows)


@_after.register
def _(step: LimitRows, facts: Facts) -> Facts:
    """Counts are not negative, each is what is left of `most` at most, and so is their sum."""
    _owned(step, facts)
    _known(facts, (*step.by, step.cell, step.count), "a limit of rows")
    _int(facts, step.count, "a limit of rows")
    _positive(step.most)
    cells = frozenset((*step.by, step.cell))
    if facts.range(step.count).low < 0 or step.count in cells:
        raise _senseless(f"{step.count!r} is no count")
    if not any(names <= cells for names in facts.unique):
        raise _senseless("a limit of rows takes one row for each cell")
    after = facts.ranged(step.count, 0, min(step.most, facts.range(step.count).high))
    return replace(after, within={**after.within, (frozenset(step.by), step.count): step.most})


@_after.register
def _(step: Clamp, facts: Facts) -> Facts:
    _known(facts, [step.column], "a clamp")
    _int(facts, step.column, "a clamp")
    _bounds(step.low, step.high)
    return facts.ranged(step.column, step.low, step.high)


@_after.register
def _(step: Shrink, facts: Facts) -> Facts:
    """Both columns are clamped by the step itself."""
    _known(facts, [step.total, step.count], "a shrunk sum")
    for column in (step.total, step.count):
        _int(facts, column, "a shrunk sum")
    _positive(step.most)
    _bounds(step.low, step.high)
    low, high = min(0, step.most * step.low), max(0, step.most * step.high)
    _bounds(low, high)
    if step.total == step.count or facts.range(step.count).low < 0:
        raise _senseless(f"{step.count!r} is no count")
    return facts.ranged(step.count, 0, step.most).ranged(step.total, low, high)


# ---------------------------------------------------------------------- refusals


def _owned(step: Step, facts: Facts) -> str:
    if facts.owner is None:
        raise PrivacyError(
            f"{type(step).__name__} goes by person, and the person's key was redefined before it",
            code="T871",
            fix="leave the column of the person's key as it is",
        )
    return facts.owner


def _known(facts: Facts, names: Iterable[str], what: str) -> None:
    for name in names:
        if name not in facts.types:
            raise _senseless(f"{what} takes the column {name!r}, which is not there")


def _int(facts: Facts, name: str, what: str) -> None:
    if facts.types[name] is not Type.INT:
        raise _senseless(f"{what} takes ints, and {name!r} is {facts.types[name]}")


def _named(names: Iterable[str]) -> None:
    for name in names:
        if not _NAME.fullmatch(name):
            raise _senseless(f"{name!r} is no name of a column within a plan")


def _positive(most: int) -> None:
    if not 1 <= most <= WIDEST:
        raise _senseless(f"a limit of {most}")


def _bounds(low: int, high: int) -> None:
    if not -WIDEST <= low <= high <= WIDEST:
        raise _senseless(f"the bounds [{low}, {high}]")


def _senseless(what: str) -> PrivacyError:
    return PrivacyError(
        f"this tree of operations makes no sense: {what}",
        code="T872",
        fix="use columns that are there, ints for sums, and bounds within 2^31",
    )


def _unbounded(total: Total, column: str, facts: Facts) -> PrivacyError:
    steps: list[str] = []
    below: Step = total.below
    while True:
        steps.append(type(below).__name__)
        if isinstance(below, Rows):
            break
        below = below.below
    where = "its values are" if facts.range(column).size == math.inf else "a person's rows are"
    return PrivacyError(
        f"what one person adds to the sum of {column!r} has no bound: {where} not bounded where it"
        " is summed",
        code="T870",
        where=f"total of {column}",
        path=(*reversed(steps), "Total"),
        fix="clamp it after the last step that defines it, and limit each person's groups",
    )
