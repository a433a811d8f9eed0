"""Interval arithmetic over expressions: what a column may be, by what it is computed of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tacit.declare.expression import Node, type_of
from tacit.values import Type

Bound: TypeAlias = int | float
"""A whole number, or an infinity."""


@dataclass(frozen=True, slots=True)
class Range:
    """An interval of ints, which may be open to one side or both."""

    low: Bound
    high: Bound

    @property
    def size(self) -> Bound:
        """The greatest absolute value in it."""
        return max(abs(self.low), abs(self.high))


ALL = Range(-math.inf, math.inf)


def interval(node: Node, ranges: Mapping[str, Range], types: Mapping[str, Type]) -> Range:
    """An interval that holds every int, or null taken as 0, that an expression may be.

    An int beyond 64 bits is null in the language, so it stays inside too if 0 is: intervals of
    arithmetic are widened to hold 0.
    """
    if node.op == "int":
        return Range(node.value, node.value)
    if node.op == "column":
        return ranges.get(node.value, ALL)
    rule = _INTERVALS.get(node.op)
    if rule is None or type_of(node, types) not in (Type.INT, None):
        return ALL
    return _with_zero(rule(node, [interval(child, ranges, types) for child in node.args]))


def _with_zero(found: Range) -> Range:
    return Range(min(found.low, 0), max(found.high, 0))


def _hull(ranges: Iterable[Range]) -> Range:
    found = list(ranges)
    return Range(min(r.low for r in found), max(r.high for r in found))


def _product(node: Node, args: list[Range]) -> Range:
    corners = [
        times(a, b) for a in (args[0].low, args[0].high) for b in (args[1].low, args[1].high)
    ]
    return Range(min(corners), max(corners))


def _remainder(node: Node, args: list[Range]) -> Range:
    """The sign is the dividend's, the absolute value below the divisor's and not above its own."""
    size = min(args[0].size, max(args[1].size - 1, 0))
    return Range(-size, size)


_INTERVALS: Mapping[str, Callable[[Node, list[Range]], Range]] = {
    "null": lambda node, args: Range(0, 0),
    "+": lambda node, args: Range(args[0].low + args[1].low, args[0].high + args[1].high),
    "-": lambda node, args: Range(args[0].low - args[1].high, args[0].high - args[1].low),
    "*": _product,
    "neg": lambda node, args: Range(-args[0].high, -args[0].low),
    "abs": lambda node, args: Range(0, args[0].size),
    "%": _remainder,
    "case": lambda node, args: _hull([*args[1:-1:2], args[-1]]),
    "coalesce": lambda node, args: _hull(args),
    "nullif": lambda node, args: args[0],
}
"""Operators that make ints of ints; any other makes an int of which nothing is known."""


def times(a: Bound, b: Bound) -> Bound:
    """The product, where nothing of anything is nothing."""
    return 0 if a == 0 or b == 0 else a * b
