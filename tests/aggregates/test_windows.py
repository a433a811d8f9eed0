"""The kernel alone: against the algebra on larger data, on skew, and without a special kernel."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pytest

from tacit.aggregates import series as module
from tacit.aggregates.algebra import FAMILIES, REGISTRY
from tacit.aggregates.series import KERNELS
from tacit.aggregates.windows import windows
from tacit.engines.base import result_type
from tacit.operations import Computed, View, Window
from tacit.values import Type

EXAMPLES = [example for _, _, example in FAMILIES.values()]
LENGTHS = (1, 50, 1000, None)
COLUMNS = {"f": Type.FLOAT, "i": Type.INT, "t": Type.TEXT}


def view(
    keys: tuple[str, ...],
    by: str | None = None,
    where: str | None = None,
    aggregates: tuple[str, ...] = (*REGISTRY, *EXAMPLES),
) -> View:
    computed = (*(Computed(n, n, k) for n, k in COLUMNS.items()), Computed("w", "w", Type.BOOL))
    found = tuple(
        Window(f"{key} {name} {length}", key, name, by, where, length)
        for key in aggregates
        for name, kind in COLUMNS.items()
        for length in LENGTHS
        if REGISTRY[key].accepts(kind)
    )
    return View("v", "s", tuple((key, key) for key in keys), "at", (), computed, found)


def data(rows: int, asked: int, keys: int, seed: int = 0) -> tuple[pa.Table, pa.Table]:
    r = np.random.default_rng(seed)
    events = {
        "k0": r.integers(0, keys, rows),
        "at": r.integers(0, 3 * rows // keys, rows),
        "c0": pa.array(
            np.where(r.random(rows) < 0.01, np.inf, r.normal(size=rows)), mask=r.random(rows) < 0.1
        ),
        "c1": pa.array(r.integers(-(2**62), 2**62, rows), mask=r.random(rows) < 0.1),
        "c2": pa.array(r.integers(0, 40, rows).astype(str), mask=r.random(rows) < 0.1),
        "c3": pa.array(r.random(rows) < 0.5),
    }
    spine = {
        "k": r.integers(-1, keys + 1, asked),
        "at": r.integers(-2, 3 * rows // keys + 2, asked),
    }
    return pa.table(events), pa.table(spine)


def naive(rows: pa.Table, spine: pa.Table, found: View, window: Window) -> list[object]:
    aggregate = REGISTRY[window.aggregate]
    place = {"f": "c0", "i": "c1", "t": "c2", "w": "c3"}
    events = rows.to_pylist()
    out: list[object] = []
    for asked in spine.to_pylist():
        groups: dict[object, list[tuple[object, int]]] = {}
        for row in events:
            start = -(2**63) if window.length is None else asked["at"] - window.length
            if row["k0"] == asked["k"] and start <= row["at"] < asked["at"] and row["c3"]:
                group = groups.setdefault(row["c2"], [])
                if row[place[window.value or ""]] is not None:
                    group.append((row[place[window.value or ""]], row["at"]))
        groups.pop(None, None)
        out.append(
            [
                (by, aggregate.finish_at(aggregate.fold(groups[by]), asked["at"]))
                for by in sorted(groups)
            ]
        )  # type: ignore[arg-type, type-var]
    return out


def test_maps_on_one_large_key_equal_the_algebra() -> None:
    rows, spine = data(400, 12, 1)
    found = view(("k",), by="t", where="w")
    results = windows(found, rows, spine, {w.signal: result_type(found, w) for w in found.windows})
    for window in found.windows:
        wanted = naive(rows, spine, found, window)
        for ours, theirs in zip(results[window.signal].to_pylist(), wanted, strict=True):
            assert [by for by, _ in ours] == [by for by, _ in theirs]
            for (_, x), (_, y) in zip(ours, theirs, strict=True):
                assert x == (pytest.approx(y, rel=1e-9, abs=1e-9) if isinstance(y, float) else y)


def test_an_aggregate_without_a_kernel_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, spine = data(600, 40, 3)
    for by in (None, "t"):
        found = view(("k",), by=by)
        kinds = {w.signal: result_type(found, w) for w in found.windows}
        fast = windows(found, rows, spine, kinds)
        with monkeypatch.context() as patch:
            patch.setattr(module, "KERNELS", {})
            slow = windows(found, rows, spine, kinds)
        for signal, kind in kinds.items():
            if "double" in str(kind):
                continue  # floats round differently; parity compares them with their scale
            assert fast[signal].to_pylist() == slow[signal].to_pylist(), signal
    assert set(KERNELS) == set(REGISTRY)


def test_a_huge_value_outside_the_window_does_not_touch_the_sum() -> None:
    rows = pa.table({"k0": [1] * 100, "at": range(100), "c0": [1e300, np.inf] + [0.1] * 98})
    spine = pa.table({"k": [1], "at": [100]})
    found = View(
        "v",
        "s",
        (("k", "k"),),
        "at",
        (),
        (Computed("f", "f", Type.FLOAT),),
        (Window("s", "sum", "f", None, None, 98),),
    )
    assert windows(found, rows, spine, {"s": pa.float64()})["s"].to_pylist() == pytest.approx(
        [9.8], rel=1e-14
    )


def _one_key(size: int, asked: int) -> float:
    r = np.random.default_rng(1)
    rows = pa.table(
        {
            "k0": np.zeros(size, np.int64),
            "at": r.integers(0, size, size),
            "c0": r.random(size),
            "c1": r.integers(0, 1000, size),
            "c2": r.integers(0, 50, size).astype(str),
            "c3": r.random(size) < 0.5,
        }
    )
    spine = pa.table({"k": np.zeros(asked, np.int64), "at": r.integers(0, size, asked)})
    found = view(("k",), where="w")
    start = time.process_time()
    results = windows(found, rows, spine, {w.signal: result_type(found, w) for w in found.windows})
    seconds = time.process_time() - start
    keep = rows["c3"].to_numpy()
    at, values = rows["at"].to_numpy()[keep], rows["c0"].to_numpy()[keep]
    for row in range(0, asked, asked // 5):
        inside = values[at < spine["at"][row].as_py()]
        assert results["sum f None"][row].as_py() == pytest.approx(inside.sum())
        assert results["max f None"][row].as_py() == inside.max()
        assert results["count f None"][row].as_py() == inside.size
    return seconds


@pytest.mark.slow
def test_one_key_with_a_million_rows() -> None:
    assert _one_key(1_000_000, 20_000) < 20


@pytest.mark.slow
def test_one_key_with_ten_million_rows() -> None:
    assert _one_key(10_000_000, 100_000) < 120
