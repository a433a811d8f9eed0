"""Sinks to="online": what is served is what a declared sink clears, for its purposes."""

from __future__ import annotations

from pathlib import Path

import pytest

import small_project as small
from tacit.errors import DataError, Refused
from tacit.plan.views import served
from tacit.project import Project
from tacit.project.run import deliver

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
