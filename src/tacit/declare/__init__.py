"""What a project says of itself: entities, sources, signals, purposes, releases, models, sinks."""

from tacit.declare.base import Declaration
from tacit.declare.column import (
    ANYWHERE,
    PUBLIC,
    Column,
    Terms,
    flag,
    integer,
    key,
    number,
    text,
    time,
    vector,
)
from tacit.declare.declarations import Declarations, collect
from tacit.declare.entity import Entity, Purpose
from tacit.declare.formula import Formula, rate, trend
from tacit.declare.label import PUBLIC_LABEL, Basis, Label, Linkability, Place
from tacit.declare.measure import Measure
from tacit.declare.metric import (
    AnyMetric,
    ConversionMetric,
    CumulativeMetric,
    DerivedMetric,
    Metric,
    Private,
    RatioMetric,
)
from tacit.declare.model import Model
from tacit.declare.release import Release
from tacit.declare.signal import Signal
from tacit.declare.sink import Sink
from tacit.declare.source import Events, Given, Source, Table

__all__ = [
    "ANYWHERE",
    "PUBLIC",
    "PUBLIC_LABEL",
    "AnyMetric",
    "Basis",
    "Column",
    "ConversionMetric",
    "CumulativeMetric",
    "Declaration",
    "Declarations",
    "DerivedMetric",
    "Entity",
    "Events",
    "Formula",
    "Given",
    "Label",
    "Linkability",
    "Measure",
    "Metric",
    "Model",
    "Place",
    "Private",
    "Purpose",
    "RatioMetric",
    "Release",
    "Signal",
    "Sink",
    "Source",
    "Table",
    "Terms",
    "collect",
    "flag",
    "integer",
    "key",
    "number",
    "rate",
    "text",
    "time",
    "trend",
    "vector",
]
