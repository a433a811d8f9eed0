"""Flink SQL as a process in its own virtual environment, and the takers of what it writes.

Flink's dependencies and Tacit's exclude each other, so Flink has an environment of its own, which
`install` makes when somebody asks for it. A job is started from its last complete checkpoint or
savepoint; it writes segments, whole when a checkpoint is; a `Taker` takes them. Killed at any
moment, together or apart, they go on from there: what Flink reads again it had not made visible,
and what it made visible is taken by its marks.

Two jobs at once would count twice; `flink_job` lets one start when the other is gone.

While the job runs, some lanes have messages that others do not have yet, so the stream stands open,
and no baseline may begin. Ended in order, with a savepoint, everything is in every lane.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tacit.errors import EngineError, StoreError
from tacit.live.online import Online
from tacit.live.streams.flink_sql import settings, statements
from tacit.live.streams.lanes import Batch, begin, finish, ready
from tacit.live.streams.messages import Messages
from tacit.live.streams.route import Opening
from tacit.live.streams.taker import Taker
from tacit.privacy.randomness import system
from tacit.store.atomic import make_folder, replace_file

STREAM = "flink"
PACKAGE = "apache-flink>=2.3,<2.4"
JOB = Path(__file__).with_name("flink_job.py")
_POLL = 0.2
_START, _STOP = 300.0, 300.0
_STALE = 3600.0
"""Seconds after which a file that Flink has not gone on with, nor made whole, is a killed job's."""


def install(home: Path) -> None:
    """Makes Flink's virtual environment: some 850 MB, by pip. Raises EngineError T416."""
    python = home / "bin" / "python"
    commands = [
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]
    ]
    if not python.exists():
        commands.insert(0, [sys.executable, "-m", "venv", str(home)])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise _absent(home, f"it cannot be installed: {said[-1] if said else 'no word why'}")


def python_of(home: Path) -> Path:
    """The Python that has Flink. Raises EngineError T416 where there is none."""
    found = home / "bin" / "python"
    if not found.exists() or not list(home.glob("lib/python*/site-packages/pyflink")):
        raise _absent(home, "it is not installed")
    return found


def _absent(home: Path, why: str) -> EngineError:
    return EngineError(
        f"Flink does not start: {why}",
        code="T416",
        where=str(home),
        fix="run tacit stream --engine flink --setup, with Java 17 or later on the PATH; "
        "[stream.flink] home says where it is",
    )


