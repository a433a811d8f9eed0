"""The online store by itself: ingestion, reads, growth. `python benchmarks/live/store.py [EVENTS]`.

A project of ten signals (seven per user, three per item) takes a Zipf stream in batches; then one
user's 50 signals, one user's ten, and batches of 100 and 1000 items are read, also while small
pushes wait as deltas. The last line is one
JSON object. Everything is measured in this process, on one core; times on a busy machine are long,
so CPU time is told beside the wall clock's.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tacit.live.feed import Feed
from tacit.live.intake import Settings
from tacit.live.online import Online
from tacit.live.reader import Lookup
from tacit.operations import Computed, View, Window
from tacit.store.online.lmdb import Lmdb
from tacit.values import DAY, HOUR, SECOND, Type

START = 1_700_000_000 * SECOND
USERS, ITEMS, BATCH = 100_000, 20_000, 100_000
PUSH = 400
"""Rows of a small push."""
SCHEMA = {"user": Type.TEXT, "item": Type.TEXT, "at": Type.TIME, "price": Type.FLOAT}


def feed(many: bool) -> Feed:
    """Ten signals; or, with ``many``, fifty per user."""
    price, item = Computed("c0", "price", Type.FLOAT), Computed("c1", "item", Type.TEXT)
    wide = [
        Window(f"{aggregate}_{i}", aggregate, value, None, None, length)
        for i, length in enumerate([HOUR, DAY, 3 * DAY, 7 * DAY, 14 * DAY, 30 * DAY])
        for aggregate, value in [
            ("count", None), ("sum", "c0"), ("mean", "c0"), ("min", "c0"), ("max", "c0"),
            ("last", "c1"), ("distinct", "c1"), ("since", None),
        ]
    ]  # fmt: skip
    wide += [Window("last", "last", "c0", None, None, 30 * DAY)]
    wide += [Window("first", "first", "c0", None, None, 30 * DAY)]
    few = [w for w in wide if w.signal in
           {"count_0", "count_1", "count_3", "count_5", "sum_3", "max_5", "last_5"}]  # fmt: skip
    of_item = [
        Window("item_count_0", "count", None, None, None, HOUR),
        Window("item_count_3", "count", None, None, None, 7 * DAY),
        Window("item_mean_3", "mean", "c0", None, None, 7 * DAY),
    ]
    users = View(
        "users", "events", (("user", "user"),), "at", (), (price, item),
        tuple(wide if many else few),
    )  # fmt: skip
    items = View("items", "events", (("item", "item"),), "at", (), (price,), tuple(of_item))
    return Feed(
        "events", SCHEMA, "at", (users,) if many else (users, items), people={"user": ("user",)}
    )


def batches(events: int) -> list[pa.Table]:
    """Zipf users and items over thirty days, a little out of order."""
    rng = np.random.default_rng(7)
    user = rng.zipf(1.2, events) % USERS
    item = rng.zipf(1.3, events) % ITEMS
    at = START + np.sort(rng.integers(0, 30 * DAY, events)) - rng.integers(0, HOUR, events)
    price = np.round(rng.lognormal(2, 1, events), 2)
    found = []
    for low in range(0, events, BATCH):
        part = slice(low, low + BATCH)
        found.append(
            pa.table(
                {
                    "user": pa.array(np.char.add("u", user[part].astype(str))),
                    "item": pa.array(np.char.add("i", item[part].astype(str))),
                    "at": at[part],
                    "price": price[part],
                }
            )
        )
    return found


def ingest(online: Online, tables: list[pa.Table]) -> tuple[float, float]:
    """Events a second: by the wall clock, and by CPU time."""
    wall, cpu, rows = time.perf_counter(), time.process_time(), 0
    for table in tables:
        online.push("events", table, now=int(table["at"].to_numpy().max()))
        rows += table.num_rows
    return rows / (time.perf_counter() - wall), rows / (time.process_time() - cpu)


def cpu(call: Any, times: int) -> int:
    """CPU time of a call on average, µs: what a busy machine does not lengthen by much."""
    call()
    start = time.process_time()
    for _ in range(times):
        call()
    return round((time.process_time() - start) / times * 1e6)


def best(call: Any, times: int) -> int:
    """The least CPU time of a call, µs."""
    call()
    found = []
    for _ in range(times):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return round(min(found) * 1e6)


def timed(call: Any, times: int) -> tuple[float, float]:
    """Median and 99th percentile, µs."""
    call()
    found = []
    for _ in range(times):
        start = time.perf_counter_ns()
        call()
        found.append((time.perf_counter_ns() - start) / 1000)
    return float(np.percentile(found, 50)), float(np.percentile(found, 99))


def over_deltas(online: Online, look: Lookup, keys: list[str], table: pa.Table) -> dict[str, Any]:
    """CPU time of a batch while 31 small pushes wait, and of the same once they are merged, µs."""
    merger, now = online.merger, int(table["at"].to_numpy().max())
    merger.pushed = lambda count: None  # type: ignore[method-assign]
    for low in range(0, 31 * PUSH, PUSH):
        online.push("events", table.slice(low, PUSH), now=now)
    waits = best(lambda: look.many({"item": keys}, now), 40)
    merger.run()
    merged = best(lambda: look.many({"item": keys}, now), 40)
    return {
        "batch1000_over_31_deltas_cpu_us": waits,
        "batch1000_of_merged_cpu_us": merged,
        "over_31_deltas": round(waits / merged, 2),
    }


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    folder = Path(tempfile.mkdtemp(prefix="tacit-live-"))
    tables = batches(events)
    results: dict[str, Any] = {"events": events}
    try:
        warm = Online(Lmdb(folder / "warm"), [feed(False)], Settings())
        ingest(warm, [table.slice(0, 20_000) for table in tables[:3]])
        store = Lmdb(folder / "ten")
        online = Online(store, [feed(False)], Settings())
        wall, own = ingest(online, tables)
        results["ingest_events_per_s"] = round(wall)
        results["ingest_events_per_cpu_s"] = round(own)
        results["bytes_per_event"] = round(store.size() / events)
        store.compact()
        results["mb_per_million_events"] = round(store.size() / events, 1)
        now = int(tables[-1]["at"].to_numpy().max())
        rng = np.random.default_rng(1)
        item = online.lookup(["item_count_0", "item_count_3", "item_mean_3"])
        for size, times in ((100, 200), (1000, 40)):
            drawn = rng.zipf(1.3, 200 * size) % ITEMS  # popular ones first: candidates are distinct
            keys = [f"i{k}" for k in dict.fromkeys(drawn.tolist())][:size]
            p50, p99 = timed(lambda keys=keys: item.many({"item": keys}, now), times)
            results[f"batch{size}_cpu_us"] = cpu(lambda k=keys: item.many({"item": k}, now), times)
            results[f"batch{size}_p50_us"], results[f"batch{size}_p99_us"] = round(p50), round(p99)
        results |= over_deltas(online, item, keys, batches(31 * PUSH)[0])
        wide = Online(Lmdb(folder / "fifty"), [feed(True)], Settings())
        ingest(wide, tables[: max(1, len(tables) // 4)])
        now = int(tables[max(1, len(tables) // 4) - 1]["at"].to_numpy().max())
        view = wide.sources["events"].feed.views[0]
        look = wide.lookup([w.signal for w in view.windows])
        results["json_of_50_floats_us"] = cpu(
            lambda: json.dumps([1.5 * i for i in range(50)]), 2000
        )
        results["one50_cpu_us"] = cpu(lambda: look.one({"user": "u100"}, now), 2000)
        results["one50_heavy_cpu_us"] = cpu(lambda: look.one({"user": "u2"}, now), 50)
        users = iter([f"u{k}" for k in rng.integers(0, USERS, 100_000)])
        p50, p99 = timed(lambda: look.one({"user": next(users)}, now), 3000)
        results["one50_random_user_p50_us"] = round(p50, 1)
        results["one50_random_user_p99_us"] = round(p99, 1)
        active = iter([f"u{k}" for k in rng.zipf(1.2, 100_000) % USERS])
        p50, p99 = timed(lambda: look.one({"user": next(active)}, now), 3000)
        results["one50_active_user_p50_us"] = round(p50, 1)
        results["one50_active_user_p99_us"] = round(p99, 1)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
