"""Signals for any Redis client: a server that speaks RESP, versions 2 and 3. Reading alone.

::

    redis-cli --user discover --pass tacit_…     # a purpose, and a key; AUTH KEY where it has one
    GET person:p1                    {"looks":3,"last":"i7"}: what needs a person's key alone
    MGET person:p1 person:p2         the same of many, at most a thousand
    HGET person:p1 looks             3: ints and floats in digits, texts as they are, lists as JSON
    HGET person:p1 looks:status      fresh, stale, missing, denied or noised
    HMGET person:p1 looks last       several
    HGETALL person:p1                all that have a value; HKEYS, HLEN, HEXISTS, EXISTS likewise
    GET person,thing:["p1","i7"]     signals of a pair: the ids are a JSON list

What is missing is null; a key of which nothing is known is null as a whole. What the purpose may
not see is not there. Answers are kept while they stand (`serve.kept`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from tacit.serve.keys import Caller
from tacit.serve.logs import failure, say
from tacit.serve.resp_connection import Connection
from tacit.serve.resp_frames import Limits
from tacit.serve.resp_turns import Turn
from tacit.serve.resp_views import Views


class RespServer:
    """Answers over RESP.

    Args:
        views: of each purpose, what it reads.
        authenticate: a key → who shows it, or None; raises ServeError T844, T845.
        everybody: who asks without a key, on a server that is open; None asks for one.
        refresh: looks at the keys anew; called each second.
        connections: at a time; those beyond are refused.
        patience: seconds for a stranger to show a key.
        drain: seconds for what is under way, when the server is stopped.
        readers: threads in which reads are answered, where the store may have to be waited for;
            left out, they are answered where they come in.
    """

    def __init__(
        self,
        views: Callable[[str], Views],
        authenticate: Callable[[str], Caller | None],
        *,
        everybody: Caller | None = None,
        refresh: Callable[[], None] = lambda: None,
        connections: int = 10_000,
        patience: float = 10.0,
        drain: float = 30.0,
        limits: Limits | None = None,
        readers: ThreadPoolExecutor | None = None,
    ) -> None:
        self.views = views
        self.authenticate = authenticate
        self.everybody = everybody
        self.refresh = refresh
        self.most = connections
        self.patience, self.drain = patience, drain
        self.stopping = False
        self.limits = Limits() if limits is None else limits
        self.readers = readers
        self.connections: set[Connection] = set()
        self.answered = self.refused = self.accepted = 0
        self._purposes: dict[str, Turn] = {}
        self._servers: list[asyncio.Server] = []
        self._keeper: asyncio.Task[None] | None = None

    def purpose(self, name: str) -> Turn:
        """What a purpose reads, and who of it waits; made once."""
        found = self._purposes.get(name)
        if found is None:
            found = self._purposes[name] = Turn(self.views(name))
        return found

    async def start(self, host: str, port: int, **how: Any) -> int:
        """Listens; the port. ``how`` goes to `loop.create_server`: ssl, reuse_port."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(partial(Connection, self), host, port, **how)
        self._servers.append(server)
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())
        return int(server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Takes no more, finishes what is under way, lets go of all."""
        if self._keeper is not None:
            self._keeper.cancel()
        for server in self._servers:
            server.close()
        self.stopping = True
        for turn in self._purposes.values():
            turn.answer()
        for connection in list(self.connections):
            connection.hold()
        loop = asyncio.get_running_loop()
        end = loop.time() + self.drain
        while any(each.busy for each in self.connections) and loop.time() < end:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.close()
        if self.readers is not None:
            self.readers.shutdown(wait=False, cancel_futures=True)
        for server in self._servers:
            await server.wait_closed()

    async def _keep(self) -> None:
        """Keys that were revoked, or that expired, let their connections go within a second."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1.0)
            try:
                await loop.run_in_executor(None, self.refresh)
            except Exception as failed:
                say("keys cannot be read", logging.ERROR, **failure(failed))
            for connection in list(self.connections):
                connection.check()
