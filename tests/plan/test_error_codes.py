"""docs/errors.md lists every code that the package raises, and no other."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import tacit

PACKAGE = Path(tacit.__file__).parent
TABLE = Path(__file__).parents[2] / "docs" / "errors.md"
CODE = re.compile(r"T\d{3}")
ROW = re.compile(r"^\| (T\d{3}) \| (.+) \|$", re.MULTILINE)


@cache
def raised() -> dict[str, str]:
    """Every string in the package that is a code, and where it stands first."""
    found: dict[str, str] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and CODE.fullmatch(text):
                found.setdefault(text, f"{path.relative_to(PACKAGE)}:{node.lineno}")
    return found


def documented() -> dict[str, str]:
    return dict(ROW.findall(TABLE.read_text()))


def test_every_code_is_explained() -> None:
    rows = documented()
    assert {code: place for code, place in raised().items() if code not in rows} == {}


def test_every_explained_code_is_raised() -> None:
    codes = raised()
    assert [code for code in documented() if code not in codes] == []


def test_codes_stand_once_and_in_order() -> None:
    codes = [code for code, _ in ROW.findall(TABLE.read_text())]
    assert codes == sorted(set(codes))


@pytest.mark.parametrize("code", sorted(documented()))
def test_explanations_are_short_sentences(code: str) -> None:
    text = documented()[code]
    assert 10 < len(text) < 160
    assert not text.endswith(".")
