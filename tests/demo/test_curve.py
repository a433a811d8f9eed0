"""The curve says what it should: more privacy never ranks better, and people make it cheaper."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tacit.demo.experiment import Experiment, Score
from tacit.demo.holdout import ask
from tacit.demo.synthetic import make_catalogue, make_events
from tacit.learn.split import histories

pytestmark = pytest.mark.slow
EPSILONS = (0.5, 2.0, 8.0)
DRAWS = 4


def scores(folder: Path, people: int) -> list[Score]:
    catalogue = make_catalogue(7, items=600)
    events = make_events(catalogue, 7, people)
    full = histories(events.user, events.item, events.time, people)
    question = ask(catalogue.ids, catalogue.texts, full)
    experiment = Experiment(question, folder / f"{people}.sqlite", delta=1e-5, draws=DRAWS)
    found = experiment.scores(EPSILONS, lambda *_: lambda _: None)
    assert experiment.spent() > max(EPSILONS)  # every draw stands in the experiment's ledger
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Score]]:
    folder = tmp_path_factory.mktemp("curve")
    return {people: scores(folder, people) for people in (3_000, 30_000)}


@pytest.mark.parametrize("people", [3_000, 30_000])
def test_the_curve_is_monotone_within_its_error(found: dict[int, list[Score]], people: int) -> None:
    private = [score for score in found[people] if score.epsilon is not None]
    assert [score.epsilon for score in private] == list(EPSILONS)
    for less, more in pairwise(private):
        # The mean of the draws has their deviation over √draws; three of them, both sides.
        error = 3.0 * ((less.spread**2 + more.spread**2) / DRAWS) ** 0.5
        assert more.ndcg >= less.ndcg - error - 0.002
    assert private[-1].ndcg > private[0].ndcg or people > 3_000


def test_privacy_costs_less_among_more(found: dict[int, list[Score]]) -> None:
    def share(people: int) -> float:
        by_key = {score.key: score for score in found[people] if score.epsilon is None}
        least = next(score for score in found[people] if score.epsilon == EPSILONS[0])
        return least.ndcg / by_key["non_private"].ndcg

    assert share(30_000) > share(3_000) + 0.1


def test_learning_from_people_beats_what_is_free(found: dict[int, list[Score]]) -> None:
    free = max(s.ndcg for s in found[30_000] if s.key in ("popularity", "content"))
    assert all(s.ndcg > free for s in found[30_000] if s.epsilon is not None)
