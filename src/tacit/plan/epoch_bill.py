"""The privacy bill by epochs: what a plan's releases cost one person's rows of one epoch.

A release reads rows up to the moment at which it runs, so all releases of a plan that runs at once
touch one epoch together. What does not fit there can never run. See `privacy.filters`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tacit.declare import Entity, Purpose
from tacit.errors import FlowError, PrivacyError, TacitError
from tacit.plan.graph import Charge, Plan
from tacit.privacy.filters import Cost, Filter, of_one_epoch
from tacit.privacy.loss import Loss
from tacit.values import DAY, duration, show_duration

TASK_LIFE = 30 * DAY
"""How long devices answer a task; their clocks may be a day behind it."""


@dataclass(frozen=True, slots=True)
class EpochLine:
    """A capacity of one epoch of a subject, how much of it the plan takes, and by which releases.

    `what` is "filter" for that of everybody, "querier" for a team's quota, "purpose" for a
    purpose's budget of each epoch; `name` is the subject's, the team's or the purpose's.
    """

    subject: str
    length: int
    what: str
    name: str
    epsilon: float
    delta: float
    share: float
    releases: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Its fields; the share rounded, since it is an estimate of what runs will claim."""
        names = ("subject", "what", "name", "epsilon", "delta")
        fields = {name: getattr(self, name) for name in names}
        length = {"length": show_duration(self.length)}
        return fields | length | {"share": round(self.share, 6), "releases": list(self.releases)}


def epoch_bill(plan: Plan, charges: Sequence[Charge]) -> tuple[EpochLine, ...]:
    """A line for each capacity that is declared; none where no time is cut into epochs."""
    found: list[EpochLine] = []
    for name, entity in plan.declarations.of(Entity).items():
        if entity.epoch is not None:
            found += _lines(plan, name, entity, charges)
    return tuple(found)


def check_epochs(plan: Plan, charges: Sequence[Charge]) -> Iterator[TacitError]:
    """T211 for what never fits an epoch, T210 for capacities that no arithmetic can hold."""
    try:
        lines = epoch_bill(plan, charges)
    except PrivacyError as error:
        where = next(e.where for e in plan.declarations.of(Entity).values() if e.epoch is not None)
        yield FlowError(error.message, code="T210", where=where, fix=error.fix)
        return
    for line in lines:
        if line.share > 1 + 1e-9:
            yield _over(plan, line)
    for name, purpose in plan.declarations.of(Purpose).items():
        if purpose.per_epoch:
            yield from _unbounded(plan, name, purpose, charges)


def _lines(
    plan: Plan, subject: str, entity: Entity, charges: Sequence[Charge]
) -> Iterator[EpochLine]:
    about = [charge for charge in charges if subject in _subjects(plan, charge)]
    assert entity.epoch is not None, "asked for entities with epochs only"
    length = duration(entity.epoch)

    def line(
        what: str, name: str, epsilon: float, delta: float, spenders: Sequence[Charge]
    ) -> EpochLine:
        capacity = Filter(epsilon, delta)
        total = Cost()
        for charge in spenders:
            total += capacity.cost(_of_one(plan, charge, length))
        names = tuple(charge.release for charge in spenders)
        share = float(capacity.share(total))
        return EpochLine(subject, length, what, name, epsilon, delta, share, names)

    yield line("filter", subject, float(entity.epsilon), float(entity.delta), about)
    if entity.quotas is not None:
        teams = {
            charge.release: plan.nodes[charge.release].declared.owner or "" for charge in about
        }
        for team in dict.fromkeys([*entity.quotas, *teams.values()]):
            spenders = [charge for charge in about if teams[charge.release] == team]
            quota = float(entity.quotas.get(team, 0.0))
            yield line("querier", team, quota, float(entity.delta), spenders)
    for name, purpose in plan.declarations.of(Purpose).items():
        if purpose.per_epoch:
            spenders = [charge for charge in about if name in charge.purposes]
            yield line("purpose", name, float(purpose.epsilon), float(purpose.delta), spenders)


def _of_one(plan: Plan, charge: Charge, length: int) -> Loss:
    """The least that one epoch loses by it: a question may keep within one, a task may not."""
    node = plan.nodes[charge.release]
    if node.kind != "release":
        return charge.loss
    window = plan.nodes[node.inputs[0]].spec.get("window")
    several = window is None or int(window) + DAY + TASK_LIFE > length
    # A pure price is that of a local mechanism, whose claim is of any two values.
    adjacency = "add or remove" if charge.loss.rho else "replace"
    return of_one_epoch(charge.loss, adjacency, several=several)


def _subjects(plan: Plan, charge: Charge) -> frozenset[str]:
    labels = [plan.label(edge.source) for edge in plan.incoming[charge.release]]
    return frozenset().union(*(label.subjects for label in labels))


_WHAT = {
    "filter": "the filter of one {name}'s epoch",
    "querier": "the quota of team {name!r} in one {subject}'s epoch",
    "purpose": "the budget of {name!r} for one {subject}'s epoch",
}


def _over(plan: Plan, line: EpochLine) -> FlowError:
    what = _WHAT[line.what].format(name=line.name, subject=line.subject)
    fix = "release less, with a smaller epsilon, or raise it"
    if not line.epsilon:
        fix = f"give it an epsilon at {line.subject}, or name the team that has one as the owner"
    return FlowError(
        f"{what} is epsilon {line.epsilon:g} at delta {line.delta:g}; the releases that touch it"
        f" would fill it to {line.share:.0%}" + ("" if line.epsilon else ", for it holds nothing"),
        code="T211",
        where=plan.nodes[line.releases[-1]].declared.where,
        path=[*line.releases, f"each {show_duration(line.length)} epoch of {line.subject}"],
        fix=fix,
    )


def _unbounded(
    plan: Plan, name: str, purpose: Purpose, charges: Sequence[Charge]
) -> Iterator[FlowError]:
    cut = {n for n, e in plan.declarations.of(Entity).items() if e.epoch is not None}
    for charge in charges:
        if name in charge.purposes and not _subjects(plan, charge) <= cut:
            yield FlowError(
                f"the budget of {name!r} is of each epoch, and release {charge.release!r} is about"
                " people whose time is not cut into epochs, so that nothing bounds it",
                code="T211",
                where=purpose.where,
                path=[charge.release, f"purpose {name}"],
                fix='write epoch="30d" and an epsilon at the person, or take per_epoch away',
            )
