"""docs/metrics.md runs, block by block, on the Online Retail data."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tacit.cli import main

PAGE = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|toml|sh)\n(.*?)```", PAGE, re.DOTALL)


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
    said = ""
    for language, code in rest[1:]:
        if language == "sh":
            assert main(shlex.split(code)[1:]) == 0
            said += capsys.readouterr().out
        else:
            exec(compile(code, "docs/metrics.md", "exec"), scope)
    shown = re.search(r"^kind +period.*?```", PAGE, re.MULTILINE | re.DOTALL)
    assert shown is not None
    heads = [line.split()[:2] for line in shown[0].splitlines()[:-1]]
    found = [line.split()[:2] for line in said.splitlines()]
    assert heads == found, "the page shows the cells that there are, with other noise"
