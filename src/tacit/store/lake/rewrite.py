"""Rows that go: of a subject, or past their retention. Files that hold any are written anew without
them (copy-on-write), and every snapshot from which the old files could be reached is expired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.manifest import DataFile
from pyiceberg.table import Transaction

from tacit.store.lake.datafiles import DataFiles, bucket_of
from tacit.store.lake.purge import Settle, expire, holding, past
from tacit.store.lake.rows import batches, row_retention
from tacit.store.lake.table import OPERATION, LakeTable

Change = Callable[[pa.Table], pa.Table]
"""Rows of a file → those that stay, as they stay."""


@dataclass
class Rewritten:
    """What a rewrite did: rows deleted, values removed, files replaced, snapshots expired."""

    rows: int = 0
    values: int = 0
    files: int = 0
    snapshots: int = 0


@dataclass
class _Plan:
    """Files that were looked at: what takes the place of each that changes."""

    same: set[str] = field(default_factory=set)
    new: dict[str, list[DataFile]] = field(default_factory=dict)


def rewrite(
    table: LakeTable,
    affected: Callable[[DataFile], bool],
    change: Change,
    settle: Settle,
    why: str,
) -> Rewritten:
    """Replaces the files in which rows change, in one commit.

    Files that others add meanwhile are looked at too; those that others replace are looked at anew.
    So are those of history, whoever replaced them: a rewrite that was cut off between its commit
    and the expiry is made whole by the next.
    """
    plan, done = _Plan(), Rewritten()

    def attempt(transaction: Transaction) -> list[DataFile]:
        live = table.files(table.table.current_snapshot())
        for file in live:
            path = file.file_path
            if path in plan.same or path in plan.new:
                continue
            if not affected(file):
                plan.same.add(path)
                continue
            plan.new[path] = _written(table, file, change)
        gone = [file for file in live if file.file_path in plan.new]
        if gone:
            new = [each for file in gone for each in plan.new[file.file_path]]
            table.replace(transaction, gone, new, **{OPERATION: why})
        return gone

    gone = table.commit(attempt)
    done.files = len(gone)
    done.rows = sum(file.record_count for file in gone) - sum(
        new.record_count for file in gone for new in plan.new[file.file_path]
    )
    old = [file for file in past(table) if file.file_path in plan.new or affected(file)]
    done.snapshots = expire(table, holding(table, old), settle)
    return done


def _written(table: LakeTable, file: DataFile, change: Change) -> list[DataFile]:
    """The files that hold what stays of one."""
    schema = table.arrow().remove_metadata()
    with DataFiles(table) as files:
        for rows in batches(table, file, schema):
            kept = change(rows)
            if kept.num_rows:
                files.add(kept)
        return files.finish()


def delete_subject(table: LakeTable, entity: str, key: object, settle: Settle) -> Rewritten:
    """Deletes every row in which a column of that entity holds the key."""
    columns = [name for name, of in table.subjects.items() if of == entity]
    kinds = {field.name: field.type for field in table.arrow()}
    keys = {name: scalar for name in columns if (scalar := _scalar(key, kinds[name])) is not None}
    alone = table.bucketed if [*keys] == [table.bucketed] else None
    bucket = bucket_of(pa.array([key], kinds[alone]))[0] if alone else None

    def affected(file: DataFile) -> bool:
        if alone is not None and file.partition[0] != bucket:
            return False
        schema = table.arrow().remove_metadata()
        return any(
            pc.any(_theirs(rows, keys)).as_py() for rows in batches(table, file, schema, [*keys])
        )

    if not keys:
        return Rewritten()
    return rewrite(
        table, affected, lambda rows: rows.filter(pc.invert(_theirs(rows, keys))), settle, "delete"
    )


def _scalar(key: object, kind: pa.DataType) -> pa.Scalar | None:
    """The key as a column of that type holds it; None where it cannot."""
    if pa.types.is_string(kind):
        return pa.scalar(key, kind) if isinstance(key, str) else None
    whole = isinstance(key, int) and not isinstance(key, bool) and -(2**63) <= key < 2**63
    return pa.scalar(key, kind) if whole else None


def _theirs(rows: pa.Table, keys: Mapping[str, pa.Scalar]) -> pa.ChunkedArray:
    mask = None
    for name, key in keys.items():
        column = rows.column(name)
        found = pc.fill_null(pc.equal(_decoded(column), key), False)
        mask = found if mask is None else pc.or_(mask, found)
    return mask


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    coded = pa.types.is_dictionary(column.type)
    return pc.cast(column, column.type.value_type) if coded else column


def retain(table: LakeTable, now: int, settle: Settle) -> Rewritten:
    """Enforces retention: rows past theirs are deleted, and so are the values of columns that are
    kept shorter than their rows."""
    layout = table.layout
    time, rows_kept = layout.dated, row_retention(layout)
    held = set(table.arrow().names)
    kept = {n: k for n, k in layout.kept.items() if n not in layout.required and n in held}
    removed = Rewritten()

    def affected(file: DataFile) -> bool:
        bounds = table.bounds(file, time)
        oldest = None if bounds is None else bounds.low
        if rows_kept is not None and (oldest is None or oldest < now - rows_kept):
            return True
        due = {n: keep for n, keep in kept.items() if oldest is None or oldest < now - keep}
        schema = table.arrow().remove_metadata()
        return bool(due) and any(
            pc.any(_past(rows, name, keep)).as_py()
            for rows in batches(table, file, schema, [time, *due])
            for name, keep in due.items()
        )

    def _past(rows: pa.Table, name: str, keep: int) -> pa.ChunkedArray:
        return pc.and_(pc.less(rows.column(time), now - keep), pc.is_valid(rows.column(name)))

    def change(rows: pa.Table) -> pa.Table:
        if rows_kept is not None:
            rows = rows.filter(pc.greater_equal(rows.column(time), now - rows_kept))
        for name, keep in kept.items():
            past = pc.fill_null(_past(rows, name, keep), False)
            if pc.any(past).as_py():
                removed.values += pc.sum(past).as_py()
                column = _decoded(rows.column(name))
                blank = pc.if_else(past, pa.scalar(None, column.type), column)
                rows = rows.set_column(rows.schema.get_field_index(name), name, blank)
        return rows

    done = rewrite(table, affected, change, settle, "retain")
    done.values = removed.values
    return done
