"""The continuous Gaussian mechanism, exactly: what comparisons and attacks are held against.

No release is accounted for by it: noise here is discrete (`privacy.loss`).
"""

from __future__ import annotations

import math

from tacit.privacy.loss import check, check_delta


def gaussian_delta(epsilon: float, sigma: float, sensitivity: float = 1.0) -> float:
    """δ(ε) of the *continuous* Gaussian mechanism, exactly (Balle and Wang 2018, theorem 8).

        δ(ε) = Φ(Δ/2σ - εσ/Δ) - exp(ε) Φ(-Δ/2σ - εσ/Δ)

    For comparison and attacks only; see the note of `privacy.loss` on what is rigorous.
    """
    check(epsilon, "epsilon", zero=True)
    ratio = check(sensitivity, "sensitivity") / check(sigma, "sigma")
    upper = _normal_cdf(ratio / 2 - epsilon / ratio)
    lower = _normal_cdf(-ratio / 2 - epsilon / ratio)
    if epsilon > 700:  # exp would overflow; the first term alone is an upper bound
        return upper
    return max(0.0, upper - math.exp(epsilon) * lower)


def gaussian_epsilon(delta: float, sigma: float, sensitivity: float = 1.0) -> float:
    """The ε at which the continuous Gaussian mechanism reaches `delta`, by bisection."""
    check_delta(delta)
    low, high = 0.0, 1.0
    while gaussian_delta(high, sigma, sensitivity) > delta:
        high *= 2.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (
            (middle, high) if gaussian_delta(middle, sigma, sensitivity) > delta else (low, middle)
        )
    return high


def _normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))
