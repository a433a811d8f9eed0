"""Latencies under rising load, drawn from the runs: `picture.py runs.json FOLDER`.

Runs in an environment that has matplotlib. A line is the distribution at a share of the most that
the server can do, by percentile, as HDR plots have it: each step right is ten times rarer.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

TITLES = {
    "one50": "One listener, fifty signals, over HTTP",
    "batch100": "A hundred listeners at once, fifty signals each, over HTTP",
}


def draw(name: str, found: dict[str, Any], target: Path) -> None:
    """``found``: the most requests a second; share of it → milliseconds at each half percent."""
    figure, axes = plt.subplots(figsize=(7, 4.5))
    for share, times in found["rising"].items():
        rare = [100 / (100 - 0.5 * i) for i in range(len(times) - 1)]
        axes.plot(rare, times[:-1], label=f"{float(share):.0%} of {found['most']:,.0f} a second")
    axes.set(xscale="log", yscale="log", xlabel="percentile", ylabel="ms, from when it was due")
    axes.set_xticks([1, 2, 10, 100, 200], ["0", "50", "90", "99", "99.5"])
    axes.set_title(TITLES[name])
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend()
    figure.tight_layout()
    for kind in ("svg", "png"):
        figure.savefig(target / f"{name}.{kind}")


if __name__ == "__main__":
    for each, runs in json.loads(Path(sys.argv[1]).read_text()).items():
        draw(each, runs, Path(sys.argv[2]))
