"""A hash is of meaning: all of it, and nothing else. And a plan never changes once it is made."""

from __future__ import annotations

import copy
import dataclasses
from types import MappingProxyType

import pytest
from projects import PRELUDE, planned

from tacit.declare import collect
from tacit.plan import PASSES, Plan, compile_plan, difference, document

TEXT = """
sold = orders.sum("price", "30d", by="item", where="catalogue.heavy")
demand = Release("x", signal=sold, over=catalogue, mechanism="sum", to="cloud", purposes=[discover], epsilon=1, keep="30d", region="eu", sensitive=["user.financial"], options={"bound": 3})
model = Model("x", learner="item_item", release=taste, options={"rank": [8, 16]})
metric = Metric("x", release=demand, minimum=50)
sink = Sink("x", signals=[looks], linkability="identified", to="training", place="cloud", purposes=[discover], region="eu", keep="30d")
"""
BASE = PRELUDE + TEXT

SAME = {
    "a sentence": ("What is on sale.", "Everything on sale."),
    "a comment": ("spend = orders", "# spend, that is\nspend = orders"),
    "an owner": ('"What is wanted together."', '"What is wanted together.", owner="shop team"'),
    "lines moved": ("looks = ", "\n\n\nlooks = "),
    "spaces in SQL": ('"quantity * price"', '"quantity   *\\n price"'),
    "a comment in SQL": ('where="catalogue.heavy"', 'where="catalogue.heavy /* is it? */"'),
    "parentheses that say nothing": ('"quantity * price"', '"(quantity) * (price)"'),
    "a duration in other words": ('keep="365d"', 'keep="8760h"'),
    "a window in other words": ('looks = visits.count("7d")', 'looks = visits.count("1w")'),
    "one name as a list": ('keep="365d", region="eu"', 'keep="365d", region=["eu"]'),
    "purposes in another order": ("purposes=[discover, research]", "purposes=[research, discover]"),
    "a budget as an int": ('epsilon=8)\nresearch', 'epsilon=8.0)\nresearch'),
    "a region twice": ('region=["eu", "us"]', 'region=["us", "eu", "us"]'),
    "a purpose by name": ("to=\"training\", place=\"cloud\", purposes=[discover]", "to=\"training\", place=\"cloud\", purposes=['discover']"),
    "a category on each column": ('"genre": text()', '"genre": text(PUBLIC)'),
    "the only time, named": ('category="user.behavior.browsing_history",', 'category="user.behavior.browsing_history", time="at",'),
    "a derived column spelled out": ('spend = orders.sum("spend"', 'spend = orders.sum("quantity * price"'),
    "terms spelled out": ('learner="item_item", release=taste', 'learner="item_item", release=taste, keep="365d", region="eu", purposes=[discover]'),
    "sensitive twice": ('sensitive=["user.financial"]', 'sensitive=("user.financial", "user.financial")'),
}  # fmt: skip

ORDERS = {
    "orders",
    "orders:shopper",
    "spend",
    "basket",
    "units",
    "sold",
    "taste",
    "demand",
    "model",
    "model:bundle",
    "metric",
}
VISITS = {"visits", "visits:shopper", "looks", "sink"}
OF_SOLD = {"sold", "demand", "metric"}
OF_TASTE = {"taste", "model", "model:bundle"}
CATALOGUE = {"catalogue"} | OF_SOLD | OF_TASTE

MOVED = {
    "a window": ('looks = visits.count("7d")', 'looks = visits.count("8d")', {"looks", "sink"}),
    "a value": ('sold = orders.sum("price"', 'sold = orders.sum("spend"', OF_SOLD),
    "a filter": ('where="catalogue.heavy"', 'where="NOT catalogue.heavy"', OF_SOLD),
    "an aggregate": ('basket = orders.first', 'basket = orders.last', {"basket"} | OF_TASTE),
    "a derivation of events": ('"spend": "quantity * price"', '"spend": "quantity + price"', ORDERS),
    "a derivation of content": ('"weight > 20.0"', '"weight > 21.0"', CATALOGUE),
    "a retention": ('keep="400d"', 'keep="401d"', ORDERS),
    "a place": ('"Where to buy.", of=store, place="cloud"', '"Where to buy.", of=store, place="device"', {"stores"}),
    "a region": ('region=["eu", "us"]', 'region=["eu"]', VISITS),
    "a category": ('"price": number()', '"price": number("user.financial")', ORDERS),
    "a narrowing": ('"seconds": integer()', '"seconds": integer().narrow(keep="9d")', VISITS),
    "a narrowing to no purpose": ('"seconds": integer()', '"seconds": integer().narrow(purposes=[])', VISITS),
    "a type": ('"gift": flag()', '"gift": integer()', ORDERS),
    "a column more": ('"gift": flag()', '"gift": flag(), "x": text()', ORDERS),
    "who a key is of": ('"visitor": key(shopper, ', '"visitor": key(member, ', VISITS - {"visits:shopper"} | {"visits:member"}),
    "how a person is known": ('"Someone who shops here.", person="pseudonymous"', '"Someone who shops here.", person="identified"', {"shopper"} | ORDERS | VISITS),
    "an epsilon": ("epsilon=4, delta", "epsilon=3, delta", OF_TASTE),
    "a delta": ("delta=1e-6, keep", "delta=1e-7, keep", OF_TASTE),
    "a release's keep": ('keep="365d"', 'keep="364d"', OF_TASTE),
    "a mechanism's options": ('options={"bound": 3}', 'options={"bound": 4}', {"demand", "metric"}),
    "what a release clears": ('sensitive=["user.financial"]', "sensitive=[]", {"demand", "metric"}),
    "a learner's options": ('{"rank": [8, 16]}', '{"rank": [8, 17]}', {"model", "model:bundle"}),
    "a bundle's end": ('options={"rank"', 'expires="29d", options={"rank"', {"model:bundle"}),
    "a model's own keep": ('options={"rank"', 'keep="99d", options={"rank"', {"model", "model:bundle"}),
    "a cohort": ("minimum=50", "minimum=51", {"metric"}),
    "a sink's keep": ('purposes=[discover], region="eu", keep="30d")\n', 'purposes=[discover], region="eu", keep="31d")\n', {"sink"}),
    "a sink's place": ('to="training", place', 'to="export", place', {"sink"}),
    "what a sink may hold": ('linkability="identified", ', "", {"sink"}),
    "a budget": ('epsilon=8)\nresearch', 'epsilon=9)\nresearch', {"discover"}),
    "a budget's delta": ('epsilon=8)\nresearch', 'epsilon=8, delta=1e-5)\nresearch', {"discover"}),
    "a use": ('use="personalize.content"', 'use="personalize"', {"discover"} | ORDERS | VISITS),
    "a basis": ('basis=("consent", "contract")', 'basis=("consent",)', {"research"} | ORDERS - OF_TASTE | VISITS | OF_TASTE),
}  # fmt: skip


