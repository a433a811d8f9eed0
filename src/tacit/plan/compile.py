"""From declarations to the one checked plan, by the passes below, in this order."""

from __future__ import annotations

from collections.abc import Callable

from tacit.declare import Declarations
from tacit.plan.build import build
from tacit.plan.flow import check_flow
from tacit.plan.graph import Plan
from tacit.plan.label import label
from tacit.plan.lower import lower
from tacit.plan.place import place

PASSES: tuple[Callable[[Plan], Plan], ...] = (build, label, check_flow, place, lower)


def compile_plan(declarations: Declarations, cloud: str = "local") -> Plan:
    """The plan of a project whose cloud has that engine. Raises Refused with everything that is
    wrong in the first pass that finds anything wrong; nothing has run by then."""
    plan = Plan(declarations, cloud=cloud)
    for step in PASSES:
        plan = step(plan)
    return plan
