"""The resources over HTTP: an ASGI application (specification 3.0) around `routes`.

Bodies are read only after their resource is found and their sender is authenticated, and never
past the length that the resource allows. The work is done in threads, a bounded number of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tacit.collect.dap.errors import refuse
from tacit.collect.dap.peer import Response
from tacit.collect.dap.routes import Endpoint, Head, Service, too_large

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
_THREADS = 32


class Application:
    """`prefix` is the path of the aggregator's URL; `close` runs when the server stops."""

    def __init__(
        self, service: Service[Any], prefix: str = "", close: Callable[[], None] = lambda: None
    ) -> None:
        self._service, self._prefix, self._close = service, prefix.rstrip("/"), close
        self._pool = ThreadPoolExecutor(_THREADS, "dap")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        head = self._head(scope)
        try:
            endpoint = self._service.resolve(head)
            body = await _read(head, receive, endpoint.longest)
        except Exception as error:
            await _write(send, self._service.refusal(head, error), close=True)
            return
        loop = asyncio.get_running_loop()
        response = await loop.run_in_executor(self._pool, self._answer, head, endpoint, body)
        await _write(send, self._located(response))

    def _answer(self, head: Head, endpoint: Endpoint, body: bytes) -> Response:
        try:
            return endpoint.answer(body)
        except Exception as error:
            return self._service.refusal(head, error)

    def _head(self, scope: Message) -> Head:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        path = scope["path"]
        if self._prefix and path.startswith(self._prefix + "/"):
            path = path[len(self._prefix) :]
        query = scope.get("query_string", b"").decode("latin-1")
        return Head(scope["method"], path, headers, query)

    def _located(self, response: Response) -> Response:
        location = response.headers.get("location")
        if not location or not self._prefix:
            return response
        headers = {**response.headers, "location": self._prefix + location}
        return Response(response.status, headers, response.body)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(None, self._shut_down)
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _shut_down(self) -> None:
        self._pool.shutdown()
        self._close()


async def _read(head: Head, receive: Receive, longest: int) -> bytes:
    """The body. Raises CollectError T819 for one that is longer, T801 for one that breaks off."""
    declared = head.headers.get("content-length", "0")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > longest:
        raise too_large(longest)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise refuse("T801", "the request broke off", "send it again")
        body += message.get("body", b"")
        if len(body) > longest:
            raise too_large(longest)
        if not message.get("more_body", False):
            return bytes(body)


async def _write(send: Send, response: Response, *, close: bool = False) -> None:
    headers = {**response.headers, "content-length": str(len(response.body))}
    if close:  # the body may be unread
        headers["connection"] = "close"
    if response.status == 204:
        del headers["content-length"]
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": raw})
    await send({"type": "http.response.body", "body": response.body})
