"""Reports a second through a leader and a helper, each a process of its own, on this machine.

    python benchmarks/private/dap.py [--reports 20000] [--length 100] [--npm]

A histogram's reports are made first; then they are uploaded (many to a request, from a few
connections), verified by both aggregators, committed, collected and opened. The rate is over all of
that. On a machine that does other things too, processor time says more: what a report costs each
party, and what two processors would do at that price (`dap_reports_per_s_by_cpu`). Beside it, the
latency of uploads of one report each, while nothing else runs and while aggregation does; and with
`--npm`, what `@divviup/prio3` takes to shard under Node, which is installed into a temporary
folder. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tacit.collect.dap.client import Client
from tacit.collect.dap.collector import Collector
from tacit.collect.dap.messages import BatchMode, Report
from tacit.collect.dap.peer import HttpPeer
from tacit.collect.dap.settings import new_task, read_settings
from tacit.collect.dap.task import Task, Vdaf
from tacit.privacy.prio3.circuits import best_chunk_length
from tacit.privacy.randomness import system

SHARD = """
import { Prio3Histogram } from "@divviup/prio3";
const [length, chunkLength, n] = process.argv.slice(2).map(Number);
const vdaf = new Prio3Histogram({ length, chunkLength, shares: 2 });
const once = async (i) => vdaf.shardEncoded(
  i % length, Buffer.alloc(16, i), Buffer.alloc(vdaf.randSize, i));
for (let i = 0; i < 3; i++) await once(i);
const times = [];
for (let i = 0; i < n; i++) {
  const start = performance.now(); await once(i); times.push(performance.now() - start);
}
times.sort((a, b) => a - b);
console.log(times[0]);
"""


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def parties(folder: Path, task_of: Any) -> Iterator[tuple[Task, list[subprocess.Popen[bytes]]]]:
    """A leader and a helper that answer; stopped at the end."""
    ports = [port(), port()]
    urls = [f"http://127.0.0.1:{number}/" for number in ports]
    task = task_of(urls)
    new_task(folder, task, system(), [f"127.0.0.1:{number}" for number in ports])
    running = [
        subprocess.Popen([sys.executable, "-m", "tacit.cli", "dap", name, folder / f"{name}.toml"])
        for name in ("helper", "leader")
    ]
    try:
        for url in urls:
            until(lambda url=url: answers(url), 120)
        yield task, running
    finally:
        for process in reversed(running):  # the leader first: it asks the helper
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def answers(url: str) -> bool:
    try:
        return HttpPeer().request("GET", url + "health", {}, b"").status == 200
    except Exception:
        return False


def until(ready: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)


def cpu(process: subprocess.Popen[bytes]) -> float:
    """Seconds of processor time, user and system."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def queued(pid: int) -> float:
    """Seconds that the process's threads were ready to run and got no processor."""
    delays = [path.read_text().split()[1] for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(map(int, delays)) / 1e9


def rounds(
    task: Task, folder: Path, reports: list[Report], group: int, at: int
) -> tuple[float, float, Any]:
    """Seconds to upload, seconds to the opened sum, and the sum."""
    peer = HttpPeer()
    settings = read_settings(folder / "collector.toml", "collector")
    token = settings.tasks[0].token
    assert token is not None
    collector = Collector(task, settings.keys[0], peer, token)
    client = Client(task, peer)
    parts = [reports[i : i + group] for i in range(0, len(reports), group)]
    start = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        refused = sum(pool.map(lambda part: len(client.upload(part)), parts))
    uploaded = time.perf_counter() - start
    assert refused == 0
    query = collector.interval(at, at + task.time_precision)
    found = collector.collect(query, patience=600)
    return uploaded, time.perf_counter() - start, found


def latency(task: Task, reports: list[Report], connections: int) -> list[float]:
    """Milliseconds of each upload of one report, sorted."""
    peer = HttpPeer()
    client = Client(task, peer)

    def one(report: Report) -> float:
        start = time.perf_counter()
        assert client.upload([report]) == []
        return (time.perf_counter() - start) * 1e3

    with ThreadPoolExecutor(connections) as pool:
        return sorted(pool.map(one, reports))


def quantile(sorted_times: list[float], q: float) -> float:
    return sorted_times[min(len(sorted_times) - 1, int(q * len(sorted_times)))]


def npm_shard(length: int, n: int = 20) -> float | None:
    """Milliseconds of one sharding by the npm client, or None without Node."""
    if shutil.which("npm") is None:
        return None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "package.json").write_text('{"type": "module"}')
        install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "@divviup/prio3@0.8.0"]
        subprocess.run(install, cwd=folder, check=True)
        (folder / "shard.mjs").write_text(SHARD)
        chunk = best_chunk_length(length)
        run = ["node", "shard.mjs", str(length), str(chunk), str(n)]
        out = subprocess.run(run, cwd=folder, check=True, capture_output=True, text=True)
        return float(out.stdout)


