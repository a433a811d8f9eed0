"""What local mechanisms cost: reports a second on one core, bytes a report, and error against ε.

    python benchmarks/private/local.py [--reports 1000000] [--seconds 0.5] [--out local.svg]

Prints two tables and, on the last line, one JSON object. *Encode* is many devices in one array, as
a population is simulated; *one* is one device at a time, as on a phone. *Decode* is everything on
the collector: checking the messages, counting them, and the estimates of all codes. `combine` is
the same through the mechanism's interface, with an id for each report, checked for repetitions.
Times are CPU time of one core, the best of several, without compiling. The picture is the root
mean square error of estimates for 100,000 devices over 1,000 codes, measured, beside the formula.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tacit.demo.picture import Chart, Line, draw
from tacit.privacy.histogram import Histogram
from tacit.privacy.local.count_mean_sketch import CountMeanSketch
from tacit.privacy.local.hadamard_response import HadamardResponse
from tacit.privacy.local.hadamard_sketch import HadamardSketch
from tacit.privacy.local.heavy_hitters import HeavyHitters
from tacit.privacy.local.local_hashing import LocalHashing
from tacit.privacy.local.oracle import LocalOracle
from tacit.privacy.local.randomized_response import RandomizedResponse
from tacit.privacy.local.sketch import Sketch
from tacit.privacy.local.subset_selection import SubsetSelection
from tacit.privacy.local.unary import OptimisedUnary, RapporBits
from tacit.privacy.randomness import system

KINDS: tuple[type[LocalOracle], ...] = (
    RandomizedResponse,
    LocalHashing,
    HadamardResponse,
    SubsetSelection,
    OptimisedUnary,
    RapporBits,
    CountMeanSketch,
    HadamardSketch,
)
EPSILONS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
CODES = 1000
DEVICES = 100_000


def make(kind: type[LocalOracle], size: int, epsilon: float) -> LocalOracle:
    """A mechanism over so many codes; a sketch with 64 rows of 1,024 columns."""
    table: dict[str, Any] = {"hashes": 64, "width": 1024} if issubclass(kind, Sketch) else {}
    return kind(size=size, devices_max=1 << 30, epsilon=epsilon, name="benchmark", **table)


def population(n: int, size: int) -> np.ndarray:
    """Codes of n devices, as skewed as such things are: a Zipf law, in a fixed order."""
    shares = 1 / np.arange(1, size + 1)
    counts = np.floor(n * shares / shares.sum()).astype(np.int64)
    counts[0] += n - counts.sum()
    return np.repeat(np.arange(size), counts)


def best(work: Callable[[], Any], seconds: float) -> float:
    """The least CPU time of one call, in seconds; at least two after one that compiles."""
    work()
    times: list[float] = []
    while len(times) < 2 or sum(times) < seconds:
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def speed(kind: type[LocalOracle], n: int, seconds: float) -> dict[str, float]:
    """Reports a second of one mechanism at ε = 2 over 1,000 codes; fewer reports where bits are."""
    mechanism, source = make(kind, CODES, 2.0), system()
    some = n if mechanism.report_bytes < 64 else n // 8
    codes = population(some, CODES)
    rows = mechanism.encode_many(codes, source)
    few = population(n // 16, CODES)
    pairs = [(at.to_bytes(16, "big"), row.tobytes()) for at, row in enumerate(rows)]
    value = Histogram(np.array([7]), np.array([1.0]))
    return {
        "encode_per_s": len(few) / best(lambda: mechanism.encode_many(few, source), seconds),
        "one_us": best(lambda: mechanism.encode(value, source), seconds) * 1e6,
        "decode_per_s": some
        / best(lambda: mechanism.decode([mechanism.combine_many(rows)]), seconds),
        "combine_per_s": some
        / best(lambda: mechanism.decode([mechanism.combine(0, pairs, source)]), seconds),
        "bytes": float(mechanism.report_bytes),
    }


def heavy(n: int, seconds: float) -> dict[str, float]:
    """The same of heavy hitters, over texts of up to 8 bytes."""
    mechanism, source = HeavyHitters(1 << 30, 2.0, "benchmark"), system()
    texts = [b"text %d" % code for code in population(n, CODES)]
    rows = mechanism.encode_many(texts, source)
    few = texts[:: max(1, len(texts) // (n // 16))]
    pairs = [(at.to_bytes(16, "big"), row.tobytes()) for at, row in enumerate(rows)]
    return {
        "encode_per_s": len(few) / best(lambda: mechanism.encode_many(few, source), seconds),
        "one_us": best(lambda: mechanism.encode(b"text 7", source), seconds) * 1e6,
        "decode_per_s": n / best(lambda: mechanism.decode([mechanism.combine_many(rows)]), seconds),
        "combine_per_s": n
        / best(lambda: mechanism.decode([mechanism.combine(0, pairs, source)]), seconds),
        "bytes": float(mechanism.report_bytes),
    }


def error(kind: type[LocalOracle], epsilon: float) -> tuple[float, float]:
    """The measured root mean square error over all codes, in devices, and the formula's."""
    mechanism = make(kind, CODES, epsilon)
    codes = population(DEVICES, CODES)
    truth = np.bincount(codes, minlength=CODES)[:CODES]
    found = mechanism.decode([mechanism.combine_many(mechanism.encode_many(codes, system()))])
    formula = np.mean([mechanism.variance(float(count), DEVICES) for count in truth])
    return float(np.sqrt(np.mean((found.estimates - truth) ** 2))), math.sqrt(float(formula))


