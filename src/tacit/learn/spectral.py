"""Spectral item embeddings: a device adds up its own items' vectors to find its person's.

With the eigenpairs N ≈ V diag(l) Vᵀ of the k largest l (N of `shrinkage`), an item's query is its
row of V √l and its target the same times popularity^(1/4), as in `item_item`. A history h folds in
as h · query, on the device, and scores are that times targetᵀ: the same as h times the rank-k
approximation of N (Deerwester et al. 1990, section 4.2.3, for folding in). Eigenvalues below 0 are
noise and count as 0. It is a smaller bundle than item-item weights, and ranks less well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from tacit.learn.item_item import Floats32, largest, popular_if_empty, popularity_factor
from tacit.learn.options import Option, read_options
from tacit.learn.shrinkage import posterior
from tacit.privacy.pairs import PairStatistics

OPTIONS: Mapping[str, Option] = {
    "dimensions": Option(256, 1, 4096, whole=True),
    "popularity_power": Option(0.25, 0.0, 2.0),
}


@dataclass(frozen=True, eq=False)
class Spectral:
    """Item vectors `query` and `target` (n, dimensions) float16, and `popularity` (n,) float32."""

    query: npt.NDArray[np.float16]
    target: npt.NDArray[np.float16]
    popularity: Floats32

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a bundle carries."""
        return {"query": self.query, "target": self.target, "popularity": self.popularity}

    def fold_in(self, history: sp.csr_matrix) -> Floats32:
        """Vectors (users, dimensions) of histories (users, n)."""
        return np.asarray(history.astype(np.float32) @ self.query.astype(np.float32), np.float32)

    def scores(self, history: sp.csr_matrix) -> Floats32:
        """Scores (users, n) of histories (users, n), weighted by their entries."""
        dense = np.asarray(self.fold_in(history) @ self.target.astype(np.float32).T, np.float32)
        return popular_if_empty(dense, history, self.popularity)


def learn_spectral(
    statistics: PairStatistics, content: Floats32 | None, options: Mapping[str, Any]
) -> Spectral:
    """Item vectors from a release, with public `content` similarity (n, n) or None.

    Raises DeclarationError T117 or T118 for wrong options, DataError T353 for what does not fit.
    """
    chosen = read_options(options, OPTIONS, "learner spectral")
    found = posterior(statistics, content)
    count = min(chosen["dimensions"], statistics.layout.items)
    values, vectors = largest(found.similarity, count)
    query = vectors * np.sqrt(np.maximum(values, 0.0))
    factor = popularity_factor(found.popularity, chosen["popularity_power"])
    target = query * factor[:, None]
    # Only the order of scores counts: one scale for all keeps float16 away from its ends.
    scale = np.float32(1.0 / max(float(np.abs(query).max()), 1e-12))
    return Spectral(
        (query * scale).astype(np.float16),
        (target * scale).astype(np.float16),
        found.popularity.astype(np.float32),
    )
