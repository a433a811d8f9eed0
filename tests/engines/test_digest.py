"""h of whole columns is that of DuckDB's SQL, and of the standard library."""

from __future__ import annotations

import hashlib
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tacit.engines.coded import numbered
from tacit.engines.digest import hashed
from tacit.plan.total_sql import HASH_DIGITS, hash_sql

SALTS = ["", "s", "0123456789abcdef" * 2, "ü" * 40, "x" * 63, "x" * 64]


@pytest.mark.parametrize("salt", SALTS)
def test_every_length_around_a_block(salt: str) -> None:
    texts = ["x" * n for n in range(200)] + ["ü€", "𝄞" * 50, "\0", "a|b"]
    digests = [hashlib.md5(f"{salt}|{text}".encode()).hexdigest() for text in texts]
    assert hashed(pa.array(texts), salt).tolist() == [int(d[:HASH_DIGITS], 16) for d in digests]


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["", "a", "ü", "0", "-0"]),
        pa.array(["b", "a"], pa.large_string()),
        pa.array(["b", "a"], pa.string_view()),
        pa.array([0, -1, 2**63 - 1, -(2**63)]),
        pa.array([0, 2**64 - 1], pa.uint64()),
        pa.array([-128, 127], pa.int8()),
        pa.array([True, False]),
        pa.array(["left out", "c", "d", "left out"])[1:3],
    ],
    ids=lambda values: str(values.type),
)
def test_it_is_what_sql_computes(values: pa.Array) -> None:
    with duckdb.connect(":memory:") as connection:
        connection.register("t", pa.table({"v": values}))
        digests = connection.sql(f"SELECT {hash_sql('salt', 'v')} FROM t").fetchall()
    wanted = [int(digest[:HASH_DIGITS], 16) for (digest,) in digests]
    assert hashed(values, "salt").tolist() == wanted


def test_what_is_no_value_has_no_hash() -> None:
    assert hashed(pa.array([], pa.string()), "s").tolist() == []
    assert hashed(pa.array(["a", None]), "s") is None
    raw = pa.array([b"\xff\xfe"], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 1, raw.buffers())
    assert hashed(broken, "s") is None


def dictionary(codes: list[Any], values: list[Any]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(values))


@pytest.mark.parametrize("second", [["a", "b", "c"], ["c", "a", "b"], ["z"], ["a"]])
def test_columns_in_pieces_are_numbered_as_one(second: list[str]) -> None:
    pieces = [dictionary([2, 0, None, 1], ["a", "b", "c"]), dictionary([0, None, 0], second)]
    column = pa.chunked_array(pieces)
    found = numbered(column, "s")
    assert found is not None
    codes, values, made = found
    assert values.take(codes).to_pylist() == column.to_pylist()
    assert len(set(made.tolist())) == len(values) == len(set(values.to_pylist()))


def test_columns_that_cannot_be_numbered_are_left_as_they_are() -> None:
    assert numbered(pa.chunked_array([], pa.string()), "s") is None
    assert numbered(pa.chunked_array([dictionary([0, 1], ["a", "a"])]), "s") is None
    assert numbered(pa.chunked_array([dictionary([0, 1], ["a", None])]), "s") is None
