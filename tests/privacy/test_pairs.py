from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from examples import examples
from tacit.errors import PrivacyError
from tacit.privacy.gaussian import gaussian_delta
from tacit.privacy.histogram import Histogram
from tacit.privacy.mechanism import Mechanism, Report, mechanism
from tacit.privacy.pairs import PairLayout, PairSum
from tacit.privacy.randomness import Randomness, unsafe_seeded
from tacit.values import Type

ITEMS = 9
ALL_KEYS = np.array([a * ITEMS + b for a in range(ITEMS) for b in range(a + 1, ITEMS)])


@st.composite
def layouts(draw: st.DrawFn) -> PairLayout:
    chosen = draw(st.sets(st.sampled_from(ALL_KEYS.tolist())))
    return PairLayout(
        ITEMS,
        np.array(sorted(chosen), np.int64),
        buckets=draw(st.integers(0 if chosen else 1, 5)),
        popularity_share=draw(st.floats(0.01, 0.99)),
        lag=draw(st.integers(1, 12)),
        decay=draw(st.floats(0.01, 1.0)),
        salt=draw(st.integers(0, 2**62)),
    )


HISTORIES = st.permutations(range(ITEMS)).flatmap(
    lambda order: st.integers(0, ITEMS).map(lambda size: np.array(order[:size], np.int64))
)


def of_history(history: np.ndarray) -> Histogram:
    """A device's value: the moments at which the items of a history first occurred."""
    codes = np.sort(history)
    return Histogram(codes, np.argsort(history).astype(float) + 1.7e15)


def make(layout: PairLayout, epsilon: float = 2.0) -> PairSum:
    return PairSum(layout, 100, epsilon, 1e-6, "test")


def plain(layout: PairLayout, history: np.ndarray) -> np.ndarray:
    """The module's definition, one line at a time."""
    x, c = np.zeros(layout.items), np.zeros(layout.pairs + layout.buckets)
    x[history] = 1
    for later in range(len(history)):
        for earlier in range(later):
            if later - earlier <= layout.lag:
                a, b = sorted((history[earlier], history[later]))
                place, sign = layout.places(np.array([a * layout.items + b]))
                if place[0] >= 0:
                    c[place[0]] += sign[0] * layout.decay ** (later - earlier - 1)
    blocks = []
    for share, block in ((layout.popularity_share, x), (1 - layout.popularity_share, c)):
        norm = np.linalg.norm(block)
        blocks.append(block * (math.sqrt(share) / norm if norm else 0.0))
    return np.concatenate(blocks)


# ---------------------------------------------------------------------- the vector


@given(layouts(), HISTORIES)
def test_one_device_sends_what_the_definition_says(layout: PairLayout, history: np.ndarray) -> None:
    vector = make(layout).vector(of_history(history))
    np.testing.assert_allclose(vector, plain(layout, history), atol=1e-12)


@given(layouts(), st.lists(HISTORIES, max_size=6))
def test_many_devices_send_what_each_would(layout: PairLayout, histories: list[np.ndarray]) -> None:
    indptr = np.cumsum([0, *map(len, histories)])
    rows = layout.vectors(indptr, np.concatenate([np.zeros(0, np.int64), *histories]))
    assert rows.shape == (len(histories), layout.length)
    for row, history in zip(rows.toarray(), histories, strict=True):
        assert np.array_equal(row, layout.vector(history))


@settings(max_examples=examples(150))
@given(layouts(), HISTORIES)
def test_no_history_is_longer_than_one(layout: PairLayout, history: np.ndarray) -> None:
    vector = layout.vector(history)
    assert np.linalg.norm(vector) <= 1 + 1e-12
    release = make(layout)
    integers = release.sum.quantise(vector, unsafe_seeded(len(history)))
    assert int((integers.astype(object) ** 2).sum()) <= release.sum.scale**2


