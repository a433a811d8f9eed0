"""variance and stddev, exactly: the sum and the sum of squares, with every bit of both.

Of a population: the mean of the squared distances from the mean, so that one value has 0. Exact
sums make merging associative; only ``finish`` rounds. An infinity leaves no result.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

from tacit.aggregates.state import Invertible, Reader, Value, Writer
from tacit.aggregates.sums import Sum, Total
from tacit.values import Type

_SUM = Sum()


class Moments(NamedTuple):
    """Exact sums of the values and of their squares."""

    first: Total = Total()
    second: Total = Total()


def _square(total: Total) -> Total:
    """The square of one value."""
    if total.above or total.below:
        return Total(1, 0, 0, 1, 0, total.real)
    return Total(1, total.mantissa**2, 2 * total.exponent, 0, 0, total.real)


class Variance(Invertible[Moments]):
    """The population's variance: Σ(x - mean)² / n."""

    key = "variance"
    family = 9
    about = "The population's variance of an expression; null when there is nothing."
    holds = "the sums of values and of squares, with all their bits"
    exact = "rounded once"
    takes = "ints or floats"
    inputs: ClassVar[tuple[Type | None, ...]] = (Type.INT, Type.FLOAT)

    def result(self, value: Type | None) -> Type:
        return Type.FLOAT

    def init(self) -> Moments:
        return Moments()

    def _one(self, value: Value, at: int) -> Moments:
        first = _SUM.update(Total(), value, at)
        return Moments(first, _square(first))

    def update(self, state: Moments, value: Value, at: int) -> Moments:
        return self.merge(state, self._one(value, at))

    def merge(self, left: Moments, right: Moments) -> Moments:
        return Moments(_SUM.merge(left.first, right.first), _SUM.merge(left.second, right.second))

    def retract(self, state: Moments, value: Value, at: int) -> Moments:
        one = self._one(value, at)
        return Moments(_SUM.remove(state.first, one.first), _SUM.remove(state.second, one.second))

    def finish(self, state: Moments) -> Value | None:
        first, second = state
        if not first.values or first.above or first.below:
            return None
        # (n Σx² - (Σx)²) / n², as one fraction of ints.
        low = min(2 * first.exponent, second.exponent)
        squares = second.mantissa << (second.exponent - low)
        whole = first.mantissa**2 << (2 * first.exponent - low)
        top, bottom = first.values * squares - whole, first.values**2
        up, down = max(low, 0), max(-low, 0)
        try:
            return (top << up) / (bottom << down)
        except OverflowError:
            return math.inf

    def write(self, state: Moments, out: Writer) -> None:
        for total in state:
            _SUM.write(total, out)

    def read(self, data: Reader) -> Moments:
        first, second = _SUM.read(data), _SUM.read(data)
        if first.values != second.values or first.real != second.real:
            data.wrong("holds a sum and a sum of squares of different values")
        return Moments(first, second)


class Stddev(Variance):
    """The square root of the variance."""

    key = "stddev"
    family = 10
    about = "The square root of the variance."
    exact = "rounded twice"

    def finish(self, state: Moments) -> Value | None:
        variance = super().finish(state)
        assert variance is None or isinstance(variance, float), "a variance is a float"
        return None if variance is None else math.sqrt(variance)