def picture(errors: dict[str, dict[float, tuple[float, float]]]) -> str:
    """Error against ε; what is above 4% is left out, so that the others can be seen."""
    lines = []
    for name, row in errors.items():
        seen = [(e, 100 * found / DEVICES, 0.0) for e, (found, _) in row.items()]
        lines.append(Line(name, [point for point in seen if point[1] < 4]))
    title = f"Error of a count, {DEVICES:,} devices, {CODES:,} codes"
    return draw([Chart(title, "epsilon a report", "% of the devices", EPSILONS, lines)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=1_000_000, help="decoded in one batch")
    parser.add_argument("--seconds", type=float, default=0.3, help="for each measured step")
    parser.add_argument("--out", type=Path, default=Path("out/local.svg"), help="the picture")
    given = parser.parse_args()
    speeds = {kind.key: speed(kind, given.reports, given.seconds) for kind in KINDS}
    speeds["heavy_hitters"] = heavy(given.reports // 4, given.seconds)
    columns = list(next(iter(speeds.values())))
    print(f"{'':28}" + "".join(f"{column:>16}" for column in columns))
    for name, row in speeds.items():
        print(f"{name:28}" + "".join(f"{row[column]:16,.0f}" for column in columns))
    errors = {kind.key: {e: error(kind, e) for e in EPSILONS} for kind in KINDS}
    print(f"\n{'error (formula)':28}" + "".join(f"{'ε ' + format(e, 'g'):>18}" for e in EPSILONS))
    for name, found in errors.items():
        cells = (f"{measured:,.0f} ({formula:,.0f})" for measured, formula in found.values())
        print(f"{name:28}" + "".join(f"{cell:>18}" for cell in cells))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(picture(errors))
    print(f"picture: {given.out}")
    summary = {
        "ldp_reports_per_s": round(speeds["hadamard_response"]["decode_per_s"]),
        "ldp_interface_reports_per_s": round(speeds["hadamard_response"]["combine_per_s"]),
        "ldp_encode_per_s": round(speeds["hadamard_response"]["encode_per_s"]),
        "ldp_decode_per_s": {name: round(row["decode_per_s"]) for name, row in speeds.items()},
        "ldp_report_bytes": {name: round(row["bytes"]) for name, row in speeds.items()},
        "ldp_error": {
            "devices": DEVICES,
            "codes": CODES,
            "epsilons": EPSILONS,
            "oracles": {
                name: [[e, round(seen, 2), round(formula, 2)] for e, (seen, formula) in row.items()]
                for name, row in errors.items()
            },
        },
        "ldp_error_at_2": {name: round(found[2.0][0], 1) for name, found in errors.items()},
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
