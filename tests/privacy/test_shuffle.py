"""Amplification by shuffling: never less than the truth, never more than the closed form."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from fractions import Fraction
from math import comb

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from tacit.errors import PrivacyError
from tacit.privacy.local.randomized_response import RandomizedResponse
from tacit.privacy.local.subset_selection import SubsetSelection
from tacit.privacy.loss import Loss, pure_dp
from tacit.privacy.shuffle import (
    GENERAL,
    RESPONSE,
    Shuffled,
    _log_below,
    _log_given,
    closed_form,
    shuffled,
)

Law = Mapping[object, float]


def hockey(p: Law, q: Law, epsilon: float) -> float:
    return sum(max(0.0, mass - math.exp(epsilon) * q.get(y, 0.0)) for y, mass in p.items())


def pair(epsilon: float, n: int, clones: float) -> tuple[Law, Law]:
    """The dominating pair by its definition."""
    e = math.exp(epsilon)
    p: dict[object, float] = defaultdict(float)
    q: dict[object, float] = defaultdict(float)
    for c in range(n):
        some = comb(n - 1, c) * clones**c * (1 - clones) ** (n - 1 - c)
        for a in range(c + 1):
            for delta, chance in ((1, e / (e + 1)), (0, 1 / (e + 1))):
                mass = some * comb(c, a) / 2**c * chance
                p[a + delta, c - a + 1 - delta] += mass
                q[a + 1 - delta, c - a + delta] += mass
    return p, q


@pytest.mark.parametrize("epsilon", [0.3, 3.0])
@pytest.mark.parametrize("n", [1, 3, 30])
@pytest.mark.parametrize("clones", [GENERAL, RESPONSE])
def test_the_curve_is_the_pairs_by_brute_force(
    epsilon: float, n: int, clones: Callable[[float], float]
) -> None:
    p, q = pair(epsilon, n, clones(epsilon))
    found = Shuffled(epsilon, n, clones)
    for share in (0.0, 0.1, 0.35, 0.7, 0.95):
        exact = hockey(p, q, share * epsilon)
        assert hockey(q, p, share * epsilon) == pytest.approx(exact, rel=1e-9)
        upper = found.delta(share * epsilon)
        assert exact * (1 - 1e-12) <= upper <= exact * (1 + 1e-5) + 1e-12
    assert found.delta(epsilon) == 0.0
    ratios = []
    for alpha in np.geomspace(0.005, 100, 200) + 1:
        renyi = math.log(sum(q[y] * (p[y] / q[y]) ** alpha for y in p)) / (alpha - 1)
        ratios.append(renyi / alpha)
    assert max(ratios) <= found.rho() <= 1.1 * max(ratios)
    losses, chances = found.pld(epsilon / 50)
    assert chances.min() >= 0
    assert chances.sum() == pytest.approx(1)
    for share in (0.0, 0.2, 0.51, 0.9):
        by_losses = float((chances * np.maximum(0.0, -np.expm1(share * epsilon - losses))).sum())
        assert by_losses >= hockey(p, q, share * epsilon) * (1 - 1e-9)
        assert by_losses <= hockey(p, q, share * epsilon) + 0.02


def shuffle(first: Law, others: list[Law]) -> Law:
    """The law of the multiset of reports."""
    found: dict[object, float] = {(): 1.0}
    for law in [first, *others]:
        more: dict[object, float] = defaultdict(float)
        for held, mass in found.items():
            for report, chance in law.items():
                more[tuple(sorted((*held, report)))] += mass * chance  # type: ignore[misc]
        found = more
    return found


def laws(mechanism: object, epsilon: float) -> list[Law]:
    """Exact laws of a small mechanism by its formulas, as pure as they get."""
    if isinstance(mechanism, RandomizedResponse):
        k, e = mechanism.symbols, math.exp(epsilon)
        return [{y: (e if y == v else 1) / (e + k - 1) for y in range(k)} for v in range(k)]
    assert isinstance(mechanism, SubsetSelection)
    k, d, e = mechanism.symbols, mechanism.chosen, math.exp(epsilon)
    sets = list(itertools.combinations(range(k), d))
    weights = [[e if v in y else 1.0 for y in sets] for v in range(k)]
    return [dict(zip(map(str, sets), np.array(w) / sum(w), strict=True)) for w in weights]


@pytest.mark.parametrize("epsilon", [0.5, 1.5])
@pytest.mark.parametrize("n", [2, 4, 6])
def test_shuffled_mechanisms_leak_no_more_than_the_bound(epsilon: float, n: int) -> None:
    """Against every choice of the other devices' values, by enumeration of all multisets."""
    for kind, clones in (
        (RandomizedResponse, RESPONSE),
        (RandomizedResponse, GENERAL),
        (SubsetSelection, GENERAL),
    ):
        found = laws(kind(3, 100, epsilon, "test"), epsilon)
        bound = Shuffled(epsilon, n, clones)
        for values in ([0] * (n - 1), [2] * (n - 1), [at % 4 for at in range(n - 1)]):
            others = [found[value] for value in values]
            p, q = shuffle(found[0], others), shuffle(found[1], others)
            for share in (0.05, 0.3, 0.8):
                assert hockey(p, q, share * epsilon) <= bound.delta(share * epsilon)


