from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from tacit.learn.evaluation import candidate_ranking, full_ranking


def gain(rank: float, k: int) -> float:
    return 1 / math.log2(rank + 2) if rank < k else 0.0


@given(st.integers(2, 12), st.integers(1, 8), st.integers(1, 5), st.integers(0, 2**32))
def test_full_ranking_is_what_it_says(items: int, users: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (users, items)).astype(np.float32)  # many ties
    target = rng.integers(0, items, users)
    own = rng.random((users, items)) < 0.3
    own[np.arange(users), target] = False
    history = sp.csr_matrix(own.astype(np.float32))
    rows = iter(range(users))

    def scorer(part: sp.csr_matrix) -> np.ndarray:
        return scores[[next(rows) for _ in range(part.shape[0])]]

    found = full_ranking(scorer, history, target, k=k)
    ranks = []
    for user in range(users):
        rivals = [scores[user, i] for i in range(items) if not own[user, i] and i != target[user]]
        mine = scores[user, target[user]]
        ranks.append(sum(r > mine for r in rivals) + sum(r == mine for r in rivals) / 2)
    assert found.users == users
    assert found.ndcg == pytest.approx(np.mean([gain(rank, k) for rank in ranks]))
    assert found.hit_rate == pytest.approx(np.mean([rank < k for rank in ranks]))


@given(st.integers(3, 12), st.integers(1, 8), st.integers(0, 2**32))
def test_candidates_count_once_and_with_or_without_the_target(
    items: int, users: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (users, items)).astype(np.float32)
    target = rng.integers(0, items, users)
    candidates = rng.integers(0, items, (users, 6))
    found = candidate_ranking(
        lambda part: scores[: part.shape[0]], sp.csr_matrix((users, items)), target, candidates, k=3
    )
    ranks = []
    for user in range(users):
        rivals = [scores[user, i] for i in set(candidates[user].tolist()) - {target[user]}]
        mine = scores[user, target[user]]
        ranks.append(sum(r > mine for r in rivals) + sum(r == mine for r in rivals) / 2)
    assert found.ndcg == pytest.approx(np.mean([gain(rank, 3) for rank in ranks]))
    assert found.hit_rate == pytest.approx(np.mean([rank < 3 for rank in ranks]))


def test_constant_scores_earn_nothing() -> None:
    history = sp.csr_matrix((100, 1000))
    found = full_ranking(lambda part: np.zeros(part.shape, np.float32), history, np.arange(100))
    assert (found.hit_rate, found.ndcg) == (0.0, 0.0)


def test_coverage_counts_items_anybody_was_shown() -> None:
    scores = np.array([[5, 4, 3, 2], [5, 4, 1, 0]], np.float32)
    found = full_ranking(lambda _: scores, sp.csr_matrix((2, 4)), np.array([3, 3]), k=2)
    assert found.coverage == 0.5
    assert found.to_json() == {"hr2": 0.0, "ndcg2": 0.0, "coverage": 0.5, "users": 2}


def test_what_was_seen_is_not_shown_but_a_seen_target_is_ranked() -> None:
    scores = np.array([[5, 4, 3, 2]], np.float32)
    history = sp.csr_matrix(np.array([[1, 1, 0, 0]], np.float32))
    assert full_ranking(lambda _: scores, history, np.array([2]), k=1).hit_rate == 1.0
    assert full_ranking(lambda _: scores, history, np.array([1]), k=1).hit_rate == 1.0


def test_nobody_to_evaluate() -> None:
    found = full_ranking(
        lambda p: np.zeros(p.shape, np.float32), sp.csr_matrix((0, 4)), np.zeros(0, np.int64)
    )
    assert (found.users, found.ndcg) == (0, 0.0)
