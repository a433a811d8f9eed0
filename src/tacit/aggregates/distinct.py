"""distinct: how many different values, exactly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from tacit.aggregates.state import Aggregate, Reader, Value, Writer
from tacit.values import SCALARS, Type


class Distinct(Aggregate[frozenset[Value]]):
    """The state is the set of values: exact, and as large as it must be."""

    key = "distinct"
    family = 8
    about = "How many different values there were, exactly."
    holds = "the set of values"
    takes = "any value but a vector"
    inputs: ClassVar[tuple[Type | None, ...]] = SCALARS
    empty: ClassVar[int | None] = 0

    def result(self, value: Type | None) -> Type:
        return Type.INT

    def init(self) -> frozenset[Value]:
        return frozenset()

    def update(self, state: frozenset[Value], value: Value, at: int) -> frozenset[Value]:
        return state if value in state else state | {value}

    def fold(self, rows: Iterable[tuple[Value, int]]) -> frozenset[Value]:
        return frozenset(value for value, _ in rows)

    def merge(self, left: frozenset[Value], right: frozenset[Value]) -> frozenset[Value]:
        return left | right

    def finish(self, state: frozenset[Value]) -> int:
        return len(state)

    def write(self, state: frozenset[Value], out: Writer) -> None:
        out.size(len(state))
        for value in sorted(state, key=lambda value: (type(value).__name__, value)):
            out.value(value)

    def read(self, data: Reader) -> frozenset[Value]:
        return frozenset([data.value() for _ in range(data.size())])
