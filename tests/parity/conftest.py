"""What the parity tests share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def quick(pytestconfig: pytest.Config) -> list[str]:
    """The engines that `--engines` asks for and that answer at once; skips where there is none."""
    asked = pytestconfig.getoption("--engines").split(",")
    found = [name for name in ("local", "sqlite") if name in asked]
    return found or pytest.skip("neither local nor sqlite was asked for")
