"""Columns as flat arrays of numbers: text by codes, bools as 0 and 1, nulls by a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Array = npt.NDArray[Any]


def read_only(array: Array) -> Array:
    """The same array, not to be written to; no copy.

    numba compiles a kernel once for arrays that may be written to and once for those that may not
    be, as those over bytes are: what is only read, and may be either, is handed over as this.
    """
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, slots=True)
class Column:
    """A column as numbers. Text is numbered in its order, by ``dictionary``; bools are 0 and 1.
    Vectors are numbered as they come, by a ``dictionary`` of lists.

    ``valid`` is None when nothing is null; where it is False the number is 0. Numbers may be stored
    narrow; ``at`` widens them to 64 bits.
    """

    numbers: Array
    valid: Array | None
    dictionary: pa.Array | None = None
    boolean: bool = False

    def at(self, positions: Array) -> Column:
        """The column at these positions."""
        valid = None if self.valid is None else self.valid.take(positions)
        numbers = self.numbers.take(positions)
        if numbers.dtype.itemsize < 8:
            numbers = numbers.astype(np.int64)
        return Column(numbers, valid, self.dictionary, self.boolean)

    def rows(self, some: slice) -> Column:
        """Some of its rows; no copy."""
        valid = None if self.valid is None else self.valid[some]
        return Column(self.numbers[some], valid, self.dictionary, self.boolean)

    def like(self, size: int) -> Column:
        """Room for so many rows of its kind."""
        valid = None if self.valid is None else np.empty(size, np.bool_)
        return Column(np.empty(size, self.numbers.dtype), valid, self.dictionary, self.boolean)

    @property
    def width(self) -> int:
        """Bytes of a row."""
        return self.numbers.dtype.itemsize + (self.valid is not None)

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type that holds its values."""
        if self.dictionary is not None:
            vectors = pa.types.is_nested(self.dictionary.type)
            return pa.list_(pa.float32()) if vectors else pa.string()
        if self.boolean:
            return pa.bool_()
        return pa.float64() if self.numbers.dtype.kind == "f" else pa.int64()

    def decode(self, numbers: Array, valid: Array | None, to: pa.DataType) -> pa.Array:
        """Numbers back to values of an Arrow type."""
        missing = None if valid is None or valid.all() else ~valid
        if self.dictionary is None:
            if pa.types.is_boolean(to):
                numbers = numbers != 0
            return pa.array(numbers, mask=missing).cast(to)
        safe = numbers if valid is None else np.where(valid, numbers, 0)
        if not len(self.dictionary):
            return pa.nulls(len(numbers), to)
        return self.dictionary.take(pa.array(safe, mask=missing)).cast(to)

    def ranked(self) -> tuple[Array, Array]:
        """Codes from 0 on, in the order of the values, and the number of each code."""
        dense = _dense(self.numbers)
        if dense:
            return self.numbers - dense[0], dense[0] + np.arange(dense[1])
        values, codes = np.unique(self.numbers, return_inverse=True)
        return codes, values


def flat(column: pa.ChunkedArray) -> pa.Array:
    """One chunk."""
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def plain(array: pa.Array) -> pa.Array:
    """The array, with its nulls where they are counted: a dictionary may hold one, too."""
    if pa.types.is_dictionary(array.type) and array.dictionary.null_count:
        return array.dictionary_decode()
    return array


def read(column: pa.ChunkedArray) -> Column:
    """An Arrow column of ints, floats or bools as numbers of 64 bits."""
    array = flat(column)
    valid = None if not array.null_count else pc.is_valid(array).to_numpy(zero_copy_only=False)
    boolean = pa.types.is_boolean(array.type)
    if boolean:
        array = array.cast(pa.int64())
    if array.null_count:
        array = array.fill_null(0)
    return Column(array.to_numpy(zero_copy_only=False), valid, None, boolean)


def _dense(numbers: Array) -> tuple[int, int] | None:
    """The least number and how many there are up to the greatest, if they lie that close."""
    if numbers.dtype.kind != "i" or not numbers.size:
        return None
    least, most = int(numbers.min()), int(numbers.max())
    return (least, most - least + 1) if most - least <= 2 * numbers.size + 1024 else None


def distinct_codes(column: Column) -> tuple[Array, int]:
    """Codes of the values in no order, and how many codes there are."""
    numbers, dense = column.numbers, _dense(column.numbers)
    if dense:
        return numbers - dense[0], dense[1]
    encoded = pa.array(numbers).dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), max(len(encoded.dictionary), 1)
