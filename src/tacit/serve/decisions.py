"""The decision table: which purpose may see which signal, told by the plan once, not per read.

A purpose may see a value of the cloud if the value's label allows it (rule T203 of the flow check)
and if the purpose accepts every lawful basis the data was gathered on (T208). Where a project
declares sinks `to="online"`, one of them must clear the signal for the purpose too. Everything else
is denied, and so is all of a purpose that nobody declared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tacit.declare import Linkability, Place, Purpose
from tacit.errors import ServeError
from tacit.plan import Plan
from tacit.plan.graph import Port
from tacit.plan.rules import RULES, Clearance
from tacit.plan.views import served
from tacit.serve.problems import nearest

DECIDING = ("T202", "T203", "T208")
"""The rules of the flow check that hold of a read: place, purposes, lawful bases. Regions and
retention are those of the store that is read; linkability is for its caller to clear."""


@dataclass(frozen=True)
class Decisions:
    """Purpose → the names that it may see; `decide` makes it."""

    allowed: Mapping[str, frozenset[str]]

    def row(self, purpose: str, names: Iterable[str]) -> list[bool]:
        """Whether a purpose may see each. Raises ServeError T843 for one nobody declared."""
        found = self.allowed.get(purpose)
        if found is None:
            close = nearest(purpose, self.allowed)
            known = ", ".join(sorted(self.allowed)) or "none: declare one with Purpose(…)"
            raise ServeError(
                f"there is no purpose {purpose[:80]!r}",
                code="T843",
                where="purpose",
                fix=f"did you mean {close!r}?" if close else f"use {known}",
            )
        return [name in found for name in names]


def decide(plan: Plan, names: Iterable[str]) -> Decisions:
    """The table of a plan, for signals, formulas and metrics by their names."""
    rules = [rule for rule in RULES if rule.code in DECIDING]
    labels = {name: plan.label(Port(name, "value")) for name in names}
    cleared = served(plan)
    allowed = {}
    for purpose, declared in plan.declarations.of(Purpose).items():
        bases = frozenset(declared.bases)
        clearance = Clearance(Place.CLOUD, {purpose: bases}, None, None, Linkability.IDENTIFIED)
        allowed[purpose] = frozenset(
            name
            for name, label in labels.items()
            if not any(rule.broken(label, clearance) for rule in rules)
            and (not cleared or purpose in cleared.get(name, ()))
        )
    return Decisions(allowed)
