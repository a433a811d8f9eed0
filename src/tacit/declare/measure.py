"""Measures: what a metric counts or adds up, of which rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypedDict, Unpack

from tacit.declare.arguments import COUNT, NUMBER, SQL, Takes, instance, one_of, optional, short
from tacit.declare.base import here
from tacit.declare.source import Events, Source, Table
from tacit.errors import DeclarationError

AGGREGATES = ("count", "persons", "sum", "mean", "quantile", "histogram", "top")
ADDITIVE = ("count", "sum", "histogram")
"""What may be added up over parts of the rows: a person in two parts is not two people."""
VALUED = ("sum", "mean", "quantile")
"""What is of a number, of which one person's share must be bounded."""


class Bounds(TypedDict, total=False):
    """What a measure of a number takes besides it; see `Measure`."""

    where: str | None
    low: float | None
    high: float | None
    step: float | None
    max_rows: int | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Measure:
    """An aggregate over the rows of a source; made by its class methods.

    Args:
        source: events, or content.
        aggregate: one of `AGGREGATES`.
        value: SQL of what is added up, or of what is counted by.
        where: SQL that says which rows count.
        low, high, step: where the rows are people's, what values are clipped to, and the steps in
            which they are added up: low, low + step … high. Choose them without looking.
        max_rows: the most rows with which a person counts in one cell of an answer.
        q: which quantile, between 0 and 1.
        k: how many of the most frequent values.
    """

    takes: ClassVar[Mapping[str, Takes]] = {
        "source": instance((Events, Table), "Events or a Table", "the rows to measure"),
        "aggregate": one_of(*AGGREGATES),
        "value": optional(SQL),
        "where": optional(SQL),
        "low": optional(NUMBER),
        "high": optional(NUMBER),
        "step": optional(NUMBER),
        "max_rows": optional(COUNT),
        "q": optional(NUMBER),
        "k": optional(COUNT),
    }

    source: Events | Table
    aggregate: str
    value: str | None = None
    where: str | None = None
    low: float | None = None
    high: float | None = None
    step: float | None = None
    max_rows: int | None = None
    q: float | None = None
    k: int | None = None
    made: str = field(init=False, repr=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "made", here())
        for argument, rule in self.takes.items():
            value = getattr(self, argument)
            if not rule.test(value):
                raise self._wrong(
                    f"has {argument}={short(value)}, which is not {rule.what}",
                    rule.code,
                    f"write {argument}={rule.example}",
                )
        if (self.low is None) != (self.high is None) or not (self.low or 0) <= (self.high or 0):
            raise self._wrong("is of values between no two bounds", "T127", "write low=0, high=10")
        if self.step is not None and not self.step > 0:
            raise self._wrong(f"has step={self.step}", "T127", "let it be above 0")
        if self.max_rows is not None and self.max_rows < 1:
            raise self._wrong(f"has max_rows={self.max_rows}", "T127", "let it be 1 or more")
        if self.q is not None and not 0 < self.q < 1:
            raise self._wrong(f"is of the quantile {self.q}", "T127", "write q=0.5 for the median")
        if self.k is not None and self.k < 1:
            raise self._wrong(f"is of the top {self.k}", "T127", "write k=10")

    def _wrong(self, message: str, code: str, fix: str) -> DeclarationError:
        return DeclarationError(
            f"a measure ({self.aggregate}) {message}", code=code, where=self.made, fix=fix
        )

    @classmethod
    def count(
        cls, source: Source, *, where: str | None = None, max_rows: int | None = None
    ) -> Measure:
        """How many rows."""
        return _made(source, "count", where=where, max_rows=max_rows)

    @classmethod
    def persons(cls, source: Source, *, where: str | None = None) -> Measure:
        """How many different people have such a row."""
        return _made(source, "persons", where=where)

    @classmethod
    def sum(cls, source: Source, value: str, **bounds: Unpack[Bounds]) -> Measure:
        """The sum of a number; rows without one count as if they were not there."""
        return _made(source, "sum", value=value, **bounds)

    @classmethod
    def mean(cls, source: Source, value: str, **bounds: Unpack[Bounds]) -> Measure:
        """The mean of a number, over the rows that have one."""
        return _made(source, "mean", value=value, **bounds)

    @classmethod
    def quantile(cls, source: Source, value: str, q: float, **bounds: Unpack[Bounds]) -> Measure:
        """A quantile of a number, such as the median with q=0.5."""
        return _made(source, "quantile", value=value, q=q, **bounds)

    @classmethod
    def histogram(
        cls, source: Source, value: str, *, where: str | None = None, max_rows: int | None = None
    ) -> Measure:
        """How many rows for each value: a count with one dimension more."""
        return _made(source, "histogram", value=value, where=where, max_rows=max_rows)

    @classmethod
    def top(cls, source: Source, value: str, k: int, *, where: str | None = None) -> Measure:
        """The k values that most people have, in each cell, and how many people do."""
        return _made(source, "top", value=value, where=where, k=k)


def _made(source: Source, aggregate: str, **given: Any) -> Measure:
    return Measure(source=source, aggregate=aggregate, **given)  # type: ignore[arg-type]
