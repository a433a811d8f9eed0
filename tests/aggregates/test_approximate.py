"""The error of approximate aggregates, on data made to be hard; and their laws where states change."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import datasketches
import ddsketch
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from tacit.aggregates.algebra import REGISTRY
from tacit.aggregates.approximate import (
    KEPT,
    MOST,
    REGISTERS,
    ApproxDistinct,
    bucket_of,
    end_of,
    hash64,
)
from tacit.aggregates.columns import Column
from tacit.aggregates.sketches import hashes
from tacit.aggregates.windows import windows
from tacit.errors import DataError
from tacit.operations import Computed, View, Window
from tacit.values import Type

COUNT = ApproxDistinct()
SPREAD = 1.04 / math.sqrt(REGISTERS)  # the standard error that is claimed
SETS: dict[str, Any] = {
    "ascending": range,
    "even": lambda n: range(0, 1024 * n, 1024),
    "high bits": lambda n: (i << 40 for i in range(n)),
    "negative": lambda n: range(-n, 0),
    "floats": lambda n: (i / 3 for i in range(n)),
    "tiny floats": lambda n: (i * 5e-324 for i in range(n)),
    "powers": lambda n: (math.ldexp(1.0, i % 2000 - 1000) * (1 + i // 2000) for i in range(n)),
    "long texts": lambda n: (f"{'x' * 50}{i}" for i in range(n)),
    "padded texts": lambda n: (f"{i:030d}" for i in range(n)),
}


def count(values: Iterable[Any]) -> int:
    return COUNT.finish(COUNT.fold([(value, 0) for value in values]))


@pytest.mark.parametrize("name", SETS)
def test_distinct_counts_are_within_their_bound(name: str) -> None:
    """Exact up to 384, then within four standard errors."""
    for size in (1, KEPT - 1, KEPT):
        values = list(SETS[name](size))
        assert count(values) == len(set(values))
    for size in (KEPT + 1, 1_000, 4_096, 30_000):
        values = list(SETS[name](size))
        assert abs(count(values) / len(set(values)) - 1) < 4 * SPREAD, size


def test_the_standard_error_is_the_claimed_one() -> None:
    """Over 300 sets of each size the root mean square is near 1.04/√4096, and there is no bias."""
    for size in (500, 3_000, 20_000):
        errors = []
        for seed in range(300 if size < 20_000 else 60):
            values = np.random.default_rng(seed).integers(-(2**63), 2**63 - 1, size)
            found = hashes(Column(values, None))
            registers = np.zeros(REGISTERS, np.uint8)
            rest = found << np.uint64(12)
            ranks = np.minimum(64 - np.floor(np.log2(np.maximum(rest, 1).astype(float))), MOST)
            np.maximum.at(registers, (found >> np.uint64(52)).astype(int), ranks.astype(np.uint8))
            errors.append(COUNT.finish(registers.tobytes()) / size - 1)
        spread, bias = np.sqrt(np.mean(np.square(errors))), np.mean(errors)
        assert spread < 1.15 * SPREAD, (size, spread)
        assert abs(bias) < 4 * SPREAD / math.sqrt(len(errors)), (size, bias)


def test_repeats_and_order_do_not_count() -> None:
    values = list(range(5_000))
    once = COUNT.fold([(value, 0) for value in values])
    twice = values * 3
    random.Random(1).shuffle(twice)
    assert COUNT.fold([(value, 0) for value in twice]) == once


def test_it_is_no_worse_than_the_library() -> None:
    """datasketches' HyperLogLog of as many registers, merged so that it has only those to go by."""
    ours, theirs = [], []
    for seed in range(20):
        values = np.random.default_rng(seed).integers(-(2**63), 2**63 - 1, 5_000).tolist()
        ours.append(count(values) / 5_000 - 1)
        union = datasketches.hll_union(12)
        for part in (values[:2_500], values[2_500:]):
            sketch = datasketches.hll_sketch(12, datasketches.HLL_8)
            for value in part:
                sketch.update(value)
            union.update(sketch)
        theirs.append(union.get_estimate() / 5_000 - 1)
    assert np.std(ours) < 1.6 * np.std(theirs)


