"""What is answered where it comes in is what the application answers; the rest goes there."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve_cases import NOW, ROWS, filled
from serve_client import Caller, key_for, serving

from tacit.project import Project
from tacit.serve import server as server_module
from tacit.serve.alarm import Alarm
from tacit.serve.direct import Direct, Wanted
from tacit.serve.keys import revoke_key
from tacit.serve.server import Server, application, config

PLACE = "/v1/features/person/p1"


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    return filled(tmp_path)


def said(direct: Direct, path: str, headers: dict[str, str], *more: tuple[bytes, bytes]) -> Any:
    """The body, or None where the application is to answer."""
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    found = direct(path.encode(), [*raw, *more])
    if found is None:
        return None
    if isinstance(found, Wanted):
        found = direct.whole(found, *found.asked.json_each([found.known]), ())
    head, _, body = found.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length: %d" % len(body) in head
    return body


def test_both_ways_say_the_same(shop: Project) -> None:
    headers = key_for(shop, "discover")
    app = application(shop)
    direct, way = Direct(app), Caller(app, headers)
    for path in (
        PLACE, "/v1/features/person/nobody", f"{PLACE}?signals=looks,share,last",
        "/v1/features/thing/i1",
    ):  # fmt: skip
        assert said(direct, path, headers) in (None, b"") or "nobody" in path  # not asked before
        answer = way.get(path)
        assert answer.status_code == 200
        assert said(direct, path, headers) == answer.content
    before = app.metrics.routes["/v1/features/{entity}/{key}"].statuses[200]
    shop.push("visits", [{**ROWS[0], "at": NOW - 5}], batch="another")
    new = said(direct, PLACE, headers)
    assert new == way.get(PLACE).content
    assert b'"values":[3' in new
    assert app.metrics.routes["/v1/features/{entity}/{key}"].statuses[200] == before + 2


def test_whatever_is_not_plain_is_the_applications(shop: Project) -> None:
    headers = key_for(shop, "discover")
    app = application(shop)
    direct, way = Direct(app), Caller(app, headers)
    assert way.get(PLACE).status_code == 200
    assert said(direct, PLACE, headers) is not None
    for path in ("/v1/features/person/", "/v1/features/person", f"{PLACE}/x", f"{PLACE}%20",
                 f"{PLACE}#x",
                 f"{PLACE}?at={NOW}&signals=looks", f"{PLACE}?signals=lokos", "/v1/features/%70erson/p1", "/v1/features/é/p1"):  # fmt: skip
        assert said(direct, path, headers) is None
    for more in (
        (b"accept", b"application/vnd.tacit.float32"), (b"accept", b"text/html"),
        (b"expect", b"100-continue"), (b"content-length", b"3"), (b"traceparent", b"00-1-2-01"),
    ):  # fmt: skip
        assert said(direct, PLACE, headers, more) is None
    for wrong in ({}, {"authorization": "Bearer nobody"}, {"authorization": "Basic eA=="}):
        assert said(direct, PLACE, wrong) is None
    revoke_key(shop.control, headers["authorization"].split("_")[1])
    app.identity.refresh()
    assert said(direct, PLACE, headers) is None
    app.stopping = True
    assert said(direct, PLACE, key_for(shop, "discover")) is None


def test_a_connection_carries_both(tmp_path: Path) -> None:
    """Pipelined, in pieces, with and without a body: each answer is its request's, in order."""
    shop = filled(tmp_path)
    headers = key_for(shop, "discover")
    shop.online.backend.close()
    with serving(tmp_path) as process:
        with httpx.Client(base_url=process.url, headers=headers) as client:
            first = client.get(PLACE)
            for _ in range(3):
                assert client.get(PLACE).content == first.content
                assert client.get(f"{PLACE}?signals=lokos").status_code == 400
            asked = {"keys": {"person": ["p1"]}, "signals": ["looks"]}
            assert client.post("/v1/features", json=asked).json()["values"] == [[2]]
            assert client.get(PLACE).content == first.content
        head = f"Host: x\r\nAuthorization: {headers['authorization']}\r\n"
        plain = f"GET {PLACE} HTTP/1.1\r\n{head}\r\n"
        wrong = f"GET {PLACE}?signals=lokos HTTP/1.1\r\n{head}\r\n"
        last = f"GET {PLACE} HTTP/1.1\r\n{head}Connection: close\r\n\r\n"
        data = (plain * 2 + wrong + plain + wrong + plain + last).encode()
        for size in (len(data), 7):
            with socket.create_connection(("127.0.0.1", process.port), timeout=30) as sent:
                for low in range(0, len(data), size):
                    sent.sendall(data[low : low + size])
                found = b""
                while part := sent.recv(1 << 16):
                    found += part
            assert re.findall(rb"HTTP/1.1 (\d+)", found) == [
                b"200", b"200", b"400", b"200", b"400", b"200", b"200",
            ]  # fmt: skip
            assert found.count(first.content) == 5


# ---------------------------------------------------------------------- between two requests


def test_an_alarm_comes_once_after_it_was_last_set() -> None:
    async def run() -> None:
        loop, came = asyncio.get_running_loop(), []
        alarm = Alarm(loop, 0.1, lambda: came.append(loop.time()))
        for _ in range(10):  # longer than it takes to come
            alarm.set()
            await asyncio.sleep(0.03)
            alarm.cancel()
        await asyncio.sleep(0.25)
        assert came == []
        begun = loop.time()
        alarm.set()
        await asyncio.sleep(0.06)
        alarm.cancel()
        alarm.set()
        last = loop.time()
        await asyncio.sleep(0.4)
        assert len(came) == 1
        assert came[0] >= last + 0.099 > begun + 0.15
        alarm.set()
        alarm.end()
        await asyncio.sleep(0.2)
        assert len(came) == 1

    asyncio.run(run())


def test_a_connection_that_asks_no_more_is_left(
    shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So long after its last request, not after its first."""
    monkeypatch.setattr(server_module, "IDLE", 1)
    headers, app = key_for(shop, "discover"), application(shop)
    server = Server(config(app, app.settings), app)
    server.config.port = 0
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        request = f"GET {PLACE} HTTP/1.1\r\nhost: a\r\nauthorization: {headers['authorization']}"
        with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
            for _ in range(5):
                one.sendall(request.encode() + b"\r\n\r\n")
                assert one.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")
                last = time.monotonic()
                time.sleep(0.5)
            assert one.recv(100) == b""
            assert 0.9 < time.monotonic() - last < 5
    finally:
        server.should_exit = True
        thread.join(20)
