"""Optimal local hashing (OLH), with linear hashes over a prime field: exact, and quick to decode.

**Client.** Choose a hash function h from the domain to g values, uniformly from a public family;
send it, and h(v) through g-ary randomized response: the true hash with probability p, else another.
Wang, Blocki, Li, Jha 2017, "Locally Differentially Private Protocols for Frequency Estimation"
(USENIX Security), section 4.4.

**Family.** g is a prime; a code v is written with m digits of base g, a vector in GF(g)^m; the
family is h_a(v) = <a, v>, for all a in GF(g)^m. For v != w the map a -> <a, v - w> is linear and
not zero, so it takes each of the g values equally often: P_a[h_a(v) = h_a(w)] = 1/g *exactly*. The
analysis assumes no more than that; with a hash such as xxHash it is a hope. (For g = 2 and p of a
bit this is Hadamard response with one block; the use of linear maps over larger fields for quick
decoding is near Feldman, Nelson, Nguyen, Talwar 2022, "Private Frequency Estimation via Projective
Geometry".)

**Privacy.** a is chosen whatever the value is, and given a the report is g-ary randomized response:
the ratio is at most p (g - 1) / (1 - p) <= exp(ε).

**Server.** (a, y) supports the codes with <a, v> = y: the own one with probability p, another with
p/g + (1 - p)/(g - 1) · (1 - 1/g) = 1/g = q exactly. The reports are counted by (a, y); then S_v =
Σ_a C[a, <a, v>] for all v at once, one digit after the other as in a fast Fourier transform: m
steps of at most g^(m+2) additions, whatever the number of reports.

**Variance.** For a code that few have, n q (1 - q) / (p - q)² = n (exp(ε) + g - 1)² /
((exp(ε) - 1)² (g - 1)), least at g = exp(ε) + 1, where it is 4 n exp(ε) / (exp(ε) - 1)². g is the
prime of least variance among those with g^(m+1) <= 2^24; it costs a few parts in a hundred at most.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from numba import njit

from tacit.privacy.local.draws import WORD, Draws, Integers, threshold
from tacit.privacy.local.messages import Bodies, pack, unpack, width_of
from tacit.privacy.local.support import SupportOracle

_MOST_CELLS = 1 << 24


class LocalHashing(SupportOracle):
    """Optimal local hashing over the codes of a domain; see the module."""

    key: ClassVar[str] = "local_hashing"

    def prepare(self, epsilon: Fraction) -> None:
        """Chooses g, and sets p."""
        self.base = _best_base(self.symbols, float(epsilon))
        self.digits = _digits(self.symbols, self.base)
        self.functions = self.base**self.digits
        self.truth = threshold(epsilon, Fraction(self.base - 1))
        self.p = self.truth / WORD
        self.q = 1 / self.base
        self.body_bytes = width_of(self.functions * self.base)
        self.cells = self.symbols

    def randomise(self, codes: Integers, draws: Draws) -> Bodies:
        """A hash function and the randomised hash, as one number."""
        which = draws.below(self.functions, len(codes))
        hashed = self.hashes(which, codes)
        truthful = draws.coin(self.truth, len(codes))
        other = draws.below(self.base - 1, len(codes))
        other += other >= hashed
        return pack(which * self.base + np.where(truthful, hashed, other), self.body_bytes)

    def hashes(self, which: Integers, codes: Integers) -> Integers:
        """<a, v> mod g for functions and codes of one shape."""
        total = np.zeros_like(which)
        left, right = which, codes
        for _ in range(self.digits):
            left, a = np.divmod(left, self.base)
            right, v = np.divmod(right, self.base)
            total += a * v
        return total % self.base

    def valid(self, bodies: Bodies) -> npt.NDArray[np.bool_]:
        """One of the functions, and one of its values."""
        return unpack(bodies) < self._raw_cells

    def tally(self, bodies: Bodies) -> Integers:
        """How often each function came with each value."""
        return np.bincount(unpack(bodies), minlength=self._raw_cells)

    def finish(self, tally: Integers) -> Integers:
        """The supporters of each code."""
        counts = tally.reshape(self.functions, self.base)
        for left in reversed(range(self.digits)):
            counts = _next_digit(counts, self.base, self.base if left else 1)
        # Each step took the first digit of a and put that of v at the end: they stand in order.
        return np.ascontiguousarray(counts[: self.symbols, 0])

    @property
    def _raw_cells(self) -> int:
        return int(self.functions * self.base)


@njit(cache=True)
def _next_digit(counts: npt.NDArray[np.int64], base: int, most: int) -> npt.NDArray[np.int64]:
    """Sums over the first digit of a: out[(rest, v), y] = Σ_d counts[(d, rest), y + d v], for y
    below `most`: after the last digit only y = 0 is needed."""
    rest = counts.shape[0] // base
    out = np.zeros_like(counts)
    for digit in range(base):
        for other in range(rest):
            row = counts[digit * rest + other]
            for v in range(base):
                into = out[other * base + v]
                shift = digit * v % base
                for y in range(min(base - shift, most)):
                    into[y] += row[y + shift]
                for y in range(base - shift, most):
                    into[y] += row[y + shift - base]
    return out


def _digits(symbols: int, base: int) -> int:
    digits = 1
    while base**digits < symbols:
        digits += 1
    return digits


def _best_base(symbols: int, epsilon: float) -> int:
    """The prime of least variance whose table of counts fits; 2 always does."""

    def variance(base: int) -> float:
        e = math.exp(-epsilon)  # of the formula, divided by exp(2ε) above and below
        return (1 + (base - 1) * e) ** 2 / (base - 1) / (1 - e) ** 2

    fitting = [
        base
        for base in range(2, 4097)
        if all(base % d for d in range(2, math.isqrt(base) + 1))
        and base ** (_digits(symbols, base) + 1) <= _MOST_CELLS
    ]
    return min(fitting, key=variance)
