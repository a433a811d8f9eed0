"""All parties of a task in one process: the real resources and the real state, without sockets."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tacit.collect.dap.aggregation import Aggregation
from tacit.collect.dap.aggregator import Aggregator
from tacit.collect.dap.client import Client
from tacit.collect.dap.collection import Collecting
from tacit.collect.dap.collector import Collector
from tacit.collect.dap.database import Database, open_database
from tacit.collect.dap.helper import Helper
from tacit.collect.dap.helper_store import HELPER_SCHEMA
from tacit.collect.dap.leader import Leader
from tacit.collect.dap.leader_store import LEADER_SCHEMA, release_leases
from tacit.collect.dap.messages import BatchMode, Report, Role
from tacit.collect.dap.peer import Response, Token, unreachable
from tacit.collect.dap.profile import profile
from tacit.collect.dap.routes import Head, HelperService, LeaderService, Served
from tacit.collect.dap.sealing import KeyPair
from tacit.collect.dap.task import Task, Vdaf
from tacit.collect.dap.writer import ReportWriter
from tacit.privacy.randomness import system
from tacit.values import Secret

RANDOM = system()
LEADER, HELPER = "http://leader.test/dap/", "http://helper.test/dap/"
NOW = 1_800_000_123
HISTOGRAM = {"length": 8, "chunk_length": 3}


def make_task(version: int = 18, name: str = "histogram", **changes: Any) -> Task:
    parameters = changes.pop("parameters", HISTOGRAM if name == "histogram" else {})
    fields: dict[str, Any] = {
        "id": RANDOM.bytes(32),
        "leader": LEADER,
        "helper": HELPER,
        "time_precision": 100,
        "min_batch_size": 10,
        "mode": BatchMode.TIME_INTERVAL,
        "vdaf": Vdaf(name, parameters, profile(version).vdaf),
        "version": version,
    }
    return Task(**{**fields, **changes})


@dataclass
class Network:
    """Hands requests to services by host. `down` hosts do not answer; `taps` see what passes."""

    services: dict[str, Any] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    taps: list[Callable[[str, str, bytes, Response], Response]] = field(default_factory=list)

    def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        parts = urlsplit(url)
        assert parts.hostname is not None
        if parts.hostname in self.down:
            raise unreachable(url, "down")
        path = parts.path.removeprefix("/dap")
        head = Head(method, path, dict(headers), parts.query)
        response: Response = self.services[parts.hostname].handle(head, body)
        for tap in self.taps:
            response = tap(method, url, body, response)
        return response


class World:
    """A leader, a helper, and what a test needs to drive them. `now` is everybody's clock."""

    def __init__(
        self,
        task: Task,
        folder: Path,
        *,
        job_size: int = 512,
        places: Sequence[str] = (),
        like: World | None = None,
        expiry: int | None = None,
    ) -> None:
        self.task, self.folder, self.now, self.expiry = task, folder, NOW, expiry
        self.network, self.job_size = Network(), job_size
        self.places = tuple(places) or (str(folder / "leader.db"), str(folder / "helper.db"))
        lay = task.vdaf.prio3.layout
        self.verify_key = Secret(RANDOM.bytes(lay.profile.seed_bytes))
        self.keys = {role: [KeyPair.generate(role, RANDOM)] for role in Role if role > 1}
        self.collector_keys = KeyPair.generate(200, RANDOM)
        self.peer_token, self.collector_token = (
            Token(Secret(RANDOM.bytes(16).hex().encode())) for _ in range(2)
        )
        if like is not None:  # the same secrets: its clients' reports are for these parties too
            self.verify_key, self.keys = like.verify_key, like.keys
            self.collector_keys = like.collector_keys
        self.client = Client(task, self.network, clock=lambda: self.now)
        self.start()

    def start(self) -> None:
        """(Re)start both aggregators on what is in their databases."""
        self.databases: list[Database] = [
            open_database(self.places[0], LEADER_SCHEMA),
            open_database(self.places[1], HELPER_SCHEMA),
        ]
        with self.databases[0].transaction(b"leases") as session:
            release_leases(session)
        self.writer = ReportWriter(self.databases[0])
        self.leader = Leader(self.party(Role.LEADER), self.databases[0], self.writer, RANDOM)
        self.helper = Helper(self.party(Role.HELPER), self.databases[1])
        configs = {role: [pair.config for pair in pairs] for role, pairs in self.keys.items()}
        self.network.services = {
            "leader.test": LeaderService(
                [Served(self.leader, (self.collector_token.secret,))], configs[Role.LEADER]
            ),
            "helper.test": HelperService(
                [Served(self.helper, (self.peer_token.secret,))], configs[Role.HELPER]
            ),
        }
        self.aggregation = Aggregation(
            self.leader, self.network, self.peer_token, RANDOM, job_size=self.job_size, lease=0
        )
        self.collecting = Collecting(self.leader, self.network, self.peer_token, lease=0)

    def party(self, role: Role) -> Aggregator:
        return Aggregator(
            self.task,
            role,
            self.verify_key,
            self.keys[role],
            self.collector_keys.config,
            randomness=RANDOM,
            clock=lambda: self.now,
            expiry=self.expiry,
        )

    def stop(self) -> None:
        self.writer.close()
        for database in self.databases:
            database.close()

    def crash(self) -> None:
        """Both processes end and come back."""
        self.stop()
        self.start()

    def aggregate(self) -> None:
        while self.aggregation.work():
            pass

    def collector(self) -> Collector:
        return Collector(
            self.task,
            self.collector_keys,
            self.network,
            self.collector_token,
            sleep=lambda _: self.drive(),
        )

    def drive(self) -> None:
        self.aggregate()
        self.collecting.work()
        time.sleep(0.002)

    def everything(self) -> Any:
        """The query for all reports of the present bucket."""
        return self.collector().interval(self.now, self.now + 1)

    def upload(self, measurements: Sequence[Any]) -> list[Report]:
        reports = self.client.reports(measurements)
        assert self.client.upload(reports) == []
        return reports

    def collect(self, patience: float = 5.0) -> Any:
        return self.collector().collect(self.everything(), patience=patience)
