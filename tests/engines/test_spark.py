"""Spark as users meet it: DataFrames, Parquet, moments, odd names, files in order, errors."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import small_project as small
from tacit.engines.local import Local
from tacit.engines.spark import Spark
from tacit.errors import DataError, EngineError
from tacit.operations import Computed, View, Window
from tacit.values import Type

pytestmark = pytest.mark.slow

WINDOWS = (
    Window("n", "count", None, None, None, 10),
    Window("last", "last", "item", None, None, None),
    Window("by", "sum", "price", "item", None, None),
)
COLUMNS = (Computed("price", "price", Type.FLOAT), Computed("item", "item", Type.TEXT))
VIEW = View("v", "events", (("user", "user"),), "at", (), COLUMNS, WINDOWS)
EVENTS = pa.table(
    {
        "user": ["a", "b", "a", None, "c"] * 4,
        "item": ["x", "y", "z", "x", None] * 4,
        "at": pa.array(range(20), pa.int64()),
        "price": [float(n) for n in range(20)],
    }
)
SPINE = pa.table(
    {
        "note": [f"row {n}" for n in range(40)],
        "user": ["a", "b", "nobody", None] * 10,
        "at": pa.array(range(40), pa.int64()),
    }
)


def test_parquet_in_and_out_in_order(spark: Spark, tmp_path: Path) -> None:
    pq.write_table(EVENTS.slice(0, 9), tmp_path / "a.parquet")
    pq.write_table(EVENTS.slice(9), tmp_path / "b.parquet", row_group_size=3)
    (tmp_path / "spine").mkdir()
    pq.write_table(SPINE.slice(0, 5), tmp_path / "spine" / "1.parquet")
    pq.write_table(SPINE.slice(5), tmp_path / "spine" / "2.parquet", row_group_size=7)
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    expected = Local().features([VIEW], {"events": EVENTS}, SPINE)
    target = tmp_path / "out"
    for source in (files, EVENTS):
        sources = {"events": source}
        assert spark.write([VIEW], sources, tmp_path / "spine", target) == 40
        parts = sorted(target.glob("*.parquet"))
        found = pa.concat_tables(pq.read_table(part) for part in parts)
        assert found.to_pylist() == expected.to_pylist()


def test_data_frames_their_moments_and_their_odd_names(spark: Spark) -> None:
    """Names that differ in case only, with dots and quotes; moments with a zone and without."""
    session = spark.session
    rows = [("u", "x", 1.5, datetime(1970, 1, 1, 0, 0, 1)), ("U", "y", 2.5, datetime(2100, 1, 1))]
    frame = session.createDataFrame(rows, "k string, item string, v double, at timestamp_ntz")
    events = frame.toDF("user", "a.item", "User", 'the "time"')
    columns = (Computed("v", '"User"', Type.FLOAT),)
    view = View(
        "v", "ev", (("user", "user"),), 'the "time"', (), columns,
        (Window("USER", "sum", "v", None, None, None),),
    )  # fmt: skip
    spine = pa.table(
        {"user": ["u", "U", "u"], "at": pa.array([1_000_001, 2**62, 1_000_000], pa.int64())}
    )
    assert spark.features([view], {"ev": events}, spine)["USER"].to_pylist() == [1.5, 2.5, None]
    moments = pa.array([datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC"))
    asked = session.createDataFrame(pa.table({"user": ["u", "U"], "at": moments}))
    found = spark.signals([view], {"ev": events}, asked)
    assert found.columns == ["user", "at", "USER"]
    assert {row[0]: row[2] for row in found.collect()} == {"u": 1.5, "U": None}


def test_a_session_with_other_habits_gives_the_same(spark: Spark) -> None:
    """ANSI off, another zone, many partitions: nothing that a result may hang on."""
    expected = spark.features([VIEW], {"events": EVENTS}, SPINE)
    session = spark.session.newSession()
    for name, value in {
        "spark.sql.ansi.enabled": "false",
        "spark.sql.session.timeZone": "Asia/Kathmandu",
        "spark.sql.caseSensitive": "false",
        "spark.sql.adaptive.enabled": "false",
    }.items():
        session.conf.set(name, value)
    moments = EVENTS.set_column(2, "at", EVENTS["at"].cast(pa.timestamp("us")))
    found = Spark(session, buckets=5).features([VIEW], {"events": moments}, SPINE)
    assert found.equals(expected)


def test_errors_are_told_as_tacits(spark: Spark, tmp_path: Path) -> None:
    (tmp_path / "none.parquet").write_bytes(b"PAR1 not")
    pq.write_table(EVENTS, tmp_path / "a.parquet")
    pq.write_table(EVENTS.drop(["price"]), tmp_path / "b.parquet")
    for files in (
        [tmp_path / "none.parquet"],
        [tmp_path / "a.parquet", tmp_path / "b.parquet"],
        [],
    ):
        with pytest.raises(DataError) as refused:
            spark.features([VIEW], {"events": files}, SPINE)
        assert refused.value.code == "T342"
    with pytest.raises(DataError, match="'price' is missing"):
        spark.features([VIEW], {"events": EVENTS.drop(["price"])}, SPINE)
    with pytest.raises(DataError, match="'user' is missing"):
        spark.signals([VIEW], {"events": EVENTS}, SPINE.drop(["user"]))
    with pytest.raises(EngineError, match="nowhere") as failed:
        spark.features([VIEW], {"events": str(tmp_path / "nowhere")}, SPINE)
    assert failed.value.code == "T410"
    assert "at org.apache" not in str(failed.value)


def test_a_project_that_chooses_spark(spark: Spark, tmp_path: Path) -> None:
    """`engine = "spark"` in its settings; the session that runs already is the one it gets."""
    settings = (
        'engine = "spark"\n'
        + small.SETTINGS
        + '[engines.spark]\nmaster = "local[2]"\nbuckets = 2\n'
    )
    chosen = small.project(tmp_path / "spark", settings=settings)
    assert chosen.plan.nodes["looks"].engine == "spark"
    usual = small.project(tmp_path / "local")
    spine = pa.table({"person": ["p000", "p001", "nobody"], "at": pa.array([small.NOW] * 3)})
    signals = ["looks", "last"]
    assert spark.session is not None
    assert chosen.features(signals, spine).equals(usual.features(signals, spine))
