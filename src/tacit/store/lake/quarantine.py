"""Rows that broke their contract: kept beside the lake until somebody mends them, or they expire.

One file of JSON lines for each ingestion that had any, `FOLDER/SOURCE/INGESTION.jsonl`, readable by
its owner alone. A line has `file`, `row` (from 1, in that file), `code`, `column`, `reason`, `at`
(µs, where the row's time could be read), `arrived` (µs) and `values`, the row's own. It is personal
data like any other: retention and erasure go through it (`sweep`, `forget`).
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from tacit.store.atomic import PRIVATE, make_folder, sync_folder, unwritable
from tacit.store.lake.contract import Breach

_PARTIAL = ".partial"


class Quarantine:
    """The quarantined rows of one source."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, ingestion: str) -> Path:
        """Where the rows of an ingestion are, if it has any."""
        return self.folder / f"{ingestion}.jsonl"

    def open(self, ingestion: str, arrived: int) -> Writer:
        """What takes the rows of an ingestion; they are there when it is `keep`t."""
        return Writer(self.file(ingestion), arrived)

    def lines(self) -> Iterator[Mapping[str, Any]]:
        """Every line of every file."""
        for path in self._files():
            with path.open("rb") as file:
                yield from map(json.loads, file)

    def sweep(self, keep: int | None, now: int) -> int:
        """Removes the rows that are past their retention; how many.

        A row's age is counted from its time, where that could be read, else from its arrival. Also
        removes what a killed ingestion left half written; none may be at work.
        """
        self._clear()
        if keep is None:
            return 0
        return self._filter(lambda row: _since(row) < now - keep)

    def forget(self, columns: Collection[str], key: str) -> int:
        """Removes the rows in which one of these columns holds the key, and those that could not
        be read and have it as a word; how many. None may be at work."""
        self._clear()
        word = re.compile(rf"(?<!\w){re.escape(key)}(?!\w)")

        def is_theirs(row: Mapping[str, Any]) -> bool:
            values = row["values"]
            if "" in values:
                return word.search(str(values[""])) is not None
            return any(str(values.get(name)) == key for name in columns)

        return self._filter(is_theirs)

    def _clear(self) -> None:
        """Removes what was left half written."""
        if self.folder.is_dir():
            for path in self.folder.glob(f"*{_PARTIAL}"):
                path.unlink()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.jsonl")) if self.folder.is_dir() else []

    def _filter(self, is_gone: Callable[[Mapping[str, Any]], bool]) -> int:
        """Rewrites the files that hold rows of this kind, without them, a line at a time."""
        removed = 0
        for path in self._files():
            kept, gone = 0, 0
            with path.open("rb") as file, _Aside(path) as aside:
                for line in file:
                    if is_gone(json.loads(line)):
                        gone += 1
                    else:
                        aside.file.write(line)
                        kept += 1
                if gone and kept:
                    aside.keep()
            if gone and not kept:
                path.unlink()
                sync_folder(path.parent)
            removed += gone
        return removed


def _since(row: Mapping[str, Any]) -> int:
    at = row["at"]
    return int(row["arrived"] if at is None else min(at, row["arrived"]))


class _Aside:
    """A private file beside a path, which takes its place only when it is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> _Aside:
        make_folder(self.path.parent)
        self.path.parent.chmod(0o700)
        try:
            descriptor, self.name = tempfile.mkstemp(suffix=_PARTIAL, dir=self.path.parent)
        except OSError as error:
            raise unwritable(error, self.path) from None
        self.file: IO[bytes] = os.fdopen(descriptor, "wb")
        return self

    def keep(self) -> None:
        try:
            self.file.flush()
            os.fchmod(self.file.fileno(), PRIVATE)
            os.fsync(self.file.fileno())
            os.replace(self.name, self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise unwritable(error, self.path) from None

    def __exit__(self, *_: object) -> None:
        self.file.close()
        with suppress(OSError):
            os.unlink(self.name)  # gone already, where it was kept


class Writer:
    """Takes the rows of one ingestion, as they are found; a context that keeps nothing by itself.

    Raises StoreError T701 or T704 where they cannot be written.
    """

    def __init__(self, path: Path, arrived: int) -> None:
        self._path, self._arrived = path, arrived
        self._aside: _Aside | None = None
        self.count = 0
        self.reasons: dict[str, int] = {}

    def __enter__(self) -> Writer:
        return self

    def add(self, title: str, breach: Breach) -> None:
        """One row of a file of that title."""
        if self._aside is None:
            self._aside = _Aside(self._path).__enter__()
        line = {
            "file": title,
            "row": breach.row,
            "code": breach.code,
            "column": breach.column,
            "reason": breach.reason,
            "at": breach.at,
            "arrived": self._arrived,
            "values": {name: _plain(value) for name, value in breach.values.items()},
        }
        try:
            self._aside.file.write(json.dumps(line).encode() + b"\n")
        except OSError as error:
            raise unwritable(error, self._path) from None
        self.count += 1
        self.reasons[breach.code] = self.reasons.get(breach.code, 0) + 1

    def keep(self) -> None:
        """Puts the rows in their place; where there are none, so it will be on the disk."""
        if self._aside is not None:
            self._aside.keep()
        elif self._path.exists():
            self._path.unlink()

    def __exit__(self, *_: object) -> None:
        if self._aside is not None:
            self._aside.__exit__()


def _plain(value: object) -> object:
    """A value as JSON holds it: bytes and moments as text."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    return str(value)
