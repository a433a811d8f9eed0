"""Applying a plan: releases are collected, models learned from them, bundles and sinks delivered.

Every step can be interrupted and taken up again. A release is reserved before any device is asked,
kept before it is committed, and committed before it is used; a device that is asked again sends the
same report again; what stands already is not done twice. One run works on a project at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tacit.declare import Metric, Model
from tacit.learn.content import similarity
from tacit.learn.learners import LEARNERS, Learned
from tacit.plan import Node
from tacit.project.delivering import Delivered, deliver_released
from tacit.project.project import Project
from tacit.project.ready import check_ready
from tacit.project.release import Released, Step, collect, silent
from tacit.project.released import Estimate, measure
from tacit.project.scaffold import parquet
from tacit.project.training import moments_of
from tacit.store.atomic import alone, replace_file


@dataclass
class Results:
    """What a run did, by declared name."""

    releases: dict[str, Released] = field(default_factory=dict)
    models: dict[str, Learned] = field(default_factory=dict)
    bundles: dict[str, Path] = field(default_factory=dict)
    metrics: dict[str, list[Estimate]] = field(default_factory=dict)
    sinks: dict[str, Path] = field(default_factory=dict)
    delivered: list[Delivered] = field(default_factory=list)


def run(project: Project, step: Step = silent) -> Results:
    """Applies the plan, and records it as applied when all of it has been done.

    Raises Refused before anything runs, StoreError T703 while another run is at work, and what each
    step raises.
    """
    plan = project.plan
    check_ready(project)
    results = Results()
    with alone(project.state / "run.lock"):
        for node in plan.of("release"):
            results.releases[node.id] = collect(project, node, step)
        for node in plan.of("metric"):
            metric = node.declared
            if not isinstance(metric, Metric) or metric.release is None:
                continue  # answered when it is asked
            results.metrics[node.id] = measure(results.releases[node.inputs[0]], metric)
        for node in plan.of("model"):
            released = results.releases[node.inputs[0]]
            learned = learn(project, node, released, step)
            results.models[node.id] = learned
            results.bundles[node.id] = publish_model(project, node, released, learned)
        for node in plan.of("sink"):
            path = deliver(project, node)
            if path is not None:
                results.sinks[node.id] = path
        results.delivered = deliver_released(project)
        project.apply()
    return results


def learn(project: Project, node: Node, released: Released, step: Step = silent) -> Learned:
    """Learns a model from a release, public content, and nothing else."""
    model = node.declared
    assert isinstance(model, Model)
    done = step(f"learning {node.id} from the sum alone", 1)
    catalogue = released.catalogue(project)
    similar = similarity(catalogue.items, catalogue.texts)
    learned = LEARNERS[model.learner](released.value, similar, model.options)
    done(1)
    return learned


def publish_model(project: Project, node: Node, released: Released, learned: Learned) -> Path:
    """The signed bundle that takes a model to the devices: the one that stands, if it holds the
    same and is not soon to expire, else a new one under the next version."""
    catalogue = released.catalogue(project)
    contents = {
        "kind": "model",
        "learner": node.spec["learner"],
        "signal": released.task.signal,
        "purposes": list(node.spec["purposes"]),
        "arrays": sorted(learned.arrays),
        "releases": [released.task.release],
    }
    files: dict[str, Any] = {f"{name}.npy": array for name, array in learned.arrays.items()}
    files["program.json"] = released.task.program.to_json()
    files["catalogue.json"] = {"items": catalogue.items, "titles": catalogue.titles}
    life = int(project.plan.nodes[f"{node.id}:bundle"].spec["expires"])
    last = project.published(node.id)
    if last is not None and stands(project, last[0], contents, files, life):
        return last[0]
    version = 1 if last is None else last[1] + 1
    path = project.state / "bundles" / f"{node.id}-{version}.bundle"
    project.publish(path, node.id, contents, files, life, version)
    return path


def stands(
    project: Project,
    path: Path,
    contents: Mapping[str, Any],
    files: Mapping[str, Any],
    life: int,
) -> bool:
    """Whether a bundle verifies, holds exactly this, and has half of its life or more left."""
    bundle = project.standing(path, life // 2)
    if bundle is None or bundle.manifest.expires - bundle.manifest.created != life:
        return False
    names = {entry.name for entry in bundle.manifest.files}
    if bundle.manifest.contents != contents or names != set(files):
        return False
    return all(
        np.array_equal(bundle.array(name), value)
        if name.endswith(".npy")
        else bundle.json(name) == value
        for name, value in files.items()
    )


def deliver(project: Project, node: Node) -> Path | None:
    """Writes a sink's signals, for the moment of every event of their source, as Parquet.

    Signals of several sources have the moments of the first one's that has all the keys. A training
    sink whose keys no source has together has no moments of its own: None. Nor has one to serve
    from: its signals are in the online store.
    """
    if node.spec["to"] == "online":
        return None
    spine = moments_of(project, node)
    if spine is None:
        return None
    if node.spec["to"] == "training":
        outcomes = [name for name in node.inputs if "ahead" in project.plan.nodes[name].spec]
        names = [name for name in node.inputs if name not in outcomes]
        made = project.training_set(spine, names, labels=outcomes, sink=node.id)
        table = made.table.drop_columns([made.row])
    else:
        table = project.features(node.inputs, spine)
    path = project.state / "sinks" / f"{node.id}.parquet"
    replace_file(path, [parquet(table)])
    return path
