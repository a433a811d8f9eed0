"""Takes the segments that Flink made whole: each line of each once, into its lane, then away.

A segment is of one view and one shard (`flink_sql`). Its lines are held to the contract, those with
ids that were seen are left out, those in the future quarantined, the rest prepared and folded into
the store, with the marks of how many lines of each segment are in. What is of no view (quarantine,
counts) goes with the first one. A segment that is in is removed: copies of people's rows have no
business to stay; one that a crash leaves is not taken again, its mark says so.

Takers share a source by shards: any number of them, wherever the folder and the store are to be
reached. With ids, a view knows an event that comes again by its id where its key is the same.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from tacit.aggregates.columns import Array
from tacit.errors import DataError
from tacit.live.accept import Rejected
from tacit.live.online import Online
from tacit.live.place import mark_key
from tacit.live.streams import route
from tacit.live.streams.lanes import Batch, Share, Work, fold, lane_of, unseen
from tacit.live.streams.route import REJECTED, Opening
from tacit.store.online.base import Changing

_LINES = 100_000


@dataclass(frozen=True, slots=True)
class Piece:
    """Some lines of a segment; ``end`` is how many of it are in then, ``last`` whether all are."""

    path: Path
    view: int
    part: str
    lines: list[bytes]
    end: int
    last: bool


@dataclass(frozen=True, slots=True)
class Read:
    """A view's messages: rows of the source and when each came, ids, what is for quarantine."""

    table: pa.Table
    came: Array
    ids: Array | None
    rejected: list[Rejected]


class Taker:
    """Takes a source's segments.

    Args:
        opening: of the store.
        batch: what lanes are told: the stream, the version, how many shards there are.
        folder: of the segments.
        of: (i, n): takes the shards that are i modulo n.
    """

    def __init__(
        self, opening: Opening, batch: Batch, folder: Path, of: tuple[int, int] = (0, 1)
    ) -> None:
        self.opening, self.batch, self.folder = opening, batch, folder
        self.shards = [s for s in range(batch.shards) if s % of[1] == of[0]]
        self.online: Online = opening.open()
        self._away: dict[int, list[bytes]] = {shard: [] for shard in self.shards}
        self.strays = 0  # lanes that had to keep all others out
        self._forget()

    def _forget(self) -> None:
        """Finds marks of segments that were removed just before a crash."""
        prefix = mark_key(self.batch.source, f"{self.batch.stream}/")
        with self.online.backend.read() as store:
            for key, _ in store.scan(prefix):
                view, shard, name = key[len(prefix) :].decode().split("/")
                path = self.folder / f"view={view}" / f"shard={shard}" / name
                if int(shard) in self._away and not path.exists():
                    self._away[int(shard)].append(key)

    def step(self) -> int:
        """Takes what is there; how many lines were new.

        Raises StoreError as `lanes.fold`, DataError T394 for a segment that Flink did not write.
        """
        taken = 0
        for shard in self.shards:
            while pieces := self._pieces(shard):
                if self._lane(shard, pieces):
                    taken += sum(len(piece.lines) for piece in pieces)
                for piece in pieces:
                    if piece.last:
                        piece.path.unlink(missing_ok=True)
                        self._away[shard].append(mark_key(self.batch.source, piece.part))
        return taken

    def waiting(self) -> bool:
        """Whether there is a segment, of whatever share, that is not away yet."""
        return next(self.folder.glob("view=*/shard=*/part-*"), None) is not None

    def close(self) -> None:
        """Forgets the marks of segments that are away."""
        for shard, marks in self._away.items():
            if marks:
                with self.online.backend.change(lane_of(self.batch.source, shard)) as store:
                    store.delete(marks)
                marks.clear()

    def _pieces(self, shard: int) -> list[Piece]:
        """Lines of a shard that are not in yet; segments that are, are removed."""
        found: list[Piece] = []
        room = _LINES
        for path in sorted(self.folder.glob(f"view=*/shard={shard}/part-*")):
            view = int(path.parts[-3].rpartition("=")[2])
            part = f"{self.batch.stream}/{view}/{shard}/{path.name}"
            done = self.online.mark(self.batch.source, part).floor
            start = done[0] if done else 0
            with path.open("rb") as file:
                lines = list(islice(file, start, start + room))
                last = not file.readline()
            room -= len(lines)
            if lines:
                found.append(Piece(path, view, part, lines, start + len(lines), last))
            elif last:
                path.unlink(missing_ok=True)
                self._away[shard].append(mark_key(self.batch.source, part))
            if room <= 0:
                break
        return found

    def _lane(self, shard: int, pieces: Sequence[Piece]) -> bool:
        views, latest, strays = {}, 0, False
        for view in sorted({piece.view for piece in pieces}):
            read = self._read(view, [piece for piece in pieces if piece.view == view])
            views[view] = read
            latest = max(latest, int(read.came.max(initial=0)))
            dealt, own = list(route.dealt(self.opening.feed, read.table, self.batch.shards))[view]
            strays |= bool((dealt[own] != shard).any())
        self.strays += strays
        batch = replace(self.batch, now=latest)
        share = Share(shard, {piece.part: (piece.end,) for piece in pieces})
        return fold(
            self.online, batch, share, partial(self._work, batch, shard, views), alone=strays
        )

    def _read(self, view: int, pieces: Sequence[Piece]) -> Read:
        messages, came = [], []
        for piece in pieces:
            for line in piece.lines:
                message, moment = _line(piece.path, line)
                messages.append(message)
                came.append(moment)
        places = np.arange(len(messages))
        batch = route.read(self.opening, messages, places, self.batch.shards)
        good = batch["view"].to_numpy() == 0
        rows = batch.filter(pa.array(good))
        rejects = batch.filter(pa.array(batch["view"].to_numpy() == REJECTED))
        ids = np.array(rows["id"].to_pylist(), "S16") if self.opening.ids else None
        moments = np.array(came, np.int64)[rows["position"].to_numpy()]
        rejected = [
            Rejected(-1, each["reason"], each["raw"])
            for each in rejects.select(["reason", "raw"]).to_pylist()
        ]
        return Read(route.columns(self.opening.feed, rows), moments, ids, rejected)

    def _work(self, batch: Batch, shard: int, views: dict[int, Read], store: Changing) -> Work:
        store.delete(self._away[shard])
        tables, rejected, counts = {}, [], {}
        for view, read in views.items():
            new = np.ones(read.table.num_rows, np.bool_)
            if read.ids is not None:
                share = bytes([1, view, shard])
                new = unseen(self.online, store, batch, share, read.ids)
            table = read.table.filter(pa.array(new))
            judged = route.judge(self.opening, table, batch.now, read.came[new])
            tables[view] = judged.table
            if view == 0:
                rejected = [*read.rejected, *judged.rejected]
                counts = {
                    "accepted": judged.table.num_rows,
                    "duplicates": int((~new).sum()),
                    "late": judged.late,
                    "quarantined": len(rejected),
                }
        return Work(tables, rejected, counts)


def _line(path: Path, raw: bytes) -> tuple[bytes, int]:
    """The message in a line, and when it came."""
    try:
        found = json.loads(raw)
        return base64.b64decode(found["line"]), int(found["came"])
    except (ValueError, KeyError, TypeError):
        raise DataError(
            "the segment is not usable: Flink did not write a line of it",
            code="T394",
            where=str(path),
            fix="move it away, and let nothing but Flink write there",
        ) from None
