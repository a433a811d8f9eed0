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
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from tacit.errors import ServeError, TacitError
from tacit.serve.keys import Caller, check_expiry
from tacit.serve.logs import failure, say
from tacit.serve.resp_frames import (
    OK,
    STRANGER,
    Limits,
    Requests,
    array,
    bulk,
    error,
    mapping,
    null,
    number,
    reply,
)
from tacit.serve.resp_views import Views

VERSION: Final = "7.4.0"
"""The Redis whose reading commands these are: some clients ask."""
_ONCE = 128  # requests of a connection that are answered before others have their turn
_FULL = 1 << 18  # bytes of answers that a client has not taken, before it is read no further
_LINGER = 1.0  # seconds
_TRIES = 3  # wrong keys, then the connection is closed

WRITES: Final = frozenset(
    b"SET SETEX PSETEX SETNX MSET MSETNX APPEND INCR INCRBY INCRBYFLOAT DECR DECRBY DEL UNLINK"
    b" GETSET GETDEL GETEX SETRANGE HSET HSETNX HMSET HDEL HINCRBY HINCRBYFLOAT EXPIRE PEXPIRE"
    b" EXPIREAT PEXPIREAT PERSIST RENAME RENAMENX COPY MOVE RESTORE LPUSH RPUSH LPOP RPOP SADD"
    b" SREM ZADD ZREM XADD XDEL XTRIM XACK XGROUP PFADD BITOP SETBIT FLUSHDB FLUSHALL EVAL EVALSHA"
    b" FCALL PUBLISH SPUBLISH SAVE BGSAVE BGREWRITEAOF SHUTDOWN REPLICAOF SLAVEOF SWAPDB".split()
)


class Session:
    """What a connection said of itself."""

    def __init__(self, number: int, caller: Caller | None = None) -> None:
        self.id = number
        self.version = 2
        self.name = b""
        self.caller = caller
        self.views: Views | None = None
        self.failed = 0


