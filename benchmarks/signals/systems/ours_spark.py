"""Tacit's Spark engine on one machine, beside PySpark's own SQL: for information."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

from common import measure, peak_of_tree

from tacit.engines.spark import Spark

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from workload import VIEWS


@cache
def engine() -> Spark:
    return Spark(
        master="local[2]",
        config={"spark.driver.memory": "6g", "spark.log.level": "ERROR"},
    )


def work(folder: Path, target: Path) -> None:
    sources = {"events": folder / "events.parquet"}
    engine().write(VIEWS, sources, folder / "spine.parquet", target.with_suffix(".folder"))


if __name__ == "__main__":
    measure(work, peak=peak_of_tree)
