"""Time and memory of the 26 columns: ours beside the systems of `table.py`, and the floor.

Every run is a process of its own, from Parquet to Parquet, after a small run that compiles and
warms; rounds are interleaved and medians are taken. Ours must equal DuckDB's result: counts and
items exactly, floats to what DuckDB's differences of running sums leave of them. Every run is kept
in `build/signals/runs.json`, and drawn in `build/signals/time.svg`. The last line is one JSON
object; ratios have ours as 1, null is for what did not run, and spreads are the least and the most
seconds. What does not finish on the main size is compared on the largest that it does.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

import last_item
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from table import HERE, MILLION, REPORTED, ROOT, SYSTEMS, own_python

BUILD = ROOT / "build" / "signals"
Run = dict[str, float]
Runs = dict[str, dict[str, list[Run]]]  # case → system → runs


def data(name: str, events: int, spine: int, keys: int | None = None) -> Path:
    folder = BUILD / name
    if not (folder / "spine.parquet").is_file():
        command = [sys.executable, HERE / "data.py", folder, "--events", str(events)]
        command += ["--spine", str(spine), *(["--keys", str(keys)] if keys else [])]
        subprocess.run(command, check=True)
    return folder


def size_name(events: int) -> str:
    return f"{events / MILLION:g}m"


def once(system: str, folder: Path) -> list[Run]:
    """One run; none when it failed, as for want of memory, or took half an hour."""
    target = BUILD / f"{system}.parquet"
    script = HERE / "systems" / SYSTEMS[system].script
    command = [SYSTEMS[system].python(), "-W", "ignore", script, folder, target]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=1800, check=False)
    except subprocess.TimeoutExpired:
        print(f"  {system} on {folder.name}: not done in half an hour", flush=True)
        return []
    if done.returncode:
        print(f"  {system} on {folder.name}: failed with {done.returncode}", flush=True)
        return []
    found: Run = json.loads(done.stdout.splitlines()[-1])
    peak = found["peak"] / 1e9
    print(f"  {system} on {folder.name}: {found['seconds']} s, {peak:.2f} GB", flush=True)
    return [found]


def seconds(found: list[Run]) -> float:
    return statistics.median(run["seconds"] for run in found) if found else math.nan


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
    return None if math.isnan(found) or math.isinf(found) else round(found, 2)


def measure(sizes: list[int], systems: list[str], others: dict[str, Path], rounds: int) -> Runs:
    """Every system on every size that it is meant for, and ours on the other cases."""
    cases = {size_name(n): data(size_name(n), n, min(MILLION, n // 5)) for n in sizes}
    runs: Runs = {case: {} for case in (*cases, *others)}
    for round_ in range(rounds):
        for n, (case, folder) in zip(sizes, cases.items(), strict=True):
            for name in systems:
                system = SYSTEMS[name]
                if system.least <= n <= system.most and not (system.once and round_):
                    runs[case].setdefault(name, []).extend(once(name, folder))
            if all(runs[case].get(name) for name in ("ours", "duckdb")) and not round_:
                check_equal()
        for case, folder in others.items():
            runs[case].setdefault("ours", []).extend(once("ours", folder))
    return runs


def result(runs: Runs, sizes: list[int]) -> dict[str, object]:
    """The figures of the last line."""
    main = size_name(20 * MILLION if 20 * MILLION in sizes else max(sizes))
    time = {name: seconds(found) for name, found in runs[main].items()}
    ours = time.get("ours", math.nan)
    found: dict[str, object] = {"events": main, "seconds": ours}
    ran = [size_name(n) for n in sorted(sizes, reverse=True)]
    for name in (*REPORTED, *(n for n in time if SYSTEMS[n].against and n not in REPORTED)):
        case = next((c for c in (main, *ran) if runs[c].get(name)), main)
        top, bottom = (seconds(runs[case].get(each, [])) for each in (name, "ours"))
        found[f"vs_{name}"] = ratio(top, bottom)
        if case != main:
            found[f"vs_{name}_events"] = case
    floors = [time[name] for name in time if name.startswith("floor") and time[name] > 0]
    found["vs_floor"] = ratio(ours, min(floors, default=math.nan))

    def compared(case: str, other: str) -> float | None:
        top, bottom = (seconds(runs.get(c, {}).get("ours", [])) for c in (case, other))
        return ratio(top, bottom)

    found["skew_cost"] = compared("20m-50", "20m-10000")
    found["growth_5m_20m"] = compared("20m", "5m")
    found["growth_20m_100m"] = compared("100m", "20m")
    found["spine_1m_5m"] = compared("20m-5m", "20m")
    for case in ("20m", "100m"):
        peaks = [run["peak"] for run in runs.get(case, {}).get("ours", [])]
        found[f"peak_gb_{case}"] = round(max(peaks) / 1e9, 2) if peaks else None
    found["spread"] = {
        name: [min(r["seconds"] for r in each), max(r["seconds"] for r in each)]
        for name, each in runs[main].items()
        if each
    }
    return found


def draw(runs: Runs, sizes: list[int]) -> None:
    """`runs.json` and `time.svg`, under `build/signals`."""
    (BUILD / "runs.json").write_text(json.dumps(runs, indent=1) + "\n")
    lines: dict[str, dict[int, list[float]]] = {}
    for n in sizes:
        for name, found in runs[size_name(n)].items():
            if found:
                lines.setdefault(name, {})[n] = [run["seconds"] for run in found]
    drawn = BUILD / "picture.json"
    drawn.write_text(json.dumps(lines))
    python = own_python("matplotlib", ("matplotlib>=3.9",))
    subprocess.run([python, HERE / "picture.py", drawn, BUILD / "time.svg"], check=True)
    print(f"  drawn: {BUILD / 'time.svg'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=SYSTEMS, help="these systems alone")
    parser.add_argument("--without", nargs="*", default=[], choices=SYSTEMS)
    parser.add_argument(
        "--sizes", nargs="*", type=float, default=[1, 5, 20, 100], help="millions of events"
    )
    parser.add_argument("--no-skew", action="store_true", help="neither few keys nor a long spine")
    parser.add_argument("--no-picture", action="store_true")
    parser.add_argument("--no-feast", action="store_true", help="nor the latest-value join")
    given = parser.parse_args()
    data("warm", 20_000, 2_000)
    sizes = [int(size * MILLION) for size in given.sizes]
    systems = [name for name in given.only or SYSTEMS if name not in given.without]
    others = (
        {}
        if given.no_skew
        else {
            "20m-50": data("20m-50", 20 * MILLION, MILLION, 50),
            "20m-10000": data("20m-10000", 20 * MILLION, MILLION, 10_000),
            "20m-5m": data("20m-5m", 20 * MILLION, 5 * MILLION),
        }
    )
    runs = measure(sizes, systems, others, given.rounds)
    if not given.no_picture:
        draw(runs, sizes)
    found = result(runs, sizes)
    if not given.no_feast:
        latest = last_item.measure(rounds=given.rounds)
        found |= {"vs_feast": latest["vs_feast"], "vs_feast_events": size_name(latest["events"])}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
