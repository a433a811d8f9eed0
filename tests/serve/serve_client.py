"""Callers of a server: within this process, or of a real one in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from tacit.project import Project
from tacit.serve.application import Application
from tacit.serve.keys import add_key
from tacit.serve.server import application

BASE = "http://server"


def key_for(
    shop: Project,
    *purposes: str,
    push: tuple[str, ...] = (),
    expires: int | None = None,
) -> dict[str, str]:
    """The header of a new key."""
    made = add_key(shop.control, "a test", purposes, push, expires)
    return {"authorization": f"Bearer {made}"}


class Caller:
    """Calls an application as if over HTTP."""

    def __init__(self, app: Application, headers: dict[str, Any] | None = None) -> None:
        self.app, self.headers = app, headers or {}

    def __call__(self, method: str, path: str, **how: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
            async with httpx.AsyncClient(
                transport=transport, base_url=BASE, headers=self.headers
            ) as client:
                return await client.request(method, path, **how)

        return asyncio.run(call())

    def get(self, path: str, **how: Any) -> httpx.Response:
        return self("GET", path, **how)

    def post(self, path: str, **how: Any) -> httpx.Response:
        return self("POST", path, **how)


def caller(shop: Project, *purposes: str, push: tuple[str, ...] = ()) -> Caller:
    headers = key_for(shop, *purposes, push=push)
    return Caller(application(shop), headers)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """`tacit serve` as a process."""

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        scheme: str = "http",
        before: Callable[[], None] | None = None,
    ) -> None:
        self.folder, self.port, self.before = folder, port or free_port(), before
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.lines = folder / "server.log"
        self.start()

    def start(self) -> None:
        with open(self.lines, "ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "tacit.cli", "serve", str(self.folder),
                    "--port", str(self.port),
                ],
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                preexec_fn=self.before,
            )  # fmt: skip
        for _ in range(6000):  # a machine may be busy: to start takes seconds of its time
            if self.process.poll() is not None:
                raise RuntimeError(self.lines.read_text())
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError("the server does not answer")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Ends it as a supervisor would; its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(60)


@contextlib.contextmanager
def serving(folder: Path, **how: Any) -> Iterator[Process]:
    found = Process(folder, **how)
    try:
        yield found
    finally:
        found.stop()
