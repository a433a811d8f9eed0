"""What the online store says is what the reference engine says, bit for bit, at every moment."""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from live_cases import NOW, check, events, expected, feed, online, same, small
from parity_cases import MORE, SHARED, TABLE, Case, cases

import memory
from examples import examples
from tacit.engines.reference import Reference
from tacit.live import heavy
from tacit.live.feed import Feed
from tacit.live.intake import Settings
from tacit.live.online import Online
from tacit.operations import Window
from tacit.store.online.lmdb import Lmdb
from tacit.values import DAY, HOUR, MINUTE, Type

relaxed = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)


@given(cases(aggregates=(*SHARED, *MORE), size=30), st.integers(0, 2**32))
@settings(relaxed, max_examples=examples(25))
def test_any_view_any_rows_any_moment(case: Case, seed: int) -> None:
    """The views, rows and moments of the engines' parity tests, in batches of any order."""
    rng = random.Random(seed)
    table = case.sources[TABLE]
    order = list(range(table.num_rows))
    rng.shuffle(order)
    schema = {name: _type(table.schema.field(name).type) for name in table.column_names}
    content = {name: rows for name, rows in case.sources.items() if name != TABLE}
    kept = Feed(TABLE, schema, case.view.time, (case.view,), content, unit="us")
    with tempfile.TemporaryDirectory(dir=memory.place()) as folder:
        store = Online(
            Lmdb(folder, sync=False), [kept], Settings(slack=2**64, skew=2**64, remember=1)
        )
        while order:
            size = rng.randrange(1, 9)
            part, order = order[:size], order[size:]
            store.push(TABLE, table.take(pa.array(part)), now=0)
        truth = Reference().features([case.view], case.sources, case.spine)
        signals = [window.signal for window in case.view.windows]
        lookup = store.lookup(signals)
        for row, spine in enumerate(case.spine.to_pylist()):
            at = spine.pop("at")
            if at is None or None in spine.values():
                continue
            found = lookup.one(spine, at, now=at).values
            wanted = [truth[signal][row].as_py() for signal in signals]
            for window, ours, theirs in zip(case.view.windows, found, wanted, strict=True):
                assert same(ours, theirs), (window, ours, theirs)


def _type(arrow: pa.DataType) -> Type:
    if pa.types.is_boolean(arrow):
        return Type.BOOL
    if pa.types.is_floating(arrow):
        return Type.FLOAT
    return Type.INT if pa.types.is_integer(arrow) else Type.TEXT


