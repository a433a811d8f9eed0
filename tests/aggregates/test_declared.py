"""The aggregates as users declare them: their types in the plan, and where they are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tacit.declare import collect
from tacit.errors import DeclarationError, Refused
from tacit.operations import Window
from tacit.plan import Plan, compile_plan, difference, document
from tacit.plan.explain import explain
from tacit.plan.place import ENGINES
from tacit.values import DAY

PROJECT = """
from tacit import *

reader = Entity("Someone who reads.", person="pseudonymous")
story = Entity("Something to read.")
discover = Purpose("Show what one may want.", use="personalize.content", basis="consent", epsilon=8)
reads = Events(
    "Every story that somebody read.", place={place!r}, region="eu", keep="90d", basis="consent",
    purposes=[discover], category="user.behavior.browsing_history",
    columns={{"reader": key(reader, "user.unique_id.pseudonymous"), "story": key(story),
              "seconds": integer(), "at": time()}},
)
signal = {signal}
"""


def plan(signal: str, place: str = "cloud") -> Plan:
    namespace: dict[str, object] = {"__name__": "project"}
    exec(PROJECT.format(signal=signal, place=place), namespace)  # the text is the test's own
    return compile_plan(collect(namespace))


@pytest.mark.parametrize(
    ("signal", "aggregate", "kind"),
    [
        ('reads.variance("seconds", "7d")', "variance", "float"),
        ('reads.stddev("seconds")', "stddev", "float"),
        ('reads.since("30d", where="seconds > 10")', "since", "int"),
        ('reads.last_k("story", 5)', "last_k(5)", "list<text>"),
        ('reads.top_k("story", 3, "30d")', "top_k(3)", "list<text>"),
        ('reads.decayed("seconds", "7d")', "decayed(7d)", "float"),
        ('reads.decayed("seconds", "7d", by="story")', "decayed(7d)", "map<text, float>"),
    ],
)
def test_signals_have_their_types(signal: str, aggregate: str, kind: str) -> None:
    found = plan(signal)
    node = found.nodes["signal"]
    assert node.columns[0].type == kind
    [window] = found.views[0].windows
    assert isinstance(window, Window)
    assert window.aggregate == aggregate


def test_a_hop_is_in_the_plan_only_where_it_is_declared() -> None:
    exact, hop = plan('reads.count("7d")'), plan('reads.count("7d", hop="1d")')
    assert "hop" not in exact.nodes["signal"].spec
    assert hop.nodes["signal"].spec["hop"] == DAY
    assert hop.views[0].windows[0].hop == DAY
    assert len({found.nodes["signal"].hash for found in (exact, hop)}) == 2
    moved = difference(document(exact), document(hop))
    assert any("1w by hops of 1d" in line.text for line in explain(hop, moved))
    assert moved.details == {"signal": ("hop none → 1d",)}


@pytest.mark.parametrize(
    ("signal", "code"),
    [
        ('reads.count("7d", hop="8d")', "T118"),
        ('reads.count(hop="1d")', "T118"),
        ('reads.count("7d", hop="0d")', "T101"),
        ('reads.count("7d", hop="a day")', "T101"),
        ('reads.count("7d", hop=7)', "T101"),
    ],
)
def test_a_hop_is_at_most_its_window(signal: str, code: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        plan(signal)
    assert refused.value.code == code


def test_a_window_and_its_hop_reach_back_no_further_than_what_is_kept() -> None:
    assert plan('reads.count("89d", hop="1d")').nodes["signal"]
    for signal in ('reads.count("90d", hop="1d")', 'reads.count("50d", hop="41d")'):
        with pytest.raises(Refused) as refused:
            plan(signal)
        assert refused.value.codes == ("T107",)


def test_what_a_device_cannot_compute_is_refused_before_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan('reads.top_k("story", 3)', place="device")
    able = ENGINES["sqlite"]
    less = replace(able, aggregates=able.aggregates - {"top_k"}, lacks={"top_k": "too long a list"})
    monkeypatch.setitem(ENGINES, "sqlite", less)  # type: ignore[arg-type]
    with pytest.raises(Refused, match="sqlite has no top_k: too long a list") as refused:
        plan('reads.top_k("story", 3)', place="device")
    assert refused.value.codes == ("T401",)


def test_an_argument_that_is_none_is_refused() -> None:
    for signal in ('reads.last_k("story", 0)', 'reads.decayed("seconds", "soon")'):
        with pytest.raises(Refused) as refused:
            plan(signal)
        assert refused.value.codes == ("T117",)