@pytest.mark.parametrize(
    "history",
    [
        np.arange(3000),  # everything there is
        np.arange(3000)[::-1].copy(),
        np.array([7]),
        np.array([], np.int64),
        np.array([0, 2999]),
        np.arange(0, 3000, 2),  # none of the explicit pairs: all in buckets
    ],
)
def test_extreme_histories_are_no_longer_than_one(history: np.ndarray) -> None:
    keys = np.arange(2999) * 3000 + np.arange(1, 3000)  # neighbours by code
    for buckets in (0, 1, 4):  # one bucket: every pair collides
        for decay in (1.0, 1e-9):
            layout = PairLayout(3000, keys, buckets, lag=20, decay=decay)
            vector = layout.vector(history)
            assert np.linalg.norm(vector) <= 1 + 1e-12
            integers = make(layout).sum.quantise(vector, unsafe_seeded(0))
            assert int((integers**2).sum()) <= make(layout).sum.scale ** 2


def test_moments_order_the_history_and_codes_break_ties() -> None:
    layout = PairLayout(ITEMS, ALL_KEYS, lag=1)
    value = Histogram(np.array([1, 3, 5, 8]), np.array([9.0, 2.0, 9.0, 1.0]))
    assert make(layout).history(value).tolist() == [8, 3, 1, 5]
    shuffled = Histogram(value.codes[[2, 0, 3, 1]], value.amounts[[2, 0, 3, 1]])
    assert np.array_equal(make(layout).vector(shuffled), make(layout).vector(value))


