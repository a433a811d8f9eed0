"""Which keys may be named at all, where they are not public: partition selection.

A key that only one person has would give that person away. So keys are kept at random, by how many
people they have. Both mechanisms read n(k), the number of people of a key, to which a person adds 1
in at most κ keys.

**Truncated geometric** (Desfontaines, Voss, Gipson 2020, "Differentially private partition
selection", theorem 1): keep a key of n people with probability π(n), the greatest for which each
key alone is (ε, δ)-DP:

    π(0) = 0,   π(n+1) = min(exp(ε) π(n) + δ,  1 - exp(-ε) (1 - π(n) - δ),  1).

With budgets ε/κ and δ/κ for each key, all keys of a person are (ε, δ)-DP by basic composition.
*Exactly*: with R a rational at least exp(-ε), and π rounded down to multiples of 2^-64 at each
step, both inequalities still hold for 1/R <= exp(ε), and π still rises. A key is kept if a uniform
64-bit word is below π(n) 2^64: no probability is approximated.

**Gaussian threshold**: keep a key if n(k) + N_Z(0, σ²) >= τ, and n(k) >= 1. Σ over keys changes by
Δ₂² = κ, so the noisy numbers of the keys that both neighbours have cost ρ = κ/2σ². Keys that only
one has come with one person, that one: with n = 1 each passes with probability
p = P[N_Z >= τ - 1], and of at most κ of them one passes with probability at most κp <= δ. Outside
that event the answer is one of the noisy numbers alone: it is δ-approximately ρ-zCDP (Bun,
Steinke 2016, section 8). p is bounded by the continuous tail, P[N_Z >= m] <= P[N(0, σ²) >= m - 1]
(CKS 2020, proposition 25), rounded up.

The first needs about κ ln(1/δ)/ε people, the second about √κ: `budget` takes the one of less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from tacit.errors import PrivacyError
from tacit.privacy.central.sums import Integers
from tacit.privacy.loss import Loss, approximate_dp, round_up, variance_rho, zcdp
from tacit.privacy.noise import discrete_gaussian
from tacit.privacy.noise_exact import exp_minus
from tacit.privacy.randomness import Randomness

_WORD = 1 << 64
_BITS = 128
_LONGEST = 1 << 20  # of the table of π: a smaller ε needs more people than there are

Kept = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TruncatedGeometric:
    """The greatest π for ε and δ over a person's `groups` keys together; see the module.

    Raises PrivacyError T875 for an ε so small that no key would be kept.
    """

    epsilon: Fraction
    delta: Fraction
    groups: int

    @cached_property
    def thresholds(self) -> npt.NDArray[np.uint64]:
        """π(n) 2^64 for n = 0, 1, …, the last one that is below 2^64."""
        return np.array(
            _thresholds(self.epsilon / self.groups, self.delta / self.groups), np.uint64
        )

    @property
    def loss(self) -> Loss:
        """(ε, δ)."""
        return approximate_dp(round_up(self.epsilon), round_up(self.delta))

    @property
    def likely(self) -> float:
        """The number of people from which a key is rather kept than not."""
        return float(np.searchsorted(self.thresholds, np.uint64(_WORD // 2)))

    def keep(self, people: Integers, randomness: Randomness) -> Kept:
        """Of each key, by its number of people, whether it is named."""
        words = randomness.uint64(people.size)
        table = self.thresholds
        place = np.clip(people, 0, len(table) - 1)
        return (people >= len(table)) | (words < table[place])


@lru_cache(maxsize=64)
def _thresholds(epsilon: Fraction, delta: Fraction) -> list[int]:
    ratio = exp_minus(epsilon)(_BITS)[1]  # R >= exp(-ε)
    if ratio >= 1 or epsilon * _LONGEST < 2 * max(1.0, -math.log(float(delta))):
        raise PrivacyError(
            f"no key would be named with ε={float(epsilon):g} for each key",
            code="T875",
            fix="give more epsilon, let a person count to fewer keys, or name public_keys",
        )
    found, last = [], 0
    while last < _WORD:
        found.append(last)
        kept = Fraction(last, _WORD)
        after = min(kept / ratio + delta, 1 - ratio * (1 - kept - delta), Fraction(1))
        last = math.floor(after * _WORD)
        if last == found[-1]:  # δ below 2^-64: nothing would ever be named
            raise PrivacyError(
                f"no key would be named with δ={float(delta):g} for each key",
                code="T875",
                fix="give a larger delta, or name public_keys",
            )
    return found


@dataclass(frozen=True)
class GaussianThreshold:
    """Noise that costs ρ over a person's `groups` keys, and the τ that costs δ; see the module."""

    rho: Fraction
    delta: Fraction
    groups: int

    @property
    def variance(self) -> Fraction:
        """σ² = κ/2ρ."""
        return self.groups / (2 * self.rho)

    @cached_property
    def threshold(self) -> int:
        """The least τ found for which κ P[N(0, σ²) >= τ - 2] <= δ."""
        sigma, each = math.sqrt(self.variance), float(self.delta / self.groups)

        def passes(tau: int) -> float:
            return 0.5 * math.erfc((tau - 2) / (sigma * math.sqrt(2.0)) * (1 - 1e-12)) * (1 + 1e-9)

        high = 2
        while passes(high) > each:
            high *= 2
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if passes(middle) > each else (low, middle)
        return high

    @property
    def loss(self) -> Loss:
        """ρ, and an event of probability δ."""
        rho = variance_rho(self.variance / self.groups, 1)
        return zcdp(rho) + approximate_dp(0.0, round_up(self.delta))

    @property
    def likely(self) -> float:
        """The number of people from which a key is rather kept than not."""
        return float(self.threshold)

    def keep(self, people: Integers, randomness: Randomness) -> Kept:
        """Of each key, by its number of people, whether it is named."""
        noisy = people + discrete_gaussian(self.variance, people.size, randomness)
        return (noisy >= self.threshold) & (people >= 1)
