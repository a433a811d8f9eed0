"""Cutting rows and spine into parts by their keys, and bringing each part's rows together.

Keys are numbered by the spine. A part is a range of those numbers, with about as many rows as fit
a cache. The rows of some parts are brought together at a time, a pass: all of them when there is
room, or as many as there is room for. A pass reads the columns once, in order. Parts are the same
however many passes there are, and with them every rounding of a sum.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numba import get_num_threads

from tacit.aggregates import sorting
from tacit.aggregates.columns import Array, Column, read_only
from tacit.aggregates.keys import Keys
from tacit.aggregates.memory import Memory

THREADS = get_num_threads()
PART = 1 << 18  # rows of a part: a few columns of it fit a core's cache
BLOCK = 1 << 16  # rows that a thread takes at a time
_RELEASE = 64  # blocks after which memory is released


@dataclass(frozen=True, slots=True)
class Prepared:
    """The rows of a view in any order: keys, time, and the values by their names in the view."""

    keys: Sequence[Column]
    at: Column
    values: Mapping[str, Column]


@dataclass(frozen=True, slots=True)
class Asked:
    """The rows of the spine: its key columns, in the view's order, and its time (int64)."""

    keys: Sequence[pa.ChunkedArray]
    at: Column

    @property
    def size(self) -> int:
        return len(self.at.numbers)


@dataclass(frozen=True, slots=True)
class Part:
    """Some keys: their rows by (key, time), and the rows of the spine that ask for them."""

    values: Mapping[str, Column]  # in the order in which the rows came
    order: Array  # position -> row
    at: Array
    offsets: Array
    start: int  # its first query, among all
    back: Array  # query -> spine row
    wanted: Array  # the key of each query, counted from the part's first
    times: Array

    def column(self, name: str) -> Column:
        """A value by (key, time)."""
        return self.values[name].at(self.order)


