"""count: how many rows, or how many values."""

from __future__ import annotations

from typing import ClassVar

from tacit.aggregates.state import Invertible, Reader, Value, Writer
from tacit.values import SCALARS, Type


class Count(Invertible[int]):
    """The number of updates: of rows when the signal has no value, else of non-null values."""

    key = "count"
    family = 1
    about = "How many events there were; with `value`, how many in which it is not null."
    holds = "an int"
    takes = "any value but a vector, or none for rows"
    inputs = (None, *SCALARS)
    empty: ClassVar[int | None] = 0

    def result(self, value: Type | None) -> Type:
        return Type.INT

    def init(self) -> int:
        return 0

    def update(self, state: int, value: Value, at: int) -> int:
        return state + 1

    def retract(self, state: int, value: Value, at: int) -> int:
        return state - 1

    def merge(self, left: int, right: int) -> int:
        return left + right

    def finish(self, state: int) -> int:
        return state

    def write(self, state: int, out: Writer) -> None:
        out.whole(state)

    def read(self, data: Reader) -> int:
        return data.whole()
