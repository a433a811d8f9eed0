"""Redis for a fleet: many readers on many machines; changes one at a time, from wherever.

A change holds a lease (a key that expires), collects what it writes, and sends it as one MULTI,
watched so that it fails if the lease was lost meanwhile. So a change is there whole or not at all,
and a writer that was thought dead cannot write any more. One Redis with its replicas, not a
cluster: MULTI wants all keys in one place.

Changes of *lanes* write keys of their own, each under a lease of its own, beside each other. A
change without a lane excludes them: none of theirs is sent while its lease is held, and what a lane
read before such a change was made (a number that each of them counts up) is sent no more.

How durable a change is when it returns is the server's to say: `appendfsync always` writes it to
the disk first; `everysec` may lose the last second when the machine dies (not when Redis does).
`durability` tells which.

Names of what is not a key's data also stand in a sorted set, so that they are found without a walk
through everything.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from tacit.errors import StoreError
from tacit.privacy.randomness import system
from tacit.store.online.base import UNKNOWN, following, full, unreachable
from tacit.store.secrets import place_of

LEASE = 60_000
"""Milliseconds that a change may take; then another may begin, and this one is refused."""
_CHUNK = 10_000
_POLL = 0.005


class Reader:
    """Reading, each call as it is then; segments that changed meanwhile are gone, not different."""

    def __init__(self, store: Redis) -> None:
        self.store = store

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if not keys:
            return []
        with self.store.guarded():
            found: list[bytes | None] = self.store.client.mget([self.store.key(k) for k in keys])
            return found

    def moment(self) -> None:
        """Redis has no count of its changes."""

    def scan(self, prefix: bytes, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        names = self.store.names(prefix, after)
        for start in range(0, len(names), _CHUNK):
            part = names[start : start + _CHUNK]
            for name, value in zip(part, self.get(part), strict=True):
                if value is not None:
                    yield name, value


class Change(Reader):
    """A change: what it writes is sent when it ends, and until then seen by itself alone."""

    def __init__(self, store: Redis, token: bytes, lane: bytes = b"") -> None:
        super().__init__(store)
        self.token = token
        self.lease = store.key(b"lease" + lane)
        self.lane = lane
        self.made: bytes | None = None  # how many changes without a lane there were before it
        self.written: dict[bytes, bytes | None] = {}

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        rest = [key for key in keys if key not in self.written]
        found = dict(zip(rest, super().get(rest), strict=True)) | {
            key: self.written[key] for key in keys if key in self.written
        }
        return [found[key] for key in keys]

    def scan(self, prefix: bytes, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        own = {k for k, v in self.written.items() if k.startswith(prefix) and k > after and v}
        names = sorted(own.union(self.store.names(prefix, after)))
        for start in range(0, len(names), _CHUNK):
            part = names[start : start + _CHUNK]
            for name, value in zip(part, self.get(part), strict=True):
                if value is not None:
                    yield name, value

    def put(self, items: Iterable[tuple[bytes, bytes | memoryview]]) -> None:
        for key, value in items:
            self.written[key] = bytes(value)

    def delete(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self.written[key] = None


class Redis:
    """A store in a Redis server.

    Args:
        url: such as ``redis://localhost:6379/0``.
        name: before all its keys; several stores may share a server.
        patience: seconds to wait for the lease, and for an answer.
    """

    scatters = False

    def __init__(self, url: str, *, name: str = "tacit", patience: float = 10.0) -> None:
        self.where = place_of(url)
        self.prefix = name.encode() + b":"
        self.patience = patience
        self.client: Any = redis.Redis.from_url(
            url, socket_timeout=patience, socket_connect_timeout=patience
        )
        self._walked: tuple[bytes, list[bytes]] = (b"", [])
        with self.guarded():
            self.client.ping()

    def key(self, name: bytes) -> bytes:
        return self.prefix + name

    @property
    def durability(self) -> str:
        """``always``, ``everysec``, ``no`` (the server decides) or ``off`` (memory only)."""
        with self.guarded():
            found = self.client.config_get("append*")
            if found.get("appendonly") != "yes":
                return "off"
            return str(found.get("appendfsync"))

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turns the client's errors into the store's."""
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise unreachable(self.where, f"{type(error).__name__} of Redis") from None
        except redis.WatchError:
            raise self._held() from None
        except redis.RedisError as error:
            said = str(error)
            if any(word in said for word in ("OOM", "maxmemory", "MISCONF", "discarded")):
                raise full(self.where, said) from None
            raise unreachable(self.where, said) from None

    def names(self, prefix: bytes, after: bytes) -> list[bytes]:
        """The stored names with a prefix, ascending, after one of them.

        Data is walked through once for all the batches of it that are asked one after another.
        """
        with self.guarded():
            if not prefix.startswith(b"d"):
                low = b"(" + after if after else b"[" + prefix
                high = following(prefix)
                found: list[bytes] = self.client.zrangebylex(
                    self.key(b"names"), low, b"(" + high if high else b"+"
                )
                return found
            if not after or after == prefix or self._walked[0] != prefix:
                match = b"".join(
                    b"\\" + bytes([c]) if c in b"*?[]^\\-" else bytes([c]) for c in self.key(prefix)
                )
                walk = self.client.scan_iter(match + b"*", count=_CHUNK)
                size = len(self.prefix)
                self._walked = (prefix, sorted({name[size:] for name in walk}))
        return [name for name in self._walked[1] if name > after]

    @contextmanager
    def read(self) -> Iterator[Reader]:
        yield Reader(self)

    @contextmanager
    def change(self, lane: str = "", *, settle: bool = True) -> Iterator[Change]:
        change = Change(self, system().bytes(16), b":" + lane.encode() if lane else b"")
        self._take(change)
        try:
            yield change
        except BaseException:
            self._release(change)
            raise
        self._commit(change)

    def _take(self, change: Change) -> None:
        end = time.monotonic() + self.patience
        while True:
            with self.guarded():
                if self.client.set(change.lease, change.token, nx=True, px=LEASE):
                    if not change.lane:
                        return
                    held, change.made = self.client.mget(self.key(b"lease"), self.key(b"made"))
                    if held is None:
                        return
                    self._release(change)
            if time.monotonic() > end:
                raise self._held()
            time.sleep(_POLL)

    def _held(self) -> StoreError:
        return StoreError(
            "another process is changing the online store",
            code="T721",
            where=self.where,
            fix="try again; nothing of this change was kept",
        )

    def _release(self, change: Change) -> None:
        try:
            with self.client.pipeline() as pipe:
                pipe.watch(change.lease)
                if pipe.get(change.lease) == change.token:
                    pipe.multi()
                    pipe.delete(change.lease)
                    pipe.execute()
        except redis.RedisError:
            return  # it expires by itself

    def _commit(self, change: Change) -> None:
        whole, made = self.key(b"lease"), self.key(b"made")
        try:
            with self.guarded(), self.client.pipeline() as pipe:
                pipe.watch(change.lease, *([whole, made] if change.lane else []))
                if pipe.get(change.lease) != change.token:
                    raise self._held()
                if change.lane and pipe.mget(whole, made) != [None, change.made]:
                    raise self._held()
                pipe.multi()
                self._send(pipe, change)
                if change.written and not change.lane:
                    pipe.incr(made)
                pipe.delete(change.lease)
                pipe.execute()
        except StoreError as error:
            self._release(change)
            if error.code == "T722":
                error.fix = UNKNOWN
            raise

    def _send(self, pipe: Any, change: Change) -> None:
        kept = {key: value for key, value in change.written.items() if value is not None}
        gone = [key for key, value in change.written.items() if value is None]
        if kept:
            pipe.mset({self.key(key): value for key, value in kept.items()})
        if gone:
            pipe.delete(*(self.key(key) for key in gone))
        names = {key: 0 for key in kept if not key.startswith(b"d")}
        if names:
            pipe.zadd(self.key(b"names"), names)
        if removed := [key for key in gone if not key.startswith(b"d")]:
            pipe.zrem(self.key(b"names"), *removed)

    def settle(self) -> None:
        """A change is as durable as the server makes it when it was sent."""

    def moment(self) -> None:
        """Redis has no count of its changes."""

    def compact(self) -> None:
        """Has Redis write its files anew, without what was removed; waits until it has."""
        with self.guarded():
            if self.durability != "off":
                self.client.bgrewriteaof()
                self._wait("aof_rewrite_in_progress", "aof_rewrite_scheduled")
            if self.client.config_get("save").get("save") or self.client.lastsave():
                self.client.bgsave(schedule=True)
                self._wait("rdb_bgsave_in_progress")

    def _wait(self, *fields: str) -> None:
        time.sleep(0.1)
        while any(self.client.info("persistence").get(field) for field in fields):
            time.sleep(0.05)

    def size(self) -> int:
        with self.guarded():
            return int(self.client.info("memory")["used_memory"])

    def close(self) -> None:
        self.client.close()
