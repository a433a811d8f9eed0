"""What the systems share: each is a process that reads Parquet, writes Parquet, and reports."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path


def own_peak() -> int:
    """The most memory that this process had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak_of_tree() -> int:
    """The peaks of this process and of all it started (a JVM and its Python workers), summed."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(stat.parent.name))
    total, waiting = 0, [os.getpid()]
    while waiting:
        process = waiting.pop()
        waiting += parents.get(process, [])
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process}/status").read_text()
            total += int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return total


def measure(
    work: Callable[[Path, Path], None],
    warm: bool = True,
    peak: Callable[[], int] = own_peak,
) -> None:
    """Runs `work(folder, target)` for the folder and target of the command line, after a small run.

    Prints one line of JSON: seconds, and the peak of the whole process in bytes.
    """
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    if warm:
        work(folder.parent / "warm", target)
    start = time.perf_counter()
    work(folder, target)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": round(seconds, 3), "peak": peak()}))


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
