"""Rows from files: what widens without loss is widened, and all else is refused by name."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tacit.errors import DataError
from tacit.store.files import SKEW, Rows, read_parquet
from tacit.values import DAY, Type

NOW = 1_790_000_000_000_000
COLUMNS = {"who": Type.TEXT, "at": Type.TIME, "amount": Type.FLOAT}


def write(folder: Path, **columns: Any) -> Path:
    path = folder / "rows.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def good(**changed: Any) -> dict[str, Any]:
    return {
        "who": ["a", "b", "c"],
        "at": pa.array([NOW - 3, NOW - 2, NOW - 1], pa.int64()),
        "amount": [1.0, 2.0, None],
    } | changed


def read(path: Path, **more: Any) -> Rows:
    return read_parquet(path, COLUMNS, keys=("who",), time="at", now=NOW, **more)


def refused(path: Path, **more: Any) -> DataError:
    with pytest.raises(DataError) as error:
        read(path, **more)
    assert error.value.where is not None
    assert str(path) in error.value.where
    return error.value


def test_declared_columns_in_their_order(tmp_path: Path) -> None:
    path = write(tmp_path, extra=[1, 2, 3], **dict(reversed(good().items())))
    rows = read(path)
    assert rows.table.column_names == list(COLUMNS)
    assert rows.table.schema.types == [pa.string(), pa.int64(), pa.float64()]
    assert (rows.table.num_rows, rows.left_out) == (3, 0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1, -1, None], pa.timestamp("s")), [1_000_000, -1_000_000, None]),
        (pa.array([1, -1, None], pa.timestamp("ms", "UTC")), [1000, -1000, None]),
        (pa.array([1, -1, None], pa.timestamp("us", "Europe/Paris")), [1, -1, None]),
        (pa.array([1999, -1, -1000], pa.timestamp("ns")), [1, -1, -1]),
        (pa.array([1999, -1001, None], pa.timestamp("ns", "UTC")), [1, -2, None]),
        (pa.array([date(1970, 1, 2), None, date(1969, 12, 31)]), [DAY, None, -DAY]),
        (pa.array([0, DAY // 1000, None], pa.date64()), [0, DAY, None]),
        (pa.array([5, None, -5], pa.int64()), [5, None, -5]),
        (pa.array([5, None, 5], pa.timestamp("us")).dictionary_encode(), [5, None, 5]),
        (pa.nulls(3), [None, None, None]),
    ],
)
def test_moments_of_every_kind(tmp_path: Path, values: pa.Array, expected: list[Any]) -> None:
    path = write(tmp_path, **good(at=values))
    found = read_parquet(path, COLUMNS).table
    assert found.column("at").to_pylist() == expected


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (Type.TEXT, pa.array(["a", None, "é"], pa.large_string()), ["a", None, "é"]),
        (Type.TEXT, pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
        (Type.TEXT, pa.array(["a", "", None], pa.string_view()), ["a", "", None]),
        (Type.INT, pa.array([1, None, -3], pa.int8()), [1, None, -3]),
        (Type.INT, pa.array([1, None, 3], pa.uint64()), [1, None, 3]),
        (Type.FLOAT, pa.array([1, None, -3], pa.int32()), [1.0, None, -3.0]),
        (Type.FLOAT, pa.array([1.5, None, 2.0], pa.float32()), [1.5, None, 2.0]),
        (Type.FLOAT, pa.array(np.array([1.5, 0, 2], np.float16)), [1.5, 0.0, 2.0]),
        (Type.BOOL, pa.array([True, None, False]), [True, None, False]),
    ],
)
def test_what_widens_is_widened(
    tmp_path: Path, kind: Type, values: pa.Array, expected: list[Any]
) -> None:
    path = write(tmp_path, value=values)
    assert read_parquet(path, {"value": kind}).table.column("value").to_pylist() == expected


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Type.TEXT, pa.array([1, 2, 3])),
        (Type.TEXT, pa.array([b"a"], pa.binary())),
        (Type.INT, pa.array([1.0, 2.0])),
        (Type.INT, pa.array(["1"])),
        (Type.INT, pa.array([2**63], pa.uint64())),
        (Type.FLOAT, pa.array(["1.0"])),
        (Type.FLOAT, pa.array([2**53 + 1])),
        (Type.FLOAT, pa.array([1], pa.decimal128(5))),
        (Type.BOOL, pa.array([0, 1])),
        (Type.BOOL, pa.array(["true"])),
        (Type.TIME, pa.array(["2026-01-01"])),
        (Type.TIME, pa.array([1.0])),
        (Type.TIME, pa.array([1], pa.int32())),
        (Type.TIME, pa.array([2**60], pa.timestamp("ms"))),
        (Type.TIME, pa.array([1], pa.time64("us"))),
        (Type.INT, pa.array([[1]])),
        (Type.TEXT, pa.array([{"a": "b"}])),
    ],
)
def test_what_would_be_reinterpreted_is_refused(
    tmp_path: Path, kind: Type, values: pa.Array
) -> None:
    path = write(tmp_path, value=values)
    with pytest.raises(DataError) as error:
        read_parquet(path, {"value": kind})
    assert error.value.code == "T304"
    assert "column 'value'" in str(error.value.where)


def test_a_missing_column_comes_with_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, whom=["a"], at=[NOW], amount=[1.0])
    error = refused(path)
    assert error.code == "T303"
    assert "'who'" in error.message
    assert "'whom'" in error.fix
    assert read(path, renamed={"who": "whom"}).table.column("who").to_pylist() == ["a"]
    assert refused(path, renamed={"who": "gone"}).code == "T303"
    assert refused(path, renamed={"unheard": "whom"}).code == "T303"


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    twice = pa.table([["a"], ["b"], [NOW], [1.0]], names=["who", "who", "at", "amount"])
    pq.write_table(twice, path)
    error = refused(path)
    assert (error.code, "several columns" in error.message) == ("T303", True)


def test_rows_of_nobody_and_of_no_moment_are_counted(tmp_path: Path) -> None:
    rows = read(
        write(
            tmp_path,
            who=["a", None, "b", None, "c"],
            at=pa.array([NOW, NOW, None, None, NOW - 9 * DAY], pa.int64()),
            amount=[1.0] * 5,
        ),
        keep=8 * DAY,
    )
    assert (rows.without_key, rows.without_time, rows.expired) == (2, 1, 1)
    assert rows.left_out == 4
    assert rows.table.column("who").to_pylist() == ["a"]


def test_retention_ends_where_devices_end_it(tmp_path: Path) -> None:
    at = pa.array([NOW - DAY - 1, NOW - DAY, NOW], pa.int64())
    rows = read(write(tmp_path, **good(at=at)), keep=DAY)
    assert rows.table.column("who").to_pylist() == ["b", "c"]


def test_rows_of_the_future(tmp_path: Path) -> None:
    at = pa.array([NOW, NOW + SKEW, NOW - 1], pa.int64())
    assert read(write(tmp_path, **good(at=at))).table.num_rows == 3
    at = pa.array([NOW, NOW + SKEW + 1, NOW + 3 * DAY], pa.int64())
    error = refused(write(tmp_path, **good(at=at)))
    assert error.code == "T305"
    assert "2 rows" in error.message
    assert "4,320 minutes" in error.message
    nanos = pa.array([NOW * 1000] * 3, pa.int64())
    assert refused(write(tmp_path, **good(at=nanos))).code == "T348"


def test_no_rows_are_no_error(tmp_path: Path) -> None:
    empty = {name: values[:0] for name, values in good().items()}
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table(empty).cast(pa.schema([
        ("who", pa.string()), ("at", pa.timestamp("us")), ("amount", pa.float64())])), path)  # fmt: skip
    assert read(path).table.num_rows == 0


def test_files_that_are_none(tmp_path: Path) -> None:
    whole = write(tmp_path, **good(who=[f"person {i}" for i in range(3)]))
    raw = whole.read_bytes()
    assert refused(tmp_path / "none.parquet").code == "T301"
    assert "folder" in refused(tmp_path).message
    for damaged in (raw[:-1], raw[: len(raw) // 2], raw[4:], b"", b"a,b\n1,2\n", raw[:100] * 9):
        whole.write_bytes(damaged)
        assert refused(whole).code == "T302"


def test_text_that_is_none(tmp_path: Path) -> None:
    raw = pa.array([b"a", b"\xff\xfe", b"c"]).view(pa.string())
    assert refused(write(tmp_path, **good(who=raw))).code == "T302"


def test_damage_within_a_file(tmp_path: Path) -> None:
    """Whatever byte is wrong: other rows may come of it, but no other kind of error."""
    path = write(
        tmp_path, **good(at=pa.array([datetime(2026, 1, i, tzinfo=UTC) for i in (1, 2, 3)]))
    )
    raw = path.read_bytes()
    for place in range(4, len(raw), 7):
        changed = bytearray(raw)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        codes = {"T302", "T303", "T304", "T305"}
        try:
            read(path)
        except DataError as error:
            codes.discard(error.code)
            assert len(codes) == 3
