"""The server as a process: a project opened, and uvicorn around the application."""

from __future__ import annotations

import gc
import signal
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from tacit.declare import Purpose
from tacit.errors import ServeError
from tacit.project import Project
from tacit.project.service import LOOPBACK, Service
from tacit.serve.answers import Answers
from tacit.serve.application import Application
from tacit.serve.direct import Direct
from tacit.serve.http_connection import Patient
from tacit.serve.http_turns import Turn
from tacit.serve.identity import Identity, everybody
from tacit.serve.keys import KeyRing
from tacit.serve.logs import say, set_up
from tacit.serve.metrics import Metrics
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
_READERS = 8
"""Threads that read for Redis clients where the store is on another machine."""
_GARBAGE = (2000, 10, 1000)
"""What has to come before garbage is looked for. Answers that are kept are many and no garbage: all
of them are looked through seldom, since everybody waits meanwhile."""


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
    direct = Direct(app)
    own = {"patience": settings.patience, "direct": direct, "turn": Turn(direct)}
    patient = type("Patient", (Patient,), own)
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
