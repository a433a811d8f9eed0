"""Popularity from noisy counts, and the posterior mean that keeps private counts positive."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import erfcx

Floats = npt.NDArray[np.float64]


def exponential_posterior_mean(noisy: Floats, sigma: float, prior_mean: Floats | float) -> Floats:
    """E[c | y] for y = c + N(0, σ²) and c ~ Exponential(mean `prior_mean`); shape of `noisy`.

    Completing the square makes the posterior a normal of mean t = y - σ²/m and deviation σ, cut to
    c > 0, so E = t + σ φ(a)/Φ(a) with a = t/σ. It is positive, rises with y, and tends to y as σ
    goes to 0; at σ = 0 it is y itself, cut at 0.
    """
    mean = np.maximum(np.broadcast_to(np.asarray(prior_mean, np.float64), noisy.shape), 1e-12)
    if sigma <= 0.0:
        return np.maximum(noisy, 0.0)
    a = noisy / sigma - sigma / mean
    hazard = np.sqrt(2.0 / np.pi) / erfcx(-a / np.sqrt(2.0))
    # Far in the left tail a + hazard(a) loses all digits; there it is -1/a to first order.
    return np.asarray(sigma * np.where(a < -1e4, -1.0 / np.minimum(a, -1.0), a + hazard))


def private_popularity(noisy: Floats, sigma: float) -> Floats:
    """Positive popularity estimates (items,) from noisy sums of histories of norm 1.

    Empirical Bayes (Robbins 1956): the prior's mean is the mean noisy count, whose own noise is
    only σ/√items. That is also its floor, so that an empty population stays defined.
    """
    floor = max(sigma / float(np.sqrt(len(noisy))), 1e-9)
    estimate = exponential_posterior_mean(noisy, sigma, max(float(noisy.mean()), floor))
    return np.asarray(np.maximum(estimate, 1e-3 * floor))
