"""Sum, mean and last of embeddings, exactly.

A vector counts when it is whole: of the column's size, every element a finite float of 32 bits.
Any other (null, too short, too long, with a null, a NaN or an infinity in it) counts as null.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from fractions import Fraction
from math import isfinite
from typing import Any, ClassVar, NamedTuple

from tacit.aggregates.ends import End
from tacit.aggregates.state import Aggregate, Argument, Invertible, Reader, Value, Writer
from tacit.values import Type

MOST = 4096  # elements of a vector
SHIFT = 149  # of the least positive float of 32 bits: 2**-149


def _size(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9]\d{0,3}", text) and int(text) <= MOST else None


SIZE = Argument("size", "int", _size, "2")


class Sums(NamedTuple):
    """Of each element, the sum in units of 2**-149, of so many vectors.

    Every finite float of 32 bits is a whole number of these units, so the sums are exact and
    do not depend on the order.
    """

    vectors: int = 0
    units: tuple[int, ...] = ()


def _units(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return (numerator << SHIFT) // denominator


def _single(value: float) -> float:
    """The nearest float of 32 bits; beyond the largest, an infinity."""
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    return rounded + 0.0


class _Vectors(Aggregate[Any]):
    takes = "vectors"
    inputs: ClassVar[tuple[Type | None, ...]] = (Type.VECTOR,)
    argument = SIZE

    def __init__(self, size: int) -> None:
        self.size = size
        self.key = f"{type(self).key}({size})"

    def result(self, value: Type | None) -> Type:
        return Type.VECTOR

    def admit(self, value: Any) -> Value | None:
        """The vector, rounded to 32 bits, if it is whole."""
        if value is None or len(value) != self.size or None in value:
            return None
        numbers = tuple([_single(float(number)) for number in value])
        return numbers if all(map(isfinite, numbers)) else None


class VectorSum(_Vectors, Invertible[Sums]):
    """The sum of each element."""

    key = "vector_sum"
    family = 17
    over = "sum"
    about = "What `sum` is of a column of vectors: the sum of each element."
    holds = "the sum of each element, as a whole number of 2^-149"
    exact = "rounded once to a double, then to 32 bits"

    def init(self) -> Sums:
        return Sums()

    def _one(self, value: Value) -> Sums:
        assert isinstance(value, tuple), "accepts() was asked before"
        return Sums(1, tuple(map(_units, value)))

    def _add(self, left: Sums, right: Sums, sign: int) -> Sums:
        if not right.units:
            return left
        ours: Sequence[int] = left.units or (0,) * len(right.units)
        pairs = zip(ours, right.units, strict=True)
        count, units = left.vectors + sign * right.vectors, tuple([x + sign * y for x, y in pairs])
        return Sums(count, units) if count or any(units) else Sums()

    def update(self, state: Sums, value: Value, at: int) -> Sums:
        return self._add(state, self._one(value), 1)

    def merge(self, left: Sums, right: Sums) -> Sums:
        return self._add(left, right, 1)

    def retract(self, state: Sums, value: Value, at: int) -> Sums:
        return self._add(state, self._one(value), -1)

    def divisor(self, state: Sums) -> int:
        return 1

    def finish(self, state: Sums) -> tuple[float, ...] | None:
        if not state.vectors:
            return None
        unit = self.divisor(state) << SHIFT
        return tuple(_single(float(Fraction(each, unit))) for each in state.units)

    def write(self, state: Sums, out: Writer) -> None:
        out.whole(state.vectors)
        out.size(len(state.units))
        if not state.units:
            return
        # The zero bits that all sums end in are left out.
        shared = 0
        for each in state.units:
            shared |= each
        zeros = (shared & -shared).bit_length() - 1 if shared else 0
        out.size(zeros)
        for each in state.units:
            out.whole(each >> zeros)

    def read(self, data: Reader) -> Sums:
        count, size = data.whole(), data.size()
        if not size and not count:
            return Sums()
        if size != self.size:
            data.wrong("holds vectors of another size")
        zeros = data.size()
        if zeros > 340:  # the largest float times 2^63 is a whole number of 340 bits
            data.wrong("holds a sum beyond all floats")
        units = tuple([data.whole() << zeros for _ in range(size)])
        if not count and not any(units):
            data.wrong("holds no vector, and sums of them")
        return Sums(count, units)


class VectorMean(VectorSum):
    """The mean of each element."""

    key = "vector_mean"
    family = 18
    over = "mean"
    about = "What `mean` is of a column of vectors: the mean of each element."

    def divisor(self, state: Sums) -> int:
        return state.vectors


class VectorLast(_Vectors):
    """The vector of the latest event; among events of one moment, the greatest, element by element.

    The state is the greatest (time, vector), or None.
    """

    key = "vector_last"
    family = 19
    over = "last"
    about = "What `last` is of a column of vectors: the latest one."
    holds = "the greatest (time, vector)"

    def init(self) -> End:
        return None

    def update(self, state: End, value: Value, at: int) -> End:
        return self.merge(state, (at, value))

    def merge(self, left: End, right: End) -> End:
        if left is None or right is None:
            return right if left is None else left
        return max(left, right)

    def finish(self, state: End) -> Value | None:
        return None if state is None else state[1]

    def write(self, state: End, out: Writer) -> None:
        out.raw(b"\x00" if state is None else b"\x01")
        if state is not None:
            assert isinstance(state[1], tuple), "the value is a vector"
            out.whole(state[0])
            out.raw(struct.pack(f"<{self.size}f", *state[1]))

    def read(self, data: Reader) -> End:
        return None if data.raw(1) == b"\x00" else (data.word(), data.floats(self.size))
