"""Profiles: what a column looks like, as a monoid. Parts merge into the whole, bit for bit.

A profile counts rows and nulls, keeps the least and the greatest number, a histogram, and a sketch
of how many different values there are. The bins are fixed, so that any two profiles compare: eight
to each power of two and sign, as in HdrHistogram; 0 and the infinities by themselves; text in 64
bins by its hash. Lists and maps are profiled by their length.

The state knows values of single people (the ends, hashes of text): it is not for showing.
`published` is what may be shown: bins of `minimum` rows or more, and nothing else of them.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tacit.aggregates.columns import Array, flat
from tacit.aggregates.state import Aggregate, Reader, Value, Writer
from tacit.values import SCALARS, Type

STEPS = 8
"""Bins to each power of two: one is at most an eighth wider than its lower edge."""
INFINITY = 1 << 20
TEXT = 1 << 21
BUCKETS = 64
SKETCH = 256
"""Least hashes kept (Bar-Yossef et al. 2002, §2): the count of distinct values to about 6%."""
MINIMUM = 10
"""Rows below which a bin is not shown."""
_LOWEST = 1100  # below the exponent of every double


class Profile(NamedTuple):
    """The state: ``bins`` are (number, rows) in order, ``least`` and ``most`` are of numbers."""

    rows: int = 0
    nulls: int = 0
    bins: tuple[tuple[int, int], ...] = ()
    least: float | None = None
    most: float | None = None
    sketch: tuple[int, ...] = ()


class Published(NamedTuple):
    """What may be shown of a profile; ``hidden`` rows are in bins that are too small."""

    rows: int
    nulls: int
    bins: Mapping[int, int]
    hidden: int
    distinct: int


def bin_of(value: Value) -> int:
    """The number of a value's bin; those of numbers are in the order of the numbers."""
    if isinstance(value, str):
        return TEXT + _hash_text(value) % BUCKETS
    number = _number(value)
    if number == 0:
        return 0
    if math.isinf(number):
        return INFINITY if number > 0 else -INFINITY
    mantissa, exponent = math.frexp(abs(number))
    place = (exponent + _LOWEST) * STEPS + int((mantissa - 0.5) * 2 * STEPS) + 1
    return place if number > 0 else -place


def edges(number: int) -> tuple[float, float]:
    """The least and the greatest number of a bin of numbers, the greater end not included."""
    if number == 0 or abs(number) == INFINITY:
        end = 0.0 if number == 0 else math.copysign(math.inf, number)
        return end, end
    exponent, step = divmod(abs(number) - 1, STEPS)
    low = math.ldexp(0.5 + step / (2 * STEPS), exponent - _LOWEST)
    width = math.ldexp(0.5 / STEPS, exponent - _LOWEST)
    return (low, low + width) if number > 0 else (-low - width, -low)


