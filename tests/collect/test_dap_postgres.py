"""The same state in PostgreSQL as in SQLite: the same sums, and a fleet that shares them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dap_world import World, make_task
from postgres import databases, install, server

from tacit.collect.dap.aggregation import Aggregation
from tacit.collect.dap.database import Database, open_database
from tacit.collect.dap.helper_store import HELPER_SCHEMA
from tacit.collect.dap.messages import BatchMode
from tacit.errors import CollectError, StoreError

VALUES = [i % 5 for i in range(60)]
TOTAL = [VALUES.count(i) for i in range(8)]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    programs = install()
    if programs is None:
        pytest.skip("PostgreSQL is not installed, and cannot be")
    with server(programs) as found:
        yield found


@pytest.fixture
def places(url: str) -> tuple[str, str]:
    return databases(url)


@pytest.mark.parametrize("mode", list(BatchMode))
def test_the_same_sums(tmp_path: Path, places: tuple[str, str], mode: BatchMode) -> None:
    task = make_task(mode=mode, min_batch_size=60)
    world = World(task, tmp_path, places=places, job_size=7)
    reports = world.upload(VALUES)
    assert len(world.client.upload(reports[:3])) == 3  # replays
    world.crash()
    collector = world.collector()
    query = collector.next_batch() if mode is BatchMode.LEADER_SELECTED else world.everything()
    found = collector.collect(query, patience=30)
    assert (found.value, found.reports) == (TOTAL, 60)
    if mode is BatchMode.TIME_INTERVAL:
        with pytest.raises(CollectError, match="T809"):
            collector.collect(collector.interval(world.now - 100, world.now + 100))
    world.stop()


def test_a_fleet_counts_nothing_twice(tmp_path: Path, places: tuple[str, str]) -> None:
    """Four leader processes' worth of threads, each with a database connection of its own, take
    the same queue; leases run out at once, so that they even take each other's jobs."""
    task = make_task(min_batch_size=60)
    world = World(task, tmp_path, places=places, job_size=5)
    world.upload(VALUES)
    failures: list[BaseException] = []

    def work(one: Aggregation) -> None:
        try:
            while one.work():
                pass
        except BaseException as error:
            failures.append(error)

    fleet = [
        Aggregation(
            world.leader, world.network, world.peer_token, one._randomness, job_size=5, lease=0
        )
        for one in [world.aggregation] * 4
    ]
    threads = [threading.Thread(target=work, args=(one,)) for one in fleet]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    found = world.collect(patience=30)
    assert (found.value, found.reports) == (TOTAL, 60)
    world.stop()


def insert(session: Any) -> None:
    session.run("INSERT INTO seen VALUES (?, ?, ?)", (bytes(32), bytes(16), bytes(8)))


def half(database: Database, task: bytes) -> None:
    with database.transaction(task) as session:
        insert(session)
        raise RuntimeError


def test_a_transaction_is_whole_or_nothing(
    url: str, places: tuple[str, str], tmp_path: Path
) -> None:
    for place in (places[0], str(tmp_path / "x.db")):
        database = open_database(place, HELPER_SCHEMA)
        task = bytes(32)

        with pytest.raises(RuntimeError):
            half(database, task)
        with database.transaction(task) as session:
            assert session.all("SELECT * FROM seen") == []
            insert(session)
        with pytest.raises((CollectError, StoreError)), database.transaction(task) as session:
            insert(session)  # a second one of the key
        with database.transaction(task) as session:  # and it goes on
            assert len(session.all("SELECT * FROM seen")) == 1
        database.close()


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CollectError, match="T826"):
        open_database(f"postgresql://tacit@/none?host={tmp_path}", HELPER_SCHEMA)
