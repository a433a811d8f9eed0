"""Totals over bounded rows: what one person changes, by brute force, and what adversaries try."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tacit.engines.local as local
from tacit.engines.coded import Coded
from tacit.engines.local import Local
from tacit.errors import DeclarationError, PrivacyError
from tacit.operations import (
    Clamp,
    Computed,
    Define,
    Grid,
    Join,
    LimitGroups,
    LimitRows,
    PerPerson,
    Rows,
    Shrink,
    Step,
    Total,
    View,
    Where,
)
from tacit.plan.bounded import Counted, Limits, Summed, cells_tree, sums_tree
from tacit.plan.stability import sensitivities
from tacit.values import Type

TYPES = {
    "user": Type.TEXT, "at": Type.TIME, "item": Type.TEXT, "day": Type.INT, "x": Type.FLOAT,
    "items.genre": Type.TEXT,
}  # fmt: skip
COLUMNS = (
    Computed("g0", "item", Type.TEXT),
    Computed("g1", "day", Type.INT),
    Computed("v0", "x", Type.FLOAT),
    Computed("w", "x > -100.0", Type.BOOL),
)
VIEW = View("ev", "ev", (("person", "user"),), "at", (), COLUMNS, ())
ROWS = Rows(VIEW, "p")
PARTS = [
    Counted("m0", None, False),
    Counted("m1", "v0", True),
    Summed("m2", "v0", -4, 8, 0.0, 0.5),
    Summed("m3", "v0", -4, 5, 1.0, 0.25, "m3n"),
]
SCHEMA = pa.schema(
    [("user", pa.string()), ("at", pa.int64()), ("item", pa.string()), ("day", pa.int64()), ("x", pa.float64())]
)  # fmt: skip


def table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [[]] * len(SCHEMA)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], SCHEMA)


def sums(total: Total, rows: pa.Table, engine: Any = None) -> dict[tuple[Any, ...], np.ndarray]:
    """The sums by key."""
    found = (engine or Local(1 << 30)).totals([total], {"ev": rows})[0]
    by, count = len(total.by), len(total.sums)
    listed = [found.column(i).to_pylist() for i in range(by + count)]
    return {tuple(row[:by]): np.array(row[by:], np.int64) for row in zip(*listed, strict=True)}


def change(first: dict[Any, np.ndarray], second: dict[Any, np.ndarray], count: int) -> np.ndarray:
    """By key and sum: how the totals of the two differ; (keys, sums)."""
    nothing = np.zeros(count, np.int64)
    keys = {*first, *second}
    return np.array(
        [first.get(k, nothing) - second.get(k, nothing) for k in keys] or [nothing], np.int64
    )


def hold(total: Total, rows: pa.Table) -> None:
    """Removes each person in turn: no total changes by more than is claimed, in any norm."""
    stated, whole = sensitivities(total, TYPES), sums(total, rows)
    for person in set(rows["user"].to_pylist()) - {None}:
        mask = [user != person for user in rows["user"].to_pylist()]
        without = sums(total, rows.filter(pa.array(mask, pa.bool_())))
        diff = change(whole, without, len(total.sums))
        for column, name in enumerate(total.sums):
            part = np.abs(diff[:, column])
            bound = stated[name]
            assert part.sum() <= bound.l1, name
            assert (part**2).sum() <= bound.l2_squared, name
            assert part.max() <= bound.linf, name


NUMBERS = st.one_of(
    st.sampled_from([None, math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, -0.0]),
    st.floats(-5, 5, width=32),
)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", None]),
        st.integers(0, 3),
        st.sampled_from(["i", "j", "k", "", None]),
        st.sampled_from([0, 1, None, -(2**63), 2**63 - 1]),
        NUMBERS,
    ),
    max_size=25,
)


KEYS = st.sampled_from([("g0",), ("g0", "g1"), ()])
ASKED = (EVENTS, KEYS, st.integers(1, 3), st.integers(1, 3), st.booleans())


@settings(max_examples=6)
@given(*ASKED)
def test_no_person_changes_more_than_is_claimed(
    events: list[Any], keys: tuple[str, ...], groups: int, rows: int, filtered: bool
) -> None:
    hold_both(events, keys, groups, rows, filtered)


@pytest.mark.slow
@settings(max_examples=100)
@given(*ASKED)
def test_no_person_of_many_changes_more_than_is_claimed(
    events: list[Any], keys: tuple[str, ...], groups: int, rows: int, filtered: bool
) -> None:
    hold_both(events, keys, groups, rows, filtered)


def hold_both(
    events: list[Any], keys: tuple[str, ...], groups: int, rows: int, filtered: bool
) -> None:
    """The two trees that a question may have."""
    limits, where = Limits(groups, rows, "salt"), "w" if filtered else None
    held = table(events)
    hold(sums_tree(ROWS, keys, where, PARTS, limits), held)
    hold(cells_tree(ROWS, keys, where, "v0", (-2.0, 1.0, 5), limits, "below"), held)


BOUNDING = [
    lambda s: PerPerson(s, ("g0",), ("m", "n")),
    lambda s: LimitGroups(s, ("g0",), 2, "salt"),
    lambda s: Clamp(s, "m", -2, 3),
]
STEPS = st.lists(
    st.sampled_from(
        [
            lambda s: Define(s, (Computed("m", "m * 10", Type.INT),)),
            lambda s: Define(s, (Computed("m", "m - day", Type.INT),)),
            lambda s: Define(s, (Computed("g0", "'z'", Type.TEXT),)),
            lambda s: Define(s, (Computed("g0", "g0 || p", Type.TEXT),)),
            lambda s: Define(s, (Computed("p", "g0", Type.TEXT),)),
            lambda s: Define(s, (Computed("n", "CASE WHEN m > 1 THEN 2 ELSE 1 END", Type.INT),)),
            lambda s: Define(s, (Computed("n", "NULLIF(n, 1)", Type.INT),)),
            lambda s: Define(s, (Computed("m", "NULLIF(m, 1)", Type.INT),)),
            lambda s: LimitRows(s, ("g0",), "g1", "m", 2, "salt"),
            lambda s: PerPerson(s, ("g0", "g1"), ("m", "n")),
            lambda s: Where(s, "m > 0 OR g0 <> 'i'"),
            lambda s: Grid(s, "m", "m", -3, 4, 0.0, 1.0),
            lambda s: Clamp(s, "m", -2, 3),
            lambda s: Clamp(s, "n", 0, 2),
            lambda s: Shrink(s, "m", "n", -2, 3, 2),
            lambda s: PerPerson(s, ("g0",), ("m", "n")),
            lambda s: PerPerson(s, (), ("m", "n")),
            lambda s: PerPerson(s, ("g0", "m"), ("n",)),
            lambda s: LimitGroups(s, ("g0",), 2, "salt"),
            lambda s: LimitGroups(s, ("m",), 1, "salt"),
            lambda s: LimitRows(s, ("g0",), "m", "n", 2, "salt"),
        ]
    ),
    max_size=3,
)
TREES = st.tuples(STEPS, st.sampled_from([BOUNDING, BOUNDING[:2], []]), STEPS).map(
    lambda parts: [step for part in parts for step in part]
)


@settings(max_examples=40)
@given(TREES, EVENTS)
def test_no_order_of_steps_slips_through(steps: list[Any], events: list[tuple[Any, ...]]) -> None:
    refuse_or_hold(steps, events)


@pytest.mark.slow
@settings(max_examples=500)
@given(TREES, EVENTS)
def test_no_order_of_many_slips_through(steps: list[Any], events: list[tuple[Any, ...]]) -> None:
    refuse_or_hold(steps, events)


def refuse_or_hold(steps: list[Any], events: list[tuple[Any, ...]]) -> None:
    """Trees at random, redefinitions included: each is refused, or its claim holds."""
    step: Step = Define(
        Rows(VIEW, "p"), (Computed("m", "1", Type.INT), Computed("n", "1", Type.INT))
    )
    step = Define(step, (Computed("day", "g1 % 5", Type.INT),))
    for make in steps:
        step = make(step)
    total = Total(step, ("g0",), ("m",))
    try:
        sensitivities(total, TYPES)
    except (PrivacyError, DeclarationError) as error:  # a column that is gone, or unbounded
        assert error.code in ("T111", "T870", "T871", "T872")  # noqa: PT017
        return
    hold(total, table(events))


def test_one_person_with_a_million_rows_counts_like_one() -> None:
    n = 1_000_000
    crowd = pa.table(
        [
            pa.array(["flood"] * n), pa.array(np.zeros(n, np.int64)), pa.array(["i"] * n),
            pa.array(np.zeros(n, np.int64)), pa.array(np.full(n, 1e300)),
        ],
        SCHEMA,
    )  # fmt: skip
    found = sums(sums_tree(ROWS, ("g0",), None, PARTS, Limits(1, 3, "s")), crowd)
    assert found[("i",)].tolist() == [3, 1, 24, 15, 3]


def test_values_at_the_edges() -> None:
    rows = table(
        [
            ("a", 0, "i", 0, math.nan), ("b", 0, "i", 0, None), ("c", 0, "i", 0, math.inf),
            ("d", 0, "i", 0, -math.inf), ("e", 0, "i", 0, 1e308), (None, 0, "i", 0, 3.0),
            ("f", 0, None, 0, 3.0), ("g", None, "i", 0, 3.0), ("h", 0, "i", 0, 0.24),
        ]
    )  # fmt: skip
    found = sums(sums_tree(ROWS, ("g0",), None, PARTS, Limits(1, 1, "s")), rows)
    # Rows of nobody, without a key or a moment do not count; NaN and null are no value.
    assert list(found) == [("i",)]
    people, valued, total, centred, number = found[("i",)].tolist()
    assert (people, valued, number) == (6, 4, 4)
    assert total == 8 - 4 + 8 + 0
    assert centred == 5 - 4 + 5 - 3
    cells = cells_tree(ROWS, ("g0",), None, "v0", (-2.0, 1.0, 5), Limits(1, 1, "s"), "below")
    assert {k[1]: int(v[0]) for k, v in sums(cells, rows).items()} == {0: 1, 2: 1, 4: 2}


def test_a_mean_of_many_rows_is_weighed_as_few() -> None:
    rows = table([("a", 0, "i", 0, float(x)) for x in (0, 0, 0, 2, 2, 2, 2)])
    total = sums_tree(ROWS, ("g0",), None, [PARTS[3]], Limits(1, 3, "s"))
    # Steps of 0.25 around 1.0: three of -4 and four of 4, so 4/7 each; three rows of that: 1.71.
    assert sums(total, rows)[("i",)].tolist() == [1, 3]


def test_which_keys_are_kept_depends_on_the_salt_and_on_nobody_else() -> None:
    rows = [(f"u{u}", 0, f"k{k}", 0, 1.0) for u in range(25) for k in range(5)]
    trees = [sums_tree(ROWS, ("g0",), None, PARTS[:1], Limits(2, 1, s)) for s in ("s", "t")]
    kept = [sums(tree, table(rows)) for tree in trees]
    assert all(sum(int(v[0]) for v in each.values()) == 50 for each in kept)
    assert kept[0] != kept[1]
    assert all(1 < int(v[0]) < 20 for v in kept[0].values())  # each person has another order
    alone = [sums(trees[0], table(rows[5 * u : 5 * u + 5])) for u in range(25)]
    together: dict[Any, int] = {}
    for each in alone:
        for key, value in each.items():
            together[key] = together.get(key, 0) + int(value[0])
    assert together == {key: int(value[0]) for key, value in kept[0].items()}


@pytest.mark.parametrize("keys", [("g0",), ("g0", "g1"), ("g1",)])
def test_keys_as_numbers_change_nothing(
    keys: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`engines.coded` and the plain SQL give the same, for text, ints and dictionaries."""
    rng = np.random.default_rng(3)
    rows = table(
        [
            (f"u{rng.integers(40)}", 0, f"k{rng.integers(9)}", int(rng.integers(5)), 1.0)
            for _ in range(600)
        ]
    )
    text = rows.schema.get_field_index("item")
    coded = rows.set_column(text, "item", rows["item"].dictionary_encode())
    halves = [rows["item"].slice(start, 300).dictionary_encode() for start in (0, 300)]
    pieces = pa.chunked_array([half.chunk(0) for half in halves])  # of other dictionaries
    assert pieces.chunk(0).dictionary != pieces.chunk(1).dictionary
    cut = rows.set_column(text, "item", pieces)
    trees = [
        sums_tree(ROWS, keys, None, PARTS, Limits(2, 2, "s")),
        cells_tree(ROWS, keys, "w", "v0", (-2.0, 1.0, 5), Limits(2, 2, "s"), "below"),
    ]
    fast = [plain(sums(tree, each)) for tree in trees for each in (rows, coded, cut)]
    monkeypatch.setattr(
        local, "encode", lambda total, types, *_: Coded(total, {}, types, frozenset(), {})
    )
    middle = [plain(sums(tree, each)) for tree in trees for each in (rows, coded, cut)]
    monkeypatch.setattr(local, "few", lambda *_: None)
    slow = [plain(sums(tree, each)) for tree in trees for each in (rows, coded, cut)]
    assert fast == middle == slow


