"""What an expression of metrics is to statistics: a sum, a ratio of sums, or something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tacit.declare.expression import Node


@dataclass(frozen=True)
class Sum:
    """constant + Σ weight · column."""

    weights: Mapping[str, float]
    constant: float = 0.0

    def plus(self, other: Sum, times: float = 1.0) -> Sum:
        """self + times · other."""
        names = {**self.weights, **other.weights}
        weights = {n: self.weights.get(n, 0.0) + times * other.weights.get(n, 0.0) for n in names}
        return Sum(weights, self.constant + times * other.constant)

    def by(self, factor: float) -> Sum:
        """factor · self."""
        return Sum({n: w * factor for n, w in self.weights.items()}, self.constant * factor)

    @property
    def fixed(self) -> bool:
        """Whether it is a number, with no column in it."""
        return not any(self.weights.values())


@dataclass(frozen=True)
class Form:
    """above / below, two sums."""

    above: Sum
    below: Sum

    @property
    def linear(self) -> bool:
        """Whether it is a sum: what is below is a number."""
        return self.below.fixed


ONE = Sum({}, 1.0)


def form_of(node: Node) -> Form | None:
    """The form of an expression over columns; None for one that is no ratio of sums."""
    if node.op == "column":
        return Form(Sum({str(node.value): 1.0}), ONE)
    if node.op in ("int", "float"):
        return Form(Sum({}, float(node.value)), ONE)
    if node.op not in ("+", "-", "*", "/", "neg", "double"):
        return None
    parts = [form_of(child) for child in node.args]
    if any(part is None for part in parts):
        return None
    known = [part for part in parts if part is not None]
    if node.op == "double":
        return known[0]
    if node.op == "neg":
        return Form(known[0].above.by(-1.0), known[0].below)
    left, right = known
    if node.op in ("+", "-"):
        return _added(left, right, 1.0 if node.op == "+" else -1.0)
    if node.op == "*":
        return _times(left, right)
    return _times(left, Form(right.below, right.above))


def _added(left: Form, right: Form, sign: float) -> Form | None:
    if left.below.fixed and right.below.fixed:
        if not (left.below.constant and right.below.constant):
            return None
        a, b = left.above.by(1 / left.below.constant), right.above.by(1 / right.below.constant)
        return Form(a.plus(b, sign), ONE)
    if left.below == right.below:
        return Form(left.above.plus(right.above, sign), left.below)
    if right.above.fixed and right.below.fixed and right.below.constant:
        number = right.above.constant / right.below.constant
        return Form(left.above.plus(left.below, sign * number), left.below)
    if left.above.fixed and left.below.fixed and left.below.constant:
        number = left.above.constant / left.below.constant
        return Form(right.above.by(sign).plus(right.below, number), right.below)
    return None


def _times(left: Form, right: Form) -> Form | None:
    """Sums multiply where one of the two is a number."""
    above = _product(left.above, right.above)
    below = _product(left.below, right.below)
    if above is not None and below is not None:
        return Form(above, below)
    if left.above == right.below:  # a / b · c / a
        return Form(right.above, left.below)
    return None


def _product(a: Sum, b: Sum) -> Sum | None:
    if a.fixed:
        return b.by(a.constant)
    return a.by(b.constant) if b.fixed else None
