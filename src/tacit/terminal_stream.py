"""What `tacit stream` does: takes streams into the online store, until it is stopped."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from tacit.errors import EngineError, StoreError
from tacit.live.upkeep import upkeep
from tacit.project import Project
from tacit.project.streaming import (
    chosen,
    counts_of,
    home_of,
    on_flink,
    on_push,
    on_spark,
    shown,
    together,
)
from tacit.terminal import out


def show_stream(given: argparse.Namespace) -> None:
    """Runs the streams of a project, or makes Flink's environment, or prints what would run."""
    project = Project.load(given.folder)
    if given.setup:
        _setup(project, given)
        return
    with _ending() as stopped:
        if given.engine != "push" or _opened(project, stopped, brief=given.once or given.show):
            _run(project, given, stopped)


@contextmanager
def _ending() -> Iterator[threading.Event]:
    """What is set when the process is asked to end, by Ctrl-C or SIGTERM."""
    stopped = threading.Event()
    asked = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(each, lambda *_: stopped.set()) for each in asked]
    try:
        yield stopped
    finally:
        for each, handler in zip(asked, before, strict=True):
            signal.signal(each, handler)


def _run(project: Project, given: argparse.Namespace, stopped: threading.Event) -> None:
    console, names = out(), chosen(project, given.source, given.engine)
    if given.show:
        for name in names:
            print(shown(project, given.engine, name))
        return
    jobs = _jobs(project, given, names, stopped)
    console.print(f"{given.engine} takes {', '.join(names)}; stop it with Ctrl-C")
    try:
        with upkeep(project.online, project.now, console.print, last=given.once):
            together(jobs, stopped)
    finally:
        for name in names:
            try:
                console.print(counts_of(project, name))
            except StoreError as error:  # it was stopped while the store was away
                console.print(f"{name}: {error.message}")


def _opened(project: Project, stopped: threading.Event, *, brief: bool) -> bool:
    """Opens the online store, once it can be reached; false if that was stopped first."""
    from tacit.live.inputs.pushing import Waiting

    waiting = Waiting("the online store", stopped, out().print, brief=brief)
    return waiting.until(lambda: project.online) is not None


def _jobs(
    project: Project, given: argparse.Namespace, names: list[str], stopped: threading.Event
) -> list[Callable[[], None]]:
    if given.engine == "push":
        say = out().print
        return [
            partial(on_push(project, name, say).run, stopped, once=given.once) for name in names
        ]
    if given.engine == "spark":
        return [partial(on_spark(project, name).run, stopped, once=given.once) for name in names]
    idle = given.idle if given.once else None
    takers = [on_flink(project, name, given.share) for name in names]
    return [partial(taker.run, stopped, idle=idle) for taker in takers]


def _setup(project: Project, given: argparse.Namespace) -> None:
    from tacit.live.streams.flink import install

    if given.engine != "flink":
        raise EngineError(
            f"{given.engine} needs no environment of its own",
            code="T412",
            where="--setup",
            fix='install what it needs beside Tacit: pip install "tacit[spark,redis,nats]"',
        )
    install(home_of(project))
    out().print(f"Flink is in {home_of(project)}")
