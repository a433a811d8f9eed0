"""Count-mean sketch (CMS): a row of a sketch as bits, each of which may be flipped.

Apple Differential Privacy Team 2017, "Learning with Privacy at Scale", algorithms A-CMS and S-CMS.
Hashes, estimates and collisions are those of `sketch`.

**Client.** Choose a row j uniformly; make m bits, a 1 at column h_j(key); flip each with
probability f = 1 / (exp(ε/2) + 1), independently; send j and the bits.

**Privacy.** j is chosen whatever the key is. Given j, two keys differ in at most two bits, so the
ratio is at most ((1 - f) / f)² <= exp(ε), with 1 - f the greatest T / 2^64 for which it holds.

**Server.** The debiased bit is (bit - f) / (1 - 2f): M_j[c] = (ones_j[c] - n_j f) / (1 - 2f). With
bits as ±1 this is Apple's (c/2) x + 1/2, c = (exp(ε/2) + 1) / (exp(ε/2) - 1).

**Variance** of one debiased bit: V = f (1 - f) / (1 - 2f)² = exp(ε/2) / (exp(ε/2) - 1)².
A report has m bits and a row: for few devices or a large ε; else the Hadamard form sends less.
"""

from __future__ import annotations

from fractions import Fraction
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tacit.privacy.local.bits import column_sums, pack_bits, padded
from tacit.privacy.local.draws import WORD, Draws, Integers, threshold
from tacit.privacy.local.estimate import Floats
from tacit.privacy.local.messages import Bodies, pack, unpack, width_of
from tacit.privacy.local.sketch import Sketch


class CountMeanSketch(Sketch):
    """Apple's count-mean sketch; see the module."""

    key: ClassVar[str] = "count_mean_sketch"

    def noise(self, epsilon: Fraction) -> None:
        """Sets f."""
        truth = threshold(epsilon / 2, Fraction(1))
        self.flip = WORD - truth
        self.f = self.flip / WORD
        self.gain = (2 * truth - WORD) / WORD
        self.unit = self.f * (1 - self.f) / self.gain**2
        self.row_bytes = width_of(self.hashes)
        self.body_bytes = self.row_bytes + -(-self.width // 8)

    def report(self, rows: Integers, columns: Integers, draws: Draws) -> Bodies:
        """The rows, then their bits."""
        bits = draws.coin(self.flip, len(rows), self.width)
        every = np.arange(len(rows))
        bits[every, columns] = ~bits[every, columns]
        return np.hstack([pack(rows, self.row_bytes), pack_bits(bits)])

    def valid(self, bodies: Bodies) -> npt.NDArray[np.bool_]:
        """A row that there is, and m bits."""
        rows = unpack(bodies[:, : self.row_bytes])
        return (rows < self.hashes) & padded(bodies[:, self.row_bytes :], self.width)

    def tally(self, bodies: Bodies) -> Integers:
        """The ones in each cell, and the reports of each row."""
        rows = unpack(bodies[:, : self.row_bytes])
        order = np.argsort(rows, kind="stable")
        ordered = bodies[order, self.row_bytes :]
        counts = np.bincount(rows, minlength=self.hashes)
        ends = np.cumsum(counts)
        sums = np.zeros((self.hashes, self.width), np.int64)
        for row in np.flatnonzero(counts):
            sums[row] = column_sums(ordered[ends[row] - counts[row] : ends[row]], self.width)
        return np.concatenate([sums.reshape(-1), counts])

    def possible(self, tally: Integers, reports: int) -> bool:
        """As `Sketch.possible`; and there are no fewer than no ones."""
        return bool((tally >= 0).all()) and super().possible(tally, reports)

    def table(self, sums: Integers, counts: Integers) -> Floats:
        """See the module."""
        return (sums - counts[:, None] * self.f) / self.gain
