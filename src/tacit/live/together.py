"""Changes of several threads made as one: they share a transaction, and a wait for the disk.

A store makes one change at a time, and each waits for the disk. Who comes while one is being made
waits, and whoever has the next turn makes all that wait by then. Each returns once the disk has its
change, or raises what its own raised: where one of several fails, none of them is kept, and each is
made by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from tacit.store.online.base import Backend, Changing

T = TypeVar("T")
_MOST = 32  # changes that are made as one


class _ApartError(Exception):
    """One of several failed, before anything was sent."""


class _Turn(Generic[T]):
    """A change that is to be made, then what became of it."""

    def __init__(self, work: Callable[[Changing], T]) -> None:
        self.work = work
        self.found: list[T] = []
        self.error: BaseException | None = None

    @property
    def done(self) -> bool:
        return bool(self.found) or self.error is not None

    def tell(self) -> T:
        if self.error is not None:
            raise self.error
        return self.found[0]


class Together:
    """The changes of a backend, from any thread."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._guard = threading.Lock()  # of who waits
        self._turn = threading.Lock()
        self._waiting: list[_Turn[Any]] = []

    def run(self, work: Callable[[Changing], T]) -> T:
        """What a change returns, once it is durable. It may be run twice, the first time in vain.

        Raises what it raises, and StoreError as the backend's `change` and `settle`.
        """
        mine = _Turn(work)
        with self._guard:
            self._waiting.append(mine)
        try:
            with self._turn:
                while not mine.done:
                    self._make()
        except BaseException:
            with self._guard:
                if mine in self._waiting:
                    self._waiting.remove(mine)
            raise
        found = mine.tell()
        self.backend.settle()
        return found

    def _make(self) -> None:
        """Makes the changes that wait."""
        with self._guard:
            several, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        try:
            if len(several) == 1 or not self._as_one(several):
                for turn in several:
                    self._alone(turn)
        finally:  # interrupted: others have them made
            with self._guard:
                self._waiting[:0] = [turn for turn in several if not turn.done]

    def _as_one(self, several: list[_Turn[Any]]) -> bool:
        """Whether all could be made."""
        found = []
        try:
            with self.backend.change(settle=False) as store:
                for turn in several:
                    try:
                        found.append(turn.work(store))
                    except Exception as failed:
                        raise _ApartError from failed
        except _ApartError:
            return False
        except Exception as failed:  # whether they are kept is not known: nobody makes them again
            for turn in several:
                turn.error = failed
            return True
        for turn, each in zip(several, found, strict=True):
            turn.found.append(each)
        return True

    def _alone(self, turn: _Turn[Any]) -> None:
        try:
            with self.backend.change(settle=False) as store:
                found = turn.work(store)
        except Exception as failed:
            turn.error = failed
        else:
            turn.found.append(found)
