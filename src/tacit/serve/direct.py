"""GETs of a key's signals, answered where they come in.

ASGI makes a scope, a task and several messages of each request; for an answer that is remembered,
that is most of the work. So what is plain (a key of the server, JSON, a store on this machine, a
question that was asked before) is answered from the parser's own callback, in the words that the
application would use; all else, errors too, goes its way through the application, which says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

from tacit.serve.application import Application
from tacit.serve.asked import Asked
from tacit.serve.encode import JSON
from tacit.serve.messages import Headers

PATH: Final = b"/v1/features/"
_UNPLAIN: Final = frozenset(
    (b"content-length", b"transfer-encoding", b"upgrade", b"expect", b"traceparent")
)
_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\n%scontent-type: application/json\r\ncache-control: no-store\r\n"
    b"content-length: %d\r\n\r\n%s"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request whose answer must be read: at which question, for what key, since when; and what
    it said."""

    asked: Asked
    known: Any
    start: float
    url: bytes
    headers: Headers


class Direct:
    """Answers what it can, ``more`` among its headers, or says what must be read for it; None is
    for the application to answer."""

    def __init__(self, app: Application) -> None:
        self.app = app
        self._more: Headers = ()
        self._lines = b""
        self.plain = app.tracing is None and app.settings.log != "all" and not app.resources.remote

    def __call__(self, url: bytes, headers: Headers, more: Headers = ()) -> bytes | Wanted | None:
        app = self.app
        if not self.plain or app.stopping or app.metrics.in_flight >= app.settings.in_flight:
            return None
        asks = False
        for name, _ in headers:
            if name in _UNPLAIN:
                return None
            asks = asks or name == b"accept"
        start = perf_counter()
        try:
            caller = app.identity.known(headers)
            if caller is None or (asks and app.resources.form(headers) != JSON):
                return None
            path, _, query = url[len(PATH) :].partition(b"?")
            entity, _, key = path.partition(b"/")
            if b"%" in path or b"/" in key or b"#" in url:
                return None
            found = app.resources.again(entity.decode("ascii"), key.decode("ascii"), query, caller)
        except Exception:  # the application meets it too, and says so
            return None
        if isinstance(found, tuple):
            return Wanted(*found, start, url, headers)
        return None if found is None else self._answer(found, start, more)

    def whole(self, wanted: Wanted, body: bytes, more: Headers) -> bytes:
        """The answer that was wanted, once it is read."""
        self.app.resources.metered.values += len(wanted.asked.signals)
        return self._answer(body, wanted.start, more)

    def _answer(self, body: bytes, start: float, more: Headers) -> bytes:
        app = self.app
        app.metrics.answered(app.read.template, 200, perf_counter() - start)
        if more is not self._more:  # the server makes them anew each second, for the date
            self._more, self._lines = more, b"".join([b"%s: %s\r\n" % each for each in more])
        return _HEAD % (self._lines, len(body), body)
