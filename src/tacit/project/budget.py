"""A project's budgets: the ledger over its declarations, and what a release touches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tacit.declare import Entity, Events, Purpose
from tacit.errors import Refused
from tacit.govern.epochs import Epochs
from tacit.govern.ledger import Budget, Ledger
from tacit.govern.spends import Touched
from tacit.privacy.loss import Loss, compose
from tacit.project.terms import people_columns, row_retention
from tacit.values import DAY, duration

if TYPE_CHECKING:
    from tacit.declare import Declarations
    from tacit.project.project import Project


def ledger_of(project: Project) -> Ledger:
    """The privacy ledger over the budgets of purposes and the epochs of people."""
    purposes = project.declarations.of(Purpose)
    try:
        bill = project.plan.bill
    except Refused:  # its books can be read all the same
        bill = ()
    declared = {n: compose(c.loss for c in bill if n in c.purposes) for n in purposes}
    lasting = [
        Budget(n, p.epsilon, p.delta, None if declared[n] == Loss() else declared[n])
        for n, p in purposes.items()
        if not p.per_epoch
    ]
    return Ledger(project.control, lasting, epochs_of(project.declarations))


def epochs_of(declarations: Declarations) -> list[Epochs]:
    """The epochs of every kind of person whose time is cut into them."""
    purposes = declarations.of(Purpose)
    renewing = {n: (float(p.epsilon), float(p.delta)) for n, p in purposes.items() if p.per_epoch}
    return [
        Epochs(
            name,
            duration(entity.epoch),
            float(entity.epsilon),
            float(entity.delta),
            None if entity.quotas is None else {k: float(v) for k, v in entity.quotas.items()},
            renewing,
        )
        for name, entity in declarations.of(Entity).items()
        if entity.epoch is not None
    ]


def touched(
    project: Project, source: str, start: int | None, end: int | None
) -> tuple[Touched, ...]:
    """Whose rows a release reads that reads rows of events dated in [start, end), in µs.

    Without a `start` it is what the source's retention leaves by now, with a day for clocks that
    disagree; without a retention, all that there ever was.
    """
    events = project.source(source)
    assert isinstance(events, Events), "only events have a time"
    kept = row_retention(events)
    if start is None and kept is not None:
        start = project.now() - DAY - kept
    people = {events.columns[name].entity for name in people_columns(events)}
    names = sorted(project.declarations.name(each, events) for each in people if each is not None)
    return tuple(Touched(name, start, end) for name in names)
