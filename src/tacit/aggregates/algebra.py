"""The aggregates there are. A new one is a class in its family's file, and a line here.

What each holds, how exact it is, whether it retracts, and which engines have it stands in
docs/aggregates.md, written from the classes themselves.

``aggregates.windows`` has special kernels for most; an aggregate that has none there is computed by
merging its states, which is slower, and needs no further code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from tacit.aggregates.approximate import ApproxDistinct, ApproxQuantile
from tacit.aggregates.counts import Count
from tacit.aggregates.distinct import Distinct
from tacit.aggregates.ends import First, Last
from tacit.aggregates.extremes import Max, Min
from tacit.aggregates.lists import LastK, TopK
from tacit.aggregates.recent import Decayed, Since
from tacit.aggregates.spread import Stddev, Variance
from tacit.aggregates.state import Aggregate, Invertible, Value, clean
from tacit.aggregates.sums import Mean, Sum
from tacit.aggregates.vectors import VectorLast, VectorMean, VectorSum

__all__ = ["AGGREGATES", "FAMILIES", "REGISTRY", "Aggregate", "Invertible", "Value"]
__all__ += ["base_key", "clean", "over_vectors"]

AGGREGATES: tuple[type[Aggregate[Any]], ...] = (
    Count,
    Sum,
    Mean,
    Variance,
    Stddev,
    Min,
    Max,
    First,
    Last,
    LastK,
    TopK,
    Distinct,
    ApproxDistinct,
    ApproxQuantile,
    Since,
    Decayed,
    VectorSum,
    VectorMean,
    VectorLast,
)

_PLAIN: Mapping[str, Aggregate[Any]] = {
    made.key: made() for made in AGGREGATES if made.argument is None
}

FAMILIES: Mapping[str, tuple[Callable[..., Aggregate[Any]], Callable[[str], Any], str]] = {
    made.key: (made, made.argument.read, f"{made.key}({made.argument.example})")
    for made in AGGREGATES
    if made.argument is not None
}
"""Aggregates with an argument: how one is made, how the argument is read, an example."""

_OVER_VECTORS = {made.over: made.key for made in AGGREGATES if made.over is not None}


def base_key(key: str) -> str:
    """The key without its argument."""
    return key.partition("(")[0]


def over_vectors(key: str, size: int) -> str:
    """The key of what an aggregate means over vectors of a size; the same key if it means none."""
    return f"{_OVER_VECTORS[key]}({size})" if key in _OVER_VECTORS else key


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
