"""Source rows to prepared words: keys, times, owners and the cells of a view (`live.form`).

Bare columns are taken as they are; DuckDB computes the rest by the SQL that batch runs, so an
expression has one meaning. A connection is held, with the content tables in it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from tacit.aggregates.columns import Array, flat
from tacit.aggregates.kernels import bucket_order
from tacit.declare.expression import parse
from tacit.engines.base import ARROW, column_types, moments_whole
from tacit.errors import EngineError
from tacit.live.feed import LONG, Feed, join_parts, key_parts, owner_words, part_bytes
from tacit.live.form import BOOL, FLOAT, TEXT, Form
from tacit.operations import Computed
from tacit.plan.sql import DUCKDB, view_select
from tacit.values import Type


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows of a view, by (key, time).

    ``keys`` are distinct and ascending; key k has ``rows[starts[k]:starts[k+1]]``. Cells of text
    hold numbers of ``entries``, which are in the order of the texts.
    """

    keys: list[bytes]
    starts: Array
    rows: Array
    entries: Array
    heap: Array
    missing: int  # rows without a key or a time


class Preparer:
    """Prepares the rows of one view. May be used from several threads, one at a time."""

    def __init__(self, feed: Feed, form: Form, salt: bytes) -> None:
        self.form = form
        self.salt = salt
        self.view = form.view
        empty = pa.schema([(name, ARROW[kind]) for name, kind in feed.schema.items()])
        tables = {feed.name: empty.empty_table(), **feed.content}
        self.types = column_types(self.view, tables)
        self.bare: dict[str, str] = {}
        rest = []
        for column in self.view.computed:
            tree = parse(column.sql).tree
            bare = tree.op == "column" and "." not in str(tree.value)
            if bare and self.types[str(tree.value)] is column.type:
                self.bare[column.name] = str(tree.value)
            else:
                rest.append(column)
        self.rest = rest
        self.lock = threading.Lock()
        self.sql = self._sql(feed) if rest else ""

    def _sql(self, feed: Feed) -> str:
        """One query for all that is no bare column; the first is the row's place."""
        row = "row"
        while row in self.types:
            row += "_"
        self.row = row
        computed = (Computed(row, f'"{row}"', Type.INT), *self.rest)
        view = replace(self.view, computed=computed, windows=(), keys=())
        select = view_select(view, self.types | {row: Type.INT}, DUCKDB)
        self.connection = duckdb.connect(":memory:")
        self.connection.execute("SET threads = 1")
        for i, join in enumerate(self.view.joins):
            self.connection.register(f"j{i}", moments_whole(feed.content[join.table]))
        for table in select.find_all(exp.Table):
            name = "t" if table.alias == "s" else table.alias
            table.set("this", exp.to_identifier(name, quoted=True))
        return select.sql(DUCKDB.name)

    def __call__(self, batch: pa.Table) -> Prepared:
        """The rows of a batch of the source, whose columns have their declared types."""
        names = [source for _, source in self.view.keys]
        whole = batch
        for name in (*names, self.view.time):
            if batch[name].null_count:
                batch = batch.filter(pc.is_valid(batch[name]))
        at = flat(batch[self.view.time]).to_numpy()
        codes, keys = self._keys([flat(batch[name]) for name in names])
        by_time = np.argsort(at, kind="stable")
        inner, starts = bucket_order(codes[by_time], len(keys))
        order = by_time[inner]
        rows, entries, heap = self._rows(batch, at, order)
        return Prepared(keys, starts, rows, entries, heap, whole.num_rows - batch.num_rows)

    def _keys(self, columns: Sequence[pa.Array]) -> tuple[Array, list[bytes]]:
        """A number for each row, and the keys that are numbered, ascending."""
        types, size = self.form.types, len(columns[0])
        if len(columns) == 1 and types[0] is Type.TEXT:
            encoded = columns[0].cast(pa.binary()).dictionary_encode()
            by_text = pc.sort_indices(encoded.dictionary).to_numpy()
            ranks = np.empty(len(by_text), np.int64)
            ranks[by_text] = np.arange(len(by_text))
            texts = encoded.dictionary.take(pa.array(by_text)).to_pylist()
            found = ranks[encoded.indices.to_numpy()] if size else np.zeros(0, np.int64)
            if max(map(len, texts), default=0) > LONG:  # digests are out of order
                return _ascending(found, [part_bytes(raw, 1) for raw in texts])
            return found, [b"\x00" + raw for raw in texts]
        codes, distinct = np.zeros(size, np.int64), [()]
        for column in columns:
            encoded = column.dictionary_encode()
            values = encoded.dictionary.to_pylist()
            pair = codes * max(len(values), 1) + encoded.indices.to_numpy()
            kept, codes = np.unique(pair, return_inverse=True)
            distinct = [
                (*distinct[p // max(len(values), 1)], values[p % max(len(values), 1)])
                for p in kept.tolist()
            ]
        return _ascending(
            codes, [join_parts(key_parts(types, values)) for values in distinct] if size else []
        )

    def _rows(self, batch: pa.Table, at: Array, order: Array) -> tuple[Array, Array, Array]:
        form = self.form
        rows = np.zeros((len(order), form.width), np.int64)
        rows[:, 0] = at[order]
        for i, name in enumerate(form.owners):
            rows[:, 1 + form.masks + i] = self._owners(flat(batch[name]))[order]
        computed = self._computed(batch)
        texts: list[tuple[int, pa.Array]] = []
        for i, column in enumerate(self.view.computed):
            array = flat(computed[column.name])
            valid, numbers = _numbers(array, int(form.kinds[i]))
            bits = valid.astype(np.int64) << (i % 32)
            if form.kinds[i] == BOOL:
                bits |= (numbers & valid) << (32 + i % 32)
            elif form.kinds[i] == TEXT:
                texts.append((i, array))
            else:
                rows[:, form.cells[i]] = np.where(valid, numbers, 0)[order]
            rows[:, 1 + i // 32] |= bits[order]
        entries, heap = self._texts(texts, rows, order)
        return rows, entries, heap

    def _texts(
        self, texts: Sequence[tuple[int, pa.Array]], rows: Array, order: Array
    ) -> tuple[Array, Array]:
        """Numbers the texts of all columns together, in their order."""
        if not texts:
            return np.zeros(0, np.int64), np.frombuffer(b"", np.uint8)
        encoded = [(i, array.cast(pa.large_binary()).dictionary_encode()) for i, array in texts]
        whole = pc.unique(pa.chunked_array([each.dictionary for _, each in encoded]))
        whole = whole.take(pc.sort_indices(whole))
        for i, each in encoded:
            place = pc.index_in(each.dictionary, value_set=whole).to_numpy()
            codes = _filled(each.indices, 0)
            found = place[codes] if len(place) else np.zeros(len(codes), np.int64)
            rows[:, self.form.cells[i]] = found[order]
        lengths = pc.binary_length(whole).to_numpy().astype(np.int64)
        starts = np.cumsum(lengths) - lengths
        heap = np.frombuffer(b"".join(whole.to_pylist()), np.uint8)
        return starts << 32 | lengths, heap

    def _owners(self, column: pa.Array) -> Array:
        encoded = column.dictionary_encode()
        words = owner_words(self.salt, encoded.dictionary.to_pylist())
        found: Array = np.array([*words, 0], np.int64)
        whose: Array = found[_filled(encoded.indices, len(words))]
        return whose

    def _computed(self, batch: pa.Table) -> Mapping[str, pa.ChunkedArray]:
        found = {name: batch[source] for name, source in self.bare.items()}
        if not self.rest:
            return found
        numbered = batch.append_column(self.row, pa.array(np.arange(batch.num_rows)))
        with self.lock:
            self.connection.register("t", numbered)
            try:
                table = self.connection.sql(self.sql).to_arrow_table()
            except duckdb.Error as error:
                raise EngineError(
                    f"DuckDB could not prepare {self.view.source!r}: {error}",
                    code="T402",
                    where=self.view.name,
                    fix="check that the tables fit their declarations",
                ) from error
            finally:
                self.connection.unregister("t")
        back = np.empty(batch.num_rows, np.int64)
        back[table["c0"].to_numpy()] = np.arange(batch.num_rows)
        for i, column in enumerate(self.rest):
            found[column.name] = table[f"c{i + 1}"].take(pa.array(back))
        return found


def _ascending(codes: Array, keys: list[bytes]) -> tuple[Array, list[bytes]]:
    order = sorted(range(len(keys)), key=keys.__getitem__)
    ranks = np.empty(len(keys), np.int64)
    ranks[order] = np.arange(len(keys))
    return ranks[codes] if len(codes) else codes, [keys[i] for i in order]


def _filled(array: pa.Array, value: Any) -> Array:
    found: Array = (array.fill_null(value) if array.null_count else array).to_numpy()
    return found


def _numbers(array: pa.Array, kind: int) -> tuple[Array, Array]:
    """Which values there are, and their words. NaN is missing, -0.0 is 0.0."""
    valid = np.ones(len(array), np.bool_)
    if array.null_count:
        valid = pc.is_valid(array).to_numpy(zero_copy_only=False)
    if kind == TEXT:
        return valid, valid.astype(np.int64)
    if kind == BOOL:
        return valid, _filled(array.cast(pa.int64()), 0)
    if kind != FLOAT:
        return valid, _filled(array, 0)
    floats = _filled(array, 0.0) + 0.0
    valid = valid & ~np.isnan(floats)
    return valid, floats.view(np.int64)
