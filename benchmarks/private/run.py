"""All of private measurement: Prio3, local DP, central DP, and DAP between two processes.

    python benchmarks/private/run.py [--quick] [--no-npm] [--no-picture]

Runs `prio3.py`, `local.py`, `dap.py` and, where it is there, `central.py`, each in a process of its
own; puts beside Prio3's costs the npm client's (`@divviup/prio3`, under Node, on this machine, in
`build/`) and what libprio-rs published of its own; draws the error of frequency oracles against ε.
The last line is one JSON object. Times on a machine that does other things too are too long; ratios
of one run are less so, and what DAP costs is given in processor time as well.
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


def part(name: str, *words: str | Path) -> dict[str, Any]:
    """The JSON object on the last line of a benchmark; what else it prints passes by."""
    run = subprocess.run(
        [sys.executable, HERE / name, *words], stdout=subprocess.PIPE, text=True, check=True
    )
    print(f"\n## {name}\n{run.stdout.rstrip()}", flush=True)
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def npm() -> dict[str, float]:
    """Microseconds that the npm client takes to shard, by instance; nothing without Node."""
    if shutil.which("npm") is None:
        print("npm is not installed: no figures of the npm client")
        return {}
    BUILD.mkdir(parents=True, exist_ok=True)
    if not (BUILD / "node_modules" / "@divviup").is_dir():
        (BUILD / "package.json").write_text('{"type": "module"}')
        install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "@divviup/prio3@0.8.0"]
        subprocess.run(install, cwd=BUILD, check=True)
    (BUILD / "shard.mjs").write_text(NPM)
    run = ["node", "shard.mjs", json.dumps(KINDS)]
    out = subprocess.run(run, cwd=BUILD, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(out.stdout)
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


def picture(errors: dict[str, Any]) -> Path | None:
    """Frequency oracles' error against ε, by matplotlib in an environment of its own."""
    home = BUILD / "plot"
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "matplotlib"]
        if subprocess.run(install).returncode:
            print("matplotlib cannot be installed: no picture of its")
            return None
    drawn, target = BUILD / "errors.json", BUILD / "oracles.svg"
    drawn.write_text(json.dumps(errors))
    subprocess.run([python, HERE / "picture.py", drawn, target], check=True)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer reports, shorter steps, no OpenDP"
    )
    parser.add_argument("--no-npm", action="store_true")
    parser.add_argument("--no-picture", action="store_true")
    given = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    seconds = "0.05" if given.quick else "0.3"
    summary: dict[str, Any] = {}
    prio3 = part("prio3.py", "--seconds", seconds)
    local: list[str | Path] = ["--seconds", seconds, "--out", BUILD / "local.svg"]
    summary |= part("local.py", *local, *(["--reports", "200000"] if given.quick else []))
    summary |= part("dap.py", "--reports", "4000" if given.quick else "20000")
    if (HERE / "central.py").exists():
        few = ["--rows", "200000", "--people", "20000", "--no-opendp"]
        summary |= part("central.py", *(few if given.quick else []))
    else:
        print("central.py is not there: no figures of central DP")
    variants = prio3.pop("variants")
    summary |= prio3
    others = {} if given.no_npm else npm()
    compared(variants, others)
    if "histogram_1000" in others:
        ratio = others["histogram_1000"] / variants["histogram_1000"]["shard_alone_us"]
        summary["histogram1000_shard_vs_npm"] = round(ratio, 1)
    summary["prio3"] = variants
    summary["npm_shard_us"] = {name: round(value, 1) for name, value in others.items()}
    if not given.no_picture:
        found = picture(summary["ldp_error"])
        print(f"picture: {found or BUILD / 'local.svg'}")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
