"""What can be found wrong with a run before it asks any device, or spends anything."""

from __future__ import annotations

from collections.abc import Mapping

from tacit.declare import Declaration, Given, Metric, Model, Release
from tacit.learn import item_item, spectral
from tacit.learn.design import OPTIONS_OF
from tacit.learn.options import Option, read_options
from tacit.plan import Node
from tacit.privacy.mechanism import MECHANISMS, mechanism
from tacit.project.project import Project

OPTIONS: Mapping[str, Mapping[str, Option]] = {
    "item_item": item_item.OPTIONS,
    "spectral": spectral.OPTIONS,
    **OPTIONS_OF,
}
"""The options of each learner and mechanism."""


def check_ready(project: Project) -> None:
    """Raises DataError T312 or T301 for rows that are not there, DeclarationError T113 for a metric
    or model of a release that gives it nothing, T117 or T118 for options that are wrong."""
    for node in _needed(project):
        if node.kind == "source" and not isinstance(node.declared, Given):
            project.file(node.id)
        if isinstance(node.declared, Metric) and node.declared.release is not None:
            _check_mechanism(node.declared, node.declared.release, "totals")
        if isinstance(node.declared, Model) and node.kind == "model":
            _check_mechanism(node.declared, node.declared.release, "pairs")
            read_options(node.declared.options, OPTIONS[node.declared.learner], node.declared.where)
        if isinstance(node.declared, Release):
            known = OPTIONS[node.declared.mechanism]
            read_options(node.declared.options, known, node.declared.where)


def _needed(project: Project) -> list[Node]:
    """The nodes that a run computes, and all that they stand on."""
    plan = project.plan
    waiting = [node for node in plan.nodes.values() if node.kind in ("release", "sink")]
    waiting += [node for node in plan.of("metric") if plan.nodes[node.inputs[0]].kind == "release"]
    waiting += plan.of("model")
    found = {node.id: node for node in waiting}
    while waiting:
        for name in _read(waiting.pop()):
            if name not in found:
                found[name] = plan.nodes[name]
                waiting.append(found[name])
    return list(found.values())


def _read(node: Node) -> tuple[str, ...]:
    """What a run reads of a node's inputs: signals are in the online store already, and what
    devices report by DAP comes from its aggregators."""
    if node.kind == "sink" and node.spec["to"] == "online":
        return tuple(node.spec.get("released", ()))
    return () if node.spec.get("mechanism") == "prio3" else node.inputs


def _check_mechanism(user: Declaration, release: Release, wanted: str) -> None:
    if mechanism(release.mechanism).answers != wanted:
        giving = " or ".join(repr(key) for key in MECHANISMS if mechanism(key).answers == wanted)
        raise user.wrong(
            f"is of a release by {release.mechanism!r}, which gives it nothing to work with",
            code="T113",
            fix=f"name a release with mechanism={giving}",
        )
