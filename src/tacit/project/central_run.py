"""Answering a private query: see `project.central` for the order of steps, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain, count
from pathlib import Path

import pyarrow as pa

from tacit.declare import Purpose
from tacit.errors import PrivacyError, StoreError, TacitError
from tacit.govern.reservation import Reservation
from tacit.govern.spends import Touched
from tacit.plan.question import check_use
from tacit.plan.views import sources_of
from tacit.privacy.loss import Loss
from tacit.privacy.randomness import Randomness, system
from tacit.project.budget import epochs_of, touched
from tacit.project.central import CentralAnswer, CentralQuery
from tacit.project.central_compute import Computing, public_keys
from tacit.project.central_query import Ready, ready
from tacit.project.project import Project
from tacit.project.withheld import UNREADABLE, withheld
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
    path = _path(project, made.title, epoch)
    with alone(path.with_suffix(".lock")):
        there = path.exists()
        reservation = _reserve(project, made, name, epoch, there)
        if not there:
            _check_uncommitted(reservation, path)
            computing = _computed(project, made, randomness or system(), reservation)
            _keep(computing, public, reservation, path)
        kept = path.read_bytes()
        _check_kept(reservation, kept, path)
        table = _table(kept, path)
        reservation.commit(kept)
    loss = made.claim.loss
    spent = Loss() if there else loss
    return CentralAnswer(
        table=table, claim=made.claim, loss=loss, spent=spent, released=made.title, epoch=epoch
    )


def _path(project: Project, released: str, epoch: str) -> Path:
    return project.state / "answers" / f"{fingerprint(released, epoch)}.arrow"


def epoch_of_try(project: Project, released: str, epoch: str) -> str:
    """The epoch under which the ledger has what is asked now under a name and epoch: another one
    after each time that noise was drawn and no answer kept."""
    there = _path(project, released, epoch).exists()
    for one in _tries(epoch):
        held = project.ledger.held(released, one)
        if held is None or not _is_lost(held.state, held.result, there):
            return one
    raise AssertionError("tries do not end")


def _tries(epoch: str) -> Iterator[str]:
    return chain([epoch], (f"{epoch}#{n}" for n in count(2)))


def _is_lost(state: str, result: str | None, there: bool) -> bool:
    """Whether noise was drawn under a reservation, and its answer is not there: it is spent."""
    return (state == "committed" and result is None) or (state == "drawing" and not there)


def _reserve(project: Project, made: Ready, purpose: str, epoch: str, there: bool) -> Reservation:
    """What is set aside for an answer; the next one's, where noise was drawn and none was kept."""
    for one in _tries(epoch):
        reservation = project.ledger.reserve(
            purpose,
            made.title,
            made.claim,
            one,
            touched=_touched(project, made.query),
            querier=made.query.team,
        )
        if not _is_lost(reservation.state, reservation.result, there):
            break
        reservation.commit()  # of a crash after the mark: it stays spent
    return reservation


def _computed(
    project: Project, made: Ready, randomness: Randomness, reservation: Reservation
) -> Computing:
    """The exact sums. Nothing is drawn yet, so what fails here costs nothing; but what fails by
    what rows say, or a crash, leaves set aside what whoever asks the same again takes up."""
    try:
        return withheld(made.query.source, lambda: Computing(project, made, randomness))
    except Exception as failed:
        if getattr(failed, "code", "") != UNREADABLE:
            with suppress(TacitError):  # the first error is the one to be told; it stays reserved
                reservation.refund("nothing was drawn")
        raise


def _keep(
    computing: Computing, public: pa.Table | None, reservation: Reservation, path: Path
) -> None:
    """Marks, durably, that noise is drawn; draws it, and puts the answer on the disk.

    What fails from here on may tell of rows without the noise, or of noise that a second try would
    draw anew. So it says nothing else, and is paid for: by a commit, and where that fails too, as
    on a full disk, by the mark alone. Raises PrivacyError T878, or StoreError.
    """
    reservation.drawing()
    failed: TacitError | None = None
    try:
        replace_file(path, [_bytes(computing.table(public))])
    except StoreError as error:
        failed = error
    except Exception:
        failed = PrivacyError(
            "the answer failed after its noise was drawn, so it is paid for as if it were given",
            code="T878",
            where=f"question over {computing.query.source}",
            fix="ask for less at once; asking again costs again",
        )
    if failed is not None:
        if not path.exists():
            with suppress(StoreError):
                reservation.commit()
        raise failed


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


def _table(kept: bytes, path: Path) -> pa.Table:
    try:
        return pa.ipc.open_stream(kept).read_all()
    except (pa.ArrowException, OSError):
        raise _lost("the answer that was kept is damaged, and not committed yet", path) from None


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
