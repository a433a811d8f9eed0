"""Our exact sampler against OpenDP's, which runs in a virtual environment of its own.

OpenDP is 265 MB and pins what others need in other versions, so it is no dependency, not even of
the tests: this slow one installs it where it stays apart.
"""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tacit.privacy.central.sensitivity import Sensitivity
from tacit.privacy.central.sums import NoisySums
from tacit.privacy.noise import discrete_gaussian, discrete_laplace
from tacit.privacy.randomness import system

DRAWS = 100_000
LEAST_P = 1e-6
THEIRS = """
import sys, numpy, opendp.prelude as dp
dp.enable_features("contrib")
space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="i64")
try:
    made = dp.m.make_gaussian(*space, scale=float(sys.argv[1]))
except Exception:
    space = space[0], dp.l2_distance(T=float)
    made = dp.m.make_gaussian(*space, scale=float(sys.argv[1]))
numpy.save(sys.argv[3], numpy.array(made([0] * int(sys.argv[2]))))
"""

LAPLACE = """
import sys, numpy, opendp.prelude as dp
dp.enable_features("contrib")
space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l1_distance(T="i64")
made = dp.m.make_laplace(*space, scale=float(sys.argv[1]))
numpy.save(sys.argv[3], numpy.array(made([0] * int(sys.argv[2]))))
"""
CLAIMS = """
import json, sys, opendp.prelude as dp
dp.enable_features("contrib")
scale, l1, l2 = float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
ints = dp.vector_domain(dp.atom_domain(T="i64"))
laplace = dp.m.make_laplace(ints, dp.l1_distance(T="i64"), scale=scale)
gaussian = dp.m.make_gaussian(ints, dp.l2_distance(T=float), scale=scale)
print(json.dumps([laplace.map(l1), gaussian.map(l2)]))
"""


@pytest.fixture(scope="module")
def opendp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has OpenDP."""
    folder = tmp_path_factory.mktemp("opendp")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "opendp>=0.14", "numpy"]
    subprocess.run(install, check=True)
    return python


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.5, 1.5, 20.0, 1000.0])
def test_one_distribution(opendp: Path, tmp_path: Path, sigma: float) -> None:
    drawn = tmp_path / "theirs.npy"
    command = [str(opendp), "-c", THEIRS, str(sigma), str(DRAWS), str(drawn)]
    subprocess.run(command, check=True)
    theirs = np.load(drawn)
    ours = discrete_gaussian(Fraction(sigma) ** 2, 10 * DRAWS, system())
    assert alike(theirs, ours, int(4 * sigma) + 1, max(1, int(sigma) // 5))


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.5, 3.0, 500.0])
def test_one_laplace_distribution(opendp: Path, tmp_path: Path, scale: float) -> None:
    drawn = tmp_path / "theirs.npy"
    command = [str(opendp), "-c", LAPLACE, str(scale), str(DRAWS), str(drawn)]
    subprocess.run(command, check=True)
    ours = discrete_laplace(Fraction(scale), 10 * DRAWS, system())
    assert alike(np.load(drawn), ours, int(6 * scale) + 1, max(1, int(scale) // 5))


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "groups", "most"), [(2.0, 1, 1), (7.5, 4, 3), (0.25, 9, 1)])
def test_one_claim(opendp: Path, scale: float, groups: int, most: int) -> None:
    """ε and ρ of the same noise for the same sensitivity."""
    one = Sensitivity.of(groups, most)
    command = [str(opendp), "-c", CLAIMS, str(scale), str(one.l1), repr(one.l2_squared**0.5)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    epsilon, rho = json.loads(done.stdout)
    laplace = NoisySums("laplace", Fraction(scale), one)
    gaussian = NoisySums("gaussian", Fraction(scale) ** 2, one)
    assert laplace.loss.pure == pytest.approx(epsilon, rel=1e-12)
    assert gaussian.loss.rho == pytest.approx(rho, rel=1e-12)


def alike(theirs: np.ndarray, ours: np.ndarray, reach: int, width: int) -> bool:
    """Whether two samples may be of one distribution."""
    edges = np.arange(-reach, reach + 1, width)
    counts = [
        np.bincount(np.searchsorted(edges, x), minlength=len(edges) + 1) for x in (theirs, ours)
    ]
    table = np.array(counts)
    table = table[:, table.sum(axis=0) > 50]
    return bool(stats.chi2_contingency(table).pvalue > LEAST_P)
