"""first and last: the value at the earliest or the latest time.

Of values at the same time, first takes the least and last the greatest, so that merging does not
depend on the order in which events arrived.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from tacit.aggregates.state import Aggregate, Reader, Value, Writer
from tacit.values import SCALARS, Type

End = tuple[int, Value] | None


class Ends(Aggregate[End]):
    """The state is the winning (time, value), or None."""

    takes = "any value but a vector"
    inputs: ClassVar[tuple[Type | None, ...]] = SCALARS

    def result(self, value: Type | None) -> Type:
        assert value is not None, "accepts() was asked before"
        return value

    @abstractmethod
    def better(self, left: tuple[int, Value], right: tuple[int, Value]) -> bool:
        """Whether left wins over right."""

    def init(self) -> End:
        return None

    def update(self, state: End, value: Value, at: int) -> End:
        return self.merge(state, (at, value))

    def merge(self, left: End, right: End) -> End:
        if left is None or right is None:
            return right if left is None else left
        return left if self.better(left, right) else right

    def finish(self, state: End) -> Value | None:
        return None if state is None else state[1]

    def write(self, state: End, out: Writer) -> None:
        out.raw(b"\x00" if state is None else b"\x01")
        if state is not None:
            out.whole(state[0])
            out.value(state[1])

    def read(self, data: Reader) -> End:
        return None if data.raw(1) == b"\x00" else (data.word(), data.value())


class First(Ends):
    """The least (time, value)."""

    about = "The value at the earliest event; among events of one moment, the least."
    holds = "the least (time, value)"
    key = "first"
    family = 6

    def better(self, left: tuple[int, Value], right: tuple[int, Value]) -> bool:
        return left < right


class Last(Ends):
    """The greatest (time, value)."""

    about = "The value at the latest event; among events of one moment, the greatest."
    holds = "the greatest (time, value)"
    key = "last"
    family = 7

    def better(self, left: tuple[int, Value], right: tuple[int, Value]) -> bool:
        return left > right
