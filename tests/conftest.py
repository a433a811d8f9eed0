"""What all tests share."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Tests run side by side, one to a core: more threads each would only wait for one another. It must
# stand before anything imports NumPy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

import compiled
import memory
from examples import examples

# Machines that run tests are shared: a slow example is no failure, a wrong one is.
settings.register_profile(
    "tacit",
    deadline=None,
    max_examples=examples(100),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("tacit")

if os.environ.get("PYTEST_XDIST_WORKER"):
    compiled.once()

if TYPE_CHECKING:
    from tacit.engines.spark import Spark

ENGINES = ("local", "sqlite", "spark")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engines",
        default=",".join(ENGINES),
        help="which engines are held to the oracle: local, sqlite, spark (all; spark is slow)",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what was not asked for: a test is of the engines in its `engine` parameter."""
    asked = set(config.getoption("--engines").split(","))
    if asked - set(ENGINES):
        raise pytest.UsageError(f"--engines knows {', '.join(ENGINES)}")
    kept = [
        item
        for item in items
        if not isinstance(item, pytest.Function)
        or getattr(item, "callspec", None) is None
        or item.callspec.params.get("engine_name", next(iter(asked))) in asked
    ]
    if len(kept) < len(items):
        left = set(kept)
        config.hook.pytest_deselected(items=[item for item in items if item not in left])
        items[:] = kept


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Thousands of tests and all that they import stay: no collection need look at them, neither
    while they come nor afterwards."""
    gc.disable()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        asked = (session.config.invocation_params.dir / arg for arg in session.config.args)
        compiled.from_both_ends([path for path in asked if path.is_dir()])


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_sessionfinish() -> None:
    gc.unfreeze()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where it can be: stores, ledgers and vaults sync, and disks are slow at it."""
    yield from memory.folder()


@pytest.fixture(scope="session")
def spark() -> Iterator[Spark]:
    """One Spark session for all tests; Java runs on this machine."""
    from tacit.engines.spark import Spark

    engine = Spark(master="local[2]", buckets=2, config={"spark.log.level": "ERROR"})
    yield engine
    engine.session.stop()


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def online_retail() -> Path:
    """The Online Retail data (doi:10.24432/C5BW33), where it stands beside the repository."""
    path = SHARED / "data" / "online_retail.parquet"
    if not path.is_file():
        pytest.skip("the Online Retail data does not stand beside the repository")
    return path
