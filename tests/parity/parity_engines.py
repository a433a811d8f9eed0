"""Engines over the tables of the parity tests."""

from __future__ import annotations

import sqlite3
from typing import Any

import pyarrow as pa
import sqlcipher3

AFFINITY = {pa.int64(): "INTEGER", pa.float64(): "REAL", pa.string(): "TEXT", pa.bool_(): "INTEGER"}


def database(sources: dict[str, pa.Table], driver: Any = sqlite3) -> Any:
    """The sources as tables of an open database."""
    connection = driver.connect(":memory:")
    if driver is sqlcipher3:
        connection.execute("PRAGMA key = \"x'" + "07" * 32 + "'\"")
    for name, table in sources.items():
        columns = ", ".join(
            f'"{field.name.replace(chr(34), chr(34) * 2)}" {AFFINITY[field.type]}'
            for field in table.schema
        )
        quoted = '"' + name.replace('"', '""') + '"'
        connection.execute(f"CREATE TABLE {quoted} ({columns})")
        marks = ", ".join("?" * table.num_columns)
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        connection.executemany(f"INSERT INTO {quoted} VALUES ({marks})", list(rows))
    connection.commit()
    return connection
