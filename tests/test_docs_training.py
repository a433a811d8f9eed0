"""docs/training.md runs, block by block, on the Online Retail data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|toml)\n(.*?)```", PAGE, re.DOTALL)


def test_every_block_runs(
    online_retail: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (language, module), *rest = BLOCKS
    assert (language, rest[0][0]) == ("python", "toml")
    (tmp_path / "signals.py").write_text(module)
    (tmp_path / "tacit.toml").write_text(rest[0][1])
    monkeypatch.chdir(tmp_path)
    scope = {"RETAIL": online_retail, "__name__": "page"}
    for _, code in rest[1:]:
        exec(compile(code, "docs/training.md", "exec"), scope)
    said = capsys.readouterr().out
    [header] = re.findall(r"^signal .*now$", PAGE, re.MULTILINE)
    assert header.split() in [line.split() for line in said.splitlines()]
    assert (tmp_path / "train.parquet").is_file()
