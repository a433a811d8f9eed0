"""Time and memory of the 26 columns: ours, DuckDB, RANGE windows, Polars, and the floor.

Every run is a process of its own, from Parquet to Parquet, after a small run that compiles and
warms; rounds are interleaved and medians are taken. Ours must equal DuckDB's result: counts and
items exactly, floats to what DuckDB's differences of running sums leave of them. PySpark and Feast
are not here yet. The last line is one JSON object; ratios have ours as 1.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build" / "signals"
POLARS = BUILD.parent / "polars"
SYSTEMS = {
    "ours": "ours.py",
    "duckdb": "duckdb_best.py",
    "floor_duckdb": "floor_duckdb.py",
    "polars": "polars_asof.py",
    "floor_polars": "floor_polars.py",
    "windows": "duckdb_windows.py",
}


def polars_python() -> Path:
    """Polars in an environment of its own: it is no dependency of ours."""
    python = POLARS / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", POLARS], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "polars>=1.30"], check=True)
    return python


def data(name: str, events: int, spine: int, keys: int | None = None) -> Path:
    folder = BUILD / name
    if not (folder / "spine.parquet").is_file():
        command = [sys.executable, HERE / "data.py", folder, "--events", str(events)]
        command += ["--spine", str(spine), *(["--keys", str(keys)] if keys else [])]
        subprocess.run(command, check=True)
    return folder


def once(system: str, folder: Path) -> dict[str, float] | None:
    """One run; None when it failed, as for want of memory."""
    python = polars_python() if "polars" in system else sys.executable
    target = BUILD / f"{system}.parquet"
    command = [python, "-W", "ignore", HERE / "systems" / SYSTEMS[system], folder, target]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(f"  {system} on {folder.name}: failed with {done.returncode}", flush=True)
        return None
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    peak = found["peak"] / 1e9
    print(f"  {system} on {folder.name}: {found['seconds']} s, {peak:.2f} GB", flush=True)
    return found


def seconds(found: list[dict[str, float] | None]) -> float:
    good = [run["seconds"] for run in found if run]
    return statistics.median(good) if good else math.nan


def check_equal() -> None:
    """Ours and DuckDB's last results. Raises AssertionError where they differ."""
    ours, theirs = (pq.read_table(BUILD / f"{name}.parquet") for name in ("ours", "duckdb"))
    assert ours.num_rows == theirs.num_rows, "rows out are rows in"
    for name in ours.column_names:
        x, y = ours[name].combine_chunks(), theirs[name].combine_chunks()
        x = x.dictionary_decode() if pa.types.is_dictionary(x.type) else x
        if not pa.types.is_floating(x.type):
            assert x.equals(y.cast(x.type)), name
            continue
        assert x.is_null().equals(y.is_null()), name
        gap = pc.max(pc.abs(pc.subtract(x, y))).as_py() or 0.0
        # A running sum over all keys has lost what is below its own last bit.
        assert gap <= 1e-12 * (pc.max(pc.abs(x)).as_py() or 0.0) + 1e-5, (name, gap)
    print("  ours equals DuckDB's", flush=True)


def ratio(top: float, bottom: float) -> float | None:
    found = top / bottom if bottom else math.nan
    return None if math.isnan(found) else round(found, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without", nargs="*", default=[], choices=SYSTEMS)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--no-growth", action="store_true", help="neither 5M nor 100M, nor skew")
    given = parser.parse_args()
    data("warm", 20_000, 2_000)
    size = given.events
    main_data = data(f"{size // 1_000_000}m", size, max(size // 20, 1))
    systems = [name for name in SYSTEMS if name not in given.without]
    runs: dict[str, list[dict[str, float] | None]] = {name: [] for name in systems}
    for round_ in range(given.rounds):
        for name in systems:
            if name != "windows" or round_ == 0:  # minutes a run: once tells enough
                runs[name].append(once(name, main_data))
    if "duckdb" in runs:
        check_equal()
    ours = seconds(runs["ours"])
    time = {name: seconds(found) for name, found in runs.items()}
    result: dict[str, float | None] = {
        "seconds": ours,
        "vs_duckdb": ratio(time.get("duckdb", math.nan), ours),
        "vs_duckdb_windows": ratio(time.get("windows", math.nan), ours),
        "vs_polars": ratio(time.get("polars", math.nan), ours),
        "vs_floor": ratio(
            ours, min(time.get(name, math.inf) for name in ("floor_duckdb", "floor_polars"))
        ),
        "peak_gb_20m": round(max(run["peak"] for run in runs["ours"] if run) / 1e9, 2),
    }
    if not given.no_growth:
        result |= growth(given.rounds)
    print(json.dumps(result))


def growth(rounds: int) -> dict[str, float | None]:
    """Ours alone: against the size, and against fifty keys."""
    cases = {
        "5m": data("5m", 5_000_000, 1_000_000),
        "20m": data("20m", 20_000_000, 1_000_000),
        "100m": data("100m", 100_000_000, 1_000_000),
        "50 keys": data("20m-50", 20_000_000, 1_000_000, 50),
        "10000 keys": data("20m-10000", 20_000_000, 1_000_000, 10_000),
        "5m spine": data("20m-5m", 20_000_000, 5_000_000),
    }
    runs: dict[str, list[dict[str, float] | None]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, folder in cases.items():
            runs[name].append(once("ours", folder))
    time = {name: seconds(found) for name, found in runs.items()}
    return {
        "skew_cost": ratio(time["50 keys"], time["10000 keys"]),
        "growth_5m_20m": ratio(time["20m"], time["5m"]),
        "growth_20m_100m": ratio(time["100m"], time["20m"]),
        "spine_1m_5m": ratio(time["5m spine"], time["20m"]),
        "peak_gb_100m": round(max(run["peak"] for run in runs["100m"] if run) / 1e9, 2),
    }


if __name__ == "__main__":
    main()
