from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from tacit.device.rank import SCORERS
from tacit.errors import DataError, DeclarationError
from tacit.learn.comparators import not_private_ease, not_private_popularity
from tacit.learn.item_item import (
    ease,
    learn_item_item,
    popularity_factor,
    private_weights,
    prune,
    safe_regularisation,
)
from tacit.learn.learners import LEARNERS
from tacit.learn.shrinkage import posterior
from tacit.learn.spectral import leading, learn_spectral
from tacit.privacy.pairs import PairLayout, PairStatistics

N = 120


def statistics(sigma: float = 1.0, items: int = N) -> PairStatistics:
    first, second = np.triu_indices(items, 1)
    layout = PairLayout(items, (first * items + second).astype(np.int64))
    rng = np.random.default_rng(0)
    histories = [
        (rng.permutation(items // 2)[:8] + (items // 2) * (user % 2)).astype(np.int64)
        for user in range(400)
    ]
    indptr = np.cumsum([0, *map(len, histories)])
    total = np.asarray(layout.vectors(indptr, np.concatenate(histories)).sum(axis=0)).ravel()
    return layout.unpack(total + sigma * rng.normal(size=layout.length), sigma)


def some_histories(items: int = N) -> sp.csr_matrix:
    rng = np.random.default_rng(7)
    rows = rng.random((9, items)) < 0.05
    rows[3] = False
    return sp.csr_matrix(rows.astype(np.float32))


# ---------------------------------------------------------------------- EASE


@given(st.integers(1, 30), st.floats(1.0, 1e3), st.integers(0, 2**32))
def test_ease_is_equation_8(items: int, regularisation: float, seed: int) -> None:
    x = (np.random.default_rng(seed).random((50, items)) < 0.3).astype(float)
    inverse = np.linalg.inv(x.T @ x + regularisation * np.eye(items))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0.0)
    np.testing.assert_allclose(ease(x.T @ x, regularisation), expected, atol=2e-5)


def test_ease_minimises_its_objective() -> None:
    rng = np.random.default_rng(0)
    x, regularisation = (rng.random((60, 12)) < 0.3).astype(float), 5.0
    found = ease(x.T @ x, regularisation).astype(float)

    def loss(b: np.ndarray) -> float:
        return float(np.square(x - x @ b).sum() + regularisation * np.square(b).sum())

    for _ in range(200):
        step = 1e-2 * rng.normal(size=(12, 12))
        np.fill_diagonal(step, 0.0)
        assert loss(found + step) > loss(found)


def test_a_matrix_that_is_not_positive_definite_is_refused() -> None:
    with pytest.raises(DataError, match="T354"):
        ease(np.array([[0.0, 1.0], [1.0, 0.0]]), 0.5)


@pytest.mark.parametrize("items", [2, 100])
def test_the_regularisation_is_safe_for_the_worst_matrix(items: int) -> None:
    paired = np.kron(np.eye(items // 2), [[0, 1], [1, 0]]).astype(np.float32)  # eigenvalues ±1
    assert np.isfinite(ease(paired, safe_regularisation(paired))).all()
    assert safe_regularisation(np.zeros((items, items), np.float32)) == 1.0


# ---------------------------------------------------------------------- pruning


@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 2**32))
def test_pruning_keeps_the_strongest(items: int, count: int, seed: int) -> None:
    weights = np.random.default_rng(seed).normal(size=(items, items)).astype(np.float32)
    neighbours, kept = prune(weights, count)
    assert neighbours.shape == (items, min(count, items))
    for row in range(items):
        order = np.argsort(-np.abs(weights[row]), kind="stable")[:count]
        assert neighbours[row].tolist() == order.tolist()
        assert np.array_equal(kept[row], weights[row, order])


def test_scores_come_from_what_the_bundle_carries() -> None:
    learned = learn_item_item(statistics(), None, {"neighbours": 7})
    assert {name: (a.shape, a.dtype.name) for name, a in learned.arrays.items()} == {
        "neighbours": ((N, 7), "int32"),
        "weights": ((N, 7), "float32"),
        "popularity": ((N,), "float32"),
    }
    history = some_histories()
    found = learned.scores(history)
    assert found.dtype == np.float32
    expected = np.zeros(found.shape)
    for user, row in enumerate(history.toarray()):
        for item in np.flatnonzero(row):
            for target, weight in zip(learned.neighbours[item], learned.weights[item], strict=True):
                expected[user, target] += weight * row[item]
    expected[3] = learned.popularity
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_with_all_neighbours_nothing_is_lost() -> None:
    learned = learn_item_item(statistics(), None, {"neighbours": N})
    weights = private_weights(posterior(statistics(), None), None, 0.25)
    history = some_histories()
    expected = history @ weights
    expected[3] = learned.popularity
    np.testing.assert_allclose(learned.scores(history), expected, atol=1e-5)


@pytest.mark.parametrize("learner", sorted(LEARNERS))
def test_a_device_ranks_as_was_evaluated(learner: str) -> None:
    learned = LEARNERS[learner](statistics(), None, {})
    scorer = SCORERS[learner](learned.arrays, N)
    history = some_histories()
    found = learned.scores(history)
    for user in (0, 1, 2):
        codes = np.sort(history[user].indices).astype(np.int64)
        np.testing.assert_allclose(scorer.contributions(codes).sum(axis=0), found[user], atol=1e-4)


@pytest.mark.parametrize("learner", sorted(LEARNERS))
def test_learning_repeats(learner: str) -> None:
    once, again = (LEARNERS[learner](statistics(), None, {}) for _ in range(2))
    for name, array in once.arrays.items():
        assert np.array_equal(array, again.arrays[name])


@pytest.mark.parametrize("learner", sorted(LEARNERS))
def test_the_two_halves_of_a_population_are_told_apart(learner: str) -> None:
    """Even and odd users like different halves of the items: so must what is recommended."""
    learned = LEARNERS[learner](statistics(0.3), None, {})
    history = sp.csr_matrix(
        (np.ones(6, np.float32), ([0, 0, 0, 1, 1, 1], [0, 5, 9, 60, 65, 69])), shape=(2, N)
    )
    history_scores = learned.scores(history)
    for user, half in ((0, slice(0, 60)), (1, slice(60, 120))):
        best = np.argsort(-history_scores[user])[:10]
        assert np.isin(best, np.arange(N)[half]).mean() >= 0.9


@pytest.mark.parametrize("learner", sorted(LEARNERS))
def test_wrong_options_are_refused(learner: str) -> None:
    with pytest.raises(DeclarationError, match="T117"):
        LEARNERS[learner](statistics(), None, {"neighbors": 3})
    with pytest.raises(DeclarationError, match="T118"):
        LEARNERS[learner](statistics(), None, {"popularity_power": -1})


# ---------------------------------------------------------------------- spectral


def test_folding_in_is_the_full_matrix_product() -> None:
    learned = learn_spectral(statistics(), None, {"dimensions": N})
    found = posterior(statistics(), None)
    values, vectors = np.linalg.eigh(found.similarity.astype(float))
    kept = np.maximum(values, 0.0)
    kept /= kept + safe_regularisation(found.similarity)
    matrix = (vectors * kept) @ vectors.T * popularity_factor(found.popularity, 0.25)
    history = some_histories()
    scores, expected = learned.scores(history), history @ matrix
    expected[3] = scores[3] = 0.0
    scale = np.abs(scores).max() / np.abs(expected).max()  # the arrays share one scale
    np.testing.assert_allclose(scores / scale, expected, atol=3e-3 * np.abs(expected).max())
    folded = learned.fold_in(history) @ learned.target.astype(np.float32).T
    np.testing.assert_array_equal(np.delete(folded, 3, 0), np.delete(scores, 3, 0))


def test_a_person_without_a_history_gets_what_is_popular() -> None:
    learned = learn_spectral(statistics(), None, {"dimensions": 8})
    np.testing.assert_array_equal(learned.scores(some_histories())[3], learned.popularity)


def test_leading_eigenpairs_of_a_large_matrix() -> None:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(600, 600)))[0]
    values = np.sort(rng.exponential(size=600) ** 2)[::-1]
    matrix = ((basis * values) @ basis.T).astype(np.float32)
    found, vectors = leading(matrix, 20)
    np.testing.assert_allclose(found, values[:20], rtol=0.1)
    np.testing.assert_allclose(found[:10], values[:10], rtol=2e-3)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(20), atol=1e-4)


# ---------------------------------------------------------------------- comparators


def test_comparators_read_the_support_only() -> None:
    rows = some_histories()
    heavy = rows * 5
    assert np.array_equal(not_private_ease(rows, 3.0).weights, not_private_ease(heavy, 3.0).weights)
    counts = np.asarray((rows.toarray() > 0).sum(axis=0))
    found = not_private_popularity(heavy).scores(rows)
    assert np.array_equal(found, np.broadcast_to(counts, rows.shape))
