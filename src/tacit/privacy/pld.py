"""Composition by privacy loss distributions: the cost of many pure releases, nearly exactly.

Every ε-DP mechanism is a post-processing of randomized response with that ε (Kairouz, Oh and
Viswanath 2017, "The Composition Theorem for Differential Privacy", theorem 3.1 and section 5), so
k of them together lose no more than k randomized responses. Their privacy losses add as independent
random variables; `dp_accounting` convolves them on a grid, rounded pessimistically
(Koskela, Jälkö and Honkela 2020; Meiser and Mohammadi 2018).

The bound is for parameters that were fixed before: an ε chosen because of an earlier result is
outside the theorem (Rogers, Roth, Ullman and Vadhan 2016, section 5), and so it is of the Rényi
bounds of `privacy.loss`, whose order is chosen at the end. What is spent for releases that are
chosen on the way is admitted by `privacy.filters`.
"""

from __future__ import annotations

import math
from functools import lru_cache

GRID = 1e-4
"""The width of the distribution's bins, in ε; each release's loss is rounded up by less."""

_ROUNDING = 1e-14  # δ is lowered by this: probabilities near one, and the FFT, round at 1e-16
_FLOOR = 1e-12  # below this δ rounding would speak


def prepare() -> None:
    """Imports what composing needs, which takes seconds on a busy machine: not under a lock."""
    from dp_accounting.pld import privacy_loss_distribution

    assert privacy_loss_distribution


@lru_cache(maxsize=1024)
def responses_epsilon(terms: tuple[tuple[float, int], ...], delta: float) -> float:
    """The ε at `delta` of `count` randomized responses of ε each, for every (ε, count).

    Infinite for a δ too small for the arithmetic: another bound must serve then.
    """
    if delta < _FLOOR:
        return math.inf
    from dp_accounting.pld import common, privacy_loss_distribution

    total = privacy_loss_distribution.identity(value_discretization_interval=GRID)
    for epsilon, count in terms:
        if not epsilon:
            continue
        one = privacy_loss_distribution.from_privacy_parameters(
            common.DifferentialPrivacyParameters(epsilon, 0.0), value_discretization_interval=GRID
        )
        total = total.compose(one if count == 1 else one.self_compose(count))
    return float(total.get_epsilon_for_delta(delta - _ROUNDING))
