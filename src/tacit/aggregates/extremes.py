"""min and max. Text compares by code point, False is below True."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from tacit.aggregates.state import Aggregate, Reader, Value, Writer
from tacit.values import SCALARS, Type


def write_option(state: Value | None, out: Writer) -> None:
    """A value or nothing."""
    out.raw(b"\x00" if state is None else b"\x01")
    if state is not None:
        out.value(state)


def read_option(data: Reader) -> Value | None:
    """A value or nothing."""
    return None if data.raw(1) == b"\x00" else data.value()


class Extreme(Aggregate[Value | None]):
    """The state is the extreme value so far, or None."""

    takes = "any value but a vector"
    inputs: ClassVar[tuple[Type | None, ...]] = SCALARS
    holds = "the value"

    def result(self, value: Type | None) -> Type:
        assert value is not None, "accepts() was asked before"
        return value

    @abstractmethod
    def better(self, left: Value, right: Value) -> bool:
        """Whether left wins over right."""

    def init(self) -> Value | None:
        return None

    def update(self, state: Value | None, value: Value, at: int) -> Value | None:
        return value if state is None or self.better(value, state) else state

    def merge(self, left: Value | None, right: Value | None) -> Value | None:
        return left if right is None else self.update(left, right, 0)

    def finish(self, state: Value | None) -> Value | None:
        return state

    def write(self, state: Value | None, out: Writer) -> None:
        write_option(state, out)

    def read(self, data: Reader) -> Value | None:
        return read_option(data)


class Min(Extreme):
    """The least value."""

    about = "The least value of an expression."
    key = "min"
    family = 4

    def better(self, left: Value, right: Value) -> bool:
        return left < right  # type: ignore[operator]  # one column has one type


class Max(Extreme):
    """The greatest value."""

    about = "The greatest value of an expression."
    key = "max"
    family = 5

    def better(self, left: Value, right: Value) -> bool:
        return left > right  # type: ignore[operator]  # one column has one type
