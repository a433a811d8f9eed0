"""Collecting columns from batches, on several threads, into flat arrays.

The number of rows is known before (a Parquet file says it), so every batch has its place from the
start and nothing is copied twice. Text is numbered by each thread for itself while it streams by;
when all is there the threads' dictionaries become one.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from tacit.aggregates.columns import Array, Column, flat, plain
from tacit.aggregates.memory import Memory
from tacit.aggregates.text import TextCodes
from tacit.values import Type

BATCH = 1 << 20
_STORED: Mapping[Type, Any] = {
    Type.INT: np.int64,
    Type.TIME: np.int64,
    Type.FLOAT: np.float64,
    Type.TEXT: np.int32,
    Type.BOOL: np.int8,
    Type.VECTOR: np.int64,
}
VECTORS = pa.large_list(pa.float32())


@njit(cache=True, nogil=True)
def _copy_floats(values: Any, out: Any) -> bool:
    """Copies floats with -0.0 as 0.0; whether one is NaN."""
    missing = False
    for i in range(values.size):
        out[i] = values[i] + 0.0
        missing |= values[i] != values[i]
    return missing


@njit(cache=True, nogil=True)
def _renumber(codes: Any, numbers: Any) -> None:
    for i in range(codes.size):
        codes[i] = numbers[codes[i]]


def stored(kind: Type) -> Any:
    """How the numbers of a column are kept."""
    return np.dtype(_STORED[kind])


def _lists(array: pa.Array) -> pa.Array:
    """Vectors as lists of floats; a null element is NaN, and which vectors are null is lost."""
    lists = array.cast(VECTORS)
    return pa.LargeListArray.from_arrays(lists.offsets, lists.values.fill_null(np.nan))


class Rows:
    """Columns of these types and this many rows, filled batch by batch.

    ``put`` may run on several threads, each with a ``writer`` of its own, on rows of its own.
    """

    def __init__(self, size: int, kinds: Mapping[str, Type], memory: Memory | None = None):
        self.size = size
        self.kinds = dict(kinds)
        self.memory = memory or Memory()
        self._numbers = {
            name: self.memory.empty(size, stored(kind)) for name, kind in kinds.items()
        }
        self._valid: dict[str, list[tuple[int, Array]]] = {name: [] for name in kinds}
        self._writers: list[Writer] = []

    def writer(self) -> Writer:
        """What one thread fills rows with."""
        self._writers.append(Writer(self))
        return self._writers[-1]

    def finish(self, ordered: frozenset[str], pool: Executor) -> dict[str, Column]:
        """The columns. Codes of text are in its order for the columns in ``ordered``."""
        done = pool.map(lambda name: self._finish(name, name in ordered), list(self.kinds))
        return dict(zip(self.kinds, done, strict=True))

    def _finish(self, name: str, order: bool) -> Column:
        numbers, kind = self._numbers.pop(name), self.kinds[name]
        valid: Array | None = None
        for start, mask in self._valid[name]:
            if valid is None:
                valid = self.memory.empty(self.size, np.bool_)
                valid[:] = True
            valid[start : start + len(mask)] = mask
        if kind is Type.VECTOR:
            vectors = [part for writer in self._writers for part in writer.vectors[name]]
            vectors.sort(key=lambda part: part[0])
            whole = [part for _, part in vectors] or [pa.array([], VECTORS)]
            return Column(numbers, valid, pa.concat_arrays(whole))
        if kind is not Type.TEXT:
            return Column(numbers, valid, None, kind is Type.BOOL)
        dictionary, places = _unite(
            [writer.texts[name].dictionary for writer in self._writers], order
        )
        for writer, place in zip(self._writers, places, strict=True):
            for start, end in writer.ranges:
                if len(place):
                    _renumber(numbers[start:end], place)
                    self.memory.release()
        return Column(numbers, valid, dictionary)


def _unite(parts: list[pa.Array], order: bool) -> tuple[pa.Array, list[Array]]:
    """One dictionary of several, and for each of them the new codes."""
    united = TextCodes()
    places = [united.encode(part) for part in parts]
    whole = united.dictionary
    if order:
        by_text = pc.sort_indices(whole).to_numpy()
        ranks = np.empty(len(whole), np.int32)
        ranks[by_text] = np.arange(len(whole), dtype=np.int32)
        whole = whole.take(pa.array(by_text))
        places = [ranks.take(place) if len(place) else place for place in places]
    return whole, places


class Writer:
    """One thread's part of the rows."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.ranges: list[tuple[int, int]] = []
        self.texts = {name: TextCodes() for name, kind in rows.kinds.items() if kind is Type.TEXT}
        # Where each batch of vectors starts; a vector's number is its row's.
        self.vectors: dict[str, list[tuple[int, pa.Array]]] = {
            name: [] for name, kind in rows.kinds.items() if kind is Type.VECTOR
        }

    def put(self, start: int, columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> None:
        """The rows from ``start`` on. NaN is null; -0.0 is 0.0."""
        size = 0
        for name, kind in self.rows.kinds.items():
            column = columns[name]
            array = plain(flat(column) if isinstance(column, pa.ChunkedArray) else column)
            size = len(array)
            out = self.rows._numbers[name][start : start + size]
            if kind is Type.VECTOR:
                out[:] = np.arange(start, start + size)
                self.vectors[name].append((start, _lists(array)))
            missing = self._fill(name, kind, array, out)
            if missing is not None:
                self.rows._valid[name].append((start, missing))
        self.ranges.append((start, start + size))
        self.rows.memory.release()

    def _fill(self, name: str, kind: Type, array: pa.Array, out: Array) -> Array | None:
        """Writes the numbers; returns which are valid, if not all."""
        valid = pc.is_valid(array).to_numpy(zero_copy_only=False) if array.null_count else None
        if kind is Type.VECTOR:
            return valid
        if kind is Type.TEXT:
            out[:] = self.texts[name].encode(array)
            if valid is not None:
                out[~valid] = 0
            return valid
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if kind is Type.BOOL:
            out[:] = array.cast(pa.int8()).fill_null(0).to_numpy()
            return valid
        if pa.types.is_timestamp(array.type):
            array = array.cast(pa.timestamp("us", array.type.tz)).cast(pa.int64())
        array = array.cast(pa.float64() if kind is Type.FLOAT else pa.int64())
        numbers = array.fill_null(0).to_numpy() if array.null_count else array.to_numpy()
        if kind is not Type.FLOAT:
            out[:] = numbers
        elif _copy_floats(numbers, out):
            found = ~np.isnan(out)
            valid = found if valid is None else valid & found
            out[~valid] = 0.0
        return valid
