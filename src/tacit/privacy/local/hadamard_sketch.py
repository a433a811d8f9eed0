"""Hadamard count-mean sketch (HCMS): one randomised bit of a row's Hadamard transform.

Apple Differential Privacy Team 2017, "Learning with Privacy at Scale", algorithms A-HCMS, S-HCMS.
Hashes, estimates and collisions are those of `sketch`.

**Client.** Choose a row j and an index l < m uniformly; take the bit H[l, h_j(key)] = ±1 of the
m × m Hadamard matrix, (-1)^(bits common to both); flip it with probability f = 1 / (exp(ε) + 1);
send j, l and the bit, as the one number 2 (j m + l) + bit.

**Privacy.** j and l are chosen whatever the key is; the bit is binary randomized response: the
ratio is at most (1 - f) / f <= exp(ε), with 1 - f the greatest T / 2^64 for which it holds.

**Server.** The bit divided by 1 - 2f has the mean H[l, h_j(key)]. Multiplied by H[l, c], and in the
mean over l, it is 1 if c = h_j(key) and else 0, since columns of H are orthogonal. So row j of M is
the transform of the sums of bits by l, divided by 1 - 2f.

**Variance** of one report in any cell: V = 1 / (1 - 2f)² = ((exp(ε) + 1) / (exp(ε) - 1))², less 1
in the own column. One bit carries no more at a large ε; there CMS, or a closed domain, is better.
"""

from __future__ import annotations

from fractions import Fraction
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tacit.privacy.local.draws import WORD, Draws, Integers, threshold
from tacit.privacy.local.estimate import Floats
from tacit.privacy.local.hadamard_response import transform
from tacit.privacy.local.messages import Bodies, pack, unpack, width_of
from tacit.privacy.local.sketch import Sketch


class HadamardSketch(Sketch):
    """Apple's Hadamard count-mean sketch; see the module."""

    key: ClassVar[str] = "hadamard_count_mean_sketch"

    def noise(self, epsilon: Fraction) -> None:
        """Sets f."""
        self.truth = threshold(epsilon, Fraction(1))
        self.gain = (2 * self.truth - WORD) / WORD
        self.unit = 1 / self.gain**2
        self.outputs = 2 * self.hashes * self.width
        self.body_bytes = width_of(self.outputs)

    def report(self, rows: Integers, columns: Integers, draws: Draws) -> Bodies:
        """Row, index and bit as one number."""
        index = draws.below(self.width, len(rows))
        negative = np.bitwise_count(index & columns) & 1
        bit = np.where(draws.coin(self.truth, len(rows)), negative, 1 - negative)
        return pack(2 * (rows * self.width + index) + bit, self.body_bytes)

    def valid(self, bodies: Bodies) -> npt.NDArray[np.bool_]:
        """A row and an index that there are."""
        return unpack(bodies) < self.outputs

    def tally(self, bodies: Bodies) -> Integers:
        """The sums of signs by row and index, and the reports of each row."""
        by = np.bincount(unpack(bodies), minlength=self.outputs).reshape(self.hashes, self.width, 2)
        sums = by[:, :, 0] - by[:, :, 1]
        return np.concatenate([sums.reshape(-1), by.sum(axis=(1, 2))])

    def table(self, sums: Integers, counts: Integers) -> Floats:
        """See the module."""
        rows = sums.copy()
        transform(rows)
        return rows / self.gain
