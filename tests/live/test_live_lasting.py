"""An answer lasts as long as it says: what is read until then is the same, ages apart."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from live_cases import NOW, events, feed, online, small

from tacit.live.form import MOST
from tacit.live.lasting import Trace
from tacit.live.online import Online
from tacit.live.reader import Lookup
from tacit.live.values import Values
from tacit.operations import Window
from tacit.values import DAY, HOUR, MINUTE


def read(store: Online, look: Lookup, keys: dict[str, Any], at: int) -> tuple[Values, Trace]:
    with store.backend.read() as reading:
        return look.traced(reading, keys, at)


def aged(found: Values, trace: Trace, at: int) -> list[Any]:
    """The values at a later moment."""
    values = list(found.values)
    for place, since in trace.ages.items():
        values[place] = at - since
    return values


@pytest.mark.parametrize(("heavy", "keep"), [(False, None), (True, None), (False, 5 * HOUR)])
def test_answers_last_until_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heavy: bool, keep: int | None
) -> None:
    if heavy:
        small(monkeypatch)
    rng = random.Random(3)
    given = feed(endless=not heavy, keep=keep)
    hopping = tuple(
        Window(f"hop.{name}.{hop}", name, "c0", None, None, HOUR, hop)
        for name in ("count", "sum", "since")
        for hop in (7 * MINUTE, 60 * MINUTE)
    )
    users = replace(given.views[0], windows=(*given.views[0].windows, *hopping))
    given = replace(given, views=(users, *given.views[1:]))
    names = [w.signal for w in users.windows if not w.aggregate.startswith("decayed")]
    store = online(tmp_path, given, slack=10 * HOUR, skew=DAY)
    rows = events(rng, 400, NOW + HOUR)
    store.push("events", rows, now=NOW)
    look = store.lookup(names)
    users_seen = sorted({row["user"] for row in rows})[:8]
    ends, kept = [], 0
    for user in (*users_seen, "nobody"):
        at = NOW - rng.randrange(0, HOUR)
        for _ in range(12):
            found, trace = read(store, look, {"user": user}, at)
            assert found == look.one({"user": user}, at)
            assert trace.until > at or heavy
            kept += trace.until > at
            last = min(trace.until, at + 2 * HOUR) - 1
            for later in {last, (at + last) // 2, min(at + 1, last)} - {at - 1}:
                then = look.one({"user": user}, later)
                assert then.status == found.status, (user, at, later)
                assert repr(then.values) == repr(aged(found, trace, later)), (user, at, later)
            if trace.until == MOST or trace.until > NOW + 2 * HOUR:
                break
            ends.append(look.one({"user": user}, trace.until) != found)
            at = trace.until if trace.until > at else at + MINUTE
    assert kept > 20
    assert sum(ends) > len(ends) // 2  # and no shorter than it must, mostly


def test_what_changes_all_the_time_does_not_last(tmp_path: Path) -> None:
    given = feed()
    store = online(tmp_path, given)
    store.push("events", events(random.Random(1), 60, NOW), now=NOW)
    names = [f"decayed(1h).c0.{6 * HOUR}"]
    found, trace = read(store, store.lookup(names), {"user": "ann"}, NOW)
    assert found.values[0] is not None
    assert trace.until == NOW


def test_it_says_what_it_was_made_of(tmp_path: Path) -> None:
    given = feed()
    store = online(tmp_path, given, stale=MINUTE)
    row = {"user": "ann", "item": "i0", "at": NOW - 1, "price": 1.0, "quantity": 3}
    store.push("events", [row], now=NOW)
    look = store.lookup(["since.None", "of item.count.None"])
    found, trace = read(store, look, {"user": "ann", "item": "i0"}, NOW)
    assert len(trace.heads) == 2
    with store.backend.read() as reading:
        assert reading.get(list(trace.heads)) == list(trace.heads.values())
    assert trace.sources == {"events": (1, False)}
    assert trace.until == NOW + MINUTE + 1  # it is stale from then on
    assert trace.ages == {0: NOW - found.values[0]}
    assert read(store, look, {"user": "ann", "item": "i0"}, trace.until)[0].status == [1, 1]
