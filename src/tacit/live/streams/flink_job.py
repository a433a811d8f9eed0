"""Runs a job of Flink SQL: a program for the Python of Flink's own virtual environment.

It imports nothing of Tacit, whose dependencies and Flink's exclude each other. Its input is a line,
one JSON object: ``settings``, ``statements`` (the last is the one that runs), ``jars``, the folder
of ``checkpoints``, and the ``job``'s id. It prints ``running`` when the job was taken. A line
``stop`` ends the job with a savepoint, and it prints ``stopped``. When its input ends, so does it:
whoever started it is gone.

Two jobs of one stream would write what is between their checkpoints twice. So Java holds a lock on
a file of the folder for as long as it lives, and the checkpoint to go on from is looked for under
it; a job that a client left behind on a cluster is cancelled first.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

_OVER = ("CANCELED", "FAILED", "FINISHED", "UNKNOWN")


def main() -> int:
    given = json.loads(sys.stdin.readline())
    from pyflink.common import Configuration
    from pyflink.java_gateway import get_gateway
    from pyflink.table import EnvironmentSettings, TableEnvironment

    folder, chosen = Path(given["checkpoints"]), dict(given["settings"])
    java = get_gateway().jvm
    held = java.java.io.RandomAccessFile(str(folder / "lock"), "rw").getChannel().lock()
    cancel(folder / "job", chosen)
    last = newest(folder)
    if last is not None:
        chosen["execution.state-recovery.path"] = last.as_uri()
    (folder / ".job").write_text(given["job"])
    (folder / ".job").replace(folder / "job")  # known before there is such a job
    chosen["$internal.pipeline.job-id"] = given["job"]
    if given["jars"]:
        chosen["pipeline.jars"] = ";".join(given["jars"])
    configuration = Configuration()
    for name, value in chosen.items():
        configuration.set_string(name, value)
    environment = TableEnvironment.create(
        EnvironmentSettings.new_instance().with_configuration(configuration).build()
    )
    *tables, insert = given["statements"]
    for statement in tables:
        environment.execute_sql(statement)
    job = environment.execute_sql(insert).get_job_client()
    print("running", job.get_job_id(), flush=True)
    ending = threading.Event()

    def watch() -> None:
        try:
            job.get_job_execution_result().result()
        except Exception as error:
            print(error, file=sys.stderr, flush=True)
        if not ending.is_set():
            os._exit(4)  # it is to run until it is stopped

    threading.Thread(target=watch, daemon=True).start()
    if sys.stdin.readline() != "stop\n":
        os._exit(3)
    ending.set()
    # PyFlink 2.3 calls it without the format, and there is no such method in Java any more.
    formats = java.org.apache.flink.core.execution.SavepointFormatType
    ended = job._j_job_client.stopWithSavepoint(False, folder.as_uri(), formats.NATIVE)
    print("stopped", ended.get(), flush=True)
    del held
    os._exit(0)


def newest(folder: Path) -> Path | None:
    """The last checkpoint or savepoint that is whole: its metadata is written last."""
    found = folder.glob("**/_metadata")
    last = max(found, key=lambda path: path.stat().st_mtime_ns, default=None)
    return None if last is None else last.parent


def cancel(path: Path, settings: dict[str, str]) -> None:
    """Cancels the job of before, if it still runs on a cluster, and waits until it does not."""
    if settings.get("execution.target", "local") == "local" or not path.exists():
        return
    job, port = path.read_text(), settings.get("rest.port", "8081")
    url = f"http://{settings.get('rest.address', 'localhost')}:{port}/jobs/{job}"
    while state(url) not in _OVER:
        ask(url + "?mode=cancel", "PATCH")
        time.sleep(0.5)


def state(url: str) -> str:
    """A job's state; UNKNOWN for one that the cluster does not know."""
    try:
        return str(ask(url, "GET")["state"])
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return "UNKNOWN"
        raise


def ask(url: str, method: str) -> Any:
    """The cluster's answer."""
    request = urllib.request.Request(url, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.loads(answer.read() or b"{}")


if __name__ == "__main__":
    sys.exit(main())
