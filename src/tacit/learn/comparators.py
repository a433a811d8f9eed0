"""What private learners are compared with. NOT PRIVATE: these read raw histories, or no data.

No plan can name them: they are for evaluation only, where histories are at hand anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from tacit.errors import DataError
from tacit.learn.item_item import Floats32, ease
from tacit.learn.shrinkage import LARGEST


@dataclass(frozen=True, eq=False)
class NotPrivatePopularity:
    """Everybody gets the same order: `popularity` (n,), users of each item."""

    popularity: Floats32

    def scores(self, history: sp.csr_matrix) -> Floats32:
        """The same (users, n) rows; read-only."""
        return np.broadcast_to(self.popularity, history.shape)


@dataclass(frozen=True, eq=False)
class DenseWeights:
    """Item-item weights (n, n), rows for items of a history."""

    weights: Floats32

    def scores(self, history: sp.csr_matrix) -> Floats32:
        """Scores (users, n) of histories (users, n)."""
        return np.asarray(history.astype(np.float32) @ self.weights, np.float32)


def not_private_popularity(histories: sp.csr_matrix) -> NotPrivatePopularity:
    """How many of the raw histories (users, n) hold each item."""
    return NotPrivatePopularity(np.asarray((histories > 0).sum(axis=0), np.float32).ravel())


def not_private_ease(histories: sp.csr_matrix, regularisation: float) -> DenseWeights:
    """EASE (Steck 2019) on raw histories (users, n), of which only the support is read.

    Good values of `regularisation` (λ): 50 on Online Retail, by its validation split; 1000 on
    MovieLens-1M; Steck reports 500 for MovieLens-20M. Raises DataError T353 for too many items.
    """
    if histories.shape[1] > LARGEST:
        raise DataError(
            f"{histories.shape[1]} items are more than a dense model holds ({LARGEST})",
            code="T353",
            fix="evaluate on fewer items",
        )
    support = sp.csr_matrix(histories > 0, dtype=np.float32)
    gram = (support.T @ support).toarray()
    return DenseWeights(ease(gram, regularisation))


def content_only(similarity: Floats32) -> DenseWeights:
    """Public text alone: it uses nobody's data but the history that it ranks for."""
    return DenseWeights(similarity)