def histogram(length: int, urls: list[str]) -> Task:
    return Task(
        id=system().bytes(32),
        leader=urls[0],
        helper=urls[1],
        time_precision=3600,
        min_batch_size=100,
        mode=BatchMode.TIME_INTERVAL,
        vdaf=Vdaf("histogram", {"length": length, "chunk_length": best_chunk_length(length)}),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=20_000)
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--group", type=int, default=100, help="reports of one upload (100)")
    parser.add_argument("--npm", action="store_true")
    given = parser.parse_args()
    summary: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "task"
        with parties(folder, lambda urls: histogram(given.length, urls)) as (task, running):
            measure(task, folder, running, given, summary)
    if given.npm:
        compare_npm(summary)
    print(json.dumps(summary))


def measure(
    task: Task,
    folder: Path,
    running: list[subprocess.Popen[bytes]],
    given: argparse.Namespace,
    summary: dict[str, Any],
) -> None:
    client = Client(task, HttpPeer())
    hour = int(time.time()) // 3600 * 3600
    values = [i % given.length for i in range(given.reports)]
    client.reports(values[:8])
    start = time.process_time()
    reports = client.reports(values, at=hour - 7200)
    made = (time.process_time() - start) / len(reports)
    print(
        f"{len(reports)} reports made, {made * 1e6:.0f} µs of processor time each: shard and seal"
    )
    rounds(task, folder, client.reports([0] * 600, at=hour - 14400), 200, hour - 14400)  # warm
    before = [cpu(process) for process in running]
    own = resource.getrusage(resource.RUSAGE_SELF)
    pids = [process.pid for process in running] + [os.getpid()]
    ready = [queued(pid) for pid in pids]
    uploaded, whole, found = rounds(task, folder, reports, given.group, hour - 7200)
    after = resource.getrusage(resource.RUSAGE_SELF)
    kept = [queued(pid) - was for pid, was in zip(pids, ready, strict=True)]
    spent = [cpu(process) - was for process, was in zip(running, before, strict=True)]
    assert found.value == [values.count(i) for i in range(given.length)]
    client_cpu = after.ru_utime + after.ru_stime - own.ru_utime - own.ru_stime
    per_report = [round(seconds / len(reports) * 1e6) for seconds in (*spent, client_cpu)]
    rate = len(reports) / whole
    print(f"uploaded in {uploaded:.2f} s, summed and opened after {whole:.2f} s: {rate:.0f}/s")
    print("processor time a report, µs: helper {}, leader {}, uploader {}".format(*per_report))
    print(f"two processors of one's own would do {2e6 / sum(per_report):.0f}/s of these")
    print("waited for a processor, s: helper {:.1f}, leader {:.1f}, uploader {:.1f}".format(*kept))
    quiet = latency(task, client.reports([0] * 400, at=hour - 3600), 1)
    load = client.reports([0] * 4000, at=hour - 10800)
    filling = threading.Thread(target=client.upload, args=(load,))
    filling.start()
    busy = latency(task, client.reports([0] * 1000, at=hour - 3600), 8)
    filling.join()
    for label, times in (("one at a time", quiet), ("8 at once, while aggregating", busy)):
        print(f"upload of one report, {label}: p50 {statistics.median(times):.1f} ms,", end=" ")
        print(f"p99 {quantile(times, 0.99):.1f} ms")
    summary |= {
        "dap_reports_per_s": round(rate),
        "dap_upload_p50_ms": round(statistics.median(quiet), 2),
        "dap_upload_p99_ms": round(quantile(quiet, 0.99), 2),
        "dap_upload_busy_p99_ms": round(quantile(busy, 0.99), 2),
        "dap_helper_cpu_us": per_report[0],
        "dap_leader_cpu_us": per_report[1],
        "dap_uploader_cpu_us": per_report[2],
        "dap_client_cpu_us": round(made * 1e6),
        "dap_reports_per_s_by_cpu": round(2e6 / sum(per_report)),
        "dap_waited_for_cpu_s": [round(seconds, 1) for seconds in kept],
    }


def compare_npm(summary: dict[str, Any]) -> None:
    """Sharding a histogram of 1000 buckets, by us and by the npm client."""
    from tacit.privacy import prio3
    from tacit.privacy.prio3.batch import Batch

    one = prio3.histogram(1000)
    batch, nonce, rand = Batch(one), [bytes(16)], [bytes(one.rand_bytes)]
    ours = []
    for value in range(50):
        start = time.perf_counter()
        batch.shard(b"benchmark", [value], nonce, rand)
        ours.append((time.perf_counter() - start) * 1e3)
    theirs = npm_shard(1000)
    if theirs is not None:
        summary["histogram1000_shard_vs_npm"] = round(theirs / min(ours), 1)
        print(f"sharding a histogram of 1000: ours {min(ours):.2f} ms, npm {theirs:.1f} ms")


if __name__ == "__main__":
    main()
