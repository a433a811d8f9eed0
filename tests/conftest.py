"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

# Tests run side by side, one to a core: more threads each would only wait for one another. It must
# stand before anything imports NumPy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

# Machines that run tests are shared: a slow example is no failure, a wrong one is.
settings.register_profile(
    "tacit", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("tacit")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def online_retail() -> Path:
    """The Online Retail data (doi:10.24432/C5BW33), where it stands beside the repository."""
    path = SHARED / "data" / "online_retail.parquet"
    if not path.is_file():
        pytest.skip("the Online Retail data does not stand beside the repository")
    return path
