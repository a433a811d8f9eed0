"""What was known then, against brute force: for each spine row alone, the rows that it could see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import WHOLE, examples
from tacit.aggregates.algebra import REGISTRY
from tacit.engines.local import Local
from tacit.engines.reference import Reference
from tacit.engines.scan import Files
from tacit.learn import known
from tacit.learn.known import features_as_known
from tacit.learn.reach import arrived_by, portions
from tacit.operations import Computed, View, Window
from tacit.values import Type

AGGREGATES = (
    "count", "sum", "mean", "variance", "stddev", "min", "max", "first", "last", "distinct",
    "since", "last_k(2)", "top_k(2)", "decayed(1s)",
)  # fmt: skip
MOST = 2**63 - 1
WILD = 1e20
EXTREME = [-(2**63), -(2**62), MOST]


def case(seed: int, size: int = 30, span: int = 24) -> tuple[View, pa.Table, pa.Table]:
    """Rows dense in time, late by all sorts; a spine that asks at every moment of every key."""
    draw = np.random.default_rng(seed)
    users, items = ["1", "11", ""], [1, 11]
    at = draw.integers(0, span, size)
    late = draw.choice([[-3, 0, 0, 1, 2, 7, 40], [0], [4], [0, 300]][seed % 4], size)
    wild = draw.random(size) < 0.04
    at = np.where(wild, draw.choice(EXTREME, size), at)
    got = np.where(wild, at, at + late)
    n = np.where(
        draw.random(size) < (0.1 if seed % 3 else 0),
        draw.choice([2**62, -(2**62)], size),
        draw.integers(-3, 4, size),
    )
    some = draw.random((5, size)) < 0.06
    events = pa.table(
        {
            "user": pa.array(draw.choice(users, size), mask=some[0]),
            "item": pa.array(draw.choice(items, size)),
            "at": pa.array(at, mask=some[1]),
            "got": pa.array(got, mask=some[2]),
            "n": pa.array(n, mask=some[3]),
            "x": pa.array(
                draw.choice(
                    [0.5, -1.0, np.inf, -np.inf, np.nan, WILD if seed % 3 else 2.0],
                    size,
                    p=[0.4, 0.4, 0.05, 0.05, 0.05, 0.05],
                )
            ),
            "ok": pa.array(draw.random(size) < 0.7, mask=some[4]),
        }
    )
    events = pa.concat_tables([events, events.slice(0, 2)])  # duplicates
    keys = [(("user", "user"),), (("item", "item"), ("user", "user"))][seed % 2]
    windows = [
        Window(
            f"s{i}",
            str(draw.choice(AGGREGATES)),
            str(draw.choice(["c0", "c3"])),
            "c1" if draw.random() < 0.2 else None,
            "c2" if draw.random() < 0.3 else None,
            [1, 5, 10, 2**61, None][draw.integers(0, 5)],
        )
        for i in range(9)
    ]
    computed = (
        Computed("c0", "n", Type.INT),
        Computed("c1", "item", Type.INT),
        Computed("c2", "ok", Type.BOOL),
        Computed("c3", "x", Type.FLOAT),
    )
    asked = [
        (u, i, t)
        for u in (*users, "nobody", None)
        for i in items
        for t in (*range(0, span + 9, 2), *EXTREME)
    ]
    some_asked = [asked[place] for place in draw.choice(len(asked), 90, replace=False)]
    spine = pa.table(
        {
            "user": pa.array([u for u, _, _ in some_asked], pa.string()),
            "item": pa.array([i for _, i, _ in some_asked], pa.int64()),
            "at": pa.array([t for _, _, t in some_asked], pa.int64()),
        }
    )
    return View("v", "events", keys, "at", (), computed, tuple(windows)), events, spine


def brute_force(view: View, events: pa.Table, spine: pa.Table) -> pa.Table:
    """Each spine row by itself, over what had arrived before it."""
    found = []
    for i in range(spine.num_rows):
        at = spine["at"][i].as_py()
        seen = [
            j
            for j, (got, when) in enumerate(
                zip(events["got"].to_pylist(), events["at"].to_pylist(), strict=True)
            )
            if got is not None and when is not None and got < at
        ]
        rows = events.take(pa.array(seen, pa.int64()))
        found.append(Reference().features([view], {"events": rows}, spine.slice(i, 1)))
    return (
        pa.concat_tables(found)
        if found
        else Reference().features([view], {"events": events}, spine)
    )


def close(found: Any, wanted: Any, scale: float) -> bool:
    if isinstance(wanted, float):
        # Beside a large value a float sum keeps nine digits of it.
        return found is not None and (
            found == wanted or abs(found - wanted) <= 1e-9 * max(abs(wanted), scale)
        )
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(
            close(x, y, scale) for x, y in zip(found, wanted, strict=True)
        )
    if isinstance(wanted, tuple):
        return all(close(x, y, scale) for x, y in zip(found, wanted, strict=True))
    return bool(found == wanted)


def check(
    engine: Any, seed: int, view: View, events: pa.Table, spine: pa.Table, **how: Any
) -> None:
    scale = 1.0 if seed % 3 == 0 else WILD**2
    sources = {"events": how.pop("files", events)}
    wanted = how.pop("wanted", None) or brute_force(view, events, spine)
    found = features_as_known(engine, [view], sources, spine, {"events": "got"}, **how)
    assert found.column_names == wanted.column_names
    for window in view.windows:
        pairs = zip(
            found[window.signal].to_pylist(), wanted[window.signal].to_pylist(), strict=True
        )
        for row, (ours, theirs) in enumerate(pairs):
            assert close(ours, theirs, scale), (window, row, ours, theirs)


@settings(max_examples=examples(25), print_blob=False)
@given(st.integers(0, 2**32))
def test_each_row_sees_what_had_arrived_before_it(seed: int) -> None:
    check(Local(), seed, *case(seed))


@settings(max_examples=examples(8), print_blob=False)
@given(st.integers(0, 2**32))
def test_by_the_oracle_too(seed: int) -> None:
    check(Reference(), seed, *case(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4 if WHOLE else 2))
def test_portions_are_put_together_again(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies come in portions; a window larger than one is a portion by itself."""
    monkeypatch.setattr(known, "PORTION", 7)
    check(Local(), seed, *case(seed, size=90, span=60))


