"""Profiles: the laws of a monoid, the bytes, the bins, and what is published."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.aggregates.profile import (
    INFINITY,
    MINIMUM,
    PROFILER,
    SKETCH,
    TEXT,
    Profile,
    bin_of,
    edges,
    profile,
    published,
)
from tacit.errors import DataError

numbers = st.floats(allow_nan=False) | st.integers(-(2**63), 2**63 - 1)
kinds = st.sampled_from(
    [
        (pa.float64(), st.floats()),
        (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
        (pa.string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=4)),
        (pa.bool_(), st.booleans()),
    ]
)


def fold(values: list[Any]) -> Profile:
    state = PROFILER.init()
    for value in values:
        if value is None or value != value:
            state = PROFILER.missing(state)
        else:
            state = PROFILER.update(state, value + 0.0 if isinstance(value, float) else value, 0)
    return state


@st.composite
def parts(draw: st.DrawFn) -> tuple[pa.DataType, list[list[Any]]]:
    arrow, values = draw(kinds)
    part = st.lists(st.none() | values, max_size=6)
    return arrow, draw(st.lists(part, min_size=3, max_size=3))


@given(parts())
def test_merge_is_associative_commutative_and_equals_the_whole(given_: Any) -> None:
    arrow, lists = given_
    a, b, c = map(fold, lists)
    whole = profile(pa.chunked_array([pa.array(part, arrow) for part in lists]))
    assert PROFILER.merge(PROFILER.merge(a, b), c) == whole
    assert PROFILER.merge(a, PROFILER.merge(c, b)) == whole
    assert PROFILER.merge(a, PROFILER.init()) == a
    assert PROFILER.decode(PROFILER.encode(whole)) == whole


@given(st.binary(max_size=60))
def test_any_bytes_are_a_profile_or_a_data_error(data: bytes) -> None:
    for raw in (data, b"\x01\x40" + data):
        with contextlib.suppress(DataError):
            assert PROFILER.encode(PROFILER.decode(raw)) == raw


def test_the_bytes_do_not_change() -> None:
    assert PROFILER.encode(fold([2.5])).hex() == GOLDEN


GOLDEN = "01400100010273220101000000000000044001000000000000044001619d3ba34c5da9e5"


@given(numbers)
def test_a_bin_holds_its_numbers(value: float) -> None:
    low, high = edges(bin_of(value))
    assert low <= float(value) <= high
    if math.isfinite(value) and value:
        assert high - low <= max(abs(low), abs(high)) / 8 + 5e-324


@given(numbers, numbers)
def test_bins_are_in_order(one: float, other: float) -> None:
    if float(one) < float(other):
        assert bin_of(one) <= bin_of(other)


def test_special_numbers() -> None:
    assert bin_of(0) == bin_of(-0.0) == bin_of(False) == 0
    assert (bin_of(math.inf), bin_of(-math.inf)) == (INFINITY, -INFINITY)
    assert bin_of("") >= TEXT


@pytest.mark.parametrize("distinct", [0, 3, SKETCH - 1, 2_000, 50_000])
def test_distinct_is_about_right(distinct: int) -> None:
    column = (
        pa.chunked_array([pa.array([f"v{i % distinct}" for i in range(2 * distinct)])])
        if distinct
        else pa.chunked_array([[]], pa.string())
    )
    found = PROFILER.finish(profile(column))
    assert found == pytest.approx(distinct, rel=0 if distinct < SKETCH else 0.25)


def test_lists_and_maps_by_their_length() -> None:
    lists = pa.chunked_array([pa.array([[1, 2], None, [], [3]])])
    maps = pa.chunked_array(
        [pa.array([[("a", 1), ("b", 2)], None, [], [("c", 3)]], pa.map_(pa.string(), pa.int64()))]
    )
    assert profile(lists) == profile(maps) == fold([2, None, 0, 1])
    assert profile(lists.slice(1, 2)) == fold([None, 0])


def test_what_is_published_hides_the_few() -> None:
    values = [1.0] * MINIMUM + [2.0] * (MINIMUM - 1) + [1e9] + [None] * 3
    shown = published(fold(values))
    assert shown.bins == {bin_of(1.0): MINIMUM}
    assert (shown.rows, shown.hidden, shown.nulls) == (len(values), MINIMUM, 0)
    assert not hasattr(shown, "most")
    few = published(fold([1.0] * (MINIMUM - 1)))
    assert (few.rows, few.nulls, few.hidden, few.distinct, few.bins) == (0, 0, 0, 0, {})


def test_numpy_and_python_agree_on_every_exponent() -> None:
    values = [math.ldexp(m, e) for e in range(-1074, 1024, 13) for m in (0.5, 0.51, 0.99)]
    assert profile(pa.chunked_array([pa.array(np.array(values))])) == fold(values)
