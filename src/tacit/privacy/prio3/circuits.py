"""The validity circuits that have code points: Count, Sum, SumVec, Histogram, MultihotCountVec."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from tacit.privacy.prio3.circuit import (
    Call,
    Circuit,
    M,
    R,
    bit_weights,
    encode_bits,
    out_of_range,
    refuse_parameters,
    whole,
)
from tacit.privacy.prio3.field import FIELD64, FIELD128, Field
from tacit.privacy.prio3.gadgets import Mul, ParallelSum, PolyEval
from tacit.privacy.prio3.ntt import next_power_of_2
from tacit.privacy.prio3.profile import Profile

_BIT = PolyEval((0, -1, 1))  # x² - x: zero for 0 and 1


class Count(Circuit[int, int]):
    """How many measurements are 1, each 0 or 1 (§7.4.1)."""

    key = "count"

    def __init__(self, profile: Profile) -> None:
        self.profile, self.field = profile, FIELD64
        self.gadgets, self.calls = (Mul(),), (1,)
        self.meas_len = self.output_len = self.eval_len = 1
        self.joint_rand_len = 0

    def encode(self, measurement: int) -> list[int]:
        return [whole(measurement, 1)]

    def outputs(
        self, meas: Sequence[int], joint: Sequence[int], shares: int, call: Call
    ) -> list[int]:
        return [(call(0, [meas[0], meas[0]]) - meas[0]) % self.field.modulus]

    def truncate(self, meas: Sequence[int]) -> list[int]:
        return list(meas)

    def decode(self, output: Sequence[int], count: int) -> int:
        return output[0]


class Sum(Circuit[int, int]):
    """The sum of measurements, each of 0..max_measurement (§7.4.2).

    In version 8 the greatest measurement is 2^bits - 1, and joint randomness adds the checks up.
    """

    key = "sum"

    def __init__(self, profile: Profile, max_measurement: int) -> None:
        self.profile, self.max_measurement = profile, max_measurement
        self.field = FIELD64 if profile.own_randomness else FIELD128
        _check_greatest(self.field, max_measurement, profile)
        self.weights = bit_weights(max_measurement)
        bits = len(self.weights)
        self.gadgets, self.calls = (_BIT,), (bits,)
        self.meas_len, self.output_len = bits, 1
        self.joint_rand_len = 0 if profile.own_randomness else 1
        self.eval_len = bits if profile.own_randomness else 1

    def encode(self, measurement: int) -> list[int]:
        return encode_bits(whole(measurement, self.max_measurement), self.max_measurement)

    def outputs(
        self, meas: Sequence[int], joint: Sequence[int], shares: int, call: Call
    ) -> list[int]:
        checks = [call(0, [bit]) for bit in meas]
        if self.profile.own_randomness:
            return checks
        return [self.field.dot(_powers(self.field, joint[0], joint[0], len(checks)), checks)]

    def truncate(self, meas: Sequence[int]) -> list[int]:
        return [self.field.dot(self.weights, meas)]

    def decode(self, output: Sequence[int], count: int) -> int:
        return output[0]


class BitVector(Circuit[M, R]):
    """Circuits whose every element must be 0 or 1, checked `chunk_length` at a time.

    Chunk i checks Σ_j r^j·m_j·(m_j - 1) with randomness r of its own; in version 8 the powers of
    one r run on through all chunks. `sums` adds a second, linear check:
    Σ of the first `length` elements - Σ tail_weights·(the others) + offset = 0.
    """

    length: int
    chunk_length: int
    sums: ClassVar[bool] = True
    tail_weights: Sequence[int] = ()
    offset: int = 0

    def _lay_out(self, profile: Profile, field: Field, meas_len: int, chunk_length: int) -> None:
        if not 0 < chunk_length <= 1 << 20:
            raise refuse_parameters(f"a chunk of {chunk_length} elements is not possible")
        self.profile, self.field = profile, field
        self.chunk_length, self.meas_len = chunk_length, meas_len
        chunks = -(-meas_len // chunk_length)
        self.gadgets, self.calls = (ParallelSum(Mul(), chunk_length),), (chunks,)
        self.eval_len = 2 if self.sums and profile.own_randomness else 1
        self.joint_rand_len = chunks if profile.own_randomness else 1 + self.sums
        self.check_size()

    def chunk_powers(self, joint: Sequence[int]) -> list[tuple[int, int]]:
        """The first power of r in each chunk, and r."""
        chunks = self.calls[0]
        if self.profile.own_randomness:
            return [(r, r) for r in joint]
        p, r = self.field.modulus, joint[0]
        stride, powers = pow(r, self.chunk_length, p), [r]
        for _ in range(chunks - 1):
            powers.append(powers[-1] * stride % p)
        return [(power, r) for power in powers]

    def outputs(
        self, meas: Sequence[int], joint: Sequence[int], shares: int, call: Call
    ) -> list[int]:
        p, chunk = self.field.modulus, self.chunk_length
        one = self.field.inverse(shares)
        padded = [*meas, *([0] * (self.calls[0] * chunk - len(meas)))]
        checked = 0
        for i, (power, r) in enumerate(self.chunk_powers(joint)):
            inputs: list[int] = []
            for element in padded[i * chunk : (i + 1) * chunk]:
                inputs += (power * element % p, (element - one) % p)
                power = power * r % p
            checked += call(0, inputs)
        if not self.sums:
            return [checked % p]
        summed = sum(meas[: self.length]) + self.offset * one
        summed -= self.field.dot(self.tail_weights, meas[self.length :])
        if self.profile.own_randomness:
            return [checked % p, summed % p]
        return [(joint[1] * checked + joint[1] * joint[1] * summed) % p]

    @abstractmethod
    def encode(self, measurement: M) -> list[int]: ...

    @abstractmethod
    def decode(self, output: Sequence[int], count: int) -> R: ...

    def truncate(self, meas: Sequence[int]) -> list[int]:
        return list(meas[: self.length])


class SumVec(BitVector[Sequence[int], list[int]]):
    """The sum of vectors of `length` integers, each of 0..max_measurement (§7.4.3).

    `field` other than Field128 is for several proofs at once (§7.1.2).
    """

    key = "sum_vec"
    sums = False

    def __init__(
        self,
        profile: Profile,
        length: int,
        max_measurement: int,
        chunk_length: int,
        field: Field = FIELD128,
    ) -> None:
        _check_greatest(field, max_measurement, profile)
        _check_length(field, length)
        self.length, self.max_measurement = length, max_measurement
        self.weights = bit_weights(max_measurement)
        self._lay_out(profile, field, length * len(self.weights), chunk_length)
        self.output_len = length

    def encode(self, measurement: Sequence[int]) -> list[int]:
        vector = _vector(measurement, self.length, self.max_measurement)
        return [bit for value in vector for bit in encode_bits(value, self.max_measurement)]

    def truncate(self, meas: Sequence[int]) -> list[int]:
        bits = len(self.weights)
        return [
            self.field.dot(self.weights, meas[i : i + bits]) for i in range(0, self.meas_len, bits)
        ]

    def decode(self, output: Sequence[int], count: int) -> list[int]:
        return list(output)


class Histogram(BitVector[int, list[int]]):
    """How many measurements fall into each of `length` buckets (§7.4.4)."""

    key = "histogram"

    def __init__(self, profile: Profile, length: int, chunk_length: int) -> None:
        _check_length(FIELD128, length)
        self.length = self.output_len = length
        self.offset = -1
        self._lay_out(profile, FIELD128, length, chunk_length)

    def encode(self, measurement: int) -> list[int]:
        bucket = whole(measurement, self.length - 1)
        return [int(i == bucket) for i in range(self.length)]

    def decode(self, output: Sequence[int], count: int) -> list[int]:
        return list(output)


class MultihotCountVec(BitVector[Sequence[int], list[int]]):
    """How many measurements have each of `length` flags, at most `max_weight` flags each (§7.4.5).

    The weight travels along, encoded so that it cannot pass `max_weight`. Version 8 did the same
    by adding an offset, and called it MultiHotHistogram.
    """

    key = "multihot_count_vec"

    def __init__(self, profile: Profile, length: int, max_weight: int, chunk_length: int) -> None:
        _check_length(FIELD128, length)
        if not 0 < max_weight <= length:
            raise refuse_parameters(f"{max_weight} of {length} flags is no greatest weight")
        self.length = self.output_len = length
        self.max_weight = self.greatest = max_weight
        if not profile.own_randomness:
            self.greatest = (1 << max_weight.bit_length()) - 1
            self.offset = self.greatest - max_weight
        self.tail_weights = bit_weights(self.greatest)
        self._lay_out(profile, FIELD128, length + len(self.tail_weights), chunk_length)

    def encode(self, measurement: Sequence[int]) -> list[int]:
        flags = _vector(measurement, self.length, 1)
        weight = sum(flags)
        if weight > self.max_weight:
            out_of_range(f"a measurement has more than {self.max_weight} flags")
        return flags + encode_bits(weight + self.offset, self.greatest)

    def decode(self, output: Sequence[int], count: int) -> list[int]:
        return list(output)


def best_chunk_length(elements: int) -> int:
    """The chunk length with the shortest proof for `elements` checked elements (§7.4.3.1).

    A proof has two seeds for each element of a chunk and about twice as many points as the next
    power of two past the number of chunks; so only chunk counts just below a power of two compete.
    """
    if not 0 < elements <= 1 << 26:
        raise refuse_parameters(f"a vector of {elements} elements is not possible")
    candidates = []
    for wire in (1 << k for k in range(1, elements.bit_length() + 2)):
        chunk = -(-elements // (wire - 1))
        used = next_power_of_2(1 + -(-elements // chunk))
        candidates.append((2 * chunk + 2 * used - 1, chunk))
    return min(candidates)[1]


def _powers(field: Field, first: int, step: int, n: int) -> list[int]:
    powers = [first]
    for _ in range(n - 1):
        powers.append(powers[-1] * step % field.modulus)
    return powers


def _vector(measurement: Sequence[int], length: int, greatest: int) -> list[int]:
    if not hasattr(measurement, "__len__") or len(measurement) != length:
        out_of_range(f"a measurement is not a vector of {length} numbers")
    return [whole(value, greatest) for value in measurement]


def _check_greatest(field: Field, greatest: int, profile: Profile) -> None:
    if greatest <= 0 or 1 << greatest.bit_length() >= field.modulus:
        raise refuse_parameters(f"{greatest} is no greatest measurement of {field.name}")
    if not profile.own_randomness and greatest & (greatest + 1):
        raise refuse_parameters("in version 8 the greatest measurement is 2^bits - 1")


def _check_length(field: Field, length: int) -> None:
    if not 0 < length <= 1 << 26:
        raise refuse_parameters(f"a vector of {length} elements is not possible")
