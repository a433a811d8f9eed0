"""Metrics delivered to the online store: released by a run, read by whoever a sink clears.

A number is released once for its period: what was released is kept in a file of the project's
state, before it is delivered. So a run that comes again within the period asks nothing, whatever
rows came since: noise that were drawn anew each time would average out, and would be paid each
time. A store that was lost is filled from the file, at no cost. Reading costs nothing, ever.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tacit.errors import StoreError, TacitError
from tacit.live.released import Delivery, deliver, deliveries_of, sweep
from tacit.plan import Node, periods
from tacit.plan.asked import Wanted, leaves
from tacit.project.project import Project
from tacit.project.query import query
from tacit.project.release import places, read_kept
from tacit.project.scaffold import parquet
from tacit.store.atomic import replace_file

_TOLD = b"tacit"
"""Of a file's metadata: what was released, when, of which time."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a sink delivered of a metric for a purpose.

    Attributes:
        numbers: how many keys have one.
        released: when, µs.
        spent: ε that this run paid for it.
        anew: whether another release stood before.
    """

    sink: str
    metric: str
    purpose: str
    entity: str
    numbers: int
    released: int
    spent: float
    anew: bool


def deliver_released(project: Project) -> list[Delivered]:
    """Has what sinks deliver of metrics stand in the online store, and removes what none does any
    more, or what was kept for as long as it may be.

    A metric that cannot be asked does not hold up the others. Raises the first error then, as
    `Project.query` does, and StoreError as the store does.
    """
    found, failed = [], list[TacitError]()
    deliveries = deliveries_of(project.plan)
    for sink in project.plan.of("sink"):
        for metric, purpose in _files(project, sink):
            try:
                told = _deliver(project, sink, deliveries[metric, purpose])
            except TacitError as error:
                failed.append(error)
            else:
                found += [told] if told is not None else []
    _sweep(project, deliveries)
    if failed:
        raise failed[0]
    return found


def _sweep(project: Project, deliveries: Mapping[tuple[str, str], Delivery]) -> None:
    files = list((project.state / "sinks").glob("*.released"))
    if files or deliveries:
        sweep(project.online.backend, list(deliveries.values()), project.now())
    kept = {path for sink in project.plan.of("sink") for path in _files(project, sink).values()}
    for path in files:
        gone = _read(path)[0]["gone"]
        if path not in kept or (gone is not None and project.now() > gone):
            path.unlink(missing_ok=True)


def _files(project: Project, sink: Node) -> dict[tuple[str, str], Path]:
    """(metric, purpose) → where what a sink delivers of it is kept."""
    return {
        (metric, purpose): project.state / "sinks" / f"{metric}.{purpose}.released"
        for metric in sink.spec.get("released", {})
        for purpose in sink.spec["purposes"]
    }


def _deliver(project: Project, sink: Node, delivery: Delivery) -> Delivered | None:
    """None for a release that may be kept no longer."""
    path = _files(project, sink)[delivery.metric, delivery.purpose]
    node = project.plan.nodes[delivery.metric]
    since, until = _period(project, node, delivery)
    told, spent = _kept(project, delivery, path, since, until), 0.0
    if told is None:
        spent = _release(project, sink, delivery, path, (since, until))
    told, table = _read(path)
    if told["gone"] is not None and project.now() > told["gone"]:
        return None
    keys, values, errors = (column.to_pylist() for column in table.columns)
    numbers = {k: (v, e) for k, v, e in zip(keys, values, errors, strict=True) if k is not None}
    anew = deliver(
        project.online.backend,
        delivery,
        numbers,
        released=told["released"],
        stale=_stale(delivery, told["released"]),
        told={"since": told["since"], "until": told["until"], "error": _largest(errors)},
    )
    return Delivered(
        sink.id, delivery.metric, delivery.purpose, delivery.entity, len(numbers),
        told["released"], spent, anew,
    )  # fmt: skip


def _release(
    project: Project,
    sink: Node,
    delivery: Delivery,
    path: Path,
    span: tuple[int | None, int | None],
) -> float:
    """Asks for the numbers, and keeps them in a file; the ε that was paid."""
    how = sink.spec["released"][delivery.metric]
    by = (how["by"],) if how["by"] else ()
    asked = Wanted(delivery.metric, by, purpose=delivery.purpose, since=span[0], until=span[1])
    answer = query(project, asked)
    released = _released(project, project.plan.nodes[delivery.metric])
    told = {
        "meaning": delivery.meaning,
        "since": span[0],
        "until": span[1],
        "released": released,
        "gone": None if delivery.keep is None else released + delivery.keep,
    }
    table = answer.table.select([how["column"], "value", "stderr"])
    table = table.rename_columns([delivery.entity, "value", "stderr"])
    replace_file(path, [parquet(table.replace_schema_metadata({_TOLD: json.dumps(told)}))])
    return answer.spent


def _period(project: Project, node: Node, delivery: Delivery) -> tuple[int | None, int | None]:
    """The last whole period, of what has a time; Nones for all else."""
    dated = all(leaf.spec.get("grains") for leaf in leaves(project.plan, node))
    if not dated or delivery.every is None:
        return None, None
    until = periods.floor(delivery.every, project.now())
    return periods.step(delivery.every, until, -1), until


def _kept(
    project: Project, delivery: Delivery, path: Path, since: int | None, until: int | None
) -> Mapping[str, Any] | None:
    """What was released of this meaning and time; None where that is due."""
    if not path.exists():
        return None
    told = _read(path)[0]
    if (told["meaning"], told["since"], told["until"]) != (delivery.meaning, since, until):
        return None
    stale = _stale(delivery, told["released"])
    # What has no time is released anew when its period has passed; but not what devices gave once.
    due = since is None and stale is not None and project.now() >= stale
    return None if due and not _of_devices(project, delivery.metric) else told


def _of_devices(project: Project, metric: str) -> bool:
    """Whether all of a metric is of releases, which are collected once."""
    parts = leaves(project.plan, project.plan.nodes[metric])
    return all(project.plan.nodes[leaf.inputs[0]].kind == "release" for leaf in parts)


def _released(project: Project, node: Node) -> int:
    """When it was released: of what devices gave, when that was collected; the oldest counts."""
    nodes = project.plan.nodes
    first = (nodes[leaf.inputs[0]] for leaf in leaves(project.plan, node))
    moments = [
        read_kept(places(project, release)[2]).at for release in first if release.kind == "release"
    ]
    return min(moments, default=project.now())


def _stale(delivery: Delivery, released: int) -> int | None:
    """From when on it is: when a period has passed."""
    return None if delivery.every is None else periods.later(delivery.every, released)


def _largest(errors: list[float | None]) -> float | None:
    known = [each for each in errors if each is not None]
    return max(known, default=None)


def _read(path: Path) -> tuple[Mapping[str, Any], pa.Table]:
    """What was told of a release, and its numbers. Raises StoreError T702 for a damaged file."""
    try:
        table = pq.read_table(path)
        return json.loads(table.schema.metadata[_TOLD]), table
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"what was released is damaged: {type(error).__name__}",
            code="T702",
            where=str(path),
            fix="restore it from a backup, or remove it: what is asked anew may cost again",
        ) from None
