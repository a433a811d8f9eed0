"""The HTTP side: bodies are bounded before they are read, and paths begin where the URL says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dap_world import World, make_task

from tacit.collect.dap.asgi import Application
from tacit.collect.dap.routes import LONGEST_UPLOAD

MEDIA = "application/ppm-dap;message="


class Server:
    """An application, and what a server would have heard from it."""

    def __init__(self, world: World, party: str) -> None:
        self.world, self.closed = world, 0
        service = world.network.services[f"{party}.test"]
        self.app = Application(service, "/dap", self.close)

    def close(self) -> None:
        self.closed += 1

    def __call__(
        self, method: str, path: str, messages: list[dict[str, Any]] | bytes = b"", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        if isinstance(messages, bytes):
            messages = [{"type": "http.request", "body": messages}]
        pending = iter(messages)
        sent: list[dict[str, Any]] = []
        scope = {
            "type": "http",
            "method": method,
            "path": path.replace("TASK", self.world.task.name),
            "query_string": b"",
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
        }

        async def receive() -> dict[str, Any]:
            return next(pending)

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        start, body = sent
        found = {key.decode(): value.decode() for key, value in start["headers"]}
        self.left = list(pending)
        return start["status"], found, body["body"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(make_task(min_batch_size=3), tmp_path)
    yield made
    made.stop()


def test_an_upload_in_parts(world: World) -> None:
    leader = Server(world, "leader")
    body = world.task.profile.write_upload(world.client.reports([1, 2, 3]))
    parts = [
        {"type": "http.request", "body": body[:100], "more_body": True},
        {"type": "http.request", "body": body[100:]},
    ]
    status, headers, answer = leader(
        "POST", "/dap/tasks/TASK/reports", parts, content_type=MEDIA + "upload-req"
    )
    assert (status, headers["content-length"], answer) == (200, "0", b"")
    assert world.collect().reports == 3


def test_a_body_that_is_too_long_is_not_read(world: World) -> None:
    leader = Server(world, "leader")
    place, kind = "/dap/tasks/TASK/reports", MEDIA + "upload-req"
    told = str(LONGEST_UPLOAD + 1)
    status, headers, _ = leader("POST", place, b"", content_type=kind, content_length=told)
    assert (status, headers["connection"], len(leader.left)) == (413, "close", 1)
    endless = [{"type": "http.request", "body": bytes(1 << 20), "more_body": True}] * 100
    status, _, _ = leader("POST", place, endless, content_type=kind)
    assert status == 413
    assert len(leader.left) == 100 - 33  # stopped at the first megabyte too many


def test_nobody_reads_the_body_of_a_stranger(world: World) -> None:
    helper = Server(world, "helper")
    kind = MEDIA + "aggregation-job-init-req"
    status, headers, body = helper("POST", "/dap/tasks/TASK/aggregation_jobs", content_type=kind)
    assert (status, headers["connection"], len(helper.left)) == (403, "close", 1)
    assert json.loads(body)["taskid"] == world.task.name


def test_a_request_that_breaks_off(world: World) -> None:
    parts = [
        {"type": "http.request", "body": b"x", "more_body": True},
        {"type": "http.disconnect"},
    ]
    leader = Server(world, "leader")
    status, _, body = leader(
        "POST", "/dap/tasks/TASK/reports", parts, content_type=MEDIA + "upload-req"
    )
    assert status == 400
    assert b"invalidMessage" in body


def test_locations_stand_below_the_url(world: World) -> None:
    leader = Server(world, "leader")
    body = world.task.profile.write_query(world.task, world.everything())
    status, headers, _ = leader(
        "POST",
        "/dap/tasks/TASK/collection_jobs",
        body,
        content_type=MEDIA + "collection-job-req",
        **world.collector_token.headers(),
    )
    assert status == 200
    assert headers["location"].startswith(f"/dap/tasks/{world.task.name}/collection_jobs/")
    assert leader("GET", "/dap/health")[0] == 200
    assert leader("DELETE", headers["location"], **world.collector_token.headers())[0] == 204


def test_the_server_starts_and_stops_it(world: World) -> None:
    leader, sent = Server(world, "leader"), []
    heard = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> dict[str, Any]:
        return next(heard)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(leader.app({"type": "lifespan"}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert leader.closed == 1


def test_a_failure_of_ours_tells_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def upload(body: bytes) -> Any:
        raise RuntimeError("the share is 42")

    world.leader.upload = upload  # type: ignore[method-assign]
    leader = Server(world, "leader")
    status, _, body = leader(
        "POST", "/dap/tasks/TASK/reports", b"", content_type=MEDIA + "upload-req"
    )
    assert status == 500
    assert b"42" not in body
    assert "42" in caplog.text
