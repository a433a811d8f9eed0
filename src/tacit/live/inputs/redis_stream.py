"""Redis Streams by a consumer group: read, commit, acknowledge.

The store's mark is the truth, the group's pending list a reminder. One reader takes a stream into a
store; it begins by claiming whatever a reader before it was given and never acknowledged, so that
entries come in their order and the mark can be one id: what is at or below it is in. A crash
between commit and acknowledgement leaves entries pending that the mark holds: they are
acknowledged and not taken again.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import redis

from tacit.errors import StoreError
from tacit.live.inputs.rows import read_json
from tacit.live.intake import Receipt, Taken
from tacit.live.online import Online
from tacit.live.place import Mark
from tacit.store.online.base import unreachable

FIELD = b"event"
"""The field of an entry that holds the event as JSON. An entry without it is an event by itself:
its fields are the columns, as JSON or as text."""
_BATCH = 5000


class RedisStream:
    """One stream into one source.

    Args:
        online: the store.
        source: the name of the source.
        url: of the server.
        stream: its key.
        group: the consumer group; made at the stream's beginning if it is not there.
        clock: now, µs.
        ids: the column that identifies an event, where there is one: what is sent twice then counts
            once. The mark tells only what is read twice.
    """

    def __init__(
        self,
        online: Online,
        source: str,
        url: str,
        stream: str,
        *,
        clock: Callable[[], int],
        ids: str | None = None,
        group: str = "tacit",
        batch: int = _BATCH,
    ) -> None:
        self.online, self.source, self.stream, self.group = online, source, stream, group
        self.name = f"redis:{stream}"
        self.clock, self.batch, self.ids = clock, batch, ids
        self.consumer = socket.gethostname()
        self.client: Any = redis.Redis.from_url(url, socket_timeout=30)
        self._claimed = False

    def step(self, *, wait: int = 0) -> Receipt | None:
        """Takes what is there; None when there was nothing after ``wait`` milliseconds.

        Raises StoreError T722 when Redis or the store cannot be reached: nothing is lost, call it
        again.
        """
        try:
            entries = self._entries(wait)
            if not entries:
                return None
            receipt = self._commit(entries)
            self.client.xack(self.stream, self.group, *(key for key, _ in entries))
            return receipt
        except redis.RedisError as error:
            self._claimed = False
            raise unreachable(self.stream, str(error)) from None
        except StoreError:
            self._claimed = False  # what was given and not committed is claimed again
            raise

    def _entries(self, wait: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        if not self._claimed:
            try:
                self.client.xgroup_create(self.stream, self.group, id="0", mkstream=True)
            except redis.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
            _, found, *_ = self.client.xautoclaim(
                self.stream, self.group, self.consumer, min_idle_time=0, count=self.batch
            )
            if found:
                return list(found)
            self._claimed = True
        read = self.client.xreadgroup(
            self.group, self.consumer, {self.stream: ">"}, count=self.batch, block=wait or None
        )
        pairs = read.items() if isinstance(read, dict) else read or []
        entries: list[Any] = [entry for _, given in pairs for entry in given]
        while entries and isinstance(entries[0], list):  # some protocols nest one list more
            entries = entries[0]
        return entries

    def _commit(self, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> Receipt:
        mark = self.online.mark(self.source, self.name)
        fresh = [(key, fields) for key, fields in entries if _position(key) not in mark]
        if not fresh:
            return Receipt(0, 0, duplicates=len(entries))
        fresh.sort(key=lambda entry: _position(entry[0]))
        rows, places, rejected = read_json([_event(fields) for _, fields in fresh], self.ids)
        taken = Taken(
            self.name,
            [_position(fresh[place][0]) for place in places],
            mark,
            Mark(_position(fresh[-1][0])),
        )
        return self.online.push(
            self.source, rows,
            now=self.clock(), ids=self.ids, taken=taken, rejected=rejected,
        )  # fmt: skip


def _position(key: bytes) -> tuple[int, ...]:
    """``1526919030474-55`` in numbers."""
    return tuple(map(int, key.split(b"-")))


def _event(fields: dict[bytes, bytes] | None) -> bytes:
    """The entry's event as JSON. One that was deleted while it was pending has no fields."""
    if not fields:
        return b"null"
    if FIELD in fields:
        return fields[FIELD]
    parts = []
    for name, value in fields.items():
        parts.append(_text(name) + b":" + (value if _plain(value) else _text(value)))
    return b"{" + b",".join(parts) + b"}"


def _plain(value: bytes) -> bool:
    """Whether it is a JSON number, true, false or null."""
    text = value.strip()
    return text in (b"true", b"false", b"null") or _number(text)


def _number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text[-1:].isdigit() and text.lstrip(b"-")[:1].isdigit()


def _text(raw: bytes) -> bytes:
    return json.dumps(raw.decode(errors="replace")).encode()
