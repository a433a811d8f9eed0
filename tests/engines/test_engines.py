"""The engines one by one: their edges, their errors, and what they leave behind."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tacit.aggregates.algebra import FAMILIES, REGISTRY, base_key
from tacit.engines.base import Engine
from tacit.engines.local import Local
from tacit.engines.reference import Reference
from tacit.engines.sqlite import SQLite, run, statements
from tacit.errors import DataError
from tacit.operations import Computed, View, Window
from tacit.values import Type

EVENTS = {
    "user": pa.array(["1", "11", "1", None, "1"]),
    "item": pa.array(["12", "2", "12", "12", "x"]),
    "at": pa.array([10, 10, 20, 10, None], pa.int64()),
    "price": pa.array([1.0, 2.0, float("nan"), 4.0, 5.0]),
}
KEYS = [*REGISTRY, *(example for _, _, example in FAMILIES.values())]
COUNT = Window("n", "count", None, None, None, 10)


def view(*windows: Window, keys: tuple[tuple[str, str], ...] = (("user", "user"),)) -> View:
    columns = (Computed("price", "price", Type.FLOAT), Computed("item", "item", Type.TEXT))
    return View("v", "events", keys, "at", (), columns, windows)


def engines(events: pa.Table) -> list[Engine]:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE events (user TEXT, item TEXT, at INTEGER, price REAL)")
    rows = list(zip(*(events[name].to_pylist() for name in EVENTS), strict=True))
    connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
    connection.commit()
    return [Reference(), Local(), SQLite(connection)]


NAMES = ["reference", "local", "sqlite"]


@pytest.fixture(params=range(3), ids=NAMES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return engines(pa.table(EVENTS))[request.param]


def ask(
    engine: Engine, found: View, users: list[str | None], at: list[int], **more: list[str]
) -> pa.Table:
    spine = pa.table({"user": pa.array(users, pa.string()), "at": pa.array(at, pa.int64()), **more})
    return engine.features([found], {"events": pa.table(EVENTS)}, spine)


def test_windows_are_half_open(engine: Engine) -> None:
    # The event at 10 is out at 10 itself, in from 11 to 20, and out again at 21.
    result = ask(engine, view(COUNT), ["11"] * 5, [10, 11, 20, 21, 0])
    assert result["n"].to_pylist() == [0, 1, 1, 0, 0]


@pytest.mark.parametrize("by", [None, "item"])
def test_a_hop_moves_the_start_back_to_a_multiple_of_it(engine: Engine, by: str | None) -> None:
    # (t - 10) // 4 * 4 is 8 for t of 18 to 21: the event at 10 is in up to 21, out at 22.
    hop = Window("n", "count", None, by, None, 10, 4)
    result = ask(engine, view(hop), ["11"] * 4, [10, 21, 22, 26])["n"].to_pylist()
    assert result == ([0, 1, 0, 0] if by is None else [[], [("2", 1)], [], []])
    hop = Window("n", "count", None, by, None, 10, 7)
    result = ask(engine, view(hop), ["11"] * 4, [20, 21, 23, 24])["n"].to_pylist()
    assert result == ([1, 1, 1, 0] if by is None else [[("2", 1)], [("2", 1)], [("2", 1)], []])


def test_a_hop_rounds_down_before_the_epoch_and_at_the_ends_of_time() -> None:
    times = [-(2**63), -(2**63) + 3, -25, -21, -20, -11, -1, 0, 2**63 - 2]
    events = pa.table(
        {
            "user": ["1"] * len(times),
            "item": ["x"] * len(times),
            "at": pa.array(times, pa.int64()),
            "price": [1.0] * len(times),
        }
    )
    at = [-(2**63) + 5, -(2**63) + 12, -10, -4, -1, 1, 9, 2**63 - 1]
    spine = pa.table({"user": ["1"] * len(at), "at": pa.array(at, pa.int64())})
    lengths = [(10, 3), (10, 10), (7, 7), (2**61, 2**60 + 1), (1, 1)]
    windows = [Window(f"n{w} {h}", "count", None, None, None, w, h) for w, h in lengths]
    found = {
        e.name: e.features([view(*windows)], {"events": events}, spine) for e in engines(events)
    }
    for window in windows:
        wanted = []
        for t in at:
            start = window.start(t)
            assert start is not None
            assert window.length is not None
            assert window.hop is not None
            assert start % window.hop == 0
            assert window.length <= t - start < window.length + window.hop
            wanted.append(sum(start <= time < t for time in times))
        for name, result in found.items():
            assert result[window.signal].to_pylist() == wanted, (name, window)


def test_keys_are_pairs_not_joined_text(engine: Engine) -> None:
    keys = (("user", "user"), ("item", "item"))
    ever = Window("n", "count", None, None, None, None)
    result = ask(
        engine, view(ever, keys=keys), ["1", "11", "1", "11"], [99] * 4, item=["12", "2", "2", "12"]
    )
    assert result["n"].to_pylist() == [2, 1, 0, 0]


def test_rows_out_are_rows_in_also_for_nulls_strangers_and_repeats(engine: Engine) -> None:
    total = Window("s", "sum", "price", None, None, None)
    by = Window("m", "sum", "price", "item", None, None)
    result = ask(engine, view(COUNT, total, by), [None, "nobody", "1", "1"], [30, 30, 30, 30])
    assert result["n"].to_pylist() == [0, 0, 1, 1]
    assert result["s"].to_pylist() == [None, None, 1.0, 1.0]
    assert result["m"].to_pylist() == [[], [], [("12", 1.0)], [("12", 1.0)]]
    assert result.column_names == ["user", "at", "n", "s", "m"]


def test_a_by_value_with_only_nulls_is_in_the_map(engine: Engine) -> None:
    for key, missing in (("last", None), ("sum", None), ("count", 0), ("distinct", 0)):
        window = Window("m", key, "price", "item", None, 5)
        assert ask(engine, view(window), ["1"], [25])["m"].to_pylist() == [[("12", missing)]]


def test_an_empty_source_and_an_empty_spine() -> None:
    empty = pa.table(EVENTS).slice(0, 0)
    for engine in engines(empty):
        keys = [
            key
            for key in KEYS
            if base_key(key) in engine.supports and REGISTRY[key].accepts(Type.FLOAT)
        ]
        windows = [Window(key, key, "price", None, None, 5) for key in keys]
        maps = [Window(f"by {key}", key, "price", "item", None, 5) for key in keys]
        for rows in (0, 2):
            spine = pa.table(
                {
                    "user": pa.array(["1"] * rows, pa.string()),
                    "at": pa.array([9] * rows, pa.int64()),
                }
            )
            result = engine.features([view(*windows, *maps)], {"events": empty}, spine)
            assert result.num_rows == rows, engine.name
            for key in keys:
                expected = REGISTRY[key].empty
                assert result[key].to_pylist() == [expected] * rows
                assert result[f"by {key}"].to_pylist() == [[]] * rows


def test_a_missing_table_or_column_is_a_data_error(engine: Engine) -> None:
    spine = pa.table({"user": ["1"], "at": pa.array([1], pa.int64())})
    with pytest.raises(DataError, match="no table 'events'"):
        engine.features([view(COUNT)], {}, spine)
    with pytest.raises(DataError, match="'at' is missing"):
        engine.features([view(COUNT)], {"events": pa.table(EVENTS).drop(["at"])}, spine)


def test_a_spine_of_other_types_is_a_data_error(engine: Engine) -> None:
    events = {"events": pa.table(EVENTS)}
    for columns, message in (
        ({"user": pa.array([1]), "at": pa.array([1])}, "'user' is int, not text"),
        ({"user": pa.array(["1"]), "at": pa.array(["1"])}, "'at' is text, not time"),
        ({"at": pa.array([1])}, "'user' is missing"),
    ):
        with pytest.raises(DataError, match=message):
            engine.features([view(COUNT)], events, pa.table(columns))


def test_timestamps_are_read_as_microseconds() -> None:
    events = pa.table({**EVENTS, "at": EVENTS["at"].cast(pa.timestamp("us", "UTC"))})
    spine = pa.table({"user": ["1"], "at": pa.array([11], pa.int64())})
    for engine in (Reference(), Local()):
        assert engine.features([view(COUNT)], {"events": events}, spine)["n"].to_pylist() == [1]


def test_narrow_and_dictionary_columns_are_read_as_their_kind() -> None:
    events = pa.table(
        {
            **EVENTS,
            "user": EVENTS["user"].dictionary_encode(),
            "at": EVENTS["at"].cast(pa.int32()),
            "price": EVENTS["price"].cast(pa.float32()),
        }
    )
    total = Window("s", "sum", "price", None, None, None)
    spine = pa.table(
        {"user": pa.array(["11"]).dictionary_encode(), "at": pa.array([11], pa.int64())}
    )
    for engine in (Reference(), Local()):
        assert engine.features([view(total)], {"events": events}, spine)["s"].to_pylist() == [2.0]


def test_sqlite_runs_from_text_alone_and_leaves_nothing_behind() -> None:
    engine = engines(pa.table(EVENTS))[2]
    assert isinstance(engine, SQLite)
    windows = [
        COUNT,
        Window("l", "last", "price", None, None, None),
        Window("m", "max", "price", "item", None, None),
    ]
    types = {"user": Type.TEXT, "item": Type.TEXT, "at": Type.TIME, "price": Type.FLOAT}
    text = json.loads(json.dumps(statements(view(*windows), types)))
    before = engine.connection.execute("SELECT count(*) FROM sqlite_temp_master").fetchone()
    assert run(engine.connection, text, [["1", "11"]], [11, 11]) == {
        "n": [1, 1],
        "l": [1.0, 2.0],
        "m": [[("12", 1.0)], [("2", 2.0)]],
    }
    assert engine.connection.execute("SELECT count(*) FROM sqlite_temp_master").fetchone() == before
    assert not engine.connection.in_transaction  # type: ignore[attr-defined]


def test_sqlite_keeps_the_callers_transaction() -> None:
    engine = engines(pa.table(EVENTS))[2]
    assert isinstance(engine, SQLite)
    engine.connection.execute("INSERT INTO events VALUES ('1', 'y', 5, 7.0)")
    assert ask(engine, view(COUNT), ["1"], [11])["n"].to_pylist() == [2]
    engine.connection.rollback()  # type: ignore[attr-defined]
    assert ask(engine, view(COUNT), ["1"], [11])["n"].to_pylist() == [1]


def test_what_an_engine_supports_is_data() -> None:
    for engine, name in zip(engines(pa.table(EVENTS)), NAMES, strict=True):
        assert engine.name == name
        assert engine.supports <= frozenset((*REGISTRY, *FAMILIES))
        assert name == "sqlite" or engine.supports >= frozenset(REGISTRY)


def test_local_reads_and_writes_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table(EVENTS), tmp_path / "events.parquet", row_group_size=2)
    spine = pa.table({"user": ["1", "nobody"], "at": pa.array([11, 11], pa.int64())})
    pq.write_table(spine, tmp_path / "spine.parquet")
    windows = [COUNT, Window("l", "last", "item", None, None, None)]
    target = tmp_path / "out.parquet"
    sources = {"events": tmp_path / "events.parquet"}
    assert Local().write([view(*windows)], sources, tmp_path / "spine.parquet", target) == 2
    found = pq.read_table(target)
    assert found["n"].to_pylist() == [1, 0]
    assert found["l"].to_pylist() == ["12", None]
    assert found["user"].to_pylist() == ["1", "nobody"]


def test_a_file_that_is_no_parquet_or_of_other_columns_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not")
    pq.write_table(pa.table({"user": ["1"]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"item": ["1"]}), tmp_path / "c.parquet")
    spine = pa.table({"user": ["1"], "at": pa.array([1], pa.int64())})
    for names in (["a"], ["none"], ["b", "c"], []):
        paths = [tmp_path / f"{name}.parquet" for name in names]
        with pytest.raises(DataError) as error:
            Local().features([view(COUNT)], {"events": paths}, spine)
        assert error.value.code == "T342"
