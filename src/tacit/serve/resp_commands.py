"""The commands that Redis clients may send, and what answers each. None of them writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from tacit.errors import TacitError
from tacit.serve.resp_frames import OK, array, bulk, error, mapping, null, number, reply

if TYPE_CHECKING:
    from tacit.serve.resp_connection import Connection

VERSION: Final = "7.4.0"
"""The Redis whose reading commands these are: some clients ask."""

WRITES: Final = frozenset(
    b"SET SETEX PSETEX SETNX MSET MSETNX APPEND INCR INCRBY INCRBYFLOAT DECR DECRBY DEL UNLINK"
    b" GETSET GETDEL GETEX SETRANGE HSET HSETNX HMSET HDEL HINCRBY HINCRBYFLOAT EXPIRE PEXPIRE"
    b" EXPIREAT PEXPIREAT PERSIST RENAME RENAMENX COPY MOVE RESTORE LPUSH RPUSH LPOP RPOP SADD"
    b" SREM ZADD ZREM XADD XDEL XTRIM XACK XGROUP PFADD BITOP SETBIT FLUSHDB FLUSHALL EVAL EVALSHA"
    b" FCALL PUBLISH SPUBLISH SAVE BGSAVE BGREWRITEAOF SHUTDOWN REPLICAOF SLAVEOF SWAPDB".split()
)


def refusal(refused: TacitError, kind: str = "ERR") -> bytes:
    """An error of ours in a line."""
    return error(kind, f"{refused.code} {refused.message}; {refused.fix}")


def shown(raw: bytes) -> str:
    """A word of a request, as an error may say it."""
    return "'" + raw[:64].decode("ascii", "replace").translate(_PRINTED) + "'"


_PRINTED = dict.fromkeys((*range(32), 127, 65533), "?")


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
    return error("ERR", f"unknown subcommand {shown(words[1])}")


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
