"""What privacy costs: the same learner with and without it, on answers that nobody was told.

The project's own release is scored as it was delivered. Every other private score is an experiment
over the same people: what the project would have released at another ε, or with other noise. Each
is reserved and committed in a ledger of the experiment's own, and together they cost what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import scipy.sparse as sp

from tacit.demo.holdout import Question, ask
from tacit.demo.synthetic import make_catalogue, make_events
from tacit.govern.ledger import Budget, Ledger
from tacit.learn.comparators import content_only, not_private_ease, not_private_popularity
from tacit.learn.content import similarity
from tacit.learn.design import pair_layout
from tacit.learn.evaluation import Evaluation, Scores, full_ranking
from tacit.learn.item_item import learn_item_item
from tacit.learn.learners import Learned
from tacit.learn.split import Histories, Integers, histories, leave_last_out, matrix
from tacit.privacy.pair_layout import PairLayout, PairStatistics
from tacit.privacy.pairs import PairSum
from tacit.privacy.randomness import system
from tacit.store.control import ControlStore

DRAWS = 3
"""Releases per ε: the spread of a score over its noise."""

ASKED = 4_500
"""People who are scored, at most; all are learned from."""

REGULARISATIONS = (50.0, 200.0, 1000.0)
"""Of EASE without privacy; the best on the validation split is taken."""

CHUNK = 50_000
PURPOSE = "experiment"
SEED = 20260101

Step = Callable[[str, int], Callable[[int], None]]


@dataclass(frozen=True, slots=True)
class Score:
    """A learner's means over those asked and its draws; `spread` is the draws' deviation."""

    key: str
    name: str
    epsilon: float | None
    hit_rate: float
    ndcg: float
    coverage: float
    spread: float = 0.0


class Experiment:
    """Scores on one held-out population; private releases only through a ledger of its own.

    Args:
        question: the people, what devices know of them, and the answers.
        ledger: where a new control store is made.
        delta: of every release.
        draws: releases per ε.
    """

    def __init__(
        self, question: Question, ledger: Path, *, delta: float, draws: int = DRAWS
    ) -> None:
        self._question = question
        self._items = len(question.items)
        self._delta = delta
        self._draws = draws
        self._ledger = Ledger(ControlStore.create(ledger), [Budget(PURPOSE, 1e6, delta)])
        self._rows = matrix(question.history, self._items)
        some = slice(None, None, -(-len(question.evaluated) // ASKED))
        self._asked = self._rows[question.evaluated[some]]
        self._target = question.target[some]
        self._content = similarity(question.items, question.texts)
        self._layout = pair_layout(question.items, question.texts, devices_max=question.people)
        self._sum: np.ndarray[tuple[int], np.dtype[np.float64]] | None = None

    @property
    def asked(self) -> int:
        """How many people are scored."""
        return len(self._target)

    def spent(self) -> float:
        """The ε of all releases of this experiment together."""
        return self._ledger.spent(PURPOSE)

    def scores(
        self,
        epsilons: Sequence[float],
        step: Step,
        delivered: Mapping[float, Learned] | None = None,
    ) -> list[Score]:
        """Every learner's score: those that are not private first, then by ascending ε.

        `delivered` has, by ε, a model that was released for real; it is the first draw there.
        """
        done = step(
            "scoring every learner on what nobody was told", 3 + self._draws * len(epsilons)
        )
        found = []
        for key, name, scores in self._comparators():
            found.append(_score(key, name, None, [self._evaluate(scores)]))
            done(1)
        for epsilon in epsilons:
            draws = []
            for draw in range(self._draws):
                model = (delivered or {}).get(epsilon) if draw == 0 else None
                model = model or learn_item_item(self._release(epsilon, draw), self._content, {})
                draws.append(self._evaluate(model.scores))
                done(1)
            found.append(_score("private", f"private, epsilon {epsilon:g}", epsilon, draws))
        return found

    def _comparators(self) -> list[tuple[str, str, Scores]]:
        chosen = self._regularisation()
        found: list[tuple[str, str, Scores]] = [
            ("popularity", "popularity", not_private_popularity(self._rows).scores)
        ]
        if self._content is not None:
            found.append(("content", "public text alone", content_only(self._content).scores))
        ease = not_private_ease(self._rows, chosen)
        return [*found, ("non_private", "EASE, not private", ease.scores)]

    def _regularisation(self) -> float:
        """The λ that finds best what people enjoyed last but one, without the last."""
        split = leave_last_out(self._question.history)
        rows = matrix(split.histories, self._items)
        some = slice(None, None, -(-len(split.evaluated) // ASKED))
        asked, target = rows[split.evaluated[some]], split.target[some]
        found = {
            value: full_ranking(not_private_ease(rows, value).scores, asked, target).ndcg
            for value in REGULARISATIONS
        }
        return max(found, key=found.__getitem__)

    def _evaluate(self, scores: Scores) -> Evaluation:
        return full_ranking(scores, self._asked, self._target)

    def _release(self, epsilon: float, draw: int) -> PairStatistics:
        """One release of the experiment: what the devices would have sent, summed, and noise."""
        name = f"epsilon {epsilon:g}, draw {draw}"
        people = self._question.people
        mechanism = PairSum(self._layout, people, epsilon, self._delta, name)
        with self._ledger.reserve(PURPOSE, name, mechanism.claim(), 0) as reservation:
            exact = np.rint(self._exact() * mechanism.sum.scale).astype(np.int64)
            noisy = mechanism.sum.release(exact, system())
            reservation.commit(noisy.tobytes())
        return self._layout.unpack(noisy, mechanism.claim().sigma)

    def _exact(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """The sum of all devices' vectors, computed once: it is the same for every ε.

        Devices round each coordinate at random to a multiple of 1/scale; here the sum is rounded
        once instead. Either error is far below the noise (see `privacy.encoding`).
        """
        if self._sum is None:
            self._sum = sum_of_vectors(self._layout, self._question.history)
        return self._sum


def sum_of_vectors(
    layout: PairLayout, history: Histories
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Σ v over devices (d,), a chunk of them at a time."""
    total = np.zeros(layout.length)
    bounds: Integers = history.indptr
    for start in range(0, len(bounds) - 1, CHUNK):
        part = bounds[start : start + CHUNK + 1]
        rows: sp.csr_matrix = layout.vectors(part - part[0], history.codes[part[0] : part[-1]])
        total += np.asarray(rows.sum(axis=0)).ravel()
    return total


def _score(key: str, name: str, epsilon: float | None, found: Sequence[Evaluation]) -> Score:
    return Score(
        key,
        name,
        epsilon,
        fmean(e.hit_rate for e in found),
        fmean(e.ndcg for e in found),
        fmean(e.coverage for e in found),
        stdev(e.ndcg for e in found) if len(found) > 1 else 0.0,
    )


def growth(
    populations: Sequence[int], epsilons: Sequence[float], folder: Path, step: Step, delta: float
) -> dict[int, list[Score]]:
    """The same experiment on made-up populations of several sizes, one release per ε."""
    found = {}
    catalogue = make_catalogue(SEED)
    for people in populations:
        events = make_events(catalogue, SEED, people)
        full = histories(events.user, events.item, events.time, people)
        question = ask(catalogue.ids, catalogue.texts, full)
        experiment = Experiment(question, folder / f"growth-{people}.sqlite", delta=delta, draws=1)
        found[people] = experiment.scores(epsilons, _titled(step, people))
    return found


def _titled(step: Step, people: int) -> Step:
    return lambda _, total: step(f"the same among {people:,} made-up people", total)
