"""Serving beside others, in one run: `python benchmarks/live/run.py [--quick] [--plays N]`.

- HTTP: one listener's fifty signals, by wrk, beside raw ASGI with a constant body of that size
  (`of_ceiling`) and beside Feast's Python feature server with the same values in SQLite and in
  Redis (`vs_feast`, the faster of the two, told not to restart every thousand requests). Rounds
  are interleaved. Told beside the rates: CPU time of the servers a request, which a busy machine
  changes less; and both again where nothing is remembered (`cold`), and where that may take
  800 bytes a listener, less than all do (`some`, `working_set`).
- RESP: GET by redis-benchmark beside a bare Redis that holds the same answers (`resp_of_redis`).
- A batch of 100 listeners, each fifty signals, at half of what the server can do, in an open loop.
- Freshness: events pushed at a rate by one process, while another reads until it sees them.
- Ingestion, growth and memory: by `store.py`'s ways, into ten signals.

Pictures are drawn into build/live. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build" / "live"
FEAST = BUILD.parent / "feast-server"  # not that of benchmarks/signals: it has other extras
PICTURES = BUILD.parent / "pictures"
sys.path.insert(0, str(HERE))

import load  # noqa: E402
import shop  # noqa: E402
from processes import Served, binary, free_port, served  # noqa: E402

from tacit.project import Project  # noqa: E402
from tacit.values import MINUTE  # noqa: E402

TACIT = Path(sys.executable).parent / "tacit"
SERVE = "[serve]\nopen = true\n"


def environment(folder: Path, package: str, module: str) -> Path:
    """Python in an environment of its own that has a package."""
    python = folder / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    if subprocess.run(
        [python, "-c", f"import {module}"], check=False, capture_output=True
    ).returncode:
        subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=True)
    return python


# ---------------------------------------------------------------------- what is served


def make(folder: Path, plays: int, listeners: int, serve: str) -> tuple[Project, dict[str, float]]:
    """The project of fifty signals, filled."""
    shutil.rmtree(folder, ignore_errors=True)
    project = shop.write(folder, shop.module(), serve)
    table = shop.plays(plays, listeners, 20_000, project.now() - MINUTE)
    return project, shop.fill(project, table)


@contextmanager
def ours(folder: Path, port: int, *options: str) -> Iterator[Served]:
    with served([TACIT, "serve", folder, "--port", str(port), *options], port) as found:
        yield found


def forgetful(folder: Path, remember: int) -> Path:
    """The same project over the same store, whose server remembers so many bytes."""
    found = folder.with_name(f"{folder.name}-{remember}")
    shutil.rmtree(found, ignore_errors=True)
    shop.write(found, shop.module(), SERVE + f"remember = {remember}\n")
    (found / ".tacit").symlink_to(folder / ".tacit")
    return found


@contextmanager
def ceiling(body: Path) -> Iterator[Served]:
    port = free_port()
    with served([sys.executable, HERE / "ceiling.py", str(port), body], port) as found:
        yield found


@contextmanager
def feast(values: pa.Table, redis: int | None) -> Iterator[Served]:
    """Feast's feature server over the same values, in SQLite, or in Redis at a port."""
    python = environment(FEAST, "feast[redis]", "feast")
    folder = BUILD / ("feast" if redis is None else "feast-redis")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pq.write_table(values, folder / "values.parquet")
    where = [] if redis is None else [f"127.0.0.1:{redis}"]
    subprocess.run([python, "-W", "ignore", HERE / "feast_repo.py", folder, *where], check=True)
    port = free_port()
    command = [
        python.parent / "feast", "-c", folder, "serve", "-h", "127.0.0.1", "-p", str(port),
        "--no-access-log", "--workers", "1", "--max-requests", "1000000000",
        "--registry_ttl_sec", "3600",
    ]  # fmt: skip
    with served(command, port, env={"FEAST_USAGE": "False"}) as found:
        yield found


@contextmanager
def redis_server(folder: Path) -> Iterator[Served]:
    """A bare Redis, in memory."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        binary("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1",
        "--save", "", "--appendonly", "no", "--dir", folder,
    ]  # fmt: skip
    with served(command, port) as found:
        yield found


# ---------------------------------------------------------------------- requests


def reading(listeners: int, auth: str = "") -> str:
    """Lua: GET of a random listener."""
    return f"""
