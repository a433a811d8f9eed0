from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.errors import PrivacyError
from tacit.privacy.histogram import Histogram, HistogramSum
from tacit.privacy.mechanism import Mechanism, mechanism
from tacit.privacy.randomness import unsafe_seeded
from tacit.values import Type

SIZE = 12
AMOUNTS = st.floats(allow_nan=False, allow_infinity=False)
HISTOGRAMS = st.dictionaries(st.integers(0, SIZE - 1), AMOUNTS).map(
    lambda d: Histogram(np.array(list(d), np.int64), np.array(list(d.values()), np.float64))
)


def make(bound: float = 10.0, name: str = "test") -> HistogramSum:
    return HistogramSum(SIZE, bound, 100, 2.0, 1e-6, name)


@given(HISTOGRAMS, st.floats(1e-6, 1e6))
def test_no_histogram_is_longer_than_the_bound(value: Histogram, bound: float) -> None:
    release = make(bound)
    vector = release.vector(value)
    assert np.linalg.norm(vector) <= 1 + 1e-12
    integers = release.sum.quantise(vector, unsafe_seeded(1))
    assert int((integers.astype(object) ** 2).sum()) <= release.sum.scale**2


@given(HISTOGRAMS)
def test_short_histograms_count_in_full_and_long_ones_keep_their_direction(
    value: Histogram,
) -> None:
    dense = np.zeros(SIZE)
    dense[value.codes] = value.amounts
    peak = np.abs(dense).max()
    if not 1e-100 < peak < 1e100:
        return
    norm = peak * float(np.linalg.norm(dense / peak))
    for bound in (norm * 2, norm / 2):
        if 1e-300 < bound < 1e300:
            expected = dense / max(norm, bound)
            np.testing.assert_allclose(make(bound).vector(value), expected, rtol=1e-9, atol=1e-300)


def test_a_population_comes_out_in_the_unit_of_the_amounts() -> None:
    release: Mechanism[Histogram] = make(5.0)
    source = unsafe_seeded(3)
    people = [Histogram(np.array([i % SIZE, 11]), np.array([3.0, -4.0])) for i in range(11)]
    reports = [release.encode(person, source) for person in people]
    assert sum(map(len, reports[0].messages)) == release.report_bytes
    found = release.decode(
        [release.combine(i, [(r.id, r.messages[i]) for r in reports], source) for i in range(2)]
    )
    exact = np.full(SIZE, 3.0)
    exact[11] = -44.0
    claim = release.claim()
    assert claim.sensitivity == 5.0
    assert found.stderr == claim.sigma == pytest.approx(5 * release.sum.claim().sigma)
    assert np.abs(found.estimates - exact).max() < 6 * found.stderr
    assert claim.epsilon <= 2.0
    assert (claim.mechanism, claim.name) == ("sum", "test")


@pytest.mark.parametrize(
    "value",
    [
        Histogram(np.array([0, 0]), np.array([1.0, 1.0])),
        Histogram(np.array([SIZE]), np.array([1.0])),
        Histogram(np.array([-1]), np.array([1.0])),
        Histogram(np.array([1, 2]), np.array([1.0])),
        Histogram(np.array([1.0]), np.array([1.0])),
        Histogram(np.array([[1]]), np.array([[1.0]])),
        Histogram(np.array([1]), np.array([math.nan])),
        Histogram(np.array([1]), np.array([math.inf])),
        Histogram(np.array([1]), np.array(["x"])),
    ],
)
def test_what_is_no_histogram_is_refused(value: Histogram) -> None:
    with pytest.raises(PrivacyError, match="T533"):
        make().encode(value, unsafe_seeded(0))


def test_files_carry_it_to_a_device() -> None:
    release = make(7.0)
    parameters, arrays = release.files()
    copy = mechanism("sum").from_files(json.loads(json.dumps(parameters)), arrays)
    source = unsafe_seeded(1)
    report = copy.encode(Histogram(np.array([1]), np.array([1])), source)
    good, refused = release.admit(0, [(report.id, report.messages[0])])
    assert (list(good), refused) == ([report.id], {})
    assert copy.claim() == release.claim()
    assert copy.takes == {Type.INT, Type.FLOAT}


@pytest.mark.parametrize(
    "change",
    [
        {"bound": 0.0},
        {"bound": math.nan},
        {"bound": "7"},
        {"size": 0},
        {"size": 3.5},
        {"devices_max": 0},
        {"devices_max": True},
        {"epsilon": "much"},
        {"delta": None},
        {"name": 3},
        {"extra": 1},
    ],
)
def test_files_that_make_no_mechanism_are_refused(change: dict[str, object]) -> None:
    parameters, arrays = make().files()
    with pytest.raises(PrivacyError, match="T534"):
        HistogramSum.from_files(parameters | change, arrays)


def test_files_must_be_complete() -> None:
    parameters, _ = make().files()
    for name in parameters:
        with pytest.raises(PrivacyError, match="T534"):
            HistogramSum.from_files({k: v for k, v in parameters.items() if k != name}, {})
    with pytest.raises(PrivacyError, match="T534"):
        HistogramSum.from_files(parameters, {"more": np.zeros(1)})


def test_another_bound_makes_messages_foreign() -> None:
    source = unsafe_seeded(0)
    report = make(1.0).encode(Histogram(np.array([1]), np.array([1.0])), source)
    with pytest.raises(PrivacyError, match="T532"):
        make(2.0).combine(0, [(report.id, report.messages[0])], source)
