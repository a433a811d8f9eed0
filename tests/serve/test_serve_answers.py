"""What may be asked, for which purpose, and what is answered."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from serve_cases import NOW, SIGNALS, filled

from tacit.errors import ServeError
from tacit.live.values import Status
from tacit.serve.answers import Answers
from tacit.serve.problems import nearest
from tacit.serve.questions import read_query


def test_one_and_many_are_what_the_project_looks_up(tmp_path: Path) -> None:
    shop = filled(tmp_path)
    answers = Answers.open(shop)
    asked = answers.ask(["looks", "last", "spent", "share"], "discover")
    assert asked.entities == {"person": "text"}
    assert asked.types == ("int", "text", "float", "float")
    found = asked.one({"person": "p1"})
    assert found.values == [2, "i2", 2.75, 0.5]
    assert found.status == [Status.FRESH] * 4
    table = asked.many({"person": ["p1", "p2", "nobody"]})
    assert [column[0] for column in table.columns] == found.values
    assert table.status.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [2, 2, 2, 2]]
    wanted = shop.lookup(list(asked.signals)).many({"person": ["p1", "p2", "nobody"]}, NOW)
    assert table.columns == wanted.columns
    assert np.isnan(table.floats()[0, 1])
    mixed = answers.ask(["looks", "seen", "both"], "discover")
    assert mixed.entities == {"person": "text", "thing": "text"}
    rows = mixed.many({"person": "p1", "thing": ["i1", "i2", "i3"]})
    assert list(zip(*rows.columns, strict=True)) == [(2, 2, 1), (2, 1, 1), (2, 0, 0)]


def test_the_decision_table_is_the_plan_s(tmp_path: Path) -> None:
    answers = Answers.open(filled(tmp_path))
    allowed = answers.decisions.allowed
    assert allowed["discover"] == set(answers.names)
    # `liked` serves one purpose alone, and so does all that it decides.
    assert allowed["measure"] == set(answers.names) - {"likes", "fond", "share"}
    assert allowed["sell"] == set()  # gathered for other purposes, on a basis that it refuses
    asked = answers.ask(["looks", "likes", "share"], "measure")
    found = asked.one({"person": "p1"})
    assert found.values == [2, None, None]
    assert found.status == [Status.FRESH, Status.DENIED, Status.DENIED]
    assert asked.many({"person": ["p1"]}).status.tolist() == [found.status]
    assert answers.ask(None, "sell").one({"person": "p1", "thing": "i1"}).status == [
        Status.DENIED
    ] * len(answers.names)


PAGE = """
page = Sink(
    "What the page shows.", signals=[looks, share], to="online", place="cloud",
    purposes=[discover], region="eu", keep="400d",
)
"""


def test_where_online_sinks_are_declared_one_must_clear_what_is_served(tmp_path: Path) -> None:
    answers = Answers.open(filled(tmp_path, SIGNALS + PAGE))
    assert answers.decisions.allowed == {
        "discover": {"looks", "share"},
        "measure": set(),
        "sell": set(),
    }
    found = answers.ask(["looks", "last", "share"], "discover").one({"person": "p1"})
    assert found.values == [2, None, 0.5]
    assert found.status == [Status.FRESH, Status.DENIED, Status.FRESH]


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    answers = Answers.open(filled(tmp_path))
    for signals, purpose, code, says in (
        (["lokos"], "discover", "T841", "did you mean 'looks'"),
        (["zzz"], "discover", "T841", "use looks, last"),
        (["looks", "looks"], "discover", "T841", "once"),
        ([], "discover", "T841", "one at least"),
        (["looks"], "discovery", "T843", "did you mean 'discover'"),
        (["looks"], "zzz", "T843", "use discover, measure"),
    ):
        with pytest.raises(ServeError, match=code) as refused:
            answers.ask(signals, purpose)
        assert says in refused.value.fix
    assert answers.of("thing") == ("seen",)
    with pytest.raises(ServeError, match="T842") as refused:
        answers.of("persona")
    assert "person" in refused.value.fix


def test_a_long_name_is_not_looked_for_long(tmp_path: Path) -> None:
    """Comparing names takes as long as both: a client decides how long one of them is."""
    answers = Answers.open(filled(tmp_path))
    long = "looks" * 200_000
    start = time.process_time()
    for ask in (
        lambda: answers.ask([long], "discover"),
        lambda: answers.ask(["looks"], long),
        lambda: answers.of(long),
        lambda: read_query(f"{long[:60_000]}=1".encode()),
    ):
        with pytest.raises(ServeError) as refused:
            ask()
        assert len(refused.value.message) < 200
    assert time.process_time() - start < 2
    assert nearest("lokos" + "x" * 1000, ["looks"]) is None
    assert nearest("lokos", [f"{n}" for n in range(2000)] + ["looks"]) is None
    assert nearest("lokos", ["looks"]) == "looks"
