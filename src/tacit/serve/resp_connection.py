"""One Redis client: what it said of itself, its requests in their order, and their answers."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from tacit.errors import ServeError, TacitError
from tacit.serve.keys import Caller, check_expiry
from tacit.serve.logs import failure, say
from tacit.serve.resp_commands import COMMANDS, WRITES, refusal, shown
from tacit.serve.resp_frames import STRANGER, Requests, error, null
from tacit.serve.resp_turns import ONCE, Turn
from tacit.serve.resp_views import Views

if TYPE_CHECKING:
    from tacit.serve.resp import RespServer

_FULL = 1 << 18  # bytes of answers that a client has not taken, before it is read no further
_LINGER = 1.0  # seconds
_TRIES = 3  # wrong keys, then the connection is closed


class Session:
    """What a connection said of itself."""

    def __init__(self, number: int, caller: Caller | None = None) -> None:
        self.id = number
        self.version = 2
        self.name = b""
        self.caller = caller
        self.views: Views | None = None
        self.failed = 0


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: RespServer) -> None:
        self.server = server
        self._turn: Turn | None = None
        self.sent = b""  # within this turn of the loop, and not looked at
        self.loop = asyncio.get_running_loop()
        self.session = Session(0)
        self.requests = Requests(STRANGER)
        self.transport: Any = None
        self.token = ""
        self._full = self._later = self._ends = self._held = self._away = self.closed = False
        self._over = False  # the client sends no more
        self._waits: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------ its life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.set_write_buffer_limits(high=_FULL)
        server = self.server
        if len(server.connections) >= server.most:
            self.transport.write(error("ERR", "max number of clients reached"))
            self.close()
            return
        server.connections.add(self)
        server.accepted += 1
        self.session = Session(server.accepted)
        if server.everybody is not None and len(server.everybody.purposes) == 1:
            self.admit(server.everybody, None)
        else:
            self._waits = self.loop.call_later(server.patience, self._expel)

    def connection_lost(self, failed: Exception | None) -> None:
        self.closed = True
        self.server.connections.discard(self)
        if self._waits is not None:
            self._waits.cancel()

    def close(self) -> None:
        """Ends it, once what was answered is taken; it is not waited for long."""
        self.closed = True
        self.transport.close()
        self.loop.call_later(self.server.patience, self.transport.abort)

    @property
    def busy(self) -> bool:
        """Whether requests that came are still to be answered, to a client that takes answers."""
        return not self.closed and not self._full and (self._away or self._later)

    def hold(self) -> None:
        """Reads no more, since the server is to stop."""
        self._regulate()

    def _leave(self) -> None:
        """Ends it so that what was said last is heard: what still comes is read and dropped for a
        moment, since a connection that is closed over unread bytes is reset."""
        self.closed = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._regulate()
            self.loop.call_later(_LINGER, self.close)
        else:
            self.close()

    def _expel(self) -> None:
        if self.session.caller is None:
            self.close()

    def check(self) -> None:
        """Ends a connection whose key counts no more."""
        if self.token:
            try:
                if self.server.authenticate(self.token) is not None:
                    return
            except ServeError:
                pass
            self.close()

    def pause_writing(self) -> None:
        self._full = True
        self._regulate()

    def resume_writing(self) -> None:
        self._full = False
        self._go_on()

    def _regulate(self) -> None:
        """Reads on while there is room, for answers and for requests: what is held is less than
        `Limits.room` and what one read brings. The rest waits in the socket."""
        waiting = self.requests.waiting
        full = self._full or waiting > self.requests.limits.room
        held = not self.closed and (full or self.server.stopping)
        if held != self._held and not self.transport.is_closing():
            self._held = held
            if held:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # ------------------------------------------------------------------ requests

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        turn = self._turn
        if turn is not None and not (
            self.sent or self._later or self._full or self.requests.waiting
        ):
            self.sent = data
            turn.add(self)
            return
        if self.sent:  # what came before is first
            sent, self.sent = self.sent, b""
            self.requests.feed(sent)
        self.take(data)

    def take(self, data: bytes) -> None:
        """Takes what came, as far as there is room, and answers it."""
        self.requests.feed(data)
        if not self._later and not self._full:
            self._work()
        if self._held or self.requests.waiting:
            self._regulate()

    def eof_received(self) -> bool:
        """A client that sends no more gets the answers to what it sent, before it is let go."""
        if self.sent:
            sent, self.sent = self.sent, b""
            self.take(sent)
        self._over = True
        return self._away or self._later or self._full

    def _go_on(self) -> None:
        self._work()
        self._regulate()
        if self._over and not (self._away or self._later or self._full or self.closed):
            self.close()

    def _work(self) -> None:
        """Answers what is there, so much at a time."""
        self._later = False
        if self.closed or self._away:
            return
        apart = self.server.readers is not None
        out: list[bytes] = []
        last = b""
        try:
            while len(out) < ONCE and not self._ends:
                if self.session.views is not None:
                    if apart:
                        break
                    gets = self.requests.gets(ONCE - len(out))
                    if gets:
                        out += self._gets(gets)
                        if not self.requests.waiting:
                            break
                        continue
                words = self.requests.take()
                if words is None:
                    break
                out.append(self.answer(words))
        except ServeError as broken:  # where the next request begins is not known
            last = error("ERR", broken.message)
        self._reply(out, last)
        if apart and self.session.views is not None and not self._ends and not self._full:
            self._send_away()
        elif len(out) >= ONCE and not self._full and not self._ends:
            self._later = True
            self.loop.call_soon(self._go_on)

    def _reply(self, out: list[bytes], last: bytes) -> None:
        """Sends answers; with a last one, the connection ends."""
        if last:
            out.append(last)
            self._ends = True
        self.server.answered += len(out)
        if out:
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))
        if self._ends:
            self._leave()

    def _send_away(self) -> None:
        """Has a thread answer what is there, so much at a time and in its order: the store may have
        to be waited for, and other connections are not to wait with it."""
        taken: list[list[bytes]] = []
        last = b""
        try:
            while len(taken) < ONCE and (words := self.requests.take()) is not None:
                taken.append(words)
        except ServeError as broken:
            last = error("ERR", broken.message)
        if taken:
            self._away = True
            found = self.loop.run_in_executor(self.server.readers, self._answers, taken)
            found.add_done_callback(partial(self._back, last))
        elif last:
            self._reply([], last)

    def _answers(self, taken: list[list[bytes]]) -> list[bytes]:
        """The replies to requests; those to GETs in a row by one look at the store."""
        out: list[bytes] = []
        gets: list[bytes] = []
        for words in (*taken, None):
            if words is not None and len(words) == 2 and words[0].upper() == b"GET":
                gets.append(words[1])
                continue
            if gets:
                out += self._gets(gets)
                gets = []
            if words is None or self._ends:
                break
            out.append(self.answer(words))
        return out

    def _back(self, last: bytes, found: asyncio.Future[list[bytes]]) -> None:
        self._away = False
        if self.closed or found.cancelled():
            return
        self._reply(found.result(), last)
        if not self._ends and not self._full:
            self._go_on()

    def _get(self, key: bytes) -> bytes:
        """The reply to a GET."""
        views = self.session.views
        assert views is not None, "who is no stranger has a purpose"
        try:
            return views.get(key) or null(self.session.version)
        except Exception:  # answering it as any request says what it is
            return self.answer([b"GET", key])

    def _gets(self, keys: list[bytes]) -> list[bytes]:
        """The replies to GETs in a row, by one look at the store; where something is wrong with one
        of them, each by itself."""
        views, version = self.session.views, self.session.version
        assert views is not None, "who is no stranger has a purpose"
        if len(keys) == 1:
            return [self._get(keys[0])]
        try:
            return [found or null(version) for found in views.get_all(keys)]
        except Exception:  # answering it by itself says what it is
            return [self.answer([b"GET", key]) for key in keys]

    def answer(self, words: list[bytes]) -> bytes:
        """The reply to one request."""
        name = words[0].upper()
        try:
            if self.session.views is None and name not in (b"AUTH", b"HELLO", b"QUIT"):
                return error("NOAUTH", "Authentication required.")
            command = COMMANDS.get(name)
            if command is None:
                if name in WRITES:
                    return error("READONLY", "You can't write here: signals are read alone.")
                return error("ERR", f"unknown command {shown(words[0])}")
            least, most, run = command
            if not least <= len(words) - 1 <= most:
                return error("ERR", f"wrong number of arguments for {shown(words[0])} command")
            return run(self, words)
        except TacitError as refused:
            self.server.refused += 1
            return refusal(refused)
        except Exception as failed:
            say("failed", logging.ERROR, command=name.decode("ascii", "replace"), **failure(failed))
            return refusal(
                ServeError(
                    "the request failed", code="T861", fix="try again; the server's log says more"
                )
            )

    # ------------------------------------------------------------------ who asks

    def admit(self, caller: Caller, purpose: str | None) -> None:
        """Reads for a purpose of the caller's from now on. Raises ServeError T862."""
        if purpose is None and len(caller.purposes) == 1:
            purpose = next(iter(caller.purposes))
        if purpose is None or purpose not in caller.purposes:
            raise ServeError(
                "the key is for several purposes, and none was named"
                if purpose is None
                else "the key is not for that purpose",
                code="T862",
                where="AUTH",
                fix="AUTH PURPOSE KEY, with a purpose of the key's",
            )
        turn = self.server.purpose(purpose)
        self.session.views, self.session.caller = turn.views, caller
        self._turn = turn if self.server.readers is None else None
        self.requests.limits = self.server.limits

    def show(self, token: bytes, purpose: bytes | None) -> bytes | None:
        """A key is shown; what is wrong with it, as an error."""
        wrong = error("WRONGPASS", "invalid username-password pair or user is disabled.")
        named = None
        if purpose is not None and purpose != b"default":
            named = purpose.decode("utf-8", "replace")
        try:
            text = token.decode("ascii", "replace")
            caller = self.server.everybody
            if caller is not None:
                self.admit(caller, named)
                return None
            caller = self.server.authenticate(text)
            if caller is not None:
                check_expiry(caller)
                self.admit(caller, named)
                self.token = text
                return None
        except ServeError as refused:
            wrong = refusal(refused, "WRONGPASS")
        self.server.refused += 1
        self.session.failed += 1
        self._ends = self.session.failed >= _TRIES
        return wrong
