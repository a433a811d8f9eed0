"""LMDB in a folder: the embedded default. Readers never wait; one change is made at a time.

::

    current       names the folder that holds the data; replaced in one step by `compact`
    data-1/       an LMDB environment

A commit is on the disk when `change` ends (`sync`), in whatever process. `compact` copies what is
there to a new environment and removes the old one: only then are the bytes of what was deleted out
of the store's files. Other processes notice, at their next reading or change, that `current` names
another folder.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from tacit.errors import StoreError
from tacit.store.atomic import make_folder, replace_file, unwritable
from tacit.store.online.base import full, unreachable

LIMIT = 1 << 38
"""Bytes that an environment may grow to: addresses, not memory or disk."""


_LOOK = 0.02
"""Seconds between looks at `current`, for who asks for the moment alone."""


_OPENED: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
_OPENING = threading.Lock()


class Transaction:
    """Reading or changing."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if len(keys) < 8:
            return [self.inner.get(key) for key in keys]
        with self.inner.cursor() as cursor:
            found = dict(cursor.getmulti(keys))
        return [found.get(key) for key in keys]

    def scan(self, prefix: bytes, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        with self.inner.cursor() as cursor:
            there = cursor.set_range(max(prefix, after))
            while there and cursor.key().startswith(prefix):
                key, value = cursor.item()
                if key != after:
                    yield key, value
                there = cursor.next()

    def put(self, items: Iterable[tuple[bytes, bytes | memoryview]]) -> None:
        with self.inner.cursor() as cursor:
            cursor.putmulti(items)

    def delete(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self.inner.delete(key)


class Lmdb:
    """An LMDB store. One object may be used from several threads and not across a fork.

    Args:
        folder: made if it is not there.
        limit: bytes that it may grow to; beyond, changes are refused (T720).
        sync: whether a commit waits for the disk. Without, a crash of the process loses nothing,
            one of the machine may damage the store.
    """

    def __init__(self, folder: Path | str, *, limit: int = LIMIT, sync: bool = True) -> None:
        self.folder = make_folder(Path(folder).absolute())
        self.limit = limit
        self.sync = sync
        self._lock = threading.RLock()
        self._look = 0.0
        self._pointer = self.folder / "current"
        if not self._pointer.exists():
            replace_file(self._pointer, [b"data-1"])
        self._open()

    def _open(self) -> None:
        self._seen = self._stamp()
        name = self._pointer.read_text()
        try:
            self._env = self._environment(str(make_folder(self.folder / name)))
        except lmdb.Error as error:
            raise self._refusal(error) from None
        except OSError as error:
            raise unwritable(error, self.folder) from None
        self._env.reader_check()  # places of readers that were killed
        self._name = name

    def _environment(self, path: str) -> Any:
        """LMDB wants a folder opened once in a process: objects share what is open."""
        with _OPENING:
            found = _OPENED.get(path)
            if found is None:
                found = lmdb.open(
                    path,
                    map_size=self.limit,
                    sync=self.sync,
                    metasync=self.sync,
                    max_readers=1024,
                    mode=0o600,
                )
                _OPENED[path] = found
            return found

    def _stamp(self) -> tuple[int, int]:
        try:
            found = os.stat(self._pointer)
        except OSError as error:
            raise unreachable(str(self.folder), str(error)) from None
        return found.st_ino, found.st_mtime_ns

    def _current(self) -> Any:
        """The environment that `current` names."""
        if self._stamp() != self._seen:
            with self._lock:
                if self._stamp() != self._seen:
                    self._open()
        return self._env

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        inner = self._current().begin()
        try:
            yield Transaction(inner)
        except lmdb.Error as error:
            raise self._refusal(error) from None
        finally:
            inner.abort()

    @contextmanager
    def change(self, lane: str = "") -> Iterator[Transaction]:
        """A change; LMDB has one writer, so lanes wait for each other."""
        with self._lock:
            inner = self._begin()
            try:
                yield Transaction(inner)
                inner.commit()
            except lmdb.Error as error:
                inner.abort()
                raise self._refusal(error) from None
            except BaseException:
                inner.abort()
                raise

    def _begin(self) -> Any:
        while True:
            env = self._current()
            try:
                inner = env.begin(write=True)
            except lmdb.Error as error:
                raise self._refusal(error) from None
            if self._stamp() == self._seen:
                return inner
            inner.abort()  # somebody compacted while this waited

    def moment(self) -> tuple[str, int]:
        """The folder and the number of the last change in it.

        That another process has compacted the store is seen after `_LOOK` at the latest; until
        then what is found stands as it stood then.
        """
        clock = time.monotonic()
        if clock > self._look:
            self._current()
            self._look = clock + _LOOK
        try:
            inner = self._env.begin()
        except lmdb.Error as error:
            raise self._refusal(error) from None
        number: int = inner.id()
        inner.abort()
        return self._name, number

    def compact(self) -> None:
        with self._lock:
            inner = self._begin()  # nobody commits to what is being left
            old = self._name
            name = f"data-{int(old.partition('-')[2]) + 1}"
            try:
                shutil.rmtree(self.folder / name, ignore_errors=True)
                self._env.copy(str(make_folder(self.folder / name)), compact=True)
                descriptor = os.open(self.folder / name / "data.mdb", os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)
                replace_file(self._pointer, [name.encode()])
            except lmdb.Error as error:
                shutil.rmtree(self.folder / name, ignore_errors=True)
                raise self._refusal(error) from None
            finally:
                inner.abort()
            self._open()
            shutil.rmtree(self.folder / old, ignore_errors=True)

    def size(self) -> int:
        env = self._current()
        info, stat = env.info(), env.stat()
        return int((info["last_pgno"] + 1) * stat["psize"])

    def close(self) -> None:
        self._env = None  # it closes when nobody has it

    def _refusal(self, error: lmdb.Error) -> StoreError:
        said = str(error)
        # A write cut short by a full disk is an "Input/output error" to LMDB.
        disk = any(word in said for word in ("No space", "quota", "too large", "Input/output"))
        if isinstance(error, lmdb.MapFullError) or disk:
            return full(str(self.folder), f"{said} (limit {self.limit:,} bytes)")
        if isinstance(error, lmdb.CorruptedError | lmdb.InvalidError | lmdb.PageNotFoundError):
            return StoreError(
                f"the online store is damaged: {said}",
                code="T723",
                where=str(self.folder),
                fix="remove it and build it again from a baseline",
            )
        return unreachable(str(self.folder), said)
