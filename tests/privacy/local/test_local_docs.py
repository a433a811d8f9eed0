"""The figures of docs/privacy/local.md and shuffle.md are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from local_cases import ORACLES, SKETCHES, oracle

from tacit.privacy.mechanism import MECHANISMS
from tacit.privacy.shuffle import RESPONSE, Shuffled, closed_form

DOCS = Path(__file__).parents[3] / "docs" / "privacy"
ROW = re.compile(r"^\| `(\w+)` \| ([\d.,]+ · .+) \|$", re.MULTILINE)


def numbers(cell: str) -> list[float]:
    return [float(each) for each in re.findall(r"[\d.]+", cell.replace(",", ""))]


@pytest.mark.parametrize("cls", ORACLES, ids=lambda cls: cls.key)
def test_the_table_of_variances_and_bytes(cls: type) -> None:
    rows = dict(ROW.findall((DOCS / "local.md").read_text()))
    assert set(rows) == {each.key for each in ORACLES} == set(MECHANISMS) - {"pairs", "sum"}
    cells = rows[cls.key].split(" | ")
    for size, variances, sizes in zip((10, 1000, 100_000), cells[::2], cells[1::2], strict=True):
        table = {"hashes": 64, "width": 1024} if cls in SKETCHES else {}
        made = [oracle(cls, size, epsilon, **table) for epsilon in (1.0, 2.0, 4.0)]
        found = [mechanism.variance(0, 1) for mechanism in made]
        assert numbers(variances) == pytest.approx(found, rel=0.01)
        lengths = {mechanism.report_bytes for mechanism in made}
        assert numbers(sizes) == sorted({min(lengths), max(lengths)})


@pytest.mark.parametrize("n", [1000, 10_000, 100_000, 1_000_000])
def test_the_table_of_shuffled_losses(n: int) -> None:
    text = (DOCS / "shuffle.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith(f"| {n:,} |"))
    for local, cell in zip((1.0, 2.0, 4.0), row.split(" | ")[1:], strict=True):
        found = [
            Shuffled(local, n).epsilon(1e-8),
            Shuffled(local, n, RESPONSE).epsilon(1e-8),
            closed_form(local, n, 1e-8),
        ]
        assert numbers(cell) == pytest.approx(found, rel=0.03)