def both_ways(total: Total, rows: pa.Table) -> dict[tuple[Any, ...], list[int]]:
    """The sums, which are those of DuckDB alone too."""
    fast = plain(sums(total, rows))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(local, "few", lambda *_: None)
        assert plain(sums(total, rows)) == fast
    return fast


@settings(max_examples=12)
@given(*ASKED)
def test_each_person_is_made_few_as_duckdb_would(
    events: list[Any], keys: tuple[str, ...], groups: int, rows: int, filtered: bool
) -> None:
    limits, where = Limits(groups, rows, "salt"), "w" if filtered else None
    both_ways(sums_tree(ROWS, keys, where, PARTS, limits), table(events))
    cells = cells_tree(ROWS, keys, where, "v0", (-2.0, 1.0, 5), limits, "below")
    both_ways(cells, table(events))


@pytest.mark.slow
@settings(max_examples=300)
@given(TREES, EVENTS)
def test_any_tree_is_made_few_as_duckdb_would(steps: list[Any], events: list[Any]) -> None:
    step: Step = Define(ROWS, (Computed("m", "1", Type.INT), Computed("n", "1", Type.INT)))
    step = Define(step, (Computed("day", "g1 % 5", Type.INT),))
    for make in steps:
        step = make(step)
    total = Total(step, ("g0",), ("m",))
    try:
        sensitivities(total, TYPES)
    except (PrivacyError, DeclarationError):
        return
    both_ways(total, table(events))


