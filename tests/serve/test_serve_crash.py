"""What breaks beneath a server: it is killed, its disk fills, its Redis dies. What was acknowledged
is there, once; and it recovers by itself."""

from __future__ import annotations

import random
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve_cases import NOW, SETTINGS, SIGNALS, filled, project
from serve_client import Process, key_for, serving
from servers import redis_server

from tacit.values import SECOND

CLIENTS = 3


def rows(client: int, number: int) -> list[dict[str, Any]]:
    """One push: two events of a person that only this client pushes."""
    at = NOW - SECOND - number
    row = {"person": f"c{client}", "thing": "i1", "seconds": 1.0, "liked": True}
    return [{**row, "at": at}, {**row, "at": at, "thing": "i2"}]


class Client(threading.Thread):
    """Pushes one batch after another; what was not acknowledged is sent again, the same."""

    def __init__(self, process: Process, headers: dict[str, str], number: int) -> None:
        super().__init__(daemon=True)
        self.process, self.headers, self.number = process, headers, number
        self.acknowledged, self.sent, self.done = 0, 0, threading.Event()

    def run(self) -> None:
        with httpx.Client(base_url=self.process.url, headers=self.headers, timeout=20) as client:
            while self.acknowledged < self.sent or not self.done.is_set():
                self.push(client)  # what the last server wrote, and died, is acknowledged too

    def push(self, client: httpx.Client) -> None:
        headers = {"idempotency-key": f"{self.number}-{self.acknowledged}"}
        body = rows(self.number, self.acknowledged)
        self.sent = self.acknowledged + 1
        try:
            found = client.post("/v1/events/visits", json=body, headers=headers)
        except httpx.HTTPError:
            time.sleep(0.02)
            return
        if found.status_code == 200:
            self.acknowledged += 1
        else:
            time.sleep(0.02)


def kill_while_pushing(folder: Path, times: int, seed: int) -> None:
    rng = random.Random(seed)
    shop = filled(folder)
    headers = key_for(shop, "discover", push=("visits",))
    shop.online.backend.close()
    process = Process(folder)
    clients = [Client(process, headers, number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    before = 0
    try:
        for _ in range(times):
            for _ in range(2000):  # some push is acknowledged by each server
                if sum(client.acknowledged for client in clients) > before:
                    break
                time.sleep(0.01)
            before = sum(client.acknowledged for client in clients)
            time.sleep(rng.random() * 0.15)
            process.kill()
            process.start()
        for client in clients:
            client.done.set()
        for client in clients:
            client.join()
        with httpx.Client(base_url=process.url, headers=headers) as reader:
            for client in clients:
                path = f"/v1/features/person/c{client.number}?signals=looks"
                found = reader.get(path).json()["values"][0]
                assert client.acknowledged > 0
                assert found == 2 * client.acknowledged, (client.number, found, client.acknowledged)
    finally:
        process.kill()


@pytest.mark.slow
def test_killed_while_events_come_in(tmp_path: Path) -> None:
    kill_while_pushing(tmp_path, 5, 1)


@pytest.mark.slow
def test_killed_fifty_times_while_events_come_in(tmp_path: Path) -> None:
    kill_while_pushing(tmp_path, 50, 2)


@pytest.mark.slow
def test_a_disk_that_fills_and_has_room_again(tmp_path: Path) -> None:
    """A file that may grow no further is to LMDB what a full disk is."""
    shop = filled(tmp_path)
    headers = key_for(shop, "discover", push=("visits",))
    size = max(path.stat().st_size for path in (tmp_path / ".tacit").rglob("data.mdb"))
    shop.online.backend.close()

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + (64 << 10), resource.RLIM_INFINITY))

    with (
        serving(tmp_path, before=small) as process,
        httpx.Client(base_url=process.url, headers=headers, timeout=30) as client,
    ):

        def push(number: int) -> httpx.Response:
            return client.post(
                "/v1/events/visits",
                json=[{**row, "person": f"{'x' * 200}{number}-{i}"}
                      for i in range(50) for row in rows(0, number)],
                headers={"idempotency-key": str(number)},
            )  # fmt: skip

        accepted, found = 0, push(0)
        while found.status_code == 200 and accepted < 200:
            accepted += 1
            found = push(accepted)
        assert found.status_code == 503
        assert found.json()["code"] == "T720"
        assert found.headers["retry-after"] == "1"
        assert client.get("/v1/features/person/p1?signals=looks").json()["values"] == [2]
        everything = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, everything)
        assert push(accepted).json()["accepted"] == 100
        for number in range(accepted + 1):
            assert push(number).json()["duplicates"] == 100
        path = f"/v1/features/person/{'x' * 200}0-0?signals=looks"
        assert client.get(path).json()["values"] == [2]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "redis").mkdir()
    server = redis_server(tmp_path / "redis")
    settings = SETTINGS + f'\n[online]\nredis = "redis://127.0.0.1:{server.port}/0"\n'
    try:
        shop = project(tmp_path / "shop", SIGNALS, settings)
        yield server, shop
    finally:
        server.stop()


def test_a_redis_that_dies_and_comes_back(fleet: Any) -> None:
    server, shop = fleet
    headers = key_for(shop, "discover", push=("visits",))
    with (
        serving(shop.root) as process,
        httpx.Client(base_url=process.url, headers=headers, timeout=30) as client,
    ):

        def push(number: int) -> httpx.Response:
            headers = {"idempotency-key": str(number)}
            return client.post("/v1/events/visits", json=rows(0, number), headers=headers)

        def looks() -> Any:
            return client.get("/v1/features/person/c0?signals=looks")

        many = {"keys": {"person": ["c0", "c1"]}, "signals": ["looks"]}
        assert push(0).json()["accepted"] == 2
        assert looks().json()["values"] == [2]
        assert client.post("/v1/features", json=many).json()["values"] == [[2], [0]]
        server.kill()
        for found in (push(1), looks(), client.post("/v1/features", json=many)):
            assert found.status_code == 503
            assert found.json()["code"] == "T722"
            assert found.headers["retry-after"] == "1"
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        counted = client.get("/metrics")
        assert counted.status_code == 200
        assert "\ntacit_store_up 0\n" in counted.text
        assert '\ntacit_refused_total{code="T722"} 4\n' in counted.text
        server.start()
        assert push(1).json()["accepted"] == 2
        assert push(1).json()["duplicates"] == 2
        assert looks().json()["values"] == [4]
        assert client.get("/readyz").status_code == 200
        assert "\ntacit_store_up 1\n" in client.get("/metrics").text
