"""Small pushes wait as deltas: what is read is the same before, while and after they are merged."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from live_cases import NOW, check, events, feed, few, online, small, table

from tacit.errors import StoreError
from tacit.live import deltas, merging
from tacit.live.baseline import begin
from tacit.live.deltas import State
from tacit.live.erasing import erase
from tacit.live.merging import Merger
from tacit.live.online import Online
from tacit.live.place import Place
from tacit.store.online.base import Changing
from tacit.values import HOUR


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is merged but where a test says so."""
    monkeypatch.setattr(Merger, "pushed", lambda self, count: None)


def states(store: Online) -> list[State]:
    """Of each view."""
    found = []
    with store.backend.read() as reading:
        for segments in store.source("events").segments:
            place = Place.of("events", 1, segments.form.view.name)
            found.append(State.read(reading, place) or State(1, 0))
    return found


def waiting(store: Online) -> int:
    return max(state.count for state in states(store))


@pytest.mark.usefixtures("by_hand")
def test_reads_are_the_reference_s_at_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)  # heads overflow soon
    monkeypatch.setattr(merging, "_KEYS", 3)
    given, rng = feed(), random.Random(3)
    store, rows = online(tmp_path, given), list[dict[str, Any]]()
    steps = partly = 0
    for round_ in range(12):
        batch = events(rng, rng.randrange(1, 25), NOW + round_)
        store.push("events", batch, now=NOW + round_)
        rows += batch
        for _ in range(rng.randrange(3)):
            segments = rng.choice(store.source("events").segments)
            state = store.merger._step("events", segments)
            steps += state.count > 0
            partly += state.frozen > 0
        if round_ % 3 == 2:
            check(store, given, rows, NOW + round_)
    assert steps > partly > 0, "some were read while they were half merged"
    assert waiting(store)
    store.merger.run()
    assert not waiting(store)
    check(store, given, rows, NOW + 12)


@pytest.mark.usefixtures("by_hand")
def test_another_process_goes_on_where_one_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "_KEYS", 2)
    given, rng = few(feed()), random.Random(4)
    first, rows = online(tmp_path, given), list[dict[str, Any]]()
    for i in range(5):
        rows += (batch := events(rng, 20, NOW + i))
        first.push("events", batch, now=NOW + i)
    for segments in first.source("events").segments:
        assert first.merger._step("events", segments).frozen
    second = online(tmp_path, given)
    rows += (batch := events(rng, 20, NOW + 6))
    second.push("events", batch, now=NOW + 6)
    check(second, given, rows, NOW + 7)
    second.merger.run()
    check(second, given, rows, NOW + 7)
    rows += (batch := events(rng, 20, NOW + 8))
    first.push("events", batch, now=NOW + 8)
    first.merger.run()  # what it had brought together is of deltas that are gone
    for each in (first, second):
        check(each, given, rows, NOW + 9)
        assert not waiting(each)


@pytest.mark.usefixtures("by_hand")
def test_a_large_push_comes_after_what_waits(tmp_path: Path) -> None:
    """Of two rows of one moment the one that came later is the last."""
    given = few(feed())
    store = online(tmp_path, given)
    row = {"user": "ann", "item": "i0", "at": NOW - 1, "price": 1.0, "quantity": 1}
    store.push("events", [row], now=NOW)
    large = [row | {"user": f"u{i}"} for i in range(deltas.MOST)]
    rows = [row, *large, row | {"quantity": 2}]
    assert waiting(store) == 1
    store.push("events", rows[1:], now=NOW)
    assert not waiting(store)
    check(store, given, rows, NOW)


@pytest.mark.usefixtures("by_hand")
def test_who_finds_too_many_merges_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.live.intake.TOO_MANY", 4)
    given, rng = few(feed()), random.Random(5)
    store, rows, most = online(tmp_path, given), list[dict[str, Any]](), 0
    for i in range(9):
        rows += (batch := events(rng, 3, NOW + i))
        store.push("events", batch, now=NOW + i)
        most = max(most, waiting(store))
    assert most == 3
    check(store, given, rows, NOW + 9)


