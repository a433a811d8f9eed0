"""A timer that is set and cancelled with every request, and hardly ever comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls ``then`` so many seconds after it was last set, unless it was cancelled.

    Setting and cancelling note a moment, no more: the loop's own timer is left as it is, and waits
    for the rest when it comes too early. `end` lets go of it.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, then: Callable[[], None]
    ) -> None:
        self._loop, self._seconds, self._then = loop, seconds, then
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self) -> None:
        self._due = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._come)

    def cancel(self) -> None:
        self._due = None

    def end(self) -> None:
        self._due = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _come(self) -> None:
        self._timer = None
        if self._due is None:
            return
        left = self._due - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._come)
        else:
            self._due = None
            self._then()
