"""Permute-and-flip: its exact distribution on small domains, and the sampler against it."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

import tacit.privacy.central.choice as choice
from tacit.privacy.central.choice import PermuteAndFlip, flips
from tacit.privacy.loss import Term
from tacit.privacy.randomness import system

LEAST_P = 1e-6


def chances(scores: tuple[int, ...], epsilon: float, most: int) -> list[float]:
    """The probability of each candidate, over every order and every coin."""
    best = max(scores)
    head = [math.exp(-epsilon * (best - s) / most) for s in scores]
    found = [0.0] * len(scores)
    orders = list(itertools.permutations(range(len(scores))))
    for order in orders:
        reached = 1.0
        for c in order:
            found[c] += reached * head[c] / len(orders)
            reached *= 1 - head[c]
    return found


@pytest.mark.parametrize(("epsilon", "most"), [(1.0, 1), (0.5, 1), (2.0, 2)])
def test_every_pair_of_neighbours(epsilon: float, most: int) -> None:
    """All scores of three candidates, and all that a person may add: the ratio is within exp(ε)."""
    worst = 0.0
    for scores in itertools.product(range(4), repeat=3):
        here = chances(scores, epsilon, most)
        for added in itertools.product(range(most + 1), repeat=3):
            other = tuple(s + a for s, a in zip(scores, added, strict=True))
            there = chances(other, epsilon, most)
            worst = max(worst, *(abs(math.log(a / b)) for a, b in zip(here, there, strict=True)))
    assert worst <= epsilon + 1e-12
    assert worst >= 0.8 * epsilon  # without the factor 2 it is near what it may be


def test_the_sampler_has_that_distribution() -> None:
    scores, epsilon = (5, 4, 4, 1), 0.7
    made = PermuteAndFlip(Fraction(7, 10), 1, 1)
    drawn = [made.one(np.array(scores), system()) for _ in range(20_000)]
    counts = np.bincount(drawn, minlength=4)
    expected = np.array(chances(scores, epsilon, 1)) * len(drawn)
    assert stats.chisquare(counts, expected).pvalue > LEAST_P


@pytest.mark.parametrize("margin", [2.0**-40, 2.0])
def test_coins_are_exact(margin: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a margin so wide that rational arithmetic decides every coin, the same rates."""
    monkeypatch.setattr(choice, "_MARGIN", margin)
    gaps = np.repeat(np.array([0, 1, 3, 40]), 3_000)
    rate = flips(gaps, Fraction(1, 3), system()).reshape(4, -1).mean(axis=1)
    truth = np.exp(-np.array([0, 1, 3, 40]) / 3)
    assert rate[0] == 1
    assert np.abs(rate - truth).max() < 5 * 0.5 / np.sqrt(3_000)


def test_rounds_name_each_once_and_cost_each() -> None:
    made = PermuteAndFlip(Fraction(50), 3, 1)
    assert made.choose(np.array([3, 9, 7, 1]), system()).tolist() == [1, 2, 0]
    assert made.choose(np.array([3, 9]), system()).tolist() == [1, 0]
    assert made.choose(np.zeros(0, np.int64), system()).tolist() == []
    assert made.loss.terms == (Term(50.0, 0.0, 3),)


def test_how_far_from_the_best() -> None:
    """Within (Δ/ε) ln(m/β) of the best with probability 1 - β."""
    scores = np.arange(0, 200, 2)
    made = PermuteAndFlip(Fraction(1, 5), 1, 1)
    gaps = [int(scores.max() - scores[made.one(scores, system())]) for _ in range(2_000)]
    assert np.mean(np.array(gaps) > 5 * math.log(len(scores) / 0.05)) < 0.05
