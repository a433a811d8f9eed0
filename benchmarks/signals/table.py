"""The systems that are measured: a line each.

A system is a script in `systems/` that takes a folder (`events.parquet`, `spine.parquet`) and a
target; it writes Parquet and prints one line of JSON with `seconds` and `peak` (bytes), as
`systems/common.measure` does. One that is no dependency of ours has an environment of its own,
which is made when it is first needed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MILLION = 1_000_000


@dataclass(frozen=True)
class System:
    """How a system is run.

    Attributes:
        script: in `systems/`.
        packages: what its own environment holds; empty for ours.
        environment: that environment's folder under `build/`.
        most, least: of events; with more or fewer it is left out.
        once: whether one round tells enough, as where a run takes minutes.
        against: whether it is compared with ours.
    """

    script: str
    packages: tuple[str, ...] = ()
    environment: str | None = None
    most: int = 100 * MILLION
    least: int = 0
    once: bool = False
    against: bool = True

    def python(self) -> Path:
        """The interpreter, in an environment that is made on first use."""
        return own_python(self.environment, self.packages)


def own_python(environment: str | None, packages: tuple[str, ...]) -> Path:
    """The interpreter of an environment under `build/`, with these packages."""
    if environment is None:
        return Path(sys.executable)
    folder = ROOT / "build" / environment
    python, ready = folder / "bin" / "python", folder / ".ready"
    if not ready.is_file():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        ready.touch()
    return python


SYSTEMS: Mapping[str, System] = {
    "ours": System("ours.py", against=False),
    "duckdb": System("duckdb_best.py", most=20 * MILLION),
    "duckdb_windows": System("duckdb_windows.py", most=20 * MILLION, least=20 * MILLION, once=True),
    "polars": System("polars_asof.py", ("polars>=1.30",), "polars", most=5 * MILLION, once=True),
    "floor_duckdb": System("floor_duckdb.py", most=20 * MILLION, against=False),
    "floor_polars": System(
        "floor_polars.py", ("polars>=1.30",), "polars", most=20 * MILLION, against=False
    ),
    "spark": System("spark_best.py", ("pyspark>=4.1,<5",), "spark", most=MILLION, once=True),
}
REPORTED = ("duckdb", "duckdb_windows", "polars", "spark")
"""Those of which the last line always tells the ratio; null for one that did not run. Feast, which
can express the latest value alone, is measured by `last_item.py`."""
