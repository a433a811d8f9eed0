"""The variants with code points, by name (§7.4 and §10)."""

from __future__ import annotations

from collections.abc import Sequence

from tacit.privacy.prio3.circuits import (
    Count,
    Histogram,
    MultihotCountVec,
    Sum,
    SumVec,
    best_chunk_length,
)
from tacit.privacy.prio3.field import FIELD64
from tacit.privacy.prio3.prio3 import Prio3
from tacit.privacy.prio3.profile import EXPERIMENTAL_ID, profile


def count(*, shares: int = 2, version: int = 18) -> Prio3[int, int]:
    """Prio3Count: how many reports say 1 (§7.4.1)."""
    spoken = profile(version)
    return Prio3(Count(spoken), algorithm=spoken.ids["count"], shares=shares)


def sum_(max_measurement: int, *, shares: int = 2, version: int = 18) -> Prio3[int, int]:
    """Prio3Sum: the sum of integers of 0..max_measurement (§7.4.2)."""
    spoken = profile(version)
    return Prio3(Sum(spoken, max_measurement), algorithm=spoken.ids["sum"], shares=shares)


def sum_vec(
    length: int,
    max_measurement: int,
    chunk_length: int | None = None,
    *,
    shares: int = 2,
    version: int = 18,
) -> Prio3[Sequence[int], list[int]]:
    """Prio3SumVec: the sum of integer vectors (§7.4.3). The chunk defaults to the best."""
    spoken = profile(version)
    chunk = chunk_length or best_chunk_length(max(length, 1) * max(max_measurement.bit_length(), 1))
    circuit = SumVec(spoken, length, max_measurement, chunk)
    return Prio3(circuit, algorithm=spoken.ids["sum_vec"], shares=shares)


def sum_vec_with_multiproof(
    length: int,
    max_measurement: int,
    chunk_length: int,
    *,
    proofs: int = 3,
    shares: int = 2,
    version: int = 18,
) -> Prio3[Sequence[int], list[int]]:
    """SumVec over Field64 with several proofs, three at least (§7.1.2). It has no code point."""
    circuit = SumVec(profile(version), length, max_measurement, chunk_length, FIELD64)
    return Prio3(circuit, algorithm=EXPERIMENTAL_ID, shares=shares, proofs=proofs)


def histogram(
    length: int, chunk_length: int | None = None, *, shares: int = 2, version: int = 18
) -> Prio3[int, list[int]]:
    """Prio3Histogram: reports by bucket (§7.4.4). The chunk defaults to the shortest proof."""
    spoken = profile(version)
    circuit = Histogram(spoken, length, chunk_length or best_chunk_length(length))
    return Prio3(circuit, algorithm=spoken.ids["histogram"], shares=shares)


def multihot_count_vec(
    length: int,
    max_weight: int,
    chunk_length: int | None = None,
    *,
    shares: int = 2,
    version: int = 18,
) -> Prio3[Sequence[int], list[int]]:
    """Prio3MultihotCountVec: reports by flag, a bounded number of flags each (§7.4.5)."""
    spoken = profile(version)
    chunk = chunk_length or best_chunk_length(length + max(max_weight.bit_length(), 1))
    algorithm = spoken.ids.get("multihot_count_vec", EXPERIMENTAL_ID)
    circuit = MultihotCountVec(spoken, length, max_weight, chunk)
    return Prio3(circuit, algorithm=algorithm, shares=shares)
