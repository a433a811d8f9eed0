"""`tacit budget`: what is left by purpose, team and epoch, in a terminal, as JSON, as a picture."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from tacit.declare import Purpose
from tacit.govern.epochs import Epochs, Kind, Standing
from tacit.project import Project
from tacit.project.budget import epochs_of
from tacit.store.atomic import replace_file
from tacit.terminal import out

SHOWN = 24
"""Epochs that are drawn: the last ones that were touched."""

_BAR = 30
_WHAT = {"filter": "everybody", "querier": "team", "purpose": "purpose"}


@dataclass(frozen=True, slots=True)
class Row:
    """A capacity over the epochs that are drawn: how full it is in each, and what is left now."""

    subject: str
    what: str
    name: str
    epsilon: float
    delta: float
    shares: tuple[float, ...]
    now: float

    @property
    def left(self) -> float:
        """In ε, of the epoch that it is now."""
        return max(0.0, 1.0 - self.now) * self.epsilon


@dataclass(frozen=True, slots=True)
class Grid:
    """The epochs of a subject that are drawn, and its capacities over them."""

    epochs: Epochs
    first: int
    current: int
    rows: tuple[Row, ...]

    @property
    def width(self) -> int:
        """How many epochs."""
        return len(self.rows[0].shares)


def show_budget(project: Project, given: argparse.Namespace) -> None:
    """Prints what each purpose, team and epoch has spent and has left; draws it if asked to."""
    if given.picture:
        replace_file(given.picture, [picture(project).encode()], mode=0o644)
    if given.json:
        print(json.dumps(to_json(project)))
        return
    console = out()
    begun = project.store_path.exists()
    for name, purpose in project.declarations.of(Purpose).items():
        if purpose.per_epoch:
            continue
        if not begun:
            console.print(f"{name:<20} nothing spent of epsilon {purpose.epsilon:g} a device")
            continue
        spent = project.ledger.spent(name)
        console.print(
            f"{name:<20} {_bar(_part(spent, purpose.epsilon))} epsilon {spent:.3g} of"
            f" {purpose.epsilon:g} a device, at delta {purpose.delta:g}"
        )
        for line in project.ledger.statement(name):
            console.print(
                f"  {line.spend.release:<40} {line.spend.state:<10}"
                f" epsilon {line.epsilon:.3g}, {line.total:.3g} so far"
            )
    for grid in grids(project):
        for text in _lines(grid):
            console.print(text)
    if given.picture:
        console.print(f"drawn in {given.picture}")


def to_json(project: Project) -> dict[str, Any]:
    """The same as JSON data; `head` is what an anchor outside may keep."""
    begun = project.store_path.exists()
    lines: Sequence[Standing] = project.ledger.epochs() if begun else ()
    lengths = {epochs.subject: epochs for epochs in epochs_of(project.declarations)}
    head = project.control.head() if begun else None
    return {
        "head": None if head is None else {"sequence": head.sequence, "hash": head.hash},
        "purposes": [_purpose(project, name, begun) for name in _lasting(project)],
        "epochs": [
            {
                "subject": line.subject,
                "what": line.kind,
                "name": line.name,
                "from": lengths[line.subject].moment(line.span.first),
                "first": _whole(line.span.first),
                "last": _whole(line.span.last),
                "epsilon": line.capacity.epsilon,
                "delta": line.capacity.delta,
                "share": line.share,
                "left": line.left,
            }
            for line in lines
        ],
    }


def _lasting(project: Project) -> list[str]:
    return [n for n, purpose in project.declarations.of(Purpose).items() if not purpose.per_epoch]


def _purpose(project: Project, name: str, begun: bool) -> dict[str, Any]:
    purpose = project.declarations.of(Purpose)[name]
    spent = project.ledger.spent(name) if begun else 0.0
    lines = project.ledger.statement(name) if begun else ()
    return {
        "purpose": name,
        "epsilon": purpose.epsilon,
        "delta": purpose.delta,
        "spent": spent,
        "left": max(0.0, purpose.epsilon - spent),
        "releases": [
            {
                "release": line.spend.release,
                "epoch": line.spend.epoch,
                "state": line.spend.state,
                "team": line.spend.querier,
                "epsilon": line.epsilon,
                "total": line.total,
            }
            for line in lines
        ],
    }


def _whole(epoch: float) -> int | None:
    return int(epoch) if math.isfinite(epoch) else None


# ---------------------------------------------------------------------- epochs


def grids(project: Project) -> Iterator[Grid]:
    """For each kind of person with epochs, how full each capacity is in the last of them."""
    begun = project.store_path.exists()
    for epochs in epochs_of(project.declarations):
        lines = [x for x in project.ledger.epochs() if x.subject == epochs.subject] if begun else []
        current = project.now() // epochs.length
        ends = [
            int(end) for line in lines for end in line.span if math.isfinite(end) and end >= current
        ]
        last = max([current, *(end for end in ends if end < current + SHOWN // 2)])
        starts = [int(x.span.first) for x in lines if math.isfinite(x.span.first)]
        first = max(last - SHOWN + 1, min([current, *starts]))
        rows = tuple(
            _row(epochs, lines, kind, name, (first, last, current))
            for kind, name in epochs.filters()
        )
        yield Grid(epochs, first, current, rows)


def _row(
    epochs: Epochs, lines: Sequence[Standing], kind: Kind, name: str, over: tuple[int, int, int]
) -> Row:
    first, last, current = over
    own = [line for line in lines if (line.kind, line.name) == (kind, name)]

    def share(epoch: int) -> float:
        return next((x.share for x in own if x.span.first <= epoch <= x.span.last), 0.0)

    capacity = epochs.capacity(kind, name)
    shares = tuple(share(epoch) for epoch in range(first, last + 1))
    return Row(epochs.subject, kind, name, capacity.epsilon, capacity.delta, shares, share(current))


def _lines(grid: Grid) -> Iterator[str]:
    epochs = grid.epochs
    yield (
        f"{epochs.subject}: epochs from {epochs.moment(grid.first)} to"
        f" {epochs.moment(grid.first + grid.width - 1)}, now that of {epochs.moment(grid.current)}"
    )
    for row in grid.rows:
        yield (
            f"  {_WHAT[row.what] + ' ' + (row.name if row.what != 'filter' else ''):<18}"
            f" {_bar(row.now)} {row.now:.0%} of epsilon {row.epsilon:g} now,"
            f" {row.left:.3g} left   {_blocks(row.shares)}"
        )


def _bar(part: float) -> str:
    full = round(_BAR * min(part, 1.0))
    return "█" * full + "░" * (_BAR - full)


def _part(spent: float, epsilon: float) -> float:
    return spent / epsilon if epsilon else 0.0


def _blocks(shares: Sequence[float]) -> str:
    """A character for each epoch; any spend at all shows."""
    return "".join("·▁▂▃▄▅▆▇█"[math.ceil(8 * min(share, 1.0))] for share in shares)


# ---------------------------------------------------------------------- the picture

_LEFT, _CELL, _HIGH, _WIDE = 210, 18, 20, 432
_STYLE = "font-family: system-ui, sans-serif; font-size: 12px"


def picture(project: Project) -> str:
    """The same as an SVG picture: a bar for each purpose, a row of cells for each capacity."""
    parts, at = [], 34
    parts.append(_text(12, 20, f"{project.settings.name}: privacy budget", bold=True))
    begun = project.store_path.exists()
    for name in _lasting(project):
        found = _purpose(project, name, begun)
        part = _part(found["spent"], found["epsilon"])
        parts += _purpose_bar(at, name, part, f"ε {found['spent']:.3g} of {found['epsilon']:g}")
        at += _HIGH + 6
    for grid in grids(project):
        at += 24
        title = f"{grid.epochs.subject}, each epoch from {grid.epochs.moment(grid.first)}"
        parts.append(_text(12, at, title, bold=True))
        at += 10
        for row in grid.rows:
            parts += _cells(at, grid, row)
            at += _HIGH + 4
    width = _LEFT + _WIDE + 200
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {at + 12}"'
        f' width="{width}" height="{at + 12}" style="{_STYLE}">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _purpose_bar(at: int, name: str, part: float, said: str) -> Iterator[str]:
    yield _text(12, at + 14, name)
    yield _box(_LEFT, at, _WIDE, "#e8e8ee", f"{name}: {said}")
    yield _box(_LEFT, at, round(_WIDE * min(part, 1.0)), _colour(part), f"{name}: {said}")
    yield _text(_LEFT + _WIDE + 10, at + 14, f"{said}, for ever")


def _cells(at: int, grid: Grid, row: Row) -> Iterator[str]:
    yield _text(12, at + 14, f"{_WHAT[row.what]} {row.name if row.what != 'filter' else ''}")
    for index, share in enumerate(row.shares):
        when = grid.epochs.moment(grid.first + index)
        said = f"{row.name}, {when}: {share:.0%} of ε {row.epsilon:g}"
        now = grid.first + index == grid.current
        yield _box(_LEFT + index * _CELL, at, _CELL - 2, _colour(share), said, edge=now)
    end = _LEFT + grid.width * _CELL
    yield _text(end + 10, at + 14, f"ε {row.left:.3g} of {row.epsilon:g} left now")


def _colour(share: float) -> str:
    """From nothing (grey) over blue to full (red): lighter where there is less."""
    if share <= 0:
        return "#e8e8ee"
    if share >= 0.95:
        return "#b3261e"
    light = round(88 - 48 * share)
    return f"hsl(215 65% {light}%)"


def _box(x: int, y: int, width: int, fill: str, said: str, *, edge: bool = False) -> str:
    stroke = ' stroke="#000000"' if edge else ""
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{_HIGH}" fill="{fill}"{stroke}>'
        f"<title>{escape(said)}</title></rect>"
    )


def _text(x: int, y: int, said: str, *, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x}" y="{y}"{weight}>{escape(said)}</text>'
