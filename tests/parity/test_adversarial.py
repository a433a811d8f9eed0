"""Every engine, on data chosen to break it: all of it at once, each aggregate, each window.

What is in the data: late rows, duplicates, ties in time, nulls in every column, keys that collide
when they are concatenated, NaN, infinities and -0.0, ints at the ends of 64 bits, unicode with
U+0000 and code points beyond the basic plane, rows dated in the future and before the epoch; in the
spine, entities that no event has, null keys, repeated rows, moments before the first event, at an
event and after the last one.
"""

from __future__ import annotations

import math
from functools import cache

import pyarrow as pa
import pytest
from parity_cases import Case, check_crowd
from parity_engines import database

from tacit.aggregates.algebra import FAMILIES, REGISTRY, base_key
from tacit.engines.base import Engine
from tacit.engines.local import Local
from tacit.engines.spark import Spark
from tacit.engines.sqlite import SQLite
from tacit.operations import Computed, Join, View, Window
from tacit.plan.place import ENGINES
from tacit.values import DAY, Type

FUTURE = 4_102_444_800_000_000  # 2100
LARGEST = 2**63 - 1
TEXTS = ["", "1", "11", "a", "a\0", "a\0b", "é", "e\u0301", "z", "\uffff", "\U0001f600", "'; --"]
PRICES = [None, math.nan, math.inf, -0.0, 0.0, 0.1, 0.2, -0.1, 1e16, 1.0, -1e16, 5e-324, 1e300]
COUNTS = [None, 0, 1, -1, LARGEST, -LARGEST - 1, 2**53 + 1, 7]
TIMES = [None, 50, 10, 10, 30, 10, -5, 0, 20, FUTURE, DAY, 20, 2 * DAY, -(2**62)]
PAIRS = [("1", "12"), ("11", "2"), ("1", "2"), ("", "112"), ("112", ""), ("é", "x"), (None, "12")]