def test_binary_response_is_nearly_as_bad_as_the_bound() -> None:
    """So the bound cannot be much better: 40 devices that all have the same value."""
    epsilon, n = 1.0, 40
    p0, p1 = (math.exp(epsilon) / (1 + math.exp(epsilon)), 1 / (1 + math.exp(epsilon)))
    rest = [comb(n - 1, a) * p0**a * p1 ** (n - 1 - a) for a in range(n)]
    p = {a: p0 * (rest[a - 1] if a else 0) + p1 * (rest[a] if a < n else 0) for a in range(n + 1)}
    q = {a: p1 * (rest[a - 1] if a else 0) + p0 * (rest[a] if a < n else 0) for a in range(n + 1)}
    bound = Shuffled(epsilon, n, RESPONSE)
    exact = max(hockey(p, q, 0.3), hockey(q, p, 0.3))
    assert exact <= bound.delta(0.3) < 4 * exact


# ---------------------------------------------------------------------- against the closed form


def test_the_closed_form_is_the_known_figure_and_the_numerical_bound_is_below() -> None:
    assert closed_form(4.0, 10**6, 1e-8) == pytest.approx(0.23, abs=0.005)
    found = Shuffled(4.0, 10**6).epsilon(1e-8)
    assert found == pytest.approx(0.0642, abs=0.0005)
    assert Shuffled(4.0, 10**6, RESPONSE).epsilon(1e-8) < found
    assert Shuffled(4.0, 10**6).delta(found) <= 1e-8


@pytest.mark.parametrize("local", [0.1, 1.0, 3.0, 6.0])
@pytest.mark.parametrize("n", [100, 10_000, 10**7])
@pytest.mark.parametrize("delta", [1e-5, 1e-10])
def test_it_is_never_above_the_closed_form(local: float, n: int, delta: float) -> None:
    assert Shuffled(local, n).epsilon(delta) <= closed_form(local, n, delta) <= local


def test_more_devices_less_epsilon_and_larger_delta_cost_less() -> None:
    by_n = [Shuffled(2.0, n).epsilon(1e-7) for n in (10, 100, 1000, 10**4, 10**6, 10**9)]
    by_local = [Shuffled(local, 5000).epsilon(1e-7) for local in (0.2, 0.5, 1.0, 2.0, 3.0, 5.0)]
    by_delta = [Shuffled(2.0, 5000).epsilon(delta) for delta in (1e-3, 1e-5, 1e-8, 1e-12, 1e-30)]
    assert by_n == sorted(by_n, reverse=True)
    assert by_local == sorted(by_local)
    assert by_delta == sorted(by_delta)
    assert by_n[0] <= 2.0
    curve = [Shuffled(2.0, 5000).delta(epsilon) for epsilon in np.linspace(0, 2, 30)]
    assert curve == sorted(curve, reverse=True)
    assert curve[-1] == 0.0


@settings(max_examples=examples(20))
@given(st.floats(0.01, 12), st.integers(1, 10**8), st.floats(1e-12, 0.5))
def test_it_is_always_between_nothing_and_the_local_loss(
    local: float, n: int, delta: float
) -> None:
    bound = Shuffled(local, n)
    found = bound.epsilon(delta)
    assert 0 <= found <= local
    assert bound.delta(found) <= delta * (1 + 1e-6)


# ---------------------------------------------------------------------- the arithmetic


