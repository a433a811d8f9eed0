"""Plain SQL as it is usually written: events and spine in one stream, and RANGE windows over it.

Distinct items are +1 and -1 in that stream too (there is no exact sliding COUNT DISTINCT to write
otherwise); the last item is the greatest of the last moment.
"""

from __future__ import annotations

from common import run
from duckdb_best import BOUNDS, CODES, distinct

STREAM = """(SELECT row, person, item, t, NULL::DOUBLE AS price, 0 AS one FROM asked
  UNION ALL SELECT NULL, person, item, t, price, 1 FROM events)"""


def frame(keys: str, bound: int | None) -> str:
    start = "UNBOUNDED" if bound is None else str(bound)
    return f"OVER (PARTITION BY {keys} ORDER BY t RANGE BETWEEN {start} PRECEDING AND 1 PRECEDING)"


def users() -> str:
    found = []
    for name, bound in [*BOUNDS.items(), ("ever", None)]:
        over = frame("person", bound)
        found += [
            f"coalesce(sum(one) {over}, 0)::BIGINT AS user_count_{name}",
            f"sum(price) {over} AS user_sum_{name}",
            f"avg(price) {over} AS user_mean_{name}",
            f"max(price) {over} AS user_max_{name}",
        ]
    last = "max(CASE WHEN one = 1 THEN {'t': t, 'item': item} END)"
    found.append(f"({last} {frame('person', None)}).item AS user_last_item")
    return ", ".join(found)


def part(name: str, signals: str) -> str:
    return f"""CREATE TEMP TABLE {name} AS
    SELECT * FROM (SELECT row, {signals} FROM {STREAM}) WHERE row IS NOT NULL"""


ITEM, PAIR = frame("item", BOUNDS["7d"]), "person, item"
STATEMENTS = [
    *CODES,
    part("u", users()),
    *distinct(),
    part(
        "i",
        f"coalesce(sum(one) {ITEM}, 0)::BIGINT AS item_count_7d, sum(price) {ITEM} AS item_sum_7d",
    ),
    part(
        "p",
        f"coalesce(sum(one) {frame(PAIR, None)}, 0)::BIGINT AS pair_count_ever,"
        f" sum(price) {frame(PAIR, BOUNDS['30d'])} AS pair_sum_30d",
    ),
]
RESULT = """SELECT asked.person AS "user", asked.item, asked.t AS "at", u.* EXCLUDE (row),
d.d AS user_distinct_7d, i.* EXCLUDE (row), p.* EXCLUDE (row) FROM asked
JOIN u USING (row) JOIN d USING (row) JOIN i USING (row) JOIN p USING (row) ORDER BY row"""

if __name__ == "__main__":
    run("windows", STATEMENTS, RESULT)