def rows(size: int) -> pa.Table:
    """Rows that repeat with different periods, so that everything meets everything."""
    return pa.table(
        {
            "user": pa.array([PAIRS[i % 7][0] for i in range(size)], pa.string()),
            "item": pa.array([PAIRS[i % 7][1] for i in range(size)], pa.string()),
            "account": pa.array([COUNTS[i % 8] for i in range(size)], pa.int64()),
            "at": pa.array([TIMES[i % 14] for i in range(size)], pa.int64()),
            "price": pa.array([PRICES[i % 13] for i in range(size)], pa.float64()),
            "count": pa.array([COUNTS[(i // 3) % 8] for i in range(size)], pa.int64()),
            "text": pa.array([TEXTS[i % 12] for i in range(size)], pa.string()),
            "ok": pa.array([(True, None, False, True, True)[i % 5] for i in range(size)]),
        }
    )


def spine(size: int) -> pa.Table:
    moments = [50, 10, 11, -5, -6, 0, DAY + 10, DAY + 11, FUTURE, FUTURE + 1, LARGEST, None, 51]
    pairs = [*PAIRS, ("nobody", "12"), ("1", "nothing")]
    found = [pairs[i % 9] for i in range(size)]
    return pa.table(
        {
            "user": pa.array([user for user, _ in found], pa.string()),
            "item": pa.array([item for _, item in found], pa.string()),
            "account": pa.array([COUNTS[i % 8] for i in range(size)], pa.int64()),
            "at": pa.array([moments[i % 13] for i in range(size)], pa.int64()),
        }
    )


CONTENT = pa.table({"id": ["12", "2", "z"], "weight": [0.5, -0.0, 1.0], "kind": ["x", None, "y"]})
COMPUTED = (
    Computed("price", "price", Type.FLOAT),
    Computed("count", "count", Type.INT),
    Computed("text", "text", Type.TEXT),
    Computed("ok", "ok", Type.BOOL),
    Computed("weighed", "price * kinds.weight", Type.FLOAT),
    Computed("kind", "kinds.kind", Type.TEXT),
    Computed("more", "count + count - count", Type.INT),
    Computed("rest", "count % (account - 1)", Type.INT),
    Computed("share", "count / account", Type.FLOAT),
    # What one guards against overflow, another has within it: engines share such parts.
    Computed("minus", "-count", Type.INT),
    Computed("again", "-(-count) % 7", Type.INT),
    # Constants are folded before anything guards them.
    Computed("folded", "-ABS(-9223372036854775808)", Type.INT),
    Computed("twice", "-(-(-9223372036854775808)) + 1", Type.INT),
    Computed("past", "-(9223372036854775807 + 1)", Type.INT),
    Computed("far", "ABS(count) > 2 AND NOT ok", Type.BOOL),
)
KEYS = (
    (("user", "user"),),
    (("user", "user"), ("item", "item")),
    (("account", "account"),),
)
VALUES = ("price", "count", "text", "ok", None)
EXPRESSIONS = (
    "weighed", "more", "rest", "share", "minus", "again", "folded", "twice", "past",
)  # fmt: skip
AGGREGATES = (*REGISTRY, *(example for _, _, example in FAMILIES.values()), "last_k(1)")


@cache
def views(aggregate: str, expressions: bool = True) -> tuple[View, ...]:
    """One aggregate of every value it takes: sliding and for ever, filtered, and by a key."""
    found, more = [], EXPRESSIONS if expressions and aggregate in ("sum", "last") else ()
    for i, keys in enumerate(KEYS):
        windows = []
        for value in (*VALUES, *more):
            kind = None if value is None else next(c.type for c in COMPUTED if c.name == value)
            if not REGISTRY[aggregate].accepts(kind):
                continue
            for by, where, length in (
                (None, None, None),
                (None, None, 20),
                (None, "ok", DAY),
                ("text", None, DAY),
                ("kind", "far", None),
            ):
                name = f"{aggregate} {i} {value} {by} {where} {length}"
                windows.append(Window(name, aggregate, value, by, where, length))
        joins = (Join("kinds", "item", "id"),)
        found.append(
            View(f"{aggregate} {i}", "events", keys, "at", joins, COMPUTED, tuple(windows))
        )
    return tuple(found)


def held(
    names: list[str],
    spark: Spark | None,
    aggregates: tuple[str, ...],
    sources: dict[str, pa.Table],
    asked: pa.Table,
    expressions: bool = True,
) -> None:
    """Holds these engines to the oracle, each with the aggregates that it declares."""
    crowd = [Case(view, sources, asked) for key in aggregates for view in views(key, expressions)]
    results = []
    for name in names:
        engine: Engine | None = {"local": Local(), "spark": spark}.get(name)
        engine = SQLite(database(sources)) if engine is None else engine
        results.append((name, engine.features([case.view for case in crowd], sources, asked)))
    check_crowd(crowd, *results)


def able(name: str) -> list[str]:
    """The aggregates of an engine, with arguments."""
    return [key for key in AGGREGATES if base_key(key) in ENGINES[name].aggregates]


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_adversarial_rows(quick: list[str], aggregate: str) -> None:
    names = [name for name in quick if aggregate in able(name)]
    if not names:
        pytest.skip(f"none of {', '.join(quick)} declares {aggregate}")
    held(names, None, (aggregate,), {"events": rows(91), "kinds": CONTENT}, spine(40))


EMPTY = [(0, 9, 3), (91, 0, 3), (0, 0, 0), (91, 9, 0), (1, 1, 1)]
EMPTY_NAMES = ["no events", "no spine", "nothing", "no content", "one row"]


def cut(events: int, contents: int) -> dict[str, pa.Table]:
    return {"events": rows(91).slice(7, events), "kinds": CONTENT.slice(0, contents)}


@pytest.mark.parametrize(("events", "asked", "contents"), EMPTY, ids=EMPTY_NAMES)
def test_empty_tables(quick: list[str], events: int, asked: int, contents: int) -> None:
    """What an expression is worth hangs on a row: without any, columns show as much."""
    asked_rows = spine(40).slice(0, asked)
    held(quick, None, ("sum", "last"), cut(events, contents), asked_rows, expressions=False)


@pytest.mark.slow
@pytest.mark.parametrize("engine_name", ["spark"])
@pytest.mark.parametrize("part", range(3))
def test_spark_on_adversarial_rows(spark: Spark, engine_name: str, part: int) -> None:
    keys = tuple(able("spark")[part::3])
    held([engine_name], spark, keys, {"events": rows(91), "kinds": CONTENT}, spine(40))


@pytest.mark.slow
@pytest.mark.parametrize("engine_name", ["spark"])
@pytest.mark.parametrize(("events", "asked", "contents"), EMPTY, ids=EMPTY_NAMES)
def test_spark_on_empty_tables(
    spark: Spark, engine_name: str, events: int, asked: int, contents: int
) -> None:
    asked_rows = spine(40).slice(0, asked)
    held([engine_name], spark, ("count", "last"), cut(events, contents), asked_rows)


def test_the_data_is_as_bad_as_it_claims() -> None:
    """Windows are not empty, and what must meet does."""
    table = rows(91)
    assert table["at"].to_pylist() != sorted(
        table["at"].to_pylist(), key=lambda at: (at is None, at)
    )
    assert {"12" + "1", "112"} & {f"{u}{i}" for u, i in PAIRS}
    found = Local().features(views("count")[:1], {"events": table, "kinds": CONTENT}, spine(40))
    counts = found["count 0 None None None None"].to_pylist()
    assert sum(n > 0 for n in counts) > 10
    assert 0 in counts
