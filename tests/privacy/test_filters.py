"""Privacy filters: sound by simulation of an adversary that adapts, exact where they say so."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from tacit.errors import PrivacyError
from tacit.privacy.filters import Cost, Filter, of_one_epoch
from tacit.privacy.loss import (
    Loss,
    approximate_dp,
    compose,
    gaussian_rho,
    pure_dp,
    sigma_for,
    zcdp,
    zcdp_epsilon,
)

EPSILONS = (0.1, 1.0, 4.0, 20.0)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("delta", [1e-9, 1e-6, 1e-3])
def test_the_bound_converts_back(epsilon: float, delta: float) -> None:
    """B at α is (ε, δ/2)-DP by the conversion itself, and nearly the most that zCDP gets."""
    chosen = Filter(epsilon, delta)
    alpha, bound = chosen.order, chosen.bound
    back = bound + math.log1p(-1 / alpha) + (math.log(2 / delta) - math.log(alpha)) / (alpha - 1)
    assert back <= epsilon * (1 + 1e-12)
    rho = bound / alpha
    assert zcdp_epsilon(rho, delta / 2) <= epsilon * (1 + 1e-12)
    assert zcdp_epsilon(rho * 1.02, delta / 2) > epsilon  # the grid of orders loses below 2 %


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_pure_releases_add_up(epsilon: float) -> None:
    chosen = Filter(epsilon, 1e-6)
    tenth = chosen.cost(pure_dp(epsilon / 10))
    total = Cost()
    for count in range(1, 11):
        total += tenth
        assert chosen.fits(total), count
    assert not chosen.fits(total + chosen.cost(pure_dp(epsilon))) or epsilon < 1
    assert chosen.share(Cost()) == 0


def test_many_small_releases_pass_by_the_renyi_rule() -> None:
    chosen, total, count = Filter(1.0, 1e-6), Cost(), 0
    small = chosen.cost(pure_dp(0.01))
    while chosen.fits(total + small):
        total, count = total + small, count + 1
    assert count > 200  # basic composition stops after 100


def test_a_gaussian_release_of_the_same_numbers_needs_a_little_more() -> None:
    """Half of δ is kept for releases' own failures."""
    loss = zcdp(gaussian_rho(sigma_for(4.0, 1e-6)))
    assert not Filter(4.0, 1e-6).fits(Filter(4.0, 1e-6).cost(loss))
    assert Filter(4.0, 2e-6).share(Filter(4.0, 2e-6).cost(loss)) < 1.02
    wide = Filter(4.2, 1e-6)
    assert wide.fits(wide.cost(loss))


def test_failures_have_half_of_delta() -> None:
    chosen = Filter(4.0, 1e-6)
    assert chosen.fits(chosen.cost(approximate_dp(1.0, 4e-7)))
    assert not chosen.fits(chosen.cost(approximate_dp(1.0, 6e-7)))
    both = compose([zcdp(0.01), approximate_dp(0.0, 4e-7)])
    assert chosen.fits(chosen.cost(both))
    assert not chosen.fits(chosen.cost(both + both))


def test_nothing_fits_nothing() -> None:
    none = Filter(0.0, 1e-6)
    assert not none.fits(none.cost(pure_dp(1e-300)))
    assert none.share(none.cost(pure_dp(1e-300))) > 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 5e-324, 1e-310, True, "1"])
@pytest.mark.parametrize("part", ["epsilon", "delta"])
def test_capacities_that_are_none(part: str, bad: Any) -> None:
    numbers: dict[str, Any] = {"epsilon": 1.0, "delta": 1e-6, part: bad}
    with pytest.raises(PrivacyError, match="T520"):
        Filter(**numbers)


@settings(max_examples=examples(40))
@given(
    st.lists(
        st.one_of(
            st.floats(1e-6, 2.0).map(zcdp),
            st.floats(1e-6, 2.0).map(pure_dp),
            st.tuples(st.floats(0.0, 1.0), st.floats(1e-12, 1e-7)).map(
                lambda pair: approximate_dp(pair[0] if pair[0] > 1e-300 else 0.0, pair[1])
            ),
        ),
        max_size=12,
    ),
    st.floats(0.05, 10.0),
    st.sampled_from([1e-9, 1e-6, 1e-4]),
)
def test_what_passes_is_within_the_accountant_for_fixed_parameters(
    losses: list[Loss], epsilon: float, delta: float
) -> None:
    """The filter never lets pass what the best accountant would refuse, whatever the order."""
    chosen, total, passed = Filter(epsilon, delta), Cost(), Loss()
    for loss in losses:
        after = total + chosen.cost(loss)
        if chosen.fits(after):
            total, passed = after, passed + loss
    assert passed.fits(epsilon * (1 + 2e-9), delta)  # by one of the accountant's bounds
    assert total + -total == Cost()  # exact, in any order


def test_an_adversary_that_adapts_does_not_get_past_it() -> None:
    """A brute-force experiment: with luck so far she asks boldly, without it timidly.

    The loss of each Gaussian release is drawn, L ~ N(ρ, 2ρ); P[L > ε], integrated against
    1 - exp(ε - L), must stay below δ.
    """
    epsilon, delta, people = 1.0, 1e-2, 200_000
    chosen = Filter(epsilon, delta)
    draw = np.random.default_rng(5)
    limit = float(Fraction(chosen.bound) / Fraction(chosen.order))
    left = np.full(people, limit)
    loss = np.zeros(people)
    for _ in range(30):
        bold = loss > epsilon / 3
        rho = np.minimum(left, np.where(bold, limit / 3, limit / 30))
        loss += draw.normal(rho, np.sqrt(2 * rho))
        left -= rho
    excess = np.maximum(0.0, 1 - np.exp(np.minimum(0.0, epsilon - loss)))
    assert excess.mean() + 5 * excess.std() / math.sqrt(people) <= delta


def test_losing_one_of_several_epochs() -> None:
    loss = compose([zcdp(0.1), approximate_dp(0.5, 1e-8)])
    assert of_one_epoch(loss, "add or remove one device", several=False) == loss
    assert of_one_epoch(loss, "replace one device's value by any other", several=True) == loss
    assert of_one_epoch(loss, "one report's value changes", several=True) == loss
    grown = of_one_epoch(loss, "add or remove one device", several=True)
    assert grown.rho == 0.4
    assert grown.pure == 1.0
    assert grown.failure == pytest.approx(1e-8 * (1 + math.exp(0.5)))
    assert of_one_epoch(loss, "", several=True) == grown  # what is not known is the worse
