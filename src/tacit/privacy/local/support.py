"""Oracles that count supports: a report supports some codes, its own with the greatest chance.

Wang, Blocki, Li, Jha 2017, "Locally Differentially Private Protocols for Frequency Estimation"
(USENIX Security), section 3: a protocol is *pure* when a report of a device with code v supports v
with probability p, and every other code with one and the same probability q < p. Of n reports, S_v
support v; n_v devices have it.

    E[S_v] = n_v p + (n - n_v) q,   so   c_v = (S_v - n q) / (p - q)   is unbiased (theorem 1).

Reports are independent, and S_v is a sum of n indicators, so (theorem 2, for any n_v)

    Var[c_v] = ( n_v p (1 - p) + (n - n_v) q (1 - q) ) / (p - q)².

The standard error is its root with c_v, kept within 0 to n, in the place of n_v: where the noise is
larger than the counts it errs upward.
"""

from __future__ import annotations

import numpy as np

from tacit.privacy.local.draws import Integers
from tacit.privacy.local.estimate import Floats
from tacit.privacy.local.oracle import LocalOracle


class SupportOracle(LocalOracle):
    """An oracle whose tally is S, the number of reports that support each code.

    `p` and `q` are those of the thresholds that are drawn against, to a double's precision.
    """

    p: float
    q: float

    def variance(self, count: float, reports: float) -> float:
        """See the module."""
        p, q = self.p, self.q
        return (count * p * (1 - p) + (reports - count) * q * (1 - q)) / (p - q) ** 2

    def debias(self, tally: Integers, reports: int) -> tuple[Floats, Floats]:
        """See the module."""
        estimates: Floats = (tally.astype(np.float64) - reports * self.q) / (self.p - self.q)
        held = np.clip(estimates, 0.0, reports)
        p, q = self.p, self.q
        spread = held * (p * (1 - p)) + (reports - held) * (q * (1 - q))
        errors: Floats = np.sqrt(spread) / (p - q)
        return estimates, errors

    def possible(self, tally: Integers, reports: int) -> bool:
        """No code has more supporters than there are reports."""
        return bool(((tally >= 0) & (tally <= reports)).all())
