"""Unary encoding: one bit for each code, each randomised; RAPPOR's basic one-time form among them.

**Client.** The value is k bits, a 1 at the own code; k counts the codes of the domain and
"nothing". Each bit is sent as 1 with probability p if it is 1, q if it is 0, independently.

- `RapporBits`, key "rappor": q = 1 - p. This is the *basic one-time* RAPPOR of Erlingsson, Pihur,
  Korolova 2014, "RAPPOR" (CCS), sections 2 and 2.1: one permanent response, no instantaneous one, a
  bit for each code and no Bloom filter; Wang et al. 2017 call it symmetric unary encoding. RAPPOR's
  second round exists to answer many times from one memoised value; here a device answers a release
  once, and keeps its answer to send the same bytes again (`device/contribution`).
- `OptimisedUnary`, key "unary": p = 1/2, q = 1 / (exp(ε) + 1), the optimised unary encoding of
  Wang, Blocki, Li, Jha 2017 (USENIX Security), section 4.3.

**Privacy.** Two values differ in two bits, so the ratio is at most p (1 - q) / ((1 - p) q): with
q = 1 - p that is (p / (1 - p))² <= exp(ε), p the greatest T / 2^64 with p / (1 - p) <= exp(ε/2);
with p = 1/2 it is (1 - q) / q <= exp(ε), for 1 - q the greatest T / 2^64 for which it holds. Both
are met by the report with a 1 at one value and a 0 at the other, so they are tight.

**Server.** A report supports the codes whose bit is 1 (`support`).

**Variance.** For a code that few have: symmetric n exp(ε/2) / (exp(ε/2) - 1)²; optimised
n 4 exp(ε) / (exp(ε) - 1)², the same as local hashing at its best g, with k bits for a message.
"""

from __future__ import annotations

from fractions import Fraction
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tacit.privacy.local.bits import column_sums, pack_bits, padded
from tacit.privacy.local.draws import WORD, Draws, Integers, threshold
from tacit.privacy.local.messages import Bodies
from tacit.privacy.local.support import SupportOracle


class OptimisedUnary(SupportOracle):
    """Optimised unary encoding over the codes of a domain; see the module."""

    key: ClassVar[str] = "unary"

    def prepare(self, epsilon: Fraction) -> None:
        """Sets p and q."""
        self._thresholds(*self._chances(epsilon))
        self.body_bytes = -(-self.symbols // 8)
        self.cells = self.symbols

    def _chances(self, epsilon: Fraction) -> tuple[int, int]:
        """2^64 p and 2^64 q."""
        return WORD // 2, WORD - threshold(epsilon, Fraction(1))

    def _thresholds(self, one: int, zero: int) -> None:
        self.one, self.zero = one, zero
        self.p, self.q = one / WORD, zero / WORD

    def randomise(self, codes: Integers, draws: Draws) -> Bodies:
        """Every bit on its own."""
        n = len(codes)
        bits = draws.coin(self.zero, n, self.symbols)
        bits[np.arange(n), codes] = draws.coin(self.one, n)
        return pack_bits(bits)

    def valid(self, bodies: Bodies) -> npt.NDArray[np.bool_]:
        """Any k bits."""
        return padded(bodies, self.symbols)

    def tally(self, bodies: Bodies) -> Integers:
        """How many reports have each bit."""
        return column_sums(bodies, self.symbols)


class RapporBits(OptimisedUnary):
    """Basic one-time RAPPOR over the codes of a domain; see the module."""

    key: ClassVar[str] = "rappor"

    def _chances(self, epsilon: Fraction) -> tuple[int, int]:
        truth = threshold(epsilon / 2, Fraction(1))
        return truth, WORD - truth