math.randomseed(os.time())
local head = {{["Authorization"] = "{auth}"}}
request = function()
  local who = string.format("u%012d", math.random(0, {listeners - 1}))
  return wrk.format("GET", "/v1/features/listener/" .. who, head)
end
"""


def asking_feast(listeners: int) -> str:
    """Lua: POST of a random listener, of all fifty."""
    return f"""
math.randomseed(os.time())
local head = {{["Content-Type"] = "application/json"}}
request = function()
  local who = string.format("u%012d", math.random(0, {listeners - 1}))
  local body = '{{"feature_service":"fifty","entities":{{"listener":["' .. who .. '"]}}}}'
  return wrk.format("POST", "/get-online-features", head, body)
end
"""


def batches(size: int, listeners: int) -> Callable[[int], bytes]:
    """Requests for so many listeners at once, fifty signals each."""
    rng = np.random.default_rng(3)
    made = []
    for _ in range(64):
        who = [shop.listener(int(n)) for n in rng.choice(listeners, size, replace=False)]
        body = json.dumps({"keys": {"listener": who}, "signals": shop.FIFTY}).encode()
        made.append(load.post("/v1/features", body))
    return lambda number: made[number % len(made)]


def of_both(run: Callable[[Served], dict[str, float]], one: Served) -> dict[str, float]:
    """A run, and the server's CPU time for each request, µs."""
    before = one.cpu()
    found = run(one)
    return found | {"cpu_us": (one.cpu() - before) * 1e6 / max(1.0, found["requests"])}


def middle(rounds: list[dict[str, float]], name: str) -> float:
    return statistics.median(each[name] for each in rounds)


# ---------------------------------------------------------------------- measures


def http(given: argparse.Namespace, folder: Path, values: pa.Table) -> dict[str, Any]:
    """Ours, the ceiling and Feast's, in turn."""
    found: dict[str, list[dict[str, float]]] = {}
    with ExitStack() as stack:
        port = free_port()
        one = stack.enter_context(ours(folder, port))
        cold = stack.enter_context(ours(forgetful(folder, 1), free_port()))
        some = stack.enter_context(ours(forgetful(folder, 800 * given.listeners), free_port()))
        body = BUILD / "body.json"
        body.write_bytes(_body(port))
        most = stack.enter_context(ceiling(body))
        theirs = stack.enter_context(feast(values, None))
        there = stack.enter_context(redis_server(BUILD / "feast-server"))
        other = stack.enter_context(feast(values, there.port))
        asked = asking_feast(values.num_rows)
        script = reading(given.listeners)
        runs = {
            "ours": (one, script), "ceiling": (most, script), "cold": (cold, script),
            "some": (some, script),
            "feast": (theirs, asked), "feast_redis": (other, asked),
        }  # fmt: skip
        for server in (one, one, some, one):
            load.wrk(server.port, script, seconds=given.seconds)  # remembers whom it reads
        for _ in range(given.rounds):
            for name, (server, lua) in runs.items():
                told = of_both(
                    lambda s, lua=lua: load.wrk(s.port, lua, seconds=given.seconds), server
                )
                found.setdefault(name, []).append(told)
                print(f"  {name}: {told['rps']:,.0f}/s, {told['cpu_us']:.0f} µs CPU", flush=True)
        memory = one.memory()
    rps = {name: middle(rounds, "rps") for name, rounds in found.items()}
    cpu = {name: middle(rounds, "cpu_us") for name, rounds in found.items()}
    return {
        "body_bytes": body.stat().st_size,
        "http_rps": {name: round(value) for name, value in rps.items()},
        "http_cpu_us": {name: round(value, 1) for name, value in cpu.items()},
        "http_p99_ms": {name: round(middle(each, "p99_ms"), 2) for name, each in found.items()},
        "of_ceiling": round(
            statistics.median(
                a["rps"] / b["rps"] for a, b in zip(found["ours"], found["ceiling"], strict=True)
            ), 3,
        ),
        "of_ceiling_cpu": round(cpu["ceiling"] / cpu["ours"], 3),
        "of_ceiling_cold": round(rps["cold"] / rps["ceiling"], 3),
        "of_ceiling_cold_cpu": round(cpu["ceiling"] / cpu["cold"], 3),
        "of_ceiling_working_set": round(rps["some"] / rps["ceiling"], 3),
        "of_ceiling_working_set_cpu": round(cpu["ceiling"] / cpu["some"], 3),
        "vs_feast": round(rps["ours"] / max(rps["feast"], rps["feast_redis"]), 1),
        "vs_feast_cold": round(rps["cold"] / max(rps["feast"], rps["feast_redis"]), 1),
        "server_mb": round(memory / 1e6),
    }  # fmt: skip