@dataclass(frozen=True)
class Flink:
    """How the job runs.

    Attributes:
        home: of the virtual environment.
        jars: connectors that Flink does not bring, such as Kafka's.
        options: any of its settings.
    """

    home: Path
    jars: Sequence[Path] = ()
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Streaming:
    """One source's stream into the online store.

    Attributes:
        flink: the engine.
        online: the store.
        opening: how takers open it.
        messages: where events come from.
        folder: of the job's checkpoints, its segments and its log.
        shards: how many lanes there are.
        every: how often Flink makes segments whole, µs.
        clock: now, µs.
        replayed: the moment at which messages come, where time is replayed.
        of: (i, n): this process takes the shards that are i modulo n, and the first runs the job.
    """

    flink: Flink
    online: Online
    opening: Opening
    messages: Messages
    folder: Path
    shards: int
    every: int
    clock: Callable[[], int]
    replayed: int | None = None
    of: tuple[int, int] = (0, 1)

    def run(self, stopped: threading.Event, *, idle: float | None = None) -> None:
        """Runs the job and takes its segments until it is stopped, or nothing has come for
        ``idle`` seconds; then ends the job with a savepoint.

        Raises EngineError T416 and T417 when Flink does not start or fails, or another taker does
        not take its share; T414 and T415 for a stream that does not fit what the store holds;
        StoreError for a store that cannot be written: run it again, and it goes on where it was.
        """
        if self.of[0]:
            self._share(stopped, idle)
            return
        python = python_of(self.flink.home)
        batch = self._batch(stopped)
        if batch is None:
            return
        taker = Taker(self.opening, batch, make_folder(self.folder / "segments"), self.of)
        if self.messages.folder is not None:
            make_folder(self.messages.folder)
        with (self.folder / "job.log").open("ab") as log:
            job = self._start(python, log)
            try:
                self._take(job, taker, stopped, idle)
                self._stop(job)
            finally:
                job.kill()
                job.wait()
        end = time.monotonic() + _STOP
        while taker.step() or taker.waiting():
            if time.monotonic() > end:
                raise self._failed("segments of another share are not taken")
            stopped.wait(0 if self.of[1] == 1 else _POLL)
        taker.close()
        finish(self.online, batch, self.clock())

    def _share(self, stopped: threading.Event, idle: float | None) -> None:
        """Takes what the job of another process makes whole, until it is stopped, or idle."""
        name = self.opening.feed.name
        stands = self.online.standing(name)
        number = stands.streams.get(STREAM, {}).get("number", 0)
        batch = Batch(name, STREAM, number, self.clock(), stands.version, self.shards)
        taker = Taker(self.opening, batch, make_folder(self.folder / "segments"), self.of)
        last = time.monotonic()
        while not stopped.is_set() and (idle is None or time.monotonic() - last < idle):
            if taker.step():
                self.online.heard(name, self.clock())
                last = time.monotonic()
            else:
                stopped.wait(_POLL)
        taker.close()

    def _batch(self, stopped: threading.Event) -> Batch | None:
        """The run that was left open, or the next; None when stopped before there is a baseline."""
        name = self.opening.feed.name
        while not stopped.is_set():
            if ready(self.online, name):
                stands = self.online.standing(name).streams.get(STREAM)
                number = 0 if stands is None else stands["number"] + (not stands["open"])
                now = self.clock()
                return begin(self.online, name, STREAM, self._run(), number, self.shards, now)
            stopped.wait(1)
        return None

    def _run(self) -> str:
        """What identifies these checkpoints: they and it lie in one folder."""
        path = make_folder(self.folder / "checkpoints") / "run"
        if not path.exists():
            replace_file(path, [system().bytes(16).hex().encode()])
        return path.read_text()

    def _start(self, python: Path, log: IO[bytes]) -> subprocess.Popen[str]:
        given = settings(self.every, self.folder / "checkpoints", self.flink.options)
        asked = {
            "settings": given,
            "statements": statements(
                self.opening.feed,
                self.messages,
                self.folder / "segments",
                self.shards,
                now=self.replayed,
            ),
            "jars": [jar.as_uri() for jar in self.flink.jars],
            "checkpoints": str(self.folder / "checkpoints"),
            "job": system().bytes(16).hex(),
        }
        environment = os.environ | {"FLINK_LOG_DIR": str(self.folder)}
        job = subprocess.Popen(  # noqa: S603
            [str(python), str(JOB)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C is for this process, which ends the job in order
        )
        assert job.stdin is not None, "a pipe was asked for"
        job.stdin.write(json.dumps(asked) + "\n")
        job.stdin.flush()
        if not self._says(job, "running", _START):
            job.kill()
            raise self._failed("it does not start")
        return job

    def _says(self, job: subprocess.Popen[str], word: str, patience: float) -> bool:
        """Whether the job says a word before it ends or the time is over."""
        assert job.stdout is not None, "a pipe was asked for"
        timer = threading.Timer(patience, job.kill)
        timer.start()
        try:
            return any(line.startswith(word) for line in job.stdout)
        finally:
            timer.cancel()

    def _take(
        self,
        job: subprocess.Popen[str],
        taker: Taker,
        stopped: threading.Event,
        idle: float | None,
    ) -> None:
        name, started = self.opening.feed.name, time.monotonic()
        last = swept = started
        while not stopped.is_set():
            try:
                taken = taker.step()
            except StoreError as error:
                if error.code != "T721":  # a busy store: the segments wait
                    raise
                taken = 0
            if taken:
                self.online.heard(name, self.clock())
                last = time.monotonic()
            if job.poll() is not None:
                raise self._failed("the job ended")
            if idle is not None and time.monotonic() - last > idle:
                return
            if time.monotonic() - swept > _STALE:
                self._sweep()
                swept = time.monotonic()
            stopped.wait(_POLL)

    def _stop(self, job: subprocess.Popen[str]) -> None:
        """Ends the job with a savepoint, which makes its last segments whole."""
        assert job.stdin is not None, "a pipe was asked for"
        job.stdin.write("stop\n")
        job.stdin.flush()
        if not self._says(job, "stopped", _STOP):
            raise self._failed("it does not end in order")

    def _sweep(self) -> None:
        """Removes what a killed job began to write and nobody goes on with: people's rows."""
        for path in (self.folder / "segments").glob("view=*/shard=*/.*"):
            if time.time() - path.stat().st_mtime > _STALE:
                path.unlink(missing_ok=True)

    def _failed(self, what: str) -> EngineError:
        log = self.folder / "job.log"
        said = [
            line.strip()
            for line in log.read_text(errors="replace").splitlines()[-400:]
            if "Exception" in line or "Error" in line
        ]
        why = said[-1][:400] if said else "no word why"
        return EngineError(
            f"Flink failed: {what}: {why}",
            code="T417",
            where=str(log),
            fix="mend what its log says and run it again: it goes on where it was",
        )
