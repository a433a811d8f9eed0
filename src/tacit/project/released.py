"""Metrics of a release: read from what devices gave once, by any grouping of its public domain.

A release decodes to a noisy total for each key of its domain, with independent noise. What a table
says of a key is public, so that sums of keys are post-processing: asked by whatever the table says,
as often as one likes, at no cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tacit.declare import Metric, Table
from tacit.declare.expression import parse
from tacit.device.task import load_task
from tacit.engines.local import Local
from tacit.errors import PrivacyError, QueryError
from tacit.operations import Derived
from tacit.plan.asked import Asked, release_dimensions
from tacit.plan.graph import Node
from tacit.project.cells import Cells, rolled_up
from tacit.project.project import Project
from tacit.project.release import Released, places, read_kept, reserve
from tacit.store.files import Rows
from tacit.values import Type


class Estimate(NamedTuple):
    """A metric's number for one item of the domain, and the standard error that its noise gives."""

    item: str
    value: float
    stderr: float


def measure(released: Released, metric: Metric) -> list[Estimate]:
    """A metric's estimates, by item. Raises PrivacyError T541 below its minimum of devices."""
    assert metric.minimum is not None, "a metric of a release has one"
    if released.reports < metric.minimum:
        raise PrivacyError(
            f"{released.reports} devices answered, fewer than the metric's {metric.minimum}",
            code="T541",
            where=metric.where,
            fix="wait for more devices, or lower the metric's minimum",
        )
    values = released.value.estimates
    errors = np.broadcast_to(released.value.stderr, values.shape)
    items = released.task.domain
    return [Estimate(item, float(values[at]), float(errors[at])) for item, at in items.items()]


def of_release(project: Project, node: Node, asked: Asked) -> Cells:
    """A metric's cells from the release that answers it.

    Raises QueryError T896 for a release that was not collected, PrivacyError T541 below the
    metric's minimum of devices.
    """
    metric = node.declared
    assert isinstance(metric, Metric), "only a metric has a release"
    release = project.plan.nodes[node.inputs[0]]
    found = measure(_kept(project, release), metric)
    items = [estimate.item for estimate in found]
    value = np.array([estimate.value for estimate in found])
    error = np.array([estimate.stderr for estimate in found])
    facts = _facts(project, node, release, items)
    if asked.where is not None:
        keep = _holds(asked.where, facts, release_dimensions(project.plan, node))
        facts, value, error = facts.filter(pa.array(keep)), value[keep], error[keep]
    cells = Cells(facts, value, error, value, value, False, np.zeros(len(value), bool))
    keys = facts.select(list(asked.by))
    there = np.ones(len(value), bool)
    for name in asked.by:  # what the table does not say of a key is no value of a dimension
        there &= keys.column(name).is_valid().to_numpy()
    coarse = keys.filter(pa.array(there))
    if asked.by:
        coarse = coarse.group_by(list(asked.by)).aggregate([])
        coarse = coarse.sort_by([(name, "ascending") for name in asked.by])
    else:
        coarse = facts.slice(0, 1).select([])
    return rolled_up(cells, keys, coarse)


def _kept(project: Project, release: Node) -> Released:
    title, path, kept = places(project, release)
    if not kept.exists():
        raise QueryError(
            f"the release {release.id!r} has not been collected",
            code="T896",
            where=release.declared.where,
            fix=f"collect it from the devices first: tacit run {project.root}",
        )
    held = read_kept(kept)
    task = load_task(project.open_bundle(path, held.at))
    reservation = reserve(project, release, title, task)
    reservation.commit(b"".join(held.parts()))
    value = task.mechanism.decode(held.collected.aggregates)
    found = held.collected
    rows = Rows(pa.table({}))
    return Released(release.id, release, task, value, found.reports, found.refused, True, rows)


def _facts(project: Project, node: Node, release: Node, items: list[str]) -> pa.Table:
    """What the table says of each key of the domain, in its order; null for one that is gone."""
    name = release.inputs[1]
    table = project.source(name)
    assert isinstance(table, Table), "a domain is content"
    rows = project.rows(name).table
    key = next(n for n, c in table.columns.items() if c.entity is table.of)
    places_of = {item: place for place, item in enumerate(rows.column(key).to_pylist())}
    take = pa.array([places_of.get(item) for item in items], pa.int64())
    found: dict[str, pa.ChunkedArray] = {}
    for dimension in release_dimensions(project.plan, node):
        _, dot, column = dimension.partition(".")
        if dot and column not in rows.column_names:
            continue  # a derived column
        found[dimension] = (
            rows.column(column).take(take) if dot else pa.chunked_array([pa.array(items)])
        )
    return pa.table(found)


def _holds(sql: str, facts: pa.Table, kinds: Mapping[str, Type]) -> np.ndarray:
    """For which rows a condition is true."""
    written = parse(sql)
    names = {name: f"x{i}" for i, name in enumerate(sorted(written.columns))}
    flat = written.substitute({name: parse(short) for name, short in names.items()})
    table = facts.select(list(names)).rename_columns(list(names.values()))
    inputs = tuple((short, kinds[name]) for name, short in names.items())
    found = Local().derive(table, [Derived("holds", flat.sql, Type.BOOL, inputs)])
    return np.asarray(found["holds"].fill_null(False).to_numpy(), bool)
