"""What was known then: signals over the rows that had arrived by a moment (bitemporal tables).

Every row has two times: when it happened, and when it arrived. A row whose arrival is not kept is
known at no moment. As of one moment for the whole set, rows that arrived later are left out:
``arrived <= as_of``, as SQL:2011 §4.15.3 has it for ``FOR SYSTEM_TIME AS OF``. As of each spine
row's own moment ``t``, what had arrived before it counts, ``arrived < t``: what serving could have
known.

The second is answered with any engine as it is. It computes all rows in the order in which they
happened; for a spine row whose window holds a row that was still to arrive (`aggregates.late`), the
answer is replaced:

- Most aggregates are put together (`learn.parts`) of what happened before the first row that was
  still to arrive, which is asked of the engine at an earlier moment, and of the little after it.
- Where the order within the window does not matter, rows in the order in which they became known
  answer the others, unless one of them trails.
- What is left, and every window with a hop, gets the rows of its window copied, under a key of its
  own.

Copies come in portions that bound the memory. Their number is that of the rows between the first
that is missing and ``t`` for the aggregates of `parts.PARTS`; for the others, and for histograms,
that of the rows of the window.

Sources may be files. The second pass reads of them the columns of a view, and the rows of the
spine's keys within reach of its moments; where even these might not fit the budget of memory, the
spine's keys are dealt into portions, and the file is read once for each (`learn.reach`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tacit.aggregates import late
from tacit.aggregates.algebra import base_key
from tacit.aggregates.columns import Array, Column, flat, read
from tacit.aggregates.kernels import bounds
from tacit.aggregates.keys import Keys
from tacit.aggregates.sorting import sort_rows
from tacit.engines.base import Engine, needed
from tacit.engines.memory import default_budget
from tacit.learn.parts import asked as parts
from tacit.learn.parts import splits, together
from tacit.learn.reach import EVER, Rows, arrived_by, portions, within_reach
from tacit.operations import View, Window
from tacit.store.files import micros

TIMELESS = frozenset(
    ("count", "sum", "mean", "variance", "stddev", "min", "max", "distinct", "top_k")
)
"""Aggregates that do not ask when within the window: they may be told in another order."""

PORTION = 1 << 21
"""Rows copied at a time; one spine row's window may be more."""

STEPS = (0.5, 0.9, 0.99, 1.0)
"""Quantiles of how far back the first missing row lies: each costs one more pass."""

_LEAST = -(2**63)

Patch = tuple[Array, pa.ChunkedArray]


def features_as_known(
    engine: Engine,
    views: Sequence[View],
    sources: Mapping[str, Rows],
    spine: pa.Table,
    arrivals: Mapping[str, str],
    memory: int | None = None,
) -> pa.Table:
    """`Engine.features` over the rows that had arrived before each spine row's own ``at``.

    ``arrivals`` names the column of arrival of each view's source; ``at`` is int64 µs. ``memory``
    is the budget, in bytes, of the rows that are read beside those of the engine; left out, half of
    the engines' own.
    """
    known = dict(sources)
    for source in {view.source for view in views}:
        known[source] = arrived_by(sources[source], arrivals[source], EVER)
    found = engine.features(views, known, spine)
    budget = default_budget() // 2 if memory is None else memory
    for view in views:
        arrival = arrivals[view.source]
        patches: dict[str, list[Patch]] = {window.signal: [] for window in view.windows}
        for part in portions(view, known[view.source], spine, budget):
            asked = spine.take(pa.array(part))
            rows = within_reach(view, known[view.source], asked, arrival)
            there = {**known, view.source: rows}
            for signal, mends in _corrections(engine, view, there, asked, arrival).items():
                patches[signal] += [(part[places], values) for places, values in mends]
        for signal, mends in patches.items():
            place = found.column_names.index(signal)
            found = found.set_column(place, signal, _patched(found[signal], mends))
    return found


def _patched(base: pa.ChunkedArray, patches: Sequence[Patch]) -> pa.ChunkedArray:
    """The column with other values at some rows."""
    if not patches:
        return base
    take, start = np.arange(len(base)), len(base)
    for rows, values in patches:
        take[rows] = np.arange(start, start + len(values))
        start += len(values)
    chunks = [chunk for column in (base, *(v for _, v in patches)) for chunk in column.chunks]
    return pa.chunked_array(chunks, base.type).take(pa.array(take))


