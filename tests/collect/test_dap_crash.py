"""Wherever a process ends, it goes on from there: nothing is lost, and nothing counts twice."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dap_world import World, make_task

from tacit.collect.dap.database import Database, Session
from tacit.collect.dap.messages import BatchMode, Report
from tacit.collect.dap.peer import Response
from tacit.errors import CollectError

VALUES = [i % 5 for i in range(24)]
TOTAL = [VALUES.count(i) for i in range(8)]


class Crash(Exception):  # noqa: N818 - what it is
    """The process has ended."""


class Fuse:
    """Ends the process at the n-th transaction of all: before its commit, or right after it."""

    def __init__(self, n: int, *, after: bool) -> None:
        self.left, self.after = n, after

    @contextmanager
    def transaction(self, database: Database, scope: bytes) -> Iterator[Session]:
        self.left -= 1
        blown = self.left == 0
        with database.transaction(scope) as session:
            yield session
            if blown and not self.after:
                raise Crash
        if blown:
            raise Crash


class Fused:
    exclusive = True

    def __init__(self, database: Database, fuse: Fuse) -> None:
        self.database, self.fuse = database, fuse

    def transaction(self, scope: bytes, *, durable: bool = True) -> Any:
        return self.fuse.transaction(self.database, scope)

    def close(self) -> None:
        self.database.close()


def arm(world: World, fuse: Fuse) -> None:
    world.leader.database = Fused(world.leader.database, fuse)  # type: ignore[assignment]
    world.writer._database = world.leader.database
    world.helper._database = Fused(world.helper._database, fuse)  # type: ignore[assignment]


def survive(world: World, work: Callable[[], Any]) -> Any:
    """The result of something that clients and collectors try again until it is done."""
    for _ in range(60):
        try:
            return work()
        except (Crash, CollectError) as error:
            if isinstance(error, CollectError) and error.code not in ("T820", "T823"):
                raise
            world.crash()
    raise AssertionError("it never ends")


def drive(world: World) -> None:
    """The leader works until nothing is left, whatever ends meanwhile."""
    for _ in range(400):
        time.sleep(0.001)
        moved = survive(world, lambda: (world.aggregation.work(), world.collecting.work()))
        if not any(moved) and not backlog(world):
            return
    raise AssertionError("it never ends")


def backlog(world: World) -> int:
    with world.databases[0].transaction(world.task.id) as session:
        return int(session.all("SELECT count(*) FROM pending")[0][0])


SOME = [(BatchMode.TIME_INTERVAL, True, 7)]
EVERY = [
    pytest.param(mode, after, 1, marks=pytest.mark.slow)
    for mode in BatchMode
    for after in (False, True)
]


@pytest.mark.parametrize(("mode", "after", "step"), SOME + EVERY)
def test_a_crash_at_any_commit_changes_nothing(
    tmp_path: Path, mode: BatchMode, after: bool, step: int
) -> None:
    """The fuse is set to each transaction of a whole run in turn, until one run needs no more."""
    blown, n = 0, 0
    task = make_task(mode=mode, min_batch_size=24)
    reference = World(task, tmp_path)
    reports = reference.client.reports(VALUES)
    fuse = Fuse(1, after=after)
    while fuse.left <= 0 or not blown:
        n += step
        (tmp_path / f"{n}").mkdir()
        fuse = Fuse(n, after=after)
        world = World(task, tmp_path / f"{n}", job_size=9, like=reference)
        found = run(world, reports, fuse)
        assert (found.value, found.reports) == (TOTAL, 24), n
        world.stop()
        blown += fuse.left <= 0
    reference.stop()
    assert blown > 20 // step  # every commit of uploads, jobs, answers and collections was one


def run(world: World, reports: Sequence[Report], fuse: Fuse) -> Any:
    """Everything from upload to sum, with a process that ends somewhere on the way."""
    arm(world, fuse)
    for part in (reports[:11], reports[11:]):
        statuses = survive(world, functools.partial(world.client.upload, part))
        assert {status.error.name for status in statuses} <= {"REPORT_REPLAYED"}
    collector, query = world.collector(), world.everything()
    if world.task.mode is BatchMode.LEADER_SELECTED:
        query = collector.next_batch()
    drive(world)
    return collector.open(survive(world, lambda: collect(world, collector, query)))


def collect(world: World, collector: Any, query: Any) -> Any:
    collector._sleep = lambda _: survive(world, world.drive)
    return collector.fetch(query, patience=20)


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_what_gets_lost_on_the_way_is_sent_again(tmp_path: Path, lost: str) -> None:
    world = World(make_task(min_batch_size=24), tmp_path, job_size=5)
    failures = {"left": 6}

    def tap(method: str, url: str, body: bytes, response: Response) -> Response:
        if "helper" in url and failures["left"]:
            failures["left"] -= 1
            raise CollectError("the answer is lost", code="T820", fix="again")
        return response

    world.upload(VALUES)
    if lost == "answer":
        world.network.taps.append(tap)
    else:
        world.network.down.add("helper.test")
    for _ in range(6):
        with pytest.raises(CollectError, match="T820"):
            world.aggregation.work()
        world.crash()
    world.network.down.clear()
    drive(world)
    assert world.collect().value == TOTAL
    world.stop()
