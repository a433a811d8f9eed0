"""Applying a plan: releases are collected, models learned from them, bundles and sinks delivered.

Every step can be interrupted and taken up again: a release is reserved before any device is asked,
kept before it is committed, and committed before it is used; what stands already is not done twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tacit.collect.round import Collection
from tacit.declare import Events, Metric, Model, Release, Sink
from tacit.device.population import quiet
from tacit.device.program import Content, Program
from tacit.device.task import Task, load_task, task_contents
from tacit.engines import sqlite
from tacit.errors import PrivacyError, StoreError
from tacit.learn.content import similarity
from tacit.learn.design import design
from tacit.learn.learners import LEARNERS, Learned
from tacit.plan import Node
from tacit.plan.sources import retention
from tacit.project.project import Project, view_of
from tacit.store.atomic import replace_file
from tacit.values import DAY

EPOCH = 0
"""A release is collected once. Its node's hash is part of its name, so a changed one is another."""

MINIMUM = 20
"""The fewest reports that are ever combined."""

TASK_LIFE = 30 * DAY

Step = Callable[[str, int], Callable[[int], None]]
"""Begins a step of so many parts, and returns what to call with the parts done."""


def silent(_: str, __: int) -> Callable[[int], None]:
    """Steps that nobody watches."""
    return quiet


@dataclass(frozen=True)
class Released:
    """A release that has been collected; `value` is what its mechanism decodes."""

    name: str
    node: Node
    task: Task
    value: Any
    reports: int
    reused: bool

    @property
    def bytes_out(self) -> int:
        """What left each device for it: the messages to all aggregators."""
        return int(self.task.mechanism.report_bytes)


class Estimate(NamedTuple):
    """A metric's number for one item of the domain, and the standard error that its noise gives."""

    item: str
    value: float
    stderr: float


@dataclass
class Results:
    """What a run did, by declared name."""

    releases: dict[str, Released] = field(default_factory=dict)
    models: dict[str, Learned] = field(default_factory=dict)
    bundles: dict[str, Path] = field(default_factory=dict)
    metrics: dict[str, list[Estimate]] = field(default_factory=dict)
    sinks: dict[str, Path] = field(default_factory=dict)


def run(project: Project, step: Step = silent) -> Results:
    """Applies the plan. Raises Refused before anything runs, and what each step raises."""
    plan = project.plan
    project.apply()
    results = Results()
    for node in plan.of("release"):
        results.releases[node.id] = collect(project, node, step)
    for node in plan.of("metric"):
        metric = node.declared
        assert isinstance(metric, Metric)
        results.metrics[node.id] = measure(results.releases[node.inputs[0]], metric)
    for node in plan.of("model"):
        learned = learn(project, node, results.releases[node.inputs[0]], step)
        results.models[node.id] = learned
        results.bundles[node.id] = publish_model(
            project, node, results.releases[node.inputs[0]], learned
        )
    for node in plan.of("sink"):
        results.sinks[node.id] = deliver(project, node)
    return results


# ---------------------------------------------------------------------- releases


def collect(project: Project, node: Node, step: Step = silent) -> Released:
    """Collects a release from the devices, or takes up the one that was collected."""
    source = events_of(project, node.inputs[0])
    population = project.population(source)
    rows = project.rows(source).table
    allowed = tuple(project.plan.nodes[source].spec["purposes"])
    count = len(pc.unique(rows.column(population.person[source])))
    done = step("each person's rows go to their own device", count)
    people = population.enroll(source, rows, allowed, project.now(), done)
    title = f"{node.id}@{node.hash[:12]}"
    path = project.state / "tasks" / f"{title}.bundle"
    if not path.exists():
        publish_task(project, node, title, len(people), path)
    task = load_task(project.open_bundle(path))
    claim = task.mechanism.claim()
    reservation = project.ledger.reserve(task.purposes, title, claim, EPOCH)
    kept = project.state / "releases" / f"{title}.aggregates"
    reused = kept.exists()
    if not reused:
        collection = Collection(task.mechanism, reservation, minimum=MINIMUM)
        done = step("each device sends one private report", len(people))
        collection.receive(population.contribute(path, people, project.now(), done))
        replace_file(kept, pack(collection.close().aggregates))
    aggregates = unpack(kept)
    reservation.commit(b"".join(aggregates))
    value = task.mechanism.decode(aggregates)
    return Released(node.id, node, task, value, len(people), reused)