@pytest.mark.parametrize("c", [0, 1, 7, 1000, 10**6, 10**8])
@pytest.mark.parametrize("share", [0.001, 0.02, 0.4, 0.9])
def test_the_terms_are_upper_bounds_to_a_hundred_digits(c: int, share: float) -> None:
    local = 2.0
    epsilon = share * local
    upper = float(_log_given(np.array([float(c)]), local, np.array([[epsilon]]))[0, 0])
    with mpmath.workdps(60):
        e, big = mpmath.exp(local), mpmath.exp(epsilon)
        t = int(mpmath.floor((c + 1) * (e * big - 1) / ((e - 1) * (big + 1)))) + 1
        if t > c + 1:
            exact = mpmath.mpf(0)
        else:
            term = mpmath.exp(
                mpmath.loggamma(c + 1)
                - mpmath.loggamma(t)
                - mpmath.loggamma(c - t + 2)
                - c * mpmath.log(2)
            )
            mass, total, a = term, mpmath.mpf(0), t
            while a <= c and a < t + 400_000:
                mass *= mpmath.mpf(c - a + 1) / a
                total += mass
                a += 1
                if mass < term * mpmath.mpf(10) ** -30:
                    break
            exact = (e - big) / (e + 1) * term - (big - 1) * total
        if exact <= 0:
            return
        log = mpmath.log(exact)
        assert upper >= log
        if log > -600:
            assert upper <= log + 1e-4


def test_the_tail_of_the_clones_is_an_upper_bound() -> None:
    n, chance = 400, 0.3
    points = np.array([1.0, 5.0, 60.0, 120.0, 200.0])
    found = _log_below(points, n, chance)
    exact = Fraction(chance)
    for point, upper in zip(points.astype(int).tolist(), found.tolist(), strict=True):
        mass = sum(comb(n, c) * exact**c * (1 - exact) ** (n - c) for c in range(point))
        assert upper >= math.log(mass) - 1e-12
        assert upper <= math.log(mass) + 1e-6
    far = _log_below(np.array([100.0]), 10**6, 0.5)[0]
    assert -(10**6) * math.log(2) < far < -650_000


# ---------------------------------------------------------------------- in the ledger's terms


def test_it_composes_as_a_loss() -> None:
    bound = Shuffled(2.0, 100_000)
    loss = bound.loss()
    assert loss.pure == 0
    assert 0 < loss.rho < 2.0 / 1000
    once = bound.epsilon(1e-8)
    assert once <= loss.epsilon(1e-8) < 3 * once
    many = Loss()
    for _ in range(50):
        many = many + loss
    assert many.epsilon(1e-8) < 50 * once  # composed, not added
    assert Shuffled(2.0, 1).loss() == pure_dp(2.0)  # nobody to hide among


def test_a_local_claim_becomes_a_shuffled_one() -> None:
    claim = RandomizedResponse(9, 1 << 20, 2.0, "test").claim()
    found = shuffled(claim, 20_000, 1e-7, response=True)
    assert found.epsilon == Shuffled(2.0, 20_000, RESPONSE).epsilon(1e-7) < 0.2
    assert (found.delta, found.aggregator_loss, found.aggregator_epsilon) == (
        1e-7,
        pure_dp(2.0),
        2.0,
    )
    assert found.loss == Shuffled(2.0, 20_000, RESPONSE).loss(1e-7)
    assert "Nobody" not in " ".join(found.trust)
    assert Counter(found.trust)[found.trust[0]] == 1
    with pytest.raises(PrivacyError, match="T580"):
        shuffled(found, 20_000, 1e-7)


@pytest.mark.parametrize(
    ("local", "n"),
    [
        (0.0, 10),
        (-1.0, 10),
        (41.0, 10),
        (math.nan, 10),
        (1.0, 0),
        (1.0, 2.5),
        (1.0, 1 << 41),
        (True, 3),
    ],
)
def test_what_has_no_bound_is_refused(local: float, n: int) -> None:
    with pytest.raises(PrivacyError, match="T580"):
        Shuffled(local, n)


def test_bad_questions_are_refused() -> None:
    bound = Shuffled(1.0, 100)
    for delta in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(PrivacyError, match="T580"):
            bound.epsilon(delta)
    for epsilon in (-0.1, math.nan, "1"):
        with pytest.raises(PrivacyError, match="T580"):
            bound.delta(epsilon)  # type: ignore[arg-type]
    for interval in (0.0, -1.0, 1e-6, math.nan):
        with pytest.raises(PrivacyError, match="T580"):
            bound.pld(interval)
