"""A made-up population, the same for the same seed: catalogue, tastes, sessions and drift.

**Catalogue.** Every item has a genre, and within it a series of a dozen items. Its popularity is
Zipf's, with exponent 0.8, in an order that has nothing to do with genre. Its public text names an
adjective that says nothing, a genre (wrong for one item in five), and its series (missing for two
in five): as helpful, and as unreliable, as real catalogues are.

**People.** Activity is log-normal around a mean of 20 events. A person's taste is a mixture of
three genres of weights 1, 1/2 and 1/3 at the start of the half year, and another at its end; the
favourite stays, and the chance to be in the late mood grows linearly. That is drift.

**Sessions.** An event is a session's last with chance 0.2. A session has one genre. Its events
stay with a series with chance 0.6; else the next series is drawn by popularity in the genre, or,
with chance 0.25, it is the *companion* of the last one: each series has one partner series, of
another genre, which no public text tells of. It is there for learning from people to find. One
event in ten is drawn from overall popularity, against every taste. Within a series items are drawn
by popularity; repeats happen.

**Time.** A person's sessions are spread over 180 days from `START`; their events are some
minutes apart.

Everything is drawn for all people at once: 500,000 people of 20 events take four seconds and
1.3 GB. Of all the package only this file uses NumPy's generator: nothing here is private.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tacit.values import DAY, MINUTE, SECOND

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

START: Final = 1_735_689_600 * SECOND
"""2025-01-01T00:00:00Z, in µs."""

PERIOD: Final = 180 * DAY

ZIPF = 0.8
SERIES_SIZE = 12
GENRE_WRONG = 0.2
SERIES_MISSING = 0.4
ADJECTIVES = 40

ACTIVITY_SPREAD = 0.7  # σ of the log of a person's number of events
TASTE = 3  # genres in a taste
SESSION_ENDS = 0.2
SERIES_STAYS = 0.6
TO_COMPANION = 0.25
OFF_TASTE = 0.1


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Items by code. `ids` and `texts` are public; the rest is what the population goes by.

    `genre` and `series` (n,) are codes, `popularity` (n,) sums to 1, and `companion` (series,) is
    each series' partner.
    """

    ids: Sequence[str]
    texts: Sequence[str]
    genre: Integers
    series: Integers
    popularity: Floats
    companion: Integers

    @property
    def items(self) -> int:
        """n."""
        return len(self.genre)


@dataclass(frozen=True, eq=False)
class Events:
    """Events in order of (user, time): codes of user and item, the time in µs, and the session.

    All (events,) int64; `session` is a running number, unique over all users.
    """

    users: int
    user: Integers
    item: Integers
    time: Integers
    session: Integers


