"""The spine's own figures: exact noise, planning, vaults, reports, the command line.

Run: `make bench`. The last line is one JSON object.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tacit
from tacit import Entity, Events, Purpose, integer, key, number
from tacit.declare import collect
from tacit.device.vault import Vault
from tacit.plan import compile_plan
from tacit.privacy.noise import discrete_gaussian
from tacit.privacy.randomness import system
from tacit.privacy.vector_sum import VectorSum
from tacit.values import Secret, Type

RUNS = 5


def median(work: Callable[[], object]) -> float:
    """Seconds of the middle run of five, after one that warms up."""
    work()
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def noise() -> dict[str, float]:
    """Million draws a second of the exact discrete Gaussian, one core, by sigma."""
    size = 2_000_000
    return {
        f"gaussian_mdraws_per_s_sigma_{sigma:g}": size
        / median(lambda s=sigma: discrete_gaussian(int(s * s) or 1, size, system()))
        / 1e6
        for sigma in (1.0, 1_000.0, float(2**24))
    }


def planning(signals: int = 10_000) -> float:
    """Seconds to collect and compile a project of that many different signals."""

    def project() -> object:
        person = Entity("Somebody.", person="pseudonymous", name="person")
        thing = Entity("Something.", name="thing")
        learn = Purpose("To learn.", use="personalize", basis="consent", name="learn")
        events = Events(
            "What happened.",
            name="events",
            place="device",
            region="eu",
            keep="400d",
            basis="consent",
            purposes=[learn],
            time="at",
            columns={
                "person": key(person, "user.unique_id.pseudonymous"),
                "thing": key(thing, "user.behavior"),
                "quantity": integer("user.behavior"),
                "price": number("user.behavior"),
                "at": tacit.time("user.behavior"),
            },
            derived={"spend": "quantity * price"},
        )
        made = {
            f"s{n}": events.sum(
                f"spend * {n % 500}",
                f"{1 + n % 300}d",
                where=f"quantity > {n % 700}",
                by="thing" if n % 3 else None,
            )
            for n in range(signals)
        }
        declared = {"person": person, "thing": thing, "learn": learn, "events": events, **made}
        return compile_plan(collect(declared))

    return median(project)


def vault() -> float:
    """Milliseconds to make a durable vault, put 100 rows in it, and close it."""
    columns = {"person": Type.TEXT, "item": Type.TEXT, "at": Type.TIME}
    rows = [{"person": "p", "item": str(n), "at": n + 1} for n in range(100)]

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            secret = Secret(system().bytes(32))
            with Vault.create(Path(folder) / "v", secret, {"events": columns}) as made:
                made.append("events", rows)

    return 1e3 * median(work)


def reports(length: int = 47_843, devices: int = 200) -> dict[str, float]:
    """Milliseconds a report of a bounded vector: on the device, at the leader, at the helper."""
    mechanism = VectorSum(length, 1 << 13, 4.0, 1e-5, "benchmark")
    vector = np.zeros(length)
    vector[:: length // 100] = 0.1
    made = [mechanism.encode(vector, system()) for _ in range(devices)]

    def combine(index: int) -> float:
        messages = [(report.id, report.messages[index]) for report in made]
        return 1e3 * median(lambda: mechanism.combine(index, messages, system())) / devices

    return {
        "encode_ms": 1e3 * median(lambda: mechanism.encode(vector, system())),
        "leader_ms": combine(0),
        "helper_ms": combine(1),
        "report_bytes": float(mechanism.report_bytes),
    }


def main() -> None:
    """Prints a line for each figure, then all of them as one JSON object."""
    help_line = [sys.executable, "-m", "tacit.cli", "--help"]
    found = {
        **noise(),
        "plan_10k_signals_s": planning(),
        "vault_100_rows_ms": vault(),
        **reports(),
        "help_s": median(lambda: subprocess.run(help_line, check=True, capture_output=True)),
    }
    for name, value in found.items():
        print(f"{name:<40}{value:>14,.3f}")
    print(json.dumps({name: round(value, 4) for name, value in found.items()}))


if __name__ == "__main__":
    main()
