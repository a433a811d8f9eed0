"""An ingestion that is killed, at any moment: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lake_cases import LAYOUT, Lake, everything, ingest, lake, numbers, rows, write

SIZE = 400
NURSERY = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from lake_cases import LAYOUT, ingest, lake
import pyiceberg.catalog.sql, tacit.store.lake.inputs
tacit.store.lake.inputs.ROWS = 97  # several batches to a file
while line := sys.stdin.readline():
    child = os.fork()
    if child == 0:
        there, what = lake(Path({folder!r})), line.strip()
        if what.startswith("delete "):
            there.delete_subject(LAYOUT, "person", what.removeprefix("delete "))
        elif what == "compact":
            there.compact(LAYOUT)
        else:
            ingest(there, Path(what))
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()  # until then its id is nobody else's
    _, status = os.waitpid(child, 0)
    print(status, flush=True)
"""


class Nursery:
    """A process that has imported everything, and never used it: its children begin at once."""

    def __init__(self, folder: Path) -> None:
        code = NURSERY.format(tests=str(Path(__file__).parent), folder=str(folder))
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begin(self, what: Path | str) -> int:
        """Begins the ingestion of a file, or something else, by a process of its own; its id."""
        assert self.process.stdin is not None
        print(what, file=self.process.stdin, flush=True)
        return int(self._line())

    def ended(self) -> int:
        """How it ended, when it has."""
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        return os.waitstatus_to_exitcode(int(self._line()))

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=60)


def expect_each_once(there: Lake, files: int) -> None:
    found = numbers(there)
    assert sum(found.values()) == files * SIZE
    assert set(found.values()) == {1}


def kill_often(folder: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    there = lake(folder)
    states = []
    with Nursery(folder) as nursery:
        whole = 0.0
        for number in range(2):
            began = time.perf_counter()
            nursery.begin(write(folder, rows(SIZE, start=number * SIZE), f"{number}.parquet"))
            assert nursery.ended() == 0
            whole = time.perf_counter() - began
        expect_each_once(there, 2)
        for number in range(2, 2 + kills):
            file = write(folder, rows(SIZE, start=number * SIZE), f"{number}.parquet")
            child = nursery.begin(file)
            time.sleep(chance.random() * whole * 1.3)
            os.kill(child, signal.SIGKILL)
            nursery.ended()
            before = sum(numbers(there).values())
            assert before in (number * SIZE, (number + 1) * SIZE), "there whole, or not at all"
            done = ingest(there, file)
            assert done.again == (before == (number + 1) * SIZE)
            assert done.accepted == SIZE
            states.append(done.again)
            expect_each_once(there, number + 1)
            if number % 10 == 0:
                there.compact(LAYOUT)
                there.expire(LAYOUT, 2**62)
            receipts = there.control.read("receipt", f"lake:orders:{done.id}")
            assert [receipt.body["accepted"] for receipt in receipts] == [SIZE]
    there.purge(LAYOUT)
    expect_each_once(there, 2 + kills)
    table = there.table(LAYOUT)
    assert table is not None
    assert set((folder / "lake").rglob("*.parquet")) == set(there.paths(table) or ())
    if kills > 50:
        assert set(states) == {False, True}, "some were killed before their commit, some after"


def kill_housekeeping(folder: Path, kills: int, seed: int) -> None:
    """Deletions and compactions that are killed: nobody else's row is lost or there twice, and the
    next deletion of the same person leaves no byte of them."""
    chance = random.Random(seed)
    there = lake(folder)
    for number in range(3):
        ingest(there, rows(SIZE, start=number * SIZE))
    expected = 3 * SIZE
    with Nursery(folder) as nursery:
        began = time.perf_counter()
        nursery.begin("delete nobody")
        assert nursery.ended() == 0
        whole = time.perf_counter() - began
        for kill in range(kills):
            who = f"person-{kill % 40}"
            child = nursery.begin(f"delete {who}" if kill % 3 else "compact")
            time.sleep(chance.random() * whole * 2)
            os.kill(child, signal.SIGKILL)
            nursery.ended()
            found = numbers(there)
            assert set(found.values()) == {1}
            assert sum(found.values()) in (expected, expected - 3 * SIZE // 40)
            there.delete_subject(LAYOUT, "person", who)
            expected -= 3 * SIZE // 40
            assert sum(numbers(there).values()) == expected
            assert f"'{who}'".encode() not in everything(there.folder)
            table = there.table(LAYOUT)
            assert table is not None
            assert set((folder / "lake").rglob("*.parquet")) == set(there.paths(table) or ())


@pytest.mark.slow
def test_killed_housekeeping(tmp_path: Path) -> None:
    kill_housekeeping(tmp_path, 2, seed=3)


@pytest.mark.slow
def test_housekeeping_killed_often(tmp_path: Path) -> None:
    kill_housekeeping(tmp_path, 39, seed=4)


@pytest.mark.slow
def test_a_few_kills(tmp_path: Path) -> None:
    kill_often(tmp_path, 4, seed=1)


@pytest.mark.slow
def test_a_hundred_kills(tmp_path: Path) -> None:
    kill_often(tmp_path, 100, seed=2)