def test_a_persons_sums_saturate_however_they_are_made() -> None:
    """2^63 - 1 twice, and -2^63 three times, in one key of one person: no overflow turns over."""
    most, least = 2**63 - 1, -(2**63)
    days = [most, most, least, least, least, most, -1, 7]
    people = ["a", "a", "b", "b", "b", "c", "c", "d"]
    rows = table([(p, 0, "i", d, 1.0) for p, d in zip(people, days, strict=True)])
    summed = LimitGroups(PerPerson(ROWS, ("g0",), ("g1",)), ("g0",), 1, "s")
    both_ways(Total(Clamp(summed, "g1", -5, 7), ("g0",), ("g1",)), rows)
    [value] = both_ways(Total(Clamp(summed, "g1", -5, 7), ("g0",), ("g1",)), rows)[("i",)]
    assert value == 7 - 5 + 7 + 7


@pytest.mark.slow
def test_a_person_of_many_keys_is_cut_by_the_same_order() -> None:
    """More keys than are sorted by insertion, two of them together, and one person with all rows."""
    rng = np.random.default_rng(11)
    flood = [("flood", 0, f"k{i % 400}", int(i % 7), 1.0) for i in range(6_000)]
    others = [(f"u{rng.integers(50)}", 0, f"k{rng.integers(400)}", 1, 1.0) for _ in range(4_000)]
    rows = table(flood + others)
    for keys in (("g0",), ("g0", "g1"), ("g1", "g0")):
        for most in (1, 30, 399, 5_000):
            both_ways(sums_tree(ROWS, keys, None, PARTS, Limits(most, 3, "s")), rows)


