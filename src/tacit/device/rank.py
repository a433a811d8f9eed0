"""Ranking on the device: a model's arrays meet the device's own history, and give reasons.

Both learned models score an item by a sum over the items of the history, so each item's share of
the score is known, and the largest share is the reason: "because of …". With no history at all the
model's popularity ranks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tacit.device.bundle import Bundle
from tacit.device.program import Program
from tacit.errors import BundleError

Floats = npt.NDArray[np.floating[Any]]
Codes = npt.NDArray[np.int64]

KIND = "model"


@dataclass(frozen=True, slots=True)
class Ranked:
    """One recommended item. `because` is the item of the history with the largest share in it."""

    item: str
    title: str
    score: float
    because: str | None


class Scorer(Protocol):
    """A model's arrays, as a function of a history."""

    def contributions(self, history: Codes) -> Floats:
        """What each item of the history adds to each item's score; shape (len(history), items)."""
        ...


class Neighbours:
    """Item–item weights, pruned to the strongest of each item of a history.

    Arrays: `neighbours` (items, k) codes, -1 where there are fewer; `weights` (items, k).
    """

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]], items: int) -> None:
        self._neighbours, self._weights = arrays["neighbours"], arrays["weights"]
        shape = self._neighbours.shape
        if len(shape) != 2 or shape[0] != items or self._weights.shape != shape:
            raise ValueError(f"neighbours of shape {shape} for {items} items")
        if self._neighbours.dtype.kind not in "iu":
            raise ValueError("a neighbour is no whole number")
        _check_numbers(self._weights)
        if not (self._neighbours.min(initial=0) >= -1 and self._neighbours.max(initial=0) < items):
            raise ValueError("a neighbour is no item")
        self._items = items

    def contributions(self, history: Codes) -> Floats:
        """See `Scorer`."""
        # One column more than there are items takes what the -1 of a short list points to.
        out = np.zeros((len(history), self._items + 1), np.float32)
        np.put_along_axis(
            out, self._neighbours[history].astype(np.int64), self._weights[history], 1
        )
        return out[:, :-1]


class Embedding:
    """Item vectors: the person's vector is the sum of the queries of their items (fold-in).

    Arrays: `query` and `target`, both (items, dimensions).
    """

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]], items: int) -> None:
        for name in ("query", "target"):
            _check_numbers(arrays[name])
        self._query = arrays["query"].astype(np.float32)
        self._target = arrays["target"].astype(np.float32)
        shape = self._query.shape
        if len(shape) != 2 or shape[0] != items or self._target.shape != shape:
            raise ValueError(f"vectors of shape {shape} for {items} items")

    def contributions(self, history: Codes) -> Floats:
        """See `Scorer`."""
        shares: Floats = self._query[history] @ self._target.T
        return shares


SCORERS: Mapping[str, type[Neighbours] | type[Embedding]] = {
    "item_item": Neighbours,
    "spectral": Embedding,
}
"""Learner to the scorer of its arrays."""


class Ranker:
    """A model ready to rank on a device.

    Args:
        items, titles: by code.
        program, signal: the SQL that reads the device's history, and the signal that is it: a
            histogram whose keys are items.
        purposes: what ranking is for; the person must have consented to all of them.
        scorer: the model.
        popularity: by code; ranks for a person without a history.
    """

    def __init__(
        self,
        items: Sequence[str],
        titles: Sequence[str],
        program: Program,
        signal: str,
        purposes: Sequence[str],
        scorer: Scorer,
        popularity: Floats,
    ) -> None:
        self._items = items
        self._titles = titles
        self._codes = {item: code for code, item in enumerate(items)}
        self._scorer = scorer
        self._popularity = popularity
        self.program = program
        self.purposes = frozenset(purposes)
        self.signal = signal

    def codes(self, history: Mapping[str, Any]) -> Codes:
        """The codes of a history's items, ascending; items unknown to the model drop out."""
        known = sorted(self._codes[item] for item in history if item in self._codes)
        return np.array(known, np.int64)

    def rank(self, history: Mapping[str, Any], count: int = 10) -> list[Ranked]:
        """The best `count` items that the history does not hold, best first; ties by code."""
        codes = self.codes(history)
        shares = self._scorer.contributions(codes)
        scores = shares.sum(axis=0) if len(codes) else self._popularity.astype(np.float32)
        scores = scores.copy()
        scores[codes] = -np.inf
        best = np.argsort(-scores, kind="stable")[: min(count, len(self._items) - len(codes))]
        return [self._reason(int(item), float(scores[item]), shares, codes) for item in best]

    def _reason(self, item: int, score: float, shares: Floats, codes: Codes) -> Ranked:
        because = None
        if len(codes) and shares[:, item].max() > 0:
            because = self._titles[int(codes[int(shares[:, item].argmax())])]
        return Ranked(self._items[item], self._titles[item], score, because)


def load_ranker(bundle: Bundle) -> Ranker:
    """The ranker of a model bundle. Raises BundleError T629 for contents that do not fit."""
    try:
        return _ranker(bundle)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise BundleError(
            f"the bundle's contents do not make a model: {error}",
            code="T629",
            where=bundle.where,
            fix="build the bundle anew, with the version of Tacit that the devices have",
        ) from error


def _ranker(bundle: Bundle) -> Ranker:
    contents = bundle.manifest.contents
    if contents["kind"] != KIND:
        raise ValueError(f"it is of kind {contents['kind']!r}")
    if not contents["purposes"]:
        raise ValueError("it is for no purpose, so nobody can have consented to it")
    catalogue = bundle.json("catalogue.json")
    items, titles = catalogue["items"], catalogue["titles"]
    arrays = {name: bundle.array(f"{name}.npy") for name in contents["arrays"]}
    popularity = arrays["popularity"]
    _check_numbers(popularity)
    if popularity.ndim != 1 or not (len(items) == len(titles) == len(popularity)):
        raise ValueError("items, titles and popularity differ in number")
    if len(set(items)) < len(items):
        raise ValueError("an item is there twice")
    return Ranker(
        items,
        titles,
        Program.from_json(bundle.json("program.json")),
        contents["signal"],
        contents["purposes"],
        SCORERS[contents["learner"]](arrays, len(items)),
        popularity,
    )


def _check_numbers(array: npt.NDArray[Any]) -> None:
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ValueError("an array holds something else than finite numbers")
