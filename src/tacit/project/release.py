"""Collecting a release: rows go to their devices, devices answer a task, two parties add up.

The order keeps the promise of the ledger whatever breaks off between two steps::

    enroll     every person's rows are on their own device
    publish    the signed task, with its mechanism, is on the disk
    reserve    the ledger holds the loss; from here on it counts
    collect    devices note their spend, then answer; asked again, they answer the same
    keep       the noisy aggregates are on the disk, together
    commit     the ledger knows which aggregates they are: no others can be used
    decode     only now is the result looked at
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tacit.collect.round import Collected, Collection
from tacit.declare import Release
from tacit.device.epochs import asked
from tacit.device.population import quiet
from tacit.device.program import Content, Program
from tacit.device.task import Task, load_task, task_contents
from tacit.engines import sqlite
from tacit.engines.base import needed
from tacit.errors import (
    BundleError,
    DataError,
    DeclarationError,
    PrivacyError,
    StoreError,
    TacitError,
)
from tacit.govern.reservation import Reservation
from tacit.learn.design import design
from tacit.plan import Node
from tacit.plan.epoch_bill import TASK_LIFE
from tacit.plan.graph import prepared
from tacit.plan.views import view_of
from tacit.privacy.mechanism import Report
from tacit.project.budget import epochs_of, touched
from tacit.project.catalogue import Catalogue
from tacit.project.project import Project
from tacit.project.terms import people_columns
from tacit.store.atomic import replace_file
from tacit.store.files import Rows
from tacit.values import DAY, canonical_json

EPOCH = 0
"""A release is collected once. Its node's hash is part of its name, so a changed one is another."""

MINIMUM = 20
"""The fewest reports that are ever combined."""

ROOM = 1 << 14
"""Devices that a release has room for at least, since more may come before it is collected. Up to
here it costs nothing: sums of so many are as finely rounded as those of few (`vector_sum`)."""

Step = Callable[[str, int], Callable[[int], None]]
"""Begins a step of so many parts, and returns what to call with the parts done."""


def silent(_: str, __: int) -> Callable[[int], None]:
    """Steps that nobody watches."""
    return quiet


@dataclass(frozen=True)
class Released:
    """A release that has been collected.

    Attributes:
        value: what its mechanism decodes.
        reports: how many devices stand behind it.
        refused: how many reports were not combined.
        reused: whether it had been collected before.
        rows: the rows of its events, and how many were left out.
    """

    name: str
    node: Node
    task: Task
    value: Any
    reports: int
    refused: int
    reused: bool
    rows: Rows

    @property
    def bytes_out(self) -> int:
        """What left each device for it: the messages to all aggregators."""
        return int(self.task.mechanism.report_bytes)

    def catalogue(self, project: Project) -> Catalogue:
        """The items that it speaks of, with what the table says of them by now."""
        return project.content(self.node.inputs[1]).over(self.task.domain)


def collect(project: Project, node: Node, step: Step = silent) -> Released:
    """Collects a release from the devices, or takes up the one that was collected.

    Raises PrivacyError T541 when too few devices answer, BudgetError T501 when it costs too much.
    """
    source = events_of(project, node.inputs[0])
    population = project.population(source)
    rows = project.rows(source)
    allowed = tuple(project.plan.nodes[source].spec["purposes"])
    count = rows.table.column(population.person[source]).combine_chunks().unique()
    done = step("each person's rows go to their own device", len(count))
    people = population.enroll(source, rows.table, allowed, project.now(), done)
    title, path, kept = places(project, node)
    reused = kept.exists()
    if reused:
        held = read_kept(kept)
        task = load_task(project.open_bundle(path, held.at))
        reservation = reserve(project, node, title, task)
    else:
        task = open_or_publish(project, node, title, len(people), path)
        reservation = reserve(project, node, title, task)
        _check_uncommitted(reservation, kept)
        done = step("each device sends one private report", len(people))
        reports = population.contribute(path, people, project.now(), done)
        held = Kept(_collected(task, reservation, reports), project.now())
        replace_file(kept, held.parts())
    reservation.commit(b"".join(held.parts()))
    value = task.mechanism.decode(held.collected.aggregates)
    found = held.collected
    return Released(node.id, node, task, value, found.reports, found.refused, reused, rows)


def places(project: Project, node: Node) -> tuple[str, Path, Path]:
    """A release's title, the file of its task, and that of its aggregates."""
    title = f"{node.id}@{node.hash[:12]}"
    state = project.state
    return title, state / "tasks" / f"{title}.bundle", state / "releases" / f"{title}.aggregates"


def reserve(project: Project, node: Node, title: str, task: Task) -> Reservation:
    """The loss of a task set aside, in the ledger's epochs as in those of every device."""
    reads = None if task.charge is None else [task.charge.touched]
    return project.ledger.reserve(
        task.purposes,
        title,
        task.mechanism.claim(),
        EPOCH,
        touched=reads,
        querier=node.declared.owner or "",
    )


def _collected(task: Task, reservation: Reservation, reports: Iterable[Report]) -> Collected:
    collection = Collection(task.mechanism, reservation, minimum=MINIMUM)
    collection.receive(reports)
    try:
        return collection.close()
    except PrivacyError as error:
        if error.code == "T541":
            # Nothing was combined, so nothing was released: here it is certain.
            reservation.refund("too few devices answered")
        raise


def _check_uncommitted(reservation: Reservation, kept: Path) -> None:
    if reservation.state == "committed":
        raise StoreError(
            "the release was collected and paid for, and its aggregates are gone",
            code="T702",
            where=str(kept),
            fix="restore the file from a backup; collecting it again would be a second release,"
            " which takes a changed declaration and more budget",
        )


