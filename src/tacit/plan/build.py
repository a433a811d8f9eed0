"""The build pass: declarations become nodes and edges, in the order in which data flows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tacit.declare import (
    AnyMetric,
    Entity,
    Events,
    Formula,
    Given,
    Model,
    Purpose,
    Release,
    Signal,
    Sink,
    Table,
)
from tacit.errors import Refused, TacitError
from tacit.plan.draft import Draft
from tacit.plan.formulas import build_formula
from tacit.plan.graph import Plan
from tacit.plan.metrics import build_metric
from tacit.plan.outputs import build_model, build_release, build_sink
from tacit.plan.signals import build_signal
from tacit.plan.sources import build_source
from tacit.plan.vocabulary import build_entity, build_purpose

BUILDERS: tuple[tuple[type[Any], Callable[[Draft, str, Any], None]], ...] = (
    (Entity, build_entity),
    (Purpose, build_purpose),
    (Table, build_source),
    (Events, build_source),
    (Given, build_source),
    (Signal, build_signal),
    (Formula, build_formula),
    (Release, build_release),
    (Model, build_model),
    (AnyMetric, build_metric),
    (Sink, build_sink),
)


def build(plan: Plan) -> Plan:
    """Nodes, edges and views of the declarations; expressions are parsed, typed and inlined.

    Raises Refused with every declaration's error, in the order of their lines.
    """
    draft = Draft(plan.declarations)
    for kind, builder in BUILDERS:
        for name, declaration in plan.declarations.of(kind).items():
            with draft.attempt():
                builder(draft, name, declaration)
    if draft.errors:
        raise Refused(sorted(draft.errors, key=_line))
    draft.settle()
    return replace(
        plan,
        vocabulary=draft.vocabulary,
        nodes=draft.nodes,
        edges=tuple(draft.edges),
        views=tuple(view.view() for view in draft.views.values()),
        formulas=tuple(draft.formulas.values()),
    )


def _line(error: TacitError) -> tuple[str, int]:
    file, _, line = (error.where or ":0").rpartition(":")
    return file, int(line)
