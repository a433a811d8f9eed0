"""The latest-value join: ours beside Feast's, on the largest data that Feast finishes here.

`python benchmarks/signals/last_item.py --events 400000 --spine 40000`; the answers must be equal.
The last line is one JSON object; `vs_feast` has ours as 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build" / "signals"
FEAST = BUILD.parent / "feast"


def feast_python() -> Path:
    """Feast in an environment of its own."""
    python = FEAST / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", FEAST], check=True)
    has = subprocess.run([python, "-c", "import feast"], check=False, capture_output=True)
    if has.returncode:
        subprocess.run([python, "-m", "pip", "install", "--quiet", "feast[duckdb]"], check=True)
    return python


def once(system: str, folder: Path, limit: float) -> dict[str, float] | None:
    """One run; None where it failed or took longer than the limit, in seconds."""
    python = str(feast_python()) if system.startswith("feast") else sys.executable
    target = BUILD / f"{system}.parquet"
    command = [python, "-W", "ignore", str(HERE / "systems" / f"{system}.py"), folder, target]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=limit, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        print(f"  {system} on {folder.name}: {type(error).__name__}", flush=True)
        return None
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {system}: {found['seconds']} s, {found['peak'] / 1e9:.2f} GB", flush=True)
    return found


def check_equal() -> None:
    """Raises AssertionError where the answers differ."""
    ours, theirs = (pq.read_table(BUILD / f"{n}_last_item.parquet") for n in ("ours", "feast"))
    theirs = theirs.sort_by("row")
    assert theirs["row"].to_pylist() == list(range(ours.num_rows)), "Feast lost rows"
    texts = [table[name].cast(pa.string()) for table in (ours,) for name in ("user", "last_item")]
    assert texts[0].equals(theirs["user"].cast(pa.string()))
    assert texts[1].equals(theirs["item"].cast(pa.string())), "the last items differ"
    print("  ours equals Feast's", flush=True)


def measure(
    events: int = 400_000, spine: int = 40_000, rounds: int = 3, limit: float = 600
) -> dict[str, float]:
    """Both, in turn, on the same data; medians. Raises SystemExit where one does not finish."""
    for name, rows, asked in (("warm", 20_000, 2_000), (None, events, spine)):
        folder = BUILD / (name or f"latest-{events}-{spine}")
        if not (folder / "spine.parquet").is_file():
            command = [sys.executable, str(HERE / "data.py"), str(folder), "--events", str(rows)]
            subprocess.run([*command, "--spine", str(asked)], check=True)
    runs: dict[str, list[dict[str, float]]] = {"ours_last_item": [], "feast_last_item": []}
    for _ in range(rounds):
        for system, found in runs.items():
            run = once(system, folder, limit)
            if run is None:
                raise SystemExit(f"{system} did not finish")
            found.append(run)
    check_equal()
    ours, feast = (statistics.median(r["seconds"] for r in found) for found in runs.values())
    peak = max(run["peak"] for run in runs["feast_last_item"])
    return {
        "events": events,
        "spine": spine,
        "seconds": ours,
        "vs_feast": round(feast / ours, 1),
        "peak_gb_feast": round(peak / 1e9, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--spine", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=600, help="seconds a run may take")
    print(json.dumps(measure(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