def _body(port: int) -> bytes:
    """One answer of ours, as large as most are."""
    import urllib.request

    sizes = []
    for number in range(100):
        url = f"http://127.0.0.1:{port}/v1/features/listener/{shop.listener(number * 7)}"
        with urllib.request.urlopen(url) as said:
            sizes.append(said.read())
    return sorted(sizes, key=len)[50]


def cores(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One worker for each core, all behind one port."""
    port, count = free_port(), os.cpu_count() or 1
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(ours(folder, port, "--shared"))
        script = reading(given.listeners)
        how = {"seconds": given.seconds, "threads": count, "connections": 64}
        for _ in range(3):
            found = load.wrk(port, script, **how)
    return {"workers": count, "http_rps_workers": round(found["rps"])}


def resp(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """GET of both, by redis-benchmark, at the same pipelining."""
    import redis

    found: dict[str, Any] = {}
    port, resp_port = free_port(), free_port()
    count = min(given.listeners, 10_000)
    with ExitStack() as stack:
        theirs = stack.enter_context(redis_server(BUILD / "redis"))
        command = [TACIT, "serve", folder, "--port", str(port), "--resp-port", str(resp_port)]
        us = stack.enter_context(served(command, resp_port))
        plain = redis.Redis(port=theirs.port)
        own = redis.Redis(port=resp_port)
        for low in range(0, count, 500):
            keys = [f"listener:{shop.listener(n)}" for n in range(low, min(low + 500, count))]
            held = own.mget(keys)
            plain.mset({k: v for k, v in zip(keys, held, strict=True) if v is not None})
        asked = ["GET", "listener:u__rand_int__"]
        for pipeline in (1, 16):
            rates: dict[str, list[float]] = {"redis": [], "ours": []}
            cpu = {}
            for number in range(given.rounds + 1):
                for name, server in (("redis", theirs), ("ours", us)):
                    many = given.gets * (4 if pipeline > 1 else 1)
                    before = server.cpu()
                    rate = load.redis_benchmark(
                        resp_port if name == "ours" else server.port,
                        asked, requests=many, pipeline=pipeline, keys=count,
                    )  # fmt: skip
                    cpu[name] = (server.cpu() - before) * 1e6 / many
                    if number:  # the first warms up
                        rates[name].append(rate)
                    print(f"  GET {name} P={pipeline}: {rate:,.0f}/s", flush=True)
            ratio = statistics.median(
                a / b for a, b in zip(rates["ours"], rates["redis"], strict=True)
            )
            end = "" if pipeline == 1 else f"_pipelined_{pipeline}"
            found[f"resp_of_redis{end}"] = round(ratio, 3)
            found[f"resp_gets_per_s{end}"] = {
                k: round(statistics.median(v)) for k, v in rates.items()
            }
            found[f"resp_cpu_us{end}"] = {k: round(v, 1) for k, v in cpu.items()}
    return found


def batch(given: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A hundred at a time, at half load; and the distribution of latencies under rising load."""
    port = free_port()
    with ours(folder, port):
        rng = np.random.default_rng(5)
        singles = [
            load.get(f"/v1/features/listener/{shop.listener(int(n))}")
            for n in rng.integers(0, given.listeners, 4096)
        ]
        hundred = batches(100, given.listeners)
        found, picture = {}, {}
        for name, request, seconds in (
            ("batch100", hundred, given.seconds),
            ("one50", lambda n: singles[n % len(singles)], given.seconds),
        ):
            load.open_loop(port, request, 20 if name == "batch100" else 500, 3)
            top = most(port, request)
            rising = {}
            for share in (0.1, 0.25, 0.5, 0.75, 0.9):
                told = load.open_loop(port, request, top * share, seconds)
                rising[share] = [float(x) for x in np.percentile(told, np.arange(0, 100.1, 0.5))]
                print(f"  {name} at {share:.0%} of {top:,.0f}/s: p99 {rising[share][198]:.2f} ms")
            picture[name] = {"most": top, "rising": rising}
            found[f"{name}_per_s"] = round(top)
            found[f"{name}_p50_ms"] = round(rising[0.5][100], 2)
            found[f"{name}_p99_ms"] = round(rising[0.5][198], 2)
    return found, picture


def most(port: int, request: Callable[[int], bytes]) -> float:
    """Requests a second that a closed loop of this client gets: both share the machine."""
    import asyncio

    async def loop() -> float:
        done = 0
        end = time.perf_counter() + 3

        async def client(number: int) -> None:
            nonlocal done
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
            while time.perf_counter() < end:
                writer.write(request(number))
                await load._answer(reader)
                done, number = done + 1, number + 7
            writer.close()

        await asyncio.gather(*(client(n) for n in range(4)))
        return done / 3

    return asyncio.run(loop())


def fresh(given: argparse.Namespace) -> dict[str, Any]:
    """Events pushed at a rate by a process of its own; when another process reads them."""
    folder = BUILD / "fresh"
    shutil.rmtree(folder, ignore_errors=True)
    shop.write(folder, shop.ten())
    command = [sys.executable, str(HERE / "pusher.py"), str(folder), str(given.rate)]
    said = subprocess.run(
        [*command, str(given.seconds * 3)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def ingestion(given: argparse.Namespace) -> dict[str, Any]:
    """Ten signals: events a second a core, bytes an event, memory and disk a million pairs."""
    said = subprocess.run(
        [sys.executable, HERE / "ingest.py", str(given.plays)],
        check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plays", type=int, default=1_000_000)
    parser.add_argument("--listeners", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each run")
    parser.add_argument("--gets", type=int, default=100_000, help="of each run of RESP")
    parser.add_argument("--rate", type=int, default=20_000, help="events a second, for freshness")
    parser.add_argument("--only", default="http,cores,resp,batch,fresh,ingest")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    given = parser.parse_args()
    if given.quick:
        given.plays, given.listeners, given.gets = 100_000, 1000, 20_000
        given.rounds, given.seconds = 1, 2
    BUILD.mkdir(parents=True, exist_ok=True)
    parts = given.only.split(",")
    results: dict[str, Any] = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
    folder = BUILD / "music"
    if {"http", "cores", "resp", "batch"} & set(parts):
        project, filled = make(folder, given.plays, given.listeners, SERVE)
        print(f"  filled at {filled['per_cpu_s']:,.0f} events a CPU second", flush=True)
        names = [shop.listener(n) for n in range(min(given.listeners, 10_000))]
        rows = shop.values(project, names)
        values = pa.table(
            {"listener": names}
            | {
                name: pa.array([_float(row[i]) for row in rows], pa.float64())
                for i, name in enumerate(shop.FIFTY)
            }
            | {"event_timestamp": pa.array([project.now()] * len(names), pa.timestamp("us", "UTC"))}
        )
        project.online.backend.close()
    if "http" in parts:
        results |= http(given, folder, values)
    if "cores" in parts:
        results |= cores(given, folder)
    if "resp" in parts:
        results |= resp(given, folder)
    if "batch" in parts:
        found, picture = batch(given, folder)
        results |= found
        runs = BUILD / "runs.json"
        runs.write_text(json.dumps(picture))
        python = environment(PICTURES, "matplotlib", "matplotlib")
        subprocess.run([python, HERE / "picture.py", runs, BUILD], check=True)
    if "fresh" in parts:
        results |= fresh(given)
    if "ingest" in parts:
        results |= ingestion(given)
    print(json.dumps(results))


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


if __name__ == "__main__":
    main()
