"""Sinks to="online": what is served is what a declared sink clears, for its purposes."""

from __future__ import annotations

from pathlib import Path

import pytest

import small_project as small
from tacit.errors import DataError, Refused
from tacit.live.reader import Status
from tacit.plan.views import served
from tacit.project import Project
from tacit.project.run import deliver, run
from tacit.values import DAY

LAKE = small.SETTINGS.replace('[sources.visits]\npath = "history.parquet"\n', "")
SELL = 'sell = Purpose("Sell.", use="marketing.advertising", basis="consent")\n'
ONLINE = """
sold = visits.count("7d", per=thing)
page = Sink(
    "What the page shows.", signals=[looks, sold], to="online", place="cloud",
    purposes=[discover], region="eu", keep="730d",
)
"""


def project(folder: Path, more: str = ONLINE) -> Project:
    module = small.PAIRS_ONLY + 'looks = visits.count("7d")\nlast = visits.last("item")\n' + more
    return small.project(folder / "shop", module, LAKE)


def refusal(call: object) -> DataError:
    with pytest.raises(DataError) as refused:
        call()  # type: ignore[operator]
    assert refused.value.fix
    return refused.value


def test_only_what_a_sink_clears_is_served(tmp_path: Path) -> None:
    shop = project(tmp_path)
    assert served(shop.plan) == {"looks": {"discover"}, "sold": {"discover"}}
    at = shop.now() - 1
    shop.push("visits", [{"person": "p", "item": "i", "at": at}])
    for how in ({}, {"sink": "page"}, {"purpose": "discover"}):
        look = shop.lookup(["sold", "looks"], **how)
        assert look.one({"person": "p", "thing": "i"}, shop.now()).values == [1, 1]
    error = refusal(lambda: shop.lookup(["looks", "last"]))
    assert error.code == "T378"
    assert 'Sink(to="online", signals=[looks, last]' in error.fix
    assert refusal(lambda: shop.lookup(["last"], sink="page")).fix == "add last to its signals"
    assert refusal(lambda: shop.lookup(["looks"], sink="training")).code == "T378"
    assert refusal(lambda: shop.lookup(["looks"], purpose="nothing")).code == "T374"
    assert deliver(shop, shop.plan.nodes["page"]) is None


def test_without_one_the_projects_own_code_reads_and_no_purpose_is_claimed(tmp_path: Path) -> None:
    shop = project(tmp_path, "")
    assert served(shop.plan) == {}
    assert shop.lookup(["last"]).signals == ("last",)
    assert refusal(lambda: shop.lookup(["last"], purpose="discover")).code == "T378"


def test_the_plan_holds_it_to_its_clearance(tmp_path: Path) -> None:
    """A purpose that the rows are not for, and an outcome, are refused before anything is served."""
    with pytest.raises(Refused, match=r"T203|T20\d"):
        project(tmp_path / "a", SELL + ONLINE.replace("[discover]", "[sell]")).plan  # noqa: B018
    outcome = ONLINE.replace("[looks, sold]", "[back]").replace(
        "sold =", 'back = looks.ahead("7d")\nsold ='
    )
    with pytest.raises(Refused, match="T213"):
        project(tmp_path / "b", outcome).plan  # noqa: B018


def test_several_sinks_are_told_apart_by_purpose(tmp_path: Path) -> None:
    module = small.PAIRS_ONLY.replace(
        "    purposes=[discover], time=", "    purposes=[discover, help_], time="
    )
    head, rest = module.split("catalogue = ", 1)
    module = (
        head
        + 'help_ = Purpose("Help.", use="essential.service", basis="consent")\ncatalogue = '
        + rest
    )
    more = ONLINE + ONLINE.split("\n", 2)[2].replace("page = ", "desk = ").replace(
        "[discover]", "[help_]"
    )
    shop = small.project(tmp_path / "shop", module + 'looks = visits.count("7d")\n' + more, LAKE)
    assert served(shop.plan)["looks"] == {"discover", "help_"}
    assert "page, desk" in refusal(lambda: shop.lookup(["looks"])).message
    assert shop.lookup(["looks"], purpose="help_").signals == ("looks",)


SHELF = """
shelf = Sink(
    "What sells, beside each thing.", signals=[popular], to="online", place="cloud",
    purposes=[discover], region="eu", keep="90d",
)
"""
DEMAND_ONLY = small.only(
    small.SIGNALS, "taste", "recommender", "space", "first", "training", "looks", "last"
)


def test_what_devices_released_is_served_as_it_was_collected(tmp_path: Path) -> None:
    """Once, at no further cost, without a period: it is never stale, and goes when it must."""
    shop = small.project(tmp_path / "shop", DEMAND_ONLY + SHELF)
    results = run(shop)
    [told] = results.delivered
    left = shop.ledger.remaining("discover")
    assert (told.metric, told.numbers, told.spent, told.anew) == ("popular", small.ITEMS, 0.0, True)
    look = shop.lookup("popular")
    items = [each.item for each in results.metrics["popular"]]
    found = look.many({"thing": items}, shop.now())
    assert found.columns[0] == [each.value for each in results.metrics["popular"]]
    assert set(found.status[:, 0].tolist()) == {Status.NOISED}
    late = told.released + 90 * DAY
    assert look.one({"thing": items[0]}, late).status == [Status.NOISED]
    assert look.one({"thing": items[0]}, late + 1).status == [Status.MISSING]
    assert look.one({"thing": items[0]}, told.released - 1).status == [Status.MISSING]
    again = run(small.project(tmp_path / "shop", DEMAND_ONLY + SHELF)).delivered
    assert [(each.anew, each.spent, each.released) for each in again] == [
        (False, 0.0, told.released)
    ]
    assert shop.ledger.remaining("discover") == left


def test_an_online_sink_needs_no_rows_of_its_signals(tmp_path: Path) -> None:
    """They are pushed: a run has nothing to read for it."""
    shop = project(tmp_path)
    (shop.root / "tacit.toml").write_text('name = "shop"\n')
    alone = small.only((shop.root / "signals.py").read_text(), "taste", "recommender", "training")
    (shop.root / "signals.py").write_text(alone)
    assert run(type(shop).load(shop.root)).delivered == []
