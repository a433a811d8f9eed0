"""`[stream]` of `tacit.toml`: where engines of streams read events, and how.

::

    [stream]                              # tacit stream --engine spark|flink
    shards = 16                           # lanes that keep states up beside each other, 1 to 256
    every = "10s"                         # how often what was read is committed

    [stream.sources.visits]               # a declared source of events in the cloud
    folder = "incoming/visits"            # files of JSON lines, each whole under its name
    ids = "visit"                         # the column that tells events apart, if there is one

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

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tacit.live.streams.messages import Messages
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


def streams(root: Path, raw: Any, wrong: Wrong) -> Streams:
    """The streams that the settings name. Raises what ``wrong(message, fix)`` makes."""
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
        {name: _stream(root, name, each, wrong) for name, each in sources.items()},
        shards,
        duration(every, where="[stream] every"),
        _flink(root, raw.get("flink", {}), wrong),
    )


def _stream(root: Path, name: str, raw: Any, wrong: Wrong) -> Messages:
    fix = 'write folder = "…", or kafka = "host:port" and topic = "…"'
    texts = ("folder", "kafka", "topic", "ids")
    right = (
        isinstance(raw, dict)
        and set(raw) <= {*texts, "properties", "options"}
        and all(isinstance(raw.get(each, ""), str) for each in texts)
        and all(_texts(raw.get(each, {})) for each in ("properties", "options"))
        and ("folder" in raw) != ("kafka" in raw)
        and ("kafka" in raw) == ("topic" in raw)
        and ("kafka" in raw or not raw.get("properties"))
    )
    if not right:
        raise wrong(f"[stream.sources.{name}] is neither a folder nor a topic of Kafka", fix)
    folder = (root / raw["folder"]).absolute() if "folder" in raw else None
    return Messages(
        folder,
        raw.get("kafka", ""),
        raw.get("topic", ""),
        raw.get("ids"),
        dict(raw.get("properties", {})),
        dict(raw.get("options", {})),
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
