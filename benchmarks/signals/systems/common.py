"""What the systems share: each is a process that reads Parquet, writes Parquet, and reports."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path


def measure(work: Callable[[Path, Path], None], warm: bool = True) -> None:
    """Runs `work(folder, target)` for the folder and target of the command line, after a small run.

    Prints one line of JSON: seconds, and the peak of the whole process in bytes.
    """
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    if warm:
        work(folder.parent / "warm", target)
    start = time.perf_counter()
    work(folder, target)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": round(seconds, 3), "peak": peak}))


def run(name: str, statements: list[str], result: str) -> None:
    """Measures DuckDB: statements, then the query whose result is written."""
    import duckdb

    def work(folder: Path, target: Path) -> None:
        with duckdb.connect(":memory:") as connection:
            connection.execute(f"SET temp_directory = '{target}.{name}.tmp'")
            connection.execute(
                'CREATE VIEW events AS SELECT "user" AS person, item, "at" AS t, price'
                f" FROM read_parquet('{folder}/events.parquet')"
            )
            connection.execute(
                'CREATE TEMP TABLE asked AS SELECT file_row_number AS row, "user" AS person, item,'
                f""" "at" AS t FROM read_parquet('{folder}/spine.parquet',"""
                " file_row_number = true)"
            )
            for statement in statements:
                start = time.perf_counter()
                connection.execute(statement)
                if "--profile" in sys.argv:
                    print(round(time.perf_counter() - start, 2), statement[:60], file=sys.stderr)
            connection.execute(f"COPY ({result}) TO '{target}' (FORMAT parquet)")

    measure(work)
