"""From a declared release to its mechanism: what is public decides what is worth asking for.

Defaults of "pairs", and where each comes from. Those for few devices were chosen on the validation
split of Online Retail (4,372 devices, 3,665 items; every history without its last item, the one
before held out), by NDCG@10 at ε = 4; the test items were not looked at. Noise does not shrink with
the number of coordinates, and each carries it, so asking for fewer and likelier pairs helps.

- `max_pairs` 46,000: the 12 to 13 items nearest by text of each item. From 30,000 to 200,000 it
  makes no difference (.087 to .088); 46,000 takes 191 kB of each device.
- `buckets` 0. For few devices hash buckets drown what is certain: 46,000 pairs and 20,000 buckets
  reach .082 instead of .088.
- `popularity_share` 0.2 (β): from 0.1 to 0.3 makes no difference.
- `lag` 10 and `decay` 0.8: neighbours in time share a session.

From 2^15 devices on a bucket's signal, which grows with their number, rises above its noise, which
does not. `max_pairs` is then 20,000 and `buckets` 30,000, of about the same size: .117 instead of
.088 on 50,000 made-up devices (`demo.synthetic`), .120 instead of .086 on 300,000.

A catalogue of 200 items or fewer has so few pairs that all are asked for. Else, without text,
nothing says which pairs are likely, and 45,000 buckets share them all. `lag` is then 1: a bucket's
noise is shared by hundreds of pairs, and only the surest evidence rises above it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tacit.errors import DeclarationError
from tacit.learn.content import nearest_pairs, text_features
from tacit.learn.options import Option, read_options
from tacit.privacy.histogram import HistogramSum
from tacit.privacy.local.count_mean_sketch import CountMeanSketch
from tacit.privacy.local.hadamard_response import HadamardResponse
from tacit.privacy.local.hadamard_sketch import HadamardSketch
from tacit.privacy.local.local_hashing import LocalHashing
from tacit.privacy.local.oracle import LocalOracle
from tacit.privacy.local.randomized_response import RandomizedResponse
from tacit.privacy.local.subset_selection import SubsetSelection
from tacit.privacy.local.unary import OptimisedUnary, RapporBits
from tacit.privacy.mechanism import Mechanism
from tacit.privacy.pair_layout import LONGEST_LAG
from tacit.privacy.pairs import PairLayout, PairSum

_MOST = 1 << 24  # coordinates: 64 MB from each device
_FEW_PAIRS = 20_000  # so many are all asked for, text or not

PAIR_OPTIONS: Mapping[str, Option] = {
    "max_pairs": Option(46_000, 0, _MOST, whole=True),
    "buckets": Option(0, 0, _MOST, whole=True),
    "popularity_share": Option(0.2, 0.001, 0.999),
    "lag": Option(10, 1, LONGEST_LAG, whole=True),
    "decay": Option(0.8, 0.001, 1.0),
}
"""With text and few devices; see the module for where each default comes from."""

PAIR_OPTIONS_OF_MANY: Mapping[str, Option] = {
    **PAIR_OPTIONS,
    "max_pairs": Option(20_000, 0, _MOST, whole=True),
    "buckets": Option(30_000, 0, _MOST, whole=True),
}
PAIR_OPTIONS_WITHOUT_TEXT: Mapping[str, Option] = {
    **PAIR_OPTIONS,
    "max_pairs": Option(0, 0, 0, whole=True),
    "buckets": Option(45_000, 1, _MOST, whole=True),
    "lag": Option(1, 1, LONGEST_LAG, whole=True),
}
MANY = 1 << 15
"""From so many devices on `PAIR_OPTIONS_OF_MANY` are the defaults; see the module."""

SUM_OPTIONS: Mapping[str, Option] = {"bound": Option(1.0, 1e-12, 1e12)}
"""`bound`: the l2 norm within which a device's histogram counts in full."""