@st.composite
def splits(draw: st.DrawFn) -> list[list[tuple[int, int]]]:
    """Three parts about the size at which the state changes its form."""
    seed, whole = draw(st.integers(0, 2**32)), draw(st.integers(KEPT - 3, KEPT + 3))
    values = list(range(whole + draw(st.sampled_from([0, 1_000]))))
    values += values[: draw(st.integers(0, 50))]
    random.Random(seed).shuffle(values)
    cuts = sorted(draw(st.lists(st.integers(0, len(values)), min_size=2, max_size=2)))
    return [[(v, 0) for v in values[a:b]] for a, b in pairwise([0, *cuts, len(values)])]


@given(splits())
@settings(max_examples=examples(40), deadline=None)
def test_the_laws_hold_where_the_state_changes_its_form(parts: list[list[tuple[int, int]]]) -> None:
    a, b, c = map(COUNT.fold, parts)
    whole = COUNT.fold([row for part in parts for row in part])
    assert COUNT.merge(COUNT.merge(a, b), c) == whole
    assert COUNT.merge(a, COUNT.merge(c, b)) == whole
    assert COUNT.decode(COUNT.encode(whole)) == whole
    state = a
    for value, at in [*parts[1], *parts[2]]:
        state = COUNT.update(state, value, at)
    assert state == whole


@given(
    st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)), max_size=9)
)
def test_hashes_are_alike_in_the_kernel(values: list[Any]) -> None:
    for kind, dtype in ((int, np.int64), (float, np.float64)):
        some = [
            value + 0 if kind is int else value + 0.0 for value in values if type(value) is kind
        ]
        assert hashes(Column(np.array(some, dtype), None)).tolist() == list(map(hash64, some))


def test_hashes_are_known() -> None:
    """SplitMix64's first outputs for seed 0 (Vigna's reference), and BLAKE2b-64 of nothing."""
    assert hash64(0) == 0xE220A8397B1DCDAF
    assert hash64(0x9E3779B97F4A7C15) == 0x6E789E6AA1B965F4
    assert hash64("").to_bytes(8, "little").hex() == "e4a6a0577479b2b4"


FLOATS = st.one_of(
    st.floats(allow_nan=False),
    st.floats(-1e3, 1e3),
    st.integers(-300, 300).map(float),
    st.sampled_from([0.0, math.inf, -math.inf, 5e-324, 2.2250738585072014e-308, 1.7e308]),
)


@given(FLOATS, FLOATS)
def test_buckets_keep_the_order_and_bound_the_error(x: float, y: float) -> None:
    x, y = x + 0.0, y + 0.0
    if x <= y:
        assert bucket_of(x) <= bucket_of(y)
    told = end_of(bucket_of(x))
    assert bucket_of(told) == bucket_of(x) or told == 0
    assert abs(told) <= abs(x)
    assert told == x or abs(x) - abs(told) < max(abs(x) / 128, 1.8e-310)
    if x.is_integer() and abs(x) <= 256:
        assert told == x


def exact(values: list[float], q: str) -> float:
    aggregate = REGISTRY[f"approx_quantile({q})"]
    return sorted(values)[aggregate.rank(len(values))]  # type: ignore[attr-defined]


@given(st.lists(FLOATS, min_size=1, max_size=60), st.sampled_from(["0", "0.1", "0.5", "0.99", "1"]))
def test_quantiles_are_within_their_bound(values: list[float], q: str) -> None:
    aggregate = REGISTRY[f"approx_quantile({q})"]
    found = aggregate.finish(aggregate.fold([(value + 0.0, 0) for value in values]))
    true = exact(values, q)
    assert isinstance(found, float)
    assert abs(found) <= abs(true)
    assert found == true or abs(found - true) < max(abs(true) / 128, 1.8e-310)


