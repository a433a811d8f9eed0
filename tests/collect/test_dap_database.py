"""Statements of a session, on the file that one process has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tacit.collect.dap.database import SqliteDatabase
from tacit.errors import StoreError

SCHEMA = "CREATE TABLE IF NOT EXISTS t (seq {serial}, a {blob} NOT NULL, b {number} NOT NULL);"


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 63, 64, 65, 500])
def test_rows_go_in_in_their_order_however_many(tmp_path: Path, count: int) -> None:
    database = SqliteDatabase(tmp_path / "t.db", SCHEMA)
    rows = [(bytes((i % 256, i // 256)), -i) for i in range(count)]
    with database.transaction(b"t") as session:
        session.insert("t (a, b)", rows)
        assert session.all("SELECT a, b FROM t ORDER BY seq") == rows
    database.close()


def test_one_bad_row_leaves_none(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "t.db", SCHEMA)
    rows = [(b"x", i) for i in range(100)] + [(None, 1)]
    with pytest.raises(StoreError), database.transaction(b"t") as session:
        session.insert("t (a, b)", rows)
    with database.transaction(b"t") as session:
        assert session.all("SELECT count(*) FROM t") == [(0,)]
    database.close()
