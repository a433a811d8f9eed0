"""Two processes for real: killed in the middle of their work and started again, they lose nothing
and count nothing twice."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from dap_processes import Parties, port
from dap_world import RANDOM

from tacit.collect.dap.messages import BatchMode
from tacit.collect.dap.task import Task, Vdaf
from tacit.errors import CollectError

VALUES = [i % 7 for i in range(1500)]
TOTAL = [VALUES.count(i) for i in range(8)]


def histogram(urls: list[str]) -> Task:
    vdaf = Vdaf("histogram", {"length": 8, "chunk_length": 3})
    return Task(RANDOM.bytes(32), urls[0], urls[1], 3600, 100, BatchMode.TIME_INTERVAL, vdaf)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["helper", "leader"])
def test_kill_9_in_the_middle_of_jobs(tmp_path: Path, victim: str) -> None:
    """Jobs are small, so that every kill meets one under way; the log says that some failed."""
    with Parties(tmp_path / "task", histogram, "job_size = 15") as parties:
        client, start = parties.client(), int(time.time())
        reports = client.reports(VALUES)

        def upload() -> None:
            for at in range(0, len(reports), 50):
                part = reports[at : at + 50]
                for _ in range(100):
                    try:
                        statuses = client.upload(part)
                    except CollectError as error:
                        if error.code != "T820":
                            raise
                        continue
                    # A retry of what had arrived is told so, and is not counted again.
                    assert {s.error.name for s in statuses} <= {"REPORT_REPLAYED"}
                    break
                else:
                    raise AssertionError("the leader never came back")

        uploading = threading.Thread(target=upload)
        uploading.start()
        for _ in range(4):
            time.sleep(0.7)
            parties.kill(victim)
            time.sleep(0.2)
            parties.start(victim)
            parties.wait(victim)
        uploading.join()
        collector = parties.collector()
        found = collector.collect(collector.interval(start, int(time.time()) + 1), patience=120)
        log = parties.log("leader")
    assert (found.value, found.reports) == (TOTAL, len(VALUES))
    assert "T820" in log if victim == "helper" else log.count("the leader listens") == 5


@pytest.mark.slow
def test_the_commands(tmp_path: Path) -> None:
    """`tacit dap upload` and `collect`, a graceful end, and files that nobody else reads."""
    with Parties(tmp_path / "task", histogram) as parties:
        folder = parties.folder
        (tmp_path / "values").write_text("\n".join(map(str, VALUES[:200])))

        def tacit(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "tacit.cli", "dap", *arguments]
            return subprocess.run(command, capture_output=True, text=True, timeout=120)

        start = int(time.time())
        sent = tacit("upload", str(folder / "client.toml"), str(tmp_path / "values"))
        assert (sent.returncode, sent.stdout) == (
            0,
            "200 reports are with the leader, 0 were refused\n",
        )
        for name in ("leader", "helper"):
            for path in (folder / f"{name}.toml", folder / f"{name}.db"):
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
        second = tacit("helper", str(folder / "helper.toml"))
        assert second.returncode == 1
        assert "T703" in second.stderr  # one process a file
        ends = ["--start", str(start), "--end", str(start + 1)]
        got = tacit("collect", str(folder / "collector.toml"), *ends)
        assert '"reports": 200' in got.stdout, got.stderr
        parties.running["leader"].terminate()
        assert parties.running["leader"].wait(30) in (0, -15)
        assert "Traceback" not in parties.log("leader")


@pytest.mark.slow
def test_a_release_by_command(tmp_path: Path) -> None:
    """Noise, budget and ledger from `tacit dap new` to the sum; the same query costs once."""
    folder = tmp_path / "task"
    ports = {name: port() for name in ("leader", "helper")}
    urls = [f"http://127.0.0.1:{number}/{name}" for name, number in ports.items()]
    listen = [f"127.0.0.1:{number}" for number in ports.values()]

    def tacit(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tacit.cli", "dap", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    new = [
        "new",
        str(folder),
        "histogram",
        "--length",
        "8",
        "--leader",
        urls[0],
        "--helper",
        urls[1],
    ]
    new += ["--listen", *listen, "--min-batch-size", "50"]
    alone = tacit(*new, "--noise", "gaussian", "25")
    assert (alone.returncode, "T825" in alone.stderr) == (1, True)
    made = tacit(*new, "--noise", "gaussian", "25", "--budget", "measure", "1.2", "1e-6")
    assert made.returncode == 0, made.stderr
    (tmp_path / "values").write_text("\n".join(map(str, VALUES[:70])))
    with Parties.of(folder, ports):
        start = int(time.time())
        assert (
            tacit("upload", str(folder / "client.toml"), str(tmp_path / "values")).returncode == 0
        )
        ask = ["collect", str(folder / "collector.toml"), "--start"]
        first = tacit(*ask, str(start), "--end", str(start + 1))
        assert first.returncode == 0, first.stderr
        found = json.loads(first.stdout)
        assert found["reports"] == 70
        assert found["sigma"] == pytest.approx(50**0.5)
        assert all(abs(value - 10) < 60 for value in found["value"])
        assert tacit(*ask, str(start), "--end", str(start + 1)).stdout == first.stdout
        over = tacit(*ask, str(start - 9000), "--end", str(start - 8000))
        assert (over.returncode, "T501" in over.stderr) == (1, True)
