"""The floor: read the Parquet, sort it once by user and time, write it. By Polars."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from common import measure


def work(folder: Path, target: Path) -> None:
    events = pl.read_parquet(folder / "events.parquet")
    events.sort("user", "at").write_parquet(target, compression="lz4")


if __name__ == "__main__":
    measure(work)
