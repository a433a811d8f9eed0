"""The 26 columns that every system computes: exact, half-open windows strictly before the row."""

from __future__ import annotations

from tacit.operations import Computed, View, Window
from tacit.values import DAY, HOUR, Type

LENGTHS = {"1h": HOUR, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "ever": None}
COLUMNS = (Computed("price", "price", Type.FLOAT), Computed("item", "item", Type.TEXT))


def _window(signal: str, aggregate: str, value: str | None, length: str) -> Window:
    return Window(signal, aggregate, value, None, None, LENGTHS[length])


USER = (
    *(
        _window(f"user_{aggregate}_{length}", aggregate, value, length)
        for length in LENGTHS
        for aggregate, value in (
            ("count", None),
            ("sum", "price"),
            ("mean", "price"),
            ("max", "price"),
        )
    ),
    _window("user_last_item", "last", "item", "ever"),
    _window("user_distinct_7d", "distinct", "item", "7d"),
)
ITEM = (
    _window("item_count_7d", "count", None, "7d"),
    _window("item_sum_7d", "sum", "price", "7d"),
)
PAIR = (
    _window("pair_count_ever", "count", None, "ever"),
    _window("pair_sum_30d", "sum", "price", "30d"),
)
KEYS = {
    "user": (("user", "user"),),
    "item": (("item", "item"),),
    "pair": (("user", "user"), ("item", "item")),
}
VIEWS = tuple(
    View(name, "events", KEYS[name], "at", (), COLUMNS, windows)
    for name, windows in (("user", USER), ("item", ITEM), ("pair", PAIR))
)
SIGNALS = tuple(window.signal for view in VIEWS for window in view.windows)
assert len(SIGNALS) == 26
LATEST = View(
    "latest",
    "events",
    KEYS["user"],
    "at",
    (),
    COLUMNS,
    (
        _window("user_last_item", "last", "item", "ever"),
        _window("user_last_price", "last", "price", "ever"),
    ),
)
