"""Clusters of several processes on this machine: Spark's standalone master and workers, Flink's job
manager and task managers. Each member is a group of processes, killed with all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from servers import free_port

HOST = "127.0.0.1"
_PATIENCE = 400.0


class Member:
    """A process of a cluster, and its children."""

    def __init__(
        self, command: Sequence[str | Path], log: Path, environment: Mapping[str, str]
    ) -> None:
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [str(each) for each in command],
                stdout=out,
                stderr=out,
                env=os.environ | environment,
                start_new_session=True,
            )

    def kill(self) -> None:
        """kill -9, of all of it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def wait(what: str, there: Callable[[], bool], patience: float = _PATIENCE) -> None:
    end = time.monotonic() + patience
    while not there():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.2)


def page(url: str) -> bytes:
    """What a member says of itself; nothing while it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bytes(answer.read())
    except (urllib.error.URLError, OSError):
        return b""


class SparkCluster:
    """A master and workers of one core each, which start an executor for every application."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        import pyspark

        folder.mkdir()
        self.home = Path(pyspark.__file__).parent
        port, web = free_port(), free_port()
        self.url = f"spark://{HOST}:{port}"
        environment = {
            "SPARK_HOME": str(self.home),
            "SPARK_LOCAL_IP": HOST,
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_WORKER_DIR": str(folder),
        }
        command = [self.home / "bin" / "spark-class"]
        master = [
            *command, "org.apache.spark.deploy.master.Master",
            "--host", HOST, "--port", str(port), "--webui-port", str(web),
        ]  # fmt: skip
        worker = [
            *command, "org.apache.spark.deploy.worker.Worker",
            "--host", HOST, "--cores", "1", "--memory", "1g", self.url,
        ]  # fmt: skip
        self.members = [Member(master, folder / "master.log", environment)]
        wait("Spark's master", lambda: bool(page(f"http://{HOST}:{web}/json/")))
        self.workers = [
            Member([*worker, "--webui-port", str(free_port())], folder / f"{i}.log", environment)
            for i in range(workers)
        ]
        self.members += self.workers
        alive = b'"state" : "ALIVE"'
        wait("Spark's workers", lambda: page(f"http://{HOST}:{web}/json/").count(alive) == workers)

    def stop(self) -> None:
        for member in reversed(self.members):
            member.kill()


class FlinkCluster:
    """A job manager and task managers of two slots each."""

    def __init__(self, folder: Path, home: Path, managers: int = 2) -> None:
        folder.mkdir()
        [package] = home.glob("lib/python*/site-packages/pyflink")
        self.port = free_port()
        settings = {
            "jobmanager.rpc.address": HOST,
            "jobmanager.rpc.port": free_port(),
            "jobmanager.bind-host": HOST,
            "rest.address": HOST,
            "rest.port": self.port,
            "rest.bind-address": HOST,
            "taskmanager.host": HOST,
            "taskmanager.bind-host": HOST,
            "taskmanager.numberOfTaskSlots": 2,
            "jobmanager.memory.process.size": "1g",
            "taskmanager.memory.process.size": "1g",
            "heartbeat.interval": 1000,
            "heartbeat.timeout": 8000,
            "io.tmp.dirs": str(folder),
        }
        (folder / "config.yaml").write_text(
            "".join(f"{name}: {value}\n" for name, value in settings.items())
        )
        environment = {"FLINK_CONF_DIR": str(folder), "FLINK_LOG_DIR": str(folder)}
        master, worker = (
            ["bash", package / "bin" / f"{name}.sh", "start-foreground"]
            for name in ("jobmanager", "taskmanager")
        )
        self.members = [Member(master, folder / "master.log", environment)]
        overview = f"http://{HOST}:{self.port}/overview"
        wait("Flink's job manager", lambda: bool(page(overview)))
        self.workers = [Member(worker, folder / f"{i}.log", environment) for i in range(managers)]
        self.members += self.workers
        ready = b'"taskmanagers":%d' % managers
        wait("Flink's task managers", lambda: ready in page(overview))

    @property
    def options(self) -> dict[str, str]:
        """What a job is told to run there."""
        return {
            "execution.target": "remote",
            "rest.address": HOST,
            "rest.port": str(self.port),
            "parallelism.default": "2",
        }

    def stop(self) -> None:
        for member in reversed(self.members):
            member.kill()
