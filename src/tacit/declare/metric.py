"""Metrics: numbers about a population, answered by a release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tacit.declare.arguments import COUNT, KEEP, REGION, Takes, instance, optional
from tacit.declare.base import Declaration
from tacit.declare.column import PURPOSES, Names, Purposes
from tacit.declare.release import Release


@dataclass(frozen=True, eq=False, kw_only=True)
class Metric(Declaration):
    """A measured number per value of the release's domain, with its standard error.

    Args:
        release: the statistic that answers it.
        minimum: the fewest devices that may stand behind it; with fewer, nothing is measured.
        purposes: what the number is for; left out, all that the release is for.
        region: where it is read; left out, the release's.
        keep: how long it is kept, or "ever"; left out, as long as the release.
    """

    kind: ClassVar[str] = "metric"
    takes: ClassVar[Mapping[str, Takes]] = {
        **Declaration.takes,
        "release": instance(Release, "a Release", "the release that answers it"),
        "minimum": COUNT,
        "purposes": optional(PURPOSES),
        "region": optional(REGION),
        "keep": optional(KEEP),
    }

    release: Release
    minimum: int
    purposes: Purposes | None = None
    region: Names | None = None
    keep: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.minimum < 2:
            raise self.wrong(
                f"may be about {self.minimum} devices",
                code="T118",
                fix="give minimum=… of 2 devices or more",
            )
