"""A folder of segments, Parquet or JSON lines: each file once, in the order of names.

A segment must appear under its name whole (written aside, then renamed). Names that begin with a
dot or an underscore are passed over. How many rows of a file are in is committed with them, so a
crash in the middle of a file goes on in its middle. A file that is done is never read again; one
that changed since is an error, for its rows would be lost or doubled. A file that cannot be taken
is told once, and passed over until it is another: the files after it need not wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tacit.errors import DataError
from tacit.live.accept import Rejected, dump
from tacit.live.inputs.rows import lacking, read_json
from tacit.live.intake import Receipt, Taken
from tacit.live.online import Online
from tacit.live.place import Mark

SUFFIXES = (".parquet", ".jsonl", ".ndjson")
_BATCH = 100_000


class Folder:
    """A folder into one source.

    Args:
        online: the store.
        source: the name of the source.
        path: the folder.
        clock: now, µs.
        ids: the column that identifies an event, where there is one: what is sent twice then counts
            once. The mark tells only what is read twice.
    """

    def __init__(
        self,
        online: Online,
        source: str,
        path: Path,
        *,
        clock: Callable[[], int],
        ids: str | None = None,
        batch: int = _BATCH,
    ) -> None:
        self.online, self.source, self.path = online, source, path
        self.clock, self.batch, self.ids = clock, batch, ids
        # What need not be looked into again: sizes of files that are done, and what was told wrong.
        self._done: dict[str, int] = {}
        self._told: dict[str, tuple[int, int]] = {}

    def step(self) -> Receipt | None:
        """Takes the next rows; None when every file is done, or was told to be wrong.

        Raises DataError T394, once, for a file that cannot be read, that lacks columns, or that
        changed after it was taken. Others are taken first; it is looked at again once it changed.
        """
        wrong: list[tuple[DataError, str, tuple[int, int]]] = []
        for path in sorted(self.path.iterdir()):
            if path.suffix not in SUFFIXES or path.name[0] in "._":
                continue
            stat = path.stat()
            seen = (stat.st_size, stat.st_mtime_ns)
            if self._told.get(path.name) == seen or self._done.get(path.name) == stat.st_size:
                continue
            try:
                receipt = self._file(path, stat.st_size)
            except DataError as error:
                wrong.append((error, path.name, seen))
            else:
                if receipt is not None:
                    return receipt
        if wrong:
            first, name, seen = wrong[0]
            self._told[name] = seen
            raise first
        return None

    def _file(self, path: Path, size: int) -> Receipt | None:
        stream = f"file:{path.name}"
        mark = self.online.mark(self.source, stream)
        size = path.stat().st_size
        if mark.floor and mark.floor[1] != size:
            raise _wrong(path, "it changed after rows of it were taken")
        done = mark.floor[0] if mark.floor else 0
        if mark.floor and mark.floor[2]:
            self._done[path.name] = size
            return None
        batch, last = next(_batches(path, done, self.batch), (None, True))
        rows: pa.Table | list[dict[str, Any]] = []
        rejected: list[Rejected] = []
        count, places = 0, []
        if batch is not None:
            read = _identified if isinstance(batch, pa.Table) else read_json
            rows, places, rejected = read(batch, self.ids)
            count = len(batch)
        # A file whose rows are all in is marked as done, so that it is not opened again.
        after = Mark((done + count, size, int(last)))
        positions = [(done + place + 1, size, 0) for place in places]
        try:
            receipt = self.online.push(
                self.source,
                rows,
                now=self.clock(),
                ids=self.ids if count else None,
                taken=Taken(stream, positions, mark, after),
                rejected=rejected,
            )
        except DataError as error:
            if error.code != "T391":
                raise
            raise _wrong(path, error.message) from None
        return receipt if count else None


def _identified(table: pa.Table, ids: str | None) -> tuple[pa.Table, list[int], list[Rejected]]:
    """The same as `read_json` for rows of Parquet."""
    places = list(range(table.num_rows))
    if ids is None or ids not in table.column_names or not table[ids].null_count:
        return table, places, []
    gone = pc.is_null(table[ids])
    lost = pc.indices_nonzero(gone).to_pylist()
    rejected = [
        Rejected(place, lacking(ids), dump(row))
        for place, row in zip(lost, table.take(lost).to_pylist(), strict=True)
    ]
    kept = pc.indices_nonzero(pc.invert(gone))
    return table.take(kept), kept.to_pylist(), rejected


def _batches(path: Path, done: int, size: int) -> Iterator[tuple[pa.Table | list[bytes], bool]]:
    """The rows after so many, some at a time; and whether they are known to be the last."""
    try:
        if path.suffix == ".parquet":
            yield from _parquet(path, done, size)
            return
        with path.open("rb") as file:
            lines: list[bytes] = []
            for number, line in enumerate(file):
                if number >= done:
                    lines.append(line.rstrip(b"\r\n") or b"null")
                    if len(lines) == size:
                        yield lines, False
                        lines = []
            if lines:
                yield lines, True
    except (OSError, pa.ArrowException) as error:
        raise _wrong(path, f"it cannot be read: {str(error).splitlines()[0]}") from None


def _parquet(path: Path, done: int, size: int) -> Iterator[tuple[pa.Table, bool]]:
    with pq.ParquetFile(path) as file:
        start, whole = 0, file.metadata.num_rows
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if start + rows > done:
                skipped = max(0, done - start)
                table = file.read_row_group(group).slice(skipped)
                for low in range(0, table.num_rows, size):
                    part = table.slice(low, size)
                    yield part, start + skipped + low + part.num_rows == whole
            start += rows


def _wrong(path: Path, why: str) -> DataError:
    return DataError(
        f"the segment is not usable: {why}",
        code="T394",
        where=str(path),
        fix="write segments aside and rename them when they are whole; never write one again",
    )
