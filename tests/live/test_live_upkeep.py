"""What has expired goes, by the clock: from either backend, once, by one of those who have it open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from live_cases import NOW, SCHEMA, check, feed, few, online
from servers import redis_server

from tacit.errors import TacitWarning
from tacit.live.baseline import begin
from tacit.live.journal import Entry
from tacit.live.place import Place, digest
from tacit.live.upkeep import begin_sweep, sweep_by_the_clock
from tacit.store.online.base import Backend
from tacit.store.online.lmdb import Lmdb
from tacit.store.online.redis import Redis
from tacit.values import DAY, HOUR, MINUTE, SECOND


@pytest.fixture(params=["lmdb", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    if request.param == "lmdb":
        yield Lmdb(tmp_path, sync=False)
        return
    server = redis_server(tmp_path)
    yield Redis(f"redis://127.0.0.1:{server.port}/0")
    server.stop()


def test_what_a_label_keeps_no_longer_is_gone_within_a_day(backend: Backend) -> None:
    """Windows may reach further than rows are kept: the label says how long."""
    kept = few(feed(endless=True, keep=2 * HOUR))
    store = online(backend, kept)
    row = dict.fromkeys(SCHEMA) | {"item": "i0", "quantity": 1}
    old, new = {**row, "user": "ann"}, {**row, "user": "bob"}
    rows: list[Any] = [{**old, "at": NOW - SECOND}, {**new, "at": NOW - SECOND}]
    store.push("events", [*rows, {**old, "quantity": "many"}], now=NOW)
    assert begin_sweep(store, NOW) is False  # nobody ever swept: a day from now
    assert sweep_by_the_clock(store, NOW + DAY - 1, lambda: True) is None
    now = NOW + DAY
    rows.append({**new, "at": now - HOUR})
    store.push("events", rows[-1:], now=now)
    store.merger.run()
    assert held(store, b"ann") == held(store, b"bob") == 1
    assert sweep_by_the_clock(store, now, lambda: True)
    assert (held(store, b"ann"), held(store, b"bob")) == (0, 1)
    check(store, kept, rows[-1:], now)
    assert sweep_by_the_clock(store, now, lambda: True) is None
    assert len(list(store.quarantined("events"))) == 1
    assert sweep_by_the_clock(store, NOW + 31 * DAY, lambda: True)
    assert held(store, b"bob") == 0
    assert list(store.quarantined("events")) == []


def held(store: Any, user: bytes) -> int:
    place = Place.of("events", 1, "users")
    with store.backend.read() as reading:
        return sum(key.endswith(user) for key, _ in reading.scan(place.heads))


def test_one_of_several_sweeps(backend: Backend) -> None:
    one, other = online(backend, few(feed())), online(backend, few(feed()))
    assert [begin_sweep(each, NOW) for each in (one, other)] == [False, False]
    assert [begin_sweep(each, NOW + DAY) for each in (one, other, one)] == [True, False, False]
    assert begin_sweep(other, NOW + 2 * DAY)
    assert begin_sweep(one, NOW)  # a clock that was wrong holds nothing up


def test_a_sweep_ends_where_it_is_told_to(tmp_path: Path) -> None:
    store = online(tmp_path, few(feed(endless=False)))
    row = dict.fromkeys(SCHEMA) | {"item": "i0", "at": NOW}
    store.push("events", [{**row, "user": f"u{n}"} for n in range(50)], now=NOW)
    later, asked = NOW + 8 * HOUR, iter([True, False])
    assert store.sweep(later, keys=10, go_on=lambda: next(asked, False)) == 10
    assert store.sweep(later, keys=10) > 40


def test_timers_that_come_before_any_event(backend: Backend) -> None:
    """Nothing is there, then what waits for its baseline, then what is dated a little ahead: a timer
    that comes first takes nothing with it."""
    kept = few(feed(endless=False, baseline=True))
    store = online(backend, kept, stale=HOUR)

    def timers(now: int) -> None:
        store.merger.run()
        sweep_by_the_clock(store, now, lambda: True)
        store.sweep(now)

    timers(NOW)
    row = dict.fromkeys(SCHEMA) | {"item": "i0", "quantity": 1}
    rows: list[Any] = [{**row, "user": "ann", "at": NOW - SECOND}]
    assert store.push("events", rows, now=NOW).parked
    timers(NOW + DAY)
    building = begin(store, "events")
    timers(NOW)
    building.finish(now=NOW)
    check(store, kept, rows, NOW)
    rows.append({**row, "user": "bob", "at": NOW + MINUTE})
    store.push("events", rows[-1:], now=NOW)
    timers(NOW)
    check(store, kept, rows, NOW)
    check(store, kept, rows, NOW + MINUTE + 1)


def waiting(store: Any) -> list[dict[str, Any]]:
    """The rows of the journal."""
    with store.backend.read() as reading:
        entries = [Entry.load(raw) for _, raw in reading.scan(b"j" + digest("events"))]
    for entry in entries:
        assert len(entry.positions) == entry.table.num_rows
        assert entry.ids is None or len(entry.ids) == entry.table.num_rows
    return [row for entry in entries for row in entry.table.to_pylist()]


def test_rows_that_wait_for_a_baseline_in_vain_expire(backend: Backend) -> None:
    """They are kept for as long as their source may be, columns that may be kept shorter for that
    long; what is left is what a baseline then takes."""
    kept = replace(few(feed(baseline=True)), retention=30 * DAY, kept={"price": 7 * DAY})
    store = online(backend, kept)
    row = dict.fromkeys(SCHEMA) | {"item": "i0", "quantity": 1, "price": 2.0}
    ann, bob = (
        {**row, "user": user, "at": NOW - ago} for user, ago in (("ann", 20 * DAY), ("bob", 0))
    )
    never = {**row, "user": "cy", "at": None}
    assert store.push("events", [ann, {**bob, "nr": 2}, never], now=NOW).parked
    store.push("events", [{**ann, "nr": 1}, {**bob, "nr": 3}], now=NOW, ids="nr")
    with pytest.warns(TacitWarning, match="T428: 1 rows of 'events' .* retention of 30d"):
        assert store.sweep(NOW) == 2
    dear = [(each["user"], each["price"]) for each in waiting(store)]
    assert dear == [("ann", None), ("bob", 2.0), ("ann", None), ("bob", 2.0)]
    assert store.sweep(NOW) == 0
    later = NOW + 15 * DAY
    with pytest.warns(TacitWarning, match="T428: 2 rows"):
        assert store.sweep(later) == 2
    assert store.standing("events").counts["expired"] == 3
    assert [(each["user"], each["price"]) for each in waiting(store)] == [("bob", None)] * 2
    building = begin(store, "events")
    building.finish(now=later)
    check(store, kept, [{**bob, "price": None}] * 2, later)
    begin(store, "events")  # and what is pushed while it is built is journaled too
    store.push("events", [{**bob, "at": later}], now=later)
    with pytest.warns(TacitWarning, match="T428: 1 rows"):
        store.sweep(later + 31 * DAY)
    assert waiting(store) == []
