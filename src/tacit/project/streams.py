"""`[stream]` of `tacit.toml`: where engines of streams read events, and how.

::

    [stream]                              # tacit stream [--engine spark|flink]
    shards = 16                           # lanes that keep states up beside each other, 1 to 256
    every = "10s"                         # how often what was read is committed; both by engines

    [stream.sources.visits]               # a declared source of events in the cloud
    folder = "incoming/visits"            # files of JSON lines, each whole under its name
    ids = "visit"                         # the column that tells events apart, if there is one

    [stream.sources.plays]
    redis = "redis://localhost:6379/0"    # a Redis Stream; or env:NAME, file:PATH, which have it
    stream = "plays"

    [stream.sources.searches]
    nats = "nats://localhost:4222"        # a stream of NATS JetStream
    stream = "SEARCHES"
    subject = "searches.>"
    group = "tacit-shop-searches"         # who reads: a durable consumer, or a group of Redis
    credentials = "nats.creds"            # a user's JWT and seed; or env:NAME, which has both

    [stream.sources.orders]
    kafka = "broker:9092"
    topic = "orders"
    properties = { "security.protocol" = "SASL_SSL", "sasl.jaas.config" = "env:KAFKA_JAAS" }
    options = { maxOffsetsPerTrigger = "200000" }     # the engine's own, of its connector

    [stream.flink]
    home = ".tacit/flink"                 # its virtual environment, made by `… --setup`
    jars = ["flink-sql-connector-kafka.jar"]          # connectors, which Flink does not bring
    options = { "parallelism.default" = "8" }         # any setting of Flink

Spark's settings are those of `[engines.spark]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tacit.live.streams.messages import Messages, Queue
from tacit.values import SECOND, duration

MOST_SHARDS = 256
_EVERY = 10 * SECOND

Wrong = Callable[[str, str], Exception]


@dataclass(frozen=True, slots=True)
class Flink:
    """Where Flink is, and its settings."""

    home: Path | None = None
    jars: tuple[Path, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Streams:
    """What `[stream]` says."""

    sources: Mapping[str, Messages] = field(default_factory=dict)
    shards: int = 16
    every: int = _EVERY
    flink: Flink = field(default_factory=Flink)


def streams(root: Path, project: str, raw: Any, wrong: Wrong) -> Streams:
    """The streams that a project's settings name. Raises what ``wrong(message, fix)`` makes."""
    fix = 'write shards = 16, every = "10s", [stream.sources.NAME] and [stream.flink]'
    if not isinstance(raw, dict) or not set(raw) <= {"shards", "every", "sources", "flink"}:
        raise wrong("[stream] has settings that there are not", fix)
    shards, every = raw.get("shards", 16), raw.get("every", "10s")
    if type(shards) is not int or not 1 <= shards <= MOST_SHARDS:
        raise wrong("`shards` of [stream] is not a count from 1 to 256", fix)
    sources = raw.get("sources", {})
    if not isinstance(every, str) or not isinstance(sources, dict):
        raise wrong("a setting of [stream] is of the wrong kind", fix)
    return Streams(
        {name: _stream(root, project, name, each, wrong) for name, each in sources.items()},
        shards,
        duration(every, where="[stream] every"),
        _flink(root, raw.get("flink", {}), wrong),
    )


_NEEDS: Mapping[str, tuple[str, ...]] = {
    "folder": (),
    "kafka": ("topic",),
    "redis": ("stream",),
    "nats": ("stream", "subject"),
}
"""Where events may be, and what else must be said of it then."""
_MAY: Mapping[str, tuple[str, ...]] = {
    "folder": ("options",),
    "kafka": ("properties", "options"),
    "redis": ("group",),
    "nats": ("group", "credentials"),
}
_TABLES = ("properties", "options")
STREAM_KEYS = ("folder", "kafka", "topic", "redis", "nats", "stream", "subject", "group",
               "credentials", "ids", *_TABLES)  # fmt: skip


def _stream(root: Path, project: str, name: str, raw: Any, wrong: Wrong) -> Messages:
    fix = (
        'write folder = "…"; or kafka = "host:port" and topic = "…"; or redis = "redis://…" and '
        'stream = "…"; or nats = "nats://…", stream = "…" and subject = "…"'
    )
    places = [place for place in _NEEDS if isinstance(raw, dict) and place in raw]
    place = places[0] if len(places) == 1 else ""
    right = bool(place) and (
        set(raw) <= {place, "ids", *_NEEDS[place], *_MAY[place]}
        and set(_NEEDS[place]) <= set(raw)
        and all(_texts(raw[key]) for key in _TABLES if key in raw)
        and all(isinstance(raw[key], str) and raw[key] for key in set(raw).difference(_TABLES))
    )
    if not right:
        what = "neither a folder nor a topic of Kafka, nor a stream of Redis or of NATS"
        raise wrong(f"[stream.sources.{name}] is {what}, and that alone", fix)
    queue = None
    if place in ("redis", "nats"):
        # Of its own for each: who shares a group shares the messages, each taking some.
        group = raw.get("group", re.sub(r"[^\w-]", "_", f"tacit-{project}-{name}", flags=re.ASCII))
        queue = Queue(
            place, raw[place], raw["stream"], group, raw.get("subject", ""), raw.get("credentials")
        )
    return Messages(
        (root / raw["folder"]).absolute() if "folder" in raw else None,
        raw.get("kafka", ""),
        raw.get("topic", ""),
        raw.get("ids"),
        dict(raw.get("properties", {})),
        dict(raw.get("options", {})),
        queue,
    )


def _flink(root: Path, raw: Any, wrong: Wrong) -> Flink:
    jars = raw.get("jars", []) if isinstance(raw, dict) else None
    right = (
        isinstance(raw, dict)
        and set(raw) <= {"home", "jars", "options"}
        and isinstance(raw.get("home", ""), str)
        and isinstance(jars, list)
        and all(isinstance(jar, str) for jar in jars)
        and _texts(raw.get("options", {}))
    )
    if not right:
        fix = 'write home = "a folder", jars = ["a file"] and options = { "a setting" = "…" }'
        raise wrong("[stream.flink] has settings that there are not", fix)
    home = (root / raw["home"]).absolute() if "home" in raw else None
    assert jars is not None, "checked above"
    return Flink(home, tuple((root / jar).absolute() for jar in jars), dict(raw.get("options", {})))


def _texts(raw: Any) -> bool:
    return isinstance(raw, dict) and all(isinstance(value, str) for value in raw.values())
