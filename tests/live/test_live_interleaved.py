"""Whatever three processes do to one store, in whatever order: what is read is the reference's."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from live_cases import NOW, check, events, feed, few, online, small, table

from tacit.live import deltas, merging
from tacit.live.baseline import begin
from tacit.live.erasing import erase
from tacit.live.feed import Feed
from tacit.live.merging import Merger
from tacit.live.online import Online
from tacit.store.online.base import Changing
from tacit.values import MINUTE

WRITERS = 2
WHO = st.integers(0, WRITERS - 1)
DOES = st.one_of(
    st.tuples(st.just("push"), WHO, st.integers(1, 8)),
    st.tuples(st.just("push"), WHO, st.integers(9, 20)),  # no delta
    st.tuples(st.just("undone"), WHO, st.integers(1, 8)),
    st.tuples(st.just("step"), WHO, st.integers(0, 2)),
    st.tuples(st.just("step"), WHO, st.integers(0, 2)),
    st.tuples(st.just("sweep"), WHO, st.just(0)),
    st.tuples(st.just("erase"), WHO, st.integers(0, 2)),
    st.tuples(st.just("rebase"), WHO, st.integers(0, 8)),
    st.tuples(st.just("die"), WHO, st.just(0)),
    st.tuples(st.just("read"), st.just(0), st.just(0)),
    st.tuples(st.just("wait"), st.just(0), st.integers(1, 400)),  # minutes
)


class Several:
    """Stores that two writers and a reader have open, and the rows that they hold."""

    def __init__(self, folder: Path, endless: bool, seed: int) -> None:
        self.folder, self.endless, self.rng = folder, endless, random.Random(seed)
        self.feed: Feed = few(feed(endless=endless))
        self.writers = [online(folder, self.feed) for _ in range(WRITERS)]
        self.reader = online(folder, self.feed)
        self.rows: list[dict[str, Any]] = []
        self.now = NOW

    def do(self, what: str, who: int, much: int) -> None:
        getattr(self, what)(self.writers[who], who, much)

    def push(self, store: Online, who: int, much: int) -> None:
        self.now += 1
        rows = events(self.rng, much, self.now)
        self.rows += rows
        assert store.push("events", rows, now=self.now).accepted == much

    def undone(self, store: Online, who: int, much: int) -> None:
        """A push and a step of one change that fails: nothing of it is kept."""
        intake, source = store.intake, store.source("events")
        given = intake.given(
            source, events(self.rng, much, self.now),
            now=self.now, ids=None, batch=None, taken=None, rejected=(),
        )  # fmt: skip

        def fail(change: Changing) -> None:
            intake.take(change, given)
            for segments in source.segments:
                store.merger._some(change, "events", segments, merging._KEYS)
            raise KeyError

        with pytest.raises(KeyError):
            store._together.run(fail)

    def step(self, store: Online, who: int, much: int) -> None:
        store.merger._step("events", store.source("events").segments[much])

    def sweep(self, store: Online, who: int, much: int) -> None:
        store.sweep(self.now)

    def erase(self, store: Online, who: int, much: int) -> None:
        if not self.endless:  # what was folded is not taken out
            whom = ("ann", "bob", "é")[much]
            erase(store, "person", [whom], compact=self.rng.random() < 0.2)
            self.rows = [row for row in self.rows if row["user"] != whom]

    def rebase(self, store: Online, who: int, much: int) -> None:
        built = begin(store, "events")
        if self.rows:
            built.add(table(self.rows), now=self.now)
        if much:
            self.push(self.writers[1 - who], who, much)
        if self.rng.random() < 0.7:
            built.finish(now=self.now)

    def die(self, store: Online, who: int, much: int) -> None:
        self.writers[who] = online(self.folder, self.feed)

    def wait(self, store: Online, who: int, much: int) -> None:
        self.now += much * MINUTE

    def read(self, store: Online, who: int, much: int) -> None:
        if self.rows:
            check(self.reader, self.feed, self.rows, self.now)


@pytest.fixture(scope="module", autouse=True)
def little() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        small(patch)
        patch.setattr(Merger, "pushed", lambda self, count: None)
        patch.setattr(deltas, "MOST", 8)
        patch.setattr(merging, "_KEYS", 3)
        patch.setattr("tacit.live.intake.TOO_MANY", 6)
        yield


@given(st.booleans(), st.integers(0, 2**32), st.lists(DOES, min_size=10, max_size=20))
@settings(
    max_examples=4, deadline=None, database=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
def test_whatever_is_done_reads_are_the_reference_s(
    endless: bool, seed: int, several: list[tuple[str, int, int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stores = Several(Path(folder), endless, seed)
        for what, who, much in several:
            stores.do(what, who, much)
        stores.read(stores.reader, 0, 0)
        for store in stores.writers:
            store.merger.run()
        stores.read(stores.reader, 0, 0)
