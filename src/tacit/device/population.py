"""A population of devices on one machine: thousands of agents, each with a vault file of its own.

This is how a project is tried before any phone has it. Nothing is shared between the devices but
the machine: every device has its own key, file, consent and spends, and answers through the same
`Agent` that an app would run. The keys derive from one master secret that lies beside the vaults,
which is what makes it a simulation: on phones each keystore holds its own.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tacit.device.agent import Agent
from tacit.device.keys import PublicKey
from tacit.device.task import Task
from tacit.device.vault import Vault
from tacit.errors import DataError, EngineError, PrivacyError, StoreError
from tacit.privacy.mechanism import Report
from tacit.privacy.randomness import system
from tacit.store.atomic import create_file, make_folder, sync_folder, unwritable
from tacit.values import Secret, Type

KEY_BYTES = 32

FEW = 4
"""Batches that are done in this process: others would take longer to start."""

Key = str | int
"""A person's key, of the type that their column has."""

Progress = Callable[[int], None]
J = TypeVar("J")
R = TypeVar("R")


def quiet(_: int) -> None:
    """No progress shown."""


@dataclass(frozen=True)
class Population:
    """The devices of one project.

    Args:
        folder: where their vaults lie.
        project: the project's name.
        trusted: the key that its bundles are signed with.
        tables: the tables of events that devices hold, with their columns.
        person: table → the column that holds the person's key.
        clocks: table → the column that dates its rows.
        workers: processes to use; with 1 everything happens in this one.
        batch: devices that a worker handles before it reports back.
    """

    folder: Path
    project: str
    trusted: PublicKey
    tables: Mapping[str, Mapping[str, Type]]
    person: Mapping[str, str]
    clocks: Mapping[str, str]
    workers: int = 2
    batch: int = 64

    def enroll(
        self,
        table: str,
        rows: pa.Table,
        purposes: Sequence[str],
        now: int,
        progress: Progress = quiet,
    ) -> list[Key]:
        """Makes a device for every person in `rows` and puts their rows, and only theirs, on it.

        A device comes to be in one step, with its rows and its consent to `purposes`. One that is
        there already stays as it is, a consent withdrawn included; only a table that it has not had
        is added, with consent to purposes that it was not asked about before. Returns the people,
        in order of their keys.
        """
        self._make_master()  # Here, once, before the workers look for it.
        column = self.person[table]
        order = [(column, "ascending"), (self.clocks[table], "ascending")]
        ordered = rows.sort_by(order).combine_chunks()
        runs = pc.run_end_encode(ordered.column(column).combine_chunks())
        people: list[Key] = runs.values.to_pylist()
        bounds: list[int] = [0, *runs.run_ends.to_pylist()]
        jobs = self._enrolments(table, ordered, people, bounds, purposes, now)
        for done in self._spread(_enroll, jobs, len(people)):
            progress(done)
        return people

    def _enrolments(
        self,
        table: str,
        ordered: pa.Table,
        people: Sequence[Key],
        bounds: Sequence[int],
        purposes: Sequence[str],
        now: int,
    ) -> Iterator[_Enrolment]:
        for first in range(0, len(people), self.batch):
            some = people[first : first + self.batch]
            edges = bounds[first : first + len(some) + 1]
            rows = ordered.slice(edges[0], edges[-1] - edges[0])
            sizes = [end - start for start, end in pairwise(edges)]
            yield _Enrolment(self, table, tuple(some), sizes, _packed(rows), tuple(purposes), now)

    def contribute(
        self, task: Path, people: Sequence[Key], now: int, progress: Progress = quiet
    ) -> Iterator[Report]:
        """The one report of every device that may give it, in no given order.

        A device without consent stays silent, and so does one whose own filter is spent, and one
        that has contributed to this epoch and knows that its report arrived; one that does not know
        sends the same report again.
        """
        jobs = (
            _Request(self, task, tuple(people[i : i + self.batch]), now)
            for i in range(0, len(people), self.batch)
        )
        for asked, reports in self._spread(_contribute, jobs, len(people)):
            progress(asked)
            yield from reports

    @contextmanager
    def agent(self, person: Key) -> Iterator[Agent]:
        """The agent of one device, its vault open. Raises DataError T315 if there is none."""
        if not self._master_path.exists():
            raise self._no_device(person)
        master = self._master()
        path = self._path(master, person)
        if not path.exists():
            raise self._no_device(person)
        with Vault.open(path, _key(master, person)) as vault:
            yield Agent(vault, person, self.project, self.trusted)

    def _no_device(self, person: Key) -> DataError:
        return DataError(
            f"no device belongs to {person!r}",
            code="T315",
            where=str(self.folder),
            fix=f"name a person of {', '.join(self.person)} as the rows do; devices are made by a"
            " run",
        )

    # ------------------------------------------------------------------ one device

    def _add(self, path: Path, key: Secret, person: Key, job: _Enrolment, rows: pa.Table) -> None:
        """A table that a device has not had: its rows, and consent to what was not asked before."""
        with Vault.open(path, key) as vault:
            enrolled = vault.meta("enrolled", ())
            if job.table in enrolled:
                return
            vault.declare(self._of(job.table), clocks={job.table: self.clocks[job.table]})
            # Appending is one transaction: of this table there are all of the rows, or none yet.
            if vault.oldest(job.table) is None:
                vault.append(job.table, rows, now=job.now)
            agent = Agent(vault, person, self.project, self.trusted)
            asked = set(vault.meta("asked", ()))
            agent.consent(sorted(agent.consented | (set(job.purposes) - asked)))
            vault.set_meta("asked", sorted(asked | set(job.purposes)))
            vault.set_meta("enrolled", sorted({*enrolled, job.table}))

    def _make(self, path: Path, key: Secret, person: Key, job: _Enrolment, rows: pa.Table) -> None:
        """A new vault with all that belongs in it; it is not on the disk for sure yet."""
        clocks = {job.table: self.clocks[job.table]}
        tables = self._of(job.table)
        with Vault.create(path, key, tables, clocks=clocks, unsafe_not_durable=True) as vault:
            vault.append(job.table, rows, now=job.now)
            Agent(vault, person, self.project, self.trusted).consent(job.purposes)
            vault.set_meta("asked", sorted(job.purposes))
            vault.set_meta("enrolled", [job.table])

    def _of(self, table: str) -> dict[str, Mapping[str, Type]]:
        return {table: self.tables[table]}

    # ------------------------------------------------------------------ names and keys

    def _path(self, master: Secret, person: Key) -> Path:
        """A name that tells nobody whose vault it is."""
        return self.folder / f"{_derive(master, b'name', person).hex()[:32]}.vault"

    @property
    def _master_path(self) -> Path:
        return self.folder / "master.key"

    def _make_master(self) -> None:
        make_folder(self.folder)
        if not self._master_path.exists():
            create_file(self._master_path, [system().bytes(KEY_BYTES)])

    def _master(self) -> Secret:
        try:
            raw = self._master_path.read_bytes()
        except OSError as error:
            raise self._bad_master(f"cannot be read: {error.strerror}") from None
        if len(raw) != KEY_BYTES:
            raise self._bad_master(f"has {len(raw)} bytes, not {KEY_BYTES}")
        return Secret(raw)

    def _bad_master(self, why: str) -> StoreError:
        return StoreError(
            f"the population's master secret {why}",
            code="T702",
            where=str(self._master_path),
            fix="put the file back as it was; without it no simulated vault opens",
        )

    # ------------------------------------------------------------------ workers

    def _spread(self, work: Callable[[J], R], jobs: Iterable[J], people: int) -> Iterator[R]:
        """Results in order, with no more jobs under way than the workers can soon take."""
        if self.workers == 1 or people <= FEW * self.batch:
            yield from map(work, jobs)
            return
        # Fresh processes: forking one that runs Arrow's threads can hang. Each is one of several
        # and leaves the other cores to them: many threads each would wait for one another.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_deaf)
        try:
            waiting: deque[Future[R]] = deque()
            for job in jobs:
                waiting.append(pool.submit(work, job))
                if len(waiting) > 2 * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise EngineError(
                "a process that drives devices ended before its work was done",
                code="T403",
                where=str(self.folder),
                fix="free some memory; a script of your own must also do its work under"
                " `if __name__ == '__main__':`, since its processes read it again",
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Enrolment:
    population: Population
    table: str
    people: tuple[Key, ...]
    sizes: list[int]
    rows: bytes
    purposes: tuple[str, ...]
    now: int


@dataclass(frozen=True, slots=True)
class _Request:
    population: Population
    task: Path
    people: tuple[Key, ...]
    now: int


def _enroll(job: _Enrolment) -> int:
    population = job.population
    master = population._master()
    rows = pa.ipc.open_stream(job.rows).read_all()
    made: dict[Path, Path] = {}
    start = 0
    try:
        for person, size in zip(job.people, job.sizes, strict=True):
            path, key = population._path(master, person), _key(master, person)
            own = rows.slice(start, size)
            start += size
            if path.exists():
                population._add(path, key, person, job, own)
                continue
            aside = path.with_suffix(".new")
            aside.unlink(missing_ok=True)  # of a run that was cut off
            made[aside] = path
            population._make(aside, key, person, job, own)
        _into_place(made)
    except OSError as error:
        raise unwritable(error, population.folder) from None
    finally:
        for aside in made:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
    return len(job.people)


def _into_place(made: Mapping[Path, Path]) -> None:
    """Gives whole vaults their names. All are synced first: together that costs little more than
    one of them alone."""
    for aside in made:
        descriptor = os.open(aside, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    for aside, path in made.items():
        os.replace(aside, path)
    for folder in {path.parent for path in made.values()}:
        sync_folder(folder)


def _contribute(job: _Request) -> tuple[int, list[Report]]:
    reports = []
    for person in job.people:
        with job.population.agent(person) as agent:
            task = _task(job, agent)
            try:
                reports.append(agent.contribute(task, job.now))
            except PrivacyError as error:
                if error.code not in ("T540", "T542", "T547"):
                    raise
    return len(job.people), reports


_OPENED: dict[tuple[object, ...], Task] = {}


def _task(job: _Request, agent: Agent) -> Task:
    """One verified copy for all the agents of a process: on phones each would read its own."""
    file = os.stat(job.task)
    population = job.population
    same = (file.st_mtime_ns, file.st_size, population.project, population.trusted)
    which = (job.task, job.now, *same)
    if which not in _OPENED:
        _OPENED.clear()
        _OPENED[which] = agent.open_task(job.task, job.now)
    return _OPENED[which]


def _deaf() -> None:
    """An interrupt is for the process that hands out the work, which then ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _packed(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return bytes(sink.getvalue())


def _key(master: Secret, person: Key) -> Secret:
    return Secret(_derive(master, b"key", person))


def _derive(master: Secret, use: bytes, person: Key) -> bytes:
    """HKDF-SHA256 (RFC 5869); its `info` keeps uses and people apart."""
    info = b"tacit device " + use + b"\x00" + str(person).encode()
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(master.reveal())
