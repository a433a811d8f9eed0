"""The lake beside plain pyarrow: ingestion, reading, one person's deletion, compaction.

    python benchmarks/signals/lake.py [--events 5000000] [--rounds 3]

Ingestion (contract, buckets, `_arrived`, fsync, commit, receipt) stands beside reading the same
Parquet in batches and writing it again with the same compression. The deletion is of one of 50,000
people in 2M rows, and ends when no file holds them. Medians of interleaved rounds; the last line
is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from data import SPAN, write

from tacit.store.control import ControlStore
from tacit.store.lake.ingest import Asked
from tacit.store.lake.lake import Lake
from tacit.store.lake.layout import Layout
from tacit.values import Type

LAYOUT = Layout(
    "events",
    {"user": Type.TEXT, "item": Type.TEXT, "at": Type.TIME, "price": Type.FLOAT},
    ("user", "at"),
    "at",
    {"user": "person"},
)
PEOPLE, ROWS, GONE = 50_000, 2_000_000, 5


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the wall, and of this process's CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def lake(folder: Path) -> Lake:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made = Lake(folder / "lake", "bench", ControlStore.create(folder / "control.sqlite"))
    assert made.catalog is not None  # opened, and pyiceberg imported, before the clock runs
    return made


def rewrite(source: Path, target: Path) -> None:
    """The same rows, read in batches and written again."""
    with pq.ParquetFile(source) as file:
        writer = pq.ParquetWriter(
            target, file.schema_arrow, compression="zstd", compression_level=1
        )
        with writer:
            for batch in file.iter_batches(1 << 18):
                writer.write_batch(batch)


def ingestion(folder: Path, rounds: int) -> dict[str, float]:
    source = folder / "events.parquet"
    size = pq.read_metadata(source).num_rows
    plain, ours, read = [], [], []
    for _ in range(rounds):
        plain.append(timed(lambda: rewrite(source, folder / "plain.parquet")))
        there = lake(folder / "ours")
        ours.append(timed(lambda t=there: t.ingest(LAYOUT, Asked(source, {}, SPAN, unit="us"))))
        read.append(timed(lambda t=there: t.read(LAYOUT, SPAN)))
    wall, cpu = (statistics.median(each[i] for each in ours) for i in (0, 1))
    floor, floor_cpu = (statistics.median(each[i] for each in plain) for i in (0, 1))
    again = timed(lambda: there.ingest(LAYOUT, Asked(source, {}, SPAN, unit="us")))[0]
    return {
        "events": size,
        "ingest_rows_per_second": round(size / wall),
        "ingest_vs_rewrite": round(wall / floor, 2),
        "ingest_vs_rewrite_cpu": round(cpu / floor_cpu, 2),
        "rewrite_rows_per_second": round(size / floor),
        "read_rows_per_second": round(size / statistics.median(each[0] for each in read)),
        "ingest_again_seconds": round(again, 3),
    }


def texts(folder: Path, size: int = 500_000) -> dict[str, float]:
    """Rows a second from CSV and from JSON lines."""
    with pq.ParquetFile(folder / "events.parquet") as file:
        table = pa.Table.from_batches([next(file.iter_batches(size))])
    pa.csv.write_csv(table, folder / "events.csv")
    with (folder / "events.jsonl").open("w") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in table.to_pylist())
    found = {}
    for kind in ("csv", "jsonl"):
        there, path = lake(folder / "texts"), folder / f"events.{kind}"
        seconds = timed(lambda t=there, p=path: t.ingest(LAYOUT, Asked(p, {}, SPAN, unit="us")))[0]
        found[f"{kind}_rows_per_second"] = round(table.num_rows / seconds)
    return found


def deletion(folder: Path) -> dict[str, float]:
    """One person of many deleted and purged, several times; then all files compacted."""
    generator = np.random.default_rng(1)
    there = lake(folder / "people")
    for part in range(2):
        user = generator.integers(0, PEOPLE, ROWS // 2)
        table = pa.table(
            {
                "user": [f"u{code}" for code in user],
                "item": [f"i{code}" for code in generator.integers(0, 1000, user.size)],
                "at": generator.integers(0, SPAN, user.size),
                "price": generator.random(user.size),
            }
        )
        there.ingest(LAYOUT, Asked(table, {}, SPAN, batch=f"part {part}", unit="us"))
    compacted = timed(lambda: there.compact(LAYOUT))[0]
    there.expire(LAYOUT, 2**62)
    there.purge(LAYOUT)
    gone = [
        timed(lambda code=code: there.delete_subject(LAYOUT, "person", f"u{code}"))
        for code in range(GONE)
    ]
    left = set(there.read(LAYOUT, SPAN)["user"].unique().to_pylist())
    assert left.isdisjoint({f"u{code}" for code in range(GONE)})
    return {
        "delete_one_seconds": round(statistics.median(each[0] for each in gone), 3),
        "delete_one_cpu": round(statistics.median(each[1] for each in gone), 3),
        "compact_rows_per_second": round(ROWS / compacted),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tacit-lake-") as name:
        folder = Path(name)
        write(folder, given.events, 1000, None)
        found = ingestion(folder, given.rounds) | texts(folder) | deletion(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    found["peak_gb"] = round(peak, 2)
    for key, value in found.items():
        print(f"{key:<26} {value:>14,}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