@pytest.mark.usefixtures("by_hand")
def test_rows_too_late_change_nothing(tmp_path: Path) -> None:
    given = few(feed(endless=False))
    store = online(tmp_path, given)
    row = {"user": "ann", "item": "i0", "price": 1.0, "quantity": 1}
    longest = max(form.horizon for form in given.forms)
    old = row | {"at": NOW - longest - 2 * HOUR}
    new = row | {"at": NOW - 1}
    assert store.push("events", [old, new], now=NOW).late == 1
    check(store, given, [old, new], NOW)
    store.merger.run()
    check(store, given, [old, new], NOW)


@pytest.mark.usefixtures("by_hand")
def test_a_damaged_delta_is_never_a_wrong_value(tmp_path: Path) -> None:
    given = few(feed())
    store = online(tmp_path, given)
    store.push("events", events(random.Random(6), 20, NOW), now=NOW)
    form = given.forms[0]
    place = Place.of("events", 1, form.view.name)
    with store.backend.read() as reading:
        raw = reading.get([place.delta(1)])[0]
    assert raw is not None
    look = store.lookup([form.view.windows[0].signal])
    right = look.one({"user": "bob"}, NOW)
    for at in (0, 9, 40, len(raw) // 2, len(raw) - 1):
        wrong = bytearray(raw)
        wrong[at] ^= 4
        for damage in (bytes(wrong), raw[:at]):
            with store.backend.change() as change:
                change.put([(place.delta(1), damage)])
            fresh = online(tmp_path, given)
            other = fresh.lookup([form.view.windows[0].signal])
            with pytest.raises(StoreError) as failed:
                other.one({"user": "bob"}, NOW)
            assert failed.value.code == "T724"
            with pytest.raises(StoreError):
                fresh.merger.run()
    with store.backend.change() as change:
        change.put([(place.delta(1), raw)])
    assert online(tmp_path, given).lookup(look.signals).one({"user": "bob"}, NOW) == right


@pytest.mark.usefixtures("by_hand")
def test_what_waits_for_a_damaged_head_goes_to_quarantine(tmp_path: Path) -> None:
    given = few(feed())
    store = online(tmp_path, given)
    row = {"item": "i0", "at": NOW - 1, "price": 1.0, "quantity": 1}
    store.push("events", [row | {"user": user} for user in ("ann", "bob")], now=NOW)
    store.merger.run()
    place = Place.of("events", 1, given.forms[0].view.name)
    with store.backend.change() as change:
        change.put([(place.head(b"\x00ann"), b"\0" * 72)])
    more = [row | {"user": user} for user in ("ann", "bob")]
    assert store.push("events", more, now=NOW).accepted == 2
    look = store.lookup([given.forms[0].view.windows[0].signal])
    with pytest.raises(StoreError, match="damaged"):
        look.one({"user": "ann"}, NOW)
    store.merger.run()
    assert [reason for _, reason, _ in store.quarantined("events")] == [
        f"what {given.forms[0].view.name!r} holds of its key is damaged (T724)"
    ]
    assert store.standing("events").counts["quarantined"] == 1
    assert look.one({"user": "bob"}, NOW).values == [2]


@pytest.mark.usefixtures("by_hand")
def test_an_erased_person_is_not_in_a_delta(tmp_path: Path) -> None:
    given = few(feed())
    store = online(tmp_path, given)
    row = {"item": "i0", "at": NOW - 1, "price": 1.0, "quantity": 1}
    store.push("events", [row | {"user": user} for user in ("gone-ann", "bob")], now=NOW)
    held = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"gone-ann" in path.read_bytes() for path in held)
    erase(store, "person", ["gone-ann"])
    held = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"gone-ann" in path.read_bytes() for path in held)
    look = store.lookup([given.forms[0].view.windows[0].signal])
    assert look.one({"user": "gone-ann"}, NOW).values == look.one({"user": "nobody"}, NOW).values


