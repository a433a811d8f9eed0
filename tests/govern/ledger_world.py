"""Budgets and claims on them, and who races for them; light to import, for child processes."""

from __future__ import annotations

from typing import Any

from tacit.errors import BudgetError
from tacit.govern.ledger import Budget, Ledger
from tacit.privacy.loss import Loss, pure_dp
from tacit.privacy.mechanism import Claim
from tacit.store.control import ControlStore

BUDGETS = (Budget("recommend", 1.0, 1e-6), Budget("measure", 0.3, 1e-6))


def claim(loss: Loss, name: str = "top") -> Claim:
    return Claim(
        mechanism="vector_sum",
        name=name,
        adjacency="one device",
        units="plays",
        sensitivity=1.0,
        sigma=30.0,
        delta=1e-6,
        loss=loss,
        epsilon=loss.epsilon(1e-6),
        aggregator_loss=loss,
        aggregator_epsilon=loss.epsilon(1e-6),
        trust=("nobody",),
    )


TENTH = claim(pure_dp(0.1))


def race(path: str, name: str, barrier: Any, results: Any) -> None:
    """Releases twelve times if it may; how often it was allowed."""
    with ControlStore.open(path) as control:
        ledger = Ledger(control, BUDGETS)
        barrier.wait()
        won = 0
        for epoch in range(12):
            try:
                ledger.reserve("recommend", name, TENTH, epoch).commit(b"")
                won += 1
            except BudgetError:
                pass
        results.put(won)
