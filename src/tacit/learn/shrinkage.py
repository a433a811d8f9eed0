"""From noisy pair statistics to the posterior mean of an item-item matrix.

All of this is post-processing of one release: it costs no privacy. With σ the known noise of a
pair, p the popularity and e_ij = √(p_i p_j) a pair's exposure:

1. **Popularity** p: empirical Bayes under an exponential prior (`popularity`).
2. **Prior mean** of a pair's count, m_ij = g(s_ij) e_ij: s is public content similarity, and
   g(s) = b0 + b1 s + b2 s² is fitted to *all* noisy pairs by non-negative least squares with
   weights 1 / (k m² + σ²), k by moments. Tens of thousands of noisy counts give three numbers.
   Without content the prior is independence, m_ij ∝ p_i p_j.
3. **Posterior mean** under a spike and slab prior (Mitchell and Beauchamp 1988), here
   c ~ π Exponential(m / π) + (1 - π) [c = 0], with π by marginal likelihood: most pairs never
   occur together. Pairs that share a hash bucket share its surprise in proportion to their prior
   variances. A pair without a coordinate keeps its prior mean.
4. **Normalisation** N_ij = c_ij / e_ij: what `item_item` and `spectral` take up.

At σ = 0 step 3 gives the counts themselves; as σ grows it tends to the prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from scipy.special import erfcx

from tacit.errors import DataError
from tacit.learn.popularity import exponential_posterior_mean, private_popularity
from tacit.privacy.pairs import PairLayout, PairStatistics

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

LARGEST = 30_000
"""Items of a dense item-item matrix: 3.6 GB, and the closed forms need three of them."""

_SLABS = (1.0, 0.7, 0.5, 0.35, 0.2, 0.1, 0.05, 0.02, 0.01, 0.003, 0.001)


@dataclass(frozen=True, eq=False)
class Posterior:
    """What was learned of pairs and popularity.

    Attributes:
        similarity: N, (n, n) float32, symmetric, >= 0, zero diagonal.
        popularity: p, (n,) > 0, in units of one device's block of norm 1.
        prior: (3,) the coefficients b of g; zeros without content.
        slab: π, the share of explicit pairs that occur together at all; 1 without any.
    """

    similarity: Floats32
    popularity: Floats
    prior: Floats
    slab: float


def posterior(statistics: PairStatistics, content: Floats32 | None) -> Posterior:
    """The posterior means of `statistics`; `content` is (n, n) public similarity, or None.

    Raises DataError T353 for more than 30,000 items, or a content of another shape.
    """
    layout = statistics.layout
    _check(layout, content)
    popularity = private_popularity(statistics.popularity, statistics.popularity_sigma)
    root = np.sqrt(popularity)
    if content is None or layout.pairs == 0:
        prior, coefficients = _independence(layout, popularity), np.zeros(3)
    else:
        prior, coefficients = _content_prior(statistics, content, root)
    similarity, slab = prior, 1.0
    if layout.buckets:
        fitted = bool(coefficients.any())
        _update_hashed(similarity, statistics, popularity, root, extra_mass=fitted)
    if layout.pairs:
        slab = _update_explicit(similarity, statistics, root)
    np.fill_diagonal(similarity, 0.0)
    return Posterior(similarity, popularity, coefficients, slab)


def fit_prior(
    similar: Floats, exposure: Floats, noisy: Floats, sigma: float, rounds: int = 4
) -> Floats:
    """Coefficients (3,) of g(s) = b0 + b1 s + b2 s², all >= 0, with E[noisy] = g(s) exposure.

    Iteratively reweighted: `rounds` times the weights follow from the fit before.
    """
    basis = np.column_stack([np.ones_like(similar), similar, np.square(similar)])
    flat = max(float(noisy @ exposure) / max(float(exposure @ exposure), 1e-300), 1e-6)
    mean, ratio, noise = flat * exposure, 1.0, max(sigma, 1e-3) ** 2
    coefficients = np.array([flat, 0.0, 0.0])
    for _ in range(rounds):
        weight = 1.0 / np.sqrt(ratio * np.square(mean) + noise)
        coefficients, _residual = nnls(basis * (exposure * weight)[:, None], noisy * weight)
        mean = np.maximum(basis @ coefficients, 1e-6) * exposure
        trust = 1.0 / (np.square(mean) + noise)
        excess = (np.square(noisy - mean) - noise) * trust
        spread = max(float((np.square(mean) * trust).sum()), 1e-300)
        ratio = float(np.clip(excess.sum() / spread, 0.01, 100.0))
    return np.asarray(coefficients, np.float64)


def spike_slab_posterior(noisy: Floats, sigma: float, mean: Floats) -> tuple[Floats, float]:
    """Posterior means (shape of `noisy`), and the slab share π that fits best.

    The marginal of an Exponential(μ) seen through N(0, σ²), relative to that of the spike, is
    √(π/2) (σ/μ) erfcx(-a/√2) with a = y/σ - σ/μ.
    """
    if sigma <= 0.0:
        return np.maximum(noisy, 0.0), 1.0
    best, share = -np.inf, 1.0
    stride = max(1, len(noisy) // 200_000)  # the fit of one number needs no more
    for candidate in _SLABS:
        ratio = _slab_ratio(noisy[::stride], sigma, mean[::stride] / candidate)
        likelihood = float(np.log((1.0 - candidate) + candidate * ratio).sum())
        if likelihood > best:
            best, share = likelihood, candidate
    ratio = _slab_ratio(noisy, sigma, mean / share)
    present = share * ratio / (share * ratio + (1.0 - share))
    return present * exponential_posterior_mean(noisy, sigma, mean / share), share


def share_buckets(
    buckets: Floats, sigma: float, place: Integers, sign: Floats, mean: Floats
) -> Floats:
    """Best linear estimate (m,) of the non-negative counts of m pairs behind a count sketch.

    A bucket reads y = Σ_j sign_j c_j + N(0, σ²), with j over the pairs whose `place` it is. With
    prior means m and variances k m² (k by moments over all buckets) the surprise y - Σ_j sign_j m_j
    is split among the bucket's pairs in proportion to their variances, the noise's included.
    """
    size = len(buckets)
    surprise = buckets - np.bincount(place, weights=sign * mean, minlength=size)
    variance = np.square(mean)
    per_bucket = np.bincount(place, weights=variance, minlength=size)
    noise = sigma**2
    excess = float((np.square(surprise) - noise).sum())
    ratio = max(excess / max(float(per_bucket.sum()), 1e-12), 1e-3)
    gain = surprise / (ratio * per_bucket + noise + 1e-12)
    return np.asarray(np.maximum(mean + ratio * variance * sign * gain[place], 0.0))


def _check(layout: PairLayout, content: Floats32 | None) -> None:
    what = None
    if layout.items > LARGEST:
        what = f"{layout.items} items are more than a dense item-item model holds ({LARGEST})"
    elif content is not None and content.shape != (layout.items, layout.items):
        what = f"the content similarity has shape {content.shape} for {layout.items} items"
    if what is not None:
        raise DataError(what, code="T353", fix="pass one catalogue, of fewer items, to both")


def _independence(layout: PairLayout, popularity: Floats) -> Floats32:
    """N if pairs occurred in proportion to p_i p_j, with the mass that popularity implies."""
    root = np.sqrt(popularity).astype(np.float32)
    whole = float(popularity.sum() ** 2 - np.square(popularity).sum())
    factor = 2.0 * _pair_mass(layout, popularity) / max(whole, 1e-300)
    return np.asarray(np.float32(factor) * np.outer(root, root), np.float32)


def _content_prior(
    statistics: PairStatistics, content: Floats32, root: Floats
) -> tuple[Floats32, Floats]:
    """N as g(content), and the coefficients of g."""
    first, second = np.divmod(statistics.layout.pair_keys, statistics.layout.items)
    exposure = root[first] * root[second]
    similar = content[first, second].astype(np.float64)
    b = fit_prior(similar, exposure, statistics.pairs, statistics.pair_sigma)
    prior = content * (np.float32(b[1]) + np.float32(b[2]) * content)
    # b0 was fitted to pairs that are near by their text: it does not carry over to all others.
    prior[first, second] += np.float32(b[0])
    prior[second, first] = prior[first, second]
    return prior, b


def _update_hashed(
    similarity: Floats32,
    statistics: PairStatistics,
    popularity: Floats,
    root: Floats,
    *,
    extra_mass: bool,
) -> None:
    """Replaces prior by posterior similarity at the pairs that share buckets, in place."""
    layout = statistics.layout
    first, second = np.triu_indices(layout.items, 1)
    place, sign = layout.places((first * layout.items + second).astype(np.int64))
    hashed = place >= layout.pairs
    first, second = first[hashed], second[hashed]
    exposure = root[first] * root[second]
    mean = similarity[first, second] * exposure
    if extra_mass:
        # Text says nothing of most of them: they get the mass that is left, independently.
        left = _pair_mass(layout, popularity) - float(statistics.pairs.sum() + mean.sum())
        mean += max(left, 0.0) * np.square(exposure) / max(float(np.square(exposure).sum()), 1e-300)
    where = place[hashed] - layout.pairs
    counts = share_buckets(statistics.buckets, statistics.pair_sigma, where, sign[hashed], mean)
    similarity[first, second] = similarity[second, first] = counts / exposure


def _update_explicit(similarity: Floats32, statistics: PairStatistics, root: Floats) -> float:
    """Replaces prior by posterior similarity at the explicit pairs, in place; the slab share."""
    first, second = np.divmod(statistics.layout.pair_keys, statistics.layout.items)
    exposure = root[first] * root[second]
    mean = np.maximum(similarity[first, second], 1e-6) * exposure
    counts, share = spike_slab_posterior(statistics.pairs, statistics.pair_sigma, mean)
    similarity[first, second] = similarity[second, first] = counts / exposure
    return share


def _slab_ratio(noisy: Floats, sigma: float, mean: Floats) -> Floats:
    a = noisy / sigma - sigma / mean
    with np.errstate(over="ignore"):
        ratio = np.sqrt(np.pi / 2.0) * (sigma / mean) * erfcx(-a / np.sqrt(2.0))
    # Overwhelming evidence overflows; a number this large says the same.
    return np.asarray(np.minimum(ratio, 1e300))


def _pair_mass(layout: PairLayout, popularity: Floats) -> float:
    """Σ over devices of Σ c / ||c|| for long histories whose pairs are all different.

    A device of n items adds √n to the popularity block and √n Σ_l w_l / √(Σ_l w_l²) to the pairs,
    with w_l = decay^(l - 1).
    """
    weights = layout.decay ** np.arange(layout.lag)
    return float(popularity.sum() * weights.sum() / np.sqrt(np.square(weights).sum()))
