"""Sinks: the places where signals are delivered, each with a clearance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from tacit.declare.arguments import KEEP, REGION, WORDS, Takes, one_of, optional, several
from tacit.declare.base import Declaration
from tacit.declare.column import PLACE, PURPOSES, Names, PlaceName, Purposes
from tacit.declare.formula import Formula
from tacit.declare.metric import GRAINS, AnyMetric
from tacit.declare.signal import Signal

Delivered: TypeAlias = Signal | Formula | AnyMetric


@dataclass(frozen=True, eq=False, kw_only=True)
class Sink(Declaration):
    """Somewhere signals go: a training set, an exported file, or who reads the online store. Its
    clearance is all it states.

    Args:
        signals: what is delivered; for an export, all of the same entities. To "online" also
            metrics that are released with noise, by the one key that they may be asked by.
        to: "training" (a point-in-time correct table for learning), "export" (a file) or "online"
            (what is served: where one is declared, nothing is that no such sink takes).
        place: where it stands.
        purposes: what the delivered data is used for.
        region: where it stands.
        keep: how long it keeps the data, or "ever".
        linkability: the most linkable data that it may hold.
        sensitive: sensitive fideslang categories that it may hold; none unless named.
        every: how often its metrics are released anew, each time of the last whole period; the
            numbers are stale when so long has passed. Left out, of metrics that have no time, they
            never are.
    """

    kind: ClassVar[str] = "sink"
    takes: ClassVar[Mapping[str, Takes]] = {
        **Declaration.takes,
        "signals": several((Signal, Formula, AnyMetric), "a list of signals", "[…]"),
        "to": one_of("training", "export", "online"),
        "place": PLACE,
        "purposes": PURPOSES,
        "region": optional(REGION),
        "keep": optional(KEEP),
        "linkability": one_of("public", "aggregate", "pseudonymous", "identified"),
        "sensitive": WORDS,
        "every": optional(one_of(*GRAINS)),
    }

    signals: Sequence[Delivered]
    to: Literal["training", "export", "online"]
    place: PlaceName
    purposes: Purposes
    region: Names | None = None
    keep: str | None = None
    linkability: Literal["public", "aggregate", "pseudonymous", "identified"] = "pseudonymous"
    sensitive: Names = ()
    every: str | None = None
