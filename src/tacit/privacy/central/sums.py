"""Sums of bounded contributions with discrete noise: counts, people, sums, histograms.

**Mechanism.** f(D) is a vector of ints by key, of sensitivity Δ₁, Δ₂² (`sensitivity`); released is
f(D) + X, with X independent on each coordinate.

- *Discrete Laplace*, scale t = Δ₁/ε: pure ε-DP. For neighbours f, f' the masses at y are to one
  another at most Π exp((|y_i - f'_i| - |y_i - f_i|) / t) <= exp(Δ₁/t) = exp(ε).
- *Discrete Gaussian*, σ² = Δ₂²/2ρ: ρ-zCDP (Canonne, Kamath, Steinke 2020, theorem 14).

Every key that may be in the answer must have its noise, also one without rows: `public_keys`, or
keys that `selection` chose. Which keys there are is never read from the sums.

**On a grid.** Values are rounded to multiples of a step and clamped before they are summed, row by
row: what a row becomes depends on that row alone, so rounding changes no sensitivity, which is that
of the clamped ints. It moves a sum by half a step a row at most, a bias that is not in the error.

**Variance.** 2r/(1-r)² with r = exp(-1/t), or σ² (at most; CKS corollary 9). The estimate of the
bounded sum is unbiased.

**Interval.** `half_width(1 - α)` is the least w with P[|X| > w] <= α, by P[|X| > w] =
2 r^(w+1)/(1+r), or by P[|X| > w] <= 2 P[N(0, σ²) >= w] (CKS proposition 25).

**Which.** Gaussian noise grows with √Δ₂², Laplace noise with Δ₁: with many keys a person, or many
measures, the Gaussian is less; with one of each the Laplace. `budget` compares them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from tacit.privacy.central.sensitivity import Sensitivity
from tacit.privacy.loss import Loss, pure_dp, round_up, variance_rho, zcdp
from tacit.privacy.noise import discrete_gaussian, discrete_laplace, laplace_variance
from tacit.privacy.randomness import Randomness

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class NoisySums:
    """Noise of a kind: "laplace" with scale t, "gaussian" with σ², for sums of a sensitivity."""

    kind: Literal["laplace", "gaussian"]
    parameter: Fraction
    sensitivity: Sensitivity

    @classmethod
    def laplace(cls, sensitivity: Sensitivity, epsilon: Fraction) -> NoisySums:
        """Pure ε."""
        return cls("laplace", sensitivity.l1 / epsilon, sensitivity)

    @classmethod
    def gaussian(cls, sensitivity: Sensitivity, rho: Fraction) -> NoisySums:
        """ρ-zCDP."""
        return cls("gaussian", sensitivity.l2_squared / (2 * rho), sensitivity)

    @property
    def loss(self) -> Loss:
        """What the sums of one person's part cost, rounded up."""
        if self.kind == "laplace":
            return pure_dp(round_up(self.sensitivity.l1 / self.parameter))
        return zcdp(variance_rho(self.parameter / self.sensitivity.l2_squared, 1))

    @property
    def variance(self) -> float:
        """Of the noise of one coordinate."""
        if self.kind == "gaussian":
            return float(self.parameter)
        return laplace_variance(self.parameter)

    @property
    def sigma(self) -> float:
        """The standard error of one coordinate."""
        return math.sqrt(self.variance)

    def release(self, sums: Integers, randomness: Randomness) -> Integers:
        """The sums with noise on each. Raises PrivacyError T510 for noise that cannot be drawn."""
        draw = discrete_laplace if self.kind == "laplace" else discrete_gaussian
        noise = draw(self.parameter, sums.size, randomness).reshape(sums.shape)
        noisy: Integers = sums + noise
        return noisy

    def half_width(self, confidence: float) -> int:
        """The least w found with P[|noise| > w] <= 1 - confidence."""
        alpha = 1 - confidence
        if self.kind == "gaussian":
            return math.ceil(self.sigma * NormalDist().inv_cdf(1 - alpha / 2))
        slope = float(1 / self.parameter)  # -ln r
        beyond = math.log(2 / (alpha * (1 + math.exp(-slope)))) / slope
        return max(0, math.ceil(beyond) - 1)
