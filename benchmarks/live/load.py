"""Load: wrk for closed loops, redis-benchmark for RESP, and open loops at a stated rate.

An open loop sends when it is time, whether or not what was sent before was answered, and measures
from when it was time (so that waiting counts: no coordinated omission).
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import tempfile
import time
from collections.abc import Callable

import numpy as np
from processes import binary

_TIMES = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


def wrk(
    port: int,
    script: str,
    *,
    seconds: int = 5,
    connections: int = 32,
    threads: int = 1,
) -> dict[str, float]:
    """Requests a second, and latencies in ms, of a closed loop. ``script`` is Lua.

    Raises SystemExit where an answer is no success.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = [
            binary("wrk", "wrk"), f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--latency",
            "--timeout", "10s",
            "-s", file.name, f"http://127.0.0.1:{port}",
        ]  # fmt: skip
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"wrk was not answered:\n{said}")
    rate = float(re.findall(r"Requests/sec:\s+([\d.]+)", said)[0])
    times = re.findall(r"(50|75|90|99)%\s+([\d.]+)(us|ms|s|m)", said)
    count = int(re.findall(r"(\d+) requests in", said)[0])
    return {"rps": rate, "requests": count} | {
        f"p{p}_ms": float(value) * _TIMES[unit] for p, value, unit in times
    }


def redis_benchmark(
    port: int,
    command: list[str],
    *,
    requests: int,
    connections: int = 50,
    pipeline: int = 1,
    keys: int,
    login: tuple[str, str] | None = None,
) -> float:
    """Requests a second of one command; ``__rand_int__`` in it is one of so many numbers."""
    who = [] if login is None else ["--user", login[0], "-a", login[1]]
    found = subprocess.run(
        [
            binary("redis-benchmark", "redis-tools"), "-p", str(port), *who, "-n", str(requests),
            "-c", str(connections), "-P", str(pipeline), "-r", str(keys), "--csv", *command,
        ],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    row = found.stdout.strip().splitlines()[-1].split('","')
    return float(row[1])


def open_loop(
    port: int, request: Callable[[int], bytes], rate: float, seconds: float, connections: int = 32
) -> np.ndarray:
    """Latencies in ms of HTTP requests that are sent at a rate, evenly."""
    return asyncio.run(_open(port, request, rate, seconds, connections))


async def _open(
    port: int, request: Callable[[int], bytes], rate: float, seconds: float, connections: int
) -> np.ndarray:
    idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(connections):
        idle.put_nowait(await asyncio.open_connection("127.0.0.1", port, limit=1 << 22))
    count = max(1, int(rate * seconds))
    found = np.zeros(count)
    start = time.perf_counter() + 0.05
    tasks = set()

    async def send(number: int, due: float) -> None:
        reader, writer = await idle.get()
        writer.write(request(number))
        await _answer(reader)
        found[number] = (time.perf_counter() - due) * 1000
        idle.put_nowait((reader, writer))

    for number in range(count):
        due = start + number / rate
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(send(number, due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    while not idle.empty():
        idle.get_nowait()[1].close()
    return found


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """The body of one answer. Raises SystemExit where it is no success."""
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head[:16]:
        raise SystemExit(f"the server said {head[:200]!r}")
    size = int(re.findall(rb"(?i)content-length: (\d+)", head)[0])
    return await reader.readexactly(size)


def get(path: str, headers: str = "") -> bytes:
    """A GET as bytes."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()


def post(path: str, body: bytes, headers: str = "") -> bytes:
    """A POST of JSON as bytes."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n{headers}\r\n".encode() + body
