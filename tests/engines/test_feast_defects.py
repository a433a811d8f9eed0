"""The defects that were found in Feast 0.66, each as a test that Tacit passes.

Row ids that collide when keys are concatenated; spine rows that are dropped; tiles that cumulate
maxima and average standard deviations; late data that is missed (feast-dev/feast#4133); a
time-to-live that holds offline and not online (#6821); engines that disagree (#2960).
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from tacit.aggregates.algebra import REGISTRY
from tacit.engines.base import Engine
from tacit.engines.local import Local
from tacit.engines.reference import Reference
from tacit.engines.sqlite import SQLite
from tacit.operations import Computed, View, Window
from tacit.values import DAY, HOUR, Type

COLUMNS = (Computed("price", "price", Type.FLOAT), Computed("item", "item", Type.TEXT))
PAIR = (("user", "user"), ("item", "item"))
SPARK = pytest.param("spark", marks=pytest.mark.slow)


def view(*windows: Window, keys: tuple[tuple[str, str], ...] = (("user", "user"),)) -> View:
    return View("v", "events", keys, "at", (), COLUMNS, windows)


def events(rows: Sequence[tuple[str, str, int, float]]) -> pa.Table:
    names = {"user": pa.string(), "item": pa.string(), "at": pa.int64(), "price": pa.float64()}
    return pa.table(
        {n: pa.array([row[i] for row in rows], k) for i, (n, k) in enumerate(names.items())}
    )


def spine(rows: Sequence[tuple[str, str, int]]) -> pa.Table:
    return pa.table({n: [row[i] for row in rows] for i, n in enumerate(("user", "item", "at"))})


@pytest.fixture
def ask(request: pytest.FixtureRequest, engine_name: str) -> Any:
    """Asks one engine for the windows of a view."""

    def run(found: View, table: pa.Table, asked: pa.Table) -> pa.Table:
        engine: Engine
        if engine_name == "spark":
            engine = request.getfixturevalue("spark")
        elif engine_name == "sqlite":
            connection = sqlite3.connect(":memory:")
            connection.execute("CREATE TABLE events (user TEXT, item TEXT, at INTEGER, price REAL)")
            rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
            connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
            engine = SQLite(connection)
        else:
            engine = Local()
        return engine.features([found], {"events": table}, asked)

    return run


every_engine = pytest.mark.parametrize("engine_name", ["local", "sqlite", SPARK])


@every_engine
def test_keys_that_are_equal_when_joined_stay_apart(ask: Any, engine_name: str) -> None:
    """('1', '12') and ('11', '2') are the row id '112' to Feast: values leak between entities."""
    table = events([("1", "12", 10, 1.0), ("11", "2", 10, 100.0)])
    asked = spine([("1", "12", 20), ("11", "2", 20), ("1", "2", 20), ("111", "2", 20)])
    total = Window("total", "sum", "price", None, None, None)
    found = ask(view(total, keys=PAIR), table, asked)
    assert found["total"].to_pylist() == [1.0, 100.0, None, None]


@every_engine
def test_no_spine_row_is_dropped(ask: Any, engine_name: str) -> None:
    """Feast's dask store drops spine rows without a match, and one of two that are equal."""
    table = events([("1", "12", 10, 1.0)])
    asked = spine(
        [("1", "12", 20), ("1", "12", 20), ("2", "12", 20), ("1", "12", 5), ("1", "x", 20)]
    )
    count = Window("n", "count", None, None, None, None)
    found = ask(view(count, keys=PAIR), table, asked)
    assert found.select(["user", "item", "at"]).equals(asked)
    assert found["n"].to_pylist() == [1, 1, 0, 0, 0]


@every_engine
def test_a_maximum_leaves_its_window(ask: Any, engine_name: str) -> None:
    """Cumulated over tiles, as Feast does it, a maximum of an old day stays for ever."""
    table = events([("1", "x", 0, 100.0), ("1", "x", DAY, 5.0), ("1", "x", 2 * DAY, 7.0)])
    asked = spine([("1", "x", k * DAY + 1) for k in range(5)])
    found = ask(view(Window("m", "max", "price", None, None, DAY)), table, asked)
    assert found["m"].to_pylist() == [100.0, 5.0, 7.0, None, None]


