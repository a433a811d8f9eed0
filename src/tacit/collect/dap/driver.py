"""The leader's background work: a few threads that do what is due, until they are told to stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tacit.collect.dap.aggregation import Aggregation
from tacit.collect.dap.collection import Collecting
from tacit.errors import TacitError

_LOG = logging.getLogger("tacit.dap")
_LINGER: Final = 0.2  # seconds that reports wait for others to share their job
_IDLE: Final = 0.1  # seconds between looks for what was left by others, or is to be tried again


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done for one task."""

    aggregation: Aggregation
    collecting: Collecting

    def once(self, *, full: bool = False) -> bool:
        """One piece of work, if there is any; with `full`, no job that could still fill up."""
        moved = self.collecting.work()
        if full and 0 < self.aggregation.backlog() < self.aggregation.job_size:
            return moved
        return self.aggregation.work() or moved


class Driver:
    """Threads that drive tasks. They look for work when `woken` is set; `close` stops them."""

    def __init__(self, work: Sequence[Work], woken: threading.Event, *, threads: int = 2) -> None:
        self._work, self._woken = tuple(work), woken
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"driver {i}", daemon=True)
            for i in range(threads)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Let every thread finish the piece it is at, and end."""
        self._stop.set()
        self._woken.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _run(self) -> None:
        lingered = time.monotonic()
        while not self._stop.is_set():
            full = time.monotonic() - lingered < _LINGER
            moved = [self._once(work, full) for work in self._work]
            if not full:
                lingered = time.monotonic()
            if not any(moved):
                self._woken.wait(_IDLE)
                self._woken.clear()

    def _once(self, work: Work, full: bool) -> bool:
        try:
            return work.once(full=full)
        except TacitError as error:
            _LOG.warning("task %s: %s", work.aggregation.task.name, error)
        except Exception:
            _LOG.exception("task %s: a piece of work failed", work.aggregation.task.name)
        return False
