"""The floor: read the Parquet, sort it once by user and time, write it. By DuckDB."""

from __future__ import annotations

from common import run

RESULT = "SELECT * FROM events ORDER BY person, t"

if __name__ == "__main__":
    run("floor", [], RESULT)
