"""Redis Streams by a consumer group: read, commit, acknowledge.

The store's mark is the truth, the group's pending list a reminder. A reader begins by claiming
whatever others were given and never acknowledged. A crash between commit and acknowledgement leaves
entries pending that the mark holds: they are acknowledged and not taken again.

Entries are delivered in their order, and one that is not pending any more is in, so the mark is one
id as long as one reader reads: nothing before it is pending. Where another has entries that it has
not committed yet, the mark is a floor before these, and the ids above it that are in. So several
readers of one group lose nothing and count nothing twice; which of them a message goes to is Redis'
choice.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tacit.errors import StoreError
from tacit.live.inputs.rows import read_json
from tacit.live.intake import Receipt, Taken
from tacit.live.online import Online
from tacit.live.place import Mark
from tacit.store.online.base import unreachable
from tacit.store.secrets import place_of, revealed
from tacit.values import Secret

FIELD = b"event"
"""The field of an entry that holds the event as JSON. An entry without it is an event by itself:
its fields are the columns, as JSON or as text."""
_BATCH = 5000
_BEGIN = b"0-0"


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
        url: str | Secret,
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
        self.where = f"{stream} at {place_of(revealed(url))}"
        # A reading that failed is not made again: what its answer held is pending, not new.
        self.client: Any = redis.Redis.from_url(
            revealed(url),
            socket_timeout=10,
            socket_connect_timeout=5,
            retry=Retry(NoBackoff(), 0),
        )
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
            raise unreachable(self.where, str(error), "the stream of Redis") from None
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
            start = _BEGIN
            while True:  # a part of what is pending may have been deleted meanwhile
                start, found, *_ = self.client.xautoclaim(
                    self.stream, self.group, self.consumer, 0, start, self.batch
                )
                if found:
                    return list(found)
                if start == _BEGIN:
                    break
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
            self._after(mark, [_position(key) for key, _ in fresh]),
        )
        return self.online.push(
            self.source, rows,
            now=self.clock(), ids=self.ids, taken=taken, rejected=rejected,
        )  # fmt: skip

    def _after(self, mark: Mark, new: list[tuple[int, ...]]) -> Mark:
        """The mark once these are in too, which ascend and are pending."""
        least = self.client.xpending(self.stream, self.group)["min"]
        low = (0, 0) if least is None else _position(least)
        floor = new[-1] if least is None or low >= new[0] else (low[0], low[1] - 1)
        floor = max(floor, mark.floor)
        return Mark(floor, frozenset(each for each in {*mark.above, *new} if each > floor))


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