class _Keyed:
    """The key number of each row, and how many rows each thread's range has of each key."""

    def __init__(
        self, size: int, count: int, find: Callable[[slice], Array], pool: Executor, memory: Memory
    ) -> None:
        cuts = [size * i // THREADS for i in range(THREADS + 1)]
        self.lanes = [slice(low, high) for low, high in itertools.pairwise(cuts)]
        self.ids = memory.empty(size, np.int32)
        self.counts = np.zeros((THREADS, count), np.int64)
        self.memory = memory

        def number(lane: slice, counts: Array) -> None:
            for rows in self.blocks(lane):
                self.ids[rows] = find(rows)
                sorting.count_ids(read_only(self.ids[rows]), counts)

        list(pool.map(number, self.lanes, self.counts))

    def blocks(self, lane: slice) -> Iterator[slice]:
        """A lane, a few rows at a time."""
        for i, start in enumerate(range(lane.start, lane.stop, BLOCK)):
            yield slice(start, min(start + BLOCK, lane.stop))
            if i % _RELEASE == _RELEASE - 1:
                self.memory.release()


class _Scattered:
    """The rows of some parts, each part's together: keys, times and values."""

    def __init__(
        self,
        keyed: _Keyed,
        at: Array,
        values: Mapping[str, Column],
        part: Array,
        parts: range,
        counts: Array,
        pool: Executor,
    ) -> None:
        chosen = counts[:, parts.start : parts.stop]  # of each lane, rows of each part
        self.first = parts.start
        self.edges = np.append(0, np.cumsum(chosen.sum(axis=0)))
        before = np.cumsum(chosen, axis=0) - chosen + self.edges[:-1]
        self.keys = np.empty(self.edges[-1], np.int32)
        self.at = np.empty(self.edges[-1], np.int64)
        self.values = {name: column.like(len(self.at)) for name, column in values.items()}
        pairs = [pair for name in values for pair in _arrays(values[name], self.values[name])]

        def scatter(lane: slice, following: Array) -> None:
            to = np.empty(BLOCK, np.int64)
            for rows in keyed.blocks(lane):
                went = to[: rows.stop - rows.start]
                sorting.scatter(
                    keyed.ids[rows], at[rows], part, self.first, following, self.keys, self.at, went
                )
                for column, out in pairs:
                    sorting.move(column[rows], went, out)

        list(pool.map(scatter, keyed.lanes, before))

    def rows(self, part: int) -> slice:
        return slice(*self.edges[part - self.first : part - self.first + 2])

    def sorted(self, part: int, low: int, size: int) -> tuple[Array, Array, Array]:
        """The order of a part's rows by (key, time), their times, and where each key starts."""
        rows = self.rows(part)
        found: tuple[Array, Array, Array] = sorting.sort_rows(
            self.keys[rows], self.at[rows], low, size
        )
        return found


def _arrays(column: Column, out: Column) -> Iterator[tuple[Array, Array]]:
    yield column.numbers, out.numbers
    if column.valid is not None and out.valid is not None:
        yield column.valid, out.valid


class Parts:
    """Rows and spine, cut by ranges of keys."""

    def __init__(
        self,
        rows: Prepared,
        asked: Asked,
        names: Sequence[str],
        keys: Keys,
        pool: Executor,
        memory: Memory,
    ) -> None:
        self.pool = pool
        self.at = read_only(rows.at.numbers)
        self.values = {name: rows.values[name] for name in names}
        numbering = keys.numbering(rows.keys, asked.keys)

        def find(some: slice) -> Array:
            ids = numbering.find(some)
            if rows.at.valid is not None:
                ids[~rows.at.valid[some]] = -1
            return ids

        def wanted(some: slice) -> Array:
            ids = numbering.wanted[some]
            return ids if asked.at.valid is None else np.where(asked.at.valid[some], ids, -1)

        self.keyed = _Keyed(len(self.at), numbering.count, find, pool, memory)
        queries = _Keyed(asked.size, numbering.count, wanted, pool, Memory())
        counts = self.keyed.counts.sum(axis=0)
        width = 12 + sum(value.width for value in self.values.values())
        self.limit = 2**31 if memory.room is None else max(memory.room // width, 1)
        self.starts = sorting.split(counts + queries.counts.sum(axis=0), PART)
        self.part = np.repeat(np.arange(self.size, dtype=np.int32), np.diff(self.starts))
        self.counts = self._of_parts(self.keyed.counts)
        back = Column(np.arange(asked.size), None)
        self.asked = _Scattered(
            queries,
            read_only(asked.at.numbers),
            {"back": back},
            self.part,
            range(self.size),
            self._of_parts(queries.counts),
            pool,
        )

    @property
    def size(self) -> int:
        return len(self.starts) - 1

    def _of_parts(self, counts: Array) -> Array:
        """How many rows each lane has of each part."""
        if not self.size:
            return np.zeros((len(counts), 0), np.int64)
        return np.add.reduceat(counts, self.starts[:-1], axis=1)

    def passes(self) -> Iterator[list[Callable[[], Part]]]:
        """Parts for which there is room together, the heaviest first; calling one sorts it."""
        sizes = self.counts.sum(axis=0)
        first = 0
        while first < self.size:
            within = np.searchsorted(np.cumsum(sizes[first:]), self.limit, side="right")
            last = first + max(int(within), 1)
            rows = _Scattered(
                self.keyed,
                self.at,
                self.values,
                self.part,
                range(first, last),
                self.counts,
                self.pool,
            )
            order = first + np.argsort(-sizes[first:last], kind="stable")
            yield [self._sorter(rows, part) for part in order.tolist()]
            first = last

    def _sorter(self, rows: _Scattered, part: int) -> Callable[[], Part]:
        def sort() -> Part:
            low = int(self.starts[part])
            size = int(self.starts[part + 1]) - low
            order, at, offsets = rows.sorted(part, low, size)
            queries = self.asked.rows(part)
            asking, times, starts = self.asked.sorted(part, low, size)
            back = self.asked.values["back"].numbers[queries].take(asking)
            values = {name: column.rows(rows.rows(part)) for name, column in rows.values.items()}
            keys = np.repeat(np.arange(size), np.diff(starts))
            return Part(values, order, at, offsets, queries.start, back, keys, times)

        return sort
