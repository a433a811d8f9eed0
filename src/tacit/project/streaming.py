"""The streams of a project: which engine takes them, and into which store.

A stream's state is in `.tacit/stream/ENGINE/SOURCE`: the engine's checkpoint, and what Flink hands
over. It belongs to the online store, as its marks do: neither goes on without the other (T415).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tacit.errors import EngineError
from tacit.live.streams.messages import READS, Messages
from tacit.privacy.randomness import system
from tacit.store.atomic import make_folder
from tacit.store.secrets import address, place_of, revealed, secret

if TYPE_CHECKING:
    from tacit.live.inputs.pushing import Input, Say
    from tacit.live.inputs.pushing import Streaming as OnPush
    from tacit.live.streams.flink import Streaming as OnFlink
    from tacit.live.streams.route import Opening
    from tacit.live.streams.spark import Streaming as OnSpark
    from tacit.project.project import Project
    from tacit.store.online.base import Backend

REDIS, NATS = ("redis", "rediss", "unix"), ("nats", "tls", "ws", "wss")
"""Schemes of their URLs."""
_LISTEN = 0.5  # seconds


def opens(project: Project) -> Callable[[], Backend]:
    """Opens the backend of the online store, in any process."""
    where = project.settings.online
    if where.redis is None:
        from tacit.store.online.lmdb import Lmdb

        return partial(Lmdb, project.state / "online")
    _check_client("redis")
    from tacit.store.online.redis import Redis

    url = address(where.redis, "[online] redis", project.root, REDIS)
    return partial(Redis, revealed(url), name=f"tacit:{project.settings.name}")


def chosen(project: Project, names: Sequence[str], engine: str) -> list[str]:
    """The sources to stream: those named, or all of `[stream]` that the engine reads. Raises
    EngineError T419 for none, and for one that is not there; T426 for one that is elsewhere than
    the engine reads; DataError T392 for one that the online store does not take."""
    known = project.settings.stream.sources
    wrong = next((name for name in names if name not in known), None)
    if wrong is not None or not known:
        raise EngineError(
            "tacit.toml names no stream" + (f" of {wrong!r}" if wrong else ""),
            code="T419",
            where=str(project.root),
            fix='write [stream.sources.NAME] and folder = "…", or kafka = "…" and topic = "…"',
        )
    found = list(names) or [name for name, each in known.items() if each.place in READS[engine]]
    for name in found or known:
        _check_place(project, name, engine)
    for name in found:
        project.online.source(name)
    return found


def _check_place(project: Project, name: str, engine: str) -> None:
    place = project.settings.stream.sources[name].place
    if place not in READS[engine]:
        able = [each for each, places in READS.items() if place in places]
        raise EngineError(
            f"{engine} reads {' or '.join(READS[engine])}, and {name!r} comes from {place}",
            code="T426",
            where=f"[stream.sources.{name}]",
            fix=f"tacit stream --engine {' or '.join(able)}",
        )


def on_push(project: Project, name: str, say: Say = print) -> OnPush:
    """A source's stream into the store by this process, not started yet. Raises EngineError T413
    for a secret that is not there, T426 for a source that comes from elsewhere, T429 for an address
    or credentials that are none, and where the server's client is not installed."""
    from tacit.live.inputs.pushing import Streaming

    _check_place(project, name, "push")
    return Streaming(name, _input(project, name), say, lambda: counts_of(project, name))


def _input(project: Project, name: str) -> Callable[[], Input]:
    """What opens a source's input. Secrets are looked up now."""
    from tacit.live.inputs import pushing

    messages, root = project.settings.stream.sources[name], project.root
    online, now, ids, queue = project.online, project.now, messages.ids, messages.queue
    if queue is None:
        from tacit.live.inputs.folder import Folder

        folder = messages.folder
        assert folder is not None, "its place was checked"
        make_folder(folder)
        return lambda: pushing.of_folder(Folder(online, name, folder, clock=now, ids=ids))
    _check_client(queue.server)
    what = f"[stream.sources.{name}] {queue.server}"
    url = address(queue.address, what, root, REDIS if queue.server == "redis" else NATS)
    if queue.server == "redis":
        from tacit.live.inputs.redis_stream import RedisStream

        return lambda: pushing.of_redis(
            RedisStream(online, name, url, queue.stream, clock=now, ids=ids, group=queue.group)
        )
    from tacit.live.inputs.credentials import signing
    from tacit.live.inputs.jetstream import JetStream

    user = None
    if queue.credentials is not None:
        user = secret(queue.credentials, f"[stream.sources.{name}] credentials", root)
        signing(user)  # told now if it is none
    return lambda: pushing.of_jetstream(
        JetStream(
            online, name, url, queue.stream, queue.subject,
            clock=now, ids=ids, durable=queue.group, credentials=user,
        )
    )  # fmt: skip


def _check_client(server: str) -> None:
    """Raises EngineError T429 where the package that speaks to a kind of server is not there."""
    if find_spec(server) is None:
        raise EngineError(
            f"what speaks to {server} is not installed",
            code="T429",
            where="tacit.toml",
            fix=f'install it: pip install "tacit[{server}]"',
        )


def counts_of(project: Project, name: str) -> str:
    """What became of a source's rows until now, as people are told."""
    from tacit.live.streams.lanes import counted

    counts = counted(project.online, name)
    return f"{name}: " + ", ".join(f"{count:,} {what}" for what, count in counts.items())


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

    _check_place(project, name, "spark")
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

    _check_place(project, name, "flink")
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
            # A little at a time: a signal that comes just before a wait without an end begins is
            # heard of when that ends.
            left: Collection[Future[Any]] = running
            while left:
                done, left = wait(running, _LISTEN, FIRST_EXCEPTION)
                if any(each.exception() for each in done):
                    break
        finally:
            if any(each.done() and each.exception() for each in running):
                stopped.set()
    for each in running:
        each.result()


def shown(project: Project, engine: str, name: str) -> str:
    """What an engine is told of a source: Flink its SQL, Spark its reader's options; what `push`
    reads. Without secrets."""
    from tacit.live.streams.flink_sql import statements
    from tacit.live.streams.messages import spark_options

    messages = project.settings.stream.sources[name]
    if engine == "push":
        return f"{name}: " + ", ".join(_read_by_push(project, messages))
    if engine == "flink":
        feed = project.online.source(name).feed
        folder = (project.state / "stream" / "flink" / name / "segments").absolute()
        shards = project.settings.stream.shards
        return ";\n".join(statements(feed, messages, folder, shards, show=True)) + ";"
    return "\n".join(
        f"{key} = {value}" for key, value in spark_options(messages, show=True).items()
    )


def _read_by_push(project: Project, messages: Messages) -> list[str]:
    queue = messages.queue
    told = [f"files in {messages.folder}"]
    if queue is not None:
        schemes = REDIS if queue.server == "redis" else NATS
        url = address(queue.address, queue.server, project.root, schemes)
        told = [f"{queue.server} at {place_of(revealed(url))}", f"stream {queue.stream}"]
        told += [f"subject {queue.subject}"] if queue.subject else []
        told += [f"group {queue.group}"]
    return told + ([f"ids {messages.ids}"] if messages.ids else [])
