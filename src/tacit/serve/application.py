"""The ASGI application: who asks, what of, and the answer.

Reads from LMDB take microseconds and run where the request came in; what may wait (Redis, large
batches, pushes) runs in threads. At most `in_flight` requests are under way; those beyond are
refused at once, so that none waits for longer than it is worth.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import NamedTuple

from tacit.errors import ServeError, TacitError
from tacit.live.upkeep import sweep_by_the_clock
from tacit.project.service import Service
from tacit.serve.identity import Identity
from tacit.serve.issuer import away
from tacit.serve.keys import Caller
from tacit.serve.logs import failure, say
from tacit.serve.messages import Answer, GoneError, Message, Receive, Send, read_body, write
from tacit.serve.metrics import Metrics
from tacit.serve.problems import headers as problem_headers
from tacit.serve.problems import problem
from tacit.serve.resources import Request, Resources
from tacit.serve.traces import Tracing

Handler = Callable[[Request], Answer]
_KEEP = 1.0  # seconds between looks at the keys
_STRANGERS = 16  # tokens at a time whose issuer's keys are waited for
_TURN = 120.0  # seconds after which answers that were not asked for again are let go
_SWEEP = 60.0  # seconds between looks whether a sweep is due
_PAUSE = 0.02  # seconds between two changes of a sweep, for those who read and push


class Route(NamedTuple):
    """A resource: its template, its method, what answers; whether it reads a body, is open to
    everybody, and may wait for long."""

    template: str
    method: str
    answer: Handler
    body: bool = False
    anybody: bool = False
    waits: bool = False


class Told(NamedTuple):
    """An answer: of which route, and the code of the error where it is a refusal."""

    template: str
    answer: Answer
    code: str | None


class Application:
    """Serves a project's resources. ``close`` runs when the server stops."""

    def __init__(
        self,
        resources: Resources,
        identity: Identity,
        settings: Service,
        *,
        metrics: Metrics,
        tracing: Tracing | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.resources, self.identity, self.settings = resources, identity, settings
        self.metrics, self.tracing, self._close = metrics, tracing, close
        self.stopping = False
        self._readers = ThreadPoolExecutor(4, "read")
        # Those that wait for the disk share what they wait for (`live.together`).
        self._writer = ThreadPoolExecutor(8, "push")
        # Each by itself: what hangs (an issuer, a store) keeps nobody waiting but who asks for it.
        self._issuer = ThreadPoolExecutor(2, "issuer")
        self._ring = ThreadPoolExecutor(1, "keys")
        self._probe = ThreadPoolExecutor(1, "ready")
        self._sweeper = ThreadPoolExecutor(1, "sweep")
        self._ends = threading.Event()
        self._strangers = 0
        self._keeper: asyncio.Task[None] | None = None
        waits = resources.remote
        self._inline = not waits and tracing is None
        self.read = Route("/v1/features/{entity}/{key}", "GET", resources.read, waits=waits)
        self.probe = Route("/readyz", "GET", self._ready, anybody=True, waits=waits)
        self.routes: dict[str, tuple[Route, ...]] = {
            "/v1/features": (Route("/v1/features", "POST", resources.ask, body=True, waits=waits),),
            "/v1/signals": (Route("/v1/signals", "GET", resources.signals, waits=waits),),
            "/openapi.json": (Route("/openapi.json", "GET", resources.description),),
            "/metrics": (Route("/metrics", "GET", resources.metrics, waits=waits),),
            "/healthz": (Route("/healthz", "GET", resources.alive, anybody=True),),
            "/readyz": (self.probe,),
        }
        self.push = Route("/v1/events/{source}", "POST", resources.push, body=True, waits=True)

    # ------------------------------------------------------------------ one request

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            start = perf_counter()
            self.metrics.in_flight += 1
            template, status, code = "none", 0, None
            try:
                told = None
                if self._inline and scope["method"] == "GET":
                    told = self._at_once(scope)
                if told is None:
                    told = await self._answer(scope, receive)
                template, answer, code = told
                status = answer.status
                await write(send, answer, self.settings.patience)
            except GoneError:
                status, code = 499, "gone"
            finally:
                self.metrics.in_flight -= 1
                seconds = perf_counter() - start
                self.metrics.answered(template, status, seconds)
                if status >= 400 or self.settings.log == "all":
                    self._log(scope, template, status, code, seconds)
        elif kind == "lifespan":
            await self._lifespan(receive, send)

    async def _answer(self, scope: Message, receive: Receive) -> Told:
        """The answer of a request that may have to be waited for."""
        template, read = "none", False
        try:
            route, request = self._route(scope)
            template = route.template
            self._admit(route)
            if not route.anybody:
                request.caller = await self._who(request)
            if route.body:
                request.body = await read_body(
                    request.headers, receive, self.settings.body, self.settings.patience
                )
            read = True
            if self.tracing is not None:
                return Told(template, await self._traced(route, request), None)
            return Told(template, await self._run(route, request), None)
        except GoneError:
            raise
        except Exception as error:
            return self._refusal(template, error, read)

    def _at_once(self, scope: Message) -> Told | None:
        """The answer of a read that waits for nothing; None where it may have to."""
        try:
            route, request = self._route(scope)
            if route is not self.read:
                return None
            self._admit(route)
            caller = self.identity.known(request.headers)
            if caller is None:
                return None
            request.caller = caller
            return Told(route.template, route.answer(request), None)
        except Exception as error:
            return self._refusal(self.read.template, error, True)

    def _admit(self, route: Route) -> None:
        if self.metrics.in_flight > self.settings.in_flight and not route.anybody:
            raise ServeError(
                "too many requests are under way",
                code="T848",
                where="server",
                fix="send it again a little later",
            )

    def _refusal(self, template: str, error: Exception, read: bool) -> Told:
        """What is answered where something is refused, or fails; ``read`` says whether the body
        was."""
        if isinstance(error, TacitError):
            self.metrics.refuse(error.code)
            status, body = problem(error)
            found = Answer(status, problem_headers(error, status), body, not read)
            if error.code == "T851":
                found.headers.append((b"allow", error.path[0].encode()))
            return Told(template, found, error.code)
        say("failed", logging.ERROR, route=template, **failure(error))
        failed = ServeError(
            "the request failed", code="T858", fix="try again; the server's log says more"
        )
        status, body = problem(failed)
        return Told(template, Answer(status, problem_headers(failed, status), body, True), "T858")

    async def _who(self, request: Request) -> Caller:
        found = self.identity.known(request.headers)
        if found is None:  # a token whose issuer's keys may have to be fetched
            if self._strangers >= _STRANGERS:
                raise away()
            self._strangers += 1
            try:
                loop = asyncio.get_running_loop()
                look = partial(self.identity.look_up, request.headers)
                found = await loop.run_in_executor(self._issuer, look)
            finally:
                self._strangers -= 1
        return found

    async def _run(self, route: Route, request: Request) -> Answer:
        if route.waits or (route.body and self.resources.is_large(request)):
            loop = asyncio.get_running_loop()
            pool = self._writer if route is self.push else self._readers
            pool = self._probe if route is self.probe else pool
            return await loop.run_in_executor(pool, route.answer, request)
        return route.answer(request)

    async def _traced(self, route: Route, request: Request) -> Answer:
        assert self.tracing is not None, "it is called where there is one"
        with self.tracing.span(route.method, route.template, request.headers) as told:
            answer = await self._run(route, request)
            told(answer.status)
            return answer

    def _route(self, scope: Message) -> tuple[Route, Request]:
        path: str = scope["path"]
        request = Request(path, scope["query_string"], scope["headers"])
        if path.startswith("/v1/features/"):
            entity, slash, key = path[13:].partition("/")
            if slash and entity and key:
                request.name, request.key = entity, key
                return self._method(scope, (self.read,)), request
        elif path.startswith("/v1/events/") and path[11:] and "/" not in path[11:]:
            request.name = path[11:]
            return self._method(scope, (self.push,)), request
        found = self.routes.get(path)
        if found is None:
            raise ServeError(
                "there is no such resource",
                code="T850",
                where="path",
                fix="/openapi.json lists those that there are",
            )
        return self._method(scope, found), request

    def _method(self, scope: Message, routes: tuple[Route, ...]) -> Route:
        method = scope["method"]
        for route in routes:
            if route.method == method:
                return route
        allowed = ", ".join(route.method for route in routes)
        raise ServeError(
            "the resource has no such method",
            code="T851",
            where="method",
            fix=f"use {allowed}",
            path=(allowed,),
        )

    def _log(
        self, scope: Message, template: str, status: int, code: str | None, seconds: float
    ) -> None:
        if self.settings.log == "none":
            return
        level = logging.INFO if status < 500 else logging.WARNING
        say(
            "request",
            level,
            method=scope["method"] if len(scope["method"]) < 8 else "other",
            route=template,
            status=status,
            code=code,
            ms=round(seconds * 1000, 3),
        )

    # ------------------------------------------------------------------ its life

    def _ready(self, request: Request) -> Answer:
        if self.stopping:
            raise ServeError("the server is stopping", code="T854", fix="ask another one, or later")
        self.identity.check_fresh()
        return self.resources.ready(request)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._keeper = asyncio.create_task(self._keep())
                say("started", host=self.settings.host, port=self.settings.port)
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if self._keeper is not None:
                    self._keeper.cancel()
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(None, self._shut_down)
                say("stopped")
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _keep(self) -> None:
        """Keys that were added or revoked are seen within a second or so; answers that are asked
        for no more are let go within some minutes; what has expired is swept away once a day."""
        loop, turned = asyncio.get_running_loop(), perf_counter()
        swept, sweeping = turned, None
        while True:
            await asyncio.sleep(_KEEP)
            if perf_counter() - swept > _SWEEP and (sweeping is None or sweeping.done()):
                sweeping = loop.run_in_executor(self._sweeper, self._sweep)
                swept = perf_counter()
            if perf_counter() - turned > _TURN:
                self.resources.answers.kept.turn()
                turned = perf_counter()
            try:
                await loop.run_in_executor(self._ring, self.identity.refresh)
            except Exception as error:
                say("keys cannot be read", logging.ERROR, **failure(error))

    def _sweep(self) -> None:
        """Sweeps the store, if that is due, until the server stops."""
        project = self.resources.project
        try:
            found = sweep_by_the_clock(
                project.online, project.now(), lambda: not self._ends.wait(_PAUSE)
            )
        except Exception as error:  # the next time is soon
            say("cannot be swept", logging.ERROR, **failure(error))
            return
        if found is not None:
            say("swept", keys=found)

    def _shut_down(self) -> None:
        self._ends.set()
        pools = (
            self._writer, self._readers, self._issuer, self._ring, self._probe, self._sweeper,
        )  # fmt: skip
        for pool in pools:
            pool.shutdown()
        self._close()