HARD = {
    "sorted": [float(i) for i in range(20_000)],
    "heavy tail": (np.random.default_rng(1).pareto(0.5, 20_000) + 1).tolist(),
    "two clusters": [1.0] * 10_000 + [1e9] * 10_000,
    "every scale": [math.ldexp(1 + i % 7 / 7, i % 2000 - 1000) for i in range(20_000)],
    "one value": [0.3] * 5_000,
    "about zero": np.random.default_rng(2).normal(0, 1e-9, 20_000).tolist(),
    "at edges": [edge for e in range(128, 256) for edge in (e / 128, math.nextafter(e / 128, 0))],
}


@pytest.mark.parametrize("name", HARD)
def test_quantiles_of_hard_data(name: str) -> None:
    values = HARD[name]
    oracle = ddsketch.DDSketch(0.008)
    for value in values:
        oracle.add(value)
    for q in ("0.01", "0.25", "0.5", "0.9", "0.999"):
        aggregate = REGISTRY[f"approx_quantile({q})"]
        found, true = aggregate.finish(aggregate.fold([(v, 0) for v in values])), exact(values, q)
        assert isinstance(found, float)
        assert abs(found - true) <= abs(true) / 128
        assert abs(found - oracle.get_quantile_value(float(q))) <= abs(true) * 0.017


def test_a_value_that_was_never_there_is_not_taken_out() -> None:
    aggregate: Any = REGISTRY["approx_quantile(0.5)"]
    with pytest.raises(DataError) as error:
        aggregate.retract(aggregate.fold([(1.0, 0)]), 2.0, 0)
    assert error.value.code == "T343"


def test_kernels_tell_what_states_tell() -> None:
    """To the bit, on windows of a few and of thousands of values, of every type."""
    r = np.random.default_rng(5)
    size = 6_000
    kinds = {
        "f": (Type.FLOAT, r.normal(0, 1e3, size)),
        "i": (Type.INT, r.integers(-(2**62), 2**62, size)),
        "t": (Type.TEXT, r.integers(0, 3_000, size).astype(str)),
        "b": (Type.BOOL, r.random(size) < 0.5),
    }
    keys = r.choice([1, 1, 1, 2], size)
    at = np.sort(r.integers(0, size, size))
    columns = {
        f"c{i}": pa.array(values, mask=r.random(size) < 0.05)
        for i, (_, values) in enumerate(kinds.values())
    }
    rows = pa.table({"k0": keys, "at": at, **columns})
    spine = pa.table({"k": [1, 2, 1, 3, 2, 1], "at": [size, size, 900, 5, 3_000, 40]})
    asked = [
        Window(f"{key} {name} {length}", key, name, None, None, length)
        for key in ("approx_distinct", "approx_quantile(0.5)", "approx_quantile(0.99)")
        for name, (kind, _) in kinds.items()
        if REGISTRY[key].accepts(kind)
        for length in (30, 2_000, None)
    ]
    computed = tuple(Computed(name, name, kind) for name, (kind, _) in kinds.items())
    view = View("v", "s", (("k", "k"),), "at", (), computed, tuple(asked))
    arrow = {w.signal: pa.float64() if "quantile" in w.aggregate else pa.int64() for w in asked}
    found = windows(view, rows, spine, arrow)
    lists = {name: columns[f"c{i}"].to_pylist() for i, name in enumerate(kinds)}
    for window in asked:
        aggregate = REGISTRY[window.aggregate]
        for row, (key, now) in enumerate(zip(*spine.to_pydict().values(), strict=True)):
            start = -1 if window.length is None else now - window.length
            inside = (keys == key) & (at < now) & (at >= start)
            values = [lists[window.value or ""][i] for i in np.flatnonzero(inside)]
            state = aggregate.fold([(value, 0) for value in values if value is not None])
            assert found[window.signal][row].as_py() == aggregate.finish(state), (window, row)
