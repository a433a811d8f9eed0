from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from examples import examples
from tacit.errors import PrivacyError
from tacit.privacy import wire
from tacit.privacy.loss import zcdp_epsilon
from tacit.privacy.mechanism import Mechanism, Report
from tacit.privacy.randomness import Randomness, expand, system, unsafe_seeded
from tacit.privacy.vector_sum import VectorSum

SUM = VectorSum(6, 100, 2.0, 1e-6, "taste")
WIDE = VectorSum(6, 1 << 30, 2.0, 1e-6, "taste")
TINY = 5e-324


def gather(mechanism: Mechanism, reports: list[Report], source: Randomness) -> list[bytes]:
    return [
        mechanism.combine(i, [(r.id, r.messages[i]) for r in reports], source) for i in range(2)
    ]


ANY = hnp.arrays(float, st.integers(1, 40), elements=st.floats(width=64))


@settings(max_examples=examples(300))
@given(ANY, st.sampled_from([1, 2, 256, 4096, 1 << 16]), st.integers(0, 1000))
@example(np.full(40, 1.7e308), 1 << 16, 0)
@example(np.full(40, TINY), 1 << 16, 0)
@example(np.array([1.0] + [2.0**-17] * 39), 1 << 16, 0)
@example(np.array([1.0 + 2.0**-52]), 1 << 16, 0)
@example(np.full(9, 1 / 3), 256, 3)
@example(np.array([math.nan]), 256, 3)
@example(np.array([1.0, -math.inf]), 256, 3)
def test_no_input_makes_a_device_count_for_more(v: np.ndarray, scale: int, seed: int) -> None:
    from tacit.privacy.encoding import quantise

    if not np.isfinite(v).all():
        with pytest.raises(PrivacyError, match="T533"):
            quantise(v, len(v), scale, unsafe_seeded(seed))
        return
    w = quantise(v, len(v), scale, unsafe_seeded(seed))
    assert sum(int(x) ** 2 for x in w) <= scale**2


def test_rounding_is_unbiased_and_scales_long_vectors_down() -> None:
    v = np.array([0.3, -0.00001, 0.0, 0.5, 1e-7, -0.4])
    source = unsafe_seeded(1)
    mean = np.mean([SUM.quantise(v, source) for _ in range(4000)], axis=0)
    assert np.abs(mean - SUM.scale * v).max() < 5 * 0.5 / math.sqrt(4000)
    long = SUM.quantise(1e200 * v, source) / SUM.scale
    np.testing.assert_allclose(long, v / np.linalg.norm(v), atol=2 / SUM.scale)


@pytest.mark.parametrize("bad", [np.zeros(5), np.zeros((6, 1)), np.zeros(6, complex), ["a"] * 6])
def test_other_shapes_and_types_are_refused(bad: object) -> None:
    with pytest.raises(PrivacyError, match="T533"):
        SUM.encode(bad, unsafe_seeded(0))


