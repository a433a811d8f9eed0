"""Released numbers in the store: a version at a time, of one meaning, for as long as they may be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from live_cases import SCHEMA, feed, online
from servers import redis_server

from tacit.errors import DataError, StoreError
from tacit.live import released as module
from tacit.live.lasting import Trace
from tacit.live.online import Online
from tacit.live.reader import Lookup, Status
from tacit.live.released import Delivery, Released, deliver, sweep
from tacit.store.online.base import Backend
from tacit.store.online.lmdb import Lmdb
from tacit.store.online.redis import Redis
from tacit.values import DAY, Type

NOW = 1_750_000_000_000_000
PLAYS = Delivery("plays", "discover", "item", Type.TEXT, "as it is", "1d", 10 * DAY)
OTHER = replace(PLAYS, metric="skips")


@pytest.fixture(params=["lmdb", "redis"])
def backend(request: Any, tmp_path: Path) -> Iterator[Backend]:
    if request.param == "lmdb":
        store = Lmdb(tmp_path / "online")
        yield store
        store.close()
        return
    server = redis_server(tmp_path)
    try:
        yield Redis(f"redis://127.0.0.1:{server.port}/0")
    finally:
        server.stop()


def put(
    backend: Backend, numbers: dict[Any, float], of: Delivery = PLAYS, at: int = NOW, **told: Any
) -> bool:
    cells = {key: (value, 0.5) for key, value in numbers.items()}
    return deliver(backend, of, cells, released=at, stale=at + DAY, told=told)


def read(
    backend: Backend, keys: list[Any], at: int = NOW, of: Delivery = PLAYS, now: int | None = None
) -> list[tuple[float | None, str]]:
    with backend.read() as store:
        [found] = Released([of]).read(store, {"item": keys}, len(keys), at, now or at)
    return [(v, s.name.lower()) for v, s in zip(found.values, found.status, strict=True)]


def test_what_is_delivered_is_read(backend: Backend) -> None:
    assert read(backend, ["a"]) == [(None, "missing")]
    assert put(backend, {"a": 1.5, "b": -2.0})
    assert read(backend, ["b", "x", "a"]) == [(-2.0, "noised"), (None, "missing"), (1.5, "noised")]
    assert not put(backend, {"a": 7.0})  # the same release again
    assert put(backend, {"a": 3.0}, at=NOW + 1)
    assert read(backend, ["a", "b"], NOW + 1) == [(3.0, "noised"), (None, "missing")]
    assert read(backend, ["a"], of=OTHER) == [(None, "missing")]
    long = "x" * 5000
    assert put(backend, {long: 1.0}, OTHER)
    assert read(backend, [long], of=OTHER) == [(1.0, "noised")]
    number = replace(PLAYS, metric="by number", type=Type.INT)
    assert put(backend, {-7: 1.0}, number)
    assert read(backend, [-7, 7], of=number) == [(1.0, "noised"), (None, "missing")]
    for wrong in ({"a": 1.0}, {None: 1.0}):
        with pytest.raises(DataError, match="T390"):
            put(backend, wrong, replace(number, meaning="new"))
    assert read(backend, [-7], of=number) == [(1.0, "noised")]


def test_its_time(backend: Backend) -> None:
    put(backend, {"a": 1.0})
    for at, status in (
        (NOW - 1, "missing"), (NOW, "noised"), (NOW + DAY - 1, "noised"), (NOW + DAY, "stale"),
        (NOW + 10 * DAY, "stale"), (NOW + 10 * DAY + 1, "missing"),
    ):  # fmt: skip
        for key, told in (("a", status), ("x", "missing")):
            [(value, found)] = read(backend, [key], at)
            assert found == told
            assert (value is None) == (told == "missing")
    # Of another moment, what is kept no longer is by now.
    assert read(backend, ["a"], NOW, now=NOW + 11 * DAY) == [(None, "missing")]


def test_another_meaning_is_nothing(backend: Backend) -> None:
    put(backend, {"a": 1.0})
    changed = replace(PLAYS, meaning="otherwise")
    assert read(backend, ["a"], of=changed) == [(None, "missing")]
    put(backend, {"b": 2.0}, changed)
    assert read(backend, ["a", "b"], of=changed) == [(None, "missing"), (2.0, "noised")]
    assert read(backend, ["b"]) == [(None, "missing")]


def test_it_stands_until_it_does_not(backend: Backend) -> None:
    """What a kept answer is made of: the cell, and which release it is of; and when it turns."""
    put(backend, {"a": 1.0})
    reader, lookup = Released([PLAYS, OTHER]), Lookup(backend, [], [], None)

    def traced(key: str, at: int = NOW) -> Trace:
        trace = Trace()
        with backend.read() as store:
            reader.read(store, {"item": key}, 1, at, at, [trace])
        return trace

    def stands(trace: Trace, at: int = NOW) -> bool:
        with backend.read() as store:
            return lookup.stand(store, [trace.made()], at) == [True]

    there, absent = traced("a"), traced("x")
    assert there.until == absent.until == NOW + DAY
    assert traced("a", NOW - 5).until == NOW
    assert traced("a", NOW + DAY).until == NOW + 10 * DAY + 1
    assert stands(there)
    assert stands(absent)
    put(backend, {"a": 1.0}, OTHER)
    assert not stands(there)
    there = traced("a")
    put(backend, {"a": 1.0, "x": 2.0}, at=NOW + 1)
    assert not stands(there)
    assert not stands(absent)


def test_readers_see_one_version_or_another(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All cells of a version bear its number: no read finds two, nor a cell that is gone."""
    monkeypatch.setattr(module, "_BATCH", 7)
    keys = [f"i{n}" for n in range(25)]
    put(backend, dict.fromkeys(keys, 0.0))
    reader, done, seen = Released([PLAYS]), threading.Event(), set()

    def look() -> None:
        while not done.is_set():
            with backend.read() as store:
                [found] = reader.read(store, {"item": keys}, len(keys), NOW + DAY - 1, NOW)
            assert len(set(found.values)) == 1
            assert set(found.status) == {Status.NOISED}
            seen.add(found.values[0])

    failed: list[BaseException] = []

    def watched() -> None:
        try:
            look()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=watched) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, 12):
        put(backend, dict.fromkeys(keys, float(number)), at=NOW + number)
    done.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(seen) > 1


