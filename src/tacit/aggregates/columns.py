"""From Arrow columns to flat arrays: codes of keys, order-preserving codes of text, masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column as numbers. Text is numbered in its order, by ``dictionary``; bools are 0 and 1.

    ``valid`` is None when nothing is null; where it is False the number is 0.
    """

    numbers: Array
    valid: Array | None
    dictionary: pa.Array | None = None
    boolean: bool = False

    def at(self, positions: Array) -> Column:
        """The column at these positions."""
        valid = None if self.valid is None else self.valid[positions]
        return Column(self.numbers[positions], valid, self.dictionary, self.boolean)

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type that holds its values."""
        if self.dictionary is not None:
            return pa.string()
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


def flat(column: pa.ChunkedArray) -> pa.Array:
    """One chunk."""
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def read(column: pa.ChunkedArray) -> Column:
    """An Arrow column as numbers."""
    array = flat(column)
    valid = None if not array.null_count else pc.is_valid(array).to_numpy(zero_copy_only=False)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        codes, dictionary = ordered_codes(array)
        return Column(codes, valid, dictionary)
    boolean = pa.types.is_boolean(array.type)
    if boolean:
        array = array.cast(pa.int64())
    if array.null_count:
        array = array.fill_null(0)
    return Column(array.to_numpy(zero_copy_only=False), valid, None, boolean)


def ordered_codes(array: pa.Array) -> tuple[Array, pa.Array]:
    """Codes in the order of the values (text by its bytes), and the sorted values; null is 0."""
    encoded = array.dictionary_encode()
    values = encoded.dictionary
    if pa.types.is_boolean(values.type):
        order = np.argsort(values.to_numpy(zero_copy_only=False), kind="stable")
    else:
        order = pc.sort_indices(values).to_numpy()
    ranks = np.empty(max(len(order), 1), np.int64)
    ranks[order] = np.arange(len(order))
    indices = encoded.indices.fill_null(0).to_numpy() if len(values) else np.zeros(len(array), int)
    return ranks[indices] if len(values) else indices, values.take(pa.array(order))


def distinct_codes(column: Column) -> tuple[Array, int]:
    """Codes of the values in no order, and how many codes there are."""
    numbers = column.numbers
    if column.dictionary is not None:
        return numbers, max(len(column.dictionary), 1)
    dense = dense_codes(numbers)
    if dense is not None:
        return dense[0], dense[1]
    encoded = pa.array(numbers).dictionary_encode()
    return encoded.indices.to_numpy(), max(len(encoded.dictionary), 1)


def dense_codes(numbers: Array) -> tuple[Array, int, int] | None:
    """Ints of a narrow range as themselves less the least: codes, how many, the least."""
    if numbers.dtype.kind != "i" or not numbers.size:
        return None
    least, most = int(numbers.min()), int(numbers.max())
    if most - least > 2 * numbers.size + 1024:
        return None
    return numbers - least, most - least + 1, least


def key_codes(
    events: list[pa.ChunkedArray], spine: list[pa.ChunkedArray]
) -> tuple[Array, int, Array]:
    """One code a key, of one or several columns: the events', how many, and the spine's.

    Equal codes mean equal keys, column by column: nothing is concatenated. A spine row whose key no
    event has, or that is null, gets the code past the last.
    """
    codes, size, wanted = _single(events[0], spine[0])
    for ours, theirs in zip(events[1:], spine[1:], strict=True):
        more, count, also = _single(ours, theirs)
        codes = codes.astype(np.int64) * count + more
        absent = (wanted < 0) | (also < 0)
        wanted = np.where(absent, -1, wanted.astype(np.int64) * count + also)
        size *= count
        if size > 2 * len(codes) + 1024:  # make the codes dense again
            distinct, codes = np.unique(codes, return_inverse=True)
            place = np.searchsorted(distinct, wanted)
            known = (place < len(distinct)) & (wanted >= 0)
            known &= (
                distinct[np.minimum(place, max(len(distinct) - 1, 0))] == wanted
                if len(distinct)
                else False
            )
            wanted, size = np.where(known, place, -1), len(distinct)
    return codes, size, np.where(wanted < 0, size, wanted)


def _single(events: pa.ChunkedArray, spine: pa.ChunkedArray) -> tuple[Array, int, Array]:
    """The codes of one key column; -1 in the spine's for what no event has."""
    ours, theirs = flat(events), flat(spine)
    if pa.types.is_integer(ours.type):
        dense = dense_codes(ours.to_numpy())
        if dense is not None:
            codes, size, least = dense
            wanted = theirs.fill_null(0).to_numpy()
            known = (wanted >= least) & (wanted <= least + size - 1)
            if theirs.null_count:
                known &= pc.is_valid(theirs).to_numpy(zero_copy_only=False)
            return codes, size, np.where(known, wanted - np.where(known, least, 0), -1)
    encoded = ours.dictionary_encode()
    found = pc.index_in(theirs, value_set=encoded.dictionary, skip_nulls=True)
    return (
        encoded.indices.to_numpy(),
        len(encoded.dictionary),
        found.fill_null(-1).to_numpy().astype(np.int64),
    )
