"""The error of frequency oracles against ε, measured (dots) and by their formulas (lines).

Runs in an environment that has matplotlib: `picture.py errors.json oracles.svg`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def draw(found: dict[str, Any], target: Path) -> None:
    """``found``: devices, codes, and by oracle a list of (ε, measured, formula), in devices."""
    figure, axes = plt.subplots(figsize=(8, 5))
    for name, rows in found["oracles"].items():
        epsilons = [row[0] for row in rows]
        [line] = axes.plot(epsilons, [100 * row[2] / found["devices"] for row in rows], "-")
        dots = [100 * row[1] / found["devices"] for row in rows]
        axes.plot(epsilons, dots, "o", color=line.get_color(), label=name.replace("_", " "))
    axes.set(xscale="log", yscale="log", xlabel="ε a report", ylabel="error, % of the devices")
    axes.set_xticks(found["epsilons"], [f"{epsilon:g}" for epsilon in found["epsilons"]])
    axes.minorticks_off()
    axes.set_title(
        f"Root mean square error of a count: {found['devices']:,} devices, {found['codes']:,} codes"
    )
    axes.grid(visible=True, alpha=0.25)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(target)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
