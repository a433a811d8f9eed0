"""Hadamard response: one short message, decoded for all codes by a fast Walsh-Hadamard transform.

Acharya, Sun, Zhang 2019, "Hadamard Response: Estimating Distributions Privately, Efficiently, and
with Little Communication" (AISTATS), sections 4 and 5.

**Client.** The K = B b outputs form B blocks of b, both powers of two. A code v belongs to block
v mod B and to row r = 1 + v div B of the b × b Hadamard matrix H[r, z] = (-1)^(bits common to r and
z); row 0 is constant and not used. S_v is the half of its block with H[r, z] = +1, s = b/2 outputs.
With probability P send a uniform element of S_v, else one of the other K - s outputs.

**Privacy.** An output has probability P/s or (1 - P)/(K - s): the ratio is at most
P (K - s) / ((1 - P) s) <= exp(ε), with P the greatest T / 2^64 for which it holds.

**Server.** Let A_v be the outputs in S_v minus the others of v's block. In another block, and in
another row of its block, a device adds to A_v with mean 0: two rows are orthogonal, and each has as
many + as -. A device with v adds in the mean

    P - (1 - P) s / (K - s) =: c,     so A_v / c is unbiased.

All A_v of a block are the transform of its counts: K log b additions.

**Variance.** An indicator of the block, with a sign: E[A²] is the chance that the report is in v's
block, f = P + (1 - P) s/(K - s) for devices of that block, else h = 2 (1 - P) s/(K - s). So

    Var = ( n_block f + (n - n_block) h - n_v c² ) / c²

and for a code of an empty block, with P at its bound, n · 2 (exp(ε) + 2B - 1) / (exp(ε) - 1)².
With 2B near exp(ε) that is near OLH's 4 exp(ε) / (exp(ε) - 1)². With B = 1 all devices are of the
block, and it is n ((exp(ε) + 1) / (exp(ε) - 1))². A popular code makes the estimates of its own
block noisier, as the formula says; the standard error uses the block's own count of reports, which
is unbiased for n_block f + (n - n_block) h. B is the power of two of least variance for devices
that are spread evenly over the codes; K is at most four times their number.
"""

from __future__ import annotations

from fractions import Fraction
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from numba import njit

from tacit.privacy.local.draws import WORD, Draws, Integers, threshold
from tacit.privacy.local.estimate import Floats
from tacit.privacy.local.messages import Bodies, pack, unpack, width_of
from tacit.privacy.local.oracle import LocalOracle


class HadamardResponse(LocalOracle):
    """Hadamard response over the codes of a domain; see the module."""

    key: ClassVar[str] = "hadamard_response"

    def prepare(self, epsilon: Fraction) -> None:
        """Chooses the blocks, and sets P and c."""
        choices = [1 << j for j in range(self.symbols.bit_length() + 1)]
        self._cut(epsilon, min(choices, key=lambda blocks: self._cut(epsilon, blocks)))
        self.body_bytes = width_of(self.outputs)
        self.cells = self.symbols + self.blocks

    def _cut(self, epsilon: Fraction, blocks: int) -> float:
        """Cuts the outputs into so many blocks; the variance of a code that nobody has, for one
        report that is of each other code with the same chance."""
        self.blocks = blocks
        self.block = 1 << (-(-self.symbols // blocks)).bit_length()
        self.outputs = blocks * self.block
        self.half = self.block // 2
        self.truth = threshold(epsilon, Fraction(self.outputs - self.half, self.half))
        inside = self.truth / WORD
        other = (WORD - self.truth) / WORD * self.half / (self.outputs - self.half)
        self.gain = inside - other
        self.own, self.others = inside + other, 2 * other
        return self.variance(0, 1)

    def randomise(self, codes: Integers, draws: Draws) -> Bodies:
        """An output in the code's set, or outside it."""
        n = len(codes)
        block, row = codes % self.blocks, 1 + codes // self.blocks
        truthful = draws.coin(self.truth, n)
        inside = self._element(row, draws.below(self.half, n), 0)
        # The outside: the other half of the block, then the other blocks.
        far = draws.below(self.outputs - self.half, n)
        near = far < self.half
        elsewhere = np.where(near, 0, far - self.half)
        jumped, place = np.divmod(elsewhere, self.block)
        jumped += jumped >= block
        odd = self._element(row, np.where(near, far, 0), 1)
        outside = np.where(near, block * self.block + odd, jumped * self.block + place)
        chosen = np.where(truthful, block * self.block + inside, outside)
        return pack(chosen, self.body_bytes)

    @staticmethod
    def _element(row: Integers, place: Integers, parity: int) -> Integers:
        """Number `place` of the outputs that have this parity of bits in common with `row`.

        The bit of the row's lowest one is left free, and then set to make the parity right.
        """
        low = row & -row
        spread = (place & (low - 1)) | ((place & -low) << 1)
        wrong = (np.bitwise_count(spread & row) & 1) != parity
        return np.where(wrong, spread | low, spread)

    def valid(self, bodies: Bodies) -> npt.NDArray[np.bool_]:
        """One of the outputs."""
        return unpack(bodies) < self.outputs

    def tally(self, bodies: Bodies) -> Integers:
        """How often each output came."""
        return np.bincount(unpack(bodies), minlength=self.outputs)

    @property
    def _raw_cells(self) -> int:
        return self.outputs

    def finish(self, tally: Integers) -> Integers:
        """A_v of every code, then the reports in every block."""
        counts = tally.reshape(self.blocks, self.block).copy()
        transform(counts)
        codes = np.arange(self.symbols)
        signed = counts[codes % self.blocks, 1 + codes // self.blocks]
        return np.concatenate([signed, counts[:, 0]])

    def possible(self, tally: Integers, reports: int) -> bool:
        """The blocks hold all reports, and no code has more than its block."""
        signed, counts = tally[: self.symbols], tally[self.symbols :]
        if not ((counts >= 0) & (counts <= reports)).all() or int(counts.sum()) != reports:
            return False
        most = counts[np.arange(self.symbols) % self.blocks]
        return bool(((signed >= -most) & (signed <= most)).all())

    def debias(self, tally: Integers, reports: int) -> tuple[Floats, Floats]:
        """See the module."""
        signed, counts = tally[: self.symbols], tally[self.symbols :]
        estimates = signed / self.gain
        held = np.clip(estimates, 0.0, reports)
        spread = counts[np.arange(self.symbols) % self.blocks] - held * self.gain**2
        # What the formula gives at least, since a code's own devices are of its block.
        floor = (reports - held) * self.others + held * (self.own - self.gain**2)
        return estimates, np.sqrt(np.maximum(spread, floor)) / self.gain

    def variance(self, count: float, reports: float, block: float | None = None) -> float:
        """See the module; `block` devices have a code of the same block. If it is not given, those
        without the code are spread evenly over the others."""
        share = (-(-self.symbols // self.blocks) - 1) / (self.symbols - 1)
        near = count + (reports - count) * share if block is None else block
        square = near * self.own + (reports - near) * self.others
        return (square - count * self.gain**2) / self.gain**2


@njit(cache=True)
def transform(rows: npt.NDArray[np.int64]) -> None:
    """The Walsh-Hadamard transform of every row (any, 2^j), in place and unscaled."""
    width = rows.shape[1]
    for index in range(rows.shape[0]):
        row = rows[index]
        half = 1
        while half < width:
            for start in range(0, width, 2 * half):
                for at in range(start, start + half):
                    a, b = row[at], row[at + half]
                    row[at], row[at + half] = a + b, a - b
            half *= 2
