"""Means: a noisy sum around a midpoint, over a noisy count.

**Derivation.** Rows are put on a grid around the middle of [low, high]: x = mid + i step, with i an
int in [-half, half] or so. A person of n rows in a key adds (Σ i, n) if n <= m, and else that of m
rows of their average (`operations.Shrink`), so at most m half to the sum and m to the count. With
S = Σ i and N the number of rows, the mean is mid + step S / N. Both are released by `sums`, each
with a part of the budget. Around the middle a person adds half as much to the sum as they would
above `low`, and nothing on average to a key whose mean is near it.

**Error.** With independent noise of variances v_S, v_N the delta method gives, for r = S/N,

    Var ≈ step² (v_S + r² v_N) / N².

**Interval.** S and N lie within their own intervals together with the wanted confidence, each
having half of what may fail. S/N over that rectangle, with N >= 1, is least and greatest at its
corners. It is wide where N is small against its noise, as it should be, and within [low, high]. A
count that comes out below 1 is taken as 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tacit.privacy.central.sums import Integers, NoisySums

Floats = npt.NDArray[np.float64]


class Estimates(NamedTuple):
    """By key: the estimate, its standard error by noise, and an interval; shapes (keys,)."""

    value: Floats
    error: Floats
    lower: Floats
    upper: Floats


@dataclass(frozen=True, slots=True)
class Means:
    """Means from noisy sums (in steps around `middle`) and counts, within [low, high]."""

    sums: NoisySums
    counts: NoisySums
    middle: float
    step: float
    low: float
    high: float

    def estimate(self, sums: Integers, counts: Integers, confidence: float) -> Estimates:
        """From what was released; post-processing."""
        number = np.maximum(counts, 1).astype(np.float64)
        ratio = sums / number
        spread = self.sums.variance + ratio**2 * self.counts.variance
        error = np.minimum(self.step * np.sqrt(spread) / number, self.high - self.low)
        each = 1 - (1 - confidence) / 2
        wide, off = self.sums.half_width(each), self.counts.half_width(each)
        most = np.maximum(counts + off, 1).astype(np.float64)
        least = np.maximum(counts - off, 1).astype(np.float64)
        down, up = sums - wide, sums + wide
        lower = np.where(down < 0, down / least, down / most)
        upper = np.where(up > 0, up / least, up / most)
        value, lower, upper = (self._within(part) for part in (ratio, lower, upper))
        return Estimates(value, error, lower, upper)

    def _within(self, ratio: Floats) -> Floats:
        clipped: Floats = np.clip(self.middle + self.step * ratio, self.low, self.high)
        return clipped
