"""Our exact sampler against OpenDP's, which runs in a virtual environment of its own.

OpenDP is 265 MB and pins what others need in other versions, so it is no dependency, not even of
the tests: this slow one installs it where it stays apart.
"""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tacit.privacy.noise import discrete_gaussian
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
    reach = int(4 * sigma) + 1
    edges = np.arange(-reach, reach + 1, max(1, int(sigma) // 5))
    counts = [
        np.bincount(np.searchsorted(edges, x), minlength=len(edges) + 1) for x in (theirs, ours)
    ]
    table = np.array(counts)
    table = table[:, table.sum(axis=0) > 50]
    assert stats.chi2_contingency(table).pvalue > LEAST_P
