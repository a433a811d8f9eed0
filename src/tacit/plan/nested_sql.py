"""Aggregates that take SQLite more than one GROUP BY: variance, stddev, decayed, last_k, top_k.

Their statements stand on the rows of one window, ``(row, by, value, at, now)``, joined as
``plan.window_sql`` does. SQLCipher has no exp(), pow() or sqrt(), so what they need of these is
written out: powers of two by bits and a series, square roots by Newton's iteration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import sqlglot
from sqlglot import exp

from tacit.aggregates.algebra import REGISTRY, base_key
from tacit.aggregates.lists import LastK, TopK
from tacit.aggregates.recent import Decayed
from tacit.operations import Window

NESTED = ("variance", "stddev", "decayed", "last_k", "top_k")
LISTS = ("last_k", "top_k")

_TERMS = 18  # of the series of exp(z), |z| < ln 2: the rest is below 1e-18
_GONE = 1024  # half-lives, after which a value counts nothing: a part in 10**308 of what it was


def nested(window: Window, rows: exp.Select, groups: Sequence[str]) -> exp.Select:
    """The statement of one window over its ``rows``; ``groups`` name the row, and perhaps ``by``.

    Its columns: the groups, for a list ``rank``, and the signal.
    """
    key = base_key(window.aggregate)
    if key in LISTS:
        return _list(window, rows, groups)
    if key == "decayed":
        return _decayed(window, rows, groups)
    return _spread(window, rows, groups)


@lru_cache(maxsize=256)
def _parsed(sql: str) -> exp.Expr:
    return sqlglot.parse_one(sql, dialect="sqlite")


def _columns(select: str, below: exp.Select, tail: str = "") -> exp.Select:
    """``SELECT select FROM (below) tail``."""
    tree = _parsed(f"SELECT {select} FROM x {tail}").copy()  # noqa: S608 - all of it is ours
    assert isinstance(tree, exp.Select)
    return tree.from_(below.subquery("x", copy=False), copy=False)


def _named(window: Window, tree: exp.Select) -> exp.Select:
    """With the last column named as the signal."""
    last = tree.expressions[-1]
    tree.expressions[-1].replace(exp.alias_(last.unalias(), window.signal, quoted=True))
    return tree


def _spread(window: Window, rows: exp.Select, groups: Sequence[str]) -> exp.Select:
    """Two passes, the mean first: squares of large values would cancel. An infinity: no result."""
    names = ", ".join(groups)
    means = f"{names}, v, AVG(v) OVER (PARTITION BY {names}) AS m"
    inner = _columns(means, _columns(f"{names}, CAST(value AS REAL) AS v", rows))
    squares = "CASE WHEN COUNT(v) = COUNT(v - v) THEN AVG((v - m) * (v - m)) END AS v"
    found = _columns(f"{names}, {squares}", inner, f"GROUP BY {names}")
    if window.aggregate == "variance":
        return _named(window, found)
    root = """CASE WHEN v > 0.0 THEN (
      WITH RECURSIVE n(y) AS (
        SELECT CASE WHEN x.v > 1.0 THEN x.v ELSE 1.0 END
        UNION ALL SELECT 0.5 * (y + x.v / y) FROM n WHERE 0.5 * (y + x.v / y) < y
      ) SELECT MIN(y) FROM n
    ) ELSE v END AS v"""  # from above, Newton's iteration falls until it is exact
    return _named(window, _columns(f"{names}, {root}", found))


def _decayed(window: Window, rows: exp.Select, groups: Sequence[str]) -> exp.Select:
    """Σ v · 2^-(n + f), n whole: 2^-n by the bits of n, 2^-f by the series of exp(-f ln 2)."""
    aggregate = REGISTRY[window.aggregate]
    assert isinstance(aggregate, Decayed), "the registry knows its own keys"
    names = ", ".join(groups)
    age = f"CAST(now - at AS REAL) / {aggregate.half}.0"
    aged = _columns(f"{names}, CAST(value AS REAL) AS v, {age} AS x", rows)
    whole = "v, CAST(x AS INTEGER) AS n"
    parts = _columns(f"{names}, {whole}, (CAST(x AS INTEGER) - x) * {math.log(2)!r} AS z", aged)
    series = "1.0"  # nested to the left: SQLite's parser holds a hundred things at a time
    for term in range(_TERMS, 0, -1):
        series = f"({series} * z / {term}.0 + 1.0)"
    bits = " * ".join(
        f"CASE WHEN n & {1 << bit} THEN {2.0 ** -(1 << bit)!r} ELSE 1.0 END" for bit in range(10)
    )
    weight = f"CASE WHEN n < {_GONE} THEN {bits} ELSE 0.0 END"
    weighed = _columns(f"{names}, v, {weight} AS w, {series} AS e", parts)
    # An infinity times 0.0 is NULL to SQLite: it stays what it is, at any age.
    each = "CASE WHEN v * 0.0 IS NULL THEN v ELSE v * w * e END"
    return _named(window, _columns(f"{names}, SUM({each}) AS v", weighed, f"GROUP BY {names}"))


def _list(window: Window, rows: exp.Select, groups: Sequence[str]) -> exp.Select:
    """Values with their rank in the list; a null stands only where there is nothing else."""
    aggregate = REGISTRY[window.aggregate]
    assert isinstance(aggregate, LastK | TopK), "the registry knows its own keys"
    names = ", ".join(groups)
    order = "at DESC, value DESC"
    if isinstance(aggregate, TopK):
        counted = f"{names}, value, COUNT(value) AS n"
        rows = _columns(counted, rows, f"GROUP BY {names}, value")
        order = "n DESC, value ASC"
    over = f"PARTITION BY {names} ORDER BY value IS NULL, {order}"
    ranked = _columns(f"{names}, value, ROW_NUMBER() OVER ({over}) AS rank", rows)
    kept = f"WHERE rank = 1 OR rank <= {aggregate.k} AND NOT value IS NULL"
    return _named(window, _columns(f"{names}, rank, value AS v", ranked, kept))
