"""The part of a plan's views and formulas that some signals need."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from tacit.declare.expression import parse
from tacit.operations import Derived, View
from tacit.plan.graph import Plan
from tacit.values import Type


def views_of(plan: Plan, names: Iterable[str]) -> tuple[View, ...]:
    """The views of some signals, and of those that formulas among them are over."""
    wanted = set(names)
    wanted |= {each for formula in formulas_of(plan, wanted) for each, _ in formula.inputs}
    return tuple(found for view in plan.views if (found := view_of(view, wanted)).windows)


def served(plan: Plan) -> dict[str, frozenset[str]]:
    """Signal or formula → the purposes for which sinks clear it to be served online.

    It is empty where no sink `to="online"` is declared: then the plan has cleared none for anybody.
    """
    found: dict[str, frozenset[str]] = {}
    for node in plan.of("sink"):
        if node.spec["to"] == "online":
            for name in node.inputs:
                found[name] = found.get(name, frozenset()) | frozenset(node.spec["purposes"])
    return found


def formulas_of(plan: Plan, names: Iterable[str]) -> tuple[Derived, ...]:
    """The formulas among some signals."""
    wanted = set(names)
    return tuple(formula for formula in plan.formulas if formula.signal in wanted)


def given_of(plan: Plan, names: Iterable[str]) -> dict[str, Type]:
    """What must be given with a request, or by a spine, for the formulas among some signals."""
    return {
        name: kind
        for formula in formulas_of(plan, names)
        for name, kind in formula.inputs
        if plan.nodes[name].kind == "source"
    }


def view_of(view: View, signals: Collection[str]) -> View:
    """The view with only the windows of these signals, and only what they need of columns and
    joins: a join finds one row or none, so leaving one out leaves no event out."""
    windows = tuple(window for window in view.windows if window.signal in signals)
    used = {name for w in windows for name in (w.value, w.by, w.where)}
    computed = tuple(column for column in view.computed if column.name in used)
    read = {
        name.partition(".")[0] for c in computed for name in parse(c.sql).columns if "." in name
    }
    joins = tuple(join for join in view.joins if join.table in read)
    return replace(view, windows=windows, computed=computed, joins=joins)


def sources_of(views: Iterable[View]) -> set[str]:
    """The sources and content tables that views read."""
    found: set[str] = set()
    for view in views:
        found |= {view.source, *(join.table for join in view.joins)}
    return found