def _corrections(
    engine: Engine, view: View, sources: Mapping[str, Any], spine: pa.Table, arrival: str
) -> dict[str, list[Patch]]:
    patches: dict[str, list[Patch]] = {window.signal: [] for window in view.windows}
    times = _Times(view, sources[view.source], spine, arrival)
    if not times.late:
        return patches
    split = [window for window in view.windows if splits(window) and window.hop is None]
    if split:
        unsure = _put_together(engine, _only(view, split), sources, spine, times, patches)
        for window in split:
            again = np.flatnonzero(unsure[window.signal])
            _copy(engine, _only(view, [window]), sources, times, again, patches)
    rest = [window for window in view.windows if window not in split]
    for length in dict.fromkeys(window.reach for window in rest):
        windows = [window for window in rest if window.reach == length]
        timeless = [
            window
            for window in windows
            if base_key(window.aggregate) in TIMELESS and window.hop is None
        ]
        touched = times.gaps(length) > 0
        trailed = touched & times.trailing(length)
        simple = np.flatnonzero(touched & ~trailed)
        if timeless and len(simple):
            by_arrival, rows = times.by_arrival(_only(view, timeless))
            found = engine.features(
                [by_arrival], {**sources, view.source: rows}, spine.take(pa.array(simple))
            )
            for window in timeless:
                patches[window.signal].append((simple, found[window.signal]))
        timed = [window for window in windows if window not in timeless]
        for chosen, asked in ((timeless, trailed), (timed, touched)):
            if chosen:
                _copy(engine, _only(view, chosen), sources, times, np.flatnonzero(asked), patches)
    return patches


def _copy(
    engine: Engine,
    view: View,
    sources: Mapping[str, Any],
    times: _Times,
    spine_rows: Array,
    patches: dict[str, list[Patch]],
) -> None:
    """Patches windows of one length from copies of the rows that each spine row could see."""
    [length] = {window.reach for window in view.windows}
    for queries, found in times.copied(engine, view, sources, spine_rows, length):
        for window in view.windows:
            patches[window.signal].append((queries, found[window.signal]))


def _put_together(
    engine: Engine,
    view: View,
    sources: Mapping[str, Any],
    spine: pa.Table,
    times: _Times,
    patches: dict[str, list[Patch]],
) -> dict[str, Array]:
    """Patches windows from two stretches each; returns which spine rows are unsure.

    Spine rows are taken together by how far back the first missing row of their longest window
    lies: the old stretch of all ends where that of the furthest does.
    """
    unsure = {window.signal: np.zeros(spine.num_rows, np.bool_) for window in view.windows}
    lengths = [window.length for window in view.windows]
    longest = None if None in lengths else max(length for length in lengths if length is not None)
    gaps = times.gaps(longest)
    touched = np.flatnonzero(gaps)
    if not len(touched):
        return unsure
    before = 0
    for step in np.unique(np.quantile(gaps[touched], STEPS, method="higher")).tolist():
        rows = touched[(gaps[touched] > before) & (gaps[touched] <= step)]
        before = step
        far = step >= late.FAR
        longer = [w for w in view.windows if not far and (w.length is None or w.length > step)]
        old = _before(engine, _only(view, longer), sources, spine, rows, step) if longer else None
        recent = [
            part
            for w in view.windows
            for part in parts(w, w.length if far else min(w.length or step, step))
        ]
        reach = longest if far else step
        for queries, found in times.copied(engine, _only(view, recent), sources, rows, reach):
            there = None if old is None else old.take(pa.array(np.searchsorted(rows, queries)))
            for window in view.windows:
                stretch = _columns(there) if there is not None and window in longer else None
                values, odd = together(window, stretch, _columns(found), step)
                patches[window.signal].append((queries, values))
                unsure[window.signal][queries[odd]] = True
    return unsure


def _before(
    engine: Engine,
    view: View,
    sources: Mapping[str, Any],
    spine: pa.Table,
    rows: Array,
    shift: int,
) -> pa.Table:
    """The stretches of some spine rows that end ``shift`` µs before their moments."""
    asked = [
        part
        for w in view.windows
        for part in parts(w, None if w.length is None else w.length - shift)
    ]
    at = _numbers(spine["at"])[rows]
    earlier = pa.array(np.where(at < _LEAST + shift, _LEAST, at - shift))
    chosen = spine.take(pa.array(rows))
    chosen = chosen.set_column(spine.column_names.index("at"), "at", earlier)
    return engine.features([_only(view, asked)], sources, chosen)


def _columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return {name: table[name] for name in table.column_names}


def _only(view: View, windows: Sequence[Window]) -> View:
    """The view with these windows, and the columns that they read."""
    used = {name for window in windows for name in (window.value, window.by, window.where)}
    computed = tuple(column for column in view.computed if column.name in used)
    return replace(view, windows=tuple(windows), computed=computed)


