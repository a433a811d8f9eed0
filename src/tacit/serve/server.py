"""The server as a process: a project opened, and uvicorn around the application."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tacit.declare import Purpose
from tacit.errors import ServeError
from tacit.project import Project
from tacit.project.service import LOOPBACK, Service
from tacit.serve.alarm import Alarm
from tacit.serve.answers import Answers
from tacit.serve.application import Application
from tacit.serve.direct import PATH, Direct
from tacit.serve.identity import Identity, everybody
from tacit.serve.keys import KeyRing
from tacit.serve.logs import say, set_up
from tacit.serve.messages import Headers
from tacit.serve.metrics import Metrics
from tacit.serve.problems import headers, problem
from tacit.serve.resources import Resources
from tacit.serve.resp import RespServer
from tacit.serve.resp_frames import Limits
from tacit.serve.resp_views import Views

if TYPE_CHECKING:
    from tacit.serve.tokens import Tokens

BACKLOG = 1024
"""Connections that wait to be accepted; more are refused by the system."""
IDLE = 30
"""Seconds for which a connection is kept between two requests."""
HEAD = 64 << 10
"""Bytes of a request's head; and of what is no body once the head is read."""
_READERS = 8
"""Threads that read for Redis clients where the store is on another machine."""
_GARBAGE = (2000, 10, 1000)
"""What has to come before garbage is looked for. Answers that are kept are many and no garbage: all
of them are looked through seldom, since everybody waits meanwhile."""
_LINGER = 1.0
"""Seconds for which a client that is left may read why."""


def application(project: Project, settings: Service | None = None) -> Application:
    """The ASGI application of a project. Raises what opening its stores does, and ServeError T857
    for settings that cannot be kept to."""
    given = project.settings.serve if settings is None else settings
    answers, metrics = Answers.open(project), Metrics()
    purposes = list(project.declarations.of(Purpose))
    sources = list(project.online.sources)
    tracing = None
    if given.traces:
        from tacit.serve.traces import Tracing

        tracing = Tracing()
    if given.open:
        if given.host not in LOOPBACK:
            raise ServeError(
                "a server that is open to everybody would listen where others reach it",
                code="T857",
                where=f"[serve] host = {given.host!r}",
                fix="listen on 127.0.0.1, or make keys: tacit key add",
            )
        identity = Identity(None, everybody(purposes, sources))
    else:
        tokens: Tokens | None = None
        if given.oidc is not None:
            from tacit.serve.tokens import Tokens

            tokens = Tokens(given.oidc, project.root, purposes, sources)
        identity = Identity(KeyRing(project.control), tokens=tokens)
    resources = Resources(answers, given.batch, metrics)

    def close() -> None:
        project.online.backend.close()

    return Application(resources, identity, given, metrics=metrics, tracing=tracing, close=close)


def resp_server(app: Application) -> RespServer:
    """RESP over the same answers, for the same keys. Tokens of an identity provider are not taken:
    Redis clients show a key when they connect, and stay."""
    identity = app.identity
    limits = Limits(words=app.settings.batch + 2, whole=max(1 << 20, app.settings.body // 8))
    return RespServer(
        partial(Views, app.resources.answers),
        identity.shown,
        everybody=identity.everybody,
        connections=app.settings.in_flight * 16,
        patience=app.settings.patience,
        drain=app.settings.drain,
        limits=limits,
        readers=ThreadPoolExecutor(_READERS, "resp") if app.resources.remote else None,
    )


def serve(project: Project, settings: Service) -> None:
    """Serves until the process is told to stop (SIGTERM, SIGINT); what is under way is finished."""
    set_up()
    app = application(project, settings)
    app.resources.answers.warm_up()
    before = gc.get_threshold()
    # What is there by now stays: collecting garbage need not look at it each time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE)
    server = Server(config(app, settings), app)
    try:
        server.run(sockets=shared(settings) if settings.shared else None)
    except SystemExit:  # it does not start
        raise _taken(settings.host, settings.port) from None
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()  # libraries tell of what is not let go of when the process ends


def config(app: Application, settings: Service) -> uvicorn.Config:
    """uvicorn's settings. Raises ServeError T857 for certificates that cannot be read."""
    tls: dict[str, Any] = {}
    if settings.certificate is not None:
        tls = {
            "ssl_certfile": str(settings.certificate),
            "ssl_keyfile": str(settings.private_key),
        }
        if settings.client_ca is not None:
            tls |= {"ssl_ca_certs": str(settings.client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    patient = type("Patient", (Patient,), {"patience": settings.patience, "direct": Direct(app)})
    made = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=patient,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=max(1, round(settings.drain)),
        **tls,
    )
    try:
        made.load()
    except (OSError, ssl.SSLError) as error:
        raise ServeError(
            f"TLS cannot be set up: {type(error).__name__}",
            code="T857",
            where="[serve] certificate",
            fix="name PEM files that can be read, and that belong together",
        ) from None
    return made


def shared(settings: Service) -> list[socket.socket]:
    """A socket on the port that other servers of the machine share: the system spreads connections
    over them."""
    found = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        found.bind((settings.host, settings.port))
    except OSError:
        found.close()
        raise _taken(settings.host, settings.port) from None
    found.listen(BACKLOG)
    return [found]


def _taken(host: str, port: int) -> ServeError:
    return ServeError(
        f"nothing listens on {host}:{port}",
        code="T857",
        where="[serve]",
        fix="choose a port that is free, and a host of this machine",
    )


class Patient(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, which leaves a client that does not send a request's head in time, or
    does not take its answers, or sends too long a head, and answers by itself what can be answered
    at once (`serve.direct`)."""

    patience = 10.0
    direct: Direct
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
        self._piece = len(data)
        self._came += self._piece
        super().data_received(data)
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
        self.transport.write(answer)
        return True

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

    def connection_lost(self, exc: Exception | None) -> None:
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


class Server(uvicorn.Server):
    """uvicorn, which lets the application know that it is to stop."""

    def __init__(self, given: uvicorn.Config, app: Application) -> None:
        super().__init__(given)
        self.app = app
        self.resp: RespServer | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens for Redis clients too, where the settings say so."""
        await super().startup(sockets)
        settings = self.app.settings
        if self.started and settings.resp is not None:
            self.resp = self.app.metrics.resp = resp_server(self.app)
            try:
                await self.resp.start(
                    settings.host, settings.resp, ssl=self.config.ssl, backlog=BACKLOG,
                    reuse_port=settings.shared or None,
                )  # fmt: skip
            except OSError:
                raise _taken(settings.host, settings.resp) from None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends what Redis clients have under way, then the rest."""
        if self.resp is not None:
            await self.resp.stop()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.app.stopping = True
        say("stopping")
        if self.should_exit and sig == signal.SIGINT:  # asked twice: at once
            self.force_exit = True
        self.should_exit = True
