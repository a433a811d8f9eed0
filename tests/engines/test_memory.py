"""A run within its budget: more passes, columns in files, and the same result to the last bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tacit.aggregates import parts
from tacit.aggregates.memory import Memory
from tacit.engines import local
from tacit.engines.local import Local
from tacit.engines.memory import Files, Limited, default_budget, memory_for
from tacit.errors import EngineError
from tacit.operations import Computed, View, Window
from tacit.values import Type

COLUMNS = (
    Computed("price", "price", Type.FLOAT),
    Computed("item", "item", Type.TEXT),
    Computed("dear", "price > 10.0", Type.BOOL),
)
WINDOWS = tuple(
    Window(f"{key} {value} {by} {where} {length}", key, value, by, where, length, hop)
    for key, value in (("count", None), ("sum", "price"), ("max", "item"), ("last_k(2)", "item"))
    for by, where in ((None, None), (None, "dear"), ("item", None))
    for length, hop in ((50, None), (400, 30), (None, None))
)
KEYS = ((("user", "user"),), (("user", "user"), ("item", "item")))
VIEWS = [
    View(
        f"v{i}",
        "events",
        keys,
        "at",
        (),
        COLUMNS,
        tuple(replace(window, signal=f"{i} {window.signal}") for window in WINDOWS),
    )
    for i, keys in enumerate(KEYS)
]


def tables(rows: int, asked: int) -> tuple[pa.Table, pa.Table]:
    r = np.random.default_rng(3)
    user = np.minimum(r.geometric(0.02, rows), 300).astype(str)
    missing = r.random(rows) < 0.05
    events = {
        "user": pa.array(user, mask=missing),
        "item": pa.array(r.integers(0, 20, rows).astype(str), mask=r.random(rows) < 0.05),
        "at": pa.array(r.integers(0, 1000, rows), mask=r.random(rows) < 0.02),
        "price": pa.array(r.gamma(2.0, 10.0, rows), mask=r.random(rows) < 0.1),
    }
    spine = {
        "user": r.choice([*user[:200], "stranger"], asked),
        "item": r.integers(0, 21, asked).astype(str),
        "at": r.integers(-5, 1100, asked),
    }
    return pa.table(events), pa.table(spine)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Blocks of a few rows; counts passes and arrays in files."""
    counted = {"passes": 0, "files": 0, "released": 0}
    scattered, empty, release = parts._Scattered.__init__, Files.empty, Files.release

    def count_pass(self: object, *args: object) -> None:
        counted["passes"] += 1
        scattered(self, *args)  # type: ignore[arg-type]

    def count_file(self: Files, size: int, dtype: object) -> object:
        counted["files"] += 1
        return empty(self, size, dtype)

    def count_release(self: Files) -> None:
        counted["released"] += 1
        release(self)

    monkeypatch.setattr(parts._Scattered, "__init__", count_pass)
    monkeypatch.setattr(Files, "empty", count_file)
    monkeypatch.setattr(Files, "release", count_release)
    monkeypatch.setattr(parts, "BLOCK", 100)
    monkeypatch.setattr(parts, "_RELEASE", 3)
    monkeypatch.setattr(parts, "PART", 100)
    return counted


def test_a_small_budget_changes_the_passes_and_nothing_else(
    tmp_path: Path, small: dict[str, int]
) -> None:
    events, spine = tables(6000, 300)
    path = tmp_path / "events.parquet"
    pq.write_table(events, path, row_group_size=700)
    found = {}
    for budget in (None, 600_000, 1):
        small.update(dict.fromkeys(small, 0))
        found[budget] = Local(budget).features(VIEWS, {"events": path}, spine)
        passes = small["passes"] - len(VIEWS)  # each view's spine is one
        if budget is None:
            assert passes == len(VIEWS)
            assert not small["files"]
        elif budget == 1:
            assert passes > 20
            assert small["files"] >= 4
            assert small["released"] > 10
        else:
            assert len(VIEWS) < passes < 20
            assert not small["files"]
    assert found[1].equals(found[None])
    assert found[600_000].equals(found[None])


def test_the_budget_is_shared_by_columns_and_sorting() -> None:
    roomy = memory_for(columns=800, others=100, budget=2000)
    assert isinstance(roomy, Limited)
    assert roomy.room == 1100
    for columns, room in ((1701, 1900), (10**9, 1900)):
        spilled = memory_for(columns, others=100, budget=2000)
        assert isinstance(spilled, Files)
        assert spilled.room == room
    assert memory_for(10, others=5000, budget=2000).room == 240  # an eighth at least
    assert Memory().room is None
    assert default_budget() <= 4 << 30


def test_an_array_in_a_file_keeps_what_was_written_when_it_is_released() -> None:
    memory = Files(0)
    array = memory.empty(100_000, np.int64)
    array[:] = np.arange(100_000)
    memory.release()
    assert array.sum() == 4_999_950_000
    assert memory.empty(0, np.int64).size == 0


def test_a_full_disk_is_told_before_anything_is_written() -> None:
    with pytest.raises(EngineError) as refused:
        Files(0).empty(1 << 59, np.int64)
    assert refused.value.code == "T345"


def test_a_source_is_measured_by_its_columns() -> None:
    events, _ = tables(1000, 1)
    reading = local._Reading("events", "at", VIEWS, local.scans({"events": events}))
    # user 4, item 4, at 8, price 8, dear 1, a byte for nulls each, and a key number
    assert reading.size == 1000 * (4 + 4 + 8 + 8 + 1 + 5 + 4)