@every_engine
def test_a_deviation_is_of_all_values_and_no_mean_of_deviations(ask: Any, engine_name: str) -> None:
    """Two tiles, constant each: their deviations are 0, the window's is not."""
    table = events(
        [("1", "x", 0, 1.0), ("1", "x", 1, 1.0), ("1", "x", HOUR, 3.0), ("1", "x", HOUR + 1, 3.0)]
    )
    found = ask(
        view(Window("s", "stddev", "price", None, None, None)), table, spine([("1", "x", DAY)])
    )
    assert found["s"].to_pylist() == pytest.approx([1.0], abs=1e-12)


@pytest.mark.parametrize("key", ["max", "stddev", "mean", "distinct"])
def test_states_of_tiles_merge_to_the_state_of_all(key: str) -> None:
    """What is stored by tile and merged later is what was there, for those two and for means."""
    aggregate = REGISTRY[key]
    draw = random.Random(7)
    rows = [(float(draw.randint(0, 9)), at) for at in range(100)]
    merged = aggregate.init()
    for start in range(0, 100, 9):
        merged = aggregate.merge(merged, aggregate.fold(rows[start : start + 9]))
    assert aggregate.finish(merged) == aggregate.finish(aggregate.fold(rows))


@every_engine
def test_late_data_counts_where_it_happened(ask: Any, engine_name: str) -> None:
    """feast#4133: an event that arrives after later ones is in every window that covers its time."""
    rows = [("1", "x", at, 1.0) for at in range(0, 100, 10)]
    late = [*rows[5:], *rows[:5]]
    window = Window("n", "sum", "price", None, None, 50)
    asked = spine([("1", "x", at) for at in range(0, 160, 7)])
    found = [ask(view(window), events(order), asked) for order in (rows, late)]
    assert found[0].equals(found[1])
    assert found[0]["n"].to_pylist()[:4] == [None, 1.0, 2.0, 3.0]


@every_engine
def test_nothing_older_than_the_window_is_ever_served(ask: Any, engine_name: str) -> None:
    """feast#6821, on what there is of it: a window is a time-to-live, and also `last` keeps to it.

    Feast applies the time-to-live to training sets and not to online reads. A device reads through
    the same statements as these; a server that reads online must pass this too, when there is one.
    """
    table = events([("1", "x", 100, 1.0)])
    asked = spine([("1", "x", at) for at in (100, 101, 150, 151, 10**6)])
    for key in ("last", "max", "sum"):
        found = ask(view(Window("v", key, "price", None, None, 50)), table, asked)
        assert found["v"].to_pylist() == [None, 1.0, 1.0, None, None], key


@every_engine
def test_engines_agree_on_ties_and_edges(ask: Any, engine_name: str) -> None:
    """feast#2960: which of two rows of one moment is the last depends on Feast's store."""
    table = events(
        [("1", "b", 10, 2.0), ("1", "a", 10, 3.0), ("1", "c", 10, 1.0), ("1", "z", 20, 0.0)]
    )
    windows = [
        Window("last", "last", "item", None, None, None),
        Window("first", "first", "item", None, None, None),
        Window("top", "top_k(2)", "item", None, None, None),
        Window("recent", "last_k(2)", "price", None, None, 10),
    ]
    asked = spine([("1", "x", 20), ("1", "x", 21), ("1", "x", 10), ("1", "x", 11)])
    found = ask(view(*windows), table, asked)
    assert found.equals(Reference().features([view(*windows)], {"events": table}, asked))
    assert found["last"].to_pylist() == ["c", "z", None, "c"]
    assert found["recent"].to_pylist() == [[3.0, 2.0], [0.0], None, [3.0, 2.0]]
