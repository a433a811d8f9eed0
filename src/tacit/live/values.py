"""What a reader of the online store is told: values, and what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from tacit.aggregates.columns import Array


class Status(IntEnum):
    """What is known of a value.

    FRESH: it is of all events that were there. STALE: its source was not heard of for too long.
    MISSING: nothing is known: no such key, all of it expired, or no event to tell of; the value is
    what the aggregate says of nothing. DENIED: the purpose may not see it, or the person refused.
    NOISED: it is an estimate, from a release whose noise it bears.
    """

    FRESH = 0
    STALE = 1
    MISSING = 2
    DENIED = 3
    NOISED = 4


class Values(NamedTuple):
    """The values of one key, in the order in which signals were asked for, and their statuses."""

    values: list[Any]
    status: list[Status]


@dataclass(frozen=True)
class Table:
    """The values of many keys: for each signal a list as long as the keys, and its statuses."""

    signals: tuple[str, ...]
    columns: Sequence[list[Any]]
    status: Array  # (keys, signals) uint8

    def floats(self) -> Array:
        """(keys, signals) float32, NaN where there is no number."""
        found = np.full(self.status.shape, np.nan, np.float32)
        for i, column in enumerate(self.columns):
            found[:, i] = [value if isinstance(value, int | float) else np.nan for value in column]
        return found
