"""A shop that learns what to show without collecting what anybody bought."""

from __future__ import annotations

from tacit import (
    PUBLIC,
    Entity,
    Events,
    Metric,
    Model,
    Purpose,
    Release,
    Sink,
    Table,
    integer,
    key,
    number,
    text,
    time,
)

shopper = Entity("Someone who shops here.", person="pseudonymous")
article = Entity("Something on sale.")
discover = Purpose(
    "Show each shopper what they may want.", use="personalize.content", basis="consent", epsilon=8
)

catalogue = Table(
    "What is on sale.", of=article, place="cloud", category=PUBLIC,
    columns={"item": key(article), "description": text()},
)  # fmt: skip
orders = Events(
    "Every line of every order, kept on the shopper's own device.",
    place="device", region="eu", keep="400d", basis="consent", purposes=[discover],
    category="user.behavior.purchase_history",
    columns={
        "customer": key(shopper, "user.unique_id.pseudonymous"),
        "item": key(article), "quantity": integer(), "price": number(), "at": time(),
    },
    derived={"spend": "quantity * price"},
)  # fmt: skip
visits = Events(
    "What was looked at while signed in.",
    place="cloud", region=["eu", "us"], keep="90d", basis="consent", purposes=[discover],
    category="user.behavior.browsing_history",
    columns={
        "visitor": key(shopper, "user.unique_id.pseudonymous"), "item": key(article),
        "seconds": integer(), "at": time(),
    },
)  # fmt: skip

spend_30d = orders.sum("spend", "30d")
basket = orders.first("at", by="item", where="quantity > 0")
taste = Release(
    "Which things are wanted together.", signal=basket, over=catalogue, mechanism="pairs", to="cloud",
    purposes=[discover], epsilon=4, delta=1e-5, keep="ever", region="eu",
)  # fmt: skip
sold = orders.sum("CASE WHEN catalogue.description <> '' THEN quantity END", "90d", by="item")
demand = Release(
    "How much of each thing is wanted.", signal=sold, over=catalogue, mechanism="sum", to="cloud",
    purposes=[discover], epsilon=1, delta=1e-5, keep="365d", region="eu",
)  # fmt: skip
popular = Metric("What sells.", release=demand, minimum=100)

looks = {f"looks_{days}d": visits.count(f"{days}d") for days in (1, 7, 30)}
ranking = Sink(
    "Rows to train the ranking on.", signals=list(looks.values()), to="training", place="cloud",
    purposes=[discover], region="eu", keep="30d",
)  # fmt: skip
recommender = Model("What goes with what.", learner="item_item", release=taste)
