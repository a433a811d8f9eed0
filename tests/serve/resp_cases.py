"""A RESP server on a thread of its own, for tests."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tacit.project import Project
from tacit.serve.answers import Answers
from tacit.serve.keys import KeyRing
from tacit.serve.resp import RespServer
from tacit.serve.resp_views import Views


class Running:
    """A server that listens."""

    def __init__(self, server: RespServer, loop: asyncio.AbstractEventLoop, port: int) -> None:
        self.server, self.loop, self.port = server, loop, port

    def client(self, **how: Any) -> Any:
        """redis-py, which does not try again."""
        once = Retry(NoBackoff(), 0)
        return redis.Redis(port=self.port, socket_timeout=20, retry=once, **how)

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def said(self, data: bytes) -> bytes:
        """All that is answered to bytes, until the server ends the connection."""
        with self.raw() as each:
            each.sendall(data)
            each.shutdown(socket.SHUT_WR)
            return received(each)


def received(each: socket.socket) -> bytes:
    """What comes until the other side ends it."""
    found = b""
    try:
        while part := each.recv(1 << 16):
            found += part
    except ConnectionResetError:
        pass
    return found


@contextmanager
def running(project: Project, **how: Any) -> Iterator[Running]:
    """Serves a project by its keys while the block runs."""
    answers, ring = Answers.open(project), KeyRing(project.control)
    server = RespServer(partial(Views, answers), ring.caller, refresh=ring.refresh, **how)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    port = asyncio.run_coroutine_threadsafe(server.start("127.0.0.1", 0), loop).result(20)
    try:
        yield Running(server, loop, port)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