@pytest.mark.parametrize("seed", range(6))
def test_files_give_what_their_rows_give(seed: int, tmp_path: Path) -> None:
    """They are read for the rows that the spine can see, and again for each portion of its keys."""
    view, events, spine = case(seed, size=90, span=60)
    pq.write_table(events, tmp_path / "events.parquet", row_group_size=7)
    files = Files([tmp_path / "events.parquet"], events.schema, "at", {})
    wanted = brute_force(view, events, spine)
    for memory in (None, 2000):
        if memory is not None:
            assert len(portions(view, files, spine, memory)) > 1
        check(Local(), seed, view, events, spine, files=files, memory=memory, wanted=wanted)


def test_every_aggregate_without_a_time_says_the_same_in_any_order() -> None:
    """Those that may be told in another order do not look at the time of an update."""
    for key in known.TIMELESS:
        aggregate = REGISTRY["top_k(3)" if key == "top_k" else key]
        one = aggregate.fold([(3, 10), (1, 20), (1, 30)])
        assert one == aggregate.fold([(3, -7), (1, 5), (1, 5)]), key


def test_as_of_a_moment_takes_what_had_arrived_by_it() -> None:
    rows = pa.table({"at": [1, 2, 3, 4], "got": pa.array([1, 5, 6, None], pa.int64())})
    assert arrived_by(rows, "got", 5)["at"].to_pylist() == [1, 2]


def test_an_infinity_outlasts_every_half_life() -> None:
    """It was found by chance: at the least moment there is, with a half-life of a second."""
    check(Local(), 233, *case(233))
    check(Reference(), 233, *case(233))
