"""A small feed, streams of events for it, and what the reference engine says of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from tacit.engines.reference import Reference
from tacit.live import heavy
from tacit.live.feed import Feed
from tacit.live.intake import Settings
from tacit.live.online import Online
from tacit.live.reader import Lookup
from tacit.operations import Computed, Join, View, Window
from tacit.store.online.base import Backend
from tacit.store.online.lmdb import Lmdb
from tacit.values import HOUR, MINUTE, SECOND, Type

NOW = 1_750_000_000 * SECOND
SCHEMA = {
    "user": Type.TEXT,
    "item": Type.TEXT,
    "at": Type.TIME,
    "price": Type.FLOAT,
    "quantity": Type.INT,
}
ARROW = {
    Type.TEXT: pa.string(),
    Type.TIME: pa.int64(),
    Type.FLOAT: pa.float64(),
    Type.INT: pa.int64(),
}
COMPUTED = (
    Computed("c0", "price", Type.FLOAT),
    Computed("c1", "quantity * 2", Type.INT),
    Computed("c2", "item", Type.TEXT),
    Computed("c3", "quantity > 2", Type.BOOL),
    Computed("c4", "items.genre", Type.TEXT),
)
ITEMS = pa.table({"item": ["i0", "i1", "i2"], "genre": ["drama", None, "news"]})
LENGTHS = (10 * MINUTE, HOUR, 6 * HOUR)
NUMBERS = ("sum", "mean", "variance", "decayed(1h)")
ANY = ("count", "min", "max", "first", "last", "distinct", "last_k(3)", "top_k(2)")


def windows(endless: bool = True) -> tuple[Window, ...]:
    """Every aggregate over every kind of value."""
    found = []
    lengths: tuple[int | None, ...] = (*LENGTHS, None) if endless else LENGTHS
    for length in lengths:
        for column in ("c0", "c1", "c2", "c3", "c4"):
            for aggregate in (*ANY, *(NUMBERS if column in ("c0", "c1") else ())):
                where = "c3" if aggregate in ("sum", "last") else None
                name = f"{aggregate}.{column}.{length}"
                found.append(Window(name, aggregate, column, None, where, length))
        found.append(Window(f"rows.{length}", "count", None, None, "c3", length))
        found.append(Window(f"since.{length}", "since", None, None, None, length))
        found.append(Window(f"by.{length}", "sum", "c1", "c4", None, length))
    return tuple(found)


def views(endless: bool = True) -> tuple[View, ...]:
    """By user (all windows), by item, and by both."""
    joins = (Join("items", "item", "item"),)
    few = tuple(
        Window(f"of {name}.{aggregate}.{length}", aggregate, value, None, None, length)
        for name in ("item", "both")
        for aggregate, value in (("count", None), ("sum", "c0"), ("distinct", "c1"))
        for length in ((HOUR, None) if endless else (HOUR,))
    )
    return (
        View("users", "events", (("user", "user"),), "at", joins, COMPUTED, windows(endless)),
        View(
            "items of", "events", (("item", "item"),), "at", (), COMPUTED[:2],
            tuple(w for w in few if w.signal.startswith("of item")),
        ),
        View(
            "both", "events", (("item", "item"), ("user", "user")), "at", (), COMPUTED[:2],
            tuple(w for w in few if w.signal.startswith("of both")),
        ),
    )  # fmt: skip


def feed(*, endless: bool = True, keep: int | None = None, baseline: bool = False) -> Feed:
    found = views(endless)
    signals = [window.signal for view in found for window in view.windows]
    return Feed(
        "events",
        SCHEMA,
        "at",
        found,
        {"items": ITEMS},
        {"person": ("user",)},
        dict.fromkeys(signals, keep),
        baseline,
    )


def few(given: Feed) -> Feed:
    """The same views, each of a few windows."""
    views = [
        replace(v, windows=tuple(dict.fromkeys((*v.windows[:3], *v.windows[-3:]))))
        for v in given.views
    ]
    return replace(given, views=tuple(views))


def crash_feed() -> Feed:
    """Three views of few windows: what a process that dies often writes."""
    return few(feed())


def online(folder: Path | Backend, given: Feed, **settings: Any) -> Online:
    backend = Lmdb(folder, sync=False) if isinstance(folder, Path) else folder
    return Online(backend, [given], Settings(**settings))


def events(rng: random.Random, count: int, now: int, late: int = 7 * HOUR) -> list[dict[str, Any]]:
    """Rows that happened up to ``late`` ago; some tie, some lack values, a few keys are heavy."""
    return [
        {
            "user": rng.choice(["ann", "ann", "bob", "é", "x" * 600, f"u{rng.randrange(20)}"]),
            "item": rng.choice(["i0", "i1", "i2", "i3"]),
            "at": now - rng.randrange(0, late // MINUTE) * MINUTE - rng.choice([0, 1, 17]),
            "price": rng.choice([None, 0.1, 1e16, -1e16, rng.gauss(0, 1e3), float("nan"), -0.0]),
            "quantity": rng.choice([None, *range(6)]),
        }
        for _ in range(count)
    ]


def table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    return pa.table(
        {name: pa.array([row[name] for row in rows], ARROW[kind]) for name, kind in SCHEMA.items()}
    )


def expected(view: View, rows: Sequence[dict[str, Any]], spine: dict[str, list[Any]]) -> pa.Table:
    return Reference().features([view], {"events": table(rows), "items": ITEMS}, pa.table(spine))


def check(
    store: Online, given: Feed, rows: Sequence[dict[str, Any]], at: int, now: int | None = None
) -> None:
    """Every signal of every view at a moment, one by one and as a batch, is the reference's."""
    for view in given.views:
        columns = [source for _, source in view.keys]
        found = {tuple(row[column] for column in columns) for row in rows}
        keys = sorted(key for key in found if None not in key)[:12]
        keys.append(tuple("nobody" for _ in columns))
        spine: dict[str, list[Any]] = {
            name: [key[i] for key in keys] for i, (name, _) in enumerate(view.keys)
        }
        signals = [window.signal for window in view.windows]
        lookup: Lookup = store.lookup(signals)
        truth = expected(view, rows, {**spine, "at": [at] * len(keys)})
        batch = lookup.many(spine, at, now=now)
        for k in range(len(keys)):
            one = lookup.one({name: spine[name][k] for name in spine}, at, now=now)
            for i, signal in enumerate(signals):
                wanted = truth[signal][k].as_py()
                for found in (one.values[i], batch.columns[i][k]):
                    assert same(found, wanted), (view.name, keys[k], signal, found, wanted)
                assert one.status[i] == batch.status[k, i]


def same(found: Any, wanted: Any) -> bool:
    return bool(found == wanted and type(found) is type(wanted) and repr(found) == repr(wanted))


def small(monkeypatch: Any) -> None:
    """Keys are heavy from a handful of rows on, so that few events exercise everything."""
    monkeypatch.setattr(heavy, "HEAD", 12)
    monkeypatch.setattr(heavy, "KEPT", 4)
    monkeypatch.setattr(heavy, "SEGMENT", 6)
