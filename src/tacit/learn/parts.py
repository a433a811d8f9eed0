"""Answers over two neighbouring stretches of time, put together from the finished ones.

For aggregates whose answer over `[a, c)` follows from those over `[a, b)` and `[b, c)`. Where it
does not follow for sure (a sum that is null though something was added, an infinity), the row is
unsure, and its answer has to be found in another way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tacit.aggregates.columns import Array
from tacit.operations import Window

PARTS: Mapping[str, tuple[str, ...]] = {
    "count": ("count",),
    "sum": ("sum", "count"),
    "mean": ("sum", "count"),
    "min": ("min",),
    "max": ("max",),
    "first": ("first",),
    "last": ("last",),
    "since": ("since",),
}
"""Aggregate → what is asked of each stretch."""

Stretch = Mapping[str, pa.ChunkedArray]
Whole = tuple[pa.ChunkedArray, Array]


def splits(window: Window) -> bool:
    """Whether the window's answer can be put together."""
    return window.by is None and window.aggregate in PARTS


def asked(window: Window, length: int | None) -> list[Window]:
    """What is asked of a stretch of this length, in place of the window."""
    parts = PARTS[window.aggregate]
    return [
        replace(window, signal=f"{window.signal}#{part}", aggregate=part, length=length)
        for part in parts
    ]


def together(window: Window, old: Stretch | None, new: Stretch, shift: int) -> Whole:
    """The answers, and which of them are unsure.

    ``old`` ends ``shift`` µs before ``new`` does; None where there is nothing old.
    """
    later = {part: new[f"{window.signal}#{part}"] for part in PARTS[window.aggregate]}
    if old is None:
        earlier = {part: _nothing(part, column) for part, column in later.items()}
    else:
        earlier = {part: old[f"{window.signal}#{part}"] for part in PARTS[window.aggregate]}
    if window.aggregate in ("sum", "mean"):
        return _sum(earlier, later, window.aggregate == "mean")
    part = window.aggregate
    found = _MERGE[part](earlier[part], later[part], shift)
    return found, np.zeros(len(found), np.bool_)


def _nothing(part: str, like: pa.ChunkedArray) -> pa.ChunkedArray:
    if part == "count":
        return pa.chunked_array([pa.array(np.zeros(len(like), np.int64))])
    return pa.chunked_array([pa.nulls(len(like), like.type)])


def _sum(old: Stretch, new: Stretch, mean: bool) -> Whole:
    counts = pc.add(old["count"], new["count"])
    unsure = np.zeros(len(counts), np.bool_)
    addends = []
    for stretch in (old, new):
        empty = pc.equal(stretch["count"], 0)
        number = pc.cast(stretch["sum"], pa.float64(), safe=False)
        odd = pc.and_(pc.invert(empty), pc.invert(pc.fill_null(pc.is_finite(number), False)))
        unsure |= odd.to_numpy(zero_copy_only=False) if isinstance(odd, pa.Array) else np.array(odd)
        addends.append(pc.fill_null(stretch["sum"], 0))
    total = pc.add(*addends)
    near = pc.add(*(pc.cast(part, pa.float64(), safe=False) for part in addends))
    # Near the end of the ints an addition wraps around; of the doubles it is an infinity.
    unsure |= ~(
        np.abs(np.array(near)) < 2.0**62
        if pa.types.is_integer(total.type)
        else np.isfinite(np.array(near))
    )
    empty = pc.equal(counts, 0)
    if mean:
        total = pc.divide(near, pc.cast(counts, pa.float64()))
    return pc.if_else(empty, pa.scalar(None, total.type), total), unsure


def _extreme(better: Callable[..., pa.ChunkedArray]) -> Callable[..., pa.ChunkedArray]:
    def merge(old: pa.ChunkedArray, new: pa.ChunkedArray, shift: int) -> pa.ChunkedArray:
        wins = pc.or_(pc.is_null(old), pc.fill_null(better(new, old), False))
        return pc.if_else(wins, new, old)

    return merge


def _since(old: pa.ChunkedArray, new: pa.ChunkedArray, shift: int) -> pa.ChunkedArray:
    # What would not fit 64 bits has no result.
    fits = pc.less(old, 2**63 - 1 - shift)
    aged = pc.if_else(fits, pc.add(old, shift), pa.scalar(None, pa.int64()))
    return pc.coalesce(new, aged)


_MERGE: Mapping[str, Callable[..., pa.ChunkedArray]] = {
    "count": lambda old, new, shift: pc.add(old, new),
    "min": _extreme(pc.less),
    "max": _extreme(pc.greater),
    "first": lambda old, new, shift: pc.coalesce(old, new),
    "last": lambda old, new, shift: pc.coalesce(new, old),
    "since": _since,
}
