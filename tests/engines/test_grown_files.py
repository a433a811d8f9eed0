"""Files of a table that grew, under terms of retention: every engine reads what one table holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tacit.engines.base import Computing
from tacit.engines.local import Local
from tacit.engines.scan import Files
from tacit.engines.spark import Spark
from tacit.errors import DataError
from tacit.operations import Computed, Derived, Join, View, Window
from tacit.values import Type

SCHEMA = pa.schema(
    [
        ("user", pa.string()), ("item", pa.string()), ("price", pa.float64()), ("at", pa.int64()),
        ("vector", pa.list_(pa.float32())), ("never", pa.list_(pa.float32())),
    ]
)  # fmt: skip
CONTENT = pa.schema([("item", pa.string()), ("genre", pa.string()), ("_arrived", pa.int64())])
VIEW = View(
    "v", "events", (("user", "user"),), "at", (Join("films", "item", "item"),),
    (Computed("price", "price", Type.FLOAT), Computed("item", "item", Type.TEXT),
     Computed("genre", "films.genre", Type.TEXT)),
    (Window("n", "count", None, None, None, None), Window("sum", "sum", "price", None, None, 15),
     Window("items", "count", None, "item", None, None),
     Window("genres", "count", None, "genre", None, None)),
)  # fmt: skip
SPINE = pa.table({"user": ["a", "b", None] * 10, "at": pa.array(range(30), pa.int64())})
FORMULA = Derived("each", "sum / n", Type.FLOAT, (("sum", Type.FLOAT), ("n", Type.INT)))


@pytest.fixture
def grown(tmp_path: Path) -> dict[str, Files]:
    """Events: one file without prices, with moments as timestamps; one with a column of old. Items
    are not seen of before 8, rows not of before 5. Of content, film x has expired."""
    folder = tmp_path / "a [b]" / "bucket=3"
    folder.mkdir(parents=True)
    at = pa.array(range(20), pa.int64())
    user, item = pa.array(["a", "b", "a", None] * 5), pa.array(["x", "y", "z", "y", None] * 4)
    moments = pa.table({"who": user, "item": item, "at": at.cast(pa.timestamp("us", "UTC"))})
    price = pa.array([float(n) for n in range(20)])
    later = pa.table({"price": price, "who": user, "item": item, "at": at, "old": user})
    later = later.append_column("vector", pa.array([[1.0, 2.0]] * 20, pa.list_(pa.float32())))
    pq.write_table(moments.slice(0, 10), folder / "1.parquet", row_group_size=4)
    pq.write_table(
        later.slice(10).set_column(3, "at", moments["at"].slice(10)), folder / "2.parquet"
    )
    films = pa.table({"item": ["x", "y", "z"], "genre": ["p", "q", None], "_arrived": at[:3]})
    pq.write_table(films, folder / "films.parquet")
    paths = [folder / "1.parquet", folder / "2.parquet"]
    return {
        "events": Files(paths, SCHEMA, "at", {"item": 8, "at": 5}, {"user": "who"}),
        "films": Files([folder / "films.parquet"], CONTENT, "_arrived", {"_arrived": 1}),
    }


def tables() -> dict[str, pa.Table]:
    """The same in memory, by hand."""
    rows = [
        {
            "user": ["a", "b", "a", None][n % 4],
            "item": ["x", "y", "z", "y", None][n % 5] if n >= 8 else None,
            "price": float(n) if n >= 10 else None,
            "at": n,
        }
        for n in range(5, 20)
    ]
    films = [{"item": "y", "genre": "q", "_arrived": 1}, {"item": "z", "_arrived": 2}]
    return {
        "events": pa.Table.from_pylist(rows, SCHEMA),
        "films": pa.Table.from_pylist(films, CONTENT),
    }


@pytest.mark.parametrize("engine_name", ["local", pytest.param("spark", marks=pytest.mark.slow)])
def test_files_give_what_their_rows_give(
    engine_name: str, grown: dict[str, Files], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    engine: Computing = Local() if engine_name == "local" else request.getfixturevalue("spark")
    expected = Local().features([VIEW], tables(), SPINE)
    assert expected["genres"].to_pylist()[27] == [("q", 3)], "what expired is not joined"
    assert engine.features([VIEW], grown, SPINE).equals(expected)
    asked = ["each", "items", "genres", "sum"]
    derived = Local().derive(expected, [FORMULA]).select(["user", "at", *asked])
    target = tmp_path / "out"
    pq.write_table(SPINE, tmp_path / "spine.parquet")
    for spine in (SPINE, [tmp_path / "spine.parquet"]):
        assert engine.write([VIEW], grown, spine, target, [FORMULA], asked) == SPINE.num_rows
        parts = sorted(target.glob("*.parquet")) if target.is_dir() else [target]
        found = pa.concat_tables(pq.read_table(part, partitioning=None) for part in parts)
        assert found.column_names == derived.column_names
        assert found.to_pylist() == derived.to_pylist()
    none = Files([], SCHEMA, "at", {})
    empty = engine.features([VIEW], {**grown, "events": none}, SPINE)
    assert empty.equals(Local().features([VIEW], {**grown, "events": SCHEMA.empty_table()}, SPINE))


@pytest.mark.parametrize("engine_name", ["local", pytest.param("spark", marks=pytest.mark.slow)])
def test_rows_of_nobody_and_rows_that_came_later_are_none(
    engine_name: str, grown: dict[str, Files], request: pytest.FixtureRequest
) -> None:
    engine: Computing = Local() if engine_name == "local" else request.getfixturevalue("spark")
    rows = tables()["events"]
    there = [n % 5 != 4 and n <= 14 for n in range(5, 20)]
    expected = Local().features([VIEW], {**tables(), "events": rows.filter(pa.array(there))}, SPINE)
    files = replace(grown["events"], required=("item",), arrived=("at", 14))
    assert engine.features([VIEW], {**grown, "events": files}, SPINE).equals(expected)
    unknown = replace(files, arrived=("never", 14), schema=SCHEMA)  # no file has the column
    none = engine.features([VIEW], {**grown, "events": unknown}, SPINE)
    assert set(none["n"].to_pylist()) == {0}


def test_damaged_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "1.parquet"
    texts = pa.array([b"\xff\xfe"] * 9).cast(pa.binary()).view(pa.string())
    for user, dictionary in ((texts, False), (texts, True)):
        whole = pa.table({"user": user, "at": pa.array(range(9), pa.int64())})
        pq.write_table(whole, path, use_dictionary=dictionary)
        files = Files([path], SCHEMA, "at", {})
        with pytest.raises(DataError) as refused:
            Local().features([VIEW], {**tables(), "events": files}, SPINE)
        assert refused.value.code == "T342"
    pq.write_table(tables()["events"], path, compression="none", use_dictionary=False)
    damaged = bytearray(path.read_bytes())
    damaged[4:400] = b"\xff" * 396
    path.write_bytes(damaged)
    with pytest.raises(DataError) as refused:
        Local().features([VIEW], {**tables(), "events": files}, SPINE)
    assert refused.value.code == "T342"


@pytest.mark.slow
def test_spark_passes_over_no_file(spark: Spark, tmp_path: Path) -> None:
    path = tmp_path / "_1.parquet"
    pq.write_table(tables()["events"], path)
    with pytest.raises(DataError, match="passes over"):
        spark.features([VIEW], {**tables(), "events": Files([path], SCHEMA, "at", {})}, SPINE)