def _hash_text(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _hash_numbers(numbers: Array) -> Array:
    """Their bits, mixed (splitmix64: Steele, Lea and Flood 2014, §4)."""
    mixed = np.ascontiguousarray(numbers, np.float64).view(np.uint64)
    mixed = mixed + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _hash(value: Value) -> int:
    if isinstance(value, str):
        return _hash_text(value)
    return int(_hash_numbers(np.array([_number(value)]))[0])


def _number(value: Value) -> float:
    assert not isinstance(value, str | tuple), "profiles are of scalars"
    return float(value)


class Profiler(Aggregate[Profile]):
    """Makes, merges, encodes and decodes profiles."""

    key = "profile"
    family = 64
    takes = "any value"
    inputs: ClassVar[tuple[Type | None, ...]] = SCALARS

    def result(self, value: Type | None) -> Type:
        return Type.INT

    def init(self) -> Profile:
        return Profile()

    def update(self, state: Profile, value: Value, at: int = 0) -> Profile:
        number = None if isinstance(value, str) else _number(value)
        one = Profile(1, 0, ((bin_of(value), 1),), number, number, (_hash(value),))
        return self.merge(state, one)

    def missing(self, state: Profile, nulls: int = 1) -> Profile:
        """The state with so many nulls more."""
        return state._replace(rows=state.rows + nulls, nulls=state.nulls + nulls)

    def merge(self, left: Profile, right: Profile) -> Profile:
        bins = dict(left.bins)
        for number, rows in right.bins:
            bins[number] = bins.get(number, 0) + rows
        least = [end for end in (left.least, right.least) if end is not None]
        most = [end for end in (left.most, right.most) if end is not None]
        return Profile(
            left.rows + right.rows,
            left.nulls + right.nulls,
            tuple(sorted(bins.items())),
            min(least, default=None),
            max(most, default=None),
            tuple(sorted({*left.sketch, *right.sketch})[:SKETCH]),
        )

    def finish(self, state: Profile) -> int:
        """About how many different values there were; exactly, below `SKETCH`."""
        if len(state.sketch) < SKETCH:
            return len(state.sketch)
        return round((SKETCH - 1) / (state.sketch[-1] / 2**64))

    def write(self, state: Profile, out: Writer) -> None:
        out.size(state.rows)
        out.size(state.nulls)
        out.size(len(state.bins))
        for number, rows in state.bins:
            out.whole(number)
            out.size(rows)
        for end in (state.least, state.most):
            out.raw(b"\x00" if end is None else b"\x01" + struct.pack("<d", end))
        out.size(len(state.sketch))
        for value in state.sketch:
            out.raw(value.to_bytes(8, "big"))

    def read(self, data: Reader) -> Profile:
        rows, nulls = data.size(), data.size()
        bins = tuple((data.whole(), data.size()) for _ in range(data.size()))
        if list(bins) != sorted(dict(bins).items()):
            data.wrong("holds bins out of order")
        ends = [
            None if data.raw(1) == b"\x00" else float(struct.unpack("<d", data.raw(8))[0])
            for _ in range(2)
        ]
        sketch = tuple(int.from_bytes(data.raw(8), "big") for _ in range(data.size()))
        if list(sketch) != sorted(set(sketch)) or len(sketch) > SKETCH:
            data.wrong("holds a sketch out of order")
        if any(end is not None and math.isnan(end) for end in ends):
            data.wrong("holds an end that is no number")
        if sum(count for _, count in bins) + nulls != rows:
            data.wrong("does not add up")
        return Profile(rows, nulls, bins, ends[0], ends[1], sketch)


PROFILER = Profiler()


def profile(column: pa.ChunkedArray) -> Profile:
    """The profile of a column, at once: what folding its values one by one gives. NaN is null."""
    array = flat(column)
    if pa.types.is_nested(array.type):
        array = _lengths(array)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    rows, there = len(array), array.drop_null()
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        coded = there.dictionary_encode()
        texts = coded.dictionary.to_pylist()
        hashes = np.array([_hash_text(text) for text in texts], np.uint64)
        codes = coded.indices.to_numpy(zero_copy_only=False)
        bins = (TEXT + (hashes % np.uint64(BUCKETS)).astype(np.int64))[codes]
        return _profile(rows, bins, hashes, None)
    kind = pa.int8() if pa.types.is_boolean(array.type) else array.type
    numbers = there.cast(kind).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    numbers = numbers[~np.isnan(numbers)] + 0.0
    return _profile(rows, _bins(numbers), _hash_numbers(np.unique(numbers)), numbers)


def _lengths(array: pa.ListArray | pa.MapArray) -> pa.Array:
    lengths = np.diff(array.offsets.to_numpy())
    return pa.array(lengths, mask=~pc.is_valid(array).to_numpy(zero_copy_only=False))


def _bins(numbers: Array) -> Array:
    mantissa, exponent = np.frexp(np.abs(numbers))
    with np.errstate(invalid="ignore"):
        step = np.where(np.isinf(numbers), 0, (mantissa - 0.5) * 2 * STEPS).astype(np.int64)
    place = (exponent.astype(np.int64) + _LOWEST) * STEPS + step + 1
    place = np.where(numbers == 0, 0, np.where(np.isinf(numbers), INFINITY, place))
    return np.where(numbers < 0, -place, place)


def _profile(rows: int, bins: Array, hashes: Array, numbers: Array | None) -> Profile:
    found, counts = np.unique(bins, return_counts=True)
    ends = numbers is not None and len(numbers) > 0
    return Profile(
        rows,
        rows - len(bins),
        tuple(zip(found.tolist(), counts.tolist(), strict=True)),
        float(numbers.min()) if ends and numbers is not None else None,
        float(numbers.max()) if ends and numbers is not None else None,
        tuple(np.unique(hashes)[:SKETCH].tolist()),
    )


def share(some: int, rows: int) -> float:
    """A share of rows; of too few on either side, none or all."""
    if min(some, rows - some) < MINIMUM:
        some = rows if some * 2 > rows else 0
    return some / rows


def published(state: Profile, minimum: int = MINIMUM) -> Published:
    """What may be shown: counts that are `minimum` or more; a smaller one is shown as 0."""
    bins = {number: rows for number, rows in state.bins if rows >= minimum}
    values = state.rows - state.nulls
    return Published(
        rows=state.rows if state.rows >= minimum else 0,
        nulls=state.nulls if min(state.nulls, values) >= minimum else state.rows * (not values),
        bins=bins,
        hidden=values - sum(bins.values()) if values >= minimum else 0,
        distinct=PROFILER.finish(state) if values >= minimum else 0,
    )
