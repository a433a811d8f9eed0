"""Exact choices: coins whose probability is a stated rational, and uniform whole numbers.

A coin compares a uniform 64-bit word with an integer threshold T: it lands with probability
T / 2^64 exactly. `threshold` chooses T for a privacy bound, rounding toward privacy: the claim then
holds for the probabilities that are realised, not for real numbers near them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from tacit.privacy.noise_exact import exp_minus
from tacit.privacy.randomness import Randomness

WORD = 1 << 64
_BITS = 192  # of exp(-ε): below 2^-190 the bound decides nothing about a 64-bit threshold

Integers = npt.NDArray[np.int64]
Coins = npt.NDArray[np.bool_]


def threshold(epsilon: Fraction, others: Fraction) -> int:
    """The greatest T < 2^64 for which P = T / 2^64 has P / (1 - P) * others <= exp(epsilon).

    For a report that is one of some "true" outputs with probability P, spread evenly, and one of
    `others` times as many with probability 1 - P: then no output is more than exp(epsilon) times as
    likely as another. exp(-epsilon) is bounded from above by a rational, so T is rounded down.
    """
    _, high = exp_minus(epsilon)(_BITS)
    return min(math.floor(WORD / (1 + others * high)), WORD - 1)


class Draws:
    """Exact choices made of the words of a `Randomness`."""

    def __init__(self, randomness: Randomness) -> None:
        self._randomness = randomness

    def coin(self, least: int, *shape: int) -> Coins:
        """Independent booleans of this shape, each true with probability `least` / 2^64."""
        words = self._randomness.uint64(math.prod(shape)).reshape(shape)
        return words < np.uint64(least)

    def below(self, bound: int, *shape: int) -> Integers:
        """Independent uniform whole numbers from 0 to `bound` - 1, of this shape; bound <= 2^62.

        A word past the last whole multiple of the bound is drawn again, so all are equally likely.
        """
        words = self._randomness.uint64(math.prod(shape))
        limit = WORD - WORD % bound
        if limit < WORD:
            late = np.flatnonzero(words >= np.uint64(limit))
            while len(late):
                fresh = self._randomness.uint64(len(late))
                words[late] = fresh
                late = late[fresh >= np.uint64(limit)]
        return (words % np.uint64(bound)).astype(np.int64).reshape(shape)

    def permutation(self, n: int) -> Integers:
        """A uniform permutation of 0 to n - 1 (Durstenfeld 1964, algorithm 235), drawn exactly."""
        order = list(range(n))
        bounds = np.arange(1, n + 1, dtype=np.uint64)
        words = self._randomness.uint64(n)
        rest = (np.uint64(0) - bounds) % bounds  # 2^64 modulo the bound
        late = np.flatnonzero(words > np.uint64(WORD - 1) - rest)
        while len(late):
            words[late] = self._randomness.uint64(len(late))
            late = late[words[late] > np.uint64(WORD - 1) - rest[late]]
        for last, pick in zip(range(n - 1, 0, -1), (words % bounds)[:0:-1].tolist(), strict=True):
            order[last], order[pick] = order[pick], order[last]
        return np.array(order, np.int64)

    def below_each(self, bounds: Sequence[int], rows: int) -> Integers:
        """`below` with one bound for each column; shape (rows, len(bounds))."""
        out = np.empty((rows, len(bounds)), np.int64)
        for column, bound in enumerate(bounds):
            out[:, column] = self.below(bound, rows)
        return out
