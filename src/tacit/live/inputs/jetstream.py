"""NATS JetStream by a durable pull consumer: fetch, commit, acknowledge.

Messages may come again out of order (one that was not acknowledged in time comes after later ones),
so the mark is a floor, up to which JetStream says that all is acknowledged, and the numbers above
it that are in. A number that the mark holds is acknowledged and not taken again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import nats
from nats.errors import Error as NatsError

from tacit.live.inputs.rows import read_json
from tacit.live.intake import Receipt, Taken
from tacit.live.online import Online
from tacit.live.place import Mark
from tacit.store.online.base import unreachable

_BATCH = 5000


class JetStream:
    """One subject of a stream into one source. To be used in one event loop; `close` it there.

    Args:
        online: the store.
        source: the name of the source.
        url: of the server.
        stream: the JetStream stream.
        subject: which of its subjects.
        durable: the consumer's name.
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
        subject: str,
        *,
        clock: Callable[[], int],
        ids: str | None = None,
        durable: str = "tacit",
        batch: int = _BATCH,
    ) -> None:
        self.online, self.source, self.url = online, source, url
        self.stream, self.subject, self.durable = stream, subject, durable
        self.name = f"nats:{stream}:{subject}"
        self.clock, self.batch, self.ids = clock, batch, ids
        self._client: Any = None
        self._pull: Any = None

    async def _connect(self) -> None:
        if self._client is None:
            self._client = await nats.connect(
                self.url, max_reconnect_attempts=2, connect_timeout=5, error_cb=_quiet
            )
            context = self._client.jetstream()
            self._pull = await context.pull_subscribe(
                self.subject, durable=self.durable, stream=self.stream
            )

    async def step(self, *, wait: float = 1.0) -> Receipt | None:
        """Takes what is there; None when there was nothing after ``wait`` seconds.

        Raises StoreError T722 when NATS or the store cannot be reached: nothing is lost, call it
        again.
        """
        try:
            await self._connect()
            try:
                messages = await self._pull.fetch(self.batch, timeout=wait)
            except (TimeoutError, nats.errors.TimeoutError):
                return None
            info = await self._pull.consumer_info()
            receipt = self._commit(messages, int(info.ack_floor.stream_seq))
            await asyncio.gather(*(message.ack() for message in messages))
            await self._client.flush()
            return receipt
        except (NatsError, OSError) as error:
            await self.close()
            raise unreachable(self.url, str(error) or type(error).__name__) from None

    def _commit(self, messages: list[Any], floor: int) -> Receipt:
        mark = self.online.mark(self.source, self.name)
        numbered = sorted((int(m.metadata.sequence.stream), m.data) for m in messages)
        fresh = [(number, data) for number, data in numbered if (number,) not in mark]
        if not fresh:
            return Receipt(0, 0, duplicates=len(messages))
        rows, places, rejected = read_json([data for _, data in fresh], self.ids)
        low = max((floor,), mark.floor)
        above = mark.above | {(number,) for number, _ in fresh}
        after = Mark(low, frozenset(position for position in above if position > low))
        positions = [(fresh[place][0],) for place in places]
        taken = Taken(self.name, positions, mark, after)
        return self.online.push(
            self.source, rows,
            now=self.clock(), ids=self.ids, taken=taken, rejected=rejected,
        )  # fmt: skip

    async def close(self) -> None:
        """Lets go of the server."""
        client, self._client, self._pull = self._client, None, None
        if client is not None:
            await client.close()


async def _quiet(error: Exception) -> None:
    """What goes wrong is raised where it is awaited."""
