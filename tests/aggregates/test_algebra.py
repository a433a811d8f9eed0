"""The laws of every aggregate in the registry, and the bytes of its states."""

from __future__ import annotations

import contextlib
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.aggregates.algebra import REGISTRY, Aggregate, Invertible, clean
from tacit.errors import DataError
from tacit.values import Type

times = st.integers(-(2**63), 2**63 - 1)
values = {
    Type.INT: st.integers(-(2**63), 2**63 - 1),
    Type.FLOAT: st.floats(allow_nan=False).map(clean),
    Type.TEXT: st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    Type.BOOL: st.booleans(),
    Type.TIME: times,
}
cases = [
    (aggregate, kind) for aggregate in REGISTRY.values() for kind in Type if aggregate.accepts(kind)
]


@st.composite
def parts(draw: st.DrawFn) -> tuple[Aggregate[Any], list[list[tuple[Any, int]]]]:
    aggregate, kind = draw(st.sampled_from(cases))
    row = st.tuples(values[kind], st.one_of(st.integers(0, 3), times))
    return aggregate, draw(st.lists(st.lists(row, max_size=5), min_size=3, max_size=3))


@given(parts())
def test_merge_is_associative_commutative_and_equals_the_whole(given_: Any) -> None:
    aggregate, rows = given_
    a, b, c = (aggregate.fold(part) for part in rows)
    whole = aggregate.fold([row for part in rows for row in part])
    assert aggregate.merge(aggregate.merge(a, b), c) == whole
    assert aggregate.merge(a, aggregate.merge(b, c)) == whole
    assert aggregate.merge(a, b) == aggregate.merge(b, a)
    assert aggregate.merge(a, aggregate.init()) == a
    assert aggregate.encode(aggregate.merge(c, aggregate.merge(b, a))) == aggregate.encode(whole)


@given(parts())
def test_the_order_of_updates_does_not_matter(given_: Any) -> None:
    aggregate, rows = given_
    assert aggregate.fold(rows[0][::-1]) == aggregate.fold(rows[0])


@given(parts())
def test_bytes_are_one_to_one_with_states(given_: Any) -> None:
    aggregate, rows = given_
    state = aggregate.fold(rows[0])
    assert aggregate.decode(aggregate.encode(state)) == state


@given(parts(), st.data())
def test_retract_undoes_update(given_: Any, data: st.DataObject) -> None:
    aggregate, rows = given_
    state = aggregate.fold(rows[0])
    if isinstance(aggregate, Invertible):
        for value, at in rows[1]:
            assert aggregate.retract(aggregate.update(state, value, at), value, at) == state


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20))
def test_sum_and_mean_of_floats_are_correctly_rounded(numbers: list[float]) -> None:
    for key, expected in (
        ("sum", float(sum(map(Fraction, numbers)))),
        ("mean", float(sum(map(Fraction, numbers)) / len(numbers))),
    ):
        aggregate = REGISTRY[key]
        assert aggregate.finish(aggregate.fold([(clean(v), 0) for v in numbers])) == expected


def test_an_infinity_that_left_does_not_poison_the_sum() -> None:
    total = REGISTRY["sum"]
    assert isinstance(total, Invertible)
    state = total.fold([(math.inf, 0), (1.5, 1), (-math.inf, 2)])
    assert total.finish(state) is None
    state = total.retract(state, -math.inf, 2)
    assert total.finish(state) == math.inf
    assert total.finish(total.retract(state, math.inf, 0)) == 1.5


def test_an_int_sum_beyond_64_bits_has_no_result_but_comes_back() -> None:
    total = REGISTRY["sum"]
    state = total.fold([(2**63 - 1, 0), (1, 0)])
    assert total.finish(state) is None
    assert total.finish(total.merge(state, total.fold([(-1, 0)]))) == 2**63 - 1


@pytest.mark.parametrize("key", REGISTRY)
def test_nothing_has_no_result_or_is_zero(key: str) -> None:
    aggregate = REGISTRY[key]
    assert aggregate.finish(aggregate.init()) == (0 if key in ("count", "distinct") else None)


def test_ties_in_time_are_broken_by_value() -> None:
    rows = [("b", 7), ("a", 7), ("c", 7), ("z", 6)]
    assert REGISTRY["last"].finish(REGISTRY["last"].fold(rows)) == "c"
    assert REGISTRY["first"].finish(REGISTRY["first"].fold(rows[:3])) == "a"


def test_families_and_keys_are_distinct() -> None:
    assert len({aggregate.family for aggregate in REGISTRY.values()}) == len(REGISTRY)
    assert all(aggregate.key == key for key, aggregate in REGISTRY.items())


@given(st.binary(max_size=40), st.sampled_from(sorted(REGISTRY)))
def test_any_bytes_are_a_state_or_a_data_error(data: bytes, key: str) -> None:
    aggregate = REGISTRY[key]
    for raw in (data, bytes((1, aggregate.family)) + data):
        with contextlib.suppress(DataError):
            assert aggregate.encode(aggregate.decode(raw)) == raw


def test_bytes_of_another_aggregate_or_version_are_refused() -> None:
    raw = REGISTRY["min"].encode(3)
    with pytest.raises(DataError, match="'max'"):
        REGISTRY["max"].decode(raw)
    with pytest.raises(DataError, match="version 9"):
        REGISTRY["min"].decode(b"\x09" + raw[1:])
    with pytest.raises(DataError, match="too early"):
        REGISTRY["min"].decode(raw[:-1])


def test_the_bytes_do_not_change() -> None:
    """Stored states outlive releases of Tacit; a change here needs a new version byte."""
    rows = [(2, 10), (-3, 20)]
    encoded = {
        key: aggregate.encode(aggregate.fold(rows)).hex() for key, aggregate in REGISTRY.items()
    }
    assert encoded == {
        "count": "01010102",
        "sum": "0102010201ff00000000",
        "mean": "0103010201ff00000000",
        "min": "0104016901fd",
        "max": "010501690102",
        "first": "010601010a690102",
        "last": "01070101146901fd",
        "distinct": "0108026901fd690102",
    }
