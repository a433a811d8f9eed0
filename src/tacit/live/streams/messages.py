"""Where an engine reads a source's events: files, a Kafka topic, a stream of Redis or of
NATS; as options of Spark's readers and as a table of Flink's SQL.

A message is one JSON object. Engines read it as bytes: what is no event of its source is for
quarantine, with the reason, and a format of theirs would drop it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tacit.store.secrets import known, revealed
from tacit.values import Secret

GLOB = "*.{jsonl,ndjson}"
READS: Mapping[str, tuple[str, ...]] = {
    "push": ("folder", "redis", "nats"),
    "spark": ("folder", "kafka"),
    "flink": ("folder", "kafka"),
}
"""Engine → where it reads events."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A stream of a server, read by a group that remembers what was acknowledged.

    Attributes:
        server: ``redis`` (Redis Streams) or ``nats`` (JetStream).
        address: its URL, or ``env:NAME`` or ``file:PATH``, which have it.
        stream: its name.
        group: the consumer group, or the durable consumer.
        subject: of NATS, which of the stream's subjects.
        credentials: of NATS, the file of a user's JWT and seed; or ``env:NAME``, which has both.
    """

    server: str
    address: str = field(repr=False)
    stream: str
    group: str
    subject: str = ""
    credentials: str | None = None


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
        queue: a stream of Redis or NATS; or None.
    """

    folder: Path | None = None
    servers: str = ""
    topic: str = ""
    ids: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    queue: Queue | None = None

    @property
    def place(self) -> str:
        """What kind of place it is, as `READS` names them."""
        if self.queue is not None:
            return self.queue.server
        return self.kind("folder", "kafka")

    def kind(self, folder: str, kafka: str) -> str:
        """One word or the other."""
        return kafka if self.folder is None else folder

    def places(self) -> tuple[str, ...]:
        return () if self.folder is None else (str(self.folder),)

    def known(self) -> dict[str, str | Secret]:
        """The properties of Kafka's client, those of the environment as secrets.

        Raises EngineError T413 for one that is not in the environment.
        """
        # Of the environment alone: some properties of Kafka's are URLs of files themselves.
        return {
            name: known(value, f"{name!r} of Kafka", None)
            for name, value in self.properties.items()
        }


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
