"""A project's signals, live: pushed, read, and equal to what batch says of the same events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small_project import SETTINGS, SIGNALS, history, project
from tacit.errors import DataError, StoreError
from tacit.live.baseline import begin
from tacit.live.values import Status
from tacit.values import DAY, MINUTE

EXTRA = """
seen = visits.count("30d", per=thing)
genres = visits.count("30d", by="catalogue.genre")
ever = visits.distinct("item")
liked = visits.mean("CASE WHEN catalogue.weight > 5 THEN catalogue.weight END", "30d")
"""


def test_pushed_events_read_as_batch_computes_them(tmp_path: Path) -> None:
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
    for moment in ("2025-12-31T00:00:00Z", 1.5e15, None):
        with pytest.raises(DataError, match="T390"):
            look.one({"person": "p000"}, moment)  # type: ignore[arg-type]


def test_rows_of_nobody_and_misspelt_ones_are_set_apart(tmp_path: Path) -> None:
    shop = project(tmp_path, SIGNALS + EXTRA)
    at = shop.now() - DAY
    good = {"person": "p000", "item": "x", "at": at}
    rows = [good, {**good, "person": None}, {"person": "p000", "thing": "x", "at": at}]
    pushed = shop.push("visits", rows)
    assert (pushed.accepted, pushed.quarantined) == (1, 2)
    pushed = shop.push("visits", pa.Table.from_pylist(rows[:2]))
    assert (pushed.accepted, pushed.quarantined) == (1, 1)
    for nobodys in (rows[1:2], pa.Table.from_pylist([{**good, "person": None}, good]).slice(0, 1)):
        pushed = shop.push("visits", nobodys)  # not one that is left
        assert (pushed.accepted, pushed.quarantined) == (0, 1)
    assert shop.online.lookup(["seen"]).one({"thing": "x"}, shop.now()).values == [2]


FORMULAS = """
ratio = Formula("How much of it is new.", sql="looks / ever")
sure = Formula("At least something.", sql="COALESCE(looks, 0) + 1")
"""


def test_formulas_are_served_as_they_are_trained_on(tmp_path: Path) -> None:
    shop = project(tmp_path, SIGNALS + EXTRA + FORMULAS)
    shop.push("visits", history().drop_columns(["enjoyed", "quantity"]))
    now, people = shop.now(), ["p000", "p001", "p017", "nobody"]
    names = ["ratio", "last", "sure", "looks"]
    spine = [{"person": person, "at": now} for person in people]
    truth = shop.features(names, spine)
    look = shop.lookup(names)
    assert look.signals == tuple(names)
    many = look.many({"person": people}, now)
    assert [list(column) for column in many.columns] == [truth[n].to_pylist() for n in names]
    assert truth["ratio"].null_count < len(people)
    for k, person in enumerate(people):
        found = look.one({"person": person}, now)
        assert found.values == [truth[name][k].as_py() for name in names]
        assert found.status == many.status[k].tolist()
    assert many.status[3].tolist() == [Status.MISSING] * 4
    assert many.status[0].tolist() == [Status.FRESH] * 4
    for allowed, denied in (
        ([True, False, False, False], [0, 1, 1, 1]),
        ([False] * 3 + [True], [1, 1, 1, 0]),
    ):
        told = look.many({"person": people}, now, allowed=allowed)
        assert (told.status == Status.DENIED).tolist() == [[bool(d) for d in denied]] * 4
        one = look.one({"person": "p000"}, now, allowed=allowed)
        assert [value is None for value in one.values] == [bool(d) for d in denied]
        assert one.values == [column[0] for column in told.columns]
    assert shop.lookup("sure").one({"person": "p000"}, now).values == [truth["sure"][0].as_py()]
    for wrong, code in (([], "T393"), ("nothing", "T313"), (["first"], "T313")):
        with pytest.raises(DataError, match=code):
            shop.lookup(wrong)
    with pytest.raises(DataError, match=r"Project\.lookup takes formulas"):
        shop.online.lookup(["ratio"])


FRESH = """
lately = visits.count("30d").fresh("1d")
lasting = visits.last("item", "2h").fresh("10d")
kinds = visits.count("30d", by="catalogue.genre").fresh("1d")
share = Formula("Of those.", sql="lately / (lately + 1)")
learn = Sink(
    "Rows to learn from.", signals=[lately, lasting, kinds, share], to="training", place="cloud",
    purposes=[discover], region="eu", keep="30d",
)
"""


def test_a_value_is_as_fresh_online_as_in_training(tmp_path: Path) -> None:
    from small_project import CATALOGUE, SIGNALS

    shop = project(tmp_path, SIGNALS + FRESH)
    now, item = shop.now(), CATALOGUE.ids[0]
    ages = {"old": 20 * DAY, "edge": DAY, "past": DAY + 1, "new": MINUTE, "mixed": 20 * DAY}
    rows = pa.table(
        {
            "person": [*ages, "mixed", "new"],
            "item": [item] * 5 + ["not in the catalogue", item],
            "at": pa.array([now - age for age in (*ages.values(), MINUTE, 5 * DAY)], pa.int64()),
        }
    )
    pq.write_table(rows, tmp_path / "history.parquet")
    shop.push("visits", rows)
    names, people = ["lately", "lasting", "kinds", "share"], [*ages, "nobody"]
    made = shop.training_set([{"person": person, "at": now} for person in people], names)
    table = shop.lookup(names).many({"person": people}, now)
    words = [[Status(each).name.lower() for each in row] for row in table.status.tolist()]
    wanted = [list(row.values())[1:] for row in made.status.to_pylist()]
    differing = {
        (person, name): (ours, theirs)
        for person, row, expected in zip(people, words, wanted, strict=True)
        for name, ours, theirs in zip(names, row, expected, strict=True)
        if ours != theirs
    }
    # Only where the window holds nothing, though something happened before it.
    assert differing == {
        ("old", "lasting"): ("missing", "stale"),
        ("edge", "lasting"): ("missing", "fresh"),
        ("past", "lasting"): ("missing", "fresh"),
    }
    assert words[0] == ["stale", "missing", "stale", "stale"]
    assert words[1] == ["fresh", "missing", "fresh", "fresh"]
    assert words[2][0] == "stale"
    assert words[-1] == ["missing"] * 4
    for person, row in zip(people, table.status.tolist(), strict=True):
        assert shop.lookup(names).one({"person": person}, now).status == row
    denied = shop.lookup(names).one({"person": "new"}, now, allowed=[False, True, True, True])
    assert [Status(each).name for each in denied.status] == ["DENIED", "FRESH", "FRESH", "FRESH"]


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


def test_a_baseline_that_would_lose_what_was_pushed(tmp_path: Path) -> None:
    """Where anything was pushed, ids say whether the rows hold it, or somebody says that it may
    go; and what was read before is read on."""
    signals = SIGNALS.replace(
        '"item": key(thing), "at": time()},', '"item": key(thing), "at": time(), "nr": integer()},'
    )
    shop = project(tmp_path, signals, SETTINGS)
    rows = history().drop_columns(["enjoyed", "quantity"])
    rows = rows.append_column("nr", pa.array(range(rows.num_rows), pa.int64()))
    pq.write_table(rows, shop.file("visits"))
    now = shop.now()

    def looks() -> object:
        return shop.online.lookup(["looks"]).one({"person": "new"}, now).values[0]

    new = {"person": "new", "item": "x", "at": now - MINUTE}
    shop.push("visits", [{**new, "nr": 10**6}])  # without its id: nothing can tell
    for how in ({}, {"ids": "nr"}):
        with pytest.raises(StoreError, match=r"T730(.|\n)*--replace"):
            shop.rebase("visits", **how)  # type: ignore[arg-type]
        assert shop.online.standing("visits").building == 0
        assert looks() == 1
    assert shop.rebase("visits", replace=True) == rows.num_rows
    assert looks() == 0
    shop.push("visits", [{**new, "nr": 10**6 + 1}, {**new, "nr": 10**6 + 2}], ids="nr")
    with pytest.raises(StoreError, match="T730: 2 ids of pushes are not among the rows"):
        shop.rebase("visits", ids="nr")
    assert looks() == 2
    late = pa.Table.from_pylist([{**new, "nr": 10**6 + n} for n in (1, 2)])
    late = late.set_column(2, "at", late["at"].cast(pa.timestamp("us")))
    pq.write_table(
        pa.concat_tables([rows, late.select(rows.column_names).cast(rows.schema)]),
        shop.file("visits"),
    )
    told: list[int] = []
    assert shop.rebase("visits", ids="nr", progress=told.append) == rows.num_rows + 2
    assert sum(told) == rows.num_rows + 2
    assert looks() == 2
    assert shop.push("visits", [{**new, "nr": 10**6 + 2}], ids="nr").duplicates == 1


def test_a_first_push_that_comes_as_a_baseline_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the look at what was pushed, before the journal: it is not lost without a word."""
    shop = project(tmp_path)
    row = {"person": "new", "item": "x", "at": shop.now() - MINUTE}
    first = iter([lambda: shop.push("visits", [row])])

    def late(*given: Any) -> Any:
        next(first, lambda: None)()
        return begin(*given)

    monkeypatch.setattr("tacit.project.rebase.begin", late)
    with pytest.raises(StoreError, match="T730: 1 rows were pushed"):
        shop.rebase("visits")
    assert shop.online.standing("visits").building == 0
    assert shop.online.lookup(["looks"]).one({"person": "new"}, shop.now()).values == [1]
