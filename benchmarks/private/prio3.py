"""What Prio3 costs a report, on one core: sharding, each verifier, and bytes on the wire.

    python benchmarks/private/prio3.py [--seconds 2]

Prints a table and, on the last line, one JSON object. Times are processor time, the best of several
runs of one batch, without compiling: a machine that does other things too changes them little.
`alone` is one report at a time through the same code, as a client shards.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from tacit.privacy import prio3
from tacit.privacy.prio3 import Prio3
from tacit.privacy.prio3.batch import Batch
from tacit.privacy.randomness import system

KEY, CONTEXT = bytes(32), b"benchmark"

VARIANTS: dict[str, tuple[Prio3[Any, Any], Any, int]] = {
    "count": (prio3.count(), 1, 1024),
    "sum_8bit": (prio3.sum_(255), 100, 1024),
    "sum_32bit": (prio3.sum_((1 << 32) - 1), 100, 1024),
    "sum_vec_100x8": (prio3.sum_vec(100, 255), [7] * 100, 128),
    "sum_vec_1000x8": (prio3.sum_vec(1000, 255), [7] * 1000, 16),
    "histogram_100": (prio3.histogram(100), 3, 512),
    "histogram_1000_chunk_32": (prio3.histogram(1000, 32), 3, 128),
    "histogram_1000": (prio3.histogram(1000), 3, 128),
    "histogram_10000": (prio3.histogram(10_000), 3, 16),
    "multihot_1000_of_50": (prio3.multihot_count_vec(1000, 50), [1] * 50 + [0] * 950, 128),
}


def best(work: Callable[[], Any], seconds: float) -> float:
    """The least processor time of one call, in seconds; at least three after one that compiles."""
    work()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def measure(one: Prio3[Any, Any], measurement: Any, n: int, seconds: float) -> dict[str, float]:
    """Microseconds a report, and bytes a report."""
    batch, randomness = Batch(one), system()
    nonces = [randomness.bytes(16) for _ in range(n)]
    rands = [randomness.bytes(one.rand_bytes) for _ in range(n)]
    values = [measurement] * n
    reports = batch.shard(CONTEXT, values, nonces, rands)
    public = [report[0] for report in reports]
    shares = [[report[1][index] for report in reports] for index in (0, 1)]

    def init(index: int) -> Any:
        return batch.verify_init(KEY, CONTEXT, index, nonces, public, shares[index]).accepted

    opened = [init(0), init(1)]
    rows = [[part[i][1] for part in opened] for i in range(n)]
    messages = batch.verifier_shares_to_message(CONTEXT, rows).accepted
    states = [opened[1][i][0] for i in range(n)]

    def finish() -> Any:
        decided = batch.verifier_shares_to_message(CONTEXT, rows).accepted
        outs = batch.verify_next(states, [decided[i] for i in range(n)]).accepted
        return batch.aggregate(outs.values())

    assert len(messages) == n
    steps: dict[str, Callable[[], Any]] = {
        "shard_us": lambda: batch.shard(CONTEXT, values, nonces, rands),
        "leader_init_us": lambda: init(0),
        "helper_init_us": lambda: init(1),
        "finish_us": finish,
    }
    result = {name: best(step, seconds) / n * 1e6 for name, step in steps.items()}
    result["helper_us"] = result["helper_init_us"] + result["finish_us"]
    alone = best(lambda: batch.shard(CONTEXT, values[:1], nonces[:1], rands[:1]), seconds)
    result["shard_alone_us"] = alone * 1e6
    lay = one.layout
    result["upload_bytes"] = lay.public_share_bytes + lay.leader_bytes + lay.helper_bytes
    result["verifier_bytes"] = lay.verifier_share_bytes
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each measured step")
    seconds = parser.parse_args().seconds
    results = {name: measure(*variant, seconds) for name, variant in VARIANTS.items()}
    columns = list(next(iter(results.values())))
    print(f"{'':26}" + "".join(f"{column:>17}" for column in columns))
    for name, row in results.items():
        print(f"{name:26}" + "".join(f"{row[column]:17.1f}" for column in columns))
    summary = {
        "histogram1000_verify_ms": results["histogram_1000"]["helper_us"] / 1e3,
        "histogram1000_chunk32_verify_ms": results["histogram_1000_chunk_32"]["helper_us"] / 1e3,
        "histogram1000_shard_ms": results["histogram_1000"]["shard_alone_us"] / 1e3,
        "count_verify_us": results["count"]["helper_us"],
        "variants": results,
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
