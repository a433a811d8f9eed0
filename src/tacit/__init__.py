"""Tacit: personalization without anybody's history in the cloud.

Declare sources, signals, releases and models in a Python module; `tacit plan` checks where every
piece of data may flow before anything runs. A project's module imports its vocabulary from here.
"""

from tacit.declare import (
    ANYWHERE,
    PUBLIC,
    ConversionMetric,
    CumulativeMetric,
    DerivedMetric,
    Entity,
    Events,
    Formula,
    Given,
    Measure,
    Metric,
    Model,
    Purpose,
    RatioMetric,
    Release,
    Signal,
    Sink,
    Table,
    flag,
    integer,
    key,
    number,
    rate,
    text,
    time,
    trend,
    vector,
)

__version__ = "0.1.0"

__all__ = [
    "ANYWHERE",
    "PUBLIC",
    "ConversionMetric",
    "CumulativeMetric",
    "DerivedMetric",
    "Entity",
    "Events",
    "Formula",
    "Given",
    "Measure",
    "Metric",
    "Model",
    "Purpose",
    "RatioMetric",
    "Release",
    "Signal",
    "Sink",
    "Table",
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
