"""The aggregates there are. A new one is a class in its family's file, and a line here.

================  ==================================  =====================================
key               state                               exact
================  ==================================  =====================================
count             int                                 yes; retracts
sum, mean         the sum with all its bits           yes, rounded once by finish; retracts
variance, stddev  the sums of values and squares      yes, rounded by finish; retracts
min, max          the value                           yes
first             the least (time, value)             yes
last              the greatest (time, value)          yes
last_k(k)         the k greatest (time, value)        yes
top_k(k)          how often each value occurred       yes
distinct          the set of values                   yes
since             the last time                       yes
decayed(half)     a sum for each half-life            each weight rounded once
================  ==================================  =====================================

``aggregates.windows`` has special kernels for most; an aggregate that has none there is computed by
merging its states, which is slower, and needs no further code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from tacit.aggregates.counts import Count
from tacit.aggregates.distinct import Distinct
from tacit.aggregates.ends import First, Last
from tacit.aggregates.extremes import Max, Min
from tacit.aggregates.lists import LastK, TopK
from tacit.aggregates.recent import Decayed, Since
from tacit.aggregates.spread import Stddev, Variance
from tacit.aggregates.state import Aggregate, Invertible, Value, clean
from tacit.aggregates.sums import Mean, Sum
from tacit.errors import DeclarationError
from tacit.values import duration

__all__ = ["FAMILIES", "REGISTRY", "Aggregate", "Invertible", "Value", "base_key", "clean"]

_PLAIN: Mapping[str, Aggregate[Any]] = {
    aggregate.key: aggregate
    for aggregate in (
        Count(),
        Sum(),
        Mean(),
        Variance(),
        Stddev(),
        Min(),
        Max(),
        First(),
        Last(),
        Distinct(),
        Since(),
    )
}


def _length(text: str) -> int | None:
    """A list's length, in its one way of writing."""
    return int(text) if re.fullmatch(r"[1-9]\d{0,3}", text) else None


def _half(text: str) -> int | None:
    try:
        return duration(text)
    except DeclarationError:
        return None


FAMILIES: Mapping[str, tuple[Callable[[int], Aggregate[Any]], Callable[[str], int | None], str]] = {
    "last_k": (LastK, _length, "last_k(5)"),
    "top_k": (TopK, _length, "top_k(5)"),
    "decayed": (Decayed, _half, "decayed(30d)"),
}
"""Aggregates with an argument: how one is made, how the argument is read, an example."""


def base_key(key: str) -> str:
    """The key without its argument."""
    return key.partition("(")[0]


@lru_cache(maxsize=4096)
def _made(key: str) -> Aggregate[Any] | None:
    name, _, rest = key.partition("(")
    if name not in FAMILIES or not rest.endswith(")"):
        return None
    make, read, _ = FAMILIES[name]
    argument = read(rest[:-1])
    return None if argument is None else make(argument)


class _Registry(Mapping[str, Aggregate[Any]]):
    """By key: ``count``, ``last_k(5)``. Iterates over those without an argument."""

    def __getitem__(self, key: str) -> Aggregate[Any]:
        found = _PLAIN.get(key) or _made(key)
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(_PLAIN)

    def __len__(self) -> int:
        return len(_PLAIN)


REGISTRY: Mapping[str, Aggregate[Any]] = _Registry()
