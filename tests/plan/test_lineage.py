"""Column lineage against expectations written by hand, direct and indirect."""

from __future__ import annotations

import pytest
from projects import planned

from tacit.plan import Port
from tacit.plan.lineage import origins, reached

ALWAYS = {"customer": "decides", "at": "decides"}
"""Whose rows, and when: what every signal of `orders` depends on."""

EXPECTED = [
    ("orders.count('7d')", {}),
    ("orders.sum('price', '7d')", {"price": "value"}),
    ("orders.sum('spend', '7d')", {"price": "value", "quantity": "value"}),
    ("orders.sum('quantity * price', '7d')", {"price": "value", "quantity": "value"}),
    ("orders.count('7d', where='gift')", {"gift": "decides"}),
    ("orders.sum('price', '7d', where='price > 3.0')", {"price": "both"}),
    ("orders.count('7d', by='item')", {"item": "decides"}),
    ("orders.max('at')", {"at": "both"}),
    ("orders.sum('CASE WHEN gift THEN 0.0 ELSE price END')", {"gift": "decides", "price": "value"}),
    ("orders.sum('CASE WHEN price > 1.0 THEN price END')", {"price": "both"}),
    ("orders.sum('CASE WHEN spend > 1.0 THEN 1 END')", {"price": "decides", "quantity": "decides"}),
    ("orders.sum('CASE WHEN CASE WHEN gift THEN TRUE END THEN 1 END')", {"gift": "decides"}),
    ("orders.last('COALESCE(city, item)')", {"city": "value", "item": "value"}),
    ("orders.last('city', '7d', per=store)", {"city": "value", "store": "decides"}),
    (
        "orders.last('catalogue.genre')",
        {"item": "decides", "catalogue.genre": "value", "catalogue.item": "decides"},
    ),
    (
        "orders.count(where='catalogue.heavy')",
        {"item": "decides", "catalogue.weight": "decides", "catalogue.item": "decides"},
    ),
    (
        "orders.sum('catalogue.weight * quantity', by='stores.city')",
        {
            "quantity": "value",
            "item": "decides",
            "store": "decides",
            "catalogue.weight": "value",
            "catalogue.item": "decides",
            "stores.city": "decides",
            "stores.store": "decides",
        },
    ),
]


@pytest.mark.parametrize(("written", "expected"), EXPECTED, ids=[sql for sql, _ in EXPECTED])
def test_origins(written: str, expected: dict[str, str]) -> None:
    plan = planned(f"s = {written}")
    ways: dict[str, set[str]] = {}
    for reach in origins(plan, Port("s", "value")):
        ways.setdefault(str(reach.port), set()).add(reach.flow)
    words = {frozenset({"direct"}): "value", frozenset({"indirect"}): "decides"}
    found = {port: words.get(frozenset(flows), "both") for port, flows in ways.items()}
    whole = ALWAYS | expected
    assert found == {name if "." in name else f"orders.{name}": how for name, how in whole.items()}


def test_two_spellings_of_one_column_keep_both_ways() -> None:
    plan = planned("s = orders.max('spend')\nt = orders.max('quantity * price')")
    [view] = [v for v in plan.views if v.source == "orders"]
    assert [c.sql for c in view.computed].count("quantity * price") == 1
    derived = {str(e.source) for e in plan.edges if e.target.node == view.name}
    assert {"orders.spend", "orders.quantity", "orders.price"} <= derived


def test_reached_is_what_an_erasure_walks() -> None:
    plan = planned("m = Model('x', learner='item_item', release=taste)")
    found = {str(reach.port): reach.flow for reach in reached(plan, Port("orders", "item"))}
    assert found["taste.value"] == found["m.value"] == found["m:bundle.value"] == "indirect"
    assert not any(name.startswith(("visits", "looks", "spend")) for name in found)


def test_a_stored_column_is_its_own_origin() -> None:
    plan = planned("")
    assert [(str(p), f) for p, f in origins(plan, Port("orders", "price"))] == [
        ("orders.price", "direct")
    ]
    assert len(origins(plan, Port("orders", "spend"))) == 2
