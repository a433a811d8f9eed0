"""Pages of the documentation that run, block by block."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tacit.cli import main

DOCS = Path(__file__).parents[1] / "docs"


def page(name: str) -> str:
    """The text of a page."""
    return (DOCS / name).read_text(encoding="utf-8")


def run_page(name: str, folder: Path, said: Callable[[], str], **scope: Any) -> str:
    """Runs a page in a folder, which is the current one: the first block is its `signals.py`, the
    second its `tacit.toml`, the others Python, or one command of tacit; what they printed."""
    blocks = re.findall(r"```(python|toml|sh)\n(.*?)```", page(name), re.DOTALL)
    (language, module), (settings, text), *rest = blocks
    assert (language, settings) == ("python", "toml")
    (folder / "signals.py").write_text(module)
    (folder / "tacit.toml").write_text(text)
    names = {**scope, "__name__": "page"}
    for language, code in rest:
        if language == "python":
            exec(compile(code, f"docs/{name}", "exec"), names)
        elif code.startswith("tacit"):
            assert main(shlex.split(code)[1:]) == 0
    return said()