SKETCH_OPTIONS: Mapping[str, Option] = {
    "hashes": Option(64, 1, 1 << 16, whole=True),
    "width": Option(1024, 2, 1 << 20, whole=True),
}
"""Rows and columns of a sketch. Collisions add about 1 / √(hashes · width) of the l2 norm of all
counts to an error: with these 0.4%, below the noise of ε = 4 for up to sixty thousand devices."""


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
    layout = pair_layout(items, texts, options, budget["name"], devices_max=budget["devices_max"])
    return PairSum(layout, **budget)


def pair_layout(
    items: Sequence[str],
    texts: Sequence[str] | None,
    options: Mapping[str, Any] | None = None,
    where: str = "pairs",
    *,
    devices_max: int = 0,
) -> PairLayout:
    """The public layout for a catalogue, and for at most so many devices.

    Raises DeclarationError T117 for an unknown option, T118 for a wrong value.
    """
    n = len(items)
    whole = n * (n - 1) // 2
    few_or_many = PAIR_OPTIONS if devices_max < MANY else PAIR_OPTIONS_OF_MANY
    named = texts is not None or whole <= _FEW_PAIRS
    chosen = read_options(options or {}, few_or_many if named else PAIR_OPTIONS_WITHOUT_TEXT, where)
    most = chosen.pop("max_pairs")
    keys = np.zeros(0, np.int64)
    if most:
        keys = nearest_pairs(text_features(items, texts or [""] * n), most)
    if len(keys) == whole:
        chosen["buckets"] = 0 if whole else 1  # no other pair is left; a layout needs a coordinate
    elif len(keys) == 0 and chosen["buckets"] == 0:
        # No two texts have a term in common: the same as no text.
        others = {"max_pairs", "buckets"}
        rest = {name: value for name, value in (options or {}).items() if name not in others}
        return pair_layout(items, None, rest, where, devices_max=devices_max)
    return PairLayout(items=n, pair_keys=keys, **chosen)


def _sum(
    items: Sequence[str],
    texts: Sequence[str] | None,
    options: Mapping[str, Any],
    budget: Mapping[str, Any],
) -> HistogramSum:
    return HistogramSum(len(items), **read_options(options, SUM_OPTIONS, budget["name"]), **budget)


def _local(kind: type[LocalOracle], known: Mapping[str, Option]) -> Design:
    """What builds a local mechanism: pure, so that δ plays no part."""

    def build(
        items: Sequence[str],
        _: Sequence[str] | None,
        options: Mapping[str, Any],
        budget: Mapping[str, Any],
    ) -> LocalOracle:
        given = {name: value for name, value in budget.items() if name != "delta"}
        return kind(size=len(items), **read_options(options, known, budget["name"]), **given)

    return build


Design = Callable[
    [Sequence[str], Sequence[str] | None, Mapping[str, Any], Mapping[str, Any]], Mechanism[Any]
]

LOCAL: Mapping[type[LocalOracle], Mapping[str, Option]] = {
    CountMeanSketch: SKETCH_OPTIONS,
    HadamardResponse: {},
    HadamardSketch: SKETCH_OPTIONS,
    LocalHashing: {},
    OptimisedUnary: {},
    RandomizedResponse: {},
    RapporBits: {},
    SubsetSelection: {},
}
"""Local mechanisms, and their options."""

DESIGNS: Mapping[str, Design] = {
    PairSum.key: _pairs,
    HistogramSum.key: _sum,
    **{kind.key: _local(kind, known) for kind, known in LOCAL.items()},
}
"""Mechanism key to what builds it from items, texts, options and the sum's own parameters."""

OPTIONS_OF: Mapping[str, Mapping[str, Option]] = {
    PairSum.key: PAIR_OPTIONS,
    HistogramSum.key: SUM_OPTIONS,
    **{kind.key: known for kind, known in LOCAL.items()},
}
"""Mechanism key to its options."""
