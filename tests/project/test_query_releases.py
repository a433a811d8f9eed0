"""Metrics of releases: read from what devices gave once, grouped as one likes, at no cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import small_project as small
from tacit.errors import PrivacyError, QueryError
from tacit.project import Project
from tacit.project.run import run

SIGNALS = (
    small.only(
        small.SIGNALS, "first", "taste", "recommender", "space", "visits", "looks", "last", "training"
    )
    + """
latest = history.last("item")
now = Release(
    "What was bought last.", signal=latest, over=catalogue, mechanism="hadamard_response",
    to="cloud", purposes=[discover], epsilon=6, region="eu", keep="ever",
)
tops = Metric("What sells now.", release=now, minimum=20)
share = RatioMetric("Of what was sold, what was bought last.", numerator=tops, denominator=popular)
many = Metric("Too much.", release=demand, minimum=1000)
"""
)  # fmt: skip
SETTINGS = small.SETTINGS.partition("[sources.visits]")[0]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("shop") / "shop"
    project = small.project(folder, SIGNALS.replace("minimum=1000", "minimum=30"), SETTINGS)
    with pytest.raises(QueryError) as caught:
        project.query("popular", "item")
    assert caught.value.code == "T896"
    assert "tacit run" in caught.value.fix
    run(project)
    return Project.load(folder)


def test_answers_are_those_of_the_run_and_cost_nothing(shop: Project) -> None:
    before = shop.ledger.spent("discover")
    metric = run(shop).metrics["popular"]
    answer = shop.query("popular", "item")
    table = answer.table
    assert dict(zip(table["item"].to_pylist(), table["value"].to_pylist(), strict=True)) == {
        each.item: each.value for each in metric
    }
    [error] = {each.stderr for each in metric}
    assert table["stderr"].to_pylist() == pytest.approx([error] * small.ITEMS)
    halves = (table["upper"].to_numpy() - table["lower"].to_numpy()) / 2
    assert halves == pytest.approx(np.full(small.ITEMS, 1.959964 * error))
    assert answer.spent == 0.0
    assert answer.reused == ("popular",)
    assert shop.ledger.spent("discover") == before
    assert answer.left == pytest.approx(shop.ledger.remaining("discover"))


def test_public_facts_group_and_filter_what_was_released(shop: Project) -> None:
    table = shop.query("popular", "item").table
    values = dict(zip(table["item"].to_pylist(), table["value"].to_pylist(), strict=True))
    genre = dict(zip(small.CATALOGUE.ids, small.GENRE, strict=True))
    grouped = shop.query("popular", "catalogue.genre").table
    truth = {
        name: sum(value for item, value in values.items() if genre[item] == name)
        for name in set(small.GENRE)
    }
    names = grouped["catalogue.genre"].to_pylist()
    assert names == sorted(truth)
    assert grouped["value"].to_pylist() == pytest.approx([truth[name] for name in names])
    error = table["stderr"][0].as_py()
    sizes = [small.GENRE.count(name) for name in names]
    assert grouped["stderr"].to_pylist() == pytest.approx([error * size**0.5 for size in sizes])
    one = shop.query("popular", where="catalogue.genre = 'genre1'").table
    assert one["value"].to_pylist() == pytest.approx([truth["genre1"]])
    whole = shop.query("popular").table
    assert whole["value"].to_pylist() == pytest.approx([sum(values.values())])


def test_local_mechanisms_and_ratios_of_releases(shop: Project) -> None:
    parts = [shop.query(name, "catalogue.genre").table for name in ("tops", "popular")]
    share = shop.query("share", "catalogue.genre").table
    top, below = (part["value"].to_numpy() for part in parts)
    assert share["value"].to_numpy() == pytest.approx(top / below)
    assert (share["lower"].to_numpy() <= share["value"].to_numpy()).all()


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("T892", {"grain": "1d"}),
        ("T891", {"by": "person"}),
        ("T894", {"since": "7d"}),
        ("T895", {"where": "quantity > 2"}),
    ],
)
def test_what_a_release_does_not_say(shop: Project, code: str, more: dict[str, str]) -> None:
    with pytest.raises(QueryError) as caught:
        shop.query("popular", **more)
    assert caught.value.code == code


def test_too_few_devices(shop: Project) -> None:
    text = (shop.root / "signals.py").read_text()
    few = text.replace("release=demand, minimum=30", "release=demand, minimum=1000")
    (shop.root / "signals.py").write_text(few)
    try:
        with pytest.raises(PrivacyError) as caught:
            Project.load(Path(shop.root)).query("many", "item")
        assert caught.value.code == "T541"
    finally:
        (shop.root / "signals.py").write_text(text)
