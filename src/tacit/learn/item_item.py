"""Item-item weights in closed form, pruned to what a device needs.

**EASE** (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", equation 8): with G a
second moment of items and P = (G + λI)⁻¹, the weights B = I - P / diag(P) have a zero diagonal
and minimise ||X - XB||² + λ||B||² under that constraint. An item's score is the sum of the
history's rows of B.

**Private.** G is N of `shrinkage`, whose eigenvalues lie in [-top, top] with top its largest
(Perron, Frobenius). λ = top, and a little more, so makes N + λI positive definite whatever the
noise. On Online Retail's validation split half of that or four times as much are no better.
Columns are scaled by popularity to the power 1/4 (of 0, 1/4 and 1/2 the best there), since N has
divided popularity out.

**Pruned.** A device gets, for each item it may hold, the targets of the largest |weight|. On the
same split (ε = 4, two noises) NDCG@10 is .0875 and .0903 with all 3,665 targets, .0876 and .0902
with 200 (5.9 MB), .0874 and .0897 with 50 (1.5 MB). What is evaluated are these same arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.linalg import lapack
from scipy.sparse.linalg import eigsh

from tacit.errors import DataError
from tacit.learn.options import Option, read_options
from tacit.learn.shrinkage import Posterior, posterior
from tacit.privacy.pairs import PairStatistics

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]

OPTIONS: Mapping[str, Option] = {
    "neighbours": Option(200, 1, 1 << 20, whole=True),
    "regularisation": Option(None, 1e-9, 1e12),
    "popularity_power": Option(0.25, 0.0, 2.0),
}


@dataclass(frozen=True, eq=False)
class ItemItem:
    """Pruned weights: what a bundle carries, and what it scores.

    `neighbours` (n, k) int32 and `weights` (n, k) float32: for each item of a history the targets
    of the largest |weight|. `popularity` (n,) float32 scores for a history without items.
    """

    neighbours: npt.NDArray[np.int32]
    weights: Floats32
    popularity: Floats32

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a bundle carries."""
        return {
            "neighbours": self.neighbours,
            "weights": self.weights,
            "popularity": self.popularity,
        }

    def scores(self, history: sp.csr_matrix) -> Floats32:
        """Scores (users, n) of histories (users, n), weighted by their entries."""
        n, k = self.neighbours.shape
        bounds = np.arange(0, n * k + 1, k)
        weights = sp.csr_matrix((self.weights.ravel(), self.neighbours.ravel(), bounds), (n, n))
        dense = np.asarray((history.astype(np.float32) @ weights).toarray(), np.float32)
        return popular_if_empty(dense, history, self.popularity)


def learn_item_item(
    statistics: PairStatistics, content: Floats32 | None, options: Mapping[str, Any]
) -> ItemItem:
    """Weights from a release, with public `content` similarity (n, n) or None.

    Raises DeclarationError T117 or T118 for wrong options, DataError T353 for what does not fit.
    """
    chosen = read_options(options, OPTIONS, "learner item_item")
    found = posterior(statistics, content)
    weights = private_weights(found, chosen["regularisation"], chosen["popularity_power"])
    neighbours, strongest = prune(weights, chosen["neighbours"])
    return ItemItem(neighbours, strongest, found.popularity.astype(np.float32))


def private_weights(found: Posterior, regularisation: float | None, power: float) -> Floats32:
    """Dense weights (n, n), rows for items of a history; see the module."""
    matrix = found.similarity
    weights = ease(matrix, regularisation or safe_regularisation(matrix))
    return np.asarray(weights * popularity_factor(found.popularity, power), np.float32)


def ease(gram: npt.NDArray[np.floating[Any]], regularisation: float) -> Floats32:
    """B of equation 8 (n, n) from a symmetric second moment (n, n), by Cholesky in float32.

    Raises DataError T354 when gram + λI is not positive definite.
    """
    shifted = np.array(gram, np.float32, order="F")
    shifted[np.diag_indices_from(shifted)] += np.float32(regularisation)
    factor, failed = lapack.spotrf(shifted, lower=1, overwrite_a=1)
    if failed:
        raise DataError(
            f"the item-item matrix is not positive definite with λ = {regularisation:g}",
            code="T354",
            fix="use a larger regularisation",
        )
    lower, _ = lapack.spotri(factor, lower=1, overwrite_c=1)
    precision = np.tril(lower)
    precision += np.tril(lower, -1).T
    weights = precision / -np.diag(precision)
    np.fill_diagonal(weights, 0.0)
    return np.asarray(weights, np.float32)


def safe_regularisation(matrix: Floats32) -> float:
    """The largest eigenvalue of a non-negative symmetric matrix (n, n), and a hundredth more."""
    n = len(matrix)
    if not matrix.any():
        return 1.0
    if n <= 64:
        top = float(np.linalg.eigvalsh(matrix)[-1])
    else:  # Lanczos (ARPACK), from a fixed start so that it repeats
        start = np.ones(n, matrix.dtype)
        top = float(eigsh(matrix, k=1, which="LA", v0=start, return_eigenvectors=False)[0])
    return 1.01 * top


def prune(weights: Floats32, count: int) -> tuple[npt.NDArray[np.int32], Floats32]:
    """For each row the `count` columns of largest |weight|, strongest first; ties by column.

    Both (n, min(count, n)).
    """
    count = min(count, weights.shape[1])
    size = -np.abs(weights)
    near = np.sort(np.argpartition(size, count - 1, axis=1)[:, :count], axis=1)
    order = np.argsort(np.take_along_axis(size, near, axis=1), axis=1, kind="stable")
    near = np.take_along_axis(near, order, axis=1)
    return near.astype(np.int32), np.take_along_axis(weights, near, axis=1)


def popularity_factor(popularity: Floats, power: float) -> Floats32:
    """(popularity / mean)^power, for each item."""
    return np.asarray((popularity / popularity.mean()) ** power, np.float32)


def popular_if_empty(scores: Floats32, history: sp.csr_matrix, popularity: Floats32) -> Floats32:
    """The scores, with popularity in the rows of empty histories."""
    scores[np.diff(history.indptr) == 0] = popularity
    return scores
