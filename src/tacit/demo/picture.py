"""The curves as a picture: plain SVG, readable in any browser, with no library behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle, pairwise

WIDTH, HEIGHT = 600, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 170, 48, 52
COLOURS = ("#777777", "#b08900", "#c8553d", "#8cc5ad", "#54a586", "#0b6e4f", "#06412e", "#3d5a80")


@dataclass(frozen=True, slots=True)
class Line:
    """A curve, or a level when there is one height for all places.

    `points` are (x, height, spread); the spread is drawn as a bar up and down.
    """

    name: str
    points: Sequence[tuple[float, float, float]]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over a logarithmic x axis with the ticks given, and a y axis from 0."""

    title: str
    x_title: str
    y_title: str
    ticks: Sequence[float]
    lines: Sequence[Line]


def draw(charts: Sequence[Chart]) -> str:
    """The charts side by side, as one SVG document."""
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * len(charts)}"'
            f' height="{HEIGHT}" font-family="system-ui, sans-serif" font-size="12">'
        ),
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for place, chart in enumerate(charts):
        parts.append(f'<g transform="translate({WIDTH * place},0)">')
        parts += _chart(chart)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _chart(chart: Chart) -> list[str]:
    top = max((y + spread for line in chart.lines for _, y, spread in line.points), default=1.0)
    step = _step(top)
    ceiling = step * max(1, math.ceil(top / step))
    low, high = math.log(min(chart.ticks)), math.log(max(chart.ticks))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(value: float) -> float:
        return LEFT + (right - LEFT) * (math.log(value) - low) / ((high - low) or 1.0)

    def y(value: float) -> float:
        return bottom - (bottom - TOP) * value / ceiling

    parts = [_text(LEFT, 26, chart.title, size=14, weight="bold")]
    for tick in range(round(ceiling / step) + 1):
        height = y(tick * step)
        parts.append(_path([(LEFT, height), (right, height)], "#e5e5e5", 1))
        parts.append(_text(LEFT - 8, height + 4, f"{tick * step:.3g}", anchor="end"))
    for value in chart.ticks:
        parts.append(_text(x(value), bottom + 18, f"{value:,.6g}", anchor="middle"))
    parts.append(_text((LEFT + right) / 2, bottom + 40, chart.x_title, anchor="middle"))
    parts.append(
        f'<text transform="translate(16,{(TOP + bottom) / 2:.0f}) rotate(-90)"'
        f' text-anchor="middle">{escape(chart.y_title)}</text>'
    )
    labels = _apart([y(line.points[-1][1]) for line in chart.lines])
    for colour, line, label in zip(cycle(COLOURS), chart.lines, labels, strict=False):
        places = [(x(px), y(py)) for px, py, _ in line.points]
        if len(places) == 1:
            places = [(LEFT, places[0][1]), (right, places[0][1])]
        parts.append(_path(places, colour, 2, dashed=line.dashed))
        for px, py, spread in line.points if len(line.points) > 1 else ():
            parts.append(_path([(x(px), y(py - spread)), (x(px), y(py + spread))], colour, 1))
            parts.append(f'<circle cx="{x(px):.1f}" cy="{y(py):.1f}" r="3" fill="{colour}"/>')
        parts.append(_text(right + 8, label + 4, line.name, colour=colour))
    return parts


def _step(top: float) -> float:
    """A round step that cuts the axis into four to eight."""
    if top <= 0:
        return 1.0
    power = float(10.0 ** math.floor(math.log10(top / 4)))
    return next(power * f for f in (1, 2, 2.5, 5, 10) if top / (power * f) <= 8)


def _apart(heights: Sequence[float], gap: float = 15.0) -> list[float]:
    """The labels' heights, moved so that none covers another."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    moved = list(heights)
    for before, after in pairwise(order):
        moved[after] = max(moved[after], moved[before] + gap)
    return moved


def _path(
    points: Sequence[tuple[float, float]], colour: str, width: int, *, dashed: bool = False
) -> str:
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    place = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    return (
        f'<polyline points="{place}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>'
    )


def _text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 12,
    weight: str = "normal",
    anchor: str = "start",
    colour: str = "#222",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}"'
        f' text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'
    )
