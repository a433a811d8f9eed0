"""One HTTP connection: uvicorn's, whose patience ends, and that answers some where they come in."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from httptools import HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tacit.errors import ServeError
from tacit.serve.alarm import Alarm
from tacit.serve.direct import PATH, Direct, Wanted
from tacit.serve.http_turns import Turn
from tacit.serve.messages import Headers
from tacit.serve.problems import headers, problem

HEAD = 64 << 10
"""Bytes of a request's head; and of what is no body once the head is read."""
_LINGER = 1.0
"""Seconds for which a client that is left may read why."""


class _Plain:
    """What the parser said of a request that is answered where it came in."""

    def get_http_version(self) -> str:
        return "1.1"

    def get_method(self) -> bytes:
        return b"GET"

    def should_upgrade(self) -> bool:
        return False

    def should_keep_alive(self) -> bool:
        return True


class Patient(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, which leaves a client that does not send a request's head in time, or
    does not take its answers, or sends too long a head, and answers by itself what can be answered
    at once (`serve.direct`)."""

    patience = 10.0
    direct: Direct
    turn: Turn
    wanted: Wanted | None = None
    """What is to be read for the last request that came, at the end of this turn of the loop."""
    _waiting: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _rest: Alarm  # between two requests
    _resting: asyncio.TimerHandle
    _answered = False
    _heading = False
    _within = False  # a request
    _left = False
    _piece = _first = _came = 0
    """Bytes: of what came last; of that in which a request began; of all that came after it, or
    after the last of its body."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._rest = Alarm(self.loop, self.timeout_keep_alive, self.timeout_keep_alive_handler)
        self._resting = cast("asyncio.TimerHandle", self._rest)  # uvicorn cancels it, no more
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._left:
            return
        if self.wanted is not None:  # what came before is first
            self.turn.answer_one(self)
        self._piece = len(data)
        self._came += self._piece
        super().data_received(data)
        if self.wanted is not None:
            self.turn.add(self)
        if self._within and self._came > HEAD:
            self._refuse()
        # A head that came in pieces is waited for; most come whole, and need no clock. So is one
        # after bytes that begin none (an empty line): they ended uvicorn's wait for the next.
        if self._waiting is None and not self._left and (self._heading or self._idle()):
            self._wait()

    def _idle(self) -> bool:
        """Whether nothing is under way, and nobody waits for something to be."""
        cycle = self.cycle
        return self.timeout_keep_alive_task is None and (cycle is None or cycle.response_complete)

    def on_message_begin(self) -> None:
        if self.wanted is not None:
            self.turn.answer_one(self)
        self._heading = self._within = True
        self._first, self._came = self._piece, 0
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        if self._first + self._came > HEAD and self._size() > HEAD:
            self._refuse()
            raise ValueError("too large a head")  # ends the parser
        self._heading = False
        if self._waiting is not None:
            self._done()
        if self._answer():
            self._answered = True
            return
        url, came, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()  # the scope, which holds the headers' list
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(came)
        super().on_headers_complete()
        self.headers = []  # what comes after a chunked body is no header (RFC 9110, 6.5.1)

    def _answer(self) -> bool:
        """Whether the request is answered already."""
        cycle, parser = self.cycle, self.parser
        if (
            not self.url.startswith(PATH)
            or (cycle is not None and not cycle.response_complete)
            or self.flow.write_paused
            or parser.get_method() != b"GET"
            or not parser.should_keep_alive()
            or parser.get_http_version() != "1.1"
        ):
            return False
        answer = self.direct(self.url, self.headers, self.server_state.default_headers)
        if answer is None:
            return False
        if isinstance(answer, Wanted):
            self.wanted = answer
        else:
            self.transport.write(answer)
        return True

    def told(self, wanted: Wanted, body: bytes | None) -> None:
        """What was wanted is read; or is the application's to answer, which says what is wrong."""
        if self.transport.is_closing():
            return
        more = self.server_state.default_headers
        if body is not None:
            self.transport.write(self.direct.whole(wanted, body, more))
            return
        self.server_state.total_requests -= 1  # it is counted when it is answered
        self._unset_keepalive_if_required()
        parser, self.parser = self.parser, cast("HttpRequestParser", _Plain())
        super().on_message_begin()
        self.url = wanted.url
        self.headers.extend(wanted.headers)
        super().on_headers_complete()
        super().on_message_complete()
        self.parser, self.headers = parser, []

    def on_body(self, body: bytes) -> None:
        self._came = 0
        if not self._answered:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._within = False
        if self._answered:
            self._answered = False
            self._complete()
        else:
            super().on_message_complete()

    def _complete(self) -> None:
        """What was answered already is complete: the next request is waited for. It is uvicorn's
        `on_response_complete`, without a new timer of the loop's each time."""
        if self.pipeline or self.transport.is_closing():
            self.on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._rest.set()
        self.timeout_keep_alive_task = self._resting

    def eof_received(self) -> None:
        """A client that sends no more gets the answer to what it sent."""
        if self.wanted is not None:
            self.turn.answer_one(self)
        super().eof_received()

    def shutdown(self) -> None:
        if self.wanted is not None:
            self.turn.answer_one(self)
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self.wanted = None
        self._done()
        self._taken()
        self._rest.end()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        # What waits for the client to read holds a place among the requests under way.
        if self._unread is None:
            self._unread = self.loop.call_later(self.patience, self.transport.abort)

    def resume_writing(self) -> None:
        self._taken()
        super().resume_writing()

    def _taken(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _size(self) -> int:
        """Bytes of a head that is whole."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse(self) -> None:
        """Leaves a client that sends too much that is no body. It is told why, unless the answer
        to an earlier request would be cut in two; what it still sends is dropped for a moment,
        since a connection that is closed over unread bytes is reset."""
        if self._left:
            return
        self._left = True
        self._done()
        if self.transport.is_closing():
            return
        self.direct.app.metrics.refuse("T859")
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()
            return
        self.transport.write(_too_large(self.server_state.default_headers))
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._waiting = self.loop.call_later(_LINGER, self._leave)
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        if self.wanted is not None:
            self.turn.answer_one(self)
        if not self._left:
            super().send_400_response(msg)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(self.patience, self._leave)

    def _done(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _leave(self) -> None:
        self._waiting = None
        if not self.transport.is_closing():
            self.transport.close()


def _too_large(more: Headers) -> bytes:
    """The answer to a head that is too large, ``more`` among its headers."""
    error = ServeError(
        f"the request's head has more than {HEAD:,} bytes",
        code="T859",
        where="head",
        fix="send fewer and shorter headers; POST /v1/features takes what is too long for a query",
    )
    status, body = problem(error)
    told = [*more, *headers(error, status), (b"content-length", b"%d" % len(body))]
    lines = b"".join([b"%s: %s\r\n" % each for each in (*told, (b"connection", b"close"))])
    return b"%s%s\r\n%s" % (STATUS_LINE[status], lines, body)
