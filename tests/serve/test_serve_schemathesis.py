"""schemathesis finds nothing against the description, on a real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from serve_cases import SETTINGS, SIGNALS, filled
from serve_client import key_for, serving

GIVEN = (
    SIGNALS
    + """
cart = Given("What the cart is worth.", value=number(PUBLIC), place="cloud")
worth = Formula("For each look.", sql="cart / looks")
"""
)


def run(folder: Path, examples: int, *more: str) -> None:
    shop = filled(folder, GIVEN, SETTINGS)
    headers = key_for(shop, "discover", push=tuple(shop.online.sources))
    shop.online.backend.close()
    with serving(folder) as process:
        done = subprocess.run(
            [
                sys.executable, "-m", "schemathesis.cli", "run", f"{process.url}/openapi.json",
                "--header", f"Authorization: {headers['authorization']}", "--checks", "all",
                "--max-examples", str(examples), "--seed", "1", "--generation-database", "none",
                *more,
            ],
            capture_output=True, text=True, check=False, cwd=folder, timeout=1500,
        )  # fmt: skip
        failed = [x for x in process.lines.read_text().splitlines() if '"failed"' in x]
        assert failed == [], done.stdout[-3000:]
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.slow
def test_schemathesis_runs_clean(tmp_path: Path) -> None:
    run(tmp_path, 60)
