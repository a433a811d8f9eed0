"""What a validity circuit is (§7.3.2), and how range-checked integers travel (§7.4.2)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, Never, TypeVar

from tacit.errors import PrivacyError
from tacit.privacy.prio3.field import Field
from tacit.privacy.prio3.gadgets import Gadget, gadget_length, wire_length
from tacit.privacy.prio3.profile import Profile

M = TypeVar("M")
R = TypeVar("R")
Call = Callable[[int, Sequence[int]], int]
"""Calls gadget number i on inputs. Prover and verifier each pass their own."""


class Circuit(ABC, Generic[M, R]):
    """An encoding of measurements of type M as field elements, and a check that it is valid.

    `joint_rand_len` random elements are known to prover and verifiers; `eval_len` outputs must all
    be zero; the first gadget is called `calls[0]` times, and so on. Results have type R.
    """

    key: str
    profile: Profile
    field: Field
    gadgets: tuple[Gadget, ...]
    calls: tuple[int, ...]
    meas_len: int
    output_len: int
    joint_rand_len: int
    eval_len: int

    @abstractmethod
    def encode(self, measurement: M) -> list[int]:
        """`meas_len` elements (§7.1.1). Raises PrivacyError T551 outside the circuit's range."""

    @abstractmethod
    def outputs(
        self, meas: Sequence[int], joint: Sequence[int], shares: int, call: Call
    ) -> list[int]:
        """The outputs: affine in `meas`, but for the gadgets. `meas` may be one of `shares`."""

    @abstractmethod
    def truncate(self, meas: Sequence[int]) -> list[int]:
        """The `output_len` elements that are aggregated; linear in `meas`."""

    @abstractmethod
    def decode(self, output: Sequence[int], count: int) -> R:
        """The result from the aggregate of `count` measurements."""

    @property
    def prove_rand_len(self) -> int:
        """The prover's randomness: a seed for each wire (§7.3.2)."""
        return sum(gadget.arity for gadget in self.gadgets)

    @property
    def query_rand_len(self) -> int:
        """The verifiers' randomness: a point for each gadget, and what reduces the outputs."""
        reduced = self.eval_len if self.profile.own_randomness and self.eval_len > 1 else 0
        return len(self.gadgets) + reduced

    @property
    def proof_len(self) -> int:
        """The seeds and the gadget polynomials."""
        pairs = zip(self.gadgets, self.calls, strict=True)
        return sum(gadget.arity + gadget_length(gadget, calls) for gadget, calls in pairs)

    @property
    def verifier_len(self) -> int:
        """The reduced output, and each gadget's inputs and output at the test point."""
        return 1 + sum(gadget.arity + 1 for gadget in self.gadgets)

    def check_size(self) -> None:
        """Raises PrivacyError T550 for a circuit past what the field's roots of unity carry."""
        if max(wire_length(calls) for calls in self.calls) > 1 << 24 or self.meas_len > 1 << 26:
            raise refuse_parameters("the circuit is larger than any aggregator would verify")


def refuse_parameters(message: str) -> PrivacyError:
    """The error for parameters that make no circuit."""
    return PrivacyError(message, code="T550", fix="choose parameters inside the stated bounds")


def out_of_range(message: str) -> Never:
    """Raises PrivacyError T551: a measurement that the circuit cannot encode."""
    raise PrivacyError(
        message, code="T551", fix="clip the measurement to the circuit's range first"
    )


def whole(value: object, greatest: int) -> int:
    """`value` as an integer of 0..greatest. Raises PrivacyError T551 for anything else."""
    if not hasattr(value, "__index__"):
        out_of_range(f"a {type(value).__name__} is no measurement; a whole number is")
    number = int(value.__index__())
    if not 0 <= number <= greatest:
        # The number is not shown: it is what the protocol keeps secret.
        out_of_range(f"a measurement lies outside 0 to {greatest}")
    return number


def bit_weights(greatest: int) -> list[int]:
    """The weights of the bits that encode 0..greatest: powers of two, the last one cut (§7.4.2).

    Their sum is `greatest`, so no choice of bits leaves the range.
    """
    bits = greatest.bit_length()
    return [1 << i for i in range(bits - 1)] + [greatest - ((1 << (bits - 1)) - 1)]


def encode_bits(value: int, greatest: int) -> list[int]:
    """Bits b with Σ bit_weights·b = value."""
    weights = bit_weights(greatest)
    top = int(value >= 1 << (len(weights) - 1))
    rest = value - top * weights[-1]
    return [(rest >> i) & 1 for i in range(len(weights) - 1)] + [top]
