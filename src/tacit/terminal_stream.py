"""What `tacit stream` does: takes streams past one machine, until it is stopped."""

from __future__ import annotations

import argparse
import signal
import threading
from functools import partial

from tacit.errors import EngineError
from tacit.project import Project
from tacit.project.streaming import (
    chosen,
    home_of,
    on_flink,
    on_spark,
    shown,
    together,
)
from tacit.terminal import out


def show_stream(given: argparse.Namespace) -> None:
    """Runs the streams of a project, or makes Flink's environment, or prints what would run."""
    project, console = Project.load(given.folder), out()
    if given.setup:
        _setup(project, given)
        return
    names = chosen(project, given.source)
    if given.show:
        for name in names:
            print(shown(project, given.engine, name))
        return
    stopped = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stopped.set())
    console.print(f"{given.engine} takes {', '.join(names)}; stop it with Ctrl-C")
    if given.engine == "spark":
        jobs = [partial(on_spark(project, name).run, stopped, once=given.once) for name in names]
    else:
        idle = given.idle if given.once else None
        takers = [on_flink(project, name, given.share) for name in names]
        jobs = [partial(taker.run, stopped, idle=idle) for taker in takers]
    together(jobs, stopped)
    _told(project, names)


def _setup(project: Project, given: argparse.Namespace) -> None:
    from tacit.live.streams.flink import install

    if given.engine != "flink":
        raise EngineError(
            "Spark needs no environment of its own",
            code="T412",
            where="--setup",
            fix='install it beside Tacit: pip install "tacit[spark]"',
        )
    install(home_of(project))
    out().print(f"Flink is in {home_of(project)}")


def _told(project: Project, names: list[str]) -> None:
    from tacit.live.streams.lanes import counted

    for name in names:
        counts = counted(project.online, name)
        out().print(f"{name}: " + ", ".join(f"{count:,} {what}" for what, count in counts.items()))