# ---------------------------------------------------------------------- what is kept


@dataclass(frozen=True, slots=True)
class Kept:
    """What a collection gave, as it lies on the disk, and when: the task was valid then."""

    collected: Collected
    at: int

    def parts(self) -> list[bytes]:
        """A file: a head in JSON and the aggregates, each behind its length (8 bytes, little)."""
        found = self.collected
        head = {"reports": found.reports, "refused": found.refused, "at": self.at}
        bodies = [canonical_json(head), *found.aggregates]
        return [part for body in bodies for part in (len(body).to_bytes(8, "little"), body)]


def read_kept(path: Path) -> Kept:
    """What `Kept.parts` wrote. Raises StoreError T702 for a file that is damaged."""
    try:
        raw, bodies, at = path.read_bytes(), [], 0
        while at < len(raw):
            size = int.from_bytes(raw[at : at + 8], "little")
            bodies.append(raw[at + 8 : at + 8 + size])
            at += 8 + size
        if at != len(raw):
            raise ValueError("it is cut short")
        head = json.loads(bodies[0])
        found = Collected(tuple(bodies[1:]), int(head["reports"]), int(head["refused"]))
        return Kept(found, int(head["at"]))
    except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        raise StoreError(
            f"a kept release is damaged: {error}",
            code="T702",
            where=str(path),
            fix="restore it from a backup; collecting it again would be a second release",
        ) from None


# ---------------------------------------------------------------------- what devices are asked


def open_or_publish(project: Project, node: Node, title: str, devices: int, path: Path) -> Task:
    """The task that stands, as it was made; a new one when there is none or its time is over."""
    if path.exists():
        try:
            return load_task(project.open_bundle(path))
        except BundleError as error:
            if error.code != "T624":
                raise
    publish_task(project, node, title, devices, path)
    return load_task(project.open_bundle(path))


def publish_task(project: Project, node: Node, title: str, devices: int, path: Path) -> None:
    """Writes the signed task that asks the devices for a release."""
    release = node.declared
    assert isinstance(release, Release)
    catalogue = project.content(node.inputs[1])
    try:
        mechanism = design(
            release.mechanism,
            name=title,
            items=catalogue.items,
            texts=catalogue.texts,
            devices_max=max(ROOM, 1 << (devices - 1).bit_length()),
            epsilon=release.epsilon,
            delta=release.delta,
            options=release.options,
        )
    except TacitError as error:
        error.where = release.where  # the designer knows only the release's name
        raise
    contents, files = task_contents(
        title,
        EPOCH,
        tuple(node.spec["purposes"]),
        node.inputs[0],
        device_program(project, node.inputs[0]),
        list(catalogue.items),
        mechanism,
        _epochs(project, node.inputs[0]),
    )
    project.publish(path, f"task:{node.id}", contents, files, TASK_LIFE)


def _epochs(project: Project, signal: str) -> dict[str, Any] | None:
    """What a task says of its person's epochs, if their time is cut into any.

    A device answers while the task is valid, with the rows of the signal's window before that
    moment. Its clock may be a day behind the task, no more.
    """
    window, now = project.plan.nodes[signal].spec.get("window"), project.now()
    start = None if window is None else now - DAY - int(window)
    for reads in touched(project, events_of(project, signal), start, now + TASK_LIFE):
        for epochs in epochs_of(project.declarations):
            if epochs.subject == reads.subject:
                return asked(reads, epochs)
    return None


def device_program(project: Project, signal: str) -> Program:
    """The SQL by which a device computes a signal, with what it needs of the content it joins.

    Raises DeclarationError T114 for a signal that is not of the device's person.
    """
    prepared = project.plan.nodes[signal].inputs[0]
    whole = next(view for view in project.plan.views if view.name == prepared)
    view = view_of(whole, {signal})
    declared = project.source(view.source)
    if tuple(column for _, column in view.keys) != people_columns(declared):
        raise DeclarationError(
            f"signal {signal!r} is not of the person whose device it is on",
            code="T114",
            where=project.plan.nodes[signal].declared.where,
            fix="release a signal without per=…",
        )
    columns = {name.partition(".")[::2] for name in needed(view) if "." in name}
    types = dict(project.schema(view.source))
    content: dict[str, Content] = {}
    for table in sorted({join.table for join in view.joins}):
        names = [n for n in project.schema(table) if (table, n) in columns]
        types |= {f"{table}.{name}": project.schema(table)[name] for name in names}
        content[table] = _content(project, table, names)
    # A row goes when the first of its columns must: its label's retention is the shortest of them.
    kept = project.plan.nodes[view.source].label.retention
    keep = {} if kept is None else {view.source: kept}
    return Program(tuple(sqlite.statements(view, types)), content, keep)


def _content(project: Project, table: str, names: Sequence[str]) -> Content:
    rows = project.rows(table).table.select(list(names))
    values = [_json_values(project, table, name, rows.column(name)) for name in names]
    return Content(tuple(names), tuple(zip(*values, strict=True)))


def _json_values(project: Project, table: str, name: str, column: pa.ChunkedArray) -> list[Any]:
    values: list[Any] = column.to_pylist()
    if not pa.types.is_floating(column.type):
        return values
    if any(value is not None and math.isinf(value) for value in values):
        raise DataError(
            f"the column {name!r} holds an infinity, which cannot be sent to devices",
            code="T304",
            where=f"{project.file(table)}, column {name!r}",
            fix="write finite numbers, or null",
        )
    # NaN means missing, as null does; JSON has no NaN.
    return [None if value is None or math.isnan(value) else value for value in values]


def events_of(project: Project, signal: str) -> str:
    """The source that a signal is made of."""
    return prepared(project.plan.nodes, signal).inputs[0]