def plain(found: dict[tuple[Any, ...], np.ndarray]) -> dict[tuple[Any, ...], list[int]]:
    return {key: value.tolist() for key, value in found.items()}


def test_keys_may_come_from_content_and_expressions() -> None:
    view = View(
        "ev", "ev", (("person", "user"),), "at", (Join("items", "item", "item"),),
        (Computed("g0", "items.genre", Type.TEXT), Computed("g1", "day - day % 7", Type.INT)), (),
    )  # fmt: skip
    total = sums_tree(
        Rows(view, "p"), ("g0", "g1"), None, [Counted("m0", None, True)], Limits(9, 1, "s")
    )
    items = pa.table({"item": ["i", "j"], "genre": ["x", None]})
    rows = table([("a", 0, "i", 8, 1.0), ("b", 0, "i", 13, 1.0), ("b", 0, "j", 1, 1.0)])
    found = Local().totals([total], {"ev": rows, "items": items})[0]
    assert found.to_pylist() == [{"g0": "x", "g1": 7, "m0": 2}]


def test_an_unbounded_total_is_not_run() -> None:
    step = Define(ROWS, (Computed("m", "1", Type.INT),))
    with pytest.raises(PrivacyError) as caught:
        Local().totals([Total(step, ("g0",), ("m",))], {"ev": table([])})
    assert caught.value.code == "T870"


