"""docs/training.md runs, block by block, on the Online Retail data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pages import page, run_page


@pytest.mark.slow
def test_every_block_runs(
    online_retail: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    said = run_page("training.md", tmp_path, lambda: capsys.readouterr().out, RETAIL=online_retail)
    [header] = re.findall(r"^signal .*now$", page("training.md"), re.MULTILINE)
    assert header.split() in [line.split() for line in said.splitlines()]
    assert (tmp_path / "train.parquet").is_file()
