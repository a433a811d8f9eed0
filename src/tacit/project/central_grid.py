"""The grids of a private query's measures: how many cells, around which middle, in which steps."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tacit.project.central import Measure

KINDS = ("count", "persons", "sum", "mean", "quantile", "histogram", "top_k")
GRIDDED = ("sum", "mean", "quantile", "histogram")
CELLED = ("quantile", "histogram")


def of(number: Any) -> Fraction:
    """A declared number as the decimal that was written: 0.1 is a tenth."""
    return Fraction(str(number))


def cells_of(measure: Measure) -> int:
    """How many cells a quantile's or a histogram's grid has."""
    apart = (of(measure.high) - of(measure.low)) / of(measure.step)
    return int(apart) + (measure.kind == "quantile")


def middle_of(measure: Measure) -> tuple[Fraction, int, int]:
    """Of a mean's grid: the point in the middle, and how many steps there are below and above."""
    low, step = of(measure.low), of(measure.step)
    apart = int((of(measure.high) - low) / step)
    return low + apart // 2 * step, apart // 2, apart - apart // 2


def quantiles_of(measure: Measure) -> tuple[float, ...]:
    """The quantiles that a measure asks for."""
    assert isinstance(measure.at, tuple), "checked"
    return measure.at
