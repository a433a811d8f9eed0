"""Lanes: what engines of streams do to the store is what `push` does, once, whatever dies."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pytest
from live_cases import check, online, table
from servers import redis_server
from streams_cases import FEED, NOW, POISON, Engine, lmdb, opening, states, stream

from tacit.errors import EngineError, StoreError
from tacit.live.baseline import begin as rebase
from tacit.live.inputs.rows import read_json
from tacit.live.online import Online
from tacit.live.streams import lanes
from tacit.live.streams.lanes import Share, Work, begin, counted, finish, fold
from tacit.live.streams.route import take
from tacit.store.online.redis import Redis


def pushed(folder: Path, messages: list[bytes], size: int) -> Online:
    store = online(folder, FEED)
    for a in range(0, len(messages), size):
        rows, _, rejected = read_json(messages[a : a + size], "event")
        store.push("events", rows, now=NOW, ids="event", rejected=rejected)
    return store


@pytest.mark.parametrize("shards", [1, 5])
def test_lanes_write_what_push_writes(tmp_path: Path, shards: int) -> None:
    rows, messages = stream(1, 2000)
    local = pushed(tmp_path / "push", messages, 300)
    engine = Engine(opening(lmdb(tmp_path / "lanes"), "event"), shards)
    for number, a in enumerate(range(0, len(messages), 700)):
        assert all(engine.batch(number, messages[a : a + 700]))
    store = engine.given.open()
    assert states(store) == states(local)
    check(store, FEED, rows, NOW - 1234)
    told, wanted = counted(store, "events"), counted(local, "events")
    assert told == wanted
    assert told["accepted"] == len(rows)
    assert told["quarantined"] == len(POISON)
    assert sorted((reason, row) for _, reason, row in store.quarantined("events")) == sorted(
        (reason, row) for _, reason, row in local.quarantined("events")
    )


def test_a_batch_that_dies_anywhere_is_in_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, messages = stream(2, 600)
    rng = random.Random(2)
    engine = Engine(opening(lmdb(tmp_path / "lanes"), "event"), 4)
    write = lanes.write
    left = [0]

    def dying(*given: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("killed")
        return write(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(lanes, "write", dying)
    for number, a in enumerate(range(0, len(messages), 150)):
        for _ in range(4):  # it dies within and between lanes, and is judged by the first clock
            left[0] = rng.randrange(12)
            try:
                engine.batch(number, messages[a : a + 150], now=NOW + rng.randrange(600) * 10**6)
            except RuntimeError:
                continue
        left[0] = 10**6
        engine.batch(number, messages[a : a + 150], now=NOW + 10**9)
    store = engine.given.open()
    monkeypatch.undo()
    local = pushed(tmp_path / "push", messages, 100)
    told = counted(store, "events")
    assert told["accepted"] in (len(rows), len(rows) + 1)  # one was ahead of the first clock alone
    assert told["duplicates"] == len(messages) - len(POISON) - len(rows)
    if told["accepted"] == len(rows):
        assert states(store) == states(local)


def test_without_ids_what_comes_twice_counts_twice(tmp_path: Path) -> None:
    _, messages = stream(3, 200)
    engine = Engine(opening(lmdb(tmp_path), None), 3)
    engine.batch(0, messages)
    assert counted(engine.given.open(), "events")["accepted"] == len(messages) - len(POISON)
    assert engine.batch(0, messages) == []  # the batch is whole
    assert counted(engine.given.open(), "events")["accepted"] == len(messages) - len(POISON)


def test_an_id_is_one_event_by_push_and_by_stream(tmp_path: Path) -> None:
    _, messages = stream(4, 120)
    engine = Engine(opening(lmdb(tmp_path), "event"), 3)
    store = engine.given.open()
    rows, _, _ = read_json(messages, "event")
    store.push("events", rows[:60], now=NOW, ids="event")
    engine.batch(0, messages)
    assert store.push("events", rows, now=NOW, ids="event").accepted == 0
    assert counted(store, "events")["accepted"] == 120
    engine.batch(
        1, [b'{"user": "ann", "item": "i0", "at": 1750000000000000, "price": 1, "quantity": 1}']
    )
    assert [why for _, why, _ in store.quarantined("events")][-1:] != []
    assert any("has no event" in why for _, why, _ in store.quarantined("events"))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    _, messages = stream(5, 50)
    given = opening(lmdb(tmp_path), None)
    store = given.open()
    batch = begin(store, "events", "engine", "r", 0, 4, NOW)
    assert batch is not None
    with pytest.raises(EngineError) as refused:
        begin(store, "events", "other", "r", 0, 5, NOW)
    assert refused.value.code == "T414"
    with pytest.raises(EngineError) as refused:
        begin(store, "events", "engine", "another run", 0, 4, NOW)
    assert refused.value.code == "T415"
    with pytest.raises(EngineError) as refused:
        begin(store, "events", "engine", "r", 1, 4, NOW)  # 0 is not through
    assert refused.value.code == "T415"
    with pytest.raises(StoreError) as half:
        rebase(store, "events")
    assert half.value.code == "T729"
    finish(store, batch, NOW)
    rebase(store, "events").finish(now=NOW)
    with pytest.raises(StoreError) as stale:
        fold(store, batch, Share.of(batch, 0), lambda _: Work({}))
    assert stale.value.code == "T728"
    assert Engine(given, 5).batch(1, messages) != []  # none is open: keys may be dealt anew


def test_a_baseline_and_a_stream_leave_no_gap(tmp_path: Path) -> None:
    rows, messages = stream(6, 300)
    engine = Engine(opening(lmdb(tmp_path), "event"), 3)
    store = engine.given.open()
    engine.batch(0, messages[:150])
    baseline = rebase(store, "events")
    with pytest.raises(StoreError) as waits:
        engine.batch(1, messages[150:])
    assert waits.value.code == "T728"
    held = table(rows).append_column("event", pa.array([row["event"] for row in rows]))
    baseline.add(held, now=NOW, ids="event")
    baseline.finish(now=NOW)
    engine.batch(1, messages[150:])
    check(store, FEED, rows, NOW)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    running = redis_server(tmp_path_factory.mktemp("redis"))
    yield f"redis://127.0.0.1:{running.port}/0"
    running.stop()


def test_lanes_in_redis_go_on_beside_each_other(server: str, tmp_path: Path) -> None:
    _, messages = stream(7, 600)
    given = opening(partial(Redis, server, name="lanes"), "event")
    engine = Engine(given, 6, parts=6)
    store = given.open()
    batch = begin(store, "events", "engine", "r", 0, 6, NOW)
    assert batch is not None
    failed: list[BaseException] = []

    def lane(part: list[object], token: str) -> None:
        try:
            own = opening(partial(Redis, server, name="lanes"), "event", token=token)
            for _ in range(2):  # each twice, as a task that is tried again
                list(take(own, batch, part))  # type: ignore[arg-type]
        except BaseException as error:
            failed.append(error)

    parts = engine.routed(batch, messages)
    threads = [Thread(target=lane, args=(part, f"t{i}")) for i, part in enumerate(parts)]
    threads += [Thread(target=lane, args=(part, f"u{i}")) for i, part in enumerate(parts)]
    for each in threads:
        each.start()
    for i in range(20):  # changes without a lane come between
        store.heard("events", NOW + i)
    for each in threads:
        each.join()
    assert not failed
    finish(store, batch, NOW)
    local = pushed(tmp_path, messages, 300)
    assert states(store) == states(local)
    assert counted(store, "events") == counted(local, "events")


def test_a_change_without_a_lane_undoes_what_lanes_read(server: str) -> None:
    store = Redis(server, name="alone", patience=0.2)
    with store.change() as whole:
        whole.put([(b"m", b"0")])
        with pytest.raises(StoreError) as busy, store.change("a"):
            pass
        assert busy.value.code == "T721"

    def overtaken() -> None:
        with store.change("a") as lane:
            assert lane.get([b"m"]) == [b"0"]
            with store.change("b") as other:
                other.put([(b"db", b"1")])
            with store.change() as whole:
                whole.put([(b"m", b"1")])
            lane.put([(b"da", b"0")])

    with pytest.raises(StoreError) as lost:
        overtaken()
    assert lost.value.code == "T721"
    with store.read() as found:
        assert found.get([b"da", b"db", b"m"]) == [None, b"1", b"1"]
    with store.change("a") as lane:
        lane.put([(b"da", b"2")])
    with store.read() as found:
        assert found.get([b"da"]) == [b"2"]
