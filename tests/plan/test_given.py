"""What arrives with a request: a formula is over it, and means the same in training and online."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small_project import SIGNALS, project
from tacit.errors import DataError, Refused
from tacit.live.values import Status
from tacit.plan.graph import Port

GIVEN = """
cart = Given(
    "What the cart is worth.", value=number("user.behavior"), place="cloud",
    purposes=[discover], basis="consent", region="eu", keep="1d",
)
hour = Given("The hour there.", value=integer(PUBLIC), place="cloud")
screen = Given("The kind of screen.", value=text(PUBLIC), place="cloud")
worth = Formula("For each look.", sql="cart / looks")
late = Formula("At night, and looking.", sql="CASE WHEN hour > 21 THEN looks ELSE 0 END")
more = Formula("Over another.", sql="worth + hour")
tall = Formula("On a phone.", sql="screen = 'phone' AND looks > 1")
bask = Sink(
    "Rows to learn from.", signals=[looks, worth, late, more, tall], to="training", place="cloud",
    purposes=[discover], region="eu", keep="1d",
)
"""
NAMES = ["worth", "late", "more", "tall", "looks"]


def test_online_and_training_agree(tmp_path: Path) -> None:
    shop = project(tmp_path, SIGNALS + GIVEN)
    shop.push("visits", shop.rows("visits").table)
    now = shop.now()
    given: dict[str, list[Any]] = {
        "cart": [12.5, None, 3, 0.0], "hour": [23, 1, None, -5], "screen": ["phone", "tv", None, "phone"],
    }  # fmt: skip
    people = ["p000", "p001", "p002", "nobody"]
    spine = pa.table(
        {
            "person": people,
            "at": pa.array([now] * 4, pa.int64()),
            "cart": pa.array(given["cart"], pa.float64()),
            "hour": given["hour"],
            "screen": given["screen"],
        }
    )
    made = shop.training_set(spine, NAMES)
    truth = {name: made.table[name].to_pylist() for name in NAMES}
    found = shop.features(NAMES, spine)
    assert {name: found[name].to_pylist() for name in NAMES} == truth
    pq.write_table(spine, tmp_path / "spine.parquet")
    shop.write(NAMES, tmp_path / "spine.parquet", tmp_path / "out.parquet")
    written = pq.read_table(tmp_path / "out.parquet")
    assert {name: written[name].to_pylist() for name in NAMES} == truth
    look = shop.lookup(NAMES)
    assert look.given == {"cart": "float", "hour": "int", "screen": "text"}
    table = look.many({"person": people}, now, given=given)
    assert dict(zip(NAMES, table.columns, strict=True)) == truth
    words = [[Status(each).name.lower() for each in row] for row in table.status.tolist()]
    assert words == [list(row.values())[1:] for row in made.status.to_pylist()]
    for k, person in enumerate(people):
        one = look.one({"person": person}, now, given={n: given[n][k] for n in given})
        assert one.values == [truth[name][k] for name in NAMES]
        assert one.status == table.status[k].tolist()
    same = look.many({"person": people}, now, given={"cart": 1, "hour": 1, "screen": "tv"})
    assert same.columns[2][0] == (1 / truth["looks"][0] + 1 if truth["looks"][0] else None)
    # The terms of what is given join those of the signals.
    label = shop.plan.label(Port("worth", "value"))
    assert label.retention == shop.plan.label(Port("cart", "value")).retention
    assert label.purposes == {"discover"}


@pytest.mark.parametrize(
    "given",
    [
        {}, {"cart": 1.0, "hour": 1}, {"cart": "1", "hour": 1, "screen": "x"},
        {"cart": 1.0, "hour": 1.5, "screen": "x"}, {"cart": 1.0, "hour": True, "screen": "x"},
        {"cart": 1.0, "hour": 2**63, "screen": "x"}, {"cart": 1.0, "hour": 1, "screen": 7},
        {"cart": [1.0, 2.0], "hour": 1, "screen": "x"},
    ],
)  # fmt: skip
def test_what_is_given_must_fit(tmp_path: Path, given: dict[str, Any]) -> None:
    shop = project(tmp_path, SIGNALS + GIVEN)
    with pytest.raises(DataError, match="T390"):
        shop.lookup(NAMES).one({"person": "p000"}, shop.now(), given=given)


def test_a_spine_must_have_it(tmp_path: Path) -> None:
    shop = project(tmp_path, SIGNALS + GIVEN)
    rows: list[dict[str, Any]] = [{"person": "p000", "at": shop.now(), "hour": 1, "screen": "x"}]
    with pytest.raises(DataError, match=r"T371.*'cart'"):
        shop.training_set(rows, NAMES)
    rows[0]["cart"] = "much"
    with pytest.raises(DataError, match=r"T371.*no float"):
        shop.features(NAMES, rows)
    assert shop.features(["late"], rows).num_rows == 1


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ('only = Formula("x", sql="hour + 1")', "T122"),
        ('typed = Formula("x", sql="looks + screen")', "T112"),
        ('wide = Given("x", value=vector(PUBLIC, size=4), place="cloud")\nf = Formula("x", sql="wide + looks")', "T122"),
        ('bare = Given("x", value=number("user.behavior"))', "T201"),
        ('bare = Given("x", value=3)', "T116"),
        (
            'far = history.count("7d")\nf = Formula("x", sql="far + hour")',
            "T401",
        ),
        (
            'bare = Given("x", value=integer(PUBLIC), place="device"); f = Formula(sql="looks + bare")',
            "T401",
        ),
    ],
)  # fmt: skip
def test_what_is_not_given_so(tmp_path: Path, written: str, code: str) -> None:
    with pytest.raises(Exception, match=r"T\d") as refused:
        _ = project(tmp_path, f"{SIGNALS}{GIVEN}{written}\n").plan
    codes = refused.value.codes if isinstance(refused.value, Refused) else [refused.value.code]  # type: ignore[attr-defined]
    assert code in codes
