"""From a declared release to its mechanism: what is public decides what is worth asking for.

Defaults of "pairs", and where each comes from. All were chosen on the validation split of Online
Retail (4,372 devices, 3,665 items; every history without its last item, the one before held out),
by NDCG@10 at ε = 4; the test items were not looked at. The noise of a sum grows with no number of
coordinates, but each coordinate carries it, so asking for fewer and likelier pairs helps.

- `max_pairs` 46,000: the nearest 12 to 13 items by text of each item. Half as many pairs beside
  23,000 hash buckets for all others: .077 instead of .087 (EASE weights).
- `buckets` 0 with text. Without text nothing says which pairs are likely, and 45,000 buckets share
  them all.
- `popularity_share` 0.2 (β): the rest of the budget goes to pairs.
- `lag` 10 and `decay` 0.8 with text: neighbours in time share a session. Without text `lag` 1: a
  bucket's noise is shared by hundreds of pairs, and only the surest evidence rises above it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tacit.errors import DeclarationError
from tacit.learn.content import nearest_pairs, text_features
from tacit.learn.options import Option, read_options
from tacit.privacy.histogram import HistogramSum
from tacit.privacy.mechanism import Mechanism
from tacit.privacy.pair_layout import LONGEST_LAG
from tacit.privacy.pairs import PairLayout, PairSum

_MOST = 1 << 24  # coordinates: 64 MB from each device

PAIR_OPTIONS: Mapping[str, Option] = {
    "max_pairs": Option(46_000, 0, _MOST, whole=True),
    "buckets": Option(0, 0, _MOST, whole=True),
    "popularity_share": Option(0.2, 0.001, 0.999),
    "lag": Option(10, 1, LONGEST_LAG, whole=True),
    "decay": Option(0.8, 0.001, 1.0),
}
"""With text; see the module for where each default comes from."""

PAIR_OPTIONS_WITHOUT_TEXT: Mapping[str, Option] = {
    **PAIR_OPTIONS,
    "max_pairs": Option(0, 0, 0, whole=True),
    "buckets": Option(45_000, 1, _MOST, whole=True),
    "lag": Option(1, 1, LONGEST_LAG, whole=True),
}

SUM_OPTIONS: Mapping[str, Option] = {"bound": Option(1.0, 1e-12, 1e12)}
"""`bound`: the l2 norm within which a device's histogram counts in full."""


def design(
    key: str,
    *,
    name: str,
    items: Sequence[str],
    texts: Sequence[str] | None,
    devices_max: int,
    epsilon: float,
    delta: float,
    options: Mapping[str, Any],
) -> Mechanism[Any]:
    """The mechanism `key` of a release `name` over the public domain `items`, with their `texts`.

    Raises DeclarationError T117 for an unknown key or option, T118 for a wrong value, and
    PrivacyError T520 or T534 for a budget that no noise can meet.
    """
    if key not in DESIGNS:
        raise DeclarationError(
            f"nothing designs a mechanism {key!r}",
            code="T117",
            where=name,
            fix=f"use one of {', '.join(sorted(DESIGNS))}",
        )
    budget = {"devices_max": devices_max, "epsilon": epsilon, "delta": delta, "name": name}
    return DESIGNS[key](items, texts, options, budget)


def _pairs(
    items: Sequence[str],
    texts: Sequence[str] | None,
    options: Mapping[str, Any],
    budget: Mapping[str, Any],
) -> PairSum:
    return PairSum(pair_layout(items, texts, options, budget["name"]), **budget)


def pair_layout(
    items: Sequence[str],
    texts: Sequence[str] | None,
    options: Mapping[str, Any] | None = None,
    where: str = "pairs",
) -> PairLayout:
    """The public layout for a catalogue. Raises DeclarationError T117, T118 for options."""
    known = PAIR_OPTIONS if texts is not None else PAIR_OPTIONS_WITHOUT_TEXT
    chosen = read_options(options or {}, known, where)
    most = chosen.pop("max_pairs")
    keys = np.zeros(0, np.int64)
    if texts is not None and most:
        keys = nearest_pairs(text_features(items, texts), most)
    if len(keys) == 0 and chosen["buckets"] == 0:
        # No two texts have a word in common: the same as no text.
        chosen["buckets"] = PAIR_OPTIONS_WITHOUT_TEXT["buckets"].default
    return PairLayout(items=len(items), pair_keys=keys, **chosen)


def _sum(
    items: Sequence[str],
    texts: Sequence[str] | None,
    options: Mapping[str, Any],
    budget: Mapping[str, Any],
) -> HistogramSum:
    return HistogramSum(len(items), **read_options(options, SUM_OPTIONS, budget["name"]), **budget)


Design = Callable[
    [Sequence[str], Sequence[str] | None, Mapping[str, Any], Mapping[str, Any]], Mechanism[Any]
]

DESIGNS: Mapping[str, Design] = {PairSum.key: _pairs, HistogramSum.key: _sum}
"""Mechanism key to what builds it from items, texts, options and the sum's own parameters."""
