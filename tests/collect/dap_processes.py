"""A leader and a helper as processes of their own, as `tacit dap` starts them."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tacit.collect.dap.client import Client
from tacit.collect.dap.collector import Collector
from tacit.collect.dap.peer import HttpPeer
from tacit.collect.dap.settings import new_task, read_client, read_settings
from tacit.collect.dap.task import Task
from tacit.errors import CollectError
from tacit.privacy.randomness import system


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Parties:
    """Use it in a `with`; `kill` and `start` either party in between."""

    def __init__(
        self, folder: Path, task_of: Callable[[list[str]], Task], more: str = "", **places: str
    ) -> None:
        ports = {name: port() for name in ("leader", "helper")}
        urls = [f"http://127.0.0.1:{number}/{name}" for name, number in ports.items()]
        listen = [f"127.0.0.1:{number}" for number in ports.values()]
        new_task(folder, task_of(urls), system(), listen)
        for name in ports:
            path, place = folder / f"{name}.toml", places.get(name, f"{name}.db")
            text = path.read_text().replace(f'"{name}.db"', f'"{place}"')
            path.write_text(text.replace("\n[[keys]]", f"{more}\n[[keys]]", 1))
        self._take(folder, ports)

    @classmethod
    def of(cls, folder: Path, ports: dict[str, int]) -> Parties:
        """Those of a folder that `tacit dap new` made."""
        made = cls.__new__(cls)
        made._take(folder, ports)
        return made

    def _take(self, folder: Path, ports: dict[str, int]) -> None:
        self.folder, self.ports = folder, ports
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.peer = HttpPeer()
        self.task = read_client(folder / "client.toml")

    def __enter__(self) -> Parties:
        for name in self.ports:
            self.start(name)
        for name in self.ports:
            self.wait(name)
        return self

    def __exit__(self, *_: Any) -> None:
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            process.wait(30)
        self.peer.close()

    def start(self, name: str) -> None:
        command = [
            sys.executable,
            "-m",
            "tacit.cli",
            "dap",
            name,
            str(self.folder / f"{name}.toml"),
        ]
        log = (self.folder / f"{name}.log").open("ab")
        self.running[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def wait(self, name: str) -> None:
        """Until it answers."""
        url = f"http://127.0.0.1:{self.ports[name]}/{name}/health"
        for _ in range(1200):
            try:
                if self.peer.request("GET", url, {}, b"").status == 200:
                    return
            except CollectError:
                time.sleep(0.05)
        raise TimeoutError(self.log(name))

    def kill(self, name: str) -> None:
        """kill -9"""
        self.running[name].kill()
        self.running[name].wait(30)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def client(self) -> Client:
        return Client(self.task, self.peer)

    def collector(self) -> Collector:
        settings = read_settings(self.folder / "collector.toml", "collector")
        token = settings.tasks[0].token
        assert token is not None
        return Collector(self.task, settings.keys[0], self.peer, token)