def make_catalogue(seed: int, items: int = 1_500, genres: int = 20) -> Catalogue:
    """A catalogue of `items` items. Raises ValueError for fewer items than genres, or no genre."""
    if not 1 <= genres <= items:
        raise ValueError(f"{genres} genres for {items} items")
    rng = np.random.default_rng([seed, 1])
    n_series = max(genres, items // SERIES_SIZE)
    # The first items make sure that no series is empty.
    series = np.concatenate([np.arange(n_series), rng.integers(0, n_series, items - n_series)])
    genre = (np.arange(n_series) % genres)[series]
    weight = np.arange(1, items + 1, dtype=np.float64) ** -ZIPF
    popularity = rng.permutation(weight / weight.sum())
    # Half way round the series, and one on: the partner is of the next genre.
    companion = np.roll(np.arange(n_series), -(1 + n_series // 2 // genres * genres))
    shown = np.where(rng.random(items) < GENRE_WRONG, rng.integers(0, genres, items), genre)
    named = rng.random(items) >= SERIES_MISSING
    adjective = rng.integers(0, ADJECTIVES, items)
    texts = [
        f"adjective{a} genre{g}" + (f" series{s}" if has else "")
        for a, g, s, has in zip(adjective, shown, series, named, strict=True)
    ]
    # Numbers in random order: a catalogue number says nothing of genre or series.
    ids = [f"{number:x}" for number in 0x10000 + rng.permutation(items)]
    return Catalogue(ids, texts, genre, series, popularity, companion)


def make_events(catalogue: Catalogue, seed: int, users: int, mean_events: float = 20.0) -> Events:
    """The events of `users` people, drawn for all of them at once."""
    rng = np.random.default_rng([seed, 2, users])
    level = np.log(mean_events) - ACTIVITY_SPREAD**2 / 2.0
    counts = np.maximum(1, np.rint(rng.lognormal(level, ACTIVITY_SPREAD, users))).astype(np.int64)
    user = np.repeat(np.arange(users), counts)
    place = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
    begins = (place == 0) | (rng.random(len(user)) < SESSION_ENDS)
    session = np.cumsum(begins) - 1
    first = np.flatnonzero(begins)
    genre = _genres(catalogue, user[first], place[first] / counts[user[first]], users, rng)
    item = _items(catalogue, genre[session], begins, rng)
    return Events(users, user, item, _times(user, session, first, users, rng), session)


def _genres(
    catalogue: Catalogue, owner: Integers, when: Floats, users: int, rng: np.random.Generator
) -> Integers:
    """Each session's genre: of its owner's late taste with chance `when`, else of the early one."""
    genres = int(catalogue.genre.max()) + 1
    tastes = rng.integers(0, genres, (users, 2, TASTE), dtype=np.int16)
    tastes[:, 1, 0] = tastes[:, 0, 0]  # the favourite stays
    share = 1.0 / np.arange(1, TASTE + 1)
    choice = np.searchsorted(np.cumsum(share / share.sum()), rng.random(len(owner)))
    late = (rng.random(len(owner)) < when).astype(np.int64)
    return tastes[owner, late, np.minimum(choice, TASTE - 1)].astype(np.int64)


def _items(
    catalogue: Catalogue, genre: Integers, begins: npt.NDArray[np.bool_], rng: np.random.Generator
) -> Integers:
    """Each event's item: runs of one series within a session, and strays from the taste."""
    changes = begins | (rng.random(len(begins)) >= SERIES_STAYS)
    run = np.cumsum(changes) - 1
    first = np.flatnonzero(changes)
    by_genre = _Urn(catalogue.genre, catalogue.popularity)
    series = catalogue.series[by_genre.draw(genre[first], rng)]
    follows = np.flatnonzero((rng.random(len(first)) < TO_COMPANION) & ~begins[first])
    series[follows] = catalogue.companion[series[follows - 1]]
    item = _Urn(catalogue.series, catalogue.popularity).draw(series[run], rng)
    stray = np.flatnonzero(rng.random(len(begins)) < OFF_TASTE)
    everything = _Urn(np.zeros(catalogue.items, np.int64), catalogue.popularity)
    item[stray] = everything.draw(np.zeros(len(stray), np.int64), rng)
    return item


def _times(
    user: Integers, session: Integers, first: Integers, users: int, rng: np.random.Generator
) -> Integers:
    """µs, increasing for each user: a slot of the period for each session, events minutes apart."""
    sessions = np.bincount(user[first], minlength=users)
    number = np.arange(len(first)) - np.repeat(np.cumsum(sessions) - sessions, sessions)
    slot = PERIOD // sessions[user[first]]
    start = START + slot * number + (slot * 0.5 * rng.random(len(first))).astype(np.int64)
    step = np.arange(len(user)) - first[session]
    # The second half of a slot is its session's, however many events that has.
    longest = np.bincount(session)
    pace = np.minimum(2 * MINUTE, slot // (2 * (longest + 1)))[session]
    jitter = (rng.random(len(user)) * pace).astype(np.int64)
    return np.asarray(start[session] + step * pace + jitter, np.int64)


class _Urn:
    """Draws items within groups in proportion to their weight, one search for all draws."""

    def __init__(self, group: Integers, weight: Floats) -> None:
        self._order = np.argsort(group, kind="stable")
        self._ends = np.cumsum(weight[self._order])
        groups = np.arange(int(group.max()) + 1)
        self._last = np.searchsorted(group[self._order], groups, side="right") - 1
        self._upper = self._ends[self._last]
        self._lower = np.concatenate([[0.0], self._upper[:-1]])

    def draw(self, groups: Integers, rng: np.random.Generator) -> Integers:
        """One item of each of the groups (m,); (m,)."""
        low = self._lower[groups]
        level = low + rng.random(len(groups)) * (self._upper[groups] - low)
        at = np.searchsorted(self._ends, level)
        return np.asarray(self._order[np.minimum(at, self._last[groups])], np.int64)
