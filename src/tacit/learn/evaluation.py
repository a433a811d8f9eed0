"""How well scores find a held-out item: hit rate, NDCG and coverage at k.

One held-out item per user, so NDCG@k is 1 / log2(rank + 2) for a rank below k (counted from 0)
and 0 else (Järvelin and Kekäläinen 2002), and HR@k the share of ranks below k. Coverage@k is the
share of all items that anybody was recommended.

**Ties.** An item tied with t others has the middle of their ranks, rank = above + t / 2: constant
scores earn what a random order would be expected to, and no order of codes earns anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

Scores = Callable[[sp.csr_matrix], Floats32]
"""From histories (users, items) to scores (users, items): `Learned.scores`, or a comparator's."""

_CHUNK = 2048  # users whose dense scores are held at a time


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Means over `users` held-out items, and the coverage of the catalogue, all at `k`."""

    hit_rate: float
    ndcg: float
    coverage: float
    users: int
    k: int = 10

    def to_json(self) -> dict[str, float | int]:
        """Under the names that results are reported by, such as `hr10`."""
        found = asdict(self)
        return {
            f"hr{self.k}": found["hit_rate"],
            f"ndcg{self.k}": found["ndcg"],
            "coverage": found["coverage"],
            "users": found["users"],
        }


def full_ranking(
    scores: Scores,
    history: sp.csr_matrix,
    target: Integers,
    *,
    seen: sp.csr_matrix | None = None,
    k: int = 10,
) -> Evaluation:
    """Ranks `target` (users,) among all items but the user's own.

    `history` (users, items) is what scores are made of; `seen` what is not ranked, left out the
    same. A target is ranked even where it was seen.
    """
    own = history if seen is None else seen
    users, items = history.shape
    rank = np.empty(users)
    shown = np.zeros(items, bool)
    for start, stop in _chunks(users):
        dense = np.array(scores(history[start:stop]), np.float32)
        row = np.arange(stop - start)
        right = dense[row, target[start:stop]].copy()
        block = own[start:stop]
        dense[np.repeat(row, np.diff(block.indptr)), block.indices] = -np.inf
        dense[row, target[start:stop]] = right
        rank[start:stop] = _rank(dense, right)
        shown[_best(dense, k)] = True
    return _evaluation(rank, float(shown.mean()), k)


def candidate_ranking(
    scores: Scores, history: sp.csr_matrix, target: Integers, candidates: Integers, *, k: int = 10
) -> Evaluation:
    """Ranks `target` (users,) among the given `candidates` (users, m), and no others.

    The target may be among its candidates or not, and a candidate that comes twice counts once.
    Coverage is of all items.
    """
    users, items = history.shape
    rank = np.empty(users)
    shown = np.zeros(items, bool)
    for start, stop in _chunks(users):
        dense = np.asarray(scores(history[start:stop]), np.float32)
        codes = np.sort(np.column_stack([target[start:stop], candidates[start:stop]]), axis=1)
        found = np.take_along_axis(dense, codes, axis=1)
        found[:, 1:][codes[:, 1:] == codes[:, :-1]] = -np.inf
        rank[start:stop] = _rank(found, dense[np.arange(stop - start), target[start:stop]])
        shown[np.take_along_axis(codes, _best(found, k), axis=1)] = True
    return _evaluation(rank, float(shown.mean()), k)


def _rank(scores: Floats32, right: Floats32) -> Floats:
    above = (scores > right[:, None]).sum(axis=1)
    tied = (scores == right[:, None]).sum(axis=1) - 1
    return np.asarray(above + tied / 2.0, np.float64)


def _best(scores: Floats32, k: int) -> npt.NDArray[np.intp]:
    count = min(k, scores.shape[1])
    return np.argpartition(-scores, count - 1, axis=1)[:, :count]


def _evaluation(rank: Floats, coverage: float, k: int) -> Evaluation:
    if len(rank) == 0:
        return Evaluation(0.0, 0.0, 0.0, 0, k)
    gain = np.where(rank < k, 1.0 / np.log2(rank + 2.0), 0.0)
    return Evaluation(float((rank < k).mean()), float(gain.mean()), coverage, len(rank), k)


def _chunks(total: int) -> Iterator[tuple[int, int]]:
    for start in range(0, total, _CHUNK):
        yield start, min(start + _CHUNK, total)
