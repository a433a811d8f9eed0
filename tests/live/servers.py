"""Real servers for tests, each in a folder of its own; installed where they are missing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest


def binary(name: str, package: str) -> str:
    """A server's program, from Debian's package if it is not there."""
    for folder in (None, "/usr/sbin:/usr/local/sbin"):
        found = shutil.which(name, path=folder)
        if found:
            return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(
            ["apt-get", "install", "-y", "-q", package], capture_output=True, check=False
        )
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if not found:
        pytest.skip(f"{name} is not installed, and cannot be")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A process that listens."""

    def __init__(self, command: list[str], port: int, folder: Path) -> None:
        self.command, self.port, self.folder = command, port, folder
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError("the server does not answer")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


def redis_server(folder: Path, *options: str) -> Server:
    """Redis that writes every command to its file before it answers."""
    port = free_port()
    command = [
        binary("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1",
        "--dir", str(folder), "--appendonly", "yes", "--appendfsync", "always", "--save", "",
        *options,
    ]  # fmt: skip
    return Server(command, port, folder)


def nats_server(folder: Path, *options: str) -> Server:
    port = free_port()
    command = [
        binary("nats-server", "nats-server"), "-p", str(port), "-a", "127.0.0.1", "-js", "-sd",
        str(folder), *options,
    ]  # fmt: skip
    return Server(command, port, folder)
