"""Answering a private query: see `project.central` for the order of steps, and why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from tacit.declare import Purpose
from tacit.errors import PrivacyError, StoreError
from tacit.govern.ledger import Reservation
from tacit.govern.spends import Touched
from tacit.plan.question import check_use
from tacit.plan.views import sources_of
from tacit.privacy.loss import Loss
from tacit.privacy.randomness import Randomness, system
from tacit.project.budget import epochs_of, touched
from tacit.project.central import CentralAnswer, CentralQuery
from tacit.project.central_compute import Computing, public_keys
from tacit.project.central_query import ready
from tacit.project.project import Project
from tacit.store.atomic import alone, replace_file
from tacit.values import fingerprint


def run(
    project: Project,
    query: CentralQuery,
    purpose: str | Purpose,
    epoch: str,
    randomness: Randomness | None,
) -> CentralAnswer:
    """See `project.central.answer`."""
    made = ready(project, query)
    name = _purpose(project, query, purpose)
    check_use(project.plan, made.question, name, query.sensitive)
    public = public_keys(made)
    for source in sources_of([made.question.view]):
        project.file(source)  # what is not there is found out before anything is set aside
    path = project.state / "answers" / f"{fingerprint(made.title, epoch)}.arrow"
    with alone(path.with_suffix(".lock")):
        there = path.exists()
        reservation = project.ledger.reserve(
            name,
            made.title,
            made.claim,
            epoch,
            touched=_touched(project, query),
            querier=query.team,
        )
        if not there:
            _check_uncommitted(reservation, path)
            table = Computing(project, made, randomness or system()).table(public)
            replace_file(path, [_bytes(table)])
        kept = path.read_bytes()
        _check_kept(reservation, kept, path)
        reservation.commit(kept)
    table = pa.ipc.open_stream(kept).read_all()
    loss = made.claim.loss
    spent = Loss() if there else loss
    return CentralAnswer(
        table=table, claim=made.claim, loss=loss, spent=spent, released=made.title, epoch=epoch
    )


def _touched(project: Project, query: CentralQuery) -> tuple[Touched, ...] | None:
    """Whose rows of what time are read; None for all."""
    if query.since is None or query.until is None or not epochs_of(project.declarations):
        return None
    return touched(project, query.source, query.since, query.until)


def _purpose(project: Project, query: CentralQuery, purpose: str | Purpose) -> str:
    known = project.declarations.of(Purpose)
    name = purpose if isinstance(purpose, str) else _name_of(known, purpose)
    if name not in known:
        raise PrivacyError(
            f"there is no purpose {name!r}",
            code="T876",
            where=f"question over {query.source}",
            fix=f"name one of {', '.join(known) or 'none'}",
        )
    return name


def _name_of(known: Mapping[str, Purpose], purpose: Purpose) -> str:
    return next((name for name, one in known.items() if one is purpose), "(not declared)")


def _check_uncommitted(reservation: Reservation, path: Path) -> None:
    if reservation.state == "committed":
        raise _lost("the answer was given and paid for, and its file is gone", path)


def _check_kept(reservation: Reservation, kept: bytes, path: Path) -> None:
    """What was committed is what lies there: changed bytes are another answer, or damage."""
    if reservation.state == "committed" and reservation.result != fingerprint(kept):
        raise _lost("the answer that was given and paid for is damaged", path)


def _lost(what: str, path: Path) -> StoreError:
    return StoreError(
        what,
        code="T702",
        where=str(path),
        fix="restore the file from a backup, or ask as a new epoch, which costs again",
    )


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    raw: bytes = sink.getvalue().to_pybytes()
    return raw
