"""An answer that is given again is the answer that would be found."""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_cases import NOW, SCHEMA, events, feed, online, small

from tacit.aggregates.algebra import base_key
from tacit.live.feed import Feed
from tacit.live.form import MOST
from tacit.live.reader import Lookup, Sight, Status
from tacit.live.remember import Remembered
from tacit.operations import Window
from tacit.values import HOUR, MINUTE

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


def timeless(endless: bool, keep: int | None) -> Feed:
    """The feed of the tests without what changes with the moment itself, and with hops."""
    given_feed = feed(endless=endless, keep=keep)
    views, rng = [], random.Random(5)
    for view in given_feed.views[:1]:
        kept = [w for w in view.windows if base_key(w.aggregate) not in ("since", "decayed")]
        hops = [
            Window(f"{view.name}.hop.{length}", "count", None, None, None, length, 7 * MINUTE)
            for length in (10 * MINUTE, HOUR)
        ]
        kept = rng.sample(kept, 14)
        kept.append(Window("rows", "count", None, None, "c3", None if endless else HOUR))
        views.append(replace(view, windows=(*kept, *hops)))
    names = [w.signal for view in views for w in view.windows]
    return replace(given_feed, views=tuple(views), keep=dict.fromkeys(names, keep))


def signals(kept: Feed) -> list[str]:
    return [window.signal for window in kept.views[0].windows]


@given(st.integers(0, 2**32), st.booleans(), st.sampled_from([None, 2 * HOUR]))
@settings(max_examples=5, deadline=None)
def test_an_answer_stands_until_it_says(seed: int, endless: bool, keep: int | None) -> None:
    """At every moment before `until` the same is found; mostly, at `until` it is not."""
    rng = random.Random(seed)
    kept = timeless(endless, keep)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        small(patch)
        store = online(Path(folder), kept)
        for step in range(4):
            now = NOW + step * 10 * MINUTE
            store.push("events", events(rng, 40, now, 3 * HOUR), now=now)
        ahead = {**dict.fromkeys(SCHEMA), "user": "ann", "at": now + 2 * MINUTE, "item": "i0"}
        store.push("events", [ahead], now=now)
        look = store.lookup(signals(kept))
        ended = 0
        for user in ("ann", "bob", "é", "u3", "u7", "nobody"):
            at = now
            for _ in range(8):
                sight = Sight()
                found = look.one({"user": user}, at, sight=sight)
                assert sight.until > at
                last = min(sight.until, at + 4 * HOUR) - 1
                cache: Remembered[int] = Remembered(store.backend, None)
                cache.put(user, sight, 7, 1)
                for moment in (at, last, rng.randint(at, last)):
                    assert cache.get(user, moment) == 7
                    assert look.one({"user": user}, moment) == found
                if sight.until == MOST:
                    break
                assert cache.get(user, sight.until) is None
                ended += look.one({"user": user}, sight.until) != found
                at = sight.until
        assert ended


def test_what_ages_is_of_its_moment_alone(tmp_path: Path) -> None:
    kept = feed()
    store = online(tmp_path, kept)
    row = {**dict.fromkeys(SCHEMA), "user": "ann", "at": NOW - 1, "price": 1.0}
    store.push("events", [row], now=NOW)
    for signal, until in (("since.None", NOW + 1), ("decayed(1h).c0.3600000000", NOW + 1)):
        sight = Sight()
        store.lookup([signal]).one({"user": "ann"}, NOW, sight=sight)
        assert sight.until == until
        sight = Sight()
        store.lookup([signal]).one({"user": "bob"}, NOW, sight=sight)
        assert sight.until == MOST
    sight = Sight()  # what has expired is of another moment than the windows' ends
    store.lookup(["rows.None"]).one({"user": "ann"}, NOW, now=NOW + 1, sight=sight)
    assert sight.until == NOW


def ask(look: Lookup, cache: Remembered[bytes], user: str, at: int) -> tuple[bytes, bool]:
    """The answer, and whether it was remembered."""
    found = cache.get(user, at)
    if found is not None:
        return found, True
    sight = Sight()
    values = look.one({"user": user}, at, sight=sight)
    answer = repr(values).encode()
    cache.put(user, sight, answer, len(answer))
    return answer, False


def ask_all(
    look: Lookup, cache: Remembered[bytes], users: list[str], at: int
) -> tuple[list[bytes], int]:
    """The answers, and how many were remembered."""
    found = cache.get_all(users, at)
    lacking = [i for i, each in enumerate(found) if each is None]
    sights = [Sight() for _ in lacking]
    if lacking:
        table = look.many({"user": [users[i] for i in lacking]}, at, sights=sights)
        for k, i in enumerate(lacking):
            values = [column[k] for column in table.columns]
            found[i] = repr((values, table.status[k].tolist())).encode()
            cache.put(users[i], sights[k], found[i], len(found[i]))
    return [each or b"" for each in found], len(users) - len(lacking)


def test_whatever_is_written_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random pushes, sweeps and moments: what is remembered is always what would be found."""
    small(monkeypatch)
    kept = timeless(True, None)
    store, rng = online(tmp_path, kept), random.Random(3)
    look = store.lookup(signals(kept))
    cache: Remembered[bytes] = Remembered(store.backend, None)
    batch: Remembered[bytes] = Remembered(store.backend, None)
    users, again, many, now = ["ann", "bob", "é", "u1", "u2"], 0, 0, NOW
    for _ in range(60):
        what = rng.random()
        if what < 0.15:
            store.push("events", events(rng, rng.randrange(1, 20), now, 2 * HOUR), now=now)
        elif what < 0.2:
            store.sweep(now)
        now += rng.choice([0, 0, 1, MINUTE])
        user = rng.choice(users)
        answer, remembered = ask(look, cache, user, now)
        assert answer == repr(look.one({"user": user}, now)).encode()
        again += remembered
        several = rng.sample(users, 4)
        answers, there = ask_all(look, batch, several, now)
        for name, found in zip(several, answers, strict=True):
            one = look.one({"user": name}, now)
            assert found == repr((one.values, [int(each) for each in one.status])).encode()
        many += there
    assert again > 10
    assert many > 40


def test_staleness_is_looked_at_each_time(tmp_path: Path) -> None:
    kept = timeless(True, None)
    store = online(tmp_path, kept, stale=HOUR)
    row = {**dict.fromkeys(SCHEMA), "user": "ann", "at": NOW - 5 * HOUR, "quantity": 3}
    store.push("events", [row], now=NOW)
    look, cache = store.lookup(["rows"]), Remembered[bytes](store.backend, HOUR)
    fresh, _ = ask(look, cache, "ann", NOW)
    assert ask(look, cache, "ann", NOW + 1) == (fresh, True)
    stale, remembered = ask(look, cache, "ann", NOW + 2 * HOUR)
    assert (stale != fresh, remembered) == (True, False)
    assert str(Status.STALE.value) in stale.decode()
    store.heard("events", NOW + 2 * HOUR)
    assert ask(look, cache, "ann", NOW + 2 * HOUR)[0] == fresh


def test_no_more_is_kept_than_may_be(tmp_path: Path) -> None:
    kept = timeless(True, None)
    store = online(tmp_path, kept)
    look, cache = store.lookup(["rows"]), Remembered[bytes](store.backend, None, most=20_000)
    for number in range(200):
        ask(look, cache, f"u{number}", NOW)
        assert cache.size <= cache.most
    assert cache.get("u199", NOW) is not None
    assert cache.get("u0", NOW) is None
    cache.put("large", Sight(), b"", 10_000)
    assert cache.get("large", NOW) is None
