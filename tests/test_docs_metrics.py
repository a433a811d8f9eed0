"""docs/metrics.md runs, block by block, on the Online Retail data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pages import page, run_page


def test_every_block_runs(
    online_retail: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    said = run_page("metrics.md", tmp_path, lambda: capsys.readouterr().out, RETAIL=online_retail)
    shown = re.search(r"^kind +period.*?```", page("metrics.md"), re.MULTILINE | re.DOTALL)
    assert shown is not None
    heads = [line.split()[:2] for line in shown[0].splitlines()[:-1]]
    found = [line.split()[:2] for line in said.splitlines()][: len(heads)]
    assert heads == found, "the page shows the cells that there are, with other noise"
