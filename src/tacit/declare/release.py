"""Releases: the one way by which data of a device may reach anywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from tacit.declare.arguments import (
    KEEP,
    NUMBER,
    OPTIONS,
    REGION,
    WORD,
    WORDS,
    Takes,
    instance,
    one_of,
    optional,
)
from tacit.declare.base import Declaration
from tacit.declare.column import PURPOSES, Names, Purposes
from tacit.declare.signal import Signal
from tacit.declare.source import Table


@dataclass(frozen=True, eq=False, kw_only=True)
class Release(Declaration):
    """A private statistic of many devices' signals: the one declassifier.

    Args:
        signal: what each device contributes; a histogram signal.
        over: the content table whose keys are the histogram's public domain. A device's values
            outside it are not sent: an unlisted key would be a message in itself.
        mechanism: a registered mechanism, such as "gram_sum" or "vector_sum".
        to: the place that learns the result.
        purposes: what the result may be used for.
        epsilon: privacy loss per device, at `delta`, toward everyone who sees the result.
        keep: how long the result may be kept, or "ever".
        region: where it may be kept.
        sensitive: sensitive fideslang categories that may be summed; none unless named.
        options: further settings of the mechanism.
    """

    kind: ClassVar[str] = "release"
    takes: ClassVar[Mapping[str, Takes]] = {
        **Declaration.takes,
        "signal": instance(Signal, "a signal", "the signal that each device contributes"),
        "over": instance(Table, "a Table", "the table of the histogram's keys"),
        "mechanism": WORD,
        "to": one_of("enclave", "cloud"),
        "purposes": PURPOSES,
        "epsilon": NUMBER,
        "delta": NUMBER,
        "keep": optional(KEEP),
        "region": optional(REGION),
        "sensitive": WORDS,
        "options": OPTIONS,
    }

    signal: Signal
    over: Table
    mechanism: str
    to: Literal["enclave", "cloud"]
    purposes: Purposes
    epsilon: float
    delta: float = 1e-6
    keep: str | None = None
    region: Names | None = None
    sensitive: Names = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.epsilon > 0 and 1e-300 < self.delta < 0.1):
            raise self.wrong(
                f"has an impossible loss of epsilon {self.epsilon}, delta {self.delta}",
                code="T118",
                fix="give a finite epsilon above 0 and a delta between 0 and 0.1",
            )
