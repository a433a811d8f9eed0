"""Subset selection: a random set of d codes, in which the own one is more likely than others.

Ye, Barg 2018, "Optimal Schemes for Discrete Distribution Estimation under Locally Differential
Privacy" (IEEE Transactions on Information Theory 64), section 3; Wang, Huang, Wang, Nie, Xiao,
Yang, Li, Xu 2016, "Mutual Information Optimally Local Private Discrete Distribution Estimation".

**Client.** With probability p the set has the own code and d - 1 others, else d others; the others
are a uniform choice without repetition (a partial shuffle with exact draws). k counts the codes of
the domain and "nothing". The set is sent as k bits, of which d are 1.

**Privacy.** A set has probability p / C(k-1, d-1) if it has the own code, (1 - p) / C(k-1, d) if
not: the ratio is at most p (k - d) / ((1 - p) d) <= exp(ε), with p the greatest T / 2^64 for which
it holds.

**Server.** A set supports its elements (`support`): the own code with probability p, another one
with q = p (d - 1) / (k - 1) + (1 - p) d / (k - 1).

**Variance.** n q (1 - q) / (p - q)² for a code that few have. d is the whole number of least
variance, near k / (exp(ε) + 1). It is the optimum among all mechanisms for many devices, to a
constant (Ye, Barg): for large k the same 4 n exp(ε) / (exp(ε) - 1)² as local hashing, for small k
less. Its report has k bits, so it is for domains of up to a few thousand codes.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from numba import njit

from tacit.privacy.local.bits import column_sums, ones, pack_bits, padded
from tacit.privacy.local.draws import WORD, Draws, Integers, threshold
from tacit.privacy.local.messages import Bodies
from tacit.privacy.local.support import SupportOracle


class SubsetSelection(SupportOracle):
    """Subset selection over the codes of a domain; see the module."""

    key: ClassVar[str] = "subset_selection"

    def prepare(self, epsilon: Fraction) -> None:
        """Chooses d, and sets p and q."""
        near = self.symbols / (math.exp(float(epsilon)) + 1)
        choices = {min(max(1, size), self.symbols - 1) for size in (int(near), int(near) + 1)}
        self._choose(epsilon, min(choices, key=lambda chosen: self._choose(epsilon, chosen)))
        self.body_bytes = -(-self.symbols // 8)
        self.cells = self.symbols

    def _choose(self, epsilon: Fraction, chosen: int) -> float:
        """Takes d = `chosen`; the variance that it gives."""
        self.chosen = chosen
        self.truth = threshold(epsilon, Fraction(self.symbols - chosen, chosen))
        self.p = self.truth / WORD
        lie = (WORD - self.truth) / WORD
        self.q = (self.p * (chosen - 1) + lie * chosen) / self.size
        return self.variance(0, 1)

    def randomise(self, codes: Integers, draws: Draws) -> Bodies:
        """A set with or without the code."""
        truthful = draws.coin(self.truth, len(codes))
        # Choosing d of the others, of which one too many is left out where the own one is in.
        picks = draws.below_each([self.size - i for i in range(self.chosen)], len(codes))
        sets: npt.NDArray[np.bool_] = _sets(codes, truthful, picks, self.symbols)
        return pack_bits(sets)

    def valid(self, bodies: Bodies) -> npt.NDArray[np.bool_]:
        """d of k bits."""
        whole: npt.NDArray[np.bool_] = ones(bodies) == self.chosen
        return padded(bodies, self.symbols) & whole

    def tally(self, bodies: Bodies) -> Integers:
        """In how many sets each code is."""
        return column_sums(bodies, self.symbols)


@njit(cache=True)
def _sets(
    codes: npt.NDArray[np.int64],
    truthful: npt.NDArray[np.bool_],
    picks: npt.NDArray[np.int64],
    symbols: int,
) -> npt.NDArray[np.bool_]:
    """The sets as rows of booleans (n, symbols): a partial shuffle of the codes but the own one."""
    n, chosen = picks.shape
    out = np.zeros((n, symbols), np.bool_)
    others = np.empty(symbols - 1, np.int64)
    for code in range(symbols - 1):
        others[code] = code
    for index in range(n):
        own = codes[index]
        taken = chosen
        if truthful[index]:
            out[index, own] = True
            taken -= 1
        for i in range(taken):
            at = i + picks[index, i]
            others[i], others[at] = others[at], others[i]
            code = others[i]
            out[index, code + (code >= own)] = True
        # Any order is as good a start as another: the next picks do not depend on this one.
    return out
