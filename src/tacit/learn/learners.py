"""What can be learned from a release: learners by key, and what each of them gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy.typing as npt
import scipy.sparse as sp

from tacit.learn.item_item import Floats32, learn_item_item
from tacit.learn.spectral import learn_spectral
from tacit.privacy.pairs import PairStatistics


class Learned(Protocol):
    """A learned model: the arrays that a bundle carries, and the scores that these same give."""

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """By the name that `device.rank` looks for."""
        ...

    def scores(self, history: sp.csr_matrix) -> Floats32:
        """Scores (users, items) of histories (users, items), weighted by their entries."""
        ...


Learner = Callable[[PairStatistics, Floats32 | None, Mapping[str, Any]], Learned]
"""From a release, public content similarity (`content.similarity`) or None, and options."""

LEARNERS: Mapping[str, Learner] = {"item_item": learn_item_item, "spectral": learn_spectral}
