"""Uploads in groups: all that wait are written in one transaction, so a commit serves many.

An upload returns when its reports are on the disk, or are known to be there already.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from tacit.collect.dap import leader_store, store
from tacit.collect.dap.database import Database
from tacit.collect.dap.errors import ReportError, refuse

Row = tuple[bytes, bytes, bytes]
"""A report's bucket key, id and encoding."""

Verdicts = list[ReportError | None]
"""What became of each report; None: it is queued."""

_MOST: Final = 4096  # reports of one transaction


@dataclass(slots=True)
class _Upload:
    task: bytes
    rows: Sequence[Row]
    horizon: bytes
    done: Future[Verdicts] = field(default_factory=Future)


class ReportWriter:
    """The one thread of a leader that queues reports. `close` it, or use it in a `with`."""

    def __init__(self, database: Database, notify: Callable[[], None] = lambda: None) -> None:
        self._database, self._notify = database, notify
        self._uploads: queue.SimpleQueue[_Upload | None] = queue.SimpleQueue()
        self._lock, self._closed = threading.Lock(), False
        self._thread = threading.Thread(target=self._run, name="report writer", daemon=True)
        self._thread.start()

    def write(self, task: bytes, rows: Sequence[Row], horizon: bytes) -> Verdicts:
        """Queue the reports of one upload, none of them from before the horizon (`store.horizon`).

        Raises StoreError when they could not be written.
        """
        upload = _Upload(task, rows, horizon)
        with self._lock:
            if self._closed:
                raise refuse("T824", "the leader is shutting down", "upload again in a moment")
            self._uploads.put(upload)
        return upload.done.result()

    def close(self) -> None:
        """Write what was given, and stop."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._uploads.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._uploads.get()) is not None:
            group, more = [first], True
            while more and sum(len(upload.rows) for upload in group) < _MOST:
                try:
                    upload = self._uploads.get_nowait()
                except queue.Empty:
                    break
                if upload is None:
                    more = False
                else:
                    group.append(upload)
            for task in {upload.task for upload in group}:
                self._write(task, [upload for upload in group if upload.task == task])
            self._notify()
            if not more:
                return

    def _write(self, task: bytes, group: Sequence[_Upload]) -> None:
        rows = [row for upload in group for row in upload.rows]
        try:
            verdicts = self._store(task, rows, max(upload.horizon for upload in group))
        except Exception as error:  # each upload gets it, and the thread goes on
            for upload in group:
                upload.done.set_exception(error)
            return
        at = 0
        for upload in group:
            upload.done.set_result(verdicts[at : at + len(upload.rows)])
            at += len(upload.rows)

    def _store(self, task: bytes, rows: Sequence[Row], horizon: bytes) -> Verdicts:
        with self._database.transaction(task) as session:
            first = store.horizon(session, task, horizon)
            known = store.seen(session, task, [row[1] for row in rows])
            closed = store.collected_among(session, task, (row[0] for row in rows))
            verdicts: Verdicts = []
            fresh: list[Row] = []
            for row in rows:
                if row[1] in known:
                    verdicts.append(ReportError.REPORT_REPLAYED)
                elif row[0] in closed:
                    verdicts.append(ReportError.BATCH_COLLECTED)
                elif row[0] < first:
                    verdicts.append(ReportError.REPORT_DROPPED)
                else:
                    known.add(row[1])
                    fresh.append(row)
                    verdicts.append(None)
            store.remember(session, task, ((row[1], row[0]) for row in fresh))
            leader_store.insert(session, task, fresh)
        return verdicts
