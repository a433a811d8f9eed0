"""Compaction: many small files into few, with the same rows, proven before it is committed.

The proof: the multiset of rows is summed up by a count and by sums of DuckDB's hash of each row (64
bits, not keyed: it finds accidents, not forgers), before and after.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import duckdb
import pyarrow as pa
from pyiceberg.manifest import DataFile
from pyiceberg.table import Transaction

from tacit.errors import StoreError
from tacit.store.lake.datafiles import TARGET, DataFiles
from tacit.store.lake.rows import batches
from tacit.store.lake.table import OPERATION, LakeTable

SMALL = TARGET // 4
"""Bytes; a smaller file is put together with others of its bucket."""


def compact(table: LakeTable, small: int = SMALL) -> tuple[int, int]:
    """Puts the small files of each bucket together; how many went, and how many came.

    The rows stay, and snapshots of before keep the old files until they expire. Raises StoreError
    T715, with nothing committed, if the rows should differ.
    """

    def attempt(transaction: Transaction) -> tuple[int, int]:
        groups: dict[tuple[object, ...], list[DataFile]] = defaultdict(list)
        for file in table.files(table.table.current_snapshot()):
            if file.file_size_in_bytes < small:
                groups[(file.spec_id, repr(file.partition))].append(file)
        gone = [file for group in groups.values() if len(group) > 1 for file in group]
        if not gone:
            return 0, 0
        new = together(table, gone)
        table.replace(transaction, gone, new, **{OPERATION: "compact"})
        return len(gone), len(new)

    return table.commit(attempt)


def together(table: LakeTable, files: Sequence[DataFile]) -> list[DataFile]:
    """The same rows in as few files as may be. Raises StoreError T715 should they differ."""
    schema = table.arrow().remove_metadata()
    with DataFiles(table) as output:
        for file in files:
            for rows in batches(table, file, schema):
                output.add(rows)
        new = output.finish()
    if summed(table, files) != summed(table, new):
        for file in new:
            table.table.io.delete(file.file_path)
        raise StoreError(
            "compacted files do not hold the rows of those that they were made of",
            code="T715",
            where=table.layout.name,
            fix="nothing was changed; check the disk and the memory of this machine",
        )
    return new


def summed(table: LakeTable, files: Sequence[DataFile]) -> tuple[int, int, int]:
    """What identifies a multiset of rows: count, and two sums of hashes."""
    total = [0, 0, 0]
    schema = table.arrow().remove_metadata()
    names = sorted(schema.names)
    ordered = pa.schema([schema.field(name) for name in names])
    with duckdb.connect(":memory:") as connection:
        for file in files:
            for rows in batches(table, file, schema, names):
                connection.register("t", rows.cast(ordered))
                [found] = connection.execute(
                    "SELECT count(*), sum(h::HUGEINT), sum(hash(h)::HUGEINT)"
                    " FROM (SELECT hash(t) AS h FROM t)"
                ).fetchall()
                total = [a + int(b or 0) for a, b in zip(total, found, strict=True)]
    return total[0], total[1], total[2]
