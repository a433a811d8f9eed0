"""Tacit's local engine on the latest-value join alone: each user's last item and price."""

from __future__ import annotations

import sys
from pathlib import Path

from common import measure

from tacit.engines.local import Local

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from workload import LATEST


def work(folder: Path, target: Path) -> None:
    sources = {"events": folder / "events.parquet"}
    Local().write([LATEST], sources, folder / "spine.parquet", target)


if __name__ == "__main__":
    measure(work)
