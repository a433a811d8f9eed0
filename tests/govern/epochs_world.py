"""People's weeks with filters, and claims to spend of them; light to import, for child processes."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import Any

from tacit.errors import BudgetError
from tacit.govern.epochs import Epochs
from tacit.govern.ledger import Budget, Ledger
from tacit.govern.spends import Touched
from tacit.privacy.filters import Filter
from tacit.privacy.loss import Loss, pure_dp, zcdp
from tacit.privacy.mechanism import Claim
from tacit.store.control import ControlStore
from tacit.values import DAY

WEEK = 7 * DAY
LASTING = (Budget("measure", 1e5, 1e-6),)
PEOPLE = Epochs("person", WEEK, 1.0, 1e-6, {"growth": 0.5, "search": 0.8}, {"weekly": (0.6, 1e-6)})
REPLACED = "replace one device's value"
_FILTER = Filter(1.0, 1e-6)
TENTH = zcdp(_FILTER.bound / _FILTER.order / 10 * (1 - 1e-12))
"""A tenth of what an epoch's filter holds, by the Rényi rule."""


def claim(loss: Loss, adjacency: str = REPLACED) -> Claim:
    """A claim of this loss."""
    whole = Claim("sum", "top", adjacency, "plays", 1.0, 30.0, 1e-6, loss, 1.0, loss, 1.0, ())
    return replace(whole, epsilon=loss.rho or loss.pure)


def pure(epsilon: float, adjacency: str = REPLACED) -> Claim:
    """A claim of pure DP."""
    return claim(pure_dp(epsilon), adjacency)


def week(first: int, last: int | None = None) -> list[Touched]:
    """The rows of some weeks, the last included."""
    return [Touched("person", first * WEEK, ((first if last is None else last) + 1) * WEEK)]


def race(path: str, team: str, barrier: Any, results: Any) -> None:
    """Releases twelve times if it may, each of a week or two; how often it was allowed."""
    with ControlStore.open(path) as control:
        ledger = Ledger(control, LASTING, [PEOPLE])
        barrier.wait()
        won = 0
        for number in range(12):
            with contextlib.suppress(BudgetError):
                name, reads = f"{team}-{os.getpid()}", week(number % 2, 2)
                one = ledger.reserve(
                    "measure", name, claim(TENTH), number, touched=reads, querier=team
                )
                one.commit(b"")
                won += 1
        results.put((team, won))
