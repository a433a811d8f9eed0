"""The trees of private totals: how rows become sums to which each person adds little.

::

    rows of people ── where it counts ── ints on a grid ── summed for each person and key
        ── at most max_groups keys a person ── each sum clamped ── summed over everybody

The order matters. Sums are clamped, not rows: a person with many small values loses nothing. Keys
are limited before clamping, so that what a person may add is spent on the keys that are kept.
`plan.stability` reads the sensitivity from the tree, and knows nothing of what was meant here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tacit.operations import (
    Clamp,
    Computed,
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
from tacit.values import Type


@dataclass(frozen=True, slots=True)
class Limits:
    """To how many keys a person counts, with how many rows each; the salt that chooses among them.

    It does not depend on the data; two trees with one salt keep the same keys of a person.
    """

    groups: int
    rows: int
    salt: str


@dataclass(frozen=True, slots=True)
class Counted:
    """The sum `name` of rows, or of people, in which `value` is not null; None: of all."""

    name: str
    value: str | None
    people: bool


@dataclass(frozen=True, slots=True)
class Summed:
    """The sum `name` of `value` in steps from `origin`, clamped to [low, high] steps.

    With `count`, also the number of values, under that name; then a person with more rows than the
    limit counts with their average.
    """

    name: str
    value: str
    low: int
    high: int
    origin: float
    step: float
    count: str | None = None


Part: TypeAlias = Counted | Summed
Bins: TypeAlias = Literal["nearest", "below"]


def sums_tree(
    rows: Rows, keys: tuple[str, ...], where: str | None, parts: Sequence[Part], limits: Limits
) -> Total:
    """The sums of each part, by the columns `keys` of the rows; `where` is a column of bools."""
    step = _counting(rows, keys, where)
    for part in parts:
        step = _by_row(step, part)
    step = PerPerson(step, keys, tuple(name for part in parts for name in _names(part)))
    step = LimitGroups(step, keys, limits.groups, limits.salt) if keys else step
    for part in parts:
        step = _by_person(step, part, limits.rows)
    return Total(step, keys, step_names(parts))


def cells_tree(
    rows: Rows,
    keys: tuple[str, ...],
    where: str | None,
    value: str,
    grid: tuple[float, float, int],
    limits: Limits,
    rounded: Bins,
) -> Total:
    """How many rows lie in each cell of a grid (origin, step, cells), by keys and "cell".

    The sum is "rows". Values beyond the grid are in its first and last cell.
    """
    origin, width, cells = grid
    step: Step = _counting(rows, keys, where)
    step = Grid(step, "cell", value, 0, cells - 1, origin, width, rounded == "nearest")
    step = Where(step, "cell IS NOT NULL")
    step = Define(step, (Computed("rows", "1", Type.INT),))
    step = PerPerson(step, (*keys, "cell"), ("rows",))
    step = LimitGroups(step, keys, limits.groups, limits.salt) if keys else step
    step = LimitRows(step, keys, "cell", "rows", limits.rows, limits.salt)
    return Total(step, (*keys, "cell"), ("rows",))


def step_names(parts: Sequence[Part]) -> tuple[str, ...]:
    """The sums of some parts, in order."""
    return tuple(name for part in parts for name in _names(part))


def _names(part: Part) -> tuple[str, ...]:
    if isinstance(part, Summed) and part.count is not None:
        return part.name, part.count
    return (part.name,)


def _counting(rows: Rows, keys: tuple[str, ...], where: str | None) -> Step:
    """The rows that count: the condition is true, and every key is there."""
    conditions = ([where] if where else []) + [f"{key} IS NOT NULL" for key in keys]
    return Where(rows, " AND ".join(conditions)) if conditions else rows


def _by_row(step: Step, part: Part) -> Step:
    if isinstance(part, Counted):
        return Define(step, (Computed(part.name, _one(part.value), Type.INT),))
    step = Grid(step, part.name, part.value, part.low, part.high, part.origin, part.step)
    if part.count is not None:
        step = Define(step, (Computed(part.count, _one(part.name), Type.INT),))
    return step


def _one(value: str | None) -> str:
    return "1" if value is None else f"CASE WHEN {value} IS NOT NULL THEN 1 ELSE 0 END"


def _by_person(step: Step, part: Part, most: int) -> Step:
    """A person's sum of one key, bounded."""
    if isinstance(part, Counted):
        if not part.people:
            return Clamp(step, part.name, 0, most)
        once = f"CASE WHEN {part.name} > 0 THEN 1 ELSE 0 END"
        return Define(step, (Computed(part.name, once, Type.INT),))
    if part.count is not None:
        return Shrink(step, part.name, part.count, part.low, part.high, most)
    return Clamp(step, part.name, min(0, most * part.low), max(0, most * part.high))