def publish_task(project: Project, node: Node, title: str, devices: int, path: Path) -> None:
    """Writes the signed task that asks the devices for a release."""
    release = node.declared
    assert isinstance(release, Release)
    catalogue = project.content(node.inputs[1])
    mechanism = design(
        release.mechanism,
        name=title,
        items=catalogue.items,
        texts=catalogue.texts,
        devices_max=1 << max(devices - 1, 1).bit_length(),
        epsilon=release.epsilon,
        delta=release.delta,
        options=release.options,
    )
    program = device_program(project, node.inputs[0])
    contents, files = task_contents(
        title,
        EPOCH,
        tuple(node.spec["purposes"]),
        node.inputs[0],
        program,
        list(catalogue.items),
        mechanism,
    )
    project.publish(path, f"task:{node.id}", contents, files, TASK_LIFE)


def device_program(project: Project, signal: str) -> Program:
    """The SQL by which a device computes a signal, with the content that it joins."""
    prepared = project.plan.nodes[signal].inputs[0]
    whole = next(view for view in project.plan.views if view.name == prepared)
    view = view_of(whole, {signal})
    tables = sorted({join.table for join in view.joins})
    types = dict(project.schema(view.source))
    content: dict[str, Content] = {}
    for table in tables:
        rows = project.rows(table).table
        types |= {f"{table}.{name}": kind for name, kind in project.schema(table).items()}
        values = [column.to_pylist() for column in rows.columns]
        content[table] = Content(tuple(rows.column_names), tuple(zip(*values, strict=True)))
    declared = project.source(view.source)
    kept = retention(declared.keep, declared.where)
    keep = {} if kept is None else {view.source: kept}
    return Program(tuple(sqlite.statements(view, types)), content, keep)


def events_of(project: Project, signal: str) -> str:
    """The source that a signal is made of."""
    prepared = project.plan.nodes[signal].inputs[0]
    return project.plan.nodes[prepared].inputs[0]


def pack(aggregates: Sequence[bytes]) -> list[bytes]:
    """Aggregates as the parts of a file: each behind its length, 8 bytes little-endian."""
    return [part for a in aggregates for part in (len(a).to_bytes(8, "little"), a)]


def unpack(path: Path) -> list[bytes]:
    """What `pack` wrote. Raises StoreError T702 for a file that is cut short."""
    raw, found, at = path.read_bytes(), [], 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 8], "little")
        found.append(raw[at + 8 : at + 8 + size])
        at += 8 + size
    if at != len(raw):
        raise StoreError(
            "a kept release is cut short",
            code="T702",
            where=str(path),
            fix="restore it from a backup; collecting it again would be a second release",
        )
    return found


# ---------------------------------------------------------------------- what comes of them


def measure(released: Released, metric: Metric) -> list[Estimate]:
    """A metric's estimates, by item. Raises PrivacyError T541 below its minimum of devices."""
    if released.reports < metric.minimum:
        raise PrivacyError(
            f"{released.reports} devices answered, fewer than the metric's {metric.minimum}",
            code="T541",
            where=metric.where,
            fix="wait for more devices, or lower the metric's minimum",
        )
    values, error = released.value.estimates, released.value.stderr
    items = released.task.domain
    return [Estimate(item, float(values[code]), float(error)) for item, code in items.items()]


def learn(project: Project, node: Node, released: Released, step: Step = silent) -> Learned:
    """Learns a model from a release, public content, and nothing else."""
    model = node.declared
    assert isinstance(model, Model)
    done = step(f"learning {node.id} from the sum alone", 1)
    catalogue = project.content(released.node.inputs[1])
    similar = similarity(catalogue.items, catalogue.texts)
    learned = LEARNERS[model.learner](released.value, similar, model.options)
    done(1)
    return learned


def publish_model(project: Project, node: Node, released: Released, learned: Learned) -> Path:
    """Signs the bundle that takes a model to the devices, under the next version."""
    catalogue = project.content(released.node.inputs[1])
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
    expires = int(project.plan.nodes[f"{node.id}:bundle"].spec["expires"])
    version = project.next_version(node.id)
    path = project.state / "bundles" / f"{node.id}-{version}.bundle"
    project.publish(path, node.id, contents, files, expires, version)
    return path


def deliver(project: Project, node: Node) -> Path:
    """Writes a sink's signals, for the moment of every event of their source, as Parquet."""
    sink = node.declared
    assert isinstance(sink, Sink)
    source = events_of(project, node.inputs[0])
    events = project.source(source)
    assert isinstance(events, Events)
    prepared = project.plan.nodes[node.inputs[0]].inputs[0]
    view = next(view for view in project.plan.views if view.name == prepared)
    rows = project.rows(source).table
    spine = {entity: rows.column(column) for entity, column in view.keys}
    spine["at"] = rows.column(events.time)
    table = project.features(node.inputs, pa.table(spine))
    sink_buffer = pa.BufferOutputStream()
    pq.write_table(table, sink_buffer)
    path = project.state / "sinks" / f"{node.id}.parquet"
    replace_file(path, [sink_buffer.getvalue().to_pybytes()])
    return path
