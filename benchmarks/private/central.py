"""A private group-by of 25,000 keys, beside OpenDP's Polars interface on the same rows.

    python benchmarks/private/central.py [--rows 1000000] [--people 100000] [--rounds 3]

People count to at most eight keys, once each; keys are public; ε = 1, δ = 1e-7. *Ours* is the whole
of it from a Parquet file: check, tree, reservation in the ledger, DuckDB, noise, the answer on the
disk, commit, the table read back; a project that is open, as a service has it, and a new question
each time. *OpenDP* has a virtual environment of its own, made on first use. It plans and runs the
same, with the same public keys: its time is told in two parts, and the comparison is with both. Its
`truncate_num_groups` keeps a person's first groups, not some at random: that way fails as of 0.16
("multiple fields with name"). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks" / "signals"))

KEYS = 25_000
EPSILON, DELTA, GROUPS = 1.0, 1e-7, 8

SIGNALS = '''\
"""A benchmark."""

from tacit import *

person = Entity("Someone.", person="pseudonymous")
thing = Entity("Something.")
measure = Purpose("Measure.", use="analytics", basis="consent", epsilon=1e6, delta=1e-3)
visits = Events(
    "What was looked at.", place="cloud", region="eu", keep="ever", basis="consent",
    purposes=[measure], time="at", category="user.behavior",
    columns={
        "person": key(person, "user.unique_id.pseudonymous"), "item": key(thing), "at": time(),
    },
)
'''

OPENDP = """
import json, sys, time
import polars as pl
import opendp.prelude as dp
dp.enable_features("contrib")
rows, keys, epsilon, delta, groups, rounds = sys.argv[1:]
groups, times = int(groups), []
for _ in range(int(rounds)):
    started, used = time.perf_counter(), time.process_time()
    context = dp.Context.compositor(
        data=pl.scan_parquet(rows),
        privacy_unit=dp.unit_of(contributions=1, identifier=pl.col("person")),
        privacy_loss=dp.loss_of(epsilon=float(epsilon), delta=float(delta)),
        split_evenly_over=1,
    )
    query = context.query().truncate_per_group(1, by=["item"])
    query = query.truncate_num_groups(groups, by=["item"], keep="first")
    query = query.group_by("item").agg(dp.len()).with_keys(pl.scan_parquet(keys))
    released = query.release()
    planned = time.perf_counter()
    table = released.collect()
    ended = time.perf_counter(), time.process_time()
    times.append((planned - started, ended[0] - planned, ended[1] - used, table.height))
print(json.dumps(times))
"""


def write(folder: Path, rows: int, people: int) -> None:
    """The project, and its rows: Zipf-like keys, every key at least once."""
    rng = np.random.default_rng(1)
    rank = np.minimum(rng.zipf(1.2, rows) - 1, 10 * KEYS) % KEYS
    rank[:KEYS] = np.arange(KEYS)
    table = pa.table(
        {
            "person": pa.array(rng.integers(0, people, rows)).cast(pa.string()),
            "item": pa.array(rng.permutation(KEYS)[rank]).cast(pa.string()),
            "at": pa.array(rng.integers(0, 10**15, rows)).cast(pa.timestamp("us")),
        }
    )
    pq.write_table(table, folder / "visits.parquet")
    pq.write_table(pa.table({"item": [str(i) for i in range(KEYS)]}), folder / "keys.parquet")
    (folder / "signals.py").write_text(SIGNALS)
    settings = 'name = "bench"\n[sources.visits]\npath = "visits.parquet"\n'
    (folder / "tacit.toml").write_text(settings)


def ours(folder: Path, rounds: int) -> dict[str, float]:
    """Seconds of the best round, of wall and of processor time; and the standard error."""
    from tacit.project import Project
    from tacit.project.central import CentralQuery, Measure, answer

    project = Project.load(folder)
    keys = pq.read_table(folder / "keys.parquet")
    wall, cpu, error = [], [], 0.0
    for epoch in range(rounds + 1):  # the first compiles the plan and imports what is needed
        query = CentralQuery(
            source="visits", keys=("item",), measures=(Measure(kind="persons"),), public_keys=keys,
            epsilon=EPSILON, delta=DELTA, max_groups=GROUPS,
        )  # fmt: skip
        before = time.perf_counter(), time.process_time()
        found = answer(project, query, purpose="measure", epoch=epoch).table
        wall.append(time.perf_counter() - before[0])
        cpu.append(time.process_time() - before[1])
        assert found.num_rows == KEYS
        error = found["persons_error"][0].as_py()
    return {"seconds": min(wall[1:]), "cpu": min(cpu[1:]), "first": wall[0], "error": error}


def theirs(folder: Path, rounds: int) -> list[tuple[float, float, float, int]]:
    """OpenDP's seconds of planning, of running, of processor time, and its keys, by round; none
    where it could not be installed, or failed twice, and it is told why."""
    from table import own_python

    try:
        python = own_python("opendp", ("opendp[polars]>=0.14", "pyarrow"))
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"OpenDP  cannot be installed: {error}")
        return []
    command = [
        str(python), "-c", OPENDP, str(folder / "visits.parquet"), str(folder / "keys.parquet"),
        str(EPSILON), str(DELTA), str(GROUPS), str(rounds),
    ]  # fmt: skip
    for _ in range(2):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if not done.returncode:
            found: list[tuple[float, float, float, int]] = json.loads(done.stdout.splitlines()[-1])
            return found
        print(f"OpenDP  failed ({done.returncode}):\n{done.stderr[-2000:]}")
    return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-opendp", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as raw:
        folder = Path(raw)
        write(folder, asked.rows, asked.people)
        mine = ours(folder, asked.rounds)
        print(f"{asked.rows:,} rows, {asked.people:,} people, {KEYS:,} keys, ε={EPSILON:g}")
        cost = f"{mine['seconds']:.3f} s, {mine['cpu']:.3f} s of processor"
        print(f"ours    {cost}; {mine['first']:.3f} s the first time; ±{mine['error']:.1f}")
        other = None
        rounds = [] if asked.no_opendp else theirs(folder, asked.rounds)
        if rounds:
            plan, ran, used, keys = min(rounds, key=lambda one: one[0] + one[1])
            other = plan + ran
            cost = f"{other:.3f} s, {used:.3f} s of processor"
            print(f"OpenDP  {cost}; {plan:.3f} s to plan, {ran:.3f} s to run; {keys:,} keys")
    ratio = None if other is None else round(other / mine["seconds"], 2)
    summary = {
        "central_25k_keys_s": round(mine["seconds"], 3),
        "central_25k_keys_cpu_s": round(mine["cpu"], 3),
        "central_vs_opendp": ratio,
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
