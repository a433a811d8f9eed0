"""A project's signals, live: pushed, read, and equal to what batch says of the same events."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from small_project import SETTINGS, history, project
from tacit.errors import DataError
from tacit.values import DAY, MINUTE

EXTRA = """
seen = visits.count("30d", per=thing)
genres = visits.count("30d", by="catalogue.genre")
ever = visits.distinct("item")
liked = visits.mean("CASE WHEN catalogue.weight > 5 THEN catalogue.weight END", "30d")
"""


def test_pushed_events_read_as_batch_computes_them(tmp_path: Path) -> None:
    from small_project import SIGNALS

    shop = project(tmp_path, SIGNALS + EXTRA)
    rows = history().drop_columns(["enjoyed", "quantity"])
    half = rows.num_rows // 2
    first = shop.push("visits", rows.slice(0, half), batch="1")
    assert first.accepted == half
    assert shop.push("visits", rows.slice(0, half), batch="1").accepted == 0
    for row in rows.slice(half, 5).to_pylist():
        shop.push("visits", [row])
    shop.push("visits", rows.slice(half + 5))
    now, people = shop.now(), ["p000", "p001", "p017"]
    signals = ["looks", "last", "genres", "ever", "liked"]
    spine = pa.table({"person": people, "at": pa.array([now] * len(people), pa.int64())})
    truth = shop.features(signals, spine)
    look = shop.online.lookup(signals)
    for k, person in enumerate(people):
        found = look.one({"person": person}, now).values
        assert found == [truth[signal][k].as_py() for signal in signals]
    items = ["i00001", *truth["last"].to_pylist()]
    spine = pa.table({"thing": items, "at": pa.array([now] * len(items), pa.int64())})
    batch = shop.online.lookup(["seen"]).many({"thing": items}, now)
    assert batch.columns[0] == shop.features(["seen"], spine)["seen"].to_pylist()
    assert shop.online.lookup("last").one({"person": "p001"}, now).values == [
        truth["last"][1].as_py()
    ]
    for wrong in ([], "", ["looks", "looks"], ["nothing"]):
        with pytest.raises(DataError, match="T393"):
            shop.online.lookup(wrong)
    with pytest.raises(DataError, match="T392"):
        shop.push("history", rows)  # of a device: it stays there


def test_a_baseline_from_bound_rows(tmp_path: Path) -> None:
    settings = SETTINGS + '\n[online]\nbaseline = ["visits"]\nstale = "10m"\n'
    shop = project(tmp_path, settings=settings)
    now = shop.now()
    late = [{"person": "p000", "item": "x", "at": now - MINUTE}]
    assert shop.push("visits", late).parked
    shop.rebase("visits")
    spine = pa.table({"person": ["p000"], "at": pa.array([now], pa.int64())})
    looks = shop.features(["looks"], spine)["looks"][0].as_py()
    assert shop.online.lookup(["looks", "last"]).one({"person": "p000"}, now).values == [
        looks + 1,
        "x",
    ]
    assert shop.online.lookup(["looks"]).one({"person": "p000"}, now + DAY).status == [1]


@pytest.mark.parametrize(
    "line", ["redis = 7", "other = 1", 'baseline = "visits"', "stale = 5", 'stale = "soon"']
)
def test_settings_that_are_none(tmp_path: Path, line: str) -> None:
    with pytest.raises(Exception, match=r"T311|T101"):
        project(tmp_path, settings=SETTINGS + f"\n[online]\n{line}\n")