class RespServer:
    """Answers over RESP.

    Args:
        views: of each purpose, what it reads.
        authenticate: a key → who shows it, or None; raises ServeError T844, T845.
        everybody: who asks without a key, on a server that is open; None asks for one.
        refresh: looks at the keys anew; called each second.
        connections: at a time; those beyond are refused.
        patience: seconds for a stranger to show a key.
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
        limits: Limits | None = None,
    ) -> None:
        self.views = views
        self.authenticate = authenticate
        self.everybody = everybody
        self.refresh = refresh
        self.most = connections
        self.patience = patience
        self.limits = Limits() if limits is None else limits
        self.connections: set[Connection] = set()
        self.answered = self.refused = self.accepted = 0
        self._purposes: dict[str, Views] = {}
        self._servers: list[asyncio.Server] = []
        self._keeper: asyncio.Task[None] | None = None

    def purpose(self, name: str) -> Views:
        """What a purpose reads; made once."""
        found = self._purposes.get(name)
        if found is None:
            found = self._purposes[name] = self.views(name)
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
        """Takes no more, lets go of all."""
        if self._keeper is not None:
            self._keeper.cancel()
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.close()
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


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: RespServer) -> None:
        self.server = server
        self.loop = asyncio.get_running_loop()
        self.session = Session(0)
        self.requests = Requests(STRANGER)
        self.transport: Any = None
        self.token = ""
        self._full = self._later = self._ends = self._held = self.closed = False
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
        held = not self.closed and (self._full or waiting > self.requests.limits.room)
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
        if self.session.views is not None and not self._later and not self._full:
            key = self.requests.only(data)
            if key is not None:
                self.server.answered += 1
                self.transport.write(self._get(key))
                return
        self.requests.feed(data)
        if not self._later and not self._full:
            self._work()
        if self._held or self.requests.waiting:
            self._regulate()

    def _go_on(self) -> None:
        self._work()
        self._regulate()

    def _work(self) -> None:
        """Answers what is there, so much at a time."""
        self._later = False
        if self.closed:
            return
        out: list[bytes] = []
        last = b""
        try:
            while len(out) < _ONCE and not self._ends:
                if self.session.views is not None:
                    gets = self.requests.gets(_ONCE - len(out))
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
            self._ends = True
        if last:
            out.append(last)
        self.server.answered += len(out)
        if out:
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))
        if self._ends:
            self._leave()
        elif len(out) >= _ONCE and not self._full:
            self._later = True
            self.loop.call_soon(self._go_on)

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
                return error("ERR", f"unknown command {_shown(words[0])}")
            least, most, run = command
            if not least <= len(words) - 1 <= most:
                return error("ERR", f"wrong number of arguments for {_shown(words[0])} command")
            return run(self, words)
        except TacitError as refused:
            self.server.refused += 1
            return _refused(refused)
        except Exception as failed:
            say("failed", logging.ERROR, command=name.decode("ascii", "replace"), **failure(failed))
            return _refused(
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
        self.session.views = self.server.purpose(purpose)
        self.session.caller = caller
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
            wrong = _refused(refused, "WRONGPASS")
        self.session.failed += 1
        self._ends = self.session.failed >= _TRIES
        return wrong


def _refused(refused: TacitError, kind: str = "ERR") -> bytes:
    """An error of ours in a line."""
    return error(kind, f"{refused.code} {refused.message}; {refused.fix}")


def _shown(raw: bytes) -> str:
    """A word of a request, as an error may say it."""
    return "'" + raw[:64].decode("ascii", "replace").translate(_PRINTED) + "'"


_PRINTED = dict.fromkeys((*range(32), 127, 65533), "?")


# ---------------------------------------------------------------------- commands


def _auth(one: Connection, words: list[bytes]) -> bytes:
    purpose = words[1] if len(words) == 3 else None
    return one.show(words[-1], purpose) or OK


def _hello(one: Connection, words: list[bytes]) -> bytes:
    session, rest = one.session, words[1:]
    version = session.version
    if rest:
        if rest[0] not in (b"2", b"3"):
            return error("NOPROTO", "unsupported protocol version")
        version, rest = int(rest[0]), rest[1:]
    while rest:
        option = rest[0].upper()
        if option == b"AUTH" and len(rest) >= 3:
            wrong = one.show(rest[2], rest[1])
            if wrong is not None:
                return wrong
            rest = rest[3:]
        elif option == b"SETNAME" and len(rest) >= 2:
            session.name, rest = rest[1], rest[2:]
        else:
            return error("ERR", "Syntax error in HELLO option")
    if session.views is None:
        return error(
            "NOAUTH", "HELLO must be called with the client already authenticated, or with AUTH"
        )
    session.version = version
    told = {
        "server": "tacit", "version": VERSION, "proto": version, "id": session.id,
        "mode": "standalone", "role": "replica", "modules": [],
    }  # fmt: skip
    return reply(told, version)


def _ping(one: Connection, words: list[bytes]) -> bytes:
    return bulk(words[1]) if len(words) == 2 else b"+PONG\r\n"


def _quit(one: Connection, words: list[bytes]) -> bytes:
    one._ends = True
    return OK


def _select(one: Connection, words: list[bytes]) -> bytes:
    return OK if words[1] == b"0" else error("ERR", "DB index is out of range")


def _client(one: Connection, words: list[bytes]) -> bytes:
    what = words[1].upper()
    if what in (b"SETINFO", b"NO-EVICT", b"NO-TOUCH"):
        return OK
    if what == b"SETNAME" and len(words) == 3:
        one.session.name = words[2]
        return OK
    if what == b"GETNAME":
        return bulk(one.session.name)
    if what == b"ID":
        return number(one.session.id)
    return error("ERR", f"unknown subcommand {_shown(words[1])}")


def _command(one: Connection, words: list[bytes]) -> bytes:
    what = words[1].upper() if len(words) > 1 else b""
    if what == b"COUNT":
        return number(len(COMMANDS))
    if what == b"DOCS":
        return mapping([], one.session.version)
    return array([])


def _config(one: Connection, words: list[bytes]) -> bytes:
    if words[1].upper() != b"GET":
        return error("READONLY", "You can't write here: signals are read alone.")
    return mapping([], one.session.version)


def _info(one: Connection, words: list[bytes]) -> bytes:
    server = one.server
    lines = (
        "# Server", f"redis_version:{VERSION}", "server_name:tacit", "redis_mode:standalone",
        "# Clients", f"connected_clients:{len(server.connections)}",
        "# Stats", f"total_connections_received:{server.accepted}",
        f"total_commands_processed:{server.answered}", f"refused:{server.refused}",
        "# Replication", "role:slave", "",
    )  # fmt: skip
    return bulk("\r\n".join(lines).encode())


def _get(one: Connection, words: list[bytes]) -> bytes:
    assert one.session.views is not None, "who is no stranger has a purpose"
    return one.session.views.get(words[1]) or null(one.session.version)


def _mget(one: Connection, words: list[bytes]) -> bytes:
    assert one.session.views is not None, "who is no stranger has a purpose"
    nothing = null(one.session.version)
    return array([found or nothing for found in one.session.views.get_all(words[1:])])


def _hget(one: Connection, words: list[bytes]) -> bytes:
    return _fields(one, words)[0]


def _hmget(one: Connection, words: list[bytes]) -> bytes:
    return array(_fields(one, words))


def _fields(one: Connection, words: list[bytes]) -> list[bytes]:
    assert one.session.views is not None, "who is no stranger has a purpose"
    nothing = null(one.session.version)
    found = one.session.views.fields(words[1], tuple(words[2:]))
    return [nothing if each is None else bulk(each) for each in found]


def _hgetall(one: Connection, words: list[bytes]) -> bytes:
    pairs = ((bulk(name), bulk(value)) for name, value in _whole(one, words[1]).items())
    return mapping(pairs, one.session.version)


def _whole(one: Connection, key: bytes) -> Mapping[bytes, bytes]:
    assert one.session.views is not None, "who is no stranger has a purpose"
    return one.session.views.whole(key)


def _hkeys(one: Connection, words: list[bytes]) -> bytes:
    return array([bulk(name) for name in _whole(one, words[1])])


def _hlen(one: Connection, words: list[bytes]) -> bytes:
    return number(len(_whole(one, words[1])))


def _hexists(one: Connection, words: list[bytes]) -> bytes:
    return number(int(words[2] in _whole(one, words[1])))


def _exists(one: Connection, words: list[bytes]) -> bytes:
    assert one.session.views is not None, "who is no stranger has a purpose"
    return number(sum(found is not None for found in one.session.views.get_all(words[1:])))


def _type(one: Connection, words: list[bytes]) -> bytes:
    return b"+string\r\n" if _whole(one, words[1]) else b"+none\r\n"


_ANY = 1 << 20
COMMANDS: Final[Mapping[bytes, tuple[int, int, Callable[[Connection, list[bytes]], bytes]]]] = {
    b"GET": (1, 1, _get),
    b"MGET": (1, _ANY, _mget),
    b"HGET": (2, 2, _hget),
    b"HMGET": (2, _ANY, _hmget),
    b"HGETALL": (1, 1, _hgetall),
    b"HKEYS": (1, 1, _hkeys),
    b"HLEN": (1, 1, _hlen),
    b"HEXISTS": (2, 2, _hexists),
    b"EXISTS": (1, _ANY, _exists),
    b"TYPE": (1, 1, _type),
    b"AUTH": (1, 2, _auth),
    b"HELLO": (0, 6, _hello),
    b"PING": (0, 1, _ping),
    b"ECHO": (1, 1, lambda one, words: bulk(words[1])),
    b"SELECT": (1, 1, _select),
    b"CLIENT": (1, 4, _client),
    b"COMMAND": (0, _ANY, _command),
    b"CONFIG": (1, _ANY, _config),
    b"INFO": (0, _ANY, _info),
    b"QUIT": (0, 0, _quit),
}
"""Command → how many arguments it takes, at least and at most, and what answers it."""
