"""The lake of a project: everything that may be done with it, table by table.

::

    .tacit/lake/            0700
        catalog.sqlite      which metadata file is each table's current one (the default catalog)
        warehouse/          Iceberg: metadata and Parquet
        locks/              who is at work on a table
        quarantine/SOURCE/  rows that broke their contract, 0600
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.table.snapshots import Snapshot

from tacit.errors import DataError
from tacit.store.atomic import unwritable
from tacit.store.control import ControlStore
from tacit.store.lake import compact, ingest, purge, rewrite
from tacit.store.lake.catalog import open_catalog
from tacit.store.lake.files import local_path
from tacit.store.lake.ingest import Asked, Ingestion
from tacit.store.lake.layout import Layout
from tacit.store.lake.locks import PATIENCE, exclusive, shared
from tacit.store.lake.purge import Settle
from tacit.store.lake.quarantine import Quarantine
from tacit.store.lake.rewrite import Rewritten
from tacit.store.lake.rows import read_rows, row_retention
from tacit.store.lake.table import INGESTION, LakeTable, said

RECEIPT = "receipt"
TURN = 3600.0
"""Seconds to wait for another ingestion of events that are told apart by ids."""
SHARED_GRACE = 3600.0
"""Seconds for which files that nothing refers to are left alone in a warehouse that other machines
may be writing to: their locks are not seen here."""


@dataclass(frozen=True)
class Lake:
    """The Iceberg tables of one project.

    Args:
        folder: where the default catalog, locks and quarantine are.
        namespace: the Iceberg namespace of the project's tables.
        control: where receipts go.
        properties: of a pyiceberg catalog; empty for the default.
        where: the file that says so, for errors.
    """

    folder: Path
    namespace: str
    control: ControlStore
    properties: Mapping[str, str] = field(default_factory=dict)
    where: str = ""

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog, opened on first use. Raises DataError T710."""
        return open_catalog(self.folder, self.properties, self.where)

    def table(self, layout: Layout) -> LakeTable | None:
        """A source's table as it is now; None when nothing was ever ingested there."""
        return LakeTable.load(self.catalog, self.namespace, layout)

    def quarantine(self, layout: Layout) -> Quarantine:
        """A source's quarantine."""
        return Quarantine(self.folder / "quarantine" / layout.name)

    # ------------------------------------------------------------------ in

    def ingest(self, layout: Layout, asked: Asked) -> Ingestion:
        """Ingests an input, unless it was ingested before.

        Rows that break the contract are quarantined. Beside others who do so on the same table:
        each commits, and of two that bring the same input one does. Raises DataError T301, T302,
        T360, T369 for the input (nothing of it is kept then), T711 for a declaration that does not
        fit the rows that are there; StoreError T701, T704 where nothing can be written, T712.
        """
        if asked.unique is not None and asked.unique not in layout.columns:
            raise DataError(
                f"events are to be told apart by {asked.unique!r}, which is not a column",
                code="T369",
                where=layout.where,
                fix="name one of " + ", ".join(layout.columns),
            )
        with shared(self._lock(layout, "writing")), self._in_turn(layout, asked):
            table = LakeTable.make(self.catalog, self.namespace, layout)
            ingestion = ingest.identity(table, asked)
            done = self._ingested(table, ingestion)
            if done is None:
                try:
                    done = ingest.ingest(table, self.quarantine(layout), asked, ingestion)
                except OSError as error:
                    raise unwritable(error, self.folder) from None
            self._settle(layout, done)
        return done

    @contextmanager
    def _in_turn(self, layout: Layout, asked: Asked) -> Iterator[None]:
        """Alone, where events are told apart by ids: what another brings could be the same."""
        if asked.unique is None:
            yield
            return
        with exclusive(self._lock(layout, "unique"), TURN):
            yield

    def _ingested(self, table: LakeTable, ingestion: str) -> Ingestion | None:
        """What was recorded of an ingestion that is not to be done again."""
        if table.layout.key is not None and table.content != ingestion:
            return None  # content of before may be delivered again
        found = ingest.recorded(table, ingestion)
        if found is not None:
            return found
        receipt = self.control.latest(RECEIPT, _receipt(table.layout.name, ingestion))
        return None if receipt is None else Ingestion.of(receipt.body, again=True)

    def _settle(self, layout: Layout, done: Ingestion) -> None:
        """Makes sure of an ingestion's receipt."""
        key = _receipt(layout.name, done.id)
        last = self.control.latest(RECEIPT, key)
        if last is None or last.body.get("snapshot") != done.snapshot:
            self.control.append(RECEIPT, key, done.body())

    # ------------------------------------------------------------------ out

    def read(
        self,
        layout: Layout,
        now: int,
        *,
        snapshot: int | None = None,
        at: int | None = None,
        known: int | None = None,
        arrived: bool = False,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """The rows of a source, as declared; those past their retention are left out.

        Args:
            now: µs; what retention is counted from.
            snapshot: the id of a snapshot to read.
            at: µs; the snapshot that was current then.
            known: µs; only rows that had arrived by then.
            arrived: whether `_arrived` comes as the last column.
            columns: those wanted, `_arrived` among them or not; all that are declared unless given.

        Raises StoreError T713 for a snapshot that there is not any more.
        """
        with self.reading(layout) as table:
            schema = layout.schema(arrived=True)
            wanted = layout.schema(arrived=arrived).names if columns is None else columns
            if table is None:
                return schema.empty_table().select(wanted)
            files = table.files(table.snapshot(snapshot, at))
            return read_rows(table, files, wanted, now=now, known=known)

    @contextmanager
    def reading(self, layout: Layout) -> Iterator[LakeTable | None]:
        """A table whose files stay where they are while the block reads them."""
        with shared(self._lock(layout, "reading")):
            yield self.table(layout)

    def paths(self, table: LakeTable) -> list[Path] | None:
        """The table's data files as paths; None where they are not on a local disk."""
        found = [local_path(f.file_path) for f in table.files(table.table.current_snapshot())]
        paths = [path for path in found if path is not None]
        return paths if len(paths) == len(found) else None

    # ------------------------------------------------------------------ kept no longer

    def delete_subject(
        self, layout: Layout, entity: str, key: str | int, patience: float = PATIENCE
    ) -> Rewritten:
        """Removes one person's rows from a source's table, its history, its quarantine, and the
        disk; a receipt of how many, not of whose, is kept.

        Snapshots that hold any are expired. May be repeated when it is cut off. Raises StoreError
        T703 when readers or writers keep files from being removed: the rows are deleted then, and
        `purge` removes the files; T714 where another engine's tag holds a snapshot.
        """
        table = self.table(layout)
        done, led = Rewritten(), set[str]()
        if table is not None:
            led = purge.reachable(table.table)
            done = rewrite.delete_subject(table, entity, key, self._settler(layout))
        subjects = {**(table.subjects if table else {}), **layout.subjects}
        columns = [name for name, of in subjects.items() if of == entity]
        with exclusive(self._lock(layout, "writing"), patience):
            set_aside = self.quarantine(layout).forget(columns, str(key))
        self.purge(layout, patience, led)
        self._record(layout, "delete", done, quarantined=set_aside)
        return done

    def retain(self, layout: Layout, now: int, patience: float = PATIENCE) -> Rewritten:
        """Enforces the retention of a source, in its table, history and quarantine, to the disk.

        Raises what `delete_subject` does.
        """
        table = self.table(layout)
        done, led = Rewritten(), set[str]()
        if table is not None:
            led = purge.reachable(table.table)
            done = rewrite.retain(table, now, self._settler(layout))
        with exclusive(self._lock(layout, "writing"), patience):
            swept = self.quarantine(layout).sweep(row_retention(layout), now)
        self.purge(layout, patience, led)
        if done.rows or done.values or swept:
            self._record(layout, "retain", done, quarantined=swept)
        return done

    def compact(self, layout: Layout, small: int = compact.SMALL) -> tuple[int, int]:
        """Puts small files together; how many went, and how many came. The rows are the same."""
        with shared(self._lock(layout, "writing")):
            table = self.table(layout)
            return (0, 0) if table is None else compact.compact(table, small)

    def expire(self, layout: Layout, before: int) -> int:
        """Forgets the snapshots of before a moment (µs), but for the current one; how many."""
        table = self.table(layout)
        if table is None:
            return 0
        current = table.table.current_snapshot()
        old = [
            each
            for each in table.snapshots()
            if current
            and each.snapshot_id != current.snapshot_id
            and each.timestamp_ms * 1000 < before
        ]
        return purge.expire(table, old, self._settler(layout))

    def purge(
        self, layout: Layout, patience: float = PATIENCE, led: Collection[str] = ()
    ) -> list[str]:
        """Removes the files that nothing refers to; which.

        In a warehouse that others share, young ones stay, unless they are among those that the
        table `led` to before: no ingestion is about to commit those. Raises StoreError T703 when
        readers or writers do not let go for `patience` seconds.
        """
        with (
            exclusive(self._lock(layout, "writing"), patience),
            exclusive(self._lock(layout, "reading"), patience),
        ):
            table = self.table(layout)
            if table is None:
                return []
            return purge.sweep(table, led, grace=SHARED_GRACE if self.properties else 0.0)

    def snapshots(self, layout: Layout) -> list[Snapshot]:
        """What may be read of the table's history, oldest first."""
        table = self.table(layout)
        return [] if table is None else table.snapshots()

    # ------------------------------------------------------------------ shared

    def _lock(self, layout: Layout, name: str) -> Path:
        return self.folder / "locks" / f"{layout.name}.{name}"

    def _settler(self, layout: Layout) -> Settle:
        def settle(snapshot: Snapshot) -> None:
            table = self.table(layout)
            ingestion = said(snapshot, INGESTION)
            done = ingest.recorded(table, ingestion) if table and ingestion else None
            if done is not None:
                self._settle(layout, done)

        return settle

    def _record(self, layout: Layout, what: str, done: Rewritten, **more: int) -> None:
        body = {
            "rows": done.rows,
            "values": done.values,
            "files": done.files,
            "snapshots": done.snapshots,
            **more,
        }
        self.control.append(RECEIPT, f"lake:{layout.name}:{what}", body)


def _receipt(source: str, ingestion: str) -> str:
    return f"lake:{source}:{ingestion}"
