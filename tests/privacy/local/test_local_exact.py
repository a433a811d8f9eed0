"""Each mechanism's own code, run along every path of its choices: privacy, bias and variance."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from local_cases import CLOSED, SKETCHES, SUPPORT, Branch, distribution, oracle

from tacit.privacy.local.draws import WORD, Draws, threshold
from tacit.privacy.local.hadamard_response import HadamardResponse
from tacit.privacy.local.heavy_hitters import HeavyHitters
from tacit.privacy.local.local_hashing import LocalHashing
from tacit.privacy.local.oracle import LocalOracle
from tacit.privacy.local.randomized_response import RandomizedResponse
from tacit.privacy.local.sketch import Sketch
from tacit.privacy.noise_exact import exp_minus
from tacit.privacy.randomness import Randomness, unsafe_seeded

SMALL = [
    *((cls, size, epsilon) for cls in (*CLOSED, *SKETCHES) for size, epsilon in ((1, 1.0), (3, 0.5), (3, 2.0))),
    (RandomizedResponse, 1, 0.001),
    (RandomizedResponse, 6, 12.0),
    (LocalHashing, 8, 1.0),
    (LocalHashing, 3, 3.0),
    (HadamardResponse, 12, 2.5),
    (HadamardResponse, 9, 1.0),
]  # fmt: skip


@cache
def laws(cls: type[LocalOracle], size: int, epsilon: float) -> list[dict[bytes, Fraction]]:
    """The distribution of reports for every code."""
    mechanism = oracle(cls, size, epsilon)
    return [distribution(mechanism, code) for code in range(mechanism.symbols)]


@pytest.mark.parametrize(("cls", "size", "epsilon"), SMALL)
def test_no_report_tells_more_than_epsilon_and_one_tells_all_of_it(
    cls: type[LocalOracle], size: int, epsilon: float
) -> None:
    mechanism = oracle(cls, size, epsilon)
    found = laws(cls, size, epsilon)
    assert all(sum(law.values()) == 1 for law in found)
    reports = found[0].keys()
    assert all(law.keys() == reports for law in found)  # nothing is impossible for one value only
    ratio = max(max(law[y] for law in found) / min(law[y] for law in found) for y in reports)
    low, high = exp_minus(Fraction(epsilon))(256)
    assert ratio * high <= 1  # hence ratio <= exp(epsilon), without a rounding
    if isinstance(mechanism, Sketch) and mechanism.symbols > 1:
        # Two keys may meet in every row of so small a table; then no report tells them apart.
        rows = np.arange(mechanism.hashes)[:, None]
        if (np.ptp(mechanism.functions.columns(rows, mechanism.digests), axis=1) == 0).all():
            return
    assert ratio * low > 1 - Fraction(1, 1 << 40)
    bodies = np.frombuffer(b"".join(reports), np.uint8).reshape(len(reports), -1)
    assert mechanism.valid(bodies).all()


@pytest.mark.parametrize(("cls", "size", "epsilon"), [case for case in SMALL if case[0] in CLOSED])
def test_estimates_are_unbiased_and_their_variance_is_the_formula(
    cls: type[LocalOracle], size: int, epsilon: float
) -> None:
    mechanism = oracle(cls, size, epsilon)
    for own in range(mechanism.symbols):
        law = laws(cls, size, epsilon)[own]
        mean = np.zeros(mechanism.symbols)
        square = np.zeros(mechanism.symbols)
        for body, chance in law.items():
            tally = mechanism.finish(mechanism.tally(np.frombuffer(body, np.uint8)[None, :]))
            assert mechanism.possible(tally, 1)
            estimates, _ = mechanism.debias(tally, 1)
            mean += float(chance) * estimates
            square += float(chance) * estimates**2
        exact = np.arange(mechanism.symbols) == own
        scale = float(np.sqrt(square).max())
        np.testing.assert_allclose(mean, exact, atol=1e-12 * scale)
        for code in range(mechanism.symbols):
            formula = mechanism.variance(float(code == own), 1)
            if isinstance(mechanism, HadamardResponse):
                block = float(code % mechanism.blocks == own % mechanism.blocks)
                formula = mechanism.variance(float(code == own), 1, block)
            assert square[code] - mean[code] ** 2 == pytest.approx(formula, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("cls", SKETCHES)
@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_a_sketchs_table_is_unbiased(cls: type[Sketch], epsilon: float) -> None:
    mechanism = oracle(cls, 3, epsilon)
    assert isinstance(mechanism, Sketch)
    h, m = mechanism.hashes, mechanism.width
    for code in range(mechanism.symbols):
        mean, square = np.zeros((h, m)), np.zeros((h, m))
        for body, chance in laws(cls, 3, epsilon)[code].items():
            tally = mechanism.tally(np.frombuffer(body, np.uint8)[None, :])
            assert mechanism.possible(tally, 1)
            table = mechanism.table(tally[: h * m].reshape(h, m), tally[h * m :])
            mean += float(chance) * table
            square += float(chance) * table**2
        exact = np.zeros((h, m))
        for row in range(h):
            column = mechanism.functions.columns(np.array(row), mechanism.digests[code])
            exact[row, column] = 1 / h
        np.testing.assert_allclose(mean, exact, atol=1e-12)
        # A report falls in a row with chance 1/h, and has there a variance of V, less in HCMS's own.
        np.testing.assert_allclose(square[exact == 0], mechanism.unit / h, rtol=1e-9)


@pytest.mark.parametrize("cls", SUPPORT)
@pytest.mark.parametrize("size", [1, 9, 200])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 6.0])
def test_the_support_chances_are_those_of_the_papers(
    cls: type[LocalOracle], size: int, epsilon: float
) -> None:
    mechanism = oracle(cls, size, epsilon)
    e, k = np.exp(epsilon), size + 1
    half = np.exp(epsilon / 2)
    match mechanism.key:
        case "randomized_response":
            expected = (e / (e + k - 1), 1 / (e + k - 1))
        case "local_hashing":
            g = mechanism.base
            expected = (e / (e + g - 1), 1 / g)
        case "subset_selection":
            d = mechanism.chosen
            p = d * e / (d * e + k - d)
            expected = (p, (p * (d - 1) + (1 - p) * d) / (k - 1))
        case "unary":
            expected = (0.5, 1 / (e + 1))
        case "rappor":
            expected = (half / (half + 1), 1 / (half + 1))
    np.testing.assert_allclose((mechanism.p, mechanism.q), expected, rtol=1e-12)


def test_linear_hashes_are_exactly_universal() -> None:
    for size, epsilon in ((8, 1.0), (30, 2.0), (99, 0.3)):
        mechanism = oracle(LocalHashing, size, epsilon)
        assert isinstance(mechanism, LocalHashing)
        which, codes = np.meshgrid(np.arange(mechanism.functions), np.arange(size + 1))
        hashed = mechanism.hashes(which, codes)
        for v in range(size + 1):
            meets = (hashed[:v] == hashed[v]).sum(axis=1)
            assert (meets * mechanism.base == mechanism.functions).all()


@pytest.mark.parametrize(
    ("size", "epsilon"), [(8, 1.0), (30, 2.0), (60, 3.0), (700, 0.4), (1, 4.0)]
)
def test_quick_decoding_counts_the_same_supports(size: int, epsilon: float) -> None:
    mechanism = oracle(LocalHashing, size, epsilon)
    assert isinstance(mechanism, LocalHashing)
    rows = mechanism.encode_many(np.arange(300) % (size + 1), unsafe_seeded(4))[:, 8:]
    slow = np.zeros(size + 1, np.int64)
    for row in rows:
        which, value = divmod(int.from_bytes(row.tobytes(), "little"), mechanism.base)
        codes = np.arange(size + 1)
        slow += mechanism.hashes(np.full(size + 1, which), codes) == value
    assert (mechanism.finish(mechanism.tally(rows)) == slow).all()


def test_hadamard_outputs_are_the_matrix_by_its_definition() -> None:
    from scipy.linalg import hadamard

    mechanism = oracle(HadamardResponse, 20, 2.5)
    assert isinstance(mechanism, HadamardResponse)
    matrix = hadamard(mechanism.block)
    rows = mechanism.encode_many(np.arange(500) % 21, unsafe_seeded(4))[:, 8:]
    outputs = rows.astype(np.int64) @ (256 ** np.arange(rows.shape[1]))
    slow = np.zeros(21, np.int64)
    for output in outputs:
        block, place = divmod(int(output), mechanism.block)
        for code in range(21):
            if code % mechanism.blocks == block:
                slow[code] += matrix[1 + code // mechanism.blocks, place]
    assert (mechanism.finish(mechanism.tally(rows))[:21] == slow).all()


def test_heavy_hitters_send_a_hadamard_response_of_a_prefixs_bucket() -> None:
    """The group is drawn first, whatever the value is; the rest is the oracle's own report."""
    found = HeavyHitters(1000, 2.0, "test", length=2, groups=3, buckets=256)
    for path in ([0, 1, 5, 300], [1, 0, 7, 3], [2, 1, 0, 9]):
        for value in (b"ab", b"z", b""):
            body = found.randomise([value], Branch(list(path)))
            group = path[0]
            whole = int.from_bytes(value.ljust(2, b"\0"), "big")
            prefix = bytes([group]) + (whole >> 16 - found.bits[group]).to_bytes(2, "big")
            digests = found.functions.digest([prefix])
            bucket = found.functions.columns(np.array([group]), digests)
            expected = found.within.randomise(bucket, Branch(list(path[1:])))
            assert body[0].tolist() == [group, *expected[0].tolist()]
    assert found.bits == [8, 16, 16]


