"""The best attack on a released sum: tell a population from its neighbour, many times over.

For noise that falls like a Gaussian's, the most powerful test (Neyman, Pearson) is a threshold on
the result along the difference of the two populations' sums. An (ε, δ) claim bounds it by
P[S | with] <= exp(ε) P[S | without] + δ. Exact binomial limits turn counts into a lower bound on ε
that is wrong with probability 10^-4 at most. It must stay below an honest claim, and must rise
above a claim whose noise was secretly halved.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from examples import examples
from tacit.privacy.gaussian import gaussian_delta
from tacit.privacy.mechanism import Report
from tacit.privacy.randomness import Randomness, unsafe_seeded
from tacit.privacy.vector_sum import VectorSum

DRAWS = examples(12_000, 3)
EPSILON, DELTA = 1.0, 0.02
VICTIM = np.array([0.6, -0.8])


def released(mechanism: VectorSum, reports: list[Report], source: Randomness) -> np.ndarray:
    """Many releases of the same reports, along the victim's direction; shape (DRAWS,)."""
    pairs = [[(r.id, r.messages[i]) for r in reports] for i in range(2)]
    results = [
        mechanism.decode([mechanism.combine(i, pairs[i], source) for i in range(2)])
        for _ in range(DRAWS)
    ]
    return np.array(results) @ VICTIM


def attack(mechanism: VectorSum) -> float:
    """A lower bound on ε at DELTA, at 99.99% confidence."""
    source = unsafe_seeded(11)
    others = list(mechanism.encode_many(np.array([[0.3, 0.1], [-1.0, 0.0]]), source))
    victim = mechanism.encode(VICTIM, source)
    without = released(mechanism, others, source)
    with_victim = released(mechanism, [*others, victim], source)
    # The threshold is chosen on theory, not on these draws, which keeps the confidence honest.
    sigma = (2 * mechanism.variance) ** 0.5 / mechanism.scale
    middle = float(np.array([-0.7, 0.1]) @ VICTIM)
    threshold = middle + best_threshold(sigma)
    hits, false = int((with_victim > threshold).sum()), int((without > threshold).sum())
    surely = stats.beta.ppf(5e-5, hits, DRAWS - hits + 1)
    at_most = stats.beta.ppf(1 - 5e-5, false + 1, DRAWS - false)
    return math.log(max(surely - DELTA, 1e-300) / at_most)


def best_threshold(sigma: float) -> float:
    cuts = np.linspace(-1, 4 * sigma + 1, 2000)
    hit, false = stats.norm.sf((cuts - 1) / sigma), stats.norm.sf(cuts / sigma)
    spread = 4 * np.sqrt(false / DRAWS) + 4 * np.sqrt(hit / DRAWS)
    gain = np.log(np.maximum(hit - DELTA - spread, 1e-12) / (false + spread))
    return float(cuts[np.argmax(gain)])


@pytest.fixture
def mechanism() -> VectorSum:
    return VectorSum(2, 10, EPSILON, DELTA, "attacked")


def test_the_honest_release_withstands(mechanism: VectorSum) -> None:
    found = attack(mechanism)
    assert found <= mechanism.claim().epsilon <= EPSILON
    assert found > 0.2  # the attack is a real one


@pytest.mark.slow
def test_half_the_noise_is_found_out(mechanism: VectorSum) -> None:
    claimed = mechanism.claim().epsilon
    mechanism.variance //= 4
    assert gaussian_delta(claimed, (2 * mechanism.variance) ** 0.5 / mechanism.scale) > DELTA
    assert attack(mechanism) > claimed