def test_nothing_sums_to_nothing() -> None:
    assert sums(sums_tree(ROWS, ("g0",), None, PARTS, Limits(1, 1, "s")), table([])) == {}
    whole = sums(sums_tree(ROWS, (), None, PARTS, Limits(1, 1, "s")), table([]))
    assert whole[()].tolist() == [0] * 5


@pytest.mark.slow
def test_spark_sums_the_same(spark: Any) -> None:
    """Exactly, on adversarial rows, for keys of text, ints and both, and over cells."""
    rng = np.random.default_rng(8)
    odd = [None, math.nan, math.inf, -math.inf, 1e308, -0.0, 5e-324]
    events = [
        (
            None if rng.random() < 0.02 else f"u{rng.integers(60)}",
            0,
            None if rng.random() < 0.02 else ["i", "j", "ü", "", "a b", "'"][rng.integers(6)],
            int(rng.choice([0, 1, 5, -(2**63), 2**63 - 1])),
            odd[rng.integers(7)] if rng.random() < 0.1 else float(rng.normal(0, 3)),
        )
        for _ in range(3_000)
    ]
    rows = table(events)
    for keys in (("g0",), ("g0", "g1"), ()):
        for total in (
            sums_tree(ROWS, keys, "w", PARTS, Limits(2, 3, "salt")),
            cells_tree(ROWS, keys, None, "v0", (-2.0, 0.5, 12), Limits(2, 3, "salt"), "nearest"),
        ):
            assert plain(sums(total, rows, spark)) == plain(sums(total, rows))
    person = rows.filter(pa.array([row[0] != "u7" for row in events]))
    total = sums_tree(ROWS, ("g0",), None, PARTS, Limits(2, 3, "salt"))
    stated = sensitivities(total, TYPES)
    first, second = sums(total, rows, spark), sums(total, person, spark)
    for column, name in enumerate(total.sums):
        moved = [abs(int(first[k][column] - second[k][column])) for k in first]
        assert sum(moved) <= stated[name].l1
