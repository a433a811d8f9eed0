"""Vectors in the lake: from every kind of file that has lists, through all that a lake does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lake_cases import LAYOUT, NOW, ingest, lake, rows

from tacit.engines.local import Local
from tacit.engines.reference import Reference
from tacit.engines.scan import Files
from tacit.errors import DataError
from tacit.operations import Computed, View, Window
from tacit.store.lake.layout import Layout
from tacit.values import DAY, Type

VECTORS = replace(LAYOUT, columns={**LAYOUT.columns, "a": Type.VECTOR, "b": Type.VECTOR})
NAN, INF = float("nan"), float("inf")
WHOLE: list[list[float | None] | None] = [
    [1.0, 2.0], None, [], [1.0], [0.1, -0.0], [None, 1.0], [NAN, 1.0], [INF, 1.0], [3.0, 4.0],
]  # fmt: skip
FLOAT32 = pa.list_(pa.float32())


def table(kind: pa.DataType = FLOAT32) -> pa.Table:
    given = rows(len(WHOLE), 3)
    vectors = pa.array(WHOLE, pa.list_(pa.float64())).cast(kind)
    return given.append_column("a", vectors).append_column("b", vectors)


@pytest.mark.parametrize("kind", ["arrow", "double", "large", "parquet", "json", "fixed"])
def test_they_come_in_from_what_has_lists_and_stay_as_they_are(kind: str, tmp_path: Path) -> None:
    given, expected = table(), table()
    if kind == "double":
        given = table(pa.list_(pa.float64()))
    if kind == "large":
        given = table(pa.large_list(pa.float32()))
    if kind == "fixed":
        pairs = [v if v is not None and len(v) == 2 else None for v in WHOLE]
        fixed = pa.array(pairs, pa.list_(pa.float32(), 2))
        given = given.set_column(4, "a", fixed)
        expected = expected.set_column(4, "a", pa.array(pairs, FLOAT32))
    if kind == "parquet":
        pq.write_table(given, tmp_path / "v.parquet")
    if kind == "json":
        lines = [json.dumps(row) for row in given.to_pylist()]
        (tmp_path / "v.jsonl").write_text("\n".join(lines))
    path = {"parquet": tmp_path / "v.parquet", "json": tmp_path / "v.jsonl"}.get(kind)
    shop = lake(tmp_path)
    done = ingest(shop, path or given, VECTORS)
    assert (done.accepted, done.quarantined) == (len(WHOLE), 0)
    found = shop.read(VECTORS, NOW).sort_by("amount")
    assert repr(found.to_pylist()) == repr(expected.to_pylist())
    with shop.reading(VECTORS) as held:
        assert held is not None
        other = held.table.scan().to_arrow().sort_by("amount")  # by the ids of columns and elements
    assert repr(other["a"].to_pylist()) == repr(expected["a"].to_pylist())


def test_what_is_no_vector_is_quarantined(tmp_path: Path) -> None:
    given = [
        [1, 2],
        [1, "2"],
        [True, 1],
        "1,2",
        7,
        [[1, 2]],
        {"x": 1},
        [1e39, 0],
        [10**400],
        [1e38],
    ]
    plain = rows(len(given)).to_pylist()
    lines = [json.dumps({**row, "a": v}) for row, v in zip(plain, given, strict=True)]
    (tmp_path / "v.jsonl").write_text("\n".join(lines))
    shop = lake(tmp_path)
    done = ingest(shop, tmp_path / "v.jsonl", VECTORS)
    assert (done.accepted, done.reasons) == (2, {"T362": 6, "T363": 2})
    assert done.absent == ()
    assert done.read == len(given)
    texts = rows(2).append_column("a", pa.array([["x"], None]))
    assert ingest(shop, texts, VECTORS).reasons == {"T362": 1}
    whole = rows(2, start=2).append_column("a", pa.array([[1, 2], [3, 4]]))
    assert ingest(shop, whole, VECTORS).quarantined == 0
    large = rows(2, start=4).append_column("a", pa.array([[1e300, 1.0], [INF, 1.0]]))
    assert ingest(shop, large, VECTORS).reasons == {"T363": 1}
    (tmp_path / "v.csv").write_text('who,at,a\nx,2026-09-01,"[1, 2]"\n')
    with pytest.raises(DataError) as refused:
        ingest(shop, tmp_path / "v.csv", VECTORS)
    assert refused.value.code == "T369"
    (tmp_path / "v.csv").write_text("who,at\nx,2026-09-01\n")
    assert ingest(shop, tmp_path / "v.csv", VECTORS).accepted == 1


def test_they_live_through_all_that_a_lake_does(tmp_path: Path) -> None:
    """Declared later, compacted, narrowed, forgotten; and engines read the files as they are."""
    shop = lake(tmp_path)
    ingest(shop, rows(6, 3, start=20))
    kept = replace(VECTORS, kept={"b": DAY // 2})
    for part in (table().slice(0, 4), table().slice(4)):
        ingest(shop, part, kept)
    ingest(shop, rows(3, 3, start=30), LAYOUT)
    before = shop.read(VECTORS, NOW).sort_by("amount")
    assert repr(before["a"].to_pylist()[:9]) == repr(table()["a"].to_pylist())
    assert before["a"].null_count == 10
    assert shop.read(kept, NOW)["b"].null_count == 18, "they are past their retention"
    assert shop.compact(kept)[0] > 1
    assert repr(shop.read(VECTORS, NOW).sort_by("amount").to_pylist()) == repr(before.to_pylist())
    check_engines(shop, kept)
    assert shop.retain(kept, NOW).values == 8
    assert shop.read(VECTORS, NOW)["b"].null_count == 18
    assert shop.delete_subject(kept, "person", "person-0").rows == 6
    with pytest.raises(DataError) as refused:
        ingest(shop, rows(1), replace(VECTORS, columns={**VECTORS.columns, "a": Type.FLOAT}))
    assert refused.value.code == "T711"


def check_engines(shop: object, layout: Layout) -> None:
    """The files give what the rows give, in both engines that have vectors."""
    from tacit.store.lake.lake import Lake

    assert isinstance(shop, Lake)
    columns = (Computed("a", "a", Type.VECTOR), Computed("b", "b", Type.VECTOR))
    windows = (
        Window("mean", "vector_mean(2)", "a", None, None, None),
        Window("last", "vector_last(2)", "b", None, None, None),
    )
    view = View("v", "orders", (("who", "who"),), "at", (), columns, windows)
    people = [f"person-{n}" for n in range(3)]
    spine = pa.table({"who": people, "at": pa.array([NOW] * 3, pa.int64())})
    held = shop.read(layout, NOW)
    expected = Reference().features([view], {"orders": held}, spine)
    assert expected["mean"].null_count < 3
    assert expected["last"].null_count == 3
    with shop.reading(layout) as table:
        assert table is not None
        paths = shop.paths(table)
        assert paths is not None
        files = Files(paths, layout.schema(arrived=True), "at", {"b": NOW - DAY // 2})
        assert Local().features([view], {"orders": files}, spine).equals(expected)
