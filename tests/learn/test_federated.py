"""What devices sum in private is what one would learn from all histories in one place."""

from __future__ import annotations

import numpy as np
import pytest

from tacit.demo.synthetic import make_catalogue, make_events
from tacit.learn.content import similarity
from tacit.learn.design import pair_layout
from tacit.learn.evaluation import full_ranking
from tacit.learn.learners import LEARNERS
from tacit.learn.split import Histories, histories, leave_last_out, matrix
from tacit.privacy import vector_sum
from tacit.privacy.histogram import Histogram
from tacit.privacy.pairs import PairStatistics, PairSum
from tacit.privacy.randomness import unsafe_seeded

USERS, ITEMS = 60, 80
CATALOGUE = make_catalogue(3, ITEMS, 8)
EVENTS = make_events(CATALOGUE, 3, USERS)
HISTORIES = histories(EVENTS.user, EVENTS.item, EVENTS.time, USERS)


def release() -> PairSum:
    layout = pair_layout(CATALOGUE.ids, CATALOGUE.texts, {"max_pairs": 900, "buckets": 200})
    return PairSum(layout, USERS, 4.0, 1e-6, "federated")


def device(user: int) -> Histogram:
    """The moments at which a device's items first occurred, by code."""
    mine = EVENTS.user == user
    first: dict[int, int] = {}
    for item, time in zip(EVENTS.item[mine].tolist(), EVENTS.time[mine].tolist(), strict=True):
        first[item] = min(time, first.get(item, time))
    codes = sorted(first)
    return Histogram(np.array(codes), np.array([first[code] for code in codes], np.float64))


def through_shares(mechanism: PairSum) -> PairStatistics:
    """Encode on every device, combine at both aggregators, decode: with no noise."""
    reports = [mechanism.encode(device(user), unsafe_seeded(user)) for user in range(USERS)]
    aggregates = [
        mechanism.combine(i, [(r.id, r.messages[i]) for r in reports], unsafe_seeded(0))
        for i in range(2)
    ]
    return mechanism.layout.unpack(mechanism.sum.decode(aggregates), 0.0)


def central(mechanism: PairSum) -> PairStatistics:
    """The sum of the same rounded vectors, computed in one place without shares."""
    layout = mechanism.layout
    rows = layout.vectors(*HISTORIES).toarray()
    rounded = [mechanism.sum.quantise(row, unsafe_seeded(u)) for u, row in enumerate(rows)]
    return layout.unpack(np.sum(rounded, axis=0) / mechanism.sum.scale, 0.0)


@pytest.fixture
def noiseless(monkeypatch: pytest.MonkeyPatch) -> PairSum:
    monkeypatch.setattr(
        vector_sum, "discrete_gaussian", lambda _, length, __: np.zeros(length, np.int64)
    )
    return release()


@pytest.mark.parametrize("learner", sorted(LEARNERS))
def test_noise_off_the_federated_model_is_the_central_one(noiseless: PairSum, learner: str) -> None:
    content = similarity(CATALOGUE.ids, CATALOGUE.texts)
    one = LEARNERS[learner](through_shares(noiseless), content, {})
    other = LEARNERS[learner](central(noiseless), content, {})
    for name, array in one.arrays.items():
        np.testing.assert_allclose(
            array.astype(float), other.arrays[name].astype(float), rtol=0, atol=1e-9
        )


def test_noise_off_only_rounding_is_between_them_and_the_exact_sum(noiseless: PairSum) -> None:
    layout = noiseless.layout
    exact = np.asarray(layout.vectors(*HISTORIES).sum(axis=0)).ravel()
    found = through_shares(noiseless)
    # Each device moves a coordinate by less than one step of 1/scale; a thousandth more for those
    # that were shrunk to keep their bound.
    most = 1.001 * USERS / noiseless.sum.scale
    reference = layout.unpack(exact, 0.0)
    for name, share in (("popularity", 0.2), ("pairs", 0.8), ("buckets", 0.8)):
        error = np.abs(getattr(found, name) - getattr(reference, name)).max()
        assert 0 < error <= most / np.sqrt(share)


def test_noise_on_the_score_rises_with_epsilon() -> None:
    users, draws = 3000, 3
    catalogue = make_catalogue(1, 300, 10)
    events = make_events(catalogue, 1, users)
    split = leave_last_out(histories(events.user, events.item, events.time, users))
    content = similarity(catalogue.ids, catalogue.texts)
    asked = matrix(split.histories, 300)[split.evaluated]
    means, errors = [], []
    for epsilon in (0.2, 1.0, 8.0):
        mechanism = PairSum(pair_layout(catalogue.ids, None), users, epsilon, 1e-5, "curve")
        found = [
            full_ranking(
                LEARNERS["item_item"](
                    one_release(mechanism, split.histories, draw), content, {}
                ).scores,
                asked,
                split.target,
            ).ndcg
            for draw in range(draws)
        ]
        means.append(np.mean(found))
        errors.append(np.std(found, ddof=1) / np.sqrt(draws))
    for low, high, a, b in zip(means, means[1:], errors, errors[1:], strict=False):
        assert high > low - 2 * np.hypot(a, b)
    assert means[-1] > 1.2 * means[0]


def one_release(mechanism: PairSum, people: Histories, draw: int) -> PairStatistics:
    return mechanism.simulate(*people, unsafe_seeded(draw))
