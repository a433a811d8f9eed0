"""Sums, means and the last of vectors: exact states, and a kernel that says the same."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from tacit.aggregates.algebra import REGISTRY
from tacit.engines.frames import declared
from tacit.engines.local import Local
from tacit.engines.reference import Reference
from tacit.operations import Computed, Join, View, Window
from tacit.values import Type

if TYPE_CHECKING:
    from tacit.engines.spark import Spark

ELEMENTS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(ELEMENTS, ELEMENTS), min_size=1, max_size=9))
def test_sums_and_means_are_exact_until_they_are_finished(rows: list[tuple[float, float]]) -> None:
    for key, divisor in (("vector_sum(2)", 1), ("vector_mean(2)", len(rows))):
        aggregate = REGISTRY[key]
        found = aggregate.finish(aggregate.fold([(row, 0) for row in rows]))
        assert isinstance(found, tuple)
        for i in range(2):
            exact = float(sum(Fraction(row[i]) for row in rows) / divisor)
            with np.errstate(over="ignore"):
                assert found[i] == np.float32(exact)


def test_only_whole_vectors_are_admitted() -> None:
    aggregate = REGISTRY["vector_mean(2)"]
    wrong = (None, [], [1.0], [1.0, 2.0, 3.0], [1.0, None], [1.0, math.nan], [math.inf, 1.0])
    assert [aggregate.admit(value) for value in (*wrong, [1e39, 0.0])] == [None] * 8
    assert aggregate.admit([0.1, -0.0]) == (float(np.float32(0.1)), 0.0)


def test_the_state_of_an_embedding_is_small() -> None:
    aggregate = REGISTRY["vector_mean(64)"]
    r = np.random.default_rng(1)
    rows = [tuple(map(float, r.normal(size=64).astype(np.float32))) for _ in range(100)]
    assert len(aggregate.encode(aggregate.fold([(row, 0) for row in rows]))) < 64 * 9


VECTORS = st.one_of(
    st.none(),
    st.lists(st.sampled_from([0.0, -0.0, 0.5, 1.0, -3.25, 0.1, 1e-3]), min_size=2, max_size=2),
    st.lists(
        st.one_of(st.floats(-1e3, 1e3, width=32), st.none(), st.just(math.nan), st.just(math.inf)),
        max_size=3,
    ),
)
ARROW = [pa.list_(pa.float32()), pa.list_(pa.float64()), pa.large_list(pa.float32())]


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, pa.Table], pa.Table]:
    size = draw(st.integers(0, 40))
    many = {"min_size": size, "max_size": size}
    columns = {
        "user": pa.array(draw(st.lists(st.sampled_from(["a", "b", None]), **many)), pa.string()),
        "item": pa.array(draw(st.lists(st.sampled_from(["x", "y", "z"]), **many)), pa.string()),
        "at": pa.array(draw(st.lists(st.integers(0, 12), **many)), pa.int64()),
        "own": pa.array(draw(st.lists(VECTORS, **many)), draw(st.sampled_from(ARROW))),
        "ok": pa.array(draw(st.lists(st.booleans(), **many)), pa.bool_()),
    }
    items = pa.table(
        {
            "id": ["x", "y"],
            "vector": pa.array(
                draw(st.lists(VECTORS, min_size=2, max_size=2)), pa.list_(pa.float32())
            ),
        }
    )
    spine = pa.table({"user": ["a", "b", "c", "a"], "at": pa.array([99, 7, 9, 3], pa.int64())})
    return {"events": pa.table(columns), "items": items}, spine


def view() -> View:
    windows = []
    for key in ("vector_sum(2)", "vector_mean(2)", "vector_last(2)", "vector_sum(3)"):
        for value in ("own", "joined"):
            for by, where in ((None, None), (None, "ok"), ("item", None)):
                for length in (4, None):
                    name = f"{key} {value} {by} {where} {length}"
                    windows.append(Window(name, key, value, by, where, length))
    computed = (
        Computed("own", "own", Type.VECTOR),
        Computed("joined", "items.vector", Type.VECTOR),
        Computed("item", "item", Type.TEXT),
        Computed("ok", "ok", Type.BOOL),
    )
    joins = (Join("items", "item", "id"),)
    return View("v", "events", (("user", "user"),), "at", joins, computed, tuple(windows))


def close(ours: Any, theirs: Any) -> bool:
    """Up to the rounding to 32 bits, and of doubles of the magnitudes drawn here."""
    if ours is None or theirs is None or isinstance(ours, float):
        if isinstance(ours, float) and isinstance(theirs, float):
            return ours == theirs or abs(ours - theirs) <= 1.2e-7 * abs(theirs) + 1e-10
        return ours == theirs
    if isinstance(ours, str | bool):
        return bool(ours == theirs)
    return len(ours) == len(theirs) and all(map(close, ours, theirs))


def check(ours: pa.Table, theirs: pa.Table) -> None:
    """The last exactly, sums and means up to rounding."""
    assert ours.schema == theirs.schema
    for window in view().windows:
        found, wanted = ours[window.signal].to_pylist(), theirs[window.signal].to_pylist()
        if "last" in window.aggregate:
            assert found == wanted, window
        else:
            assert all(map(close, found, wanted)), (window, found, wanted)


@given(cases())
@settings(max_examples=examples(25), deadline=None)
def test_the_engines_agree(case: tuple[dict[str, pa.Table], pa.Table]) -> None:
    tables, spine = case
    ours = Local().features([view()], tables, spine)
    check(ours, Reference().features([view()], tables, spine))


@pytest.mark.slow
@given(cases())
@settings(max_examples=5, deadline=None)
def test_spark_agrees(spark: Spark, case: tuple[dict[str, pa.Table], pa.Table]) -> None:
    tables, spine = case
    for events in (tables["events"], tables["events"].slice(0, 0)):
        given = {**tables, "events": events}
        ours = spark.features([view()], given, spine)
        check(ours, Reference().features([view()], given, spine))


def test_a_table_for_spark_has_chunks_where_it_has_no_rows() -> None:
    """PySpark takes no list without any."""
    for column in (
        pa.chunked_array([], pa.list_(pa.float32())),
        pa.array([], pa.list_(pa.float64())),
    ):
        assert declared(pa.table({"v": column}))["v"].num_chunks == 1


@pytest.mark.slow
def test_spark_reads_vectors_of_every_width_from_files(spark: Spark, tmp_path: Path) -> None:
    """Doubles are rounded to 32 bits; one that becomes an infinity makes its vector none."""
    values = [[0.1, 0.2], None, [1e39, 0.0], [0.5, None], [3.0, 4.0, 5.0], [-0.0, 2.5]]
    own = {"doubles": pa.list_(pa.float64()), "fixed": pa.list_(pa.float32(), 2)}
    for name, kind in own.items():
        fitting = [v for v in values if v is None or len(v) == 2]
        given = values if name == "doubles" else fitting
        events = pa.table(
            {
                "user": ["a"] * len(given),
                "item": ["x"] * len(given),
                "at": pa.array(range(len(given)), pa.int64()),
                "own": pa.array(given, kind),
                "ok": [True] * len(given),
            }
        )
        items = pa.table({"id": ["x"], "vector": pa.array([[1.0, 2.0]], pa.list_(pa.float32()))})
        files = {}
        for table, rows in (("events", events), ("items", items)):
            pq.write_table(rows, tmp_path / f"{name}.{table}.parquet")
            files[table] = [tmp_path / f"{name}.{table}.parquet"]
        spine = pa.table({"user": ["a", "b", "a"], "at": pa.array([99, 7, 3], pa.int64())})
        found = spark.features([view()], files, spine)
        check(found, Reference().features([view()], {"events": events, "items": items}, spine))
        spark.write([view()], files, spine, tmp_path / name)
        parts = sorted((tmp_path / name).glob("*.parquet"))
        written = pa.concat_tables(pq.read_table(part) for part in parts)
        assert written.to_pylist() == found.to_pylist()


def test_a_long_history_of_embeddings_is_the_same_to_the_bit() -> None:
    """Elements whose magnitudes are as those of embeddings sum exactly also as doubles."""
    r = np.random.default_rng(3)
    size = 2_000
    values = (np.round(r.normal(0, 0.1, (size, 8)) * 2**20) / 2**20).astype(np.float32)
    events = pa.table(
        {
            "user": r.choice(["a", "b"], size),
            "at": pa.array(r.integers(0, size, size), pa.int64()),
            "own": pa.FixedSizeListArray.from_arrays(values.ravel(), 8),
        }
    )
    spine = pa.table({"user": r.choice(["a", "b"], 30), "at": r.integers(0, size, 30)})
    windows = tuple(
        Window(f"{key} {length}", f"vector_{key}(8)", "own", None, None, length)
        for key in ("sum", "mean", "last")
        for length in (10, 500, None)
    )
    computed = (Computed("own", "own", Type.VECTOR),)
    found = View("v", "events", (("user", "user"),), "at", (), computed, windows)
    ours = Local().features([found], {"events": events}, spine)
    assert ours.equals(Reference().features([found], {"events": events}, spine))
