"""Declarations become one immutable, checked plan; everything else is a reading of it."""

from tacit.plan.compile import PASSES, compile_plan
from tacit.plan.document import Difference, difference, document
from tacit.plan.graph import Crossing, Edge, Entry, Node, Plan, Port

__all__ = [
    "PASSES",
    "Crossing",
    "Difference",
    "Edge",
    "Entry",
    "Node",
    "Plan",
    "Port",
    "compile_plan",
    "difference",
    "document",
]
