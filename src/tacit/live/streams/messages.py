"""Where an engine reads a source's events: a folder of JSON lines, or a Kafka topic; as options of
Spark's readers and as a table of Flink's SQL.

A message is one JSON object. Both engines read it as bytes: what is no event of its source is for
quarantine, with the reason, and a format of theirs would drop it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tacit.errors import EngineError
from tacit.values import Secret

GLOB = "*.{jsonl,ndjson}"
FROM_ENVIRONMENT = "env:"


@dataclass(frozen=True, slots=True)
class Messages:
    """What an engine reads.

    Attributes:
        folder: of files of JSON lines, each whole under its name (written aside, then renamed);
            or None.
        servers: of Kafka, as its clients want them: host:port, parted by commas.
        topic: of Kafka.
        ids: the column that identifies an event: one that comes twice counts once.
        properties: of Kafka's client; a value env:NAME is taken from the environment.
        options: of the engine's connector, as that engine calls them.
    """

    folder: Path | None = None
    servers: str = ""
    topic: str = ""
    ids: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)

    def kind(self, folder: str, kafka: str) -> str:
        """One word or the other."""
        return kafka if self.folder is None else folder

    def places(self) -> tuple[str, ...]:
        return () if self.folder is None else (str(self.folder),)

    def known(self) -> dict[str, str | Secret]:
        """The properties of Kafka's client, those of the environment as secrets.

        Raises EngineError T413 for one that is not in the environment.
        """
        found: dict[str, str | Secret] = {}
        for name, value in self.properties.items():
            found[name] = value
            if value.startswith(FROM_ENVIRONMENT):
                variable = value.removeprefix(FROM_ENVIRONMENT)
                if variable not in os.environ:
                    raise EngineError(
                        f"{name!r} of Kafka is to come from {variable}, which is not set",
                        code="T413",
                        where="the environment",
                        fix=f"set {variable}, or write the value into tacit.toml",
                    )
                found[name] = Secret(os.environ[variable].encode())
        return found


def revealed(value: str | Secret) -> str:
    """A value for the engine that needs it."""
    return value.reveal().decode() if isinstance(value, Secret) else value


def spark_options(messages: Messages, *, show: bool = False) -> dict[str, str]:
    """Options of Spark's reader, `text` or `kafka`. ``show`` keeps secrets out, for people."""
    said = str if show else revealed
    if messages.folder is not None:
        return {"pathGlobFilter": GLOB, "lineSep": "\n", **messages.options}
    return {
        "kafka.bootstrap.servers": messages.servers,
        "subscribe": messages.topic,
        "startingOffsets": "earliest",
        **{f"kafka.{name}": said(value) for name, value in messages.known().items()},
        **messages.options,
    }


def flink_options(messages: Messages) -> dict[str, str | Secret]:
    """The WITH of Flink's table: the connector `filesystem` or `kafka`, the format `raw`."""
    if messages.folder is not None:
        return {
            "connector": "filesystem",
            "path": messages.folder.as_uri(),
            "format": "raw",
            "source.monitor-interval": "1 s",
            "source.path.regex-pattern": r".*/[^._/][^/]*\.(jsonl|ndjson)",
            **messages.options,
        }
    return {
        "connector": "kafka",
        "properties.bootstrap.servers": messages.servers,
        "topic": messages.topic,
        "scan.startup.mode": "earliest-offset",
        "format": "raw",
        **{f"properties.{name}": value for name, value in messages.known().items()},
        **messages.options,
    }
