"""A source's stream as Flink SQL: messages, dealt to shards of every view, into segments.

::

    events      messages as bytes: lines of files, or values of Kafka
    segments    a line for each message and view: the message, and when it came (µs); in folders
                view=V/shard=S, so that a file belongs to one lane of one view

What Flink does is what it is for: it knows how far each file and each partition was read, brings
the messages of a key together from wherever they come, and makes files whole exactly when a
checkpoint is. It neither judges messages nor computes values: one that is no JSON is dealt like any
other, for Tacit's workers to quarantine with the reason. `docs/architecture.md` says why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tacit.live.feed import Feed
from tacit.live.streams.messages import Messages, flink_options
from tacit.store.secrets import revealed
from tacit.values import SECOND

_HEX = "'0123456789abcdef'"
_SEGMENT = "line BYTES, came BIGINT, `view` STRING, shard STRING"
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def statements(
    feed: Feed,
    messages: Messages,
    segments: Path,
    shards: int,
    *,
    now: int | None = None,
    show: bool = False,
) -> list[str]:
    """The tables, and the INSERT that runs.

    ``now`` is when messages come, where time is replayed; ``show`` keeps secrets out, for people.
    """
    options = {
        name: str(value) if show else revealed(value)
        for name, value in flink_options(messages).items()
    }
    target = {
        "connector": "filesystem",
        "path": segments.as_uri(),
        "format": "json",
        "sink.rolling-policy.rollover-interval": "1 s",
        "sink.rolling-policy.check-interval": "1 s",
    }
    made = f"CREATE TABLE segments (\n  {_SEGMENT}\n) PARTITIONED BY (`view`, shard)"
    return [
        f"CREATE TABLE events (\n  line BYTES\n) WITH (\n  {_with(options)}\n)",
        f"{made} WITH (\n  {_with(target)}\n)",
        _insert(feed, shards, now),
    ]


def settings(every: int, checkpoints: Path, options: Mapping[str, str]) -> dict[str, str]:
    """How the job runs: its checkpoints stay when it ends, and are what it goes on from."""
    return {
        "execution.runtime-mode": "streaming",
        "execution.checkpointing.interval": f"{max(every // 1000, 100)} ms",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.dir": checkpoints.as_uri(),
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.num-retained": "2",
        "table.local-time-zone": "UTC",
        **options,
    }


def _with(options: Mapping[str, str]) -> str:
    return ",\n  ".join(f"{_quoted(name)} = {_quoted(value)}" for name, value in options.items())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _insert(feed: Feed, shards: int, now: int | None) -> str:
    """Dealt by what `lanes.shard_of` says of the key's text; a row that is dealt otherwise (two
    keys of one name in an object, say) is taken all the same, by a lane that keeps others out."""
    names = list(dict.fromkeys(source for view in feed.views for _, source in view.keys))
    columns = [f"{_value(name)} AS k{i}" for i, name in enumerate(names)]
    came = f"CAST({now} AS BIGINT)" if now is not None else f"UNIX_TIMESTAMP() * {SECOND}"
    ways = []
    for number, view in enumerate(feed.views):
        keys = [f"k{names.index(source)}" for _, source in view.keys]
        key = keys[0] if len(keys) == 1 else f"CONCAT_WS(CHR(31), {', '.join(keys)})"
        ways.append(f"ROW('{number}', {_shard(key, shards)})")
    return (  # of names and numbers of the plan; messages are data
        "INSERT INTO segments\n"  # noqa: S608
        "SELECT line, came, way.`view`, way.shard FROM (\n"
        f"  SELECT line, came, ARRAY[\n    {f',{chr(10)}    '.join(ways)}\n  ] AS ways FROM (\n"
        f"    SELECT line, came, {', '.join(columns)} FROM (\n"
        f"      SELECT line, DECODE(line, 'UTF-8') AS object, {came} AS came FROM events\n"
        "    )\n  )\n) CROSS JOIN UNNEST(ways) AS way (`view`, shard)"
    )


def _value(name: str) -> str:
    """A key's text. Keys with odd names are all dealt to one shard."""
    if not _PLAIN.fullmatch(name):
        return "CAST(NULL AS STRING)"
    return f"JSON_VALUE(object, '$.{name}' NULL ON EMPTY NULL ON ERROR)"


def _shard(key: str, shards: int) -> str:
    hashed = f"MD5({key})"
    digits = [f"(POSITION(SUBSTRING({hashed}, {i}, 1) IN {_HEX}) - 1)" for i in (1, 2)]
    return f"COALESCE(CAST(MOD({digits[0]} * 16 + {digits[1]}, {shards}) AS STRING), '0')"
