"""The laws of every aggregate in the registry, and the bytes of its states."""

from __future__ import annotations

import contextlib
import math
import time
from fractions import Fraction
from typing import Any

import pytest
from aggregate_pages import ROWS
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from tacit.aggregates.algebra import AGGREGATES, FAMILIES, REGISTRY, Aggregate, Invertible, clean
from tacit.errors import DataError
from tacit.values import Type

times = st.integers(-(2**63), 2**63 - 1)
values = {
    Type.INT: st.integers(-(2**63), 2**63 - 1),
    Type.FLOAT: st.floats(allow_nan=False).map(clean),
    Type.TEXT: st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    Type.BOOL: st.booleans(),
    Type.TIME: times,
    Type.VECTOR: st.tuples(
        *[st.floats(width=32, allow_nan=False, allow_infinity=False).map(clean)] * 2
    ),
}
EXAMPLES = [example for _, _, example in FAMILIES.values()]
KEYS = [
    *REGISTRY,
    *EXAMPLES,
    "last_k(1)",
    "decayed(1s)",
    "approx_quantile(0)",
    "approx_quantile(1)",
]
cases = [(REGISTRY[key], kind) for key in KEYS for kind in Type if REGISTRY[key].accepts(kind)]


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


@pytest.mark.parametrize("key", KEYS)
def test_nothing_has_no_result_or_is_zero(key: str) -> None:
    aggregate = REGISTRY[key]
    assert aggregate.finish(aggregate.init()) == aggregate.empty


def test_ties_in_time_are_broken_by_value() -> None:
    rows = [("b", 7), ("a", 7), ("c", 7), ("z", 6)]
    assert REGISTRY["last"].finish(REGISTRY["last"].fold(rows)) == "c"
    assert REGISTRY["first"].finish(REGISTRY["first"].fold(rows[:3])) == "a"


def test_families_and_keys_are_distinct() -> None:
    families = {REGISTRY[key].family for key in (*REGISTRY, *EXAMPLES)}
    assert len(families) == len(AGGREGATES)
    assert all(REGISTRY[key].key == key for key in KEYS)


@given(st.binary(max_size=40), st.sampled_from(KEYS))
def test_any_bytes_are_a_state_or_a_data_error(data: bytes, key: str) -> None:
    aggregate = REGISTRY[key]
    for raw in (data, bytes((1, aggregate.family)) + data):
        with contextlib.suppress(DataError):
            assert aggregate.encode(aggregate.decode(raw)) == raw


RAW = [
    (key, REGISTRY[key].encode(REGISTRY[key].fold(rows)))
    for key in KEYS
    for kind, cases_ in ROWS.items()
    if REGISTRY[key].accepts(kind)
    for rows in cases_.values()
]


