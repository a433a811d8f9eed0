"""Reading the lake's files, batch by batch, as a declaration has their columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile

from tacit.engines.scan import coded
from tacit.errors import StoreError
from tacit.store.lake.layout import ARRIVED, Layout
from tacit.store.lake.table import LakeTable

ROWS = 1 << 18  # of a batch


@contextmanager
def opened(table: LakeTable, file: DataFile) -> Iterator[pq.ParquetFile]:
    """A data file, open for reading. Raises StoreError T716 when it is not there."""
    try:
        with table.table.io.new_input(file.file_path).open() as source:
            metadata = pq.read_metadata(source)
            source.seek(0)
            yield pq.ParquetFile(source, metadata=metadata, read_dictionary=coded(metadata))
    except FileNotFoundError:
        raise StoreError(
            "a file of the lake is gone",
            code="T716",
            where=file.file_path,
            fix="read again: it may have been compacted or purged; else put the project back where"
            " it was, or restore the file",
        ) from None


def batches(
    table: LakeTable, file: DataFile, schema: pa.Schema, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """The rows of a file, some columns or all; what it has not is null. Texts may be coded."""
    wanted = list(schema.names if columns is None else columns)
    with opened(table, file) as parquet:
        present = set(parquet.schema_arrow.names)
        read = [name for name in wanted if name in present] or [ARRIVED]
        for batch in parquet.iter_batches(ROWS, columns=read):
            yield pa.table(
                [
                    batch.column(name)
                    if name in present
                    else pa.nulls(batch.num_rows, schema.field(name).type)
                    for name in wanted
                ],
                names=wanted,
            )


def current(layout: Layout, rows: pa.Table, now: int) -> pa.Table:
    """Rows as they may still be seen: without those past their retention, and without the values of
    columns past theirs."""
    if not layout.kept and row_retention(layout) is None:
        return rows
    at = rows.column(layout.dated)
    for name, keep in layout.kept.items():
        if name in rows.column_names and name not in layout.required:
            past = pc.less(at, now - keep)
            if pc.any(past).as_py():
                place = rows.schema.get_field_index(name)
                values = rows.column(name)
                if pa.types.is_dictionary(values.type):
                    values = pc.cast(values, values.type.value_type)
                gone = pc.if_else(past, pa.scalar(None, values.type), values)
                rows = rows.set_column(place, name, gone)
    keep_rows = row_retention(layout)
    if keep_rows is None:
        return rows
    stays = pc.greater_equal(at, now - keep_rows)
    return rows if pc.all(stays).as_py() else rows.filter(stays)


def row_retention(layout: Layout) -> int | None:
    """How long rows are kept: as the source says, or as a column without which there is no row."""
    terms = [layout.keep, *(layout.kept.get(name) for name in layout.required)]
    return min((term for term in terms if term is not None), default=None)


def read_rows(
    table: LakeTable,
    files: Sequence[DataFile],
    columns: Sequence[str],
    *,
    now: int,
    known: int | None = None,
) -> pa.Table:
    """These columns of all rows; with `known`, of those that had arrived by then."""
    layout = table.layout
    schema = layout.schema(arrived=True)
    wanted = pa.schema([schema.field(name) for name in columns])
    read = list(dict.fromkeys([*columns, layout.dated, ARRIVED]))
    found = []
    for file in files:
        for rows in batches(table, file, schema, read):
            if known is not None:
                rows = rows.filter(pc.less_equal(rows.column(ARRIVED), known))
            found.append(current(layout, rows, now).select(list(columns)).cast(wanted))
    return pa.concat_tables(found) if found else wanted.empty_table()
