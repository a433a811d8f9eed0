"""Polars: prefix sums and ASOF joins, rolling maxima, and distinct items as +1 and -1."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from common import measure

HOUR = 3_600_000_000
BOUNDS = {"1h": HOUR, "1d": 24 * HOUR, "7d": 168 * HOUR, "30d": 720 * HOUR}


def prefix(events: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    merged = events.group_by(*keys, "at").agg(
        pl.len().cast(pl.Int64).alias("n"),
        pl.col("price").count().cast(pl.Int64).alias("c"),
        pl.col("price").sum().alias("s"),
        pl.col("price").max().alias("m"),
        pl.col("item").max().alias("last") if "item" not in keys else pl.lit(None).alias("last"),
    )
    return merged.sort(*keys, "at").with_columns(
        pl.col("n", "c", "s").cum_sum().over(keys),
        pl.col("m").cum_max().forward_fill().over(keys),
    )


def probe(spine: pl.DataFrame, found: pl.DataFrame, keys: list[str], bound: int) -> pl.DataFrame:
    asked = spine.select("row", *keys, (pl.col("at") - bound).alias("at")).sort("at")
    joined = asked.join_asof(
        found.sort("at"), on="at", by=keys, strategy="backward", allow_exact_matches=False
    )
    return joined.sort("row").with_columns(
        pl.col("n", "c").fill_null(0), pl.col("s").fill_null(0.0)
    )


def window(
    now: pl.DataFrame, then: pl.DataFrame | None, prefixed: str, name: str
) -> list[pl.Series]:
    n, c, s = (now[x] if then is None else now[x] - then[x] for x in "ncs")
    some = pl.Series(c > 0)
    table = pl.DataFrame({"n": n, "c": c, "s": s, "some": some}).select(
        pl.col("n").alias(f"{prefixed}_count_{name}"),
        pl.when("some").then("s").alias(f"{prefixed}_sum_{name}"),
        pl.when("some").then(pl.col("s") / pl.col("c")).alias(f"{prefixed}_mean_{name}"),
    )
    return table.get_columns()


def maxima(events: pl.DataFrame, spine: pl.DataFrame) -> list[pl.Series]:
    stream = pl.concat(
        [
            events.select(pl.lit(None, pl.Int64).alias("row"), "user", "at", "price"),
            spine.select("row", "user", "at", pl.lit(None, pl.Float64).alias("price")),
        ]
    ).sort("user", "at")
    found = []
    for name, bound in BOUNDS.items():
        rolled = stream.with_columns(
            pl.col("price")
            .rolling_max_by("at", f"{bound}i", closed="left", min_samples=1)
            .over("user")
            .alias("m")
        )
        asked = rolled.filter(pl.col("row").is_not_null()).sort("row")
        found.append(asked["m"].alias(f"user_max_{name}"))
    return found


def distinct(events: pl.DataFrame, spine: pl.DataFrame) -> pl.Series:
    week = BOUNDS["7d"]
    once = events.select("user", "item", "at").unique().sort("user", "item", "at")
    linked = once.with_columns(
        pl.col("at").shift(1).over("user", "item").alias("before"),
        pl.col("at").shift(-1).over("user", "item").alias("after"),
    )
    up = linked.filter(pl.col("before").is_null() | (pl.col("before") + week < pl.col("at")))
    down = linked.filter(pl.col("after").is_null() | (pl.col("at") + week < pl.col("after")))
    deltas = pl.concat(
        [
            up.select("user", "at", pl.lit(1, pl.Int64).alias("d")),
            down.select("user", pl.col("at") + week, pl.lit(-1, pl.Int64).alias("d")),
        ]
    )
    merged = deltas.group_by("user", "at").agg(pl.col("d").sum()).sort("user", "at")
    summed = merged.with_columns(pl.col("d").cum_sum().over("user")).sort("at")
    found = spine.sort("at").join_asof(
        summed, on="at", by="user", strategy="backward", allow_exact_matches=False
    )
    return found.sort("row")["d"].fill_null(0).alias("user_distinct_7d")


def work(folder: Path, target: Path) -> None:
    events = pl.read_parquet(folder / "events.parquet")
    spine = pl.read_parquet(folder / "spine.parquet").with_row_index("row")
    spine = spine.with_columns(pl.col("row").cast(pl.Int64))
    columns = spine.select("user", "item", "at").get_columns()
    users = prefix(events, ["user"])
    now = probe(spine, users, ["user"], 0)
    for name, bound in BOUNDS.items():
        columns += window(now, probe(spine, users, ["user"], bound), "user", name)
    columns += window(now, None, "user", "ever")
    columns += [now["m"].alias("user_max_ever"), now["last"].alias("user_last_item")]
    del users
    columns += maxima(events, spine)
    columns.append(distinct(events, spine))
    items = prefix(events, ["item"])
    asked = [probe(spine, items, ["item"], bound) for bound in (0, BOUNDS["7d"])]
    columns += window(asked[0], asked[1], "item", "7d")[:2]
    pairs = prefix(
        events.join(spine.select("user", "item").unique(), on=["user", "item"], how="semi"),
        ["user", "item"],
    )
    asked = [probe(spine, pairs, ["user", "item"], bound) for bound in (0, BOUNDS["30d"])]
    columns.append(window(asked[0], None, "pair", "ever")[0])
    columns.append(window(asked[0], asked[1], "pair", "30d")[1])
    pl.DataFrame(columns).write_parquet(target, compression="lz4")


if __name__ == "__main__":
    measure(work)