@given(st.sampled_from(RAW), st.data())
@settings(max_examples=examples(400))
def test_damaged_bytes_are_a_state_or_a_data_error(given_: Any, data: st.DataObject) -> None:
    """One to three changes of a real state: what is read can be finished, merged and written."""
    key, raw = given_
    aggregate, changed = REGISTRY[key], bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(2, max(len(changed), 2)))
        match data.draw(st.sampled_from(["set", "cut", "add"])):
            case "set":
                changed[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
            case "cut":
                del changed[at : at + data.draw(st.integers(1, 9))]
            case "add":
                changed[at:at] = data.draw(st.binary(max_size=9))
    with contextlib.suppress(DataError):
        state = aggregate.decode(bytes(changed))
        assert aggregate.encode(state) == changed
        twice = aggregate.merge(state, state)
        assert aggregate.decode(aggregate.encode(twice)) == twice
        aggregate.finish_at(state, 2**63 - 1)
        aggregate.finish_at(state, -(2**63))


@pytest.mark.parametrize("key", KEYS)
def test_no_bytes_take_long_or_much(key: str) -> None:
    """Lengths that promise more than there is, and the largest numbers that there is room for."""
    aggregate = REGISTRY[key]
    head = bytes((1, aggregate.family))
    for filling in (
        b"\xff",
        b"\x7f",
        b"\x80",
        b"\x00",
        b"\x01",
        b"i\x08",
        b"\xff\xff\x03",
        b"t\x01",
    ):
        for prefix in (b"", b"\x01", b"\xff" * 8 + b"\x7f", b"\x02\x01"):
            raw = head + prefix + filling * (60_000 // len(filling))
            started = time.process_time()
            with contextlib.suppress(DataError):
                aggregate.finish_at(aggregate.decode(raw), 0)
            assert time.process_time() - started < 2.0


def test_bytes_of_another_aggregate_or_version_are_refused() -> None:
    raw = REGISTRY["min"].encode(3)
    with pytest.raises(DataError, match="'max'"):
        REGISTRY["max"].decode(raw)
    with pytest.raises(DataError, match="version 9"):
        REGISTRY["min"].decode(b"\x09" + raw[1:])
    with pytest.raises(DataError, match="too early"):
        REGISTRY["min"].decode(raw[:-1])


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.floats(-1e150, 1e150), min_size=1, max_size=9)
)
def test_the_variance_is_rounded_once(numbers: list[float]) -> None:
    exact = [Fraction(number) for number in numbers]
    mean = sum(exact) / len(exact)
    expected = float(sum((x - mean) ** 2 for x in exact) / len(exact))
    found = {
        key: REGISTRY[key].fold([(clean(x), 0) for x in numbers]) for key in ("variance", "stddev")
    }  # type: ignore[misc]
    assert REGISTRY["variance"].finish(found["variance"]) == expected
    assert REGISTRY["stddev"].finish(found["stddev"]) == math.sqrt(expected)


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(-(10**9), 10**9)), min_size=1, max_size=9)
)
def test_a_decayed_sum_is_what_it_says(rows: list[tuple[float, int]]) -> None:
    decayed = REGISTRY["decayed(5m)"]
    now = 10**9 + 7
    expected = sum(value * 2.0 ** -((now - at) / 300e6) for value, at in rows)
    scale = sum(abs(value) for value, _ in rows)
    found = decayed.finish_at(decayed.fold([(clean(v), at) for v, at in rows]), now)
    assert isinstance(found, float)
    assert abs(found - expected) <= 1e-12 * scale + 1e-300


@pytest.mark.parametrize("age", [2**40, 2**62, -(2**62), 2**200])
def test_a_decayed_state_of_any_age_is_told_or_refused_at_once(age: int) -> None:
    """A shift by so many half-lives would be an int beyond all memory."""
    decayed = REGISTRY["decayed(1s)"]
    [(_, total)] = decayed.fold([(1.0, 0)])
    with contextlib.suppress(DataError):
        state = decayed.decode(decayed.encode(((age, total),)))
        for now in (-(2**63), 0, 2**63 - 1):
            found = decayed.finish_at(state, now)
            assert isinstance(found, float)
            assert found in (0.0, math.inf)


def test_what_is_128_half_lives_old_counts_nothing() -> None:
    decayed = REGISTRY["decayed(1s)"]
    state = decayed.fold([(1e300, 0), (1.0, 127_999_999), (2.0, 128_000_000)])
    assert len(state) == 2
    assert decayed.finish(state) == pytest.approx(2.0 + 0.5**1e-6)


def test_since_is_measured_from_the_last_event() -> None:
    since = REGISTRY["since"]
    assert since.finish_at(since.fold([(True, 5), (True, 3)]), 12) == 7


def test_last_k_and_top_k() -> None:
    rows = [("b", 1), ("a", 1), ("a", 2), ("c", 3), ("b", 3)]
    last, top = REGISTRY["last_k(3)"], REGISTRY["top_k(2)"]
    assert last.finish(last.fold(rows)) == ["c", "b", "a"]
    assert top.finish(top.fold(rows)) == ["a", "b"]


@pytest.mark.parametrize(
    "key",
    [
        *("last_k", "last_k()", "last_k(0)", "last_k(05)", "decayed(5)", "sum(1)", "x(1)"),
        *("approx_quantile(1.5)", "approx_quantile(0.50)", "approx_quantile(.5)"),
        *("approx_quantile(nan)", "vector_sum(0)", "vector_sum(9999)"),
    ],
)
def test_what_is_no_aggregate(key: str) -> None:
    assert key not in REGISTRY
