"""Metrics that devices report by DAP: one collection a period, each paid for before it is opened.

Every enrolled device uploads in every period, by the task's own client (`collect.dap`): 1 for a
person who counts and 0 for one who does not (persons), how many rows it has, also 0 (count, up to
`max_rows`), or the place of one value in its domain (histogram; those without a value have one of
the domain for it). For the number of reports is public, without noise: whether a device reports
must tell nothing of its person. The claim is of one report, and the ledger's of one person: so what
is collected at once lies within one of the periods in which each device reports once (`every` in
`tacit.toml`); a longer time would hold several reports of each, at the price of one. The order is
that of every release, and `Collector.open` comes last::

    register   the question counts against `answers`
    reserve    the ledger holds the task's claim, for every purpose of the metric
    fetch      the sealed answer of both aggregators, whose noise is in it
    keep       it is on the disk
    commit     the ledger knows which answer it is
    open       only now is it looked at
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tacit.collect.dap.collector import Collected, Collector, Sealed
from tacit.collect.dap.messages import BatchMode
from tacit.collect.dap.peer import HttpPeer
from tacit.collect.dap.settings import read_settings
from tacit.collect.dap.task import Task
from tacit.engines.base import ARROW
from tacit.errors import CollectError, QueryError
from tacit.govern.spends import Touched
from tacit.plan import periods
from tacit.plan.asked import BUCKET, PERIOD, Asked
from tacit.plan.graph import Node
from tacit.privacy.interval import linear_interval
from tacit.privacy.loss import Loss, compose
from tacit.privacy.mechanism import Claim
from tacit.project.budget import epochs_of, touched
from tacit.project.cells import Cells
from tacit.project.measured import Part, noted, turn, withdraw
from tacit.project.metric_query import domain
from tacit.project.project import Project
from tacit.project.settings import FILE
from tacit.store.atomic import replace_file
from tacit.values import SECOND, Type, fingerprint

PATIENCE = 10.0
"""Seconds for aggregators to be done with reports that they have."""
TOO_FEW, OVERLAPS = "T805", "T809"
NOTHING_GIVEN: Mapping[str, str] = {
    TOO_FEW: "too few devices reported",
    OVERLAPS: "a part of the time was collected before",
}
"""With what aggregators refuse a batch before either of them gives a share of it."""
KINDS: Mapping[str, tuple[str, ...]] = {
    "persons": ("count",),
    "count": ("sum",),
    "histogram": ("histogram", "multihot_count_vec"),
}
"""The VDAFs that answer each measure."""


@dataclass(frozen=True)
class _Asking:
    """A task that fits its metric, and who collects it."""

    project: Project
    node: Node
    task: Task
    collector: Collector
    claim: Claim
    name: str


def collected(project: Project, node: Node, asked: Asked) -> Part:
    """The metric's cells, period by period; one of fewer devices than `minimum` is hidden.

    Raises QueryError T896 where no task is named, T897 for one that does not fit, T894 for a time
    that is not over, T898, BudgetError T501, and what the collector raises.
    """
    measure = node.spec["measure"]
    values = domain(project, measure["bucket"]) if "bucket" in measure else None
    spans = _spans(project, node, asked)
    with_peer = HttpPeer()
    try:
        asking = _asking(project, node, with_peer, None if values is None else len(values))
        found = [_collect(asking, asked, span) for span in spans]
    finally:
        with_peer.close()
    cells = _cells(asking, [each for each, _ in found], asked, values)
    return Part(cells, compose(loss for _, loss in found), asking.name)


def _spans(project: Project, node: Node, asked: Asked) -> list[tuple[int, int]]:
    """The periods of a question, (start, end) in µs."""
    if asked.since is None or asked.until is None:
        raise _no_time(node, "it is collected by time, and none is given")
    if asked.until > project.now():
        raise _no_time(node, "the time asked for is not over: devices are still to report")
    if asked.grain is None:
        return [(asked.since, asked.until)]
    return [(start, periods.step(asked.grain, start)) for start in asked.periods]


def _no_time(node: Node, what: str) -> QueryError:
    return QueryError(
        f"metric {node.id!r} cannot be collected: {what}",
        code="T894",
        where=node.declared.where,
        fix="ask since and until when, before now",
    )


def _asking(project: Project, node: Node, peer: HttpPeer, buckets: int | None) -> _Asking:
    path, _ = project.settings.collectors.get(node.id, (None, ""))
    if path is None:
        raise QueryError(
            f"no DAP task is named that collects metric {node.id!r}",
            code="T896",
            where=str(project.root / FILE),
            fix=f'make one with tacit dap new, and write [metrics.{node.id}] with collector = "…"'
            ' and every = "1d"',
        )
    settings = read_settings(path, "collector")
    one = settings.tasks[0]
    if len(settings.tasks) != 1 or one.token is None or not settings.keys:
        raise _unfit(node, path, "its file is not that of one task's collector")
    task = one.task
    _check_task(node, path, task, buckets)
    collector = Collector(task, settings.keys[0], peer, one.token)
    name = f"{node.id}@{task.name}"
    claim = collector.claim(name, node.spec["delta"] or 1e-9)
    loss = claim.loss
    epsilon = (
        loss.epsilon(node.spec["delta"])
        if node.spec["delta"]
        else (math.inf if loss.rho or loss.failure else loss.pure)
    )
    if epsilon > node.spec["epsilon"] * (1 + 1e-9):
        raise _unfit(node, path, f"its noise costs ε {epsilon:.4g} a period, more than is declared")
    return _Asking(project, node, task, collector, claim, name)


def _check_task(node: Node, path: Path, task: Task, buckets: int | None) -> None:
    measure, vdaf = node.spec["measure"], task.vdaf
    if task.noise is None:
        raise _unfit(node, path, "its aggregators add no noise")
    if task.mode is not BatchMode.TIME_INTERVAL:
        raise _unfit(node, path, "its batches are not of time")
    if vdaf.name not in KINDS[measure["aggregate"]]:
        raise _unfit(node, path, f"it is a {vdaf.name}, which is no {measure['aggregate']}")
    if buckets is not None and vdaf.parameters["length"] != buckets:
        raise _unfit(node, path, f"it has {vdaf.parameters['length']} buckets for {buckets} values")
    most = vdaf.parameters.get("max_measurement", vdaf.parameters.get("max_weight"))
    if most is not None and most != measure["max_rows"]:
        raise _unfit(node, path, f"a report may say {most}, and max_rows is {measure['max_rows']}")


def _unfit(node: Node, path: Path, what: str) -> QueryError:
    return QueryError(
        f"the DAP task of metric {node.id!r} does not fit it: {what}",
        code="T897",
        where=str(path),
        fix="make a task for it with tacit dap new, or declare what this one gives",
    )


# ---------------------------------------------------------------------- one period


def _collect(asking: _Asking, asked: Asked, span: tuple[int, int]) -> tuple[Collected | None, Loss]:
    """One period's sum, and what it cost now; None where too few devices reported."""
    project, node = asking.project, asking.node
    start, end = span
    precision = asking.task.time_precision * SECOND
    path, every = project.settings.collectors[node.id]
    if start % precision or end % precision:
        raise _unfit(node, path, f"its time goes by {asking.task.time_precision} s, and this not")
    if end > periods.step(every, periods.floor(every, start)):
        raise QueryError(
            f"metric {node.id!r} cannot be collected so: each device reports every {every}, so that"
            " several reports of each would be in one sum, whose noise hides one",
            code="T894",
            where=node.declared.where,
            fix=f"ask for the grain {every}, or a finer one; periods of counts add up at no cost",
        )
    epoch = f"{start // SECOND}+{(end - start) // SECOND}"
    title = fingerprint([asking.name, epoch])
    path = project.state / "answers" / f"{title}.dap"
    period = replace(asked, by=(), grain=None, where=None, since=start, until=end)
    more, paid = {"epoch": epoch, "file": path.name}, (asking.name, epoch)
    with turn(project, title), noted(project, node, period, title, more, paid):
        there = path.exists()
        reservation = project.ledger.reserve(
            tuple(node.spec["purposes"]),
            asking.name,
            asking.claim,
            epoch,
            touched=_touched(project, node, span),
            querier=node.declared.owner or "",
        )
        if not there:
            query = asking.collector.interval(start // SECOND, end // SECOND)
            try:
                sealed = asking.collector.fetch(query, patience=PATIENCE)
            except CollectError as error:
                if error.code not in NOTHING_GIVEN or reservation.state == "committed":
                    raise
                reservation.refund(NOTHING_GIVEN[error.code])
                withdraw(project, node, period, title)
                if error.code != TOO_FEW:
                    raise
                return None, Loss()
            replace_file(path, _parts(sealed))
        sealed = _sealed(path)
        reservation.commit(sealed.query + sealed.answer)
    return asking.collector.open(sealed), Loss() if there else asking.claim.loss


def _touched(project: Project, node: Node, span: tuple[int, int]) -> tuple[Touched, ...] | None:
    """Whose rows of what time a period's reports are of, where people's time has epochs."""
    if not epochs_of(project.declarations):
        return None
    return touched(project, node.spec["measure"]["source"], *span)


def _parts(sealed: Sealed) -> list[bytes]:
    return [len(sealed.query).to_bytes(8, "little"), sealed.query, sealed.answer]


def _sealed(path: Path) -> Sealed:
    raw = path.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    return Sealed(raw[8:end], raw[end:])


# ---------------------------------------------------------------------- cells


def _cells(
    asking: _Asking, found: list[Collected | None], asked: Asked, values: list[Any] | None
) -> Cells:
    node, size = asking.node, 1 if values is None else len(values)
    rows, hidden = [], []
    for each in found:
        shown = each is not None and each.reports >= node.spec["minimum"]
        rows.append(np.full(size, np.nan) if each is None else np.atleast_1d(each.value))
        hidden.append(np.full(size, not shown))
    value = np.concatenate(rows).astype(np.float64)
    # Two aggregators' noise, each half of the variance.
    spreads = np.full((len(value), 2), asking.claim.sigma / math.sqrt(2))
    assert asking.task.noise is not None, "it was checked"
    laplace = asking.task.noise.kind == "laplace"
    interval = linear_interval(value, spreads, (laplace, laplace))
    columns: dict[str, pa.Array] = {}
    if values is not None:
        kind = ARROW[Type(node.spec["measure"]["bucket"]["type"])]
        columns[BUCKET] = pa.array(values * len(found), kind)
    if asked.grain is not None:
        columns[PERIOD] = pa.array(np.repeat(np.array(asked.periods, np.int64), size))
    keys = pa.table(columns) if columns else pa.table({"": pa.nulls(1)}).select([])
    error = np.full(len(value), asking.claim.sigma)
    return Cells(
        keys, value, error, interval.lower, interval.upper, laplace, np.concatenate(hidden)
    )
