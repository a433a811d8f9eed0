"""Metrics: numbers about a population, each with the mechanism that answers it.

==================  ============================================================================
Metric              measured: by a release of devices, or by a `Measure` of rows in the cloud
RatioMetric         one metric over another
DerivedMetric       an expression over metrics
CumulativeMetric    a metric to date, or over a trailing window
ConversionMetric    the share, or the number, of people who did the one and then the other
==================  ============================================================================

What is of people is answered with noise, or not at all; what is of content is answered as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from tacit.declare.arguments import (
    COUNT,
    DURATION,
    KEEP,
    NUMBER,
    REGION,
    SQL,
    WORDS,
    Takes,
    instance,
    one_of,
    optional,
    short,
)
from tacit.declare.base import Declaration
from tacit.declare.column import PURPOSES, Names, Purposes
from tacit.declare.measure import Measure
from tacit.declare.release import Release

GRAINS = ("1h", "1d", "1w", "1mo")
"""Hours, days, weeks from Monday, months; all of them UTC."""

Dimensions = Mapping[str, str] | tuple[str, ...] | list[str]


def _are_dimensions(value: object) -> bool:
    names = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(names, list | tuple):
        return False
    texts = [part for name in names for part in (name if isinstance(name, tuple) else (name,))]
    return all(isinstance(text, str) and text for text in texts)


DIMENSIONS = Takes(
    "a list of columns, nor a mapping from names to SQL",
    '["country", "films.genre"]',
    _are_dimensions,
)
GRAIN = Takes(
    f"a list of grains ({', '.join(GRAINS)})",
    '["1d", "1w"]',
    lambda value: isinstance(value, list | tuple) and all(each in GRAINS for each in value),
    "T132",
)


@dataclass(frozen=True, eq=False, kw_only=True)
class AnyMetric(Declaration):
    """What all metrics share.

    Args:
        purposes: what the number is for. A metric that is made of others, or of a release, and
            leaves this or the next two out, has theirs.
        region: where it is read.
        keep: how long it is kept, or "ever".
    """

    kind: ClassVar[str] = "metric"
    takes: ClassVar[Mapping[str, Takes]] = {
        **Declaration.takes,
        "purposes": optional(PURPOSES),
        "region": optional(REGION),
        "keep": optional(KEEP),
    }

    purposes: Purposes | None = None
    region: Names | None = None
    keep: str | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Private(AnyMetric):
    """What metrics share that are measured, and so need a mechanism where the rows are people's.

    Args:
        mechanism: "central": noise on what one person can change, by a party that sees the rows.
            "prio3": rows stay on devices, which report by DAP; two aggregators sum what neither can
            read, and both add noise. Left out, nothing stands between the rows and the number: for
            content alone.
        epsilon: the privacy loss of one answer, at `delta`, for each person.
        delta: the chance that an answer's promise fails; 0 where its keys are public.
        answers: how many different questions may be asked of it; with "prio3", how many periods may
            be collected. The privacy bill counts them all.
        max_groups: the most groups (by dimensions) of one period in which a person counts.
        max_periods: the most periods of an answer in which a person counts; left out, all.
        minimum: the fewest people behind a number; where the noisy count of people is below, the
            number is not shown.
        dimensions: what it may be asked by: columns of the source, columns of content tables that
            it finds by a key (`films.genre`), or names for SQL over them.
        grains: the periods that it may be asked by.
        sensitive: sensitive fideslang categories that may be measured; none unless named.
    """

    takes: ClassVar[Mapping[str, Takes]] = {
        **AnyMetric.takes,
        "mechanism": optional(one_of("central", "prio3")),
        "epsilon": optional(NUMBER),
        "delta": NUMBER,
        "answers": COUNT,
        "max_groups": COUNT,
        "max_periods": optional(COUNT),
        "minimum": optional(COUNT),
        "dimensions": DIMENSIONS,
        "grains": GRAIN,
        "sensitive": WORDS,
    }

    mechanism: Literal["central", "prio3"] | None = None
    epsilon: float | None = None
    delta: float = 1e-6
    answers: int = 1
    max_groups: int = 1
    max_periods: int | None = None
    minimum: int | None = None
    dimensions: Dimensions = ()
    grains: tuple[str, ...] | list[str] = GRAINS
    sensitive: Names = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for argument in ("answers", "max_groups", "max_periods"):
            value = getattr(self, argument)
            if value is not None and value < 1:
                raise self.wrong(
                    f"has {argument}={value}", code="T127", fix=f"let {argument} be 1 or more"
                )
        if self.minimum is not None and self.minimum < 2:
            raise self.wrong(
                f"may be about {self.minimum} devices or people",
                code="T118",
                fix="give minimum=… of 2 or more",
            )
        if self.mechanism is not None:
            self._check_budget()

    def _check_budget(self) -> None:
        if self.epsilon is None or self.minimum is None:
            missing = "epsilon" if self.epsilon is None else "minimum"
            raise self.wrong(
                f"is answered by {self.mechanism!r} and does not say its {missing}",
                code="T133",
                fix="write epsilon=… (the loss of one answer) and minimum=… (the fewest people)",
            )
        if not (self.epsilon > 0 and (self.delta == 0 or 1e-300 < self.delta < 0.1)):
            raise self.wrong(
                f"has an impossible loss of epsilon {self.epsilon}, delta {self.delta}",
                code="T118",
                fix="give a finite epsilon above 0 and a delta of 0, or up to 0.1",
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class Metric(Private):
    """A measured number: by a release, for each value of its domain; or by a measure of rows.

    Args:
        release: the statistic of devices that answers it, and its mechanism and budget; `minimum`
            is then the fewest devices, and with fewer nothing is measured.
        measure: in its place, what is counted or added up of rows in the cloud.
    """

    takes: ClassVar[Mapping[str, Takes]] = {
        **Private.takes,
        "release": optional(instance(Release, "a Release", "the release that answers it")),
        "measure": optional(instance(Measure, "a Measure", "Measure.persons(visits)")),
    }

    release: Release | None = None
    measure: Measure | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.release is None) == (self.measure is None):
            both = "both" if self.release else "neither"
            raise self.wrong(
                f"names {both} a release {'and' if self.release else 'nor'} a measure",
                code="T124",
                fix="write release=…, or measure=Measure.count(…)",
            )
        if self.release is None:
            return
        if self.minimum is None or self.mechanism or self.epsilon or self.dimensions:
            raise self.wrong(
                "is of a release, whose mechanism, budget and keys are its own",
                code="T124",
                fix="write release=… and minimum=… alone",
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class RatioMetric(AnyMetric):
    """One metric over another, with one confidence interval of both (Fieller 1954).

    Args:
        numerator, denominator: metrics that are measured, or derived from such.
    """

    takes: ClassVar[Mapping[str, Takes]] = {
        **AnyMetric.takes,
        "numerator": instance(AnyMetric, "a metric", "the metric above the line"),
        "denominator": instance(AnyMetric, "a metric", "the metric below the line"),
    }

    numerator: AnyMetric
    denominator: AnyMetric


@dataclass(frozen=True, eq=False, kw_only=True)
class DerivedMetric(AnyMetric):
    """An expression of metrics, cell by cell.

    Args:
        sql: an expression of Tacit's SQL subset. A name in it is that of a metric of the project,
            or one of `inputs`.
        inputs: further names, and the metric that each stands for.
    """

    takes: ClassVar[Mapping[str, Takes]] = {
        **AnyMetric.takes,
        "sql": SQL,
        "inputs": instance(Mapping, "a mapping from names to metrics", '{"plays": plays}'),
    }

    sql: str
    inputs: Mapping[str, AnyMetric] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, given in self.inputs.items():
            if not isinstance(name, str) or not isinstance(given, AnyMetric):
                raise self.wrong(
                    f"has an input {short(name)}, which is {short(given)}, not a metric",
                    code="T116",
                    fix='give a mapping such as {"plays": plays}',
                )


@dataclass(frozen=True, eq=False, kw_only=True)
class CumulativeMetric(AnyMetric):
    """A metric to date, from the first period of an answer, or over a trailing window.

    Counts and sums are added up over the released periods, which costs nothing more. People are
    not: who came on two days is one person. To date they are counted in the period in which they
    first came, once; a trailing window of people is refused.

    Args:
        metric: a measured metric of events.
        window: a multiple of the grain that is asked for; left out, to date.
    """

    takes: ClassVar[Mapping[str, Takes]] = {
        **AnyMetric.takes,
        "metric": instance(AnyMetric, "a metric", "the metric that is added up"),
        "window": optional(DURATION),
    }

    metric: Metric
    window: str | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class ConversionMetric(Private):
    """The people who did the one thing, and of these, who did the other within a time after.

    Args:
        base: `Measure.persons(…)` of the first events; its `where` says which.
        then: `Measure.persons(…)` of the second, of the same people.
        within: how soon after: later than the first event, by `within` at most.
        shows: "rate", with a confidence interval by Fieller, or "persons" who did both.
    """

    takes: ClassVar[Mapping[str, Takes]] = {
        **Private.takes,
        "base": instance(Measure, "a Measure", "Measure.persons(visits)"),
        "then": instance(Measure, "a Measure", "Measure.persons(orders)"),
        "within": DURATION,
        "shows": one_of("rate", "persons"),
    }

    base: Measure
    then: Measure
    within: str
    shows: Literal["rate", "persons"] = "rate"


def dimensions_of(metric: Any) -> dict[str, str]:
    """Name → SQL of what a metric may be asked by."""
    given = metric.dimensions
    return dict(given) if isinstance(given, Mapping) else {name: name for name in given}
