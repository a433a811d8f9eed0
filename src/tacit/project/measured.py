"""Metrics that are measured, answered from where the data is: the cloud's rows, or a release.

Rows of people are asked through `project.central`, which bounds what one person changes, adds the
noise, and keeps every answer beside its line of the ledger: the same question over the same rows is
answered from there, and costs nothing, also after a crash at any moment.

**How a person counts.** A cell of an answer is a group (the values of its dimensions) in a period.
A person counts in `max_groups` · periods cells at most: groups no more than the question has,
periods those of the question, or `max_periods` if that is less. Noise grows with it, and loss does
not. Who is in more cells counts in as many, chosen by a salted hash.

**Who is shown.** Each answer counts people with noise of its own, within its budget. A cell whose
noisy count is below the metric's minimum is hidden. The decision is made of the noisy count alone,
so it is post-processing and tells nothing more of anybody; a cell may be hidden that has people
enough, and the other way round.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tacit.declare.arguments import plain
from tacit.errors import BudgetError, QueryError, StoreError, TacitError
from tacit.plan.asked import BUCKET, Asked
from tacit.plan.graph import Node
from tacit.plan.sources import retention
from tacit.privacy.interval import Floats
from tacit.privacy.loss import Loss
from tacit.project.cells import Cells
from tacit.project.central import CentralAnswer, CentralQuery, answer, claim
from tacit.project.central_run import epoch_of_try
from tacit.project.exact import measured_exactly
from tacit.project.metric_query import query_of
from tacit.project.project import Project
from tacit.project.versions import version
from tacit.store.atomic import lock_file
from tacit.values import fingerprint

NOTHING = Loss()
KIND = "release"
"""Of the records that say which questions were asked of a metric."""


@dataclass(frozen=True)
class Part:
    """What was measured: its cells, what it cost now, and under which name the ledger has it; of a
    conversion the people of the first event, and `both`, those of the second too."""

    cells: Cells
    spent: Loss = NOTHING
    released: str | None = None
    both: Cells | None = None


def measured(project: Project, node: Node, asked: Asked, *, newcomers: bool = False) -> Part:
    """A measured metric's cells. With `newcomers`, each person counts where they first came.

    Raises QueryError T898 where the metric has given all its answers, BudgetError T501, and what
    the place that holds the rows raises.
    """
    if "mechanism" not in node.spec:
        return Part(measured_exactly(project, node, asked))
    if node.spec["mechanism"] == "prio3":
        from tacit.project.collected import collected

        return collected(project, node, asked)
    query = query_of(project, node, asked)
    return _numbers(node, query, _ask(project, node, asked, query, newcomers))


# ---------------------------------------------------------------------- asking


def _ask(
    project: Project, node: Node, asked: Asked, query: CentralQuery, newcomers: bool
) -> CentralAnswer:
    """Asks, once: of several who ask the same at the same time one does, and the others wait."""
    epoch = version(project, node)
    title = _title(node, asked, epoch, newcomers)
    # Who asks for another purpose pays from its budget, for an answer of its own.
    asking, made, own = project, query, fingerprint(epoch, asked.purpose)
    if newcomers or "conversion" in node.spec:
        from tacit.project.sequences import prepared

        asking, made = prepared(project, node, asked, query, newcomers)
        own = title
    release = claim(asking, made).name
    more = {"epoch": own, "release": release, "file": f"{fingerprint(release, own)}.arrow"}
    with turn(project, title):
        # Whatever is spent under another name is another answer of those that there are: of other
        # public values of a dimension, and the next try where one was drawn and lost.
        paid = (release, epoch_of_try(project, release, own))
        name = fingerprint([title, *paid])
        with noted(project, node, asked, name, more, paid, again=paid[1] != own):
            return answer(asking, made, purpose=asked.purpose, epoch=own)


@contextmanager
def noted(
    project: Project,
    node: Node,
    asked: Asked,
    title: str,
    more: Mapping[str, Any],
    paid: tuple[str, str],
    *,
    again: bool = False,
) -> Iterator[None]:
    """Registers a question while it is asked. One that is refused before anything was set aside
    under `paid`, a release and epoch, was not asked; one that fails later was. `again`: its answer
    failed before, once noise was drawn."""
    register(project, node, asked, title, more, again=again)
    try:
        yield
    except TacitError:
        if project.ledger.held(*paid) is None:
            withdraw(project, node, asked, title)
        raise


def _title(node: Node, asked: Asked, epoch: str, newcomers: bool) -> str:
    """One name for one question: of what is measured and how, not of how often it may be."""
    names = ("measure", "conversion", "epsilon", "delta", "max_groups", "max_periods")
    meaning = {name: plain(node.spec.get(name)) for name in names}
    dims = {name: node.spec["dimensions"][name]["sql"] for name in node.spec["dimensions"]}
    return fingerprint([meaning, dims, asked.to_json(), epoch, newcomers])


@contextmanager
def turn(project: Project, title: str) -> Iterator[None]:
    with lock_file(project.state / "answers" / f"{title}.lock") as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def register(
    project: Project,
    node: Node,
    asked: Asked,
    title: str,
    more: Mapping[str, Any],
    *,
    again: bool = False,
) -> None:
    """Notes the question before it costs anything.

    Raises QueryError T898 for one too many, and for one whose answer was kept as long as it may be;
    BudgetError T548 for another try of one whose answer failed, where that is one too many.
    """
    expire(project, node)
    with project.control.transaction():
        known = _questions(project, node, asked.purpose)
        if title in known:
            if _old(project, node, known[title]):
                raise QueryError(
                    f"the answer of metric {node.id!r} was kept for {node.spec['keep']}, as long as"
                    " it may be",
                    code="T898",
                    where=node.declared.where,
                    fix="ask of later rows, or of another time",
                )
            return
        most = int(node.spec["answers"])
        if again and len(known) >= most:
            raise BudgetError(
                f"the answer of metric {node.id!r} failed after its noise was drawn: it is spent,"
                f" and another try would be answer {len(known) + 1} of {most} that the plan sets"
                " budget aside for",
                code="T548",
                where=node.declared.where,
                fix=f"mend what failed, then write answers={len(known) + 1} or more",
            )
        if len(known) >= most:
            raise QueryError(
                f"metric {node.id!r} has given {len(known)} answers for {asked.purpose!r}, of"
                f" {most} that the plan sets budget aside for",
                code="T898",
                where=node.declared.where,
                fix="ask one of these again, at no cost, or write"
                f" answers={len(known) + 1} or more",
            )
        body = {"title": title, "asked": asked.to_json(), "at": project.now(), **more}
        project.control.append(KIND, _key(node), body)


def expire(project: Project, node: Node) -> None:
    """Removes the answers of a metric that were kept as long as they may be."""
    # Where an answer failed, a later try of its question has the same file.
    bodies = [record.body for record in project.control.read(KIND, _key(node))]
    for name, body in {each["file"]: each for each in bodies if "file" in each}.items():
        if _old(project, node, body):
            (project.state / "answers" / name).unlink(missing_ok=True)


def _old(project: Project, node: Node, body: Mapping[str, Any]) -> bool:
    kept = retention(node.spec["keep"])
    return kept is not None and project.now() - int(body["at"]) > kept


def withdraw(project: Project, node: Node, asked: Asked, title: str) -> None:
    """Notes that a question was not answered, and nothing is set aside for it."""
    body = {"title": title, "asked": asked.to_json(), "withdrawn": True}
    project.control.append(KIND, _key(node), body)


def _questions(project: Project, node: Node, purpose: str) -> dict[str, Mapping[str, Any]]:
    """The questions that a metric was asked for a purpose, by title; withdrawn ones left out."""
    found: dict[str, Mapping[str, Any]] = {}
    for record in project.control.read(KIND, _key(node)):
        body = record.body
        try:
            asked, title = Asked.from_json(body["asked"]), str(body["title"])
        except (LookupError, TypeError, ValueError) as error:
            raise StoreError(
                f"a question that was asked cannot be read ({error!r})",
                code="T708",
                where=f"record {record.sequence}",
                fix="use the release of Tacit that wrote it",
            ) from error
        if asked.purpose == purpose:
            found.pop(title, None)
            found |= {} if body.get("withdrawn") else {title: body}
    return found


def _key(node: Node) -> str:
    return f"metric:{node.id}"


def asked_before(project: Project, node: Node, purpose: str) -> list[Asked]:
    """The questions whose answers are there: of the metric as it is declared now, of the rows, and
    of the public values, as they are now."""
    if not project.store_path.exists():
        return []
    own, folder = fingerprint(version(project, node), purpose), project.state / "answers"
    found: dict[Asked, None] = {}
    for body in _questions(project, node, purpose).values():
        if body.get("epoch") == own and (folder / body["file"]).exists():
            asked = Asked.from_json(body["asked"])
            if claim(project, query_of(project, node, asked)).name == body["release"]:
                found[asked] = None
    return list(found)


# ---------------------------------------------------------------------- the answer


def _numbers(node: Node, query: CentralQuery, given: CentralAnswer) -> Part:
    """The cells of an answer, in the order of their keys, hidden where too few people are."""
    table = given.table
    shown = "value" if "value" in table.column_names else "people"
    names = [key[0] for key in query.keys]
    if names:
        table = table.sort_by([(name, "ascending") for name in names])
    hidden = ~(_floats(table, "people") >= node.spec["minimum"])
    value, error, lower, upper = _ends(table, shown)
    cells = Cells(
        table.select(names),
        value,
        error,
        lower,
        upper,
        laplace="laplace" in given.claim.mechanism,
        hidden=hidden,
        complete=query.public_keys is not None or not names,
    )
    part = Part(cells, given.spent, given.released)
    if "conversion" not in node.spec:
        return part
    value, error, lower, upper = _ends(table, "both")
    return replace(part, both=replace(cells, value=value, error=error, lower=lower, upper=upper))


def _ends(table: pa.Table, name: str) -> tuple[Floats, Floats, Floats, Floats]:
    """A measure's values, errors, and ends of intervals."""
    value, error, lower, upper = (
        _floats(table, name + end) for end in ("", "_error", "_lower", "_upper")
    )
    return value, error, lower, upper


def _floats(table: pa.Table, name: str) -> Floats:
    column = table.column(name)
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        column = pc.list_element(column, 0)
    found: Floats = np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
    return found


def top(cells: Cells, k: int) -> Cells:
    """Of each group and period, the k values with the highest noisy count of people, in order."""
    names = [name for name in cells.keys.column_names if name != BUCKET]
    groups: dict[Any, list[int]] = {}
    listed = cells.keys.select(names).to_pylist() if names else [{}] * len(cells.value)
    for row in np.argsort(-cells.value, kind="stable"):
        groups.setdefault(tuple(listed[row].values()), []).append(int(row))
    return take(cells, [row for group in sorted(groups) for row in groups[group][:k]])


def take(cells: Cells, rows: list[int]) -> Cells:
    """Some of the cells."""
    parts = {n: getattr(cells, n)[rows] for n in ("value", "error", "lower", "upper", "hidden")}
    return replace(cells, keys=cells.keys.take(pa.array(rows, pa.int64())), complete=False, **parts)
