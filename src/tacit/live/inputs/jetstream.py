"""NATS JetStream by a durable pull consumer: fetch, commit, acknowledge.

Messages may come again out of order (one that was not acknowledged in time comes after later ones),
so the mark is a floor, up to which JetStream says that all is acknowledged, and the numbers above
it that are in. A number that the mark holds is acknowledged and not taken again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

import nats
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig

from tacit.errors import StoreError
from tacit.live.inputs.credentials import signing
from tacit.live.inputs.rows import read_json
from tacit.live.intake import Receipt, Taken
from tacit.live.online import Online
from tacit.live.place import Mark
from tacit.store.online.base import unreachable
from tacit.store.secrets import place_of, revealed
from tacit.values import Secret

_BATCH = 5000
_READERS = 4  # that may each have a batch which is not acknowledged yet, of a new consumer


class JetStream:
    """One subject of a stream into one source. To be used in one event loop; `close` it there.

    Args:
        online: the store.
        source: the name of the source.
        url: of the server, with a user and a password, or a token, if it wants one.
        stream: the JetStream stream.
        subject: which of its subjects.
        durable: the consumer's name.
        clock: now, µs.
        ids: the column that identifies an event, where there is one: what is sent twice then counts
            once. The mark tells only what is read twice.
        credentials: of a user that the server knows by a JWT: the file that `nsc` writes.
    """

    def __init__(
        self,
        online: Online,
        source: str,
        url: str | Secret,
        stream: str,
        subject: str,
        *,
        clock: Callable[[], int],
        ids: str | None = None,
        durable: str = "tacit",
        batch: int = _BATCH,
        credentials: Secret | None = None,
    ) -> None:
        self.online, self.source = online, source
        self.url = url if isinstance(url, Secret) else Secret(url.encode())
        self.where = f"{stream} at {place_of(revealed(self.url))}"
        self.credentials, self._said = credentials, ""
        self.stream, self.subject, self.durable = stream, subject, durable
        self.name = f"nats:{stream}:{subject}"
        self.clock, self.batch, self.ids = clock, batch, ids
        self._client: Any = None
        self._pull: Any = None
        self._most = batch  # that the consumer lets be unacknowledged, and a step takes

    async def _connect(self) -> None:
        if self._client is None:
            self._said = ""
            server, who = _login(revealed(self.url))
            if self.credentials is not None:
                who |= signing(self.credentials)
            # Who reads has patience of its own: a client that reconnects by itself looks idle.
            self._client = await nats.connect(
                server, allow_reconnect=False, max_reconnect_attempts=1,
                reconnect_time_wait=0.2, connect_timeout=5, error_cb=self._heard, **who,
            )  # fmt: skip
            context = self._client.jetstream()
            info = await context.stream_info(self.stream)
            self._same(int(info.state.last_seq))
            self._pull = await context.pull_subscribe(
                self.subject, durable=self.durable, stream=self.stream,
                config=ConsumerConfig(max_ack_pending=_READERS * self.batch),
            )  # fmt: skip
            allowed = (await self._pull.consumer_info()).config.max_ack_pending
            self._most = min(self.batch, allowed) if allowed and allowed > 0 else self.batch

    def _same(self, last: int) -> None:
        """Raises StoreError T427 where the mark is beyond the stream's last message."""
        mark = self.online.mark(self.source, self.name)
        taken = max((mark.floor, *mark.above))
        if taken and taken[0] > last:
            raise StoreError(
                f"the stream ends at {last}, and it was taken up to {taken[0]}: it was made anew,"
                " and what is in it would be passed over",
                code="T427",
                where=self.where,
                fix="name the new stream otherwise: how far one was taken is kept by its name",
            )

    async def step(self, *, wait: float = 1.0) -> Receipt | None:
        """Takes what is there; None when there was nothing after ``wait`` seconds.

        Raises StoreError T722 when NATS or the store cannot be reached: nothing is lost, call it
        again.
        """
        try:
            await self._connect()
            messages = await self._fetch(wait)
            if not messages:
                return None
            info = await self._pull.consumer_info()
            try:
                receipt = self._commit(messages, int(info.ack_floor.stream_seq))
            except StoreError:  # they are to come again at once
                await asyncio.gather(*(message.nak() for message in messages))
                raise
            await asyncio.gather(*(message.ack() for message in messages))
            await self._client.flush()
            return receipt
        except (NatsError, OSError) as error:
            raise await self._away(error) from None

    async def _fetch(self, wait: float) -> list[Any]:
        """What is there, once there is something. A fetch of many waits for all of them, so how
        many are there is told by the first."""
        try:
            found = list(await self._pull.fetch(1, timeout=wait))
            more = min(self._most - 1, int(found[0].metadata.num_pending))
        except (TimeoutError, nats.errors.TimeoutError):
            return []
        if more:
            with suppress(TimeoutError, nats.errors.TimeoutError):  # another reader has them
                found += await self._pull.fetch(more, timeout=wait)
        return found

    async def left(self) -> bool:
        """Whether there is something that is not acknowledged; be it that another reader has it, or
        had it and was killed. Raises as `step`."""
        try:
            await self._connect()
            info = await self._pull.consumer_info()
        except (NatsError, OSError) as error:
            raise await self._away(error) from None
        return bool(info.num_pending or info.num_ack_pending)

    async def _away(self, error: Exception) -> StoreError:
        said = [str(error) or type(error).__name__, self._said]
        await self.close()
        told = ": ".join(dict.fromkeys(each for each in said if each))
        return unreachable(self.where, told, "the stream of NATS")

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
            with suppress(NatsError, OSError):  # it is gone already
                await client.close()

    async def _heard(self, error: Exception) -> None:
        """What goes wrong is raised where it is awaited; there it may be told without its cause."""
        self._said = str(error) or type(error).__name__


def _login(url: str) -> tuple[str, dict[str, Any]]:
    """A URL without who asks, and what the client is told of that: it does not read %XX itself."""
    parts = urlsplit(url)
    server = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    if parts.username is None:
        return server, {}
    if parts.password is None:
        return server, {"token": unquote(parts.username)}
    return server, {"user": unquote(parts.username), "password": unquote(parts.password)}
