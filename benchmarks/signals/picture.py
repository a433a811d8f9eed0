"""Time against events, drawn from the runs: a line a system, its spread as a bar.

Runs in an environment that has matplotlib: `picture.py runs.json time.svg`.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt

matplotlib.use("Agg")
matplotlib.rcParams["svg.fonttype"] = "none"
matplotlib.rcParams["svg.hashsalt"] = "signals"


def draw(runs: dict[str, dict[str, list[float]]], target: Path) -> None:
    """``runs``: system → events → seconds of each run."""
    figure, axes = plt.subplots(figsize=(8.5, 4.5))
    for name, sizes in runs.items():
        events = sorted(sizes, key=int)
        middle = [statistics.median(sizes[size]) for size in events]
        least = [x - min(sizes[size]) for x, size in zip(middle, events, strict=True)]
        most = [max(sizes[size]) - x for x, size in zip(middle, events, strict=True)]
        style = "--" if name.startswith("floor") else "-"
        axes.errorbar(
            [int(size) / 1e6 for size in events],
            middle,
            [least, most],
            fmt=f"o{style}",
            capsize=3,
            label=name.replace("_", " "),
        )
    axes.set(xscale="log", yscale="log", xlabel="million events", ylabel="seconds")
    axes.set_title("26 exact columns, for a fifth as many rows (1M at most), Parquet to Parquet")
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