# ---------------------------------------------------------------------- the choices themselves


def words(*given: int) -> Draws:
    """Draws made of these 64-bit words, in this order."""
    stream = iter(given)

    def draw(n: int) -> np.ndarray:
        taken = [next(stream) for _ in range(n // 8)]
        return np.array(taken, "<u8").view(np.uint8)

    return Draws(Randomness("of a test", draw))


@pytest.mark.parametrize("least", [0, 1, 12345, WORD // 2, WORD - 1])
def test_a_coin_turns_at_its_threshold_exactly(least: int) -> None:
    for word in {0, max(0, least - 1), least, WORD - 1}:
        assert words(word).coin(least, 1).tolist() == [word < least]


@pytest.mark.parametrize("bound", [1, 2, 3, 6, 7, 1 << 40, (1 << 40) + 7, (1 << 62) - 1, 1 << 62])
def test_whole_numbers_are_drawn_again_past_the_last_multiple(bound: int) -> None:
    limit = WORD - WORD % bound
    assert words(limit - 1).below(bound, 1).tolist() == [bound - 1]
    assert words(0).below(bound, 1).tolist() == [0]
    if limit < WORD:
        assert words(limit, WORD - 1, 5).below(bound, 1).tolist() == [5 % bound]
        assert words(1, limit, 2, limit, 4).below(bound, 3).tolist() == [
            1 % bound,
            4 % bound,
            2 % bound,
        ]


@pytest.mark.parametrize("epsilon", [0.001, 0.5, 1.0, 7.0, 39.0])
@pytest.mark.parametrize("others", [Fraction(1, 7), Fraction(1), Fraction(10**6)])
def test_a_threshold_is_the_greatest_that_keeps_the_bound(epsilon: float, others: Fraction) -> None:
    found = threshold(Fraction(epsilon), others)
    low, high = exp_minus(Fraction(epsilon))(512)

    def ratio(least: int) -> Fraction:
        return Fraction(least, WORD - least) * others

    assert ratio(found) * high <= 1
    assert found == WORD - 1 or ratio(found + 1) * low > 1
