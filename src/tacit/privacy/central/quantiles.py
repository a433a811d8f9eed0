"""Quantiles over a declared grid, from a noisy tree of counts; their intervals come with them.

**Mechanism.** Each person has at most m rows in a key, spread over the cells 0 … c-1 of a grid. A
tree of four children to a node stands on the cells; each level but the root is a histogram of all
rows. With h levels a person adds h times to the counts what they add to the cells: Δ₁ and Δ₂² are
h times those of the cells (in one level |x|_2² is at most that of the cells' bound, m² a key). All
nodes are released by `sums` at once (Hay, Rastogi, Miklau, Suciu 2010, "Boosting the Accuracy of
Differentially Private Histograms Through Consistency", without the consistency step; Qardaji, Yang,
Li 2013 for the choice of a branching of more than two).

**Estimate.** The rows in cells 0 … j are the sum of at most three nodes a level: prefix P_j. The
q-quantile is the least j with P_j >= q P, where P is the noisy number of all; noisy prefixes are
made to rise first (their running maximum and their running minimum from the right, averaged).

**Interval.** G_j = P_j - q P has expectation F_j - qN, which at the true quantile j* is >= 0, and
negative at j* - 1. So j is refused where G_j < -w_j, or where G_(j-1) > w_(j-1), with w_j such that
G_j strays so far to one side with probability at most α/2. j* is among those that are left with
probability at least 1 - α, for any number of cells: it is one place, so no union bound is needed.
The interval spans what is left.

w_j by Chernoff's bound on a sum of independent noises with weights (1 - q) on the top nodes in the
prefix, -q on the other top nodes, 1 on those below, over λ:  ln E exp(λ w X) is at most λ²w²σ²/2
for the discrete Gaussian (CKS 2020, section 2: it is subgaussian with its σ), and
ln((1-r)² / ((1 - r exp(λw))(1 - r exp(-λw)))) for the discrete Laplace, |λw| < 1/t.

Bins are not private: grid and levels are declared. Rounding to the grid is within the value's step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tacit.privacy.central.sensitivity import Sensitivity
from tacit.privacy.central.sums import Integers, NoisySums
from tacit.privacy.randomness import Randomness

BRANCHES = 4

Floats = npt.NDArray[np.float64]


def levels_of(cells: int) -> int:
    """The levels of a tree over so many cells, without its root."""
    levels = 1
    while BRANCHES**levels < cells:
        levels += 1
    return levels


def tree_sensitivity(cells: Sensitivity, levels: int) -> Sensitivity:
    """Of all levels' counts, from that of the cells' counts."""
    return Sensitivity(cells.l1 * levels, cells.l2_squared * levels, cells.linf)


@dataclass(frozen=True)
class Quantiles:
    """A tree over `cells` cells, whose nodes' noise is `noise` (of `tree_sensitivity`)."""

    noise: NoisySums
    cells: int

    @property
    def levels(self) -> int:
        """Of the tree, without its root."""
        return levels_of(self.cells)

    def release(self, cells: Integers, randomness: Randomness) -> Integers:
        """Noisy counts of all nodes from the cells' counts, (keys, cells): (keys, nodes).

        The level under the root comes first.
        """
        keys = len(cells)
        whole = np.zeros((keys, BRANCHES**self.levels), np.int64)
        whole[:, : self.cells] = cells
        found = [whole.reshape(keys, BRANCHES**level, -1).sum(axis=2) for level in self._range]
        return self.noise.release(np.concatenate(found, axis=1), randomness)

    def estimate(self, nodes: Integers, at: float, confidence: float) -> tuple[Integers, ...]:
        """The cell of the `at`-quantile of each key, and the interval's: three of shape (keys,)."""
        prefix = self._prefixes(nodes).astype(np.float64)
        total = nodes[:, :BRANCHES].sum(axis=1).astype(np.float64)
        rising = np.maximum.accumulate(prefix, axis=1)
        falling = np.minimum.accumulate(prefix[:, ::-1], axis=1)[:, ::-1]
        smooth = (rising + falling) / 2
        gap = prefix - at * total[:, None]
        enough = smooth >= at * total[:, None]
        value = np.where(enough.any(axis=1), enough.argmax(axis=1), self.cells - 1)
        wide = self._widths(at, (1 - confidence) / 2)
        left = gap >= -wide
        left[:, -1] = True  # all rows are in the cells up to the last
        left[:, 1:] &= gap[:, :-1] <= wide[:-1]
        some = left.any(axis=1)
        lower = np.where(some, left.argmax(axis=1), 0)
        upper = np.where(some, self.cells - 1 - left[:, ::-1].argmax(axis=1), self.cells - 1)
        return value, lower, upper

    @property
    def _range(self) -> range:
        return range(1, self.levels + 1)

    @cached_property
    def _digits(self) -> npt.NDArray[np.int64]:
        """(levels, cells): how many nodes of each level the prefix 0 … j takes."""
        ends = np.arange(1, self.cells + 1)
        digits = [ends // BRANCHES ** (self.levels - level) % BRANCHES for level in self._range]
        out = np.array(digits, np.int64)
        out[0, ends == BRANCHES**self.levels] = BRANCHES  # the whole tree: all top nodes
        return out

    def _prefixes(self, nodes: Integers) -> Integers:
        """(keys, cells): the noisy number of rows in the cells 0 … j."""
        ends = np.arange(1, self.cells + 1)
        total = np.zeros((len(nodes), self.cells), np.int64)
        start = 0
        for level in self._range:
            count = BRANCHES**level
            sums = np.zeros((len(nodes), count + 1), np.int64)
            np.cumsum(nodes[:, start : start + count], axis=1, out=sums[:, 1:])
            stop = ends // BRANCHES ** (self.levels - level)
            total += sums[:, stop] - sums[:, stop - self._digits[level - 1]]
            start += count
        return total

    def _widths(self, at: float, alpha: float) -> Floats:
        """w_j for each cell: G_j strays past it to one side with probability at most alpha."""
        top, below = self._digits[0], self._digits[1:].sum(axis=0)
        pairs, place = np.unique(np.stack([top, below], axis=1), axis=0, return_inverse=True)
        widths = [
            self._stray([(1 - at, int(a)), (at, BRANCHES - int(a)), (1.0, int(b))], alpha)
            for a, b in pairs
        ]
        return np.array(widths)[place.reshape(-1)]

    def _stray(self, weights: list[tuple[float, int]], alpha: float) -> float:
        """min over λ of (Σ n ln E exp(λ w X) + ln 1/α) / λ: Chernoff's bound, inverted.

        The noise is symmetric, so signs of weights play no part.
        """
        weights = [(w, n) for w, n in weights if w and n]
        if not weights:
            return 0.0
        most = max(w for w, _ in weights)
        if self.noise.kind == "gaussian":
            variance = self.noise.variance * sum(n * w * w for w, n in weights)
            return math.sqrt(2 * variance * math.log(1 / alpha))
        scale = float(self.noise.parameter)

        def bound(share: float) -> float:
            rate = share / (scale * most)
            moments = sum(n * _log_moment(scale, rate * w) for w, n in weights)
            return (moments + math.log(1 / alpha)) / rate

        return min(bound(share / 200) for share in range(1, 200))


def _log_moment(scale: float, rate: float) -> float:
    """ln E exp(rate X) of the discrete Laplace of this scale, rate < 1/scale."""
    slope = 1 / scale
    sides = math.log1p(-math.exp(rate - slope)) + math.log1p(-math.exp(-rate - slope))
    return 2 * math.log1p(-math.exp(-slope)) - sides
