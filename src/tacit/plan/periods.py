"""The periods that a metric is asked by: hours, days, weeks from Monday, months; all UTC.

A period is known by its start, in microseconds since the epoch; it is half-open.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from tacit.declare.expression import Node, show
from tacit.values import DAY, HOUR, WEEK, moment

FIXED = {"1h": (HOUR, 0), "1d": (DAY, 0), "1w": (WEEK, -3 * DAY)}
"""Length, and one of the starts: 1969-12-29 was a Monday."""

USUAL = {"1h": 24, "1d": 30, "1w": 12, "1mo": 12}
"""How many periods are answered where nobody says since when."""

MOST = 10_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def floor(grain: str, at: int) -> int:
    """The start of the period that a moment is in."""
    if grain in FIXED:
        length, origin = FIXED[grain]
        return at - (at - origin) % length
    day = _EPOCH + timedelta(microseconds=at)
    return moment(datetime(day.year, day.month, 1, tzinfo=UTC))


def step(grain: str, start: int, by: int = 1) -> int:
    """The start of the period that is `by` later."""
    if grain in FIXED:
        return start + by * FIXED[grain][0]
    day = _EPOCH + timedelta(microseconds=start)
    months = day.year * 12 + day.month - 1 + by
    return moment(datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC))


def later(grain: str, at: int) -> int:
    """A moment that is one period after another; a month is as long as the one that this is in."""
    start = floor(grain, at)
    return at + step(grain, start) - start


def starts(grain: str, since: int, until: int) -> list[int]:
    """Every period's start from `since` (one of them) on and before `until`."""
    found = [since]
    while (after := step(grain, found[-1])) < until and len(found) <= MOST:
        found.append(after)
    return found


def period_sql(grain: str, time: str, periods: Sequence[int]) -> str:
    """The start of the period that a row is in, of these periods, as an expression of its time."""
    at = show(Node("column", (), time))
    if grain in FIXED:
        length, origin = FIXED[grain]
        origin += (periods[0] - origin) // length * length
        return f"{at} - ({at} - {origin}) % {length}"
    if len(periods) == 1:
        return f"CASE WHEN {at} >= {periods[0]} THEN {periods[0]} END"
    pairs = pairwise(periods)
    cases = " ".join(f"WHEN {at} < {end} THEN {start}" for start, end in pairs)
    return f"CASE {cases} ELSE {periods[-1]} END"
