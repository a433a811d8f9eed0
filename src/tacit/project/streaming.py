"""The streams of a project: which engine takes them, and into which store.

A stream's state is in `.tacit/stream/ENGINE/SOURCE`: the engine's checkpoint, and what Flink hands
over. It belongs to the online store, as its marks do: neither goes on without the other (T415).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tacit.errors import EngineError
from tacit.privacy.randomness import system

if TYPE_CHECKING:
    from tacit.live.streams.flink import Streaming as OnFlink
    from tacit.live.streams.route import Opening
    from tacit.live.streams.spark import Streaming as OnSpark
    from tacit.project.project import Project
    from tacit.store.online.base import Backend


def opens(project: Project) -> Callable[[], Backend]:
    """Opens the backend of the online store, in any process."""
    where = project.settings.online
    if where.redis is None:
        from tacit.store.online.lmdb import Lmdb

        return partial(Lmdb, project.state / "online")
    from tacit.store.online.redis import Redis

    return partial(Redis, where.redis, name=f"tacit:{project.settings.name}")


def chosen(project: Project, names: Sequence[str]) -> list[str]:
    """The sources to stream: those named, or all of `[stream]`. Raises EngineError T419 for none,
    and for one that is not there; DataError T392 for one that the online store does not take."""
    known = project.settings.stream.sources
    wrong = next((name for name in names if name not in known), None)
    if wrong is not None or not known:
        raise EngineError(
            "tacit.toml names no stream" + (f" of {wrong!r}" if wrong else ""),
            code="T419",
            where=str(project.root),
            fix='write [stream.sources.NAME] and folder = "…", or kafka = "…" and topic = "…"',
        )
    found = list(names or known)
    for name in found:
        project.online.source(name)
    return found


def opening_of(project: Project, name: str) -> Opening:
    """How workers open the store."""
    from tacit.live.streams.route import Opening

    source = project.online.source(name)
    ids = project.settings.stream.sources[name].ids
    token = system().bytes(8).hex()
    return Opening(token, opens(project), source.feed, project.online.settings, ids)


def on_spark(project: Project, name: str) -> OnSpark:
    """A source's stream on Spark, not started yet. Raises EngineError T412 for wrong settings,
    T418 where executors on other machines could not reach the store."""
    from tacit.engines.spark import Spark
    from tacit.live.streams.spark import Streaming
    from tacit.project.engine import Chosen

    settings = project.settings
    options = settings.engine.options if settings.engine.name == "spark" else settings.spark
    engine = Chosen("spark", options).start()
    assert isinstance(engine, Spark), "it is the engine that was chosen"
    if settings.online.redis is None and not engine.master.startswith("local"):
        raise EngineError(
            "executors of other machines cannot write to LMDB on this one",
            code="T418",
            where="tacit.toml",
            fix='write redis = "redis://…" in [online], or master = "local[*]" in [engines.spark]',
        )
    folder = project.state / "stream" / "spark" / name
    return Streaming(
        engine, project.online, opening_of(project, name), project.settings.stream.sources[name],
        folder.absolute(), settings.stream.shards, settings.stream.every, project.now,
    )  # fmt: skip


def home_of(project: Project) -> Path:
    """Where Flink's virtual environment is."""
    return project.settings.stream.flink.home or (project.state / "flink").absolute()


def on_flink(project: Project, name: str, of: tuple[int, int] = (0, 1)) -> OnFlink:
    """A source's stream on Flink, not started yet; ``of`` is the share that this process takes."""
    from tacit.live.streams.flink import Flink, Streaming

    stream = project.settings.stream
    engine = Flink(home_of(project), stream.flink.jars, stream.flink.options)
    folder = project.state / "stream" / "flink" / name
    return Streaming(
        engine, project.online, opening_of(project, name), project.settings.stream.sources[name],
        folder.absolute(), stream.shards, stream.every, project.now, project.settings.as_of, of,
    )  # fmt: skip


def together(streams: Sequence[Callable[[], Any]], stopped: threading.Event) -> None:
    """Runs streams beside each other; the first that fails stops all, and is raised."""
    with ThreadPoolExecutor(len(streams)) as pool:
        running: list[Future[Any]] = [pool.submit(stream) for stream in streams]
        try:
            wait(running, return_when=FIRST_EXCEPTION)
        finally:
            if any(each.done() and each.exception() for each in running):
                stopped.set()
    for each in running:
        each.result()


def shown(project: Project, engine: str, name: str) -> str:
    """What an engine is told of a source: Flink its SQL, Spark its reader's options. Without
    secrets."""
    from tacit.live.streams.flink_sql import statements
    from tacit.live.streams.messages import spark_options

    messages = project.settings.stream.sources[name]
    if engine == "flink":
        feed = project.online.source(name).feed
        folder = (project.state / "stream" / "flink" / name / "segments").absolute()
        shards = project.settings.stream.shards
        return ";\n".join(statements(feed, messages, folder, shards, show=True)) + ";"
    return "\n".join(
        f"{key} = {value}" for key, value in spark_options(messages, show=True).items()
    )