def test_one_device_takes_well_under_a_millisecond() -> None:
    keys = np.unique(np.arange(46_000) * 277 % (3665 * 3664 // 2))
    first, second = np.triu_indices(3665, 1)
    layout = PairLayout(3665, np.sort(first[keys].astype(np.int64) * 3665 + second[keys]))
    history = np.arange(0, 3600, 36)
    value, release = of_history(history), make(layout)
    release.vector(value)
    best = math.inf
    for _ in range(50):
        start = time.perf_counter()
        release.vector(value)
        best = min(best, time.perf_counter() - start)
    assert best < 1e-3  # about 0.07 ms on a quiet machine


def test_histories_that_make_no_vectors_are_refused() -> None:
    layout = PairLayout(ITEMS, ALL_KEYS)
    with pytest.raises(PrivacyError, match="row 1 holds a code twice"):
        layout.vectors(np.array([0, 2, 4]), np.array([0, 1, 2, 2]))
    with pytest.raises(PrivacyError, match="T533"):
        layout.vectors(np.array([0, 1]), np.array([ITEMS]))
    with pytest.raises(PrivacyError, match="T533"):
        make(layout).encode(Histogram(np.array([0, 0]), np.array([1.0, 2.0])), unsafe_seeded(0))


# ---------------------------------------------------------------------- the release


def test_a_population_comes_out_with_the_claimed_noise() -> None:
    layout = PairLayout(ITEMS, ALL_KEYS[::2], buckets=3)
    release: Mechanism[Histogram] = PairSum(layout, 100, 20.0, 1e-6, "test")
    rng = np.random.default_rng(0)
    histories = [rng.permutation(ITEMS)[: 1 + i % 8] for i in range(50)]
    source = unsafe_seeded(1)
    reports = [release.encode(of_history(history), source) for history in histories]
    assert sum(map(len, reports[0].messages)) == release.report_bytes
    found = release.decode(
        [release.combine(i, [(r.id, r.messages[i]) for r in reports], source) for i in range(2)]
    )
    exact = layout.unpack(sum(layout.vector(history) for history in histories), 0.0)
    sigma = release.claim().sigma
    assert found.popularity_sigma == pytest.approx(sigma / math.sqrt(0.2))
    assert found.pair_sigma == pytest.approx(sigma / math.sqrt(0.8))
    assert np.abs(found.popularity - exact.popularity).max() < 5 * found.popularity_sigma
    assert np.abs(found.pairs - exact.pairs).max() < 5 * found.pair_sigma
    assert np.abs(found.buckets - exact.buckets).max() < 5 * found.pair_sigma
    claim = release.claim()
    assert (claim.mechanism, claim.name, claim.sensitivity) == ("pairs", "test", 1.0)
    assert claim.epsilon <= 20.0


def test_a_simulated_population_is_like_a_real_one() -> None:
    layout = PairLayout(ITEMS, ALL_KEYS[::2], buckets=3)
    release = PairSum(layout, 100, 20.0, 1e-6, "test")
    rng = np.random.default_rng(0)
    histories = [rng.permutation(ITEMS)[: i % 9] for i in range(40)]
    indptr, codes = np.cumsum([0, *map(len, histories)]), np.concatenate(histories)
    exact = sum(layout.vector(history) for history in histories)
    integers = release.sum_of_integers(indptr, codes, unsafe_seeded(2))
    assert np.abs(integers / release.sum.scale - exact).max() < len(histories) / release.sum.scale
    draws = [release.simulate(indptr, codes, unsafe_seeded(seed)) for seed in range(300)]
    pairs = np.array([draw.pairs for draw in draws])
    error = (pairs - layout.unpack(exact, 0.0).pairs) / draws[0].pair_sigma
    assert abs(error.mean()) < 5 / math.sqrt(error.size)
    assert abs(error.std() - 1) < 5 / math.sqrt(2 * error.size)


# ---------------------------------------------------------------------- files


def test_files_carry_it_to_a_device() -> None:
    release = make(PairLayout(ITEMS, ALL_KEYS[::3], buckets=2, lag=3, decay=0.5, salt=9))
    parameters, arrays = release.files()
    copy = mechanism("pairs").from_files(json.loads(json.dumps(parameters)), arrays)
    report = copy.encode(of_history(np.array([3, 1, 2])), unsafe_seeded(1))
    good, refused = release.admit(0, [(report.id, report.messages[0])])
    assert (list(good), refused) == ([report.id], {})
    assert copy.claim() == release.claim()
    assert copy.takes == {Type.TIME}


@pytest.mark.parametrize(
    "change",
    [
        {"items": 0},
        {"items": 9.0},
        {"items": 8},  # keys are then out of the triangle
        {"buckets": -1},
        {"buckets": "3"},
        {"popularity_share": 0.0},
        {"popularity_share": 1.0},
        {"popularity_share": math.nan},
        {"lag": 0},
        {"lag": 10**9},
        {"decay": 0.0},
        {"decay": 1.1},
        {"salt": -1},
        {"devices_max": 2.5},
        {"epsilon": True},
        {"name": None},
        {"more": 1},
    ],
)
def test_parameters_that_make_no_mechanism_are_refused(change: dict[str, object]) -> None:
    parameters, arrays = make(PairLayout(ITEMS, ALL_KEYS)).files()
    with pytest.raises(PrivacyError, match="T534"):
        PairSum.from_files(parameters | change, arrays)


@pytest.mark.parametrize(
    "keys",
    [
        ALL_KEYS[::-1],
        np.repeat(ALL_KEYS, 2),
        ALL_KEYS.astype(float),
        ALL_KEYS.reshape(1, -1),
        np.array([ITEMS]),  # (1, 0)
        np.array([0]),  # (0, 0)
        np.array([-1]),
        np.array([ITEMS * ITEMS]),
        np.array([2**63], np.uint64),
        np.array([], np.int64),
        np.array(["a"]),
    ],
)
def test_keys_that_name_no_pairs_are_refused(keys: np.ndarray) -> None:
    parameters, _ = make(PairLayout(ITEMS, ALL_KEYS)).files()
    with pytest.raises(PrivacyError, match="T534"):
        PairSum.from_files(parameters, {"pair_keys": keys})


def test_files_must_be_complete() -> None:
    parameters, arrays = make(PairLayout(ITEMS, ALL_KEYS)).files()
    for name in parameters:
        with pytest.raises(PrivacyError, match="T534"):
            PairSum.from_files({k: v for k, v in parameters.items() if k != name}, arrays)
    for wrong in ({}, arrays | {"more": np.zeros(1)}):
        with pytest.raises(PrivacyError, match="T534"):
            PairSum.from_files(parameters, wrong)


def test_another_layout_makes_messages_foreign() -> None:
    one, two = make(PairLayout(ITEMS, ALL_KEYS[:5])), make(PairLayout(ITEMS, ALL_KEYS[1:6]))
    source = unsafe_seeded(0)
    report = one.encode(of_history(np.array([1, 2])), source)
    with pytest.raises(PrivacyError, match="T532"):
        two.combine(0, [(report.id, report.messages[0])], source)


# ---------------------------------------------------------------------- the attack

DRAWS = examples(10_000, 3)
EPSILON, DELTA = 1.0, 0.02
LAYOUT = PairLayout(3, np.array([1, 5]), popularity_share=0.3)
VICTIM = np.array([0, 1, 2])


def released(release: PairSum, reports: list[Report], source: Randomness) -> np.ndarray:
    """Many releases of the same reports, along the victim's own vector; shape (DRAWS,)."""
    messages = [[(r.id, r.messages[i]) for r in reports] for i in range(2)]
    direction = LAYOUT.vector(VICTIM)
    results = [
        release.sum.decode([release.combine(i, messages[i], source) for i in range(2)])
        for _ in range(DRAWS)
    ]
    return np.array(results) @ direction


def attack(release: PairSum) -> float:
    """A lower bound on ε at DELTA with 99.99% confidence, by the most powerful test.

    See `test_attack`: a threshold along the victim's vector, with exact binomial limits.
    """
    source = unsafe_seeded(5)
    others = [release.encode(of_history(np.array(h)), source) for h in ([2, 1], [0])]
    middle = sum(float(LAYOUT.vector(np.array(h)) @ LAYOUT.vector(VICTIM)) for h in ([2, 1], [0]))
    victim = release.encode(of_history(VICTIM), source)
    without = released(release, others, source)
    with_victim = released(release, [*others, victim], source)
    threshold = middle + best_threshold((2 * release.sum.variance) ** 0.5 / release.sum.scale)
    hits, false = int((with_victim > threshold).sum()), int((without > threshold).sum())
    surely = stats.beta.ppf(5e-5, hits, DRAWS - hits + 1)
    at_most = stats.beta.ppf(1 - 5e-5, false + 1, DRAWS - false)
    return math.log(max(surely - DELTA, 1e-300) / at_most)


def best_threshold(sigma: float) -> float:
    """By theory, not by the draws, which keeps the confidence honest."""
    cuts = np.linspace(-1, 4 * sigma + 1, 2000)
    hit, false = stats.norm.sf((cuts - 1) / sigma), stats.norm.sf(cuts / sigma)
    spread = 4 * np.sqrt(false / DRAWS) + 4 * np.sqrt(hit / DRAWS)
    gain = np.log(np.maximum(hit - DELTA - spread, 1e-12) / (false + spread))
    return float(cuts[np.argmax(gain)])


def test_the_victim_is_as_exposed_as_the_claim_allows() -> None:
    assert np.linalg.norm(LAYOUT.vector(VICTIM)) == pytest.approx(1.0)


@pytest.mark.slow
def test_the_honest_release_withstands() -> None:
    release = PairSum(LAYOUT, 10, EPSILON, DELTA, "attacked")
    found = attack(release)
    assert found <= release.claim().epsilon <= EPSILON
    assert found > 0.2  # the attack is a real one


def test_half_the_noise_is_found_out() -> None:
    release = PairSum(LAYOUT, 10, EPSILON, DELTA, "attacked")
    claimed = release.claim().epsilon
    release.sum.variance //= 4
    assert gaussian_delta(claimed, (2 * release.sum.variance) ** 0.5 / release.sum.scale) > DELTA
    assert attack(release) > claimed