def test_what_a_crash_left_is_removed(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between any two changes, the release of before stands whole, and the next one too."""
    monkeypatch.setattr(module, "_BATCH", 2)
    keys = [f"i{n}" for n in range(5)]
    put(backend, dict.fromkeys(keys, 0.0))
    real = type(backend).change
    for crash in range(6):
        changes = 0

        def change(self: Any, lane: str = "", crash: int = crash) -> Any:
            nonlocal changes
            changes += 1
            if changes > crash:
                raise StoreError("killed", code="T722", fix="")
            return real(self, lane)

        with monkeypatch.context() as patch:
            patch.setattr(type(backend), "change", change)
            with pytest.raises(StoreError, match="T722"):
                put(backend, dict.fromkeys(keys[:3], 1.0 + crash), at=NOW + 1 + crash)
        found = read(backend, keys, NOW + 20)
        assert {status for _, status in found[:3]} == {"noised"}
        assert len({value for value, _ in found[:3]}) == 1
        with backend.read() as store:
            versions = {name[7:15] for name, _ in store.scan(PLAYS.cells)}
        assert len(versions) <= 2
    put(backend, {"i0": 9.0}, at=NOW + 30)
    with backend.read() as store:
        assert len(list(store.scan(PLAYS.cells))) == 1
    assert read(backend, ["i0", "i1"], NOW + 30) == [(9.0, "noised"), (None, "missing")]


def test_two_that_deliver_at_once_do_not_mix(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(backend, {"a": 1.0})
    real, late = module._clear, [True]

    def clear(*given: Any) -> None:
        if late and late.pop():
            put(backend, {"b": 2.0}, at=NOW + 1)
        real(*given)

    monkeypatch.setattr(module, "_clear", clear)
    with pytest.raises(StoreError, match="T721"):
        put(backend, {"c": 3.0}, at=NOW + 2)
    assert read(backend, ["a", "b", "c"], NOW + 2) == [
        (None, "missing"), (2.0, "noised"), (None, "missing"),
    ]  # fmt: skip
    put(backend, {"c": 3.0}, at=NOW + 2)
    assert read(backend, ["b", "c"], NOW + 2) == [(None, "missing"), (3.0, "noised")]


def test_what_goes(backend: Backend) -> None:
    put(backend, {"a": 1.0})
    put(backend, {"b": 1.0}, OTHER)
    assert sweep(backend, [PLAYS, OTHER], NOW + DAY) == 0
    assert sweep(backend, [PLAYS], NOW + DAY) == 1
    assert read(backend, ["b"], of=OTHER) == [(None, "missing")]
    assert read(backend, ["a"]) == [(1.0, "noised")]
    assert sweep(backend, [PLAYS], NOW + 10 * DAY + 1) == 1
    with backend.read() as store:
        assert list(store.scan(b"")) == [] or isinstance(backend, Redis)
        assert list(store.scan(PLAYS.cells)) == list(store.scan(b"r")) == []


def test_who_opens_a_store_waits_for_no_writer(backend: Backend) -> None:
    """A server starts also while another copies the store, or where one that was killed holds the
    lease: to read takes no change."""
    online(backend, feed())
    opened: list[Online] = []
    with backend.change():
        opening = threading.Thread(target=lambda: opened.append(online(backend, feed())))
        opening.start()
        opening.join(60)
        assert not opening.is_alive()
    rows = [dict.fromkeys(SCHEMA) | {"user": "ann", "at": NOW - 1, "item": "i0"}]
    opened.pop().push("events", rows, now=NOW)
    again = online(backend, feed())
    assert again.lookup(["count.c2.None"]).one({"user": "ann"}, NOW).values == [1]
