"""What is written from the aggregates' own words: the golden bytes, the stub, the table of the docs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tacit.aggregates.algebra import AGGREGATES, FAMILIES, REGISTRY, Aggregate, Invertible
from tacit.aggregates.series import kernel_of
from tacit.aggregates.state import VERSION
from tacit.declare import Place, methods
from tacit.engines.reference import Reference
from tacit.plan.place import ENGINES
from tacit.values import Type

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "aggregates.json"
STUB = Path(methods.__file__).with_suffix(".pyi")
PAGE = ROOT / "docs" / "aggregates.md"
BEGIN, END = "<!-- from the registry -->\n", "<!-- end -->\n"
LONG = 200  # bytes, beyond which the golden file keeps a hash

KEYS = [made.key if made.argument is None else FAMILIES[made.key][2] for made in AGGREGATES]
KEYS += ["last_k(1)", "decayed(1s)"]
ROWS: dict[Type, dict[str, list[tuple[Any, int]]]] = {
    Type.INT: {
        "nothing": [],
        "two": [(2, 10), (-3, 20)],
        "ends": [(2**63 - 1, -(2**63)), (-(2**63), 2**63 - 1), (0, 0)],
        "384": [(i, i) for i in range(384)],
        "many": [(i * i, i) for i in range(1000)],
    },
    Type.FLOAT: {
        "two": [(0.1, 10), (-2.5, 20)],
        "infinite": [(math.inf, 1), (-math.inf, 2), (1e308, 3), (5e-324, 4), (0.0, 5)],
    },
    Type.TEXT: {"three": [("b", 1), ("", 1), ("é", 2)]},
    Type.BOOL: {"three": [(True, 1), (False, 1), (True, 2)]},
    Type.TIME: {"one": [(1_700_000_000_000_000, 1)]},
    Type.VECTOR: {
        "nothing": [],
        "two": [((0.5, -1.25), 10), ((3.0, 0.0), 20)],
        "ends": [((3.4028234663852886e38, 1.401298464324817e-45), 5)],
    },
}


def golden() -> dict[str, dict[str, str]]:
    """The bytes of every aggregate's states, as hex; of long ones their hash and length."""
    found: dict[str, dict[str, str]] = {}
    for key in KEYS:
        aggregate = REGISTRY[key]
        found[key] = {
            f"{kind} {name}": shown(aggregate.encode(aggregate.fold(rows)))
            for kind, cases in ROWS.items()
            if aggregate.accepts(kind)
            for name, rows in cases.items()
        }
    return found


def shown(raw: bytes) -> str:
    return (
        raw.hex() if len(raw) <= LONG else f"{blake2b(raw, digest_size=16).hexdigest()} {len(raw)}"
    )


def table() -> str:
    """The table of docs/aggregates.md."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "| aggregate | of | state | result | retracts | bytes | engines |"
    yield "|---|---|---|---|---|---|---|"
    for made in AGGREGATES:
        name = made.key
        if made.argument is not None:
            name = f"{made.key}({made.argument.name})"
        key = made.key if made.argument is None else FAMILIES[made.key][2]
        exact = "exact" if made.exact == "yes" else made.exact
        cells = [
            f"`{name}`",
            made.takes,
            made.holds,
            exact,
            "yes" if issubclass(made, Invertible) else "no",
            f"v{VERSION}, family {made.family}",
            _engines(REGISTRY[key], made.key),
        ]
        yield f"| {' | '.join(cells)} |"


def _engines(aggregate: Aggregate[Any], name: str) -> str:
    """Those that compute it; in the cloud by the kernel, or by merging states where it has none."""
    merged = "" if kernel_of(aggregate.key) or _has_own(name) else " (by merging states)"
    found = ["reference"] if name in Reference.supports else []
    found += [
        engine + (merged if able.place is Place.CLOUD else "")
        for engine, able in ENGINES.items()
        if name in able.aggregates
    ]
    return ", ".join(found)


def _has_own(name: str) -> bool:
    """Aggregates whose results are lists have kernels that `series.evaluate` knows of."""
    return name in ("last_k", "vector_sum", "vector_mean", "vector_last")


def page(text: str) -> str:
    """The page with its table written anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after