class _Times:
    """When the rows of a source that a spine asks for happened, and when they were known.

    Queries are spine rows; they are kept by (key, time), and told as places in the spine.
    """

    def __init__(self, view: View, rows: pa.Table, spine: pa.Table, arrival: str) -> None:
        self.view = view
        self.rows = rows.select([name for name in rows.column_names if name in needed(view)])
        happened = _numbers(rows[view.time])
        self.known = np.maximum(happened, _numbers(rows[arrival]))
        columns = [_key(rows[source]) for _, source in view.keys]
        numbering = Keys().numbering(columns, [spine[name] for name, _ in view.keys])
        ids, wanted, self.size = (
            numbering.find(slice(0, len(happened))),
            numbering.wanted,
            numbering.count,
        )
        times = _numbers(spine["at"])
        self.order = np.lexsort((times, wanted))
        self.order = self.order[wanted[self.order] >= 0]
        self.asked, self.times = wanted[self.order], times[self.order]
        self.spine_size = spine.num_rows
        self.ids, self.happened = ids, happened
        there = np.flatnonzero((ids >= 0) & (self.known > happened))
        self.late = len(there) > 0
        self.by_happening = self._sorted(there, happened)
        self.by_knowledge = self._sorted(there, self.known)

    def _sorted(self, rows: Array, times: Array) -> tuple[Array, Array]:
        order, _, offsets = sort_rows(self.ids[rows], times[rows], 0, self.size)
        return rows[order], offsets

    def _spread(self, found: Array) -> Array:
        """From sorted queries to spine rows."""
        spread = np.zeros(self.spine_size, found.dtype)
        spread[self.order] = found
        return spread

    def gaps(self, length: int | None) -> Array:
        """How long before each spine row's moment the first row of its window happened that was
        still to arrive, in µs and at most `late.FAR`; 0 where all had."""
        return self._spread(self._test(late.pending, self.by_happening, length))

    def trailing(self, length: int | None) -> Array:
        """Spine rows for which the order of arrival takes in a row from before the window."""
        return self._spread(self._test(late.trailing, self.by_knowledge, length))

    def _test(self, test: object, rows: tuple[Array, Array], length: int | None) -> Array:
        order, offsets = rows
        assert callable(test)
        found: Array = test(
            self.happened[order],
            self.known[order],
            offsets,
            self.asked,
            self.times,
            -1 if length is None else length,
        )
        return found

    def by_arrival(self, view: View) -> tuple[View, pa.Table]:
        """The view, with its rows at the time at which they became known."""
        name = _free("known", self.rows.column_names)
        return replace(view, time=name), self.rows.append_column(name, pa.array(self.known))

    def copied(
        self,
        engine: Engine,
        view: View,
        sources: Mapping[str, Any],
        spine_rows: Array,
        reach: int | None,
    ) -> Iterator[tuple[Array, pa.Table]]:
        """Portions of spine rows and their answers, from copies of what each could see in the last
        ``reach`` µs."""
        if not len(spine_rows):
            return
        wanted = self._chosen(spine_rows)
        touched = np.zeros(self.size, np.bool_)
        touched[self.asked[wanted]] = True
        there = np.flatnonzero((self.ids >= 0) & touched[self.ids])
        order, offsets = self._sorted(there, self.happened)
        times, keys = self.times[wanted], self.asked[wanted]
        a, b = bounds(self.happened[order], offsets, keys, times, -1 if reach is None else reach, 0)
        known = self.known[order]
        ends = np.cumsum(late.visible(known, a, b, times))
        name = _free("query", [*self.rows.column_names, "at"])
        keyed = replace(view, keys=((name, name),))
        read_by = self.rows.select(sorted(needed(keyed) & set(self.rows.column_names)))
        start = 0
        while start < len(wanted):
            before = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + PORTION, side="right")))
            size = int(ends[stop - 1] - before)
            out, owner = np.empty(size, np.int64), np.empty(size, np.int64)
            part = slice(start, stop)
            late.copy_visible(known, a[part], b[part], times[part], out, owner)
            copies = read_by.take(pa.array(order[out])).append_column(name, pa.array(owner))
            asked = pa.table({name: np.arange(stop - start), "at": times[part]})
            found = engine.features([keyed], {**sources, view.source: copies}, asked)
            yield self.order[wanted[part]], found
            start = stop

    def _chosen(self, spine_rows: Array) -> Array:
        """These spine rows, as sorted queries."""
        chosen = np.zeros(self.spine_size, np.bool_)
        chosen[spine_rows] = True
        return np.flatnonzero(chosen[self.order])


def _numbers(column: pa.ChunkedArray) -> Array:
    return read(micros(column)).numbers


def _key(column: pa.ChunkedArray) -> Column:
    """A key column as numbers."""
    array = flat(column)
    if pa.types.is_integer(array.type) or pa.types.is_timestamp(array.type):
        return read(micros(pa.chunked_array([array])))
    coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    valid = pc.is_valid(coded).to_numpy(zero_copy_only=False)
    codes = pc.fill_null(coded.indices.cast(pa.int32()), 0).to_numpy(zero_copy_only=False)
    return Column(codes, None if valid.all() else valid, coded.dictionary)


def _free(name: str, taken: Sequence[str]) -> str:
    """A name like this that no column has."""
    while name.casefold() in {other.casefold() for other in taken}:
        name += "_"
    return name
