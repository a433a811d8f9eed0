"""The local mechanisms, small and large, and the exact distribution of what a device sends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from tacit.privacy.local.count_mean_sketch import CountMeanSketch
from tacit.privacy.local.draws import WORD, Draws
from tacit.privacy.local.hadamard_response import HadamardResponse
from tacit.privacy.local.hadamard_sketch import HadamardSketch
from tacit.privacy.local.heavy_hitters import HeavyHitters
from tacit.privacy.local.local_hashing import LocalHashing
from tacit.privacy.local.messages import LocalMechanism
from tacit.privacy.local.oracle import LocalOracle
from tacit.privacy.local.randomized_response import RandomizedResponse
from tacit.privacy.local.subset_selection import SubsetSelection
from tacit.privacy.local.unary import OptimisedUnary, RapporBits
from tacit.privacy.randomness import unsafe_seeded

SUPPORT = (RandomizedResponse, LocalHashing, SubsetSelection, OptimisedUnary, RapporBits)
CLOSED = (*SUPPORT, HadamardResponse)
SKETCHES = (CountMeanSketch, HadamardSketch)
ORACLES = (*CLOSED, *SKETCHES)


def oracle(
    cls: type[LocalOracle], size: int, epsilon: float, devices_max: int = 1 << 30, **more: Any
) -> LocalOracle:
    """One of `ORACLES`; a sketch with as many rows and columns as `more` says, or a few."""
    table = {"hashes": 2, "width": 4} if issubclass(cls, SKETCHES) else {}
    return cls(size=size, devices_max=devices_max, epsilon=epsilon, name="test", **table | more)


def every(epsilon: float = 1.5, name: str = "test") -> list[LocalMechanism]:
    """One of each mechanism, of a middling size."""
    base = {"devices_max": 10_000, "epsilon": epsilon, "name": name}
    return [
        *(cls(size=40, **base) for cls in CLOSED),
        *(cls(size=40, hashes=5, width=16, **base) for cls in SKETCHES),
        HeavyHitters(**base, length=3, groups=4, buckets=256),
    ]


def messages(mechanism: LocalMechanism, n: int, seed: int = 1) -> np.ndarray:
    """Messages (n, report_bytes) of devices with various values."""
    source = unsafe_seeded(seed)
    if isinstance(mechanism, HeavyHitters):
        return mechanism.encode_many([b"abc", b"x", b""] * (n // 3 + 1), source)[:n]
    assert isinstance(mechanism, LocalOracle)
    return mechanism.encode_many(np.arange(n) % mechanism.symbols, source)


def pairs(rows: np.ndarray) -> list[tuple[bytes, bytes]]:
    """Messages with an id for each."""
    return [(place.to_bytes(16, "big"), row.tobytes()) for place, row in enumerate(rows)]


class Branch(Draws):
    """Choices along one path of the tree of all choices, with the exact probability of the path."""

    def __init__(self, path: list[int]) -> None:
        self.path = path
        self.widths: list[int] = []
        self.weight = Fraction(1)

    def _pick(self, chances: Sequence[Fraction]) -> int:
        depth = len(self.widths)
        if depth == len(self.path):
            self.path.append(0)
        self.widths.append(len(chances))
        self.weight *= chances[self.path[depth]]
        return self.path[depth]

    def coin(self, least: int, *shape: int) -> np.ndarray:
        chance = Fraction(least, WORD)
        flat = [self._pick([1 - chance, chance]) == 1 for _ in range(int(np.prod(shape)))]
        return np.array(flat, np.bool_).reshape(shape)

    def below(self, bound: int, *shape: int) -> np.ndarray:
        chances = [Fraction(1, bound)] * bound
        flat = [self._pick(chances) for _ in range(int(np.prod(shape)))]
        return np.array(flat, np.int64).reshape(shape)


def paths(run: Callable[[Branch], bytes]) -> Iterator[tuple[bytes, Fraction]]:
    """What `run` gives on every path of its choices, and the path's probability."""
    path: list[int] = []
    while True:
        branch = Branch(path)
        yield run(branch), branch.weight
        while path and path[-1] + 1 == branch.widths[len(path) - 1]:
            path.pop()
        if not path:
            return
        path[-1] += 1


def distribution(mechanism: LocalOracle, code: int) -> dict[bytes, Fraction]:
    """The exact probability of every body that the code of `randomise` can send for a value."""
    found: dict[bytes, Fraction] = defaultdict(Fraction)
    value = np.array([code], np.int64)
    for body, weight in paths(lambda draws: mechanism.randomise(value, draws).tobytes()):
        found[body] += weight
    return dict(found)
