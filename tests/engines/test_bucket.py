"""Views answered bucket by bucket are views answered at once; no Spark is needed to see that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tacit.engines.bucket import answer, shuffles
from tacit.engines.reference import Reference
from tacit.engines.spark import Spark
from tacit.errors import EngineError
from tacit.operations import Computed, Join, View, Window
from tacit.values import Type

TYPES = {"user": Type.TEXT, "item": Type.TEXT, "at": Type.TIME, "price": Type.FLOAT}
COLUMNS = (Computed("p", "price", Type.FLOAT), Computed("i", "item", Type.TEXT))
USER = View(
    "user",
    "events",
    (("person", "user"),),
    "at",
    (),
    COLUMNS,
    (Window("n", "count", None, None, None, 5), Window("m", "sum", "p", "i", None, None)),
)
PAIR = replace(
    USER,
    name="pair",
    keys=(("person", "user"), ("thing", "item")),
    windows=(Window("l", "last_k(2)", "p", None, None, None),),
)
ITEM = replace(USER, name="item", keys=(("thing", "item"),), windows=PAIR.windows)


def test_views_that_share_keys_are_answered_from_one_shuffle() -> None:
    found = list(shuffles([PAIR, USER, ITEM], lambda view: TYPES))
    assert [[view.name for view in one.views] for one in found] == [["user", "pair"], ["item"]]
    assert [one.rows.keys for one in found] == [USER.keys, ITEM.keys]
    signals = [[w.signal for view in one.views for w in view.windows] for one in found]
    assert signals == [["g1", "g2", "g0"], ["g3"]]  # numbered as the views were given


def test_other_sources_and_times_are_shuffled_apart() -> None:
    others = [replace(USER, source="more"), replace(USER, time="then")]
    assert len(list(shuffles([USER, *others], lambda view: TYPES | {"then": Type.TIME}))) == 3


def test_expressions_and_joins_are_prepared_once() -> None:
    joined = replace(
        PAIR,
        joins=(Join("things", "item", "id"),),
        computed=(*COLUMNS, Computed("w", "things.weight", Type.FLOAT)),
    )
    [one] = shuffles([USER, joined], lambda view: TYPES | {"things.weight": Type.FLOAT})
    assert [c.sql for c in one.rows.computed] == ["user", "price", "item", "things.weight"]
    assert one.rows.joins == joined.joins


@pytest.mark.parametrize("buckets", [1, 2, 7])
def test_buckets_together_are_the_whole(buckets: int) -> None:
    draw = np.random.default_rng(5)
    size = 200
    events = pa.table(
        {
            "user": [f"u{n}" if n else None for n in draw.integers(0, 9, size)],
            "item": [f"i{n}" if n else None for n in draw.integers(0, 5, size)],
            "at": draw.integers(0, 40, size),
            "price": draw.integers(-4, 9, size).astype(float),
        }
    )
    spine = pa.table(
        {
            "person": [f"u{n}" if n else None for n in draw.integers(0, 12, 50)],
            "thing": [f"i{n}" if n else None for n in draw.integers(0, 7, 50)],
            "at": draw.integers(0, 45, 50),
        }
    )
    views = [USER, PAIR]
    expected = Reference().features(views, {"events": events}, spine)
    [shuffle] = shuffles(views, lambda view: TYPES)
    prepared = {
        shuffle.names["user"]: events["user"],
        shuffle.names["item"]: events["item"],
        shuffle.names["price"]: events["price"],
        "at": events["at"],
    }
    whole = pa.table(prepared).filter(events["user"].is_valid())
    asked = pa.table(
        {"row": range(50), "k0": spine["person"], "k1": spine["thing"], "at": spine["at"]}
    )
    parts = []
    for bucket in range(buckets):
        chosen = [i % buckets == bucket for i in _numbers(asked["k0"])]
        held = [i % buckets == bucket for i in _numbers(whole[shuffle.names["user"]])]
        some = asked.filter(pa.array(chosen)).append_column("bucket", [[bucket] * sum(chosen)])
        parts.append(answer(shuffle, ["person", "thing"], some, whole.filter(pa.array(held))))
    found = pa.concat_tables(parts).sort_by("row")
    for number, signal in enumerate(["n", "m", "l"]):
        assert found[f"g{number}"].to_pylist() == expected[signal].to_pylist()


def _numbers(keys: pa.ChunkedArray) -> list[int]:
    return [0 if key is None else int(key[1:]) for key in keys.to_pylist()]


def test_settings_of_spark_are_read_and_wrong_ones_told() -> None:
    options = {"master": "local[3]", "buckets": 5, "spark": {"executor": {"memory": "8g"}}}
    engine = Spark.configured(options | {"spark.ui.enabled": True})
    assert (engine.master, engine.buckets) == ("local[3]", 5)
    assert engine.config["spark.executor.memory"] == "8g"
    assert engine.config["spark.ui.enabled"] == "true"
    for wrong in (
        {"mastre": "x"},
        {"master": 7},
        {"buckets": 0},
        {"buckets": True},
        {"a": {"b": 1}},
    ):
        with pytest.raises(EngineError) as refused:
            Spark.configured(wrong)
        assert refused.value.code == "T412"
