"""Reports made by an independent client, the npm package `@divviup/dap`, are summed right.

It speaks draft 09 and VDAF 08, and runs under Node; it is installed into `build/` when missing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from dap_processes import Parties
from dap_world import RANDOM

from tacit.collect.dap.messages import BatchMode
from tacit.collect.dap.task import Task, Vdaf

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("dap_npm.mjs")
PACKAGES = ["@divviup/dap@0.9.1", "@divviup/prio3@0.8.0"]

CASES: dict[str, tuple[Vdaf, dict[str, Any], list[Any], Any]] = {
    "count": (Vdaf("count", {}, 8), {"type": "count"}, [True, False, True] * 4, 8),
    "sum": (
        Vdaf("sum", {"max_measurement": 255}, 8),
        {"type": "sum", "bits": 8},
        [0, 255, 7, 100] * 3,
        1086,
    ),
    "histogram": (
        Vdaf("histogram", {"length": 5, "chunk_length": 2}, 8),
        {"type": "histogram", "length": 5, "chunkLength": 2},
        [0, 4, 4, 2] * 3,
        [3, 0, 3, 0, 6],
    ),
    "sum_vec": (
        Vdaf("sum_vec", {"length": 3, "max_measurement": 15, "chunk_length": 4}, 8),
        {"type": "sumVec", "length": 3, "bits": 4, "chunkLength": 4},
        [[1, 0, 15], [2, 3, 4]] * 6,
        [18, 18, 114],
    ),
}


@pytest.fixture(scope="module")
def node() -> Path:
    """A folder with the script and the packages."""
    if shutil.which("npm") is None:
        pytest.skip("there is no Node here")
    folder = ROOT / "build" / "npm-dap"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"type": "module", "private": true}')
    if not (folder / "node_modules/@divviup/dap").is_dir():
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-save", *PACKAGES]
        subprocess.run(command, cwd=folder, check=True)
    shutil.copy(SCRIPT, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(BatchMode))
@pytest.mark.parametrize("name", CASES)
def test_the_npm_clients_reports_are_summed(
    tmp_path: Path, node: Path, name: str, mode: BatchMode
) -> None:
    vdaf, spec, values, total = CASES[name]

    def task_of(urls: list[str]) -> Task:
        return Task(RANDOM.bytes(32), urls[0], urls[1], 3600, len(values), mode, vdaf, version=9)

    with Parties(tmp_path / "task", task_of) as parties:
        start = int(time.time())
        client = {
            **spec,
            "id": parties.task.name,
            "leader": parties.task.leader,
            "helper": parties.task.helper,
            "timePrecisionSeconds": 3600,
        }
        given = json.dumps({"task": client, "values": values})
        run = subprocess.run(
            ["node", SCRIPT.name, given], cwd=node, capture_output=True, text=True, timeout=120
        )
        assert run.returncode == 0, run.stderr
        assert json.loads(run.stdout) == {"sent": len(values), "version": "dap-09"}
        collector = parties.collector()
        query = collector.next_batch()
        if mode is BatchMode.TIME_INTERVAL:
            query = collector.interval(start, int(time.time()) + 1)
        found = collector.collect(query, patience=60)
    assert (found.value, found.reports) == (total, len(values))
