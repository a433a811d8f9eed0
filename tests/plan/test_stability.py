"""The sensitivity of a total is read from the tree that runs: what each step makes of its rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.declare.expression import parse
from tacit.errors import PrivacyError
from tacit.operations import (
    Clamp,
    Computed,
    Define,
    Grid,
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
from tacit.plan.intervals import Range, interval
from tacit.plan.stability import facts_of, sensitivities
from tacit.privacy.central.sensitivity import Sensitivity
from tacit.privacy.loss import variance_rho
from tacit.values import Type

TYPES = {"user": Type.TEXT, "at": Type.TIME, "item": Type.TEXT, "x": Type.FLOAT, "n": Type.INT}
VIEW = View(
    "ev",
    "ev",
    (("person", "user"),),
    "at",
    (),
    (
        Computed("g0", "item", Type.TEXT),
        Computed("v0", "x", Type.FLOAT),
        Computed("n", "n", Type.INT),
    ),
    (),
)
ROWS = Rows(VIEW, "p")
LIMITS = Limits(4, 3, "salt")


def define(below: Step, name: str, sql: str, kind: Type = Type.INT) -> Define:
    return Define(below, (Computed(name, sql, kind),))


def bounded() -> Step:
    """A person has 1 in at most one group: Δ = 1."""
    step: Step = define(ROWS, "m", "1")
    step = PerPerson(step, ("g0",), ("m",))
    step = LimitGroups(step, ("g0",), 1, "salt")
    return Clamp(step, "m", 0, 1)


def of(step: Step, column: str = "m", by: tuple[str, ...] = ("g0",)) -> Sensitivity:
    return sensitivities(Total(step, by, (column,)), TYPES)[column]


def refused(step: Step, column: str = "m", by: tuple[str, ...] = ("g0",)) -> str:
    with pytest.raises(PrivacyError) as caught:
        of(step, column, by)
    return caught.value.code


def test_redefining_a_column_after_bounding_raises_the_sensitivity() -> None:
    """OpenDP issue 2949: a column redefined after truncation kept its old sensitivity, so that a
    release was reported as ρ = 0.5, and was truly ρ = 5000."""
    assert of(bounded()) == Sensitivity(1, 1, 1)
    assert variance_rho(1, of(bounded()).linf) == 0.5
    redefined = define(bounded(), "m", "m * 100")
    assert of(redefined) == Sensitivity(100, 10_000, 100)
    assert variance_rho(1, of(redefined).linf) == 5000


@pytest.mark.parametrize(
    ("sql", "most"),
    [
        ("m + 7", 8),
        ("7 - m", 7),
        ("-m", 1),
        ("ABS(m - 20)", 20),
        ("CASE WHEN m > 0 THEN 9 ELSE -30 END", 30),
        ("COALESCE(m, 12)", 12),
        ("m * m * -6", 6),
        ("NULLIF(m, 0) * 3", 3),
        ("(m + 100) % 7", 6),
        ("1000", 1000),
    ],
)
def test_what_a_redefinition_may_be(sql: str, most: int) -> None:
    assert of(define(bounded(), "m", sql)).linf == most


@pytest.mark.parametrize("sql", ["LENGTH(g0)", "m + LENGTH(g0)", "m * LENGTH(g0)"])
def test_what_has_no_bound_is_refused(sql: str) -> None:
    assert refused(define(bounded(), "m", sql)) == "T870"


def test_the_refusal_names_the_way() -> None:
    with pytest.raises(PrivacyError) as caught:
        of(define(bounded(), "m", "LENGTH(g0)"))
    assert caught.value.path == (
        "Rows", "Define", "PerPerson", "LimitGroups", "Clamp", "Define", "Total",
    )  # fmt: skip
    assert "clamp it after the last step that defines it" in caught.value.fix


def test_redefining_the_key_puts_a_persons_groups_into_one() -> None:
    """Four groups of 1 each become one key with 4."""
    step = Clamp(LimitGroups(bounded().below.below, ("g0",), 4, "salt"), "m", 0, 1)  # type: ignore[attr-defined]
    assert of(step) == Sensitivity(4, 4, 1)
    assert of(define(step, "g0", "'one'", Type.TEXT)) == Sensitivity(4, 16, 4)


def test_redefining_the_person_leaves_nobody_to_go_by() -> None:
    lost = define(define(ROWS, "m", "1"), "p", "g0", Type.TEXT)
    assert refused(PerPerson(lost, ("g0",), ("m",))) == "T871"
    counted = define(bounded(), "p", "g0", Type.TEXT)
    assert refused(LimitGroups(counted, ("g0",), 1, "salt")) == "T871"
    # What was bounded before stays so: a row is of whom it was of.
    assert of(counted) == Sensitivity(1, 1, 1)


def test_without_limits_there_is_no_bound() -> None:
    rows = define(ROWS, "m", "1")
    assert refused(rows) == "T870"
    assert refused(PerPerson(rows, ("g0",), ("m",))) == "T870"
    clamped = Clamp(PerPerson(rows, ("g0",), ("m",)), "m", 0, 1)
    assert refused(clamped) == "T870"
    assert refused(LimitGroups(PerPerson(rows, ("g0",), ("m",)), ("g0",), 2, "s")) == "T870"
    # Limits of other columns bound nothing, and of rows that are not one a group.
    assert refused(LimitGroups(rows, ("g0",), 1, "s")) == "T870"


def test_clamping_before_redefining_does_not_count() -> None:
    step: Step = Clamp(define(ROWS, "m", "n"), "m", 0, 5)
    step = define(step, "m", "n")
    step = LimitGroups(PerPerson(step, ("g0",), ("m",)), ("g0",), 1, "s")
    assert refused(step) == "T870"


def test_limiting_before_the_key_is_redefined_does_not_count() -> None:
    step: Step = PerPerson(define(ROWS, "m", "1"), ("g0", "n"), ("m",))
    step = LimitGroups(step, ("g0", "n"), 2, "s")
    step = Clamp(define(step, "g0", "g0 || 'x'", Type.TEXT), "m", 0, 3)
    assert of(step) == Sensitivity(6, 36, 6)


def test_what_trees_of_questions_state() -> None:
    parts = [
        Counted("m0", None, False),
        Counted("m1", "v0", True),
        Summed("m2", "v0", -5, 10, 0.0, 0.5),
        Summed("m3", "v0", -5, 5, 2.5, 0.5, "m3n"),
    ]
    tree = sums_tree(ROWS, ("g0",), None, parts, LIMITS)
    found = sensitivities(tree, TYPES)
    assert found == {
        "m0": Sensitivity.of(4, 3),
        "m1": Sensitivity.of(4, 1),
        "m2": Sensitivity.of(4, 30),
        "m3": Sensitivity.of(4, 15),
        "m3n": Sensitivity.of(4, 3),
    }
    cells = cells_tree(ROWS, ("g0",), None, "v0", (0.0, 1.0, 9), LIMITS, "below")
    assert sensitivities(cells, TYPES) == {"rows": Sensitivity.of(4, 3)}
    alone = cells_tree(ROWS, (), None, "v0", (0.0, 1.0, 9), LIMITS, "below")
    assert sensitivities(alone, TYPES) == {"rows": Sensitivity.of(1, 3)}
    everything = sums_tree(ROWS, (), None, parts[:1], LIMITS)
    assert sensitivities(everything, TYPES) == {"m0": Sensitivity.of(1, 3)}


@pytest.mark.parametrize(
    "step",
    [
        Clamp(ROWS, "nothing", 0, 1),
        Clamp(ROWS, "g0", 0, 1),
        Clamp(ROWS, "n", 1, 0),
        Clamp(ROWS, "n", 0, 1 << 40),
        Grid(ROWS, "m", "g0", 0, 1, 0.0, 1.0),
        Grid(ROWS, "m", "v0", 0, 1, 0.0, 0.0),
        Grid(ROWS, "m", "v0", 0, 1, float("nan"), 1.0),
        Grid(ROWS, "M", "v0", 0, 1, 0.0, 1.0),
        Define(ROWS, (Computed("m", "n", Type.INT), Computed("m", "1", Type.INT))),
        define(ROWS, "m", "n", Type.FLOAT),
        Where(ROWS, "n"),
        PerPerson(ROWS, ("g0",), ("n", "n")),
        PerPerson(ROWS, ("n",), ("n",)),
        LimitGroups(ROWS, ("g0",), 0, "s"),
        LimitRows(ROWS, ("g0",), "n", "n", 3, "s"),
        LimitRows(define(ROWS, "m", "-1"), ("g0",), "n", "m", 3, "s"),
        LimitRows(define(ROWS, "m", "1"), ("g0",), "n", "m", 3, "s"),
        Shrink(ROWS, "n", "n", 0, 1, 1),
        Shrink(define(ROWS, "m", "-1"), "n", "m", 0, 1, 1),
        Rows(replace(VIEW, keys=()), "p"),
        Rows(VIEW, "n"),
    ],
)
def test_what_makes_no_sense_is_refused(step: Step) -> None:
    assert refused(step, "n", ()) == "T872"


EXPRESSIONS = st.recursive(
    st.one_of(st.sampled_from(["a", "b", "NULL"]), st.integers(-9, 9).map(lambda n: f"({n})")),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "%"]), inner).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        inner.map(lambda x: f"ABS({x})"),
        inner.map(lambda x: f"(-{x})"),
        st.tuples(inner, inner, inner).map(
            lambda t: f"(CASE WHEN {t[0]} > 0 THEN {t[1]} ELSE {t[2]} END)"
        ),
        st.tuples(inner, inner).map(lambda t: f"COALESCE({t[0]}, {t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"NULLIF({t[0]}, {t[1]})"),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS)
def test_intervals_hold_every_value(sql: str) -> None:
    """Against DuckDB, over every value of two columns."""
    import duckdb

    from tacit.plan.sql import expression_tree

    types = {"a": Type.INT, "b": Type.INT}
    try:
        expression = parse(sql)
        if expression.infer(types) is not Type.INT:
            return
    except Exception:
        return
    found = interval(expression.tree, {"a": Range(-2, 3), "b": Range(0, 1)}, types)
    tree = expression_tree(sql, Type.INT, types).sql("duckdb")
    query = (
        f"SELECT min(v), max(v) FROM (SELECT {tree} AS v FROM"
        " (SELECT a, b FROM range(-2, 4) x(a), (VALUES (0), (1), (NULL)) y(b)) AS s)"
    )
    low, high = duckdb.sql(query).fetchall()[0]
    if low is not None:
        assert found.low <= low
        assert high <= found.high


def test_facts_of_the_rows_of_a_source() -> None:
    facts = facts_of(ROWS, TYPES)
    assert facts.owner == "p"
    assert facts.range("n").size == float("inf")
    assert facts.distinct(frozenset()) == 1
