"""LMDB in a folder: the embedded default. Readers never wait; one change is made at a time.

::

    current       names the folder that holds the data; replaced in one step by `compact`
    data-1/       an LMDB environment

A commit is on the disk when `change` ends (`sync`), in whatever process. It goes there in two
steps. What was changed is written and waited for; then the page that says which commit stands is
written, and from then on others read the change; then that page is waited for (`settle`), while the
next change is made already. A machine that dies between the two comes up with the commit before,
whole: LMDB's MDB_NOMETASYNC, which never writes over what the commit before consists of. One wait
for the disk settles all changes that were made by then.

`compact` copies what is there to a new environment and removes the old one: only then are the bytes
of what was deleted out of the store's files. Other processes notice, at their next reading or
change, that `current` names another folder: the file that was replaced is marked, and they have it
mapped.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from mmap import PROT_READ, mmap
from pathlib import Path
from types import TracebackType
from typing import Any

import lmdb

from tacit.errors import StoreError
from tacit.store.atomic import make_folder, replace_file, unwritable
from tacit.store.online.base import UNKNOWN, full, unreachable

LIMIT = 1 << 38
"""Bytes that an environment may grow to: addresses, not memory or disk."""


_LOOK = 0.02
"""Seconds between looks at `current`, beside its mark: who compacted may have died before it."""
_CLOSES = 5.0  # seconds in which an environment that nobody has any more is closed
_ITEMS = 2000  # copied in one transaction
_STANDS, _LEFT = b" ", b"\n"
"""The mark of `current`, its last byte: while it stands, and once another has replaced it."""


_OPENED: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
_OPENING = threading.Lock()


class Transaction:
    """Reading or changing."""

    __slots__ = ("inner", "name")

    def __init__(self, inner: Any, name: str) -> None:
        self.inner, self.name = inner, name

    def moment(self) -> tuple[str, int]:
        """The folder and the number of the last change that is seen."""
        return self.name, self.inner.id()

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return list(map(self.inner.get, keys))  # half of what a cursor's `getmulti` takes

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


class Snapshot:
    """A reading of the store as it is when a block begins, until it ends."""

    __slots__ = ("_store", "_transaction")

    def __init__(self, store: Lmdb) -> None:
        self._store = store

    def __enter__(self) -> Transaction:
        env, name = self._store.current()
        try:
            self._transaction = Transaction(env.begin(), name)
        except lmdb.Error as error:
            raise self._store.refusal(error) from None
        return self._transaction

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._transaction.inner.abort()
        if isinstance(error, lmdb.Error):
            raise self._store.refusal(error) from None


class Lmdb:
    """An LMDB store. One object may be used from several threads and not across a fork.

    Args:
        folder: made if it is not there.
        limit: bytes that it may grow to; beyond, changes are refused (T720).
        sync: whether a commit waits for the disk. Without, a crash of the process loses nothing,
            one of the machine may damage the store.
    """

    scatters = True

    def __init__(self, folder: Path | str, *, limit: int = LIMIT, sync: bool = True) -> None:
        self.folder = make_folder(Path(folder).absolute())
        self.limit = limit
        self.sync = sync
        self._lock = threading.RLock()
        self._look = 0.0
        self._settling = threading.Lock()
        self._made = self._settled = 0  # changes of this object: that ended, that are on the disk
        self._pointer = self.folder / "current"
        self._mark: Any = b""
        if not self._pointer.exists():
            replace_file(self._pointer, [b"data-1", _STANDS])
        self._open()

    def _open(self) -> None:
        self._seen = self._stamp()
        with self._pointer.open("rb") as file:
            name = file.read().decode().strip()
            self._mark = mmap(file.fileno(), 0, prot=PROT_READ)
        try:
            env = self._environment(str(make_folder(self.folder / name)))
        except lmdb.Error as error:
            raise self.refusal(error) from None
        except OSError as error:
            raise unwritable(error, self.folder) from None
        env.reader_check()  # places of readers that were killed
        self._opened: Any = env, name

    def _environment(self, path: str) -> Any:
        """LMDB wants a folder opened once in a process: objects share what is open."""
        with _OPENING:
            patience = time.monotonic() + _CLOSES
            while True:
                found = _OPENED.get(path)
                if found is not None:
                    return found
                try:
                    found = self._env(path)
                except lmdb.Error as error:
                    # Who had it last let go of it in another thread, which is closing it.
                    if "already open" not in str(error) or time.monotonic() > patience:
                        raise
                    time.sleep(0.001)
                    continue
                _OPENED[path] = found
                return found

    def _env(self, path: str) -> Any:
        return lmdb.open(
            path,
            map_size=self.limit,
            sync=self.sync,
            metasync=False,  # `settle` waits for it
            max_readers=1024,
            mode=0o600,
        )

    def _stamp(self) -> tuple[int, int]:
        try:
            found = os.stat(self._pointer)
        except OSError as error:
            raise unreachable(str(self.folder), str(error)) from None
        return found.st_ino, found.st_mtime_ns

    def current(self) -> tuple[Any, str]:
        """The environment that `current` names, and its folder."""
        clock = time.monotonic()
        if clock > self._look or self._mark[-1:] != _STANDS:
            if self._stamp() != self._seen:
                with self._lock:
                    if self._stamp() != self._seen:
                        self._open()
            self._look = clock + _LOOK
        found: tuple[Any, str] = self._opened
        return found

    def read(self) -> Snapshot:
        """See `Backend.read`."""
        return Snapshot(self)

    @contextmanager
    def change(self, lane: str = "", *, settle: bool = True) -> Iterator[Transaction]:
        """A change; LMDB has one writer, so lanes wait for each other."""
        with self._lock:
            inner, name = self._begin()
            try:
                yield Transaction(inner, name)
                inner.commit()
                self._made += 1
            except lmdb.Error as error:
                inner.abort()
                raise self.refusal(error) from None
            except BaseException:
                inner.abort()
                raise
        if settle:
            self.settle()

    def settle(self) -> None:
        """See `Backend.settle`. Who comes while another waits for the disk waits for the next time,
        which is for all that came meanwhile."""
        made = self._made
        with self._settling:
            if self._settled >= made or not self.sync:
                return
            made = self._made
            env, _ = self._opened
            try:
                env.sync(True)
            except lmdb.Error as error:
                refused = self.refusal(error)
                refused.fix = UNKNOWN
                raise refused from None
            self._settled = made

    def _begin(self) -> tuple[Any, str]:
        while True:
            env, name = self.current()
            try:
                inner = env.begin(write=True)
            except lmdb.Error as error:
                raise self.refusal(error) from None
            if self._stamp() == self._seen:
                return inner, name
            inner.abort()  # somebody compacted while this waited

    def moment(self) -> tuple[str, int]:
        """The folder and the number of the last change in it."""
        env, name = self.current()
        try:
            inner = env.begin()
        except lmdb.Error as error:
            raise self.refusal(error) from None
        number: int = inner.id()
        inner.abort()
        return name, number

    def compact(self) -> None:
        with self._lock:
            inner, old = self._begin()  # nobody commits to what is being left
            name = f"data-{int(old.partition('-')[2]) + 1}"
            try:
                shutil.rmtree(self.folder / name, ignore_errors=True)
                self._copy(inner, make_folder(self.folder / name))
                with self._pointer.open("r+b") as before:
                    replace_file(self._pointer, [name.encode(), _STANDS])
                    if before.read()[-1:] == _STANDS:  # not that of an older Tacit
                        before.seek(-1, os.SEEK_END)
                        before.write(_LEFT)
            except lmdb.Error as error:
                shutil.rmtree(self.folder / name, ignore_errors=True)
                raise self.refusal(error) from None
            finally:
                inner.abort()
            self._open()
            shutil.rmtree(self.folder / old, ignore_errors=True)

    def _copy(self, inner: Any, folder: Path) -> None:
        """What is read, put into a new environment in its order. LMDB's own copy takes pages as
        they are, and a branch of its tree may be named by a key that is no more.
        """
        new = lmdb.open(str(folder), map_size=self.limit, sync=False, mode=0o600)
        try:
            with inner.cursor() as cursor:
                items = cursor.iternext()
                while some := list(islice(items, _ITEMS)):
                    with new.begin(write=True) as into, into.cursor() as there:
                        there.putmulti(some, append=True)
            new.sync(True)
        finally:
            new.close()

    def size(self) -> int:
        env, _ = self.current()
        info, stat = env.info(), env.stat()
        return int((info["last_pgno"] + 1) * stat["psize"])

    def close(self) -> None:
        self._opened = None, ""  # it closes when nobody has it

    def refusal(self, error: lmdb.Error) -> StoreError:
        """An error of LMDB's as the store's."""
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
