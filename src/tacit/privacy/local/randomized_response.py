"""Randomized response, binary and k-ary: say the truth mostly, else one of the others.

**Client.** With probability p send the own code, else one of the k - 1 others, each with the same
chance; k counts the codes of the domain and "nothing". With k = 2 it is Warner's binary response
(Warner 1965, "Randomized Response"); k-ary: Kairouz, Bonawitz, Ramage 2016, "Discrete Distribution
Estimation under Local Privacy" (ICML), section 3.1.

**Privacy.** P[y | v] is p if y = v, else (1 - p) / (k - 1). The ratio is at most
p (k - 1) / (1 - p), which is exp(ε) for p = exp(ε) / (exp(ε) + k - 1). The p drawn is the greatest
T / 2^64 for which the ratio is at most exp(ε).

**Server.** A report supports the code it names: p as above, q = (1 - p) / (k - 1) (`support`).

**Variance.** For a code that few have, n (exp(ε) + k - 2) / (exp(ε) - 1)²: it grows with k. Best
for few codes: below k = 3 exp(ε) + 2 it is better than local hashing (Wang et al. 2017, section 5).
"""

from __future__ import annotations

from fractions import Fraction
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tacit.privacy.local.draws import WORD, Draws, Integers, threshold
from tacit.privacy.local.messages import Bodies, pack, unpack, width_of
from tacit.privacy.local.support import SupportOracle


class RandomizedResponse(SupportOracle):
    """k-ary randomized response over the codes of a domain; see the module."""

    key: ClassVar[str] = "randomized_response"

    def prepare(self, epsilon: Fraction) -> None:
        """Sets p and the message's width."""
        self.truth = threshold(epsilon, Fraction(self.size))
        self.p = self.truth / WORD
        self.q = (WORD - self.truth) / WORD / self.size
        self.body_bytes = width_of(self.symbols)
        self.cells = self.symbols

    def randomise(self, codes: Integers, draws: Draws) -> Bodies:
        """The own code or another one."""
        truthful = draws.coin(self.truth, len(codes))
        other = draws.below(self.size, len(codes))
        other += other >= codes  # the own code is not among the others
        return pack(np.where(truthful, codes, other), self.body_bytes)

    def valid(self, bodies: Bodies) -> npt.NDArray[np.bool_]:
        """A code, or nothing."""
        return unpack(bodies) < self.symbols

    def tally(self, bodies: Bodies) -> Integers:
        """How often each code was named."""
        return np.bincount(unpack(bodies), minlength=self.symbols)
