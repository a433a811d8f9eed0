"""The privacy bill: the claims of a plan's releases, composed per purpose, against its budgets.

A metric with a mechanism of its own is charged for every answer that it may give. Whether a budget
holds all of it is asked of the filter that the ledger will use (`privacy.filters.made_for`), and of
the dearest mix of noises that a metric's answers may come to have: what a plan accepts, the ledger
does not refuse at its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from tacit.declare import Purpose, Release
from tacit.errors import FlowError, PrivacyError, TacitError
from tacit.plan.epoch_bill import check_epochs
from tacit.plan.graph import Charge, Plan
from tacit.privacy.filters import Cost, Filter, made_for, needed
from tacit.privacy.loss import Loss, approximate_dp, compose, gaussian_rho, sigma_for, zcdp
from tacit.privacy.mechanism import mechanism


def bill(plan: Plan) -> tuple[tuple[Charge, ...], list[TacitError]]:
    """A charge for every release and every metric with a mechanism, and what is wrong: T210 (no
    finite loss), T211 (over budget).

    A charge is an upper bound: when the release runs, its mechanism claims no more.
    """
    charges: list[Charge] = []
    errors: list[TacitError] = []
    budgets = plan.declarations.of(Purpose)
    for node in plan.of("release"):
        release = node.declared
        assert isinstance(release, Release)
        try:
            loss = mechanism(release.mechanism).price(release.epsilon, release.delta)
        except PrivacyError as error:
            errors.append(_unbounded(f"release {node.id!r}", release.where, error))
            continue
        purposes = tuple(node.spec["purposes"])
        charges.append(
            Charge(node.id, release.mechanism, purposes, release.epsilon, release.delta, loss)
        )
    for node in plan.of("metric"):
        if node.declassifies:
            spec = node.spec
            try:
                loss = price(spec, min(budgets[name].delta for name in spec["purposes"]))
            except PrivacyError as error:
                errors.append(_unbounded(f"metric {node.id!r}", node.declared.where, error))
                continue
            purposes = tuple(spec["purposes"])
            charges.append(
                Charge(node.id, spec["mechanism"], purposes, spec["epsilon"], spec["delta"], loss)
            )
    errors += check_epochs(plan, charges)
    for name, purpose in budgets.items():
        if purpose.per_epoch:
            continue
        spenders = [charge for charge in charges if name in charge.purposes]
        try:
            over = _over(plan, name, purpose, spenders) if spenders else None
        except PrivacyError as error:
            over = _unbounded(f"purpose {name!r}", purpose.where, error)
        errors += [] if over is None else [over]
    return tuple(charges), errors


def price(spec: Mapping[str, Any], delta: float) -> Loss:
    """The most that all answers of a metric with central noise cost together, told at `delta`.

    Which noise an answer has depends on the question (see `privacy.central.budget`): pure, or
    concentrated. The dearer of the two is charged. Keys that are not public are chosen by their
    people, for half of the δ.
    """
    totals = [compose([kind] * spec["answers"]) for kind in _kinds(spec)]
    return max(totals, key=lambda loss: loss.epsilon(delta))


def _kinds(spec: Mapping[str, Any]) -> list[Loss]:
    """What one answer may cost, by the kinds of noise that it may have."""
    epsilon, own = spec["epsilon"], spec["delta"]
    keys = [*spec["dimensions"].values(), spec.get("measure", {}).get("bucket")]
    chosen = any(key is not None and key["domain"] is None for key in keys)
    failure = own / 2 if chosen else 0.0
    kinds = [approximate_dp(epsilon, failure)]
    if own:
        kinds.append(zcdp(_rho(epsilon, own - failure)) + approximate_dp(0.0, failure))
    return kinds


@lru_cache(maxsize=4096)
def _rho(epsilon: float, delta: float) -> float:
    return gaussian_rho(sigma_for(epsilon, delta))


def _unbounded(what: str, where: str, error: PrivacyError) -> FlowError:
    return FlowError(
        f"{what} has no loss that can be bounded: {error.message}",
        code="T210",
        where=where,
        fix=error.fix,
    )


def composed(charges: Sequence[Charge], purpose: str, delta: float) -> float:
    """The ε at `delta` of all releases for a purpose together; 0 when there is none."""
    losses = [charge.loss for charge in charges if purpose in charge.purposes]
    return compose(losses).epsilon(delta) if losses else 0.0


def _over(plan: Plan, name: str, purpose: Purpose, spenders: Sequence[Charge]) -> FlowError | None:
    """T211 where the purpose's filter does not hold all that is declared for it."""
    epsilon, delta = float(purpose.epsilon), float(purpose.delta)
    declared = compose(charge.loss for charge in spenders)

    def holds(budget: float) -> bool:
        capacity = Filter(budget, delta, made_for(budget, delta, declared))
        return all(map(capacity.fits, _mixes(plan, capacity, spenders)))

    if holds(epsilon):
        return None
    spent, least = declared.epsilon(delta), needed(holds, epsilon)
    steps = [f"{c.release} (epsilon {c.epsilon:g})" for c in spenders]
    return FlowError(
        f"the releases for {name!r} cost epsilon {spent:.4g} together at delta {delta:g}; its"
        f" budget is {epsilon:g}, and to hold them all it would need {least:.4g}",
        code="T211",
        where=plan.nodes[spenders[-1].release].declared.where,
        path=[*steps, f"purpose {name}"],
        fix="release less, release with a smaller epsilon, or raise the purpose's budget",
    )


def _mixes(plan: Plan, capacity: Filter, spenders: Sequence[Charge]) -> Iterator[Cost]:
    """What all of it may cost a filter, whatever noise each answer of a metric has: none costs more
    than one of these.

    Pure answers alone may pass by the sum of their ε. One concentrated answer among them ends that:
    then it is divergences that add up, each answer with the dearer of its kinds.
    """
    parts = []
    for charge in spenders:
        spec = plan.nodes[charge.release].spec
        kinds = _kinds(spec) if "answers" in spec else [charge.loss]
        parts.append(([capacity.cost(kind) for kind in kinds], int(spec.get("answers", 1))))
    yield sum((_times(costs[0], answers) for costs, answers in parts), Cost())
    dearest = [_dearest(costs) for costs, _ in parts]
    most = sum((_times(one, n) for one, (_, n) in zip(dearest, parts, strict=True)), Cost())
    for (costs, _), one in zip(parts, dearest, strict=True):
        if len(costs) > 1:
            yield most + -one + costs[1]


def _times(cost: Cost, number: int) -> Cost:
    return Cost(cost.failure * number, cost.pure * number, cost.rho * number, cost.renyi * number)


def _dearest(costs: Sequence[Cost]) -> Cost:
    return Cost(
        max(cost.failure for cost in costs),
        max(cost.pure for cost in costs),
        max(cost.rho for cost in costs),
        max(cost.renyi for cost in costs),
    )
