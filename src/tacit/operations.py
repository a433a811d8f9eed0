"""What engines run: views over sources, and the windows computed from them.

A `View` prepares the rows of one source for one entity key: it drops rows without a key or a time,
joins content tables, and computes each distinct expression once. Its `Window`s then aggregate those
rows. All of it is immutable data: it hashes, prints, and crosses processes and devices as JSON.
"""

from __future__ import annotations

from dataclasses import dataclass

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
