"""How far two distributions lie apart, from what is published of their profiles.

psi  population stability index, Σ (q - p) ln(q / p) over at most ten bins of about equal weight in
     the first; below 0.1 is called stable in the industry, above 0.25 shifted
js   Jensen-Shannon divergence in bits: 0 for the same, 1 for nothing in common (Lin 1991, §3)
ks   Kolmogorov-Smirnov statistic: the greatest distance of the two cumulative distributions; of
     text, whose bins have no order, that of any two sets of bins (total variation)

A null counts as a value of its own. Each share of psi is smoothed by half a row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tacit.aggregates.columns import Array
from tacit.aggregates.profile import TEXT, Published

GROUPS = 10
NULL = -(1 << 30)


class Distance(NamedTuple):
    """See the module."""

    psi: float
    js: float
    ks: float


def distance(first: Published, second: Published) -> Distance | None:
    """How far the second lies from the first; None where one of them shows nothing."""
    one, two = _counts(first), _counts(second)
    numbers = sorted({*one, *two})
    p = np.array([one.get(number, 0) for number in numbers], float)
    q = np.array([two.get(number, 0) for number in numbers], float)
    if not p.sum() or not q.sum():
        return None
    share, other = p / p.sum(), q / q.sum()
    middle = (share + other) / 2
    js = (_bits(share, middle) + _bits(other, middle)) / 2
    if numbers[-1] >= TEXT:
        ks = float(np.abs(share - other).sum() / 2)
    else:
        ks = float(np.abs(np.cumsum(share - other)).max())
    return Distance(_psi(p, q), float(js), ks)


def _counts(shown: Published) -> dict[int, int]:
    counts = dict(shown.bins)
    if shown.nulls:
        counts[NULL] = shown.nulls
    return counts


def _bits(p: Array, q: Array) -> float:
    there = p > 0
    return float((p[there] * np.log2(p[there] / q[there])).sum())


def _psi(p: Array, q: Array) -> float:
    """Neighbouring bins are joined until each group holds a tenth of the first."""
    groups = np.minimum((np.cumsum(p) - p) * GROUPS // p.sum(), GROUPS - 1).astype(np.int64)
    p = np.bincount(groups, p, GROUPS)
    q = np.bincount(groups, q, GROUPS)
    used = (p > 0) | (q > 0)
    p, q = p[used] + 0.5, q[used] + 0.5
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())
