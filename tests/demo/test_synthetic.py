from __future__ import annotations

import numpy as np
import pytest

from tacit.demo import synthetic
from tacit.demo.synthetic import PERIOD, START, make_catalogue, make_events

CATALOGUE = make_catalogue(5, 600, 12)
EVENTS = make_events(CATALOGUE, 5, 4000)


def test_the_same_seed_makes_the_same_people() -> None:
    again = make_events(make_catalogue(5, 600, 12), 5, 4000)
    for name in ("user", "item", "time", "session"):
        assert np.array_equal(getattr(EVENTS, name), getattr(again, name))
    assert not np.array_equal(EVENTS.item[:99], make_events(CATALOGUE, 6, 4000).item[:99])


def test_the_catalogue_is_as_described() -> None:
    genre_of_series = [
        set(CATALOGUE.genre[CATALOGUE.series == s]) for s in np.unique(CATALOGUE.series)
    ]
    assert all(len(genres) == 1 for genres in genre_of_series)
    assert CATALOGUE.popularity.sum() == pytest.approx(1.0)
    ordered = np.sort(CATALOGUE.popularity)[::-1]
    assert ordered[0] / ordered[9] == pytest.approx(10**synthetic.ZIPF)
    partner = CATALOGUE.companion
    first_of = {s: CATALOGUE.genre[CATALOGUE.series == s][0] for s in range(len(partner))}
    assert all(first_of[s] != first_of[int(partner[s])] for s in first_of)
    tags = [
        text.split()[1] == f"genre{g}"
        for text, g in zip(CATALOGUE.texts, CATALOGUE.genre, strict=True)
    ]
    assert 0.7 < np.mean(tags) < 0.92  # a wrong tag may be right by chance
    named = np.mean(["series" in text for text in CATALOGUE.texts])
    assert named == pytest.approx(1 - synthetic.SERIES_MISSING, abs=0.08)
    assert len(set(CATALOGUE.ids)) == CATALOGUE.items


def test_events_are_in_order_and_within_the_period() -> None:
    same = np.diff(EVENTS.user) == 0
    assert (np.diff(EVENTS.user) >= 0).all()
    assert (np.diff(EVENTS.time)[same] >= 0).all()
    assert (np.diff(EVENTS.session) >= 0).all()
    assert EVENTS.time.min() >= START
    assert EVENTS.time.max() < START + PERIOD
    assert np.array_equal(np.unique(EVENTS.user), np.arange(4000))
    assert 18 < len(EVENTS.user) / 4000 < 22


def test_a_session_is_of_one_user_and_mostly_one_genre() -> None:
    owner = np.zeros(EVENTS.session.max() + 1, np.int64)
    owner[EVENTS.session] = EVENTS.user
    assert np.array_equal(owner[EVENTS.session], EVENTS.user)
    inside = np.diff(EVENTS.session) == 0
    genre = CATALOGUE.genre[EVENTS.item]
    same_genre = np.diff(genre) == 0
    assert same_genre[inside].mean() > same_genre[~inside].mean() + 0.3


def test_companions_are_there_to_be_found() -> None:
    series = CATALOGUE.series[EVENTS.item]
    inside = np.diff(EVENTS.session) == 0
    follows = series[1:] == CATALOGUE.companion[series[:-1]]
    assert follows[inside].mean() > 3 * follows[~inside].mean()


def test_tastes_drift() -> None:
    """The genres of a person's two halves differ more than those of odd and even events."""
    genre = CATALOGUE.genre[EVENTS.item]
    counts = np.bincount(EVENTS.user)
    place = np.arange(len(genre)) - np.repeat(np.cumsum(counts) - counts, counts)
    late = place >= np.repeat(counts // 2, counts)

    def distance(side: np.ndarray) -> float:
        halves = np.zeros((2, 4000, 12))
        np.add.at(halves, (side.astype(int), EVENTS.user, genre), 1)
        shares = halves / np.maximum(halves.sum(axis=2, keepdims=True), 1)
        return float(np.abs(shares[0] - shares[1]).sum(axis=1)[counts >= 10].mean())

    assert distance(late) > distance(place % 2 == 1) + 0.1


def test_impossible_catalogues_are_refused() -> None:
    with pytest.raises(ValueError, match="genres"):
        make_catalogue(0, 5, 6)
