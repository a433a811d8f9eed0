"""Many devices: what is measured is what the formulas say."""

from __future__ import annotations

import numpy as np
import pytest
from local_cases import CLOSED, ORACLES, SKETCHES, distribution, oracle
from scipy import stats

from tacit.privacy.histogram import Histogram
from tacit.privacy.local.draws import Draws
from tacit.privacy.local.estimate import LocalEstimate, consistent, norm_sub
from tacit.privacy.local.hadamard_response import HadamardResponse
from tacit.privacy.local.heavy_hitters import HeavyHitters
from tacit.privacy.local.messages import TAG_BYTES
from tacit.privacy.local.oracle import LocalOracle
from tacit.privacy.local.randomized_response import RandomizedResponse
from tacit.privacy.local.sketch import Sketch
from tacit.privacy.randomness import system, unsafe_seeded

SIZE = 199


def measured(
    cls: type[LocalOracle], epsilon: float, trials: int, n: int
) -> tuple[float, float, float]:
    """The mean square of z = (estimate - truth) / (its formula's deviation), over codes that few
    have, in many trials; the mean of z; and the mean square over the stated errors instead."""
    mechanism = (
        oracle(cls, SIZE, epsilon, hashes=16, width=128)
        if cls in SKETCHES
        else oracle(cls, SIZE, epsilon)
    )
    source = unsafe_seeded(17)
    codes = np.concatenate([np.arange(n // 2) % 20, np.full(n - n // 2, SIZE)])
    truth = np.bincount(codes, minlength=SIZE + 1)[:SIZE]
    spread = np.array([mechanism.variance(float(count), n) for count in truth])
    if isinstance(mechanism, HadamardResponse):
        every = np.arange(SIZE + 1)
        blocks = np.bincount(codes % mechanism.blocks, minlength=mechanism.blocks)
        near = blocks[every % mechanism.blocks][:SIZE]
        spread = np.array(
            [mechanism.variance(float(c), n, float(b)) for c, b in zip(truth, near, strict=True)]
        )
    squares, means, stated = [], [], []
    for _ in range(trials):
        found = mechanism.decode([mechanism.combine_many(mechanism.encode_many(codes, source))])
        error = found.estimates - truth
        squares.append(np.mean(error**2 / spread))
        means.append(np.mean(error / np.sqrt(spread)))
        stated.append(np.mean((error / found.stderr) ** 2))
    return float(np.mean(squares)), float(np.mean(means)), float(np.mean(stated))


@pytest.mark.parametrize("cls", CLOSED)
@pytest.mark.parametrize("epsilon", [0.7, 2.0])
def test_variance_is_the_formula(cls: type[LocalOracle], epsilon: float) -> None:
    square, mean, stated = measured(cls, epsilon, 60, 1000)
    assert square == pytest.approx(1, abs=0.06)  # 12,000 squares: one part in eighty is a deviation
    assert abs(mean) < 0.05
    # Where the noise is larger than the counts, estimates kept above 0 make errors err upward.
    assert 0.7 < stated < 1.08


@pytest.mark.slow
@pytest.mark.parametrize("cls", CLOSED)
@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0, 4.0])
def test_variance_at_scale_is_the_formula_within_two_parts_in_a_hundred(
    cls: type[LocalOracle], epsilon: float
) -> None:
    square, mean, stated = measured(cls, epsilon, 600, 2000)
    assert square == pytest.approx(1, abs=0.02)
    assert abs(mean) < 0.015
    assert 0.7 < stated < 1.03


@pytest.mark.slow
@pytest.mark.parametrize("cls", SKETCHES)
@pytest.mark.parametrize("epsilon", [1.0, 3.0])
def test_a_sketchs_noise_at_scale_is_the_formula(cls: type[Sketch], epsilon: float) -> None:
    """Cells of the table in rows' own units: the hashes are fixed, so collisions are part of the
    truth that each trial is compared with, and only the noise is measured."""
    n, trials, h, m = 2000, 300, 8, 64
    mechanism = oracle(cls, SIZE, epsilon, hashes=h, width=m)
    assert isinstance(mechanism, Sketch)
    source = unsafe_seeded(23)
    codes = np.arange(n) % 50
    truth = np.zeros((h, m))
    for row in range(h):
        columns = mechanism.functions.columns(np.array(row), mechanism.digests[codes])
        truth[row] = np.bincount(columns, minlength=m) / h
    squares = []
    for _ in range(trials):
        tally, _ = mechanism.read([mechanism.combine_many(mechanism.encode_many(codes, source))])
        table = mechanism.table(tally[: h * m].reshape(h, m), tally[h * m :])
        empty = truth == 0
        squares.append(np.mean((table - truth)[empty] ** 2) / (mechanism.unit * n / h))
    assert np.mean(squares) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("cls", SKETCHES)
def test_a_sketch_finds_keys_that_nobody_listed(cls: type[Sketch]) -> None:
    mechanism = oracle(cls, 1, 3.0, hashes=64, width=256)
    assert isinstance(mechanism, Sketch)
    counts = {b"rock": 9000, b"jazz": 4000, "électro".encode(): 2000}
    keys = [key for key, count in counts.items() for _ in range(count)]
    keys += [b"rare %d" % at for at in range(5000)]
    raw = mechanism.combine_many(mechanism.encode_keys(keys, unsafe_seeded(3)))
    found = mechanism.estimate_keys([raw], [*counts, b"nobody's"])
    z = (found.estimates - np.array([*counts.values(), 0])) / found.stderr
    assert np.abs(z).max() < 4.5
    assert found.reports == 20_000
    assert (found.stderr < 450).all()


@pytest.mark.parametrize("epsilon", [1.5, 4.0])
def test_heavy_hitters_are_found_and_little_else(epsilon: float) -> None:
    mechanism = HeavyHitters(1 << 20, epsilon, "test", length=5, groups=6, buckets=1 << 12)
    counts = {b"rock": 24_000, b"jazz": 14_000, b"r'n'b and more": 9_000}
    values = [value for value, count in counts.items() for _ in range(count)]
    values += [b"%05x" % at for at in range(13_000)]
    raw = mechanism.combine_many(mechanism.encode_many(values, unsafe_seeded(5)))
    found = mechanism.decode([raw])
    assert [each.value for each in found] == [b"rock", b"jazz", b"r'n'b"]
    for each, count in zip(found, counts.values(), strict=True):
        assert abs(each.estimate - count) < 4.5 * each.stderr
        assert each.stderr == pytest.approx(np.sqrt(mechanism.variance(count, 60_000)), rel=0.2)


# ---------------------------------------------------------------------- one device


@pytest.mark.parametrize("cls", ORACLES)
def test_what_devices_send_is_distributed_as_enumerated(cls: type[LocalOracle]) -> None:
    """The system's randomness through the whole of `encode`, against the exact law."""
    mechanism = oracle(cls, 3, 1.0)
    law = distribution(mechanism, 2)
    rows = mechanism.encode_many(np.full(20_000, 2), system())[:, TAG_BYTES:]
    bodies, counts = np.unique(rows, axis=0, return_counts=True)
    seen = dict(zip((body.tobytes() for body in bodies), counts, strict=True))
    assert seen.keys() <= law.keys()
    observed = np.array([seen.get(body, 0) for body in law])
    expected = np.array([float(chance) * 20_000 for chance in law.values()])
    assert stats.chisquare(observed, expected).pvalue > 1e-6


@pytest.mark.parametrize("cls", ORACLES)
def test_one_report_at_a_time_is_the_same_message(cls: type[LocalOracle]) -> None:
    mechanism = oracle(cls, 30, 1.0)
    value = Histogram(np.array([4]), np.array([2.5]))
    report = mechanism.encode(value, unsafe_seeded(8))
    assert len(report.id) == 16
    assert [len(message) for message in report.messages] == [mechanism.report_bytes]
    again = mechanism.encode(value, unsafe_seeded(8))
    assert again == report
    assert mechanism.encode(value, system()).id != report.id
    good, refused = mechanism.admit(0, [(report.id, report.messages[0])])
    assert (list(good), refused) == ([report.id], {})


def test_a_device_speaks_of_one_code_in_proportion_to_its_amounts() -> None:
    mechanism = RandomizedResponse(6, 100, 1.0, "test")
    value = Histogram(np.array([1, 2, 4, 5]), np.array([3.0, 1.0, -7.0, 0.0]))
    draws = Draws(unsafe_seeded(2))
    seen = np.bincount([mechanism.code(value, draws) for _ in range(4000)], minlength=7)
    assert seen[[0, 3, 4, 5, 6]].sum() == 0
    assert seen[1] == pytest.approx(3000, abs=140)
    huge = Histogram(np.array([0, 3]), np.array([1e308, 1e308]))
    assert {mechanism.code(huge, draws) for _ in range(50)} == {0, 3}
    for nothing in (
        Histogram(np.zeros(0, np.int64), np.zeros(0)),
        Histogram(np.array([1]), np.array([0.0])),
    ):
        assert mechanism.code(nothing, draws) == 6


# ---------------------------------------------------------------------- consistency


def test_norm_sub_is_the_projection_on_the_simplex() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        values = rng.normal(0, 3, rng.integers(1, 30))
        total = float(rng.uniform(0, 20))
        found = norm_sub(values, total)
        assert found.min() >= 0
        assert found.sum() == pytest.approx(total)
        kept = found > 0
        shifts = (found - values)[kept]
        assert np.ptp(shifts) < 1e-9 if kept.any() else total == 0
        # What is 0 would be negative with the same shift (Karush-Kuhn-Tucker).
        assert not kept.any() or (values[~kept] + shifts[0] <= 1e-9).all()
    assert norm_sub(np.array([1.0, -2.0]), 0.0).tolist() == [0.0, 0.0]


def test_consistency_is_a_step_of_its_own_and_helps() -> None:
    mechanism = RandomizedResponse(SIZE, 1 << 20, 1.0, "test")
    codes = np.minimum(np.random.default_rng(1).geometric(0.2, 20_000) - 1, SIZE)
    found = mechanism.decode(
        [mechanism.combine_many(mechanism.encode_many(codes, unsafe_seeded(1)))]
    )
    assert found.estimates.min() < 0
    better = consistent(found)
    assert isinstance(better, LocalEstimate)
    assert better.estimates.min() >= 0
    assert better.estimates.sum() + better.nothing == pytest.approx(20_000)
    truth = np.bincount(codes, minlength=SIZE + 1)[:SIZE]
    assert (
        np.square(better.estimates - truth).sum() < 0.5 * np.square(found.estimates - truth).sum()
    )
    assert (better.stderr == found.stderr).all()
