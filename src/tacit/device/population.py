"""A population of devices on one machine: thousands of agents, each with a vault file of its own.

This is how a project is tried before any phone has it. Nothing is shared between the devices but
the machine: every device has its own key, file, consent and spends, and answers through the same
`Agent` that an app would run. The keys derive from one master secret that lies beside the vaults,
which is what makes it a simulation: on phones each keystore holds its own.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
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
from tacit.errors import PrivacyError, StoreError
from tacit.privacy.mechanism import Report
from tacit.privacy.randomness import system
from tacit.values import Secret, Type

BATCH = 64
"""Devices that a worker handles before it reports back."""

KEY_BYTES = 32

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
        tables: the tables every vault has, with their columns.
        person: table → the column that holds the person's key.
        clocks: table → the column that dates its rows.
        workers: processes to use.
    """

    folder: Path
    project: str
    trusted: PublicKey
    tables: Mapping[str, Mapping[str, Type]]
    person: Mapping[str, str]
    clocks: Mapping[str, str]
    workers: int = 2

    def enroll(
        self,
        table: str,
        rows: pa.Table,
        purposes: Sequence[str],
        now: int,
        progress: Progress = quiet,
    ) -> list[str]:
        """Makes a device for every person in `rows` and puts their rows, and only theirs, on it.

        Each consents to `purposes`. A person who has a device keeps it, and it gets no rows twice.
        Returns the people, in order of their keys.
        """
        self._master()  # Made here once, before the workers look for it.
        column = self.person[table]
        order = [(column, "ascending"), (self.clocks[table], "ascending")]
        ordered = rows.sort_by(order).combine_chunks()
        runs = pc.run_end_encode(ordered.column(column).combine_chunks())
        people: list[str] = [str(key) for key in runs.values.to_pylist()]
        bounds: list[int] = [0, *runs.run_ends.to_pylist()]
        jobs = self._enrolments(table, ordered, people, bounds, purposes, now)
        for done in self._spread(_enroll, jobs):
            progress(done)
        return people

    def _enrolments(
        self,
        table: str,
        ordered: pa.Table,
        people: Sequence[str],
        bounds: Sequence[int],
        purposes: Sequence[str],
        now: int,
    ) -> Iterator[_Enrolment]:
        for first in range(0, len(people), BATCH):
            some = people[first : first + BATCH]
            edges = bounds[first : first + len(some) + 1]
            rows = ordered.slice(edges[0], edges[-1] - edges[0])
            sizes = [end - start for start, end in pairwise(edges)]
            yield _Enrolment(self, table, tuple(some), sizes, _packed(rows), tuple(purposes), now)

    def contribute(
        self, task: Path, people: Sequence[str], now: int, progress: Progress = quiet
    ) -> Iterator[Report]:
        """One report from every device that may and has not yet given one, in no given order.

        A device without consent, or that has contributed to this epoch before, stays silent.
        """
        jobs = (
            _Request(self, task, tuple(people[i : i + BATCH]), now)
            for i in range(0, len(people), BATCH)
        )
        for asked, reports in self._spread(_contribute, jobs):
            progress(asked)
            yield from reports

    @contextmanager
    def agent(self, person: str) -> Iterator[Agent]:
        """The agent of one device, its vault open. Raises VaultError T615 if it has none."""
        master = self._master()
        with Vault.open(self._path(master, person), _key(master, person)) as vault:
            yield Agent(vault, person, self.project, self.trusted)

    def _vault(self, master: Secret, person: str) -> Vault:
        path, key = self._path(master, person), _key(master, person)
        if path.exists():
            return Vault.open(path, key)
        return Vault.create(path, key, self.tables, clocks=self.clocks)

    def _path(self, master: Secret, person: str) -> Path:
        """A name that tells nobody whose vault it is."""
        return self.folder / f"{_derive(master, b'name', person).hex()[:32]}.vault"

    def _master(self) -> Secret:
        self.folder.mkdir(parents=True, exist_ok=True)
        return _load_or_create(self.folder / "master.key")

    def _spread(self, work: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]:
        """Results in order, with no more jobs under way than the workers can soon take."""
        # Fresh processes: forking one that runs Arrow's threads can hang.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.workers, mp_context=context) as pool:
            waiting: deque[Future[R]] = deque()
            for job in jobs:
                waiting.append(pool.submit(work, job))
                if len(waiting) > 2 * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


@dataclass(frozen=True, slots=True)
class _Enrolment:
    population: Population
    table: str
    people: tuple[str, ...]
    sizes: list[int]
    rows: bytes
    purposes: tuple[str, ...]
    now: int


@dataclass(frozen=True, slots=True)
class _Request:
    population: Population
    task: Path
    people: tuple[str, ...]
    now: int


def _enroll(job: _Enrolment) -> int:
    population = job.population
    master = population._master()
    rows = pa.ipc.open_stream(job.rows).read_all()
    start = 0
    for person, size in zip(job.people, job.sizes, strict=True):
        with population._vault(master, person) as vault:
            # Appending is one transaction: a vault holds all of its person's rows, or none yet.
            if vault.oldest(job.table) is None:
                vault.append(job.table, rows.slice(start, size), now=job.now)
            Agent(vault, person, population.project, population.trusted).consent(job.purposes)
        start += size
    return len(job.people)


def _contribute(job: _Request) -> tuple[int, list[Report]]:
    reports = []
    for person in job.people:
        with job.population.agent(person) as agent:
            task = _task(job.task, agent, job.now)
            try:
                reports.append(agent.contribute(task, job.now))
            except PrivacyError as error:
                if error.code not in ("T540", "T542"):
                    raise
    return len(job.people), reports


_TASKS: dict[Path, Task] = {}


def _task(path: Path, agent: Agent, now: int) -> Task:
    # One verified copy for all the agents of a worker: on phones each would read its own.
    if path not in _TASKS:
        _TASKS[path] = agent.open_task(path, now)
    return _TASKS[path]


def _packed(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return bytes(sink.getvalue())


def _key(master: Secret, person: str) -> Secret:
    return Secret(_derive(master, b"key", person))


def _derive(master: Secret, use: bytes, person: str) -> bytes:
    """HKDF-SHA256 (RFC 5869); its `info` keeps uses and people apart."""
    info = b"tacit device " + use + b"\x00" + person.encode()
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(master.reveal())


def _load_or_create(path: Path) -> Secret:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raw = path.read_bytes()
        if len(raw) != KEY_BYTES:
            raise StoreError(
                f"the population's master secret has {len(raw)} bytes, not {KEY_BYTES}",
                where=str(path),
                fix="put the file back as it was; without it no simulated vault opens",
            ) from None
        return Secret(raw)
    with os.fdopen(descriptor, "wb") as file:
        secret = system().bytes(KEY_BYTES)
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    return Secret(secret)
