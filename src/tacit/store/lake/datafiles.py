"""Data files: rows laid by bucket of their subject, as Parquet that other engines read.

Rows wait in memory, by bucket, until a row group of a bucket is full; what waits is bounded. There
are no statistics in the files but of time: a bound of any other column would be a value of
somebody, though it goes with its file.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.typedef import Record
from pyiceberg_core import transform

from tacit.store.lake.layout import ARRIVED
from tacit.store.lake.table import BUCKETS, LakeTable

GROUP = 1 << 17  # rows of a row group
WAITING = 1 << 28  # bytes of rows that wait for their row group to fill
TARGET = 1 << 28  # bytes of a file, at which the next is begun


def bucket_of(keys: pa.Array) -> Any:
    """The bucket of each key (Iceberg specification, appendix B: murmur3, 32 bit); -1 for null."""
    if pa.types.is_dictionary(keys.type):
        by_code = bucket_of(keys.dictionary)
        codes = pc.fill_null(keys.indices, -1).to_numpy(zero_copy_only=False)
        return np.where(codes < 0, -1, np.append(by_code, -1)[codes])
    found = transform.bucket(keys, BUCKETS)
    return pc.fill_null(found, -1).to_numpy(zero_copy_only=False)


class DataFiles:
    """Takes rows, and makes of them the data files of one commit.

    A context: leaving it without `finish` removes what was written.
    """

    def __init__(self, table: LakeTable) -> None:
        self._table = table
        self._schema = table.arrow()
        self._bucketed = table.bucketed
        dated = (table.layout.time, ARRIVED)
        self._dated = [name for name in dated if name is not None and name in self._schema.names]
        self._texts = [field.name for field in self._schema if pa.types.is_string(field.type)]
        self._waiting: dict[int, list[pa.Table]] = defaultdict(list)
        self._rows: dict[int, int] = defaultdict(int)
        self._bytes: dict[int, int] = defaultdict(int)
        self._open: dict[int, _File] = {}
        self._done: list[DataFile] = []
        self._finished = False

    def __enter__(self) -> DataFiles:
        return self

    def add(self, table: pa.Table, arrived: int | None = None) -> None:
        """Rows with columns of the table's, in any order; others are null. `arrived` is theirs,
        unless they bring it."""
        if arrived is not None:
            stamp = pa.repeat(pa.scalar(arrived, pa.int64()), table.num_rows)
            table = table.append_column(ARRIVED, stamp)
        if self._bucketed is None or self._bucketed not in table.column_names:
            self._put(-1, table)
        else:
            for batch in table.to_batches():
                self._part(pa.Table.from_batches([batch]), batch.column(self._bucketed))

    def _part(self, table: pa.Table, keys: pa.Array) -> None:
        buckets = bucket_of(keys)
        order = np.argsort(buckets.astype(np.int8), kind="stable")
        edges = np.searchsorted(buckets[order], np.arange(-1, BUCKETS + 1))
        if np.count_nonzero(np.diff(edges)) == 1:  # as in a rewrite
            self._put(int(buckets[0]), table)
            return
        laid = table.take(pa.array(order))
        for bucket, (start, end) in enumerate(pairwise(edges), -1):
            if end > start:
                self._put(bucket, laid.slice(start, end - start))

    def _put(self, bucket: int, table: pa.Table) -> None:
        self._waiting[bucket].append(table)
        self._rows[bucket] += table.num_rows
        self._bytes[bucket] += _size(table)
        if self._rows[bucket] >= GROUP:
            self._flush(bucket)
        while sum(self._bytes.values()) > WAITING:
            self._flush(max(self._bytes, key=self._bytes.__getitem__))

    def _flush(self, bucket: int) -> None:
        parts = [self._shaped(part) for part in self._waiting.pop(bucket)]
        rows = self._rows.pop(bucket)
        del self._bytes[bucket]
        whole = pa.concat_tables(parts)
        file = self._open.get(bucket)
        if file is None:
            file = self._open[bucket] = _File(self._table, self._schema, self._dated, self._texts)
        file.write(whole)
        assert rows == whole.num_rows, "all that waits is written"
        if file.size > TARGET:
            self._done.append(self._open.pop(bucket).finish(bucket, self._bucketed))

    def _shaped(self, table: pa.Table) -> pa.Table:
        """With every column of the table, in its order and of its type.

        Texts leave their codes here: a dictionary holds values of rows that are elsewhere, or gone,
        and the file would hold them too.
        """
        columns = [
            pc.cast(table.column(field.name), field.type)
            if field.name in table.column_names
            else pa.chunked_array([pa.nulls(table.num_rows, field.type)])
            for field in self._schema
        ]
        return pa.table(columns, schema=self._schema)

    def finish(self) -> list[DataFile]:
        """Writes what waits; the files, all of them on the disk."""
        for bucket in list(self._waiting):
            self._flush(bucket)
        for bucket in list(self._open):
            self._done.append(self._open[bucket].finish(bucket, self._bucketed))
            del self._open[bucket]
        self._finished = True
        return self._done

    def discard(self) -> None:
        """Removes the files again: they will not be committed."""
        for file in self._done:
            self._table.table.io.delete(file.file_path)

    def __exit__(self, *_: object) -> None:
        if not self._finished:
            for bucket in self._open:
                self._open[bucket].abandon()
            self.discard()


def _size(table: pa.Table) -> int:
    """About how many bytes the rows take. A dictionary is shared, and short where one is used."""
    return sum(
        12 * table.num_rows if pa.types.is_dictionary(column.type) else column.nbytes
        for column in table.columns
    )


class _File:
    """One Parquet file that is being written."""

    def __init__(
        self, table: LakeTable, schema: pa.Schema, dated: list[str], texts: list[str]
    ) -> None:
        self._table = table
        provider = table.table.location_provider()
        self.location = provider.new_data_location(f"{uuid.uuid4()}.parquet")
        self._sink = table.table.io.new_output(self.location).create()
        self.size = 0
        try:
            self._writer = pq.ParquetWriter(
                self._sink,
                schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=texts or False,
                write_statistics=dated or False,
            )
        except BaseException:
            self.abandon()
            raise

    def write(self, rows: pa.Table) -> None:
        self._writer.write_table(rows, 1 << 20)
        self.size = self._sink.tell()

    def finish(self, bucket: int, bucketed: str | None) -> DataFile:
        self._writer.close()
        size = self._sink.tell()
        self._sink.close()
        metadata = self._table.table.metadata
        statistics = data_file_statistics_from_parquet_metadata(
            parquet_metadata=self._writer.writer.metadata,
            stats_columns=compute_statistics_plan(metadata.schema(), metadata.properties),
            parquet_column_mapping=parquet_path_to_id_mapping(metadata.schema()),
        )
        partition = Record() if bucketed is None else Record(None if bucket < 0 else bucket)
        return DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=self.location,
            file_format=FileFormat.PARQUET,
            partition=partition,
            file_size_in_bytes=size,
            sort_order_id=None,
            spec_id=metadata.default_spec_id,
            equality_ids=None,
            key_metadata=None,
            **statistics.to_serialized_dict(),
        )

    def abandon(self) -> None:
        for part in (getattr(self, "_writer", None), self._sink):
            with suppress(OSError, pa.ArrowException):  # as of a full disk, which is told already
                if part is not None:
                    part.close()
        self._table.table.io.delete(self.location)
