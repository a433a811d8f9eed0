"""Answering views from buckets of keys, for engines that bring rows and spine together themselves.

Such an engine prepares rows (`plan.sql`), deals keys into buckets so that a key is whole in its
bucket, and gives each bucket to ``answer``, on any process that has Tacit. Views that share a
source, and whose keys include another's, are answered from one dealing, by the keys they share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pyarrow as pa

from tacit.declare.expression import Node, parse, show
from tacit.engines.base import result_type
from tacit.operations import Computed, Join, View
from tacit.values import Type


@dataclass(frozen=True, slots=True)
class Shuffle:
    """Views that are answered from one shuffle: those of one source and time that share keys.

    ``rows`` prepares for all of them: its keys are the shared ones, and the views' own keys and
    values are its computed columns, named by position and known by their expression.
    """

    views: tuple[View, ...]
    rows: View
    names: Mapping[str, str]  # expression -> its column of the prepared rows
    kinds: Mapping[str, Type]  # of the prepared columns, and of "at"


def shuffles(
    views: Sequence[View], types: Callable[[View], Mapping[str, Type]]
) -> Iterator[Shuffle]:
    """The fewest shuffles that answer the views, in an order that numbers their signals.

    A view with few keys leads; views of its source whose keys include all of its own follow it.
    """
    numbers: dict[int, int] = {}
    total = 0
    for i, view in enumerate(views):
        numbers[i] = total
        total += len(view.windows)
    waiting = sorted(range(len(views)), key=lambda i: len(views[i].keys))
    while waiting:
        lead = views[waiting[0]]
        group = [
            i
            for i in waiting
            if (views[i].source, views[i].time) == (lead.source, lead.time)
            and set(lead.keys) <= set(views[i].keys)
        ]
        waiting = [i for i in waiting if i not in group]
        yield _shuffle(lead, [(views[i], numbers[i]) for i in group], types)


def _shuffle(
    lead: View, group: Sequence[tuple[View, int]], types: Callable[[View], Mapping[str, Type]]
) -> Shuffle:
    kinds: dict[str, Type] = {}
    joins: dict[str, Join] = {}
    numbered = []
    for view, first in group:
        known = types(view)
        kinds |= {_column(source): known[source] for _, source in view.keys}
        kinds |= {parse(column.sql).sql: column.type for column in view.computed}
        joins |= {join.table: join for join in view.joins}
        windows = tuple(
            replace(window, signal=f"g{first + i}") for i, window in enumerate(view.windows)
        )
        numbered.append(replace(view, windows=windows))
    names = {sql: f"c{i}" for i, sql in enumerate(kinds)}
    computed = tuple(Computed(names[sql], sql, kind) for sql, kind in kinds.items())
    rows = View("rows", lead.source, lead.keys, lead.time, tuple(joins.values()), computed, ())
    stored = {names[sql]: kind for sql, kind in kinds.items()} | {"at": Type.TIME}
    return Shuffle(tuple(numbered), rows, names, stored)


def answer(shuffle: Shuffle, keys: Sequence[str], asked: pa.Table, rows: pa.Table) -> pa.Table:
    """One bucket: the rows of its spine, and their signals.

    ``asked``: ``row``, ``at``, ``k…`` for the spine's keys in the order of ``keys``, and whatever
    else the spine has; ``rows``: the prepared rows of the same keys.
    """
    from tacit.aggregates.columns import read
    from tacit.aggregates.keys import Keys
    from tacit.aggregates.memory import Memory
    from tacit.aggregates.parts import Asked, Prepared
    from tacit.aggregates.rows import BATCH, Rows
    from tacit.aggregates.windows import compute

    found = asked.drop(["bucket"])
    with ThreadPoolExecutor(
        1
    ) as pool:  # its process has one core: there are others for the other buckets
        store = Rows(rows.num_rows, shuffle.kinds)
        writer = store.writer()
        for start in range(0, rows.num_rows, BATCH):
            batch = rows.slice(start, BATCH)
            writer.put(start, {name: batch[name] for name in shuffle.kinds})
        if not rows.num_rows:
            writer.put(0, {name: rows[name] for name in shuffle.kinds})
        columns = store.finish(frozenset(shuffle.names.values()), pool)
        numbered, memory = Keys(), Memory()
        for view in shuffle.views:
            prepared = Prepared(
                [columns[shuffle.names[_column(source)]] for _, source in view.keys],
                columns["at"],
                {c.name: columns[shuffle.names[parse(c.sql).sql]] for c in view.computed},
            )
            wanted = [found[f"k{keys.index(name)}"] for name, _ in view.keys]
            kinds = {window.signal: result_type(view, window) for window in view.windows}
            asking = Asked(wanted, read(found["at"]))
            signals = compute(view, prepared, asking, kinds, pool, numbered, memory)
            for window in view.windows:
                found = found.append_column(window.signal, signals[window.signal])
    return found


def _column(name: str) -> str:
    """The expression that is a column."""
    return show(Node("column", (), name))