@pytest.mark.parametrize("mechanism", [SUM, WIDE])
def test_shares_carry_exactly_the_trusted_sum(
    mechanism: VectorSum, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = "tacit.privacy.vector_sum.discrete_gaussian"
    monkeypatch.setattr(silent, lambda variance, size, randomness: np.zeros(size, np.int64))
    values = np.random.default_rng(3).normal(size=(50, 6))
    reports = list(mechanism.encode_many(values, unsafe_seeded(9)))
    # The same seed: each device draws its rounding, then its id and seed.
    again = unsafe_seeded(9)
    rows = []
    for value in values:
        rows.append(mechanism.quantise(value, again))
        again.bytes(48)
    exact = mechanism.sum_exactly(rows)
    assert np.array_equal(exact, np.sum(rows, axis=0))
    got = mechanism.decode_integers(gather(mechanism, reports, unsafe_seeded(0)))
    assert np.array_equal(got, exact)


def test_the_noise_is_what_the_claim_says() -> None:
    mechanism = VectorSum(20_000, 10, 1.0, 1e-6, "noise")
    reports = list(mechanism.encode_many(np.zeros((3, 20_000)), system()))
    noise = mechanism.decode(gather(mechanism, reports, system()))
    trusted = mechanism.release(mechanism.sum_exactly([]), system())
    sigma = mechanism.claim().sigma
    for got in (noise, trusted):
        assert abs(got.std() / sigma - 1) < 5 / math.sqrt(2 * 20_000)
        assert abs(got.mean()) < 5 * sigma / math.sqrt(20_000)


@given(st.floats(0.05, 20), st.floats(1e-10, 1e-2), st.integers(1, 1 << 36))
@settings(max_examples=examples(30), deadline=None)
def test_claims_keep_the_budget_and_sums_keep_in_range(
    epsilon: float, delta: float, devices: int
) -> None:
    mechanism = VectorSum(1000, devices, epsilon, delta, "any")
    claim = mechanism.claim()
    assert claim.epsilon <= epsilon <= claim.epsilon * (1 + 1e-3)  # little is left over
    assert claim.aggregator_loss.rho == pytest.approx(2 * claim.loss.rho, rel=1e-9)
    assert claim.aggregator_epsilon == zcdp_epsilon(claim.aggregator_loss.rho, delta)
    assert claim.aggregator_epsilon > claim.epsilon
    assert (devices + 64 * claim.sigma) * mechanism.scale < 2 ** (mechanism.bits - 1)
    assert 256 <= mechanism.scale <= 1 << 16
    assert json.loads(json.dumps(claim.to_json()))["adjacency"] == "add or remove one device"


def test_one_share_looks_random_and_shows_nothing_printed() -> None:
    mechanism = VectorSum(50_000, 10, 1.0, 1e-6, "flat")
    report = mechanism.encode(np.ones(50_000), system())
    words = np.frombuffer(report.messages[0][wire.HEADER_BYTES :], "<u4")
    assert abs(words.mean() / 2**31 - 1) < 0.02
    seed = report.messages[1][wire.HEADER_BYTES :]
    assert len(seed) == 32
    assert seed.hex() not in repr(report)
    assert repr(seed) not in repr(report)
    assert report.id == report.messages[0][28:44] == report.messages[1][28:44]


def test_the_mask_is_the_expanded_seed() -> None:
    report = SUM.encode(np.zeros(6), system())
    body = np.frombuffer(report.messages[0][wire.HEADER_BYTES :], "<u4")
    domain = b"vector_sum share" + report.messages[0][12:28] + report.id
    mask = expand(report.messages[1][wire.HEADER_BYTES :], 6, domain=domain)
    assert np.array_equal(body + mask, np.zeros(6, np.uint32))


@given(st.integers(0, 1), st.integers(0, 43), st.integers(1, 255))
def test_a_changed_header_is_refused(index: int, position: int, flip: int) -> None:
    report = SUM.encode(np.ones(6), unsafe_seeded(4))
    raw = bytearray(report.messages[index])
    raw[position] ^= flip
    with pytest.raises(PrivacyError, match="T532"):
        SUM.combine(index, [(report.id, bytes(raw))], unsafe_seeded(0))


@given(st.integers(0, 1), st.binary(max_size=80))
def test_other_lengths_are_refused(index: int, tail: bytes) -> None:
    report = SUM.encode(np.ones(6), unsafe_seeded(4))
    whole = report.messages[index]
    for bad in (whole + tail + b"x", whole[: len(tail)], tail):
        with pytest.raises(PrivacyError, match=r"T53[12]"):
            SUM.combine(index, [(report.id, bad)], unsafe_seeded(0))


def test_one_bad_message_does_not_stop_a_batch() -> None:
    source = unsafe_seeded(5)
    reports = list(SUM.encode_many(np.eye(6), source))
    foreign = VectorSum(6, 100, 2.0, 1e-6, "other").encode(np.ones(6), source)
    pairs = [
        [(r.id, r.messages[i]) for r in (*reports, foreign)] + [(reports[0].id, b"")]
        for i in range(2)
    ]
    pairs[0][2] = (reports[2].id, reports[2].messages[0][:-1])
    pairs[1].append((reports[4].id, reports[4].messages[1]))
    admitted = [SUM.admit(i, pairs[i]) for i in range(2)]
    assert set(admitted[0][1]) == {reports[0].id, reports[2].id, foreign.id}
    assert {error.code for error in admitted[1][1].values()} == {"T532", "T535"}
    both = admitted[0][0].keys() & admitted[1][0].keys()
    assert both == {r.id for r in reports} - {reports[2].id}
    totals = [
        SUM.combine(i, [(k, admitted[i][0][k]) for k in sorted(both, reverse=bool(i))], source)
        for i in range(2)
    ]
    expected = np.array([1, 1, 0, 1, 1, 1.0])
    assert np.abs(SUM.decode(totals) - expected).max() < 6 * SUM.claim().sigma


def test_duplicates_and_crowds_are_refused() -> None:
    source = unsafe_seeded(5)
    small = VectorSum(2, 2, 2.0, 1e-6, "few")
    reports = list(small.encode_many(np.zeros((3, 2)), source))
    pairs = [(r.id, r.messages[1]) for r in reports]
    with pytest.raises(PrivacyError, match="T535"):
        small.combine(1, [pairs[0], pairs[0]], source)
    with pytest.raises(PrivacyError, match="T536"):
        small.combine(1, pairs, source)


def test_mismatched_sets_are_refused() -> None:
    source = unsafe_seeded(5)
    reports = list(SUM.encode_many(np.zeros((3, 6)), source))
    whole = gather(SUM, reports, source)
    part = gather(SUM, reports[:2], source)
    SUM.decode(whole)
    for bad in ([whole[0], part[1]], [part[0], whole[1]], whole[:1], [*whole, whole[0]]):
        with pytest.raises(PrivacyError, match="T537"):
            SUM.decode(bad)
    with pytest.raises(PrivacyError, match="T532"):
        SUM.decode(whole[::-1])
    with pytest.raises(PrivacyError, match="T531"):
        SUM.decode([whole[0], whole[1][:-1]])
    with pytest.raises(PrivacyError, match="T537"):
        SUM.combine(2, [], source)


@pytest.mark.parametrize(
    ("length", "devices", "epsilon"),
    [(0, 1, 1.0), (1, 0, 1.0), (1 << 29, 1, 1.0), (1, 1 << 41, 1.0), (1, 1, 1e-15)],
)
def test_impossible_parameters_are_refused(length: int, devices: int, epsilon: float) -> None:
    with pytest.raises(PrivacyError, match="T534"):
        VectorSum(length, devices, epsilon, 1e-30, "x")
