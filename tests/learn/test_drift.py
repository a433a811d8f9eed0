"""How far distributions lie apart, against what is known of each measure."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp

from tacit.aggregates.profile import MINIMUM, profile, published
from tacit.learn.drift import distance


def shown(values: object) -> object:
    return published(profile(pa.chunked_array([pa.array(values)])))


def normal(mean: float, size: int = 20_000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, size)


def test_the_same_is_nowhere_apart() -> None:
    found = distance(shown(normal(5)), shown(normal(5)))
    assert found == pytest.approx((0, 0, 0), abs=1e-12)


def test_two_samples_of_one_law_are_stable_and_a_shift_is_not() -> None:
    near = distance(shown(normal(5)), shown(normal(5, seed=1)))
    far = distance(shown(normal(5)), shown(normal(6, seed=1)))
    assert near is not None
    assert far is not None
    assert near.psi < 0.01 < 0.25 < far.psi
    assert near.js < 0.01 < far.js
    assert near.ks < 0.03 < far.ks


def test_nothing_in_common() -> None:
    found = distance(shown([1.0] * 50), shown([9.0] * 50))
    assert found is not None
    assert (found.js, found.ks) == (1.0, 1.0)
    assert found.psi > 1


def test_ks_and_js_are_those_of_scipy_on_whole_bins() -> None:
    draw = np.random.default_rng(4)
    one, two = draw.integers(0, 8, 5_000) * 1.0, draw.binomial(7, 0.4, 5_000) * 1.0
    found = distance(shown(one), shown(two))
    assert found is not None
    kept = [v for v in range(8) if (two == v).sum() >= MINIMUM]
    assert found.ks == pytest.approx(ks_2samp(one, two).statistic, abs=0.01)
    p = [(one == v).mean() for v in range(8)]
    q = [(two == v).mean() if v in kept else 0 for v in range(8)]
    assert found.js == pytest.approx(jensenshannon(p, q, 2) ** 2, abs=1e-3)


def test_text_has_no_order_and_nulls_count() -> None:
    one, two = ["a"] * 60 + ["b"] * 40, ["a"] * 40 + ["b"] * 60
    found = distance(shown(one), shown(two))
    assert found is not None
    assert found.ks == pytest.approx(0.2)
    gone = distance(shown([1.0] * 100), shown([1.0] * 50 + [None] * 50))
    assert gone is not None
    assert gone.ks == pytest.approx(0.5)


def test_of_nothing_nothing_is_said() -> None:
    assert distance(shown([1.0] * 3), shown([1.0] * 50)) is None
