"""Projects as text, so that every error's line can be held against the line that is wrong."""

from __future__ import annotations

from tacit.declare import Declarations, collect
from tacit.plan import Plan, compile_plan

PRELUDE = """\
from tacit import *

shopper = Entity("Someone who shops here.", person="pseudonymous")
member = Entity("Someone with an account.", person="identified")
article = Entity("Something on sale.")
store = Entity("A place to buy at.")
discover = Purpose("Show what one may want.", use="personalize.content", basis="consent", epsilon=8)
research = Purpose("Learn what sells.", use="analytics", basis=("consent", "contract"), epsilon=4)
advertise = Purpose("Sell space.", use="marketing.advertising", basis="consent", epsilon=8)
deliver = Purpose("Bring it.", use="essential.service", basis="contract", epsilon=8)

catalogue = Table(
    "What is on sale.", of=article, place="cloud", category=PUBLIC,
    columns={"item": key(article), "genre": text(), "weight": number()},
    derived={"heavy": "weight > 20.0"},
)
stores = Table(
    "Where to buy.", of=store, place="cloud", category=PUBLIC,
    columns={"store": key(store, type="int"), "city": text()},
)
orders = Events(
    "Every line of every order.",
    place="device", region="eu", keep="400d", basis="consent", purposes=[discover, research],
    category="user.behavior.purchase_history",
    columns={
        "customer": key(shopper, "user.unique_id.pseudonymous"), "item": key(article),
        "store": key(store, type="int"), "quantity": integer(), "price": number(),
        "city": text("user.location.precise"), "gift": flag(), "at": time(),
    },
    derived={"spend": "quantity * price"},
)
visits = Events(
    "Every page that somebody looked at.",
    place="cloud", region=["eu", "us"], keep="90d", basis="consent", purposes=[discover, research],
    category="user.behavior.browsing_history",
    columns={
        "visitor": key(shopper, "user.unique_id.pseudonymous"), "item": key(article),
        "seconds": integer(), "address": text("user.location.precise"), "at": time(),
    },
)
spend = orders.sum("spend", "30d")
basket = orders.first("at", by="item")
units = orders.sum("quantity", "30d", by="item")
looks = visits.count("7d")
taste = Release(
    "What is wanted together.", signal=basket, over=catalogue, mechanism="pairs", to="cloud",
    purposes=[discover], epsilon=4, delta=1e-6, keep="365d", region="eu",
)
"""


def read(text: str, prelude: str = PRELUDE, file: str = "signals.py") -> Declarations:
    """The declarations of a prelude and a text, as if they stood in one file."""
    namespace: dict[str, object] = {"__name__": "project"}
    exec(compile(prelude + text, file, "exec"), namespace)  # the text is the test's own
    return collect(namespace)


def planned(text: str, prelude: str = PRELUDE) -> Plan:
    """The plan of a prelude and a text."""
    return compile_plan(read(text, prelude))


def line_of(text: str, mark: str, prelude: str = PRELUDE) -> str:
    """`file:line` of the only line of a text that bears a mark."""
    lines = (prelude + text).splitlines()
    [found] = [number for number, line in enumerate(lines, 1) if mark in line]
    return f"signals.py:{found}"
