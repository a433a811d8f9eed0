"""What `tacit query` prints: cells with their intervals, and what they cost."""

from __future__ import annotations

import argparse
import json
import math
import sys
from datetime import UTC, datetime
from typing import Any

from tacit.declare import Purpose
from tacit.project import Project
from tacit.project.query import Answer
from tacit.terminal import out

NUMBERS = ("value", "stderr", "lower", "upper")


def show_query(given: argparse.Namespace) -> None:
    """Asks a metric and prints what it says."""
    project = Project.load(given.project)
    answer = project.query(
        given.metric,
        given.by,
        grain=given.grain,
        where=given.where,
        purpose=given.purpose,
        since=given.since,
        until=given.until,
        rollup=given.rollup,
    )
    if given.json:
        print(json.dumps(as_json(answer)))
    elif given.csv:
        _csv(answer)
        print("\n".join(_account(project, answer)), file=sys.stderr)
    else:
        _print(project, answer)


def as_json(answer: Answer) -> dict[str, Any]:
    """An answer as JSON data; null for an end of an interval that the noise leaves open."""
    rows = answer.table.to_pylist()
    return {
        "question": answer.asked.to_json(),
        "rows": [{name: _plain(value) for name, value in row.items()} for row in rows],
        "hidden": answer.hidden,
        "spent": answer.spent,
        "left": answer.left,
        "reused": list(answer.reused),
        "notes": list(answer.notes),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv(answer: Answer) -> None:
    import pyarrow.csv as pc

    pc.write_csv(answer.table, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _print(project: Project, answer: Answer) -> None:
    console = out()
    names = answer.table.column_names
    dims = [name for name in names if name not in NUMBERS]
    heads = [*dims, "value", "±", "95% interval"]
    lines = [_line(row, dims, answer) for row in answer.table.to_pylist()]
    widths = [max(len(line[i]) for line in [heads, *lines]) for i in range(len(heads))]
    for number, line in enumerate([heads, *lines]):
        cells = [
            f"{cell:<{width}}" if i < len(dims) else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        console.print("  ".join(cells).rstrip(), style="" if number else "bold")
    for told in _account(project, answer):
        console.print(told)


def _line(row: dict[str, Any], dims: list[str], answer: Answer) -> list[str]:
    keys = [_moment(row[n], answer) if n == "period" else str(row[n]) for n in dims]
    value, error, lower, upper = (row[name] for name in NUMBERS)
    between = "open" if _open(lower) or _open(upper) else f"{_number(lower)} … {_number(upper)}"
    return [*keys, _number(value), _number(error), between]


def _open(end: float | None) -> bool:
    return end is None or not math.isfinite(end)


def _moment(at: datetime, answer: Answer) -> str:
    form = {"1h": "%Y-%m-%d %H:00", "1mo": "%Y-%m"}.get(answer.asked.grain or "", "%Y-%m-%d")
    return at.astimezone(UTC).strftime(form)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.4g}"


def _account(project: Project, answer: Answer) -> list[str]:
    """What is hidden, what it cost, and what is left."""
    lines = []
    if answer.hidden:
        lines.append(f"{answer.hidden:,} cells are hidden: too few people, by a noisy count")
    lines += answer.notes
    if answer.left is None:
        return [*lines, "it is about nobody: no noise, no budget"]
    purpose = project.declarations.of(Purpose)[answer.asked.purpose]
    cost = f"spent ε {answer.spent:.3g}" if answer.spent else "spent nothing: it was there"
    left = f"ε {answer.left:.3g} of {purpose.epsilon:g} is left for {answer.asked.purpose}"
    return [*lines, f"{cost}; {left} at δ {purpose.delta:g}"]
