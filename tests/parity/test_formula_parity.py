"""Formulas: random expressions over random signals, and what every engine says of them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
import sqlcipher3
from hypothesis import given, settings
from hypothesis import strategies as st
from parity_cases import COLUMNS, FLOATS, INTS, Grower, same, tables
from test_parity import relaxed

from examples import examples
from tacit.declare.expression import Node, show
from tacit.engines.local import Local
from tacit.engines.reference import Reference
from tacit.engines.sqlite import SQLite
from tacit.errors import DataError
from tacit.operations import Derived
from tacit.values import Type

SIGNALS: dict[str, tuple[Type, pa.DataType, Any]] = {
    "plays_7d": (Type.INT, pa.int64(), INTS),
    'row"': (Type.INT, pa.int64(), st.integers(-2, 2)),
    "spend-30d": (Type.FLOAT, pa.float64(), FLOATS),
    "Row": (Type.FLOAT, pa.float64(), FLOATS),
    "genre": (Type.TEXT, pa.string(), COLUMNS["name"][2]),
    "liked": (Type.BOOL, pa.bool_(), st.booleans()),
}


class Formulas(Grower):
    """Expressions over signals."""

    def column(self, kind: Type) -> Node:
        return Node("column", (), self.pick(*(n for n, (k, _, _) in SIGNALS.items() if k is kind)))


@dataclass(frozen=True)
class Case:
    table: pa.Table
    formulas: list[Derived]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    formulas = []
    inputs = tuple((name, kind) for name, (kind, _, _) in SIGNALS.items())
    for n in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from([Type.INT, Type.FLOAT, Type.TEXT, Type.BOOL]))
        tree = Formulas(draw(st.integers(0, 2**63))).tree(kind)
        formulas.append(Derived(f'formula "{n}"', show(tree), kind, inputs))
    return Case(draw(tables(SIGNALS, 9)), formulas)


@given(cases())
@settings(relaxed, max_examples=examples(60))
def test_every_engine_derives_the_same(case: Case) -> None:
    wanted = Reference().derive(case.table, case.formulas)
    results = [("local", Local().derive(case.table, case.formulas))]
    for driver in (sqlite3, sqlcipher3):
        engine = SQLite(driver.connect(":memory:"))
        results.append((driver.__name__, engine.derive(case.table, case.formulas)))
    for name, result in results:
        given_ = result.select(case.table.column_names)
        assert repr(given_.to_pydict()) == repr(case.table.to_pydict())  # NaN is not itself
        assert result.schema == wanted.schema
        for formula in case.formulas:
            pairs = zip(
                result[formula.signal].to_pylist(), wanted[formula.signal].to_pylist(), strict=True
            )
            for row, (ours, theirs) in enumerate(pairs):
                assert same(ours, theirs, 0.0), (name, formula, row, ours, theirs)


def engines() -> list[Any]:
    return [Reference(), Local(), SQLite(sqlite3.connect(":memory:"))]


@pytest.mark.parametrize("engine", engines(), ids=lambda engine: engine.name)
def test_a_trend_over_nothing_is_null(engine: Any) -> None:
    table = pa.table({"short": pa.array([3, 0, None, 2], pa.int64()), "long": [6, 0, 2, None]})
    inputs = (("short", Type.INT), ("long", Type.INT))
    formula = Derived("up", "short * 7.0 / long", Type.FLOAT, inputs)
    assert engine.derive(table, [formula])["up"].to_pylist() == [3.5, None, None, None]


@pytest.mark.parametrize("engine", engines(), ids=lambda engine: engine.name)
def test_no_rows_no_formulas_and_many(engine: Any) -> None:
    table = pa.table({"a": pa.array([], pa.int64())})
    many = [Derived(f"f{n}", f"a + {n}", Type.INT, (("a", Type.INT),)) for n in range(250)]
    assert engine.derive(table, many).num_columns == 251
    assert engine.derive(table, []).equals(table)
    one = pa.table({"a": pa.array([1], pa.int64())})
    assert engine.derive(one, many).column("f249").to_pylist() == [250]


@pytest.mark.parametrize("engine", engines(), ids=lambda engine: engine.name)
def test_an_input_that_is_missing_or_of_another_type_is_a_data_error(engine: Any) -> None:
    formula = Derived("f", "a + 1", Type.INT, (("a", Type.INT),))
    for table in (pa.table({"b": [1]}), pa.table({"a": ["1"]}), pa.table({"a": [1.5]})):
        with pytest.raises(DataError) as error:
            engine.derive(table, [formula])
        assert error.value.code == "T341"


def test_sqlite_leaves_nothing_behind() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (1)")
    SQLite(connection).derive(
        pa.table({"a": [1]}), [Derived("f", "a + 1", Type.INT, (("a", Type.INT),))]
    )
    assert connection.in_transaction
    connection.rollback()
    assert connection.execute("SELECT count(*) FROM sqlite_temp_master").fetchone() == (0,)
