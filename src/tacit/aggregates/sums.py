"""sum and mean, exactly: the state holds the sum with every bit of it.

A finite double is an int times a power of two, so a sum of doubles is one too. Keeping that int
(as wide as it must be: 53 bits and the spread of the exponents) makes merging associative and
retraction exact; only ``finish`` rounds, once. Infinities are counted apart, so that retracting
one brings the finite sum back. A sum of ints beyond 64 bits has no result; a sum of doubles beyond
the largest double is an infinity; infinities of both signs have no result.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

from tacit.aggregates.state import Invertible, Reader, Value, Writer
from tacit.values import Type


class Total(NamedTuple):
    """``values`` numbers summing to ``mantissa * 2**exponent``, infinities not included.

    ``real`` once a float was among them. The mantissa is odd, or the exponent 0 and it too.
    """

    values: int = 0
    mantissa: int = 0
    exponent: int = 0
    above: int = 0  # values of +inf
    below: int = 0  # values of -inf
    real: int = 0  # values that were floats


def _total(count: int, mantissa: int, exponent: int, above: int, below: int, real: int) -> Total:
    """The one form of a sum: trailing zero bits of the mantissa moved to the exponent."""
    if mantissa == 0:
        return Total(count, 0, 0, above, below, real)
    zeros = (mantissa & -mantissa).bit_length() - 1
    return Total(count, mantissa >> zeros, exponent + zeros, above, below, real)


def _single(value: Value) -> Total:
    if isinstance(value, int):
        return _total(1, int(value), 0, 0, 0, 0)
    assert isinstance(value, float), "accepts() was asked before"
    if math.isinf(value):
        return Total(1, 0, 0, int(value > 0), int(value < 0), 1)
    numerator, denominator = value.as_integer_ratio()
    return _total(1, numerator, 1 - denominator.bit_length(), 0, 0, 1)


def _add(left: Total, right: Total, sign: int) -> Total:
    low = min(left.exponent, right.exponent)
    mantissa = (left.mantissa << (left.exponent - low)) + sign * (
        right.mantissa << (right.exponent - low)
    )
    return _total(
        left.values + sign * right.values,
        mantissa,
        low,
        left.above + sign * right.above,
        left.below + sign * right.below,
        left.real + sign * right.real,
    )


def _divide(state: Total, divisor: int) -> float | None:
    """The sum over a divisor, rounded once."""
    if state.above or state.below:
        return None if state.above and state.below else math.inf if state.above else -math.inf
    up, down = max(state.exponent, 0), max(-state.exponent, 0)
    try:
        return (state.mantissa << up) / (divisor << down)
    except OverflowError:
        return math.inf if state.mantissa > 0 else -math.inf


class Sum(Invertible[Total]):
    """The sum: an int of ints, a float of floats."""

    key = "sum"
    family = 2
    about = "The sum of an expression; null when there is nothing to add."
    holds = "the sum with all its bits"
    exact = "rounded once"
    takes = "ints or floats"
    inputs: ClassVar[tuple[Type | None, ...]] = (Type.INT, Type.FLOAT)

    def result(self, value: Type | None) -> Type:
        return Type.FLOAT if value is Type.FLOAT else Type.INT

    def init(self) -> Total:
        return Total()

    def update(self, state: Total, value: Value, at: int) -> Total:
        return _add(state, _single(value), 1)

    def retract(self, state: Total, value: Value, at: int) -> Total:
        return _add(state, _single(value), -1)

    def merge(self, left: Total, right: Total) -> Total:
        return _add(left, right, 1)

    def remove(self, state: Total, part: Total) -> Total:
        """The sum without a part that was merged into it."""
        return _add(state, part, -1)

    def finish(self, state: Total) -> Value | None:
        if not state.values:
            return None
        if state.real:
            return _divide(state, 1)
        whole = state.mantissa << state.exponent
        return whole if -(2**63) <= whole < 2**63 else None

    def write(self, state: Total, out: Writer) -> None:
        for part in state:
            out.whole(part)

    def read(self, data: Reader) -> Total:
        count, mantissa, exponent, above, below, real = (data.whole() for _ in range(6))
        if abs(exponent) > 4096:
            data.wrong("holds an exponent that no double has")
        return _total(count, mantissa, exponent, above, below, real)


class Mean(Sum):
    """The arithmetic mean, rounded once."""

    key = "mean"
    family = 3
    about = "The mean of an expression; null when there is nothing to average."

    def result(self, value: Type | None) -> Type:
        return Type.FLOAT

    def finish(self, state: Total) -> Value | None:
        return _divide(state, state.values) if state.values else None
