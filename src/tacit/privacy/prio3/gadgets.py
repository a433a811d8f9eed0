"""The non-linear parts of a validity circuit (appendix A of the draft)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from tacit.privacy.prio3.field import Field
from tacit.privacy.prio3.ntt import evaluate, next_power_of_2


class Gadget(Protocol):
    """A polynomial in `arity` variables of total degree `degree`."""

    @property
    def arity(self) -> int:
        """How many inputs it takes."""
        ...

    @property
    def degree(self) -> int:
        """Its total degree."""
        ...

    def evaluate(self, field: Field, inputs: Sequence[int]) -> int:
        """Its value on `arity` inputs."""
        ...


@dataclass(frozen=True, slots=True)
class Mul:
    """x·y (appendix A.1)."""

    arity: ClassVar[int] = 2
    degree: ClassVar[int] = 2

    def evaluate(self, field: Field, inputs: Sequence[int]) -> int:
        return inputs[0] * inputs[1] % field.modulus


@dataclass(frozen=True, slots=True)
class PolyEval:
    """A polynomial in one variable; coefficients lowest first, the last not zero (appendix A.2)."""

    coefficients: tuple[int, ...]
    arity: ClassVar[int] = 1

    @property
    def degree(self) -> int:
        return len(self.coefficients) - 1

    def evaluate(self, field: Field, inputs: Sequence[int]) -> int:
        return evaluate(field, self.coefficients, inputs[0])


@dataclass(frozen=True, slots=True)
class ParallelSum:
    """The sum of `count` copies of a gadget, each on inputs of its own (appendix A.3)."""

    part: Gadget
    count: int

    @property
    def arity(self) -> int:
        return self.part.arity * self.count

    @property
    def degree(self) -> int:
        return self.part.degree

    def evaluate(self, field: Field, inputs: Sequence[int]) -> int:
        step = self.part.arity
        parts = (
            self.part.evaluate(field, inputs[i : i + step]) for i in range(0, self.arity, step)
        )
        return sum(parts) % field.modulus


def wire_length(calls: int) -> int:
    """How many points determine a wire polynomial: one seed, and one value a call (§7.3.2)."""
    return next_power_of_2(1 + calls)


def gadget_length(gadget: Gadget, calls: int) -> int:
    """How many points determine a gadget polynomial (§7.3.2)."""
    return gadget.degree * (wire_length(calls) - 1) + 1
