"""The noise on Prio3's sums: right in distribution, signed, and claimed as what it is."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest

from tacit.errors import PrivacyError
from tacit.privacy import prio3
from tacit.privacy.loss import pure_dp, sum_rho, variance_rho, zcdp
from tacit.privacy.prio3 import Prio3
from tacit.privacy.randomness import unsafe_seeded
from tacit.privacy.sum_noise import SumNoise, sensitivities, signed

RANDOM = unsafe_seeded(11)
GAUSS = SumNoise("gaussian", Fraction(25, 4))

SMALL: list[tuple[Prio3[Any, Any], list[Any]]] = [
    (prio3.count(), [0, 1]),
    (prio3.sum_(5), list(range(6))),
    (prio3.sum_vec(2, 3, 2), [list(v) for v in product(range(4), repeat=2)]),
    (prio3.histogram(4, 2), list(range(4))),
    (
        prio3.multihot_count_vec(4, 1, 2),
        [list(v) for v in product((0, 1), repeat=4) if sum(v) <= 1],
    ),
    (
        prio3.multihot_count_vec(4, 3, 2),
        [list(v) for v in product((0, 1), repeat=4) if sum(v) <= 3],
    ),
]


@pytest.mark.parametrize(
    ("one", "values"), SMALL, ids=lambda v: getattr(getattr(v, "circuit", None), "key", "")
)
def test_sensitivities_by_enumeration(one: Prio3[Any, Any], values: list[Any]) -> None:
    """Every pair of measurements: the greatest change of the sum is exactly the one stated."""
    outs = [np.array(one.circuit.truncate(one.circuit.encode(v)), dtype=object) for v in values]
    changes = [a - b for a in outs for b in outs]
    l1 = max(int(np.abs(change).sum()) for change in changes)
    l2 = max(int((change * change).sum()) for change in changes)
    assert sensitivities(one) == (l1, l2)


@pytest.mark.parametrize("version", [18, 8])
@pytest.mark.parametrize("noise", [GAUSS, SumNoise("laplace", Fraction(3))])
def test_the_noise_of_two_aggregators(noise: SumNoise, version: int) -> None:
    """Added in the field to both shares, and decoded signed: right mean and variance."""
    n, rounds = 500, 20
    one = prio3.histogram(n, 23, version=version)
    drawn = []
    for _ in range(rounds):
        zero = one.aggregate([])
        shares = [noise.add(one, zero, RANDOM) for _ in range(2)]
        drawn += signed(one, one.unshard(shares, 0))
    assert min(drawn) < 0 < max(drawn)  # about half of all sums of nothing are negative
    sigma = noise.claim(one, "x", 1e-6).sigma
    assert abs(np.mean(drawn)) < 5 * sigma / math.sqrt(n * rounds)
    assert np.std(drawn) == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize("one", [prio3.count(), prio3.sum_(255)])
def test_a_negative_number_is_read_as_one(one: Prio3[Any, Any]) -> None:
    """Field64 and Field128, at the very edges."""
    p = one.field.modulus
    for value in (0, 1, p // 2, -1, -(p // 2)):
        assert signed(one, value % p) == value


def test_the_claim() -> None:
    one = prio3.histogram(10, 4)
    claim = GAUSS.claim(one, "plays", 1e-6)
    assert claim.loss == zcdp(
        sum_rho(Fraction(25, 4), 10, Fraction(math.nextafter(math.sqrt(2), 2)))
    )
    assert claim.aggregator_loss == zcdp(variance_rho(Fraction(25, 8), 1))
    assert claim.aggregator_epsilon > claim.epsilon  # one noise hides less than two
    assert claim.sensitivity**2 >= 2
    assert claim.mechanism == "prio3_histogram+gaussian"
    assert "public" in claim.adjacency  # report_count travels in the clear
    laplace = SumNoise("laplace", Fraction(3)).claim(one, "plays", 1e-6)
    assert laplace.loss.pure == pytest.approx(2 / 3)
    assert laplace.loss.pure >= Fraction(2, 3)
    assert laplace.loss == laplace.aggregator_loss == pure_dp(laplace.loss.pure)


def test_the_likelihood_ratio_of_laplace() -> None:
    """Exactly, on a small domain: no outcome tells two neighbours apart by more than e^ε."""
    t, ratio = 3.0, math.exp(-1 / 3.0)
    mass = {k: (1 - ratio) / (1 + ratio) * ratio ** abs(k) for k in range(-200, 201)}
    both = np.convolve(list(mass.values()), list(mass.values()))
    epsilon = SumNoise("laplace", Fraction(3)).claim(prio3.count(), "n", 1e-6).loss.pure
    worst = np.max(np.abs(np.log(both[250:-251] / both[251:-250])))
    assert worst <= epsilon * (1 + 1e-6)
    assert epsilon == pytest.approx(1 / t)


@pytest.mark.parametrize(
    "raw",
    [{}, {"kind": "uniform", "parameter": 1}, {"kind": "gaussian", "parameter": 0},
     {"kind": "gaussian", "parameter": "1/0"}, {"kind": "laplace", "parameter": "x"}, 7,
     {"kind": "laplace", "parameter": math.inf}, {"kind": "laplace", "parameter": "1e999999999"}],
)  # fmt: skip
def test_what_is_no_noise(raw: Any) -> None:
    with pytest.raises(PrivacyError, match="T534"):
        SumNoise.from_json(raw)


def test_noise_that_cannot_be_bounded_is_refused() -> None:
    with pytest.raises(PrivacyError, match="T520"):
        SumNoise("gaussian", Fraction(1, 8)).check(prio3.count())
    assert SumNoise.from_json(GAUSS.to_json()) == GAUSS