@pytest.mark.slow
@given(st.integers(0, 2**32), st.booleans())
@settings(relaxed, max_examples=3)
def test_replay(seed: int, endless: bool) -> None:
    """Random lateness, duplicates, restarts and sweeps; reads at random moments meanwhile."""
    rng = random.Random(seed)
    kept = feed(endless=endless)
    with tempfile.TemporaryDirectory(dir=memory.place()) as folder:
        store, seen, now = online(Path(folder), kept, slack=HOUR), [], NOW
        for step in range(12):
            now += rng.randrange(0, 90) * MINUTE
            rows: list[dict[str, Any]] = events(rng, rng.randrange(1, 40), now)
            ids = [f"{step}-{i}" for i in range(len(rows))]
            store.push("events", rows, now=now, ids=ids)
            again = rng.sample(range(len(rows)), len(rows) // 3)
            receipt = store.push(
                "events", [rows[i] for i in again], now=now, ids=[ids[i] for i in again]
            )
            assert (receipt.accepted, receipt.duplicates) == (0, len(again))
            seen += rows
            if rng.random() < 0.3:
                store.backend.close()
                store = online(Path(folder), kept, slack=HOUR)
            if rng.random() < 0.3:
                store.sweep(now)
            if step % 4 == 3:
                moments = [now - rng.randrange(0, HOUR)]
                moments += [row["at"] for row in seen if row["at"] >= now - HOUR][:1]
                for at in moments:  # among them one that is a row's own
                    check(store, kept, seen, at, now)


def test_hops_and_retention(tmp_path: Path) -> None:
    """A hop moves the start back to its grid; what may be kept no longer is in no window."""
    rng = random.Random(3)
    kept = feed(keep=2 * HOUR)
    store, rows = online(tmp_path, kept, slack=HOUR), []
    for step in range(8):
        now = NOW + step * 20 * MINUTE
        batch = events(rng, 40, now, 3 * HOUR)
        store.push("events", batch, now=now)
        rows += batch
    alive = [row for row in rows if row["at"] >= now - 2 * HOUR]
    check(store, kept, alive, now)
    check(store, kept, alive, now - 30 * MINUTE, now)
    later = now + HOUR
    check(store, kept, [row for row in rows if row["at"] >= later - 2 * HOUR], later)
    store.sweep(later)
    check(store, kept, [row for row in rows if row["at"] >= later - 2 * HOUR], later)
    store.sweep(now + 3 * DAY)
    with store.backend.read() as reading:
        assert list(reading.scan(b"d")) == []


def test_heavy_keys_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of twenty thousand rows, many of them late, with the sizes that users have."""
    monkeypatch.setattr(heavy, "HEAD", 512)
    monkeypatch.setattr(heavy, "KEPT", 128)
    monkeypatch.setattr(heavy, "SEGMENT", 1024)
    rng = random.Random(5)
    kept = feed(endless=False)
    only = replace(kept.views[0], windows=kept.views[0].windows[:45])
    kept = replace(kept, views=(only,))
    store, rows = online(tmp_path, kept), []
    for step in range(10):
        now = NOW + step * 10 * MINUTE
        batch = [{**row, "user": "ann"} for row in events(rng, 2000, now)]
        store.push("events", batch, now=now)
        rows += batch
    check(store, kept, rows, now)
    check(store, kept, rows, now - 12_345_678, now)


@dataclass(frozen=True, slots=True)
class Hopping(Window):
    """A window whose start lies on a grid."""

    hop: int | None = None


def test_hops(tmp_path: Path) -> None:
    """A window with a hop covers [floor((t - w) / h) * h, t)."""
    hopping = tuple(
        Hopping(f"{length}.{hop}", "count", None, None, None, length, hop)
        for length in (10 * MINUTE, HOUR, 3 * HOUR)
        for hop in (None, 7 * MINUTE, HOUR)
    )
    given_feed = feed(endless=False)
    view = replace(given_feed.views[0], windows=hopping, joins=(), computed=())
    store = online(tmp_path, replace(given_feed, views=(view,)), slack=HOUR)
    rows, rng = [], random.Random(11)
    for step in range(6):
        now = NOW + step * 20 * MINUTE
        batch = [{**row, "user": "ann"} for row in events(rng, 40, now, 4 * HOUR)]
        store.push("events", batch, now=now)
        rows += batch
    look = store.lookup([window.signal for window in hopping])
    for at in (now, now - 12_345_678, now - HOUR):
        wanted = []
        for window in hopping:
            assert window.length is not None
            start = at - window.length
            start = start // window.hop * window.hop if window.hop else start
            wanted.append(sum(start <= row["at"] < at for row in rows))
        assert look.one({"user": "ann"}, at, now=now).values == wanted


def test_moments_that_are_rows_own(tmp_path: Path) -> None:
    """A window ends before its moment: at each row's own, also where a sealed segment ends."""
    given_feed = feed(endless=False)
    chosen = tuple(w for w in given_feed.views[0].windows if w.value in ("c0", "c2"))
    view = replace(given_feed.views[0], windows=chosen)
    store = online(tmp_path, replace(given_feed, views=(view,)), slack=HOUR)
    rng, rows = random.Random(4), []
    for _ in range(6):
        batch = [{**row, "user": "ann"} for row in events(rng, 20, NOW, HOUR)]
        store.push("events", batch, now=NOW)
        rows += batch
    moments = sorted({row["at"] for row in rows})[::2]
    moments = [at for at in moments if at >= NOW - HOUR]
    truth = expected(view, rows, {"user": ["ann"] * len(moments), "at": moments})
    look = store.lookup([window.signal for window in chosen])
    for k, at in enumerate(moments):
        found = look.one({"user": "ann"}, at, now=NOW).values
        for window, ours in zip(chosen, found, strict=True):
            assert same(ours, truth[window.signal][k].as_py()), (window, at)
