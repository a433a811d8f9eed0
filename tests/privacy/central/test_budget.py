"""Sharing a budget: it is kept, used up, and shared in the better way."""

from __future__ import annotations

import pytest

from tacit.errors import PrivacyError
from tacit.privacy.central.budget import Choose, Select, Sums, Wanted, claim, share
from tacit.privacy.central.selection import GaussianThreshold, TruncatedGeometric
from tacit.privacy.central.sensitivity import Sensitivity
from tacit.privacy.central.sums import NoisySums

ONE = Sums(Sensitivity.of(1, 1))
MANY = Sums(Sensitivity.of(50, 1))


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
@pytest.mark.parametrize(
    "wanted",
    [
        [ONE],
        [MANY],
        [ONE] * 7,
        [Select(1), ONE],
        [Select(30), MANY, MANY],
        [Choose(10, 1), ONE],
        [Select(4), Choose(3, 2), ONE],
    ],
)
def test_together_they_cost_what_was_given(wanted: list[Wanted], epsilon: float) -> None:
    made = claim("x", share(wanted, epsilon, 1e-6), 1e-6, "things")
    assert made.loss.epsilon(1e-6) <= epsilon * (1 + 1e-9)
    assert made.loss.epsilon(1e-6) >= 0.5 * epsilon
    assert made.epsilon == made.loss.epsilon(1e-6)


def test_without_delta_it_is_pure() -> None:
    made = claim("x", share([ONE, ONE, Choose(2, 1)], 1.0, 0.0), 0.0, "things")
    assert made.loss.rho == 0
    assert made.loss.failure == 0
    assert made.epsilon <= 1.0 + 1e-9
    assert made.mechanism == "central_laplace"


def test_the_better_way_is_taken() -> None:
    assert kinds([ONE], 1.0) == ["laplace"]
    assert kinds([MANY], 1.0) == ["gaussian"]
    assert isinstance(share([Select(1), ONE], 1.0, 1e-6)[0], TruncatedGeometric)
    assert isinstance(share([Select(60), MANY], 1.0, 1e-6)[0], GaussianThreshold)
    assert isinstance(share([Select(1000), MANY], 0.001, 1e-6)[0], GaussianThreshold)


def kinds(wanted: list[Wanted], epsilon: float) -> list[str]:
    return [part.kind for part in share(wanted, epsilon, 1e-6) if isinstance(part, NoisySums)]


def test_keys_cost_delta() -> None:
    with pytest.raises(PrivacyError) as caught:
        share([Select(1), ONE], 1.0, 0.0)
    assert caught.value.code == "T875"
