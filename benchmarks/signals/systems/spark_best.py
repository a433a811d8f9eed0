"""The best exact PySpark found for the 26 columns: running sums over events and probes; max apart.

Spark recomputes a sliding RANGE frame for every row, which is quadratic in a heavy key, and has no
ASOF join. So each bound of each window is a probe in the stream of events, a running sum serves
them all with one sort, and a window is a difference of two probes. A maximum comes from tiles of
hours and days and from the events at the edges, by equi-joins; distinct items of seven days are +1
and -1, as in `duckdb_best`. Runs in an environment of its own, on two cores and a 12 GB heap.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common import measure, peak_of_tree
from duckdb_best import BOUNDS, EVER, HOUR, columns

RUNNING = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"


def session() -> Any:
    from pyspark.sql import SparkSession

    return (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.memory", "12g")
        .config("spark.sql.shuffle.partitions", "32")
        .config("spark.ui.enabled", "false")
        .config("spark.log.level", "ERROR")
        .getOrCreate()
    )


def values(bounds: list[int]) -> str:
    return ", ".join(f"({bound}L)" for bound in bounds)


def probed(keys: str, bounds: list[int]) -> str:
    """For each spine row and bound w: count, values, sum and last item before ``t - w``."""
    over = f"OVER (PARTITION BY {keys} ORDER BY t, kind, item_ {RUNNING})"
    found = ", ".join(
        f"max(CASE WHEN w = {bound} THEN {x} END) AS {x}{bound}" for bound in bounds for x in "ncs"
    )
    return f"""
    SELECT row, {found}, max(CASE WHEN w = 0 THEN last END) AS item FROM (
      SELECT row, w, sum(kind) {over} AS n, count(price) {over} AS c,
             coalesce(sum(price) {over}, 0D) AS s, last_value(item_) IGNORE NULLS {over} AS last
      FROM (SELECT CAST(NULL AS BIGINT) AS row, CAST(NULL AS BIGINT) AS w, user, item, at AS t,
                   1 AS kind, price, item AS item_ FROM events
            UNION ALL
            SELECT row, w, user, item, at - w, 0, NULL, NULL FROM asked
            CROSS JOIN (VALUES {values(bounds)} AS b(w)))
    ) WHERE row IS NOT NULL GROUP BY row"""


def inside(start: str, end: str) -> str:
    return ", ".join(
        f"max(CASE WHEN {start} >= at - {w}L AND {end} <= at THEN m END) AS max_{name}"
        for name, w in [*BOUNDS.items(), ("ever", EVER)]
    )


def edges(width: int, tiles: str, start: str, end: str) -> str:
    """What lies in the tiles in which the windows begin and end."""
    return f"""SELECT row, {inside(start, end)} FROM (
      SELECT DISTINCT row, user, at, (at - w) DIV {width} AS tile FROM asked
      CROSS JOIN (VALUES {values([0, *BOUNDS.values()])} AS b(w))
    ) AS q JOIN {tiles} USING (user, tile) GROUP BY row"""


def maxima() -> str:
    """Tiles; a maximum may see a row twice, so every candidate counts in every window it is in."""
    day, hour = BOUNDS["1d"], HOUR
    events = f"(SELECT user, at DIV {hour} AS tile, at AS x, price AS m FROM events)"
    hours = f"(SELECT user, h DIV 24 AS tile, h * {hour} AS x, m FROM hours)"
    whole = f"""SELECT row, {inside(f"d * {day}L", f"(d + 1) * {day}L")} FROM asked
      JOIN days USING (user) WHERE d < at DIV {day} GROUP BY row"""
    names = ", ".join(f"max(max_{name}) AS max_{name}" for name in [*BOUNDS, "ever"])
    return f"""SELECT row, {names} FROM ({edges(hour, events, "x", "x + 1")}
      UNION ALL {edges(day, hours, "x", f"x + {hour}L")} UNION ALL {whole}) GROUP BY row"""


def distinct() -> str:
    week = BOUNDS["7d"]
    over = "OVER (PARTITION BY user, item ORDER BY at)"
    return f"""
    WITH x AS (SELECT user, at, coalesce(lag(at) {over} + {week}L >= at, false) AS covered,
                      coalesce(lead(at) {over} <= at + {week}L, false) AS followed
               FROM (SELECT DISTINCT user, item, at FROM events))
    SELECT row, d FROM (
      SELECT row, coalesce(sum(delta) OVER (PARTITION BY user ORDER BY t, kind {RUNNING}), 0) AS d
      FROM (SELECT CAST(NULL AS BIGINT) AS row, user, at AS t, 1 AS kind, 1 AS delta FROM x
              WHERE NOT covered
            UNION ALL SELECT NULL, user, at + {week}L, 1, -1 FROM x WHERE NOT followed
            UNION ALL SELECT row, user, at, 0, 0 FROM asked)
    ) WHERE row IS NOT NULL"""


def work(folder: Path, target: Path) -> None:
    from pyspark.sql import functions as sql

    spark = session()
    spark.read.parquet(str(folder / "events.parquet")).createOrReplaceTempView("events")
    asked = spark.read.parquet(str(folder / "spine.parquet"))
    asked = asked.select(sql.monotonically_increasing_id().alias("row"), "*").cache()
    asked.createOrReplaceTempView("asked")
    for name, select in {
        "hours": f"SELECT user, at DIV {HOUR} AS h, max(price) AS m FROM events GROUP BY 1, 2",
        "days": "SELECT user, h DIV 24 AS d, max(m) AS m FROM hours GROUP BY 1, 2",
        "u": probed("user", [0, *BOUNDS.values(), EVER]),
        "i": probed("item", [0, BOUNDS["7d"]]),
        "p": probed("user, item", [0, BOUNDS["30d"], EVER]),
        "m": maxima(),
        "d": distinct(),
    }.items():
        spark.sql(select).createOrReplaceTempView(name)
    result = spark.sql(
        f"""SELECT asked.user, asked.item, asked.at, {columns()} FROM asked
        JOIN u USING (row) LEFT JOIN m USING (row) JOIN d USING (row) JOIN i USING (row)
        JOIN p USING (row) ORDER BY asked.row"""
    )
    result.write.mode("overwrite").parquet(str(target.with_suffix(".folder")))
    asked.unpersist()


if __name__ == "__main__":
    measure(work, peak=peak_of_tree)
