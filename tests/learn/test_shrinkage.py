from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from tacit.errors import DataError
from tacit.learn.popularity import exponential_posterior_mean, private_popularity
from tacit.learn.shrinkage import fit_prior, posterior, share_buckets, spike_slab_posterior
from tacit.privacy.pairs import PairLayout, PairStatistics

N = 30
KEYS = np.array([a * N + b for a in range(N) for b in range(a + 1, N) if (a + b) % 2])


def statistics(
    sigma: float, *, buckets: int = 0, devices: int = 500, seed: int = 0
) -> PairStatistics:
    layout = PairLayout(N, KEYS, buckets=buckets)
    rng = np.random.default_rng(seed)
    histories = [rng.permutation(N)[: rng.integers(2, 12)] for _ in range(devices)]
    indptr = np.cumsum([0, *map(len, histories)])
    codes = np.concatenate([np.zeros(0, np.int64), *histories])
    total = np.asarray(layout.vectors(indptr, codes).sum(axis=0)).ravel()
    return layout.unpack(total + sigma * rng.normal(size=layout.length), sigma)


def content(seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    half = np.triu(rng.random((N, N)).astype(np.float32), 1)
    return half + half.T


@given(st.floats(-40, 40), st.floats(0.1, 5), st.floats(0.01, 50))
def test_the_posterior_mean_is_the_integral(y: float, sigma: float, mean: float) -> None:
    mode = max(y - sigma * sigma / mean, 0.0)

    def log(c: float) -> float:
        return -((y - c) ** 2) / (2 * sigma**2) - c / mean

    def density(c: float) -> float:
        return float(np.exp(log(c) - log(mode)))

    # Where the density has fallen to nothing: a normal's deviations, or an exponential's means.
    reach = 10 * sigma
    if mode == 0.0:
        reach = min(reach, 40 * sigma * sigma / max(sigma * sigma / mean - y, 1e-3))
    ends = (max(mode - 10 * sigma, 0.0), mode + reach)
    top = quad(lambda c: c * density(c), *ends, limit=400)[0]
    expected = top / quad(density, *ends, limit=400)[0]
    found = exponential_posterior_mean(np.array([y]), sigma, mean)[0]
    assert found == pytest.approx(expected, rel=1e-3)


def test_without_noise_counts_stay_as_they_are() -> None:
    counts = np.array([0.0, 1.5, 7.0])
    assert np.array_equal(exponential_posterior_mean(counts, 0.0, 1.0), counts)
    found, share = spike_slab_posterior(counts, 0.0, np.ones(3))
    assert np.array_equal(found, counts)
    assert share == 1.0
    np.testing.assert_allclose(spike_slab_posterior(counts, 1e-6, np.ones(3))[0], counts, atol=1e-4)


def test_with_endless_noise_the_prior_is_left() -> None:
    noise = 1e6 * np.random.default_rng(0).normal(size=500)
    mean = np.linspace(0.5, 2.0, 500)
    np.testing.assert_allclose(spike_slab_posterior(noise, 1e6, mean)[0], mean, rtol=0.05)


def test_most_pairs_are_found_to_be_absent() -> None:
    rng = np.random.default_rng(0)
    counts = np.where(rng.random(20_000) < 0.05, rng.exponential(20.0, 20_000), 0.0)
    noisy = counts + rng.normal(size=20_000)
    found, share = spike_slab_posterior(noisy, 1.0, np.full(20_000, 1.0))
    assert share == 0.05
    assert np.square(found - counts).mean() < 0.25 * np.square(np.maximum(noisy, 0) - counts).mean()


def test_the_prior_is_found_through_noise() -> None:
    rng = np.random.default_rng(0)
    similar, exposure = rng.random(40_000), rng.random(40_000) * 4
    mean = (0.1 + 2.0 * np.square(similar)) * exposure
    noisy = rng.exponential(mean) + 3.0 * rng.normal(size=40_000)
    at = np.linspace(0, 1, 11)
    b = fit_prior(similar, exposure, noisy, 3.0)
    found = b[0] + b[1] * at + b[2] * at**2
    np.testing.assert_allclose(found, 0.1 + 2.0 * at**2, atol=0.12)


def test_buckets_share_their_surprise_by_prior_variance() -> None:
    place, sign = np.array([0, 0, 1]), np.array([1.0, -1.0, 1.0])
    mean = np.array([2.0, 1.0, 5.0])
    buckets = np.array([10.0, 5.0])  # a surprise of 9 in the first, none in the second
    found = share_buckets(buckets, 0.1, place, sign, mean)
    assert found[0] - 2.0 == pytest.approx(9 * 4 / 5, rel=0.05)
    assert found[1] == 0.0  # 1 - 9/5, cut
    assert found[2] == pytest.approx(5.0)


@pytest.mark.parametrize("buckets", [0, 40])
@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("sigma", [0.0, 1e-3, 1.0, 50.0, 1e4])
def test_the_result_is_a_similarity_whatever_the_noise(
    buckets: int, text: bool, sigma: float
) -> None:
    found = posterior(statistics(sigma, buckets=buckets), content() if text else None)
    assert np.isfinite(found.similarity).all()
    assert (found.similarity >= 0).all()
    assert np.array_equal(found.similarity, found.similarity.T)
    assert not found.similarity.diagonal().any()
    assert (found.popularity > 0).all()


def test_without_noise_explicit_pairs_are_the_counts() -> None:
    exact = statistics(0.0)
    found = posterior(exact, content())
    first, second = np.divmod(KEYS, N)
    root = np.sqrt(found.popularity)
    counts = found.similarity[first, second] * root[first] * root[second]
    np.testing.assert_allclose(counts, exact.pairs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_nobody_at_all_is_no_error(sigma: float) -> None:
    found = posterior(statistics(sigma, devices=0), content())
    assert np.isfinite(found.similarity).all()
    assert (private_popularity(np.zeros(5), 0.0) > 0).all()


def test_content_of_another_catalogue_is_refused() -> None:
    with pytest.raises(DataError, match="T353"):
        posterior(statistics(1.0), np.zeros((N + 1, N + 1), np.float32))
