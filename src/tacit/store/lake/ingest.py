"""Ingestion: what is read is accepted or quarantined, exactly once, whatever ends it.

The order, and what a crash leaves:

======================================  ===========================================================
1. data files are written               files that nothing refers to; the next purge removes them
2. the quarantine is put in its place   rows of an ingestion that is not there; a re-run replaces it
3. files and id are committed, at once  the ingestion is done; its receipt is written by the re-run
4. the receipt is recorded              nothing is left to do
======================================  ===========================================================

An ingestion is known by the bytes of its file, or by an id that the caller gives. The id stands in
the snapshot that commits the rows, and in the receipt, before that snapshot may expire.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace

import pyarrow as pa
from pyiceberg.manifest import DataFile
from pyiceberg.table import Transaction

from tacit.errors import DataError
from tacit.store.lake.contract import AHEAD, TWICE, Batch, Breach, Terms
from tacit.store.lake.datafiles import DataFiles
from tacit.store.lake.inputs import Input, identify, open_input, stamp
from tacit.store.lake.quarantine import Quarantine, Writer
from tacit.store.lake.table import CONTENT, COUNTS, INGESTION, LakeTable
from tacit.store.lake.unique import Seen

Progress = Callable[[int], None]
"""Called with the number of rows that were just read."""


@dataclass(frozen=True)
class Ingestion:
    """What became of an input: `read = accepted + quarantined`.

    Attributes:
        id: of its bytes, or of the id that was given, under the table's salt.
        reasons: error code → rows quarantined for it.
        absent: declared columns that the input does not have; they are null.
        arrived: µs, UTC; the `_arrived` of its rows.
        snapshot: the snapshot that committed it.
        again: whether it was ingested before, and nothing was done.
    """

    source: str
    id: str
    read: int
    accepted: int
    quarantined: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    arrived: int = 0
    snapshot: int = 0
    again: bool = False

    def body(self) -> dict[str, object]:
        """What the receipt holds: numbers and declared names, nothing of anybody."""
        found = asdict(self)
        del found["again"]
        return {**found, "absent": list(self.absent)}

    @classmethod
    def of(cls, body: Mapping[str, object], *, again: bool) -> Ingestion:
        """The ingestion of a receipt."""
        known = {name: body[name] for name in cls.__dataclass_fields__ if name in body}
        return replace(cls(**known), absent=tuple(body["absent"]), again=again)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Asked:
    """What is to be ingested, and how: see `Lake.ingest`."""

    given: Input
    renamed: Mapping[str, str]
    now: int
    ahead: int = AHEAD
    batch: str | None = None
    unique: str | None = None
    unit: str | None = None
    progress: Progress | None = None


def identity(table: LakeTable, asked: Asked) -> str:
    """The id of an ingestion."""
    if asked.batch is None:
        return identify(asked.given, table.salt)
    named = b"batch\0" + asked.batch.encode()
    return hmac.new(table.salt, named, hashlib.sha256).hexdigest()


def ingest(table: LakeTable, quarantine: Quarantine, asked: Asked, ingestion: str) -> Ingestion:
    """Ingests what is not there yet: see `Lake.ingest`."""
    before = stamp(asked.given)
    opened = open_input(asked.given, table.layout, asked.renamed)
    with quarantine.open(ingestion, asked.now) as aside, DataFiles(table) as files:
        judge = _Judge(table, asked, aside, opened.title)
        read = accepted = 0
        for batch in opened.batches(judge.broken):
            kept = judge.kept(batch)
            if kept.num_rows:
                files.add(kept, asked.now)
            accepted += kept.num_rows
            read += len(batch.rows)
            if asked.progress is not None:
                asked.progress(len(batch.rows))
        written = files.finish()
        if stamp(asked.given) != before:
            files.discard()
            raise DataError(
                "the file changed while it was read; nothing of it was kept",
                code="T369",
                where=str(asked.given),
                fix="ingest it when nobody writes it any more",
            )
        read += judge.unreadable
        assert read == accepted + aside.count, "every row is accepted or quarantined"
        done = Ingestion(
            table.layout.name, ingestion, read, accepted, aside.count,
            aside.reasons, opened.absent, asked.now,
        )  # fmt: skip
        aside.keep()
    return _committed(table, done, written)


def _committed(table: LakeTable, done: Ingestion, written: list[DataFile]) -> Ingestion:
    """Commits the rows and the id at once, unless another process did."""
    properties = {INGESTION: done.id, COUNTS: json.dumps(done.body())}
    content = table.layout.key is not None

    def append(transaction: Transaction) -> bool:
        if table.content == done.id if content else table.ingested(done.id) is not None:
            return False
        if content:
            live = table.files(table.table.current_snapshot())
            table.replace(transaction, live, written, **properties, **{CONTENT: done.id})
            return True
        with transaction.update_snapshot(snapshot_properties=properties).merge_append() as update:
            for file in written:
                update.append_data_file(file)
        return True

    ours = table.commit(append)
    if not ours:
        for file in written:
            table.table.io.delete(file.file_path)
    committed = recorded(table, done.id)
    assert committed is not None, "it is committed, by us or another"
    return replace(committed, again=not ours)


def recorded(table: LakeTable, ingestion: str) -> Ingestion | None:
    """An ingestion as its snapshot records it; None when no snapshot that is kept does."""
    snapshot = table.ingested(ingestion)
    if snapshot is None or snapshot.summary is None:
        return None
    body = json.loads(snapshot.summary[COUNTS] or "{}")
    return Ingestion.of({**body, "snapshot": snapshot.snapshot_id}, again=True)


class _Judge:
    """Holds batches against the contract, and sends aside what breaks it."""

    def __init__(self, table: LakeTable, asked: Asked, aside: Writer, title: str) -> None:
        layout = table.layout
        self._column = layout.key or asked.unique
        required = tuple(dict.fromkeys([*layout.required, *filter(None, [self._column])]))
        held = replace(layout, required=required)
        self._terms = Terms(held, asked.now, asked.ahead, asked.unit)
        self._aside, self._title = aside, title
        self._seen: Seen | None = None
        if self._column is not None:
            live = table.files(table.table.current_snapshot()) if layout.key is None else []
            self._seen = Seen(table, self._column, live)
        self.unreadable = 0

    def broken(self, breach: Breach) -> None:
        """Takes a row that no batch has, since it could not be read."""
        self.unreadable += 1
        self._aside.add(self._title, breach)

    def kept(self, batch: Batch) -> pa.Table:
        """The rows that are accepted."""
        rows, breaches, places = self._terms.judge(batch)
        for breach in breaches:
            self._aside.add(self._title, breach)
        if self._seen is None or self._column is None:
            return rows
        again = self._seen.again(rows)
        if not again.any():
            return rows
        found = places[again]
        for number, values in zip(batch.rows[found], batch.values(found), strict=True):
            why = self._terms.reason(TWICE, self._column)
            at = None  # counted from its arrival: it is a copy
            self._aside.add(self._title, Breach(int(number), TWICE, self._column, why, at, values))
        return rows.filter(pa.array(~again))
