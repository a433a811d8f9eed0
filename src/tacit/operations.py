"""What engines run: views over sources, and the windows computed from them.

A `View` prepares the rows of one source for one entity key: it drops rows without a key or a time,
joins content tables, and computes each distinct expression once. Its `Window`s then aggregate those
rows. All of it is immutable data: it hashes, prints, and crosses processes and devices as JSON.

A `Total` sums rows over people, each of whose parts is bounded. Below it every step is local to a
person: what it makes of one person's rows depends on no other row. So one person more or less
changes a total by that person's rows alone, and `plan.stability` derives by how much at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from tacit.values import Type


@dataclass(frozen=True, slots=True)
class Join:
    """`LEFT JOIN table ON source.left = table.right`; the table holds each key at most once."""

    table: str
    left: str
    right: str


@dataclass(frozen=True, slots=True)
class Computed:
    """A named expression in Tacit's SQL subset (see `declare.expression`).

    It may name columns of the view's source (`price`) and of joined tables (`items.genre`).
    """

    name: str
    sql: str
    type: Type


@dataclass(frozen=True, slots=True)
class Window:
    """One signal: an aggregate over the rows of `[t - length, t)` that share the spine row's keys.

    `value`, `by` and `where` name computed columns of the view. `length` is in microseconds; None
    reaches back for ever. With `by`, the result is a map from the values of `by` to aggregates.

    With a `hop`, in microseconds and at most `length`, the window starts at the last multiple of it
    since the epoch at or before `t - length`: it covers `[floor((t - length) / hop) * hop, t)`,
    never less than `length` and always less than `length + hop`. Division rounds down, before the
    epoch too.

    `ahead` is that of an outcome: it is asked at `t + ahead`. Engines compute what is past, so
    whoever wants an outcome asks for it with `ahead` 0 at that later moment.
    """

    signal: str
    aggregate: str
    value: str | None
    by: str | None
    where: str | None
    length: int | None
    hop: int | None = None
    ahead: int = 0

    @property
    def reach(self) -> int | None:
        """What the window is never longer than; None for ever."""
        return None if self.length is None else self.length + (self.hop or 0)

    def start(self, at: int) -> int | None:
        """The earliest moment that counts for a row at ``at``; None for ever."""
        if self.length is None:
            return None
        start = at - self.length
        return start if self.hop is None else start // self.hop * self.hop


@dataclass(frozen=True, slots=True)
class Derived:
    """A signal that is an expression over other columns of the result, row by row.

    `inputs` are those columns and their types: signals, and what else a row may hold by then.
    """

    signal: str
    sql: str
    type: Type
    inputs: tuple[tuple[str, Type], ...]


@dataclass(frozen=True, slots=True)
class View:
    """The prepared rows of one source, and the windows over them.

    `keys` pairs the spine's column with the source's column, in order; `time` is a source column.
    """

    name: str
    source: str
    keys: tuple[tuple[str, str], ...]
    time: str
    joins: tuple[Join, ...]
    computed: tuple[Computed, ...]
    windows: tuple[Window, ...]

    def column(self, name: str) -> Computed:
        """The computed column of that name."""
        return next(column for column in self.computed if column.name == name)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a view without windows, whose one key is their person's.

    They have a column `owner`, which holds that key, and the view's computed columns by name.
    """

    view: View
    owner: str


@dataclass(frozen=True, slots=True)
class Define:
    """Columns computed row by row, all from the rows below; one of the same name is replaced."""

    below: Step
    columns: tuple[Computed, ...]


@dataclass(frozen=True, slots=True)
class Where:
    """The rows for which the condition is true."""

    below: Step
    sql: str


@dataclass(frozen=True, slots=True)
class Grid:
    """`name`: the int i in [low, high] whose origin + i step is at or next to a number.

    i = floor((value - origin) / step), with half a step added where it is `nearest`, clamped. An
    infinity is clamped like any number, null stays null.
    """

    below: Step
    name: str
    value: str
    low: int
    high: int
    origin: float
    step: float
    nearest: bool = True


@dataclass(frozen=True, slots=True)
class PerPerson:
    """One row for each person and value of `by`: these, and the sums of int columns."""

    below: Step
    by: tuple[str, ...]
    sums: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LimitGroups:
    """Of each person the rows of at most `most` values of `by`: those with the least salted hash"""

    below: Step
    by: tuple[str, ...]
    most: int
    salt: str


@dataclass(frozen=True, slots=True)
class LimitRows:
    """Of each person and value of `by`, at most `most` in `count` over all cells together.

    Cells are taken whole, in the order of their salted hash; the one that would go past `most` is
    cut, those after it are left out.
    """

    below: Step
    by: tuple[str, ...]
    cell: str
    count: str
    most: int
    salt: str


@dataclass(frozen=True, slots=True)
class Clamp:
    """An int column brought into [low, high]; null stays null."""

    below: Step
    column: str
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Shrink:
    """A person's sum of `count` ints in [low, high], made that of `most` of their average.

    Where count > most: total becomes floor((total - count low) most / count) + most low, and count
    becomes most. The result is in [min(0, most low), max(0, most high)], whatever came in.
    """

    below: Step
    total: str
    count: str
    low: int
    high: int
    most: int


@dataclass(frozen=True, slots=True)
class Total:
    """The sums of int columns over everybody's rows, by the values of `by`."""

    below: Step
    by: tuple[str, ...]
    sums: tuple[str, ...]


Step: TypeAlias = (
    Rows | Define | Where | Grid | PerPerson | LimitGroups | LimitRows | Clamp | Shrink
)