def hashes(text: str) -> dict[str, str]:
    plan = planned(text, prelude="")
    return {name: each.hash for name, each in [*plan.vocabulary.items(), *plan.nodes.items()]}


def edited(old: str, new: str) -> str:
    assert BASE.count(old) >= 1, old
    return BASE.replace(old, new)


@pytest.mark.parametrize("edit", SAME.values(), ids=SAME)
def test_what_means_the_same_has_the_same_hash(edit: tuple[str, str]) -> None:
    after = planned(edited(*edit), prelude="")
    before = planned(BASE, prelude="")
    assert after.hash == before.hash
    assert not difference(document(before), document(after))


@pytest.mark.parametrize("edit", MOVED.values(), ids=MOVED)
def test_what_means_something_else_moves_all_that_stand_on_it(
    edit: tuple[str, str, set[str]],
) -> None:
    old, new, expected = edit
    before, after = hashes(BASE), hashes(edited(old, new))
    assert {name for name in after if before.get(name) != after[name]} == expected
    assert planned(edited(old, new), prelude="").hash != planned(BASE, prelude="").hash


def test_difference_tells_what_changed_from_what_stands_on_it() -> None:
    text = (
        edited('keep="365d"', 'keep="364d"')
        .replace('looks = visits.count("7d")', 'looks = visits.count("8d")')
        .replace("metric =", "number =")
        + 'more = visits.count("1d")\n'
    )
    change = difference(document(planned(BASE, prelude="")), document(planned(text, prelude="")))
    assert set(change.added) == {"number", "more"}
    assert change.removed == ("metric",)
    assert set(change.changed) == {"taste", "looks", "model", "model:bundle"}  # both have its keep
    assert set(change.affected) == {"sink"}
    assert change.details["taste"] == ("keep 365d → 364d",)
    assert change.details["looks"] == ("window 1w → 8d",)


def test_difference_reads_plans_stored_before_there_was_a_vocabulary() -> None:
    new = document(planned(BASE, prelude=""))
    old = copy.deepcopy(new)
    del old["vocabulary"]
    for node in old["nodes"].values():
        del node["mentions"]
    change = difference(old, new)
    assert set(change.added) == set(new["vocabulary"])
    assert not change.removed


def test_passes_are_a_visible_tuple() -> None:
    assert isinstance(PASSES, tuple)
    assert [step.__name__ for step in PASSES] == ["build", "label", "check_flow", "place", "lower"]


def test_passes_are_pure() -> None:
    """Each gives the same for the same, and leaves what it was given as it was."""
    plan = Plan(planned(BASE, prelude="").declarations)
    for step in PASSES:
        before = repr(plan.nodes), plan.edges, plan.views, plan.crossings, plan.bill
        once, again = step(plan), step(plan)
        assert (repr(plan.nodes), plan.edges, plan.views, plan.crossings, plan.bill) == before
        for part in ("vocabulary", "nodes", "edges", "views", "crossings", "bill"):
            assert getattr(once, part) == getattr(again, part)
        plan = once
    assert plan.hash == compile_plan(plan.declarations).hash


def test_a_plan_cannot_be_changed() -> None:
    plan = planned(BASE, prelude="")
    with pytest.raises(TypeError):
        plan.nodes["x"] = plan.nodes["looks"]  # type: ignore[index]
    with pytest.raises(TypeError):
        plan.nodes["looks"].spec["window"] = 1  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.nodes["looks"].hash = "x"  # type: ignore[misc]
    for node in plan.nodes.values():
        assert _frozen(node.spec), node.id


def _frozen(value: object) -> bool:
    if isinstance(value, MappingProxyType):
        return all(_frozen(each) for each in value.values())
    if isinstance(value, tuple):
        return all(_frozen(each) for each in value)
    return not isinstance(value, dict | list | set)


def test_declarations_cannot_be_changed_from_outside() -> None:
    namespace: dict[str, object] = {"__name__": "project"}
    exec(compile(BASE, "signals.py", "exec"), namespace)
    given = namespace["orders"].purposes  # type: ignore[attr-defined]
    assert isinstance(given, tuple)
    with pytest.raises(TypeError):
        namespace["orders"].columns["x"] = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        namespace["model"].options["rank"] = 1  # type: ignore[attr-defined]
    assert namespace["model"].options["rank"] == (8, 16)  # type: ignore[attr-defined]
    assert collect(namespace).named["model"] is namespace["model"]