@pytest.mark.usefixtures("by_hand")
def test_what_is_undone_is_not_merged_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delta that was never kept has a number that the next one has."""
    monkeypatch.setattr(merging, "_KEYS", 1)
    given, rng = few(feed()), random.Random(9)
    store = online(tmp_path, given)
    source, rows = store.source("events"), events(rng, 5, NOW)
    store.push("events", rows, now=NOW)
    lost = store.intake.given(
        source, events(rng, 5, NOW),
        now=NOW, ids=None, batch=None, taken=None, rejected=(),
    )  # fmt: skip

    def fail(change: Changing) -> None:
        store.intake.take(change, lost)
        for segments in source.segments:
            store.merger._some(change, "events", segments, 1)
        raise KeyError  # another push of the same change failed

    with pytest.raises(KeyError):
        store._together.run(fail)
    rows += (batch := events(rng, 5, NOW))
    store.push("events", batch, now=NOW)
    store.merger.run()
    check(store, given, rows, NOW)
    assert not store.merger._frozen, "nobody's rows are held when nothing waits"


@pytest.mark.usefixtures("by_hand")
def test_what_a_large_push_merges_first_is_counted(tmp_path: Path) -> None:
    """Keys that prove damaged then, and rows of its own that are refused: all are in quarantine."""
    given = few(feed())
    store = online(tmp_path, given)
    row = {"user": "ann", "item": "i0", "at": NOW - 1, "price": 1.0, "quantity": 1}
    store.push("events", [row | {"user": user} for user in ("ann", "bob")], now=NOW)
    store.merger.run()
    place = Place.of("events", 1, given.forms[0].view.name)
    with store.backend.change() as change:
        change.put([(place.head(b"\x00" + user), b"\0" * 72) for user in (b"ann", b"bob")])
    store.push("events", [row, row | {"user": "bob"}], now=NOW)
    large = [row | {"user": f"u{i}"} for i in range(deltas.MOST + 1)]
    ahead = [row | {"at": NOW + 2 * HOUR}] * 3
    assert store.push("events", large + ahead, now=NOW).quarantined == 3
    reasons = [reason for _, reason, _ in store.quarantined("events")]
    assert sum("damaged" in reason for reason in reasons) == 2
    assert sum("future" in reason for reason in reasons) == 3
    assert store.standing("events").counts["quarantined"] == 5


@pytest.mark.usefixtures("by_hand")
def test_a_plan_of_another_meaning_finds_deltas(tmp_path: Path) -> None:
    """It lets them lie: its pushes wait in the journal, and go with the rows of its baseline."""
    given, rng = few(feed()), random.Random(10)
    store, rows = online(tmp_path, given), events(rng, 20, NOW)
    store.push("events", rows, now=NOW)
    first = given.views[0]
    fewer = replace(given, views=(replace(first, windows=first.windows[2:]),))
    other = online(tmp_path, fewer)
    other.sweep(NOW)
    assert waiting(store) == 1
    building = begin(other, "events")
    building.add(table(rows), now=NOW)
    more = events(rng, 20, NOW + 1)
    assert other.push("events", more, now=NOW + 1).parked
    check(store, given, rows, NOW + 1)
    building.finish(now=NOW + 1)
    check(other, fewer, rows + more, NOW + 1)


def test_a_push_that_is_kept_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there may be no more threads: who comes next merges."""
    given, rng = few(feed()), random.Random(11)
    store, rows = online(tmp_path, given), events(rng, 5, NOW)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert store.push("events", rows, now=NOW).accepted == 5
    rows += (batch := events(rng, 5, NOW))
    store.push("events", batch, now=NOW)
    end = time.monotonic() + 60
    while waiting(store):
        assert time.monotonic() < end, "it merges"
        time.sleep(0.02)
    check(store, given, rows, NOW)


def test_a_thread_merges_what_waits_and_ends(tmp_path: Path) -> None:
    given, rng = few(feed()), random.Random(7)
    store, rows = online(tmp_path, given), list[dict[str, Any]]()
    for i in range(merging.ENOUGH + 8):
        rows += (batch := events(rng, 4, NOW + i))
        store.push("events", batch, now=NOW + i)
    end = time.monotonic() + 60
    while waiting(store) or store.merger._thread is not None:
        assert time.monotonic() < end, "it merges"
        time.sleep(0.02)
    check(store, given, rows, NOW + 100)


def test_a_process_that_ends_is_not_kept(tmp_path: Path) -> None:
    """What waits then is merged by the next one."""
    code = f"""
import sys, threading
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from live_cases import NOW, events, feed, few, online
from tacit.live import merging
import random
merging._IDLE = 3600
store = online(Path({str(tmp_path)!r}), few(feed()))
store.push("events", events(random.Random(8), 30, NOW), now=NOW)
assert any(each.name == "tacit merge" for each in threading.enumerate())
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    given = few(feed())
    store = online(tmp_path, given)
    assert waiting(store) == 1
    rows = events(random.Random(8), 30, NOW)
    check(store, given, rows, NOW)
    store.merger.run()
    check(store, given, rows, NOW)
