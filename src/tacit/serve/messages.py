"""Requests and answers of ASGI (specification 3.0), read and written within limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, NamedTuple

from tacit.errors import ServeError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

_LARGE = 64 << 10
"""Bytes of an answer that a client takes without being waited for: they lie in its socket."""


class GoneError(Exception):
    """The client is gone, half-way."""


class Answer(NamedTuple):
    """What is sent: ``close`` where the request's body may be unread."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    close: bool = False


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first header of that name (lower case)."""
    for key, value in headers:
        if key == name:
            return value
    return None


async def read_body(headers: Headers, receive: Receive, most: int, patience: float) -> bytes:
    """The body. Raises ServeError T846 for one that is too large, T849 for one that is too slow,
    GoneError for a client that left."""
    declared = header(headers, b"content-length") or b"0"
    if declared.isdigit() and (len(declared) > 18 or int(declared) > most):
        raise _large(most)
    try:
        async with asyncio.timeout(patience):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise GoneError
            body: bytes = message.get("body", b"")
            if len(body) > most:
                raise _large(most)
            if not message.get("more_body", False):
                return body
            return await _rest(bytearray(body), receive, most)
    except TimeoutError:
        raise ServeError(
            "the request did not come whole in time",
            code="T849",
            where="body",
            fix="send it faster, or less of it at a time",
        ) from None


async def _rest(body: bytearray, receive: Receive, most: int) -> bytes:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        body += message.get("body", b"")
        if len(body) > most:
            raise _large(most)
        if not message.get("more_body", False):
            return bytes(body)


def _large(most: int) -> ServeError:
    return ServeError(
        f"the body has more than {most:,} bytes",
        code="T846",
        where="body",
        fix="send less at a time",
    )


async def write(send: Send, answer: Answer, patience: float) -> None:
    """Sends an answer. A client that does not take a large one in time is left."""
    status, headers, body, close = answer
    headers.append((b"content-length", b"%d" % len(body)))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if len(body) < _LARGE:
        await send({"type": "http.response.body", "body": body})
        return
    view = memoryview(body)
    try:
        async with asyncio.timeout(patience):
            for at in range(0, len(body), _LARGE):
                part = bytes(view[at : at + _LARGE])
                more = at + _LARGE < len(body)
                await send({"type": "http.response.body", "body": part, "more_body": more})
    except TimeoutError:
        raise GoneError from None
