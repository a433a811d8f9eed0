"""The public layout of pair statistics, and what it makes of a history. `pairs` has the mechanism.

Kernels work on one history at a time; `vector` and `vectors` add in the same order, so that they
give the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from numba import njit

from tacit.errors import PrivacyError
from tacit.privacy import encoding
from tacit.privacy.histogram import wrong_parameters

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Tables = tuple[int, Integers, Integers, int, int]
"""Items, pair keys, where each first item's keys start, buckets, salt: what kernels look up in."""

LONGEST_LAG = 1000
_MIX = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing, Knuth TAOCP vol. 3, section 6.4
_FOLD, _HIGH, _SIGN = np.uint64(29), np.uint64(32), np.uint64(31)


@dataclass(frozen=True, eq=False)
class PairLayout:
    """The public meaning of the coordinates; every device and the cloud have the same one.

    Attributes:
        items: n, keys of the public domain.
        pair_keys: (p,) int64, strictly increasing: a·n + b with a < b, the pairs with a coordinate.
        buckets: hash buckets that all other pairs share; 0 leaves those out.
        popularity_share: β above, strictly between 0 and 1.
        lag: the longest distance in the history that makes a pair, 1 to 1000.
        decay: what a pair counts one place further apart, above 0 and at most 1.
        salt: names the hash function.

    Raises PrivacyError T534 for values outside these ranges.
    """

    items: int
    pair_keys: Integers = field(repr=False)
    buckets: int = 0
    popularity_share: float = 0.2
    lag: int = 10
    decay: float = 0.8
    salt: int = 1
    _starts: Integers = field(init=False, repr=False)
    _weights: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._check()
        keys = np.ascontiguousarray(self.pair_keys, np.int64).view()
        keys.flags.writeable = False  # of files or made here, one kernel is enough
        rows = np.arange(self.items + 1, dtype=np.int64) * self.items
        object.__setattr__(self, "pair_keys", keys)
        object.__setattr__(self, "_starts", np.searchsorted(keys, rows).astype(np.int64))
        object.__setattr__(self, "_weights", float(self.decay) ** np.arange(self.lag))

    @property
    def pairs(self) -> int:
        """p, the pairs with a coordinate of their own."""
        return len(self.pair_keys)

    @property
    def length(self) -> int:
        """d = n + p + buckets."""
        return self.items + self.pairs + self.buckets

    def places(self, keys: Integers) -> tuple[Integers, Floats]:
        """Coordinate within the pair block, -1 for none, and sign of each pair key; both (m,)."""
        place, sign = np.empty(len(keys), np.int64), np.empty(len(keys))
        _places(np.asarray(keys, np.int64), self._tables(), place, sign)
        return place, sign

    def vector(self, history: Integers) -> Floats:
        """v (d,) of one device from its distinct codes in order of time."""
        out = np.zeros(self.length)
        _vector(history, self._tables(), self._weights, float(self.popularity_share), out)
        return out

    def vectors(self, indptr: Integers, codes: Integers) -> sp.csr_matrix:
        """Rows v (devices, d) of many devices; device u owns `codes[indptr[u]:indptr[u + 1]]`.

        The same numbers as `vector` gives. Raises PrivacyError T533 for a code that is twice in one
        history or not in the domain.
        """
        indptr, codes = np.asarray(indptr, np.int64), np.asarray(codes, np.int64)
        if len(codes) and (codes.min() < 0 or codes.max() >= self.items):
            raise _bad_history(f"a code is outside 0 to {self.items - 1}")
        tables, share = self._tables(), float(self.popularity_share)
        nothing = np.zeros(0, np.int64)
        bounds = np.zeros(len(indptr), np.int64)
        twice = _vectors(indptr, codes, tables, self._weights, share, bounds, nothing, np.zeros(0))
        if twice >= 0:
            raise _bad_history(f"the history in row {twice} holds a code twice")
        columns, values = np.empty(bounds[-1], np.int64), np.empty(bounds[-1])
        _vectors(indptr, codes, tables, self._weights, share, bounds, columns, values)
        return sp.csr_matrix((values, columns, bounds), shape=(len(indptr) - 1, self.length))

    def unpack(self, total: Floats, sigma: float) -> PairStatistics:
        """The blocks of a sum (d,) with noise σ on every coordinate, each in its own unit."""
        share = self.popularity_share
        left, right = float(np.sqrt(share)), float(np.sqrt(1.0 - share))
        rest = total[self.items :] / right
        return PairStatistics(
            layout=self,
            popularity=total[: self.items] / left,
            pairs=rest[: self.pairs],
            buckets=rest[self.pairs :],
            popularity_sigma=sigma / left,
            pair_sigma=sigma / right,
        )

    def files(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Its numbers as JSON values, and its arrays: what `from_files` reads."""
        numbers = {name: getattr(self, name) for name in LAYOUT_NUMBERS}
        return numbers, {"pair_keys": self.pair_keys}

    def _tables(self) -> tuple[int, Integers, Integers, int, int]:
        return self.items, self.pair_keys, self._starts, self.buckets, self.salt

    def _check(self) -> None:
        for what, least, most in (
            ("items", 1, encoding.LARGEST_LENGTH),
            ("buckets", 0, encoding.LARGEST_LENGTH),
            ("lag", 1, LONGEST_LAG),
            ("salt", 0, 2**62),
        ):
            value = getattr(self, what)
            if type(value) is not int or not least <= value <= most:
                raise wrong_parameters(f"{what} is {value!r}, not from {least} to {most}")
        for what, top in (("popularity_share", False), ("decay", True)):
            value = getattr(self, what)
            real = type(value) in (int, float) and isfinite(value)
            if not real or not 0.0 < value <= 1.0 or (value == 1.0 and not top):
                raise wrong_parameters(f"{what} is {value!r}")
        self._check_keys(np.asarray(self.pair_keys))

    def _check_keys(self, keys: npt.NDArray[Any]) -> None:
        if keys.ndim != 1 or keys.dtype.kind not in "iu":
            raise wrong_parameters(f"pair keys have type {keys.dtype}, shape {keys.shape}")
        if len(keys) + self.buckets == 0:
            raise wrong_parameters("there is neither a pair nor a bucket")
        if len(keys) == 0:
            return
        first, second = np.divmod(keys.astype(np.int64), self.items)
        if (np.diff(keys.astype(np.int64)) <= 0).any() or first[0] < 0 or (first >= second).any():
            raise wrong_parameters("pair keys are not increasing, or name no pair of two items")


LAYOUT_NUMBERS: Final = ("items", "buckets", "popularity_share", "lag", "decay", "salt")


@dataclass(frozen=True, eq=False)
class PairStatistics:
    """A sum over devices, by block, each in the unit of one device's block of norm 1.

    `popularity` (n,) with noise `popularity_sigma`; `pairs` (p,) and `buckets` with noise
    `pair_sigma`. Zero noise stands for the exact sum, which no release gives.
    """

    layout: PairLayout
    popularity: Floats
    pairs: Floats
    buckets: Floats
    popularity_sigma: float
    pair_sigma: float


@njit(cache=True)
def _place(a: int, b: int, tables: Tables) -> tuple[np.int64, np.float64]:
    """Coordinate in the pair block (-1: none) and sign of the pair {a, b}."""
    items, keys, starts, buckets, salt = tables
    first, second = min(a, b), max(a, b)
    key = first * items + second
    low, high = starts[first], starts[first + 1]
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    if low < starts[first + 1] and keys[low] == key:
        return np.int64(low), np.float64(1.0)
    if buckets == 0:
        return np.int64(-1), np.float64(0.0)
    mixed = (np.uint64(key) + np.uint64(salt)) * _MIX
    mixed = (mixed ^ (mixed >> _FOLD)) * _MIX
    bucket = np.int64((mixed >> _HIGH) % np.uint64(buckets))
    sign = 1.0 - 2.0 * np.float64((mixed >> _SIGN) & np.uint64(1))
    return np.int64(len(keys) + bucket), sign


@njit(cache=True)
def _places(pair_keys: Integers, tables: Tables, place: Integers, sign: Floats) -> None:
    items = tables[0]
    for i in range(len(pair_keys)):
        place[i], sign[i] = _place(pair_keys[i] // items, pair_keys[i] % items, tables)


@njit(cache=True)
def _vector(history: Integers, tables: Tables, weights: Floats, share: float, out: Floats) -> None:
    """v of one history into zeros."""
    items = tables[0]
    for t in range(len(history)):
        out[history[t]] = np.sqrt(share / len(history))
        for back in range(1, min(len(weights), t) + 1):
            place, sign = _place(history[t - back], history[t], tables)
            if place >= 0:
                out[items + place] += sign * weights[back - 1]
    squares = 0.0
    for i in range(items, len(out)):
        squares += out[i] * out[i]
    if squares > 0.0:
        factor = np.sqrt((1.0 - share) / squares)
        for i in range(items, len(out)):
            out[i] *= factor


@njit(cache=True)
def _vectors(
    indptr: Integers,
    codes: Integers,
    tables: Tables,
    weights: Floats,
    share: float,
    bounds: Integers,
    columns: Integers,
    values: Floats,
) -> int:
    """CSR parts of many v. With no room in `columns` it only fills `bounds`.

    Returns the first row with a code twice, or -1.
    """
    items, keys, _, buckets, _ = tables
    size = items + len(keys) + buckets
    out = np.zeros(size)
    owner = np.empty(size, np.int64)
    owner[:] = -1
    touched = np.empty(size, np.int64)
    for user in range(len(indptr) - 1):
        history = codes[indptr[user] : indptr[user + 1]]
        count = 0
        for t in range(len(history)):
            if owner[history[t]] == user:
                return user
            owner[history[t]] = user
            touched[count] = history[t]
            out[history[t]] = np.sqrt(share / len(history))
            count += 1
            for back in range(1, min(len(weights), t) + 1):
                place, sign = _place(history[t - back], history[t], tables)
                if place >= 0:
                    if owner[items + place] != user:
                        owner[items + place] = user
                        touched[count] = items + place
                        count += 1
                    out[items + place] += sign * weights[back - 1]
        if len(columns) > 0:
            places, start = touched[:count], bounds[user]
            _sort(places)
            _write(items, share, places, out, columns[start:], values[start:])
        else:
            bounds[user + 1] = bounds[user] + count
        for i in range(count):
            out[touched[i]] = 0.0
    return -1


@njit(cache=True)
def _sort(places: Integers) -> None:
    """In place: Shell's sort by Knuth's gaps, which compiles in a tenth of what `np.sort` takes."""
    gap = 1
    while 3 * gap < len(places):
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, len(places)):
            moved, j = places[i], i
            while j >= gap and places[j - gap] > moved:
                places[j] = places[j - gap]
                j -= gap
            places[j] = moved
        gap //= 3


@njit(cache=True)
def _write(
    items: int, share: float, places: Integers, out: Floats, columns: Integers, values: Floats
) -> None:
    """One CSR row: `out` at `places`, the pair block scaled to its norm."""
    squares = 0.0
    for place in places:
        if place >= items:
            squares += out[place] * out[place]
    factor = np.sqrt((1.0 - share) / squares) if squares > 0.0 else 0.0
    for i in range(len(places)):
        columns[i] = places[i]
        values[i] = out[places[i]] * (factor if places[i] >= items else 1.0)


def _bad_history(what: str) -> PrivacyError:
    return PrivacyError(
        f"histories make no vectors: {what}",
        code="T533",
        fix="keep the first time of each item, and only items of the public domain",
    )
