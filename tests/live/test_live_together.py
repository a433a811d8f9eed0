"""Pushes of several threads are made as one change: durable when they return, once, each for itself."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from live_cases import NOW, check, events, feed, few, online

from tacit.errors import StoreError, TacitError
from tacit.live.intake import Taken
from tacit.live.merging import Merger
from tacit.live.online import Online
from tacit.live.place import Mark
from tacit.live.together import Together
from tacit.store.online.base import Changing
from tacit.store.online.lmdb import Lmdb


class Env:
    """An LMDB environment that writes down when it waits for the disk."""

    def __init__(self, inner: Any, said: list[str]) -> None:
        self.inner, self.said = inner, said
        self.slow = threading.Event()
        self.slow.set()

    def sync(self, force: bool) -> None:
        self.slow.wait(60)
        self.inner.sync(force)
        self.said.append("on the disk")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Counting(Lmdb):
    """Counts its changes, and is slow to make one where it is held."""

    def __init__(self, folder: Path, **how: Any) -> None:
        super().__init__(folder, **how)
        self.changes, self.held = 0, threading.Event()
        self.held.set()

    def change(self, lane: str = "", *, settle: bool = True) -> AbstractContextManager[Any]:
        self.changes += 1
        self.held.wait(10)
        return super().change(lane, settle=settle)


def all_at_once(together: Together, works: list[Callable[[], Any]]) -> list[Any]:
    """Runs them so that all but the first wait for a turn together; results, or errors."""

    def run(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except TacitError as failed:
            return failed

    backend: Any = together.backend
    backend.changes = 0
    backend.held.clear()
    with ThreadPoolExecutor(len(works)) as pool:
        first = pool.submit(run, works[0])
        while not backend.changes:
            time.sleep(0.001)
        rest = [pool.submit(run, work) for work in works[1:]]
        while len(together._waiting) < len(rest):
            time.sleep(0.001)
        backend.held.set()
        return [each.result() for each in (first, *rest)]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Online:
    monkeypatch.setattr(Merger, "pushed", lambda self, count: None)  # nor is it one that counts
    found = online(Counting(tmp_path / "store", sync=False), few(feed()))
    backend: Any = found._together.backend
    backend.changes = 0
    return found


def test_pushes_that_wait_are_one_change(store: Online) -> None:
    rows = [events(random.Random(i), 20, NOW) for i in range(6)]
    backend: Any = store._together.backend
    found = all_at_once(
        store._together,
        [lambda i=i: store.push("events", rows[i], now=NOW, batch=f"of {i}") for i in range(6)],
    )
    assert backend.changes == 2  # the first; all that came meanwhile
    assert [receipt.accepted for receipt in found] == [20] * 6
    assert len({receipt.position for receipt in found}) == 6
    check(store, few(feed()), [row for each in rows for row in each], NOW)
    again = all_at_once(
        store._together,
        [lambda i=i: store.push("events", rows[i], now=NOW, batch=f"of {i}") for i in range(6)],
    )
    assert [(receipt.accepted, receipt.duplicates) for receipt in again] == [(0, 20)] * 6


def test_one_batch_that_comes_twice_at_once_counts_once(store: Online) -> None:
    rows = events(random.Random(1), 20, NOW)
    other = events(random.Random(2), 5, NOW)
    found = all_at_once(
        store._together,
        [
            lambda: store.push("events", other, now=NOW),
            lambda: store.push("events", rows, now=NOW, batch="b"),
            lambda: store.push("events", rows, now=NOW, batch="b"),
        ],
    )
    assert sorted(receipt.accepted for receipt in found[1:]) == [0, 20]
    check(store, few(feed()), [*other, *rows], NOW)


def test_what_one_of_several_raises_is_its_own(store: Online) -> None:
    rows = [events(random.Random(i), 10, NOW) for i in range(3)]
    taken = Taken("s", [(i,) for i in range(10)], Mark((99,)), Mark((100,)))
    found = all_at_once(
        store._together,
        [
            lambda: store.push("events", rows[0], now=NOW),
            lambda: store.push("events", rows[1], now=NOW, taken=taken),
            lambda: store.push("events", rows[2], now=NOW),
        ],
    )
    assert isinstance(found[1], StoreError)
    assert found[1].code == "T726"
    assert [found[0].accepted, found[2].accepted] == [10, 10]
    check(store, few(feed()), rows[0] + rows[2], NOW)


def test_a_change_that_may_be_kept_is_made_once(tmp_path: Path) -> None:
    """Where the commit itself fails nobody knows whether it is kept: all are told, none is sent
    again."""
    ran: list[int] = []

    class Lost(Counting):
        def change(self, lane: str = "", *, settle: bool = True) -> AbstractContextManager[Any]:
            inner = super().change(lane, settle=settle)

            class Losing:
                def __enter__(self) -> Changing:
                    return inner.__enter__()

                def __exit__(self, *how: Any) -> None:
                    inner.__exit__(*how)
                    if len(ran) > 1:
                        raise StoreError("the reply was lost", code="T722", fix="send it again")

            return Losing()

    backend = Lost(tmp_path / "store", sync=False)
    together = Together(backend)
    found = all_at_once(
        together, [lambda i=i: together.run(lambda _: ran.append(i)) for i in range(4)]
    )
    assert found[0] is None
    assert [each.code for each in found[1:]] == ["T722"] * 3
    assert sorted(ran) == [0, 1, 2, 3]


def test_what_returned_is_on_the_disk(tmp_path: Path) -> None:
    """Each change returns after a wait for the disk that began when it was made; waits are shared."""
    backend = Lmdb(tmp_path / "store")
    said: list[str] = []
    inner, name = backend._opened
    env = Env(inner, said)
    backend._opened = env, name
    together = Together(backend)

    def push(number: int) -> int:
        key = b"k%d" % number
        together.run(lambda store: store.put([(key, b"v")]))
        with backend.read() as reading:
            assert reading.get([key]) == [b"v"]
        return len(said)

    assert push(0) == 1
    env.slow.clear()
    keys = [b"k%d" % number for number in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        pushes = [pool.submit(push, number) for number in range(1, 9)]
        there: list[bytes | None] = [None]
        while None in there:  # they are made, and may be read, while the first waits for the disk
            with backend.read() as reading:
                there = reading.get(keys)
        assert len(said) == 1
        assert not any(each.done() for each in pushes)
        env.slow.set()
        waited = [each.result() for each in pushes]
    assert 2 <= min(waited) <= max(waited) <= 3
    with backend.change() as store:
        store.put([(b"a", b"b")])
    assert len(said) == max(waited) + 1


def test_others_read_a_change_before_the_disk_has_all_of_it(tmp_path: Path) -> None:
    backend = Lmdb(tmp_path / "store")
    with backend.change(settle=False) as store:
        store.put([(b"a", b"b")])
    with backend.read() as reading:
        assert reading.get([b"a"]) == [b"b"]
        assert reading.moment() == backend.moment()
    assert backend._settled < backend._made
    backend.settle()
    assert backend._settled == backend._made
