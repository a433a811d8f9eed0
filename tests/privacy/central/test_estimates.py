"""Means and quantiles: accuracy, coverage of their intervals, and the tree's sensitivity."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from tacit.privacy.central.means import Means
from tacit.privacy.central.quantiles import BRANCHES, Quantiles, levels_of, tree_sensitivity
from tacit.privacy.central.sensitivity import Sensitivity
from tacit.privacy.central.sums import NoisySums
from tacit.privacy.randomness import system

KEYS = 4_000


def means(epsilon: int) -> Means:
    sums = NoisySums.laplace(Sensitivity.of(1, 10), Fraction(epsilon))
    counts = NoisySums.laplace(Sensitivity.of(1, 1), Fraction(epsilon))
    return Means(sums, counts, 5.0, 0.5, 0.0, 10.0)


@pytest.mark.parametrize("rows", [3, 40, 1000])
def test_means_are_near_and_covered(rows: int) -> None:
    made = means(1)
    true_sum = np.full(KEYS, 2 * rows)  # two steps above the middle: 6.0
    noisy = (
        made.sums.release(true_sum, system()),
        made.counts.release(np.full(KEYS, rows), system()),
    )
    found = made.estimate(*noisy, 0.95)
    covered = (found.lower <= 6.0) & (found.upper >= 6.0)
    assert covered.mean() > 0.95 - 5 * np.sqrt(0.05 / KEYS)
    assert ((found.lower >= 0) & (found.upper <= 10) & (found.lower <= found.value)).all()
    if rows == 1000:
        assert found.value.std() == pytest.approx(float(np.mean(found.error)), rel=0.05)
        assert abs(found.value.mean() - 6.0) < 6 * found.value.std() / np.sqrt(KEYS)


def test_a_mean_of_nothing_is_within_its_bounds() -> None:
    found = means(1).estimate(np.array([0, 500, -500]), np.array([-3, 0, 0]), 0.95)
    assert found.value.tolist() == [5.0, 10.0, 0.0]
    assert (found.lower <= found.value).all()


@pytest.mark.parametrize(("cells", "levels"), [(1, 1), (4, 1), (5, 2), (16, 2), (1000, 5)])
def test_levels(cells: int, levels: int) -> None:
    assert levels_of(cells) == levels


def test_a_trees_sensitivity_by_enumeration() -> None:
    """Every way to put up to two rows in each of one or two keys of five cells."""
    cells, most, groups = 5, 2, 2
    tree = Quantiles(NoisySums.laplace(Sensitivity.of(1, 1), Fraction(1)), cells)
    ways = [w for w in itertools.product(range(most + 1), repeat=cells) if sum(w) <= most]
    l1 = l2 = 0
    for way in ways:
        nodes = exact(tree, np.array([way]))
        l1, l2 = max(l1, int(np.abs(nodes).sum())), max(l2, int((nodes**2).sum()))
    stated = tree_sensitivity(Sensitivity.of(groups, most), levels_of(cells))
    assert (groups * l1, groups * l2) == (stated.l1, stated.l2_squared)


def exact(tree: Quantiles, cells: np.ndarray) -> np.ndarray:
    """The nodes without noise."""
    none = NoisySums("laplace", Fraction(1, 1 << 20), Sensitivity.of(1, 1))  # never but 0
    return Quantiles(none, tree.cells).release(cells, system())


@pytest.mark.parametrize("cells", [1, 3, 4, 16, 17, 100])
def test_without_noise_it_is_the_quantile(cells: int) -> None:
    rng = np.random.default_rng(cells)
    counts = rng.integers(0, 5, (20, cells))
    counts[:, 0] += 1
    tree = Quantiles(NoisySums("laplace", Fraction(1, 1 << 20), Sensitivity.of(1, 1)), cells)
    nodes = tree.release(counts, system())
    assert nodes.shape == (20, sum(BRANCHES**level for level in range(1, tree.levels + 1)))
    for at in (0.01, 0.25, 0.5, 0.9, 0.99):
        value, lower, upper = tree.estimate(nodes, at, 0.95)
        prefix = counts.cumsum(axis=1)
        truth = (prefix >= at * prefix[:, -1:] - 1e-9).argmax(axis=1)
        assert (value == truth).all()
        assert ((lower <= truth) & (truth <= upper)).all()


@pytest.mark.parametrize("kind", ["laplace", "gaussian"])
def test_quantiles_are_covered_and_near(kind: str) -> None:
    cells, rows = 64, 2_000
    one = tree_sensitivity(Sensitivity.of(1, 1), levels_of(cells))
    made = (
        NoisySums.laplace(one, Fraction(1))
        if kind == "laplace"
        else NoisySums.gaussian(one, Fraction(1, 20))
    )
    counts = np.random.default_rng(5).multinomial(rows, np.full(cells, 1 / cells), 300)
    tree = Quantiles(made, cells)
    nodes = tree.release(counts, system())
    for at in (0.05, 0.5, 0.9):
        value, lower, upper = tree.estimate(nodes, at, 0.9)
        prefix = counts.cumsum(axis=1)
        truth = (prefix >= at * prefix[:, -1:] - 1e-9).argmax(axis=1)
        assert ((lower <= truth) & (truth <= upper)).mean() > 0.9 - 5 * np.sqrt(0.09 / 300)
        assert np.abs(value - truth).mean() < 1.5
        assert (upper - lower).mean() < 10
