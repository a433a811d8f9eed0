"""All of private measurement: Prio3, local DP, central DP, and DAP between two processes.

    python benchmarks/private/run.py [--quick] [--no-npm] [--no-picture]

Runs `prio3.py`, `local.py`, `dap.py` and, where it is there, `central.py`, each in a process of its
own; puts beside Prio3's costs the npm client's (`@divviup/prio3`, under Node, on this machine, in
`build/`) and what libprio-rs published of its own; draws the error of frequency oracles against ε.
The last line is one JSON object, with a null for what could not be measured, and under `failed` the
reason. Times on a machine that does other things too are too long; ratios of one run are less so,
and what DAP costs is given in processor time as well.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "private"

PUBLISHED = {
    "count": ("shard 14.3 µs, prepare_init 7.2 µs", "pull request 1090, July 2024"),
    "sum_32bit": ("shard 35 µs, 960 bytes", "pull request 127, November 2021, VDAF-00"),
    "sum_vec_100x1": ("shard 256 µs", "pull request 695, August 2023, VDAF-07"),
    "sum_vec_1000x1": ("shard 3.59 ms", "pull request 695, August 2023, VDAF-07"),
}
"""What its authors measured of libprio-rs on their machines: github.com/divviup/libprio-rs. Pull
request 1340 (October 2025) says that `prepare_init` is about twice as fast since."""

NPM = """
import * as vdafs from "@divviup/prio3";
const cases = JSON.parse(process.argv[2]);
const found = {};
for (const [name, { kind, parameters, measurement }] of Object.entries(cases)) {
  if (!vdafs[kind]) continue;
  const vdaf = new vdafs[kind]({ shares: 2, ...parameters });
  const once = async (i) =>
    vdaf.shardEncoded(measurement, Buffer.alloc(16, i), Buffer.alloc(vdaf.randSize, i));
  const times = [];
  for (let i = 0, spent = 0; i < 3 || (spent < 1000 && i < 200); i++) {
    const start = performance.now(); await once(i); times.push(performance.now() - start);
    spent += times.at(-1);
  }
  found[name] = Math.min(...times) * 1000;
}
console.log(JSON.stringify(found));
"""
KINDS: dict[str, dict[str, Any]] = {
    "count": {"kind": "Prio3Count", "parameters": {}, "measurement": True},
    "sum_8bit": {"kind": "Prio3Sum", "parameters": {"bits": 8}, "measurement": 100},
    "sum_32bit": {"kind": "Prio3Sum", "parameters": {"bits": 32}, "measurement": 100},
    "sum_vec_100x8": {
        "kind": "Prio3SumVec",
        "parameters": {"bits": 8, "length": 100, "chunkLength": 28},
        "measurement": [7] * 100,
    },
    "sum_vec_1000x8": {
        "kind": "Prio3SumVec",
        "parameters": {"bits": 8, "length": 1000, "chunkLength": 89},
        "measurement": [7] * 1000,
    },
    "histogram_100": {
        "kind": "Prio3Histogram",
        "parameters": {"length": 100, "chunkLength": 10},
        "measurement": 3,
    },
    "histogram_1000": {
        "kind": "Prio3Histogram",
        "parameters": {"length": 1000, "chunkLength": 32},
        "measurement": 3,
    },
    "histogram_10000": {
        "kind": "Prio3Histogram",
        "parameters": {"length": 10_000, "chunkLength": 100},
        "measurement": 3,
    },
}
"""The instances of `prio3.py` that the npm client has too, by its names."""


KEYS = (
    "histogram1000_verify_ms",
    "count_verify_us",
    "histogram1000_shard_vs_npm",
    "central_25k_keys_s",
    "central_vs_opendp",
    "dap_reports_per_s",
    "ldp_reports_per_s",
)
"""What the last line always has."""


def part(name: str, failed: dict[str, str], *words: str | Path) -> dict[str, Any]:
    """The JSON object on the last line of a benchmark; what else it prints passes by. One that
    fails stops no other: nothing is found then, and `failed` says why."""
    run = subprocess.run([sys.executable, HERE / name, *words], capture_output=True, text=True)
    print(f"\n## {name}\n{run.stdout.rstrip()}", flush=True)
    try:
        found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        found = {}
    if run.returncode or not found:
        print(run.stderr[-4000:], flush=True)
        lines = run.stderr.strip().splitlines() or [f"it ended with {run.returncode}"]
        failed[name] = lines[-1][:300]
        return {}
    return found


def npm(failed: dict[str, str]) -> dict[str, float]:
    """Microseconds that the npm client takes to shard, by instance; nothing without Node."""
    if shutil.which("npm") is None:
        failed["npm"] = "npm is not installed"
        return {}
    BUILD.mkdir(parents=True, exist_ok=True)
    try:
        if not (BUILD / "node_modules" / "@divviup").is_dir():
            (BUILD / "package.json").write_text('{"type": "module"}')
            quiet = ["--silent", "--no-audit", "--no-fund"]
            install = ["npm", "install", *quiet, "@divviup/prio3@0.8.0"]
            subprocess.run(install, cwd=BUILD, check=True)
        (BUILD / "shard.mjs").write_text(NPM)
        run = ["node", "shard.mjs", json.dumps(KINDS)]
        out = subprocess.run(run, cwd=BUILD, check=True, capture_output=True, text=True)
        found: dict[str, float] = json.loads(out.stdout)
    except (subprocess.CalledProcessError, OSError, ValueError) as error:
        failed["npm"] = str(error)[:300]
        return {}
    return found


def compared(variants: dict[str, Any], others: dict[str, float]) -> None:
    """A line an instance: what a report costs its client and a verifier, here and elsewhere."""
    print("\n## Prio3, a report: client, verification, bytes; beside the npm client\n")
    heads = ("client", "npm client", "times", "leader", "helper", "upload", "verifier")
    units = ("µs", "µs", "", "µs", "µs", "bytes", "bytes")
    print(f"{'':26}" + "".join(f"{head:>12}" for head in heads))
    print(f"{'':26}" + "".join(f"{unit:>12}" for unit in units))
    for name, row in variants.items():
        other = others.get(name)
        cells = [
            f"{row['shard_alone_us']:.1f}",
            "–" if other is None else f"{other:.0f}",
            "–" if other is None else f"{other / row['shard_alone_us']:.0f}",
            f"{row['leader_init_us']:.1f}",
            f"{row['helper_us']:.1f}",
            f"{row['upload_bytes']:.0f}",
            f"{row['verifier_bytes']:.0f}",
        ]
        print(f"{name:26}" + "".join(f"{cell:>12}" for cell in cells))
    print("\npublished of libprio-rs, on its authors' machines:")
    for name, (figures, source) in PUBLISHED.items():
        print(f"  {name:24}{figures}   ({source})")


def picture(errors: dict[str, Any], failed: dict[str, str]) -> Path | None:
    """Frequency oracles' error against ε, by matplotlib in an environment of its own."""
    home = BUILD / "plot"
    python, ready = home / "bin" / "python", home / ".ready"
    drawn, target = BUILD / "errors.json", BUILD / "oracles.svg"
    drawn.write_text(json.dumps(errors))
    try:
        if not ready.exists():
            subprocess.run([sys.executable, "-m", "venv", home], check=True)
            install = [python, "-m", "pip", "install", "--quiet", "matplotlib"]
            subprocess.run(install, check=True)
            ready.touch()
        subprocess.run([python, HERE / "picture.py", drawn, target], check=True)
    except (subprocess.CalledProcessError, OSError) as error:
        failed["picture"] = str(error)[:300]
        return None
    return target


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer reports, shorter steps, no OpenDP"
    )
    parser.add_argument("--no-npm", action="store_true")
    parser.add_argument("--no-picture", action="store_true")
    given = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    seconds = "0.05" if given.quick else "0.3"
    summary: dict[str, Any] = dict.fromkeys(KEYS)
    failed: dict[str, str] = {}
    prio3 = part("prio3.py", failed, "--seconds", seconds)
    local: list[str | Path] = ["--seconds", seconds, "--out", BUILD / "local.svg"]
    summary |= part("local.py", failed, *local, *(["--reports", "200000"] if given.quick else []))
    summary |= part("dap.py", failed, "--reports", "4000" if given.quick else "20000")
    few = ["--rows", "200000", "--people", "20000", "--no-opendp"]
    summary |= part("central.py", failed, *(few if given.quick else []))
    variants = prio3.pop("variants", {})
    summary |= prio3
    others = {} if given.no_npm else npm(failed)
    compared(variants, others)
    if "histogram_1000" in others and variants:
        ratio = others["histogram_1000"] / variants["histogram_1000"]["shard_alone_us"]
        summary["histogram1000_shard_vs_npm"] = round(ratio, 1)
    summary["prio3"] = variants
    summary["npm_shard_us"] = {name: round(value, 1) for name, value in others.items()}
    if not given.no_picture and "ldp_error" in summary:
        found = picture(summary["ldp_error"], failed)
        print(f"picture: {found or BUILD / 'local.svg'}")
    print(json.dumps(summary | {"failed": failed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
