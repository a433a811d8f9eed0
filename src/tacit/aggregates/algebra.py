"""The aggregates there are. A new one is a class in its family's file, and a line here.

=========  ==================================  ========================================
key        state                               exact
=========  ==================================  ========================================
count      int                                 yes; retracts
sum, mean  the sum with all its bits           yes, rounded once by finish; retracts
min, max   the value                           yes
first      the least (time, value)             yes
last       the greatest (time, value)          yes
distinct   the set of values                   yes
=========  ==================================  ========================================

``aggregates.windows`` has special kernels for these; an aggregate that has none there is computed
by merging its states, which is slower, and needs no further code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tacit.aggregates.counts import Count
from tacit.aggregates.distinct import Distinct
from tacit.aggregates.ends import First, Last
from tacit.aggregates.extremes import Max, Min
from tacit.aggregates.state import Aggregate, Invertible, Value, clean
from tacit.aggregates.sums import Mean, Sum

__all__ = ["REGISTRY", "Aggregate", "Invertible", "Value", "clean"]

REGISTRY: Mapping[str, Aggregate[Any]] = {
    aggregate.key: aggregate
    for aggregate in (Count(), Sum(), Mean(), Min(), Max(), First(), Last(), Distinct())
}
