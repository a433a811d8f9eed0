"""A device program runs from its JSON alone and computes what the reference engine does."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import small_project as small
from examples import examples
from tacit.device.program import Content, Program
from tacit.device.vault import Vault
from tacit.engines import sqlite
from tacit.engines.reference import Reference
from tacit.operations import View
from tacit.plan import compile_plan
from tacit.project import Project
from tacit.project.module import read_module
from tacit.project.release import device_program
from tacit.values import DAY, Secret, Type, canonical_json

NOW = 1_790_000_000_000_000
KEY = Secret(bytes(32))
HISTORY = {
    "person": Type.TEXT,
    "item": Type.TEXT,
    "at": Type.TIME,
    "enjoyed": Type.BOOL,
    "quantity": Type.INT,
    "price": Type.FLOAT,
}
CONTENT = {"item": Type.TEXT, "genre": Type.TEXT, "weight": Type.FLOAT}
ITEMS = [
    {"item": "a", "genre": "x", "weight": 1.5},
    {"item": "b", "genre": "y", "weight": None},
    {"item": "c", "genre": None, "weight": -2.0},
    {"item": 'it\'s "quoted"; --', "genre": "x", "weight": 0.0},
]
SIGNALS = (
    small.SIGNALS.split("first = ")[0].replace(
        '"quantity": integer(),', '"quantity": integer(), "price": number(),'
    )
    + """
plays = history.count("30d")
loved = history.count("30d", where="enjoyed")
firsts = history.min("at", by="item", where="enjoyed")
spent = history.sum("price * quantity", "7d")
heavy = history.sum("catalogue.weight", by="catalogue.genre")
mean = history.mean("price", "90d")
most = history.max("price", by="item")
latest = history.last("item", where="catalogue.genre = 'x'")
earliest = history.first("catalogue.genre")
kinds = history.distinct("catalogue.genre", "30d")
"""
)


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> View:
    path = tmp_path_factory.mktemp("program") / "signals.py"
    path.write_text(SIGNALS)
    [found] = compile_plan(read_module(path)).views
    return found


@pytest.fixture(scope="module")
def program(view: View) -> Program:
    types = {**HISTORY, **{f"catalogue.{name}": kind for name, kind in CONTENT.items()}}
    rows = tuple(tuple(item[name] for name in CONTENT) for item in ITEMS)
    made = Program(
        tuple(sqlite.statements(view, types)), {"catalogue": Content(tuple(CONTENT), rows)}, {}
    )
    return Program.from_json(json.loads(canonical_json(made.to_json())))


moments = st.integers(NOW - 100 * DAY, NOW + 1) | st.sampled_from(
    [NOW, NOW - 1, NOW - 7 * DAY, NOW - 30 * DAY, NOW - 30 * DAY - 1]
)
events = st.fixed_dictionaries(
    {
        "person": st.sampled_from(["me", "Me", "me ", "somebody", "", None]),
        "item": st.sampled_from([*(item["item"] for item in ITEMS), "unlisted", "", None]),
        "at": moments,
        "enjoyed": st.none() | st.booleans(),
        "quantity": st.none() | st.integers(-1000, 1000),
        "price": st.none() | st.floats(-1e6, 1e6).map(lambda value: round(value, 2)),
    }
)


def same(one: Any, other: Any) -> bool:
    if isinstance(other, list):
        other = dict(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-6)
    return bool(one == other)


@given(st.lists(events, max_size=25))
@settings(max_examples=examples(60))
def test_it_computes_what_the_reference_engine_does(
    view: View, program: Program, rows: list[dict[str, Any]]
) -> None:
    path = Path("/dev/shm" if Path("/dev/shm").is_dir() else "/tmp") / "tacit-program-test"
    path.unlink(missing_ok=True)
    with Vault.create(path, KEY, {"history": HISTORY}, unsafe_not_durable=True) as vault:
        path.unlink()
        vault.append("history", rows, now=NOW + 1)
        found = program.run(vault.connection, "me", NOW)
        table = vault.rows("history")
    spine = pa.table({"person": ["me"], "at": pa.array([NOW], pa.int64())})
    content = pa.Table.from_pylist(
        ITEMS,
        pa.schema([("item", pa.string()), ("genre", pa.string()), ("weight", pa.float64())]),
    )
    expected = Reference().features([view], {"history": table, "catalogue": content}, spine)
    for window in view.windows:
        assert same(found[window.signal], expected.column(window.signal)[0].as_py()), window.signal


def test_it_leaves_nothing_behind(program: Program, tmp_path: Path) -> None:
    with Vault.create(tmp_path / "vault", KEY, {"history": HISTORY}) as vault:

        def tables() -> list[Any]:
            found = vault.connection.execute("SELECT name FROM sqlite_temp_master").fetchall()
            return list(found)

        for _ in range(2):
            assert program.run(vault.connection, "me", NOW)["plays"] == 0
            assert tables() == []
        broken = Program((*program.sql, "SELECT nonsense"), program.content, {})
        with pytest.raises(Exception, match="nonsense"):
            broken.run(vault.connection, "me", NOW)
        assert tables() == []
        assert not vault.connection.in_transaction
        assert program.run(vault.connection, "me", NOW)["plays"] == 0


def test_only_own_rows_count(program: Program, tmp_path: Path) -> None:
    mine = {"person": "me", "item": "a", "at": NOW - 1, "quantity": 1, "price": 1.0}
    with Vault.create(tmp_path / "vault", KEY, {"history": HISTORY}) as vault:
        vault.append("history", [mine, {**mine, "person": "you"}], now=NOW)
        assert program.run(vault.connection, "me", NOW)["plays"] == 1


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"sql": ["SELECT 1"], "content": {}},
        {"sql": [1], "content": {}, "keep": {}},
        {"sql": [], "content": {"t": {"columns": ["a"]}}, "keep": {}},
        {"sql": [], "content": {"t": {"columns": ["a"], "rows": [1]}}, "keep": {}},
        {"sql": [], "content": {}, "keep": {"history": "long"}},
    ],
)
def test_what_is_no_program(raw: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Program.from_json(raw)


def test_a_task_carries_only_the_content_that_it_needs(tmp_path: Path) -> None:
    project: Project = small.project(tmp_path / "shop")
    assert device_program(project, "first").content == {}
    content = device_program(project, "bought").content
    assert {name: table.columns for name, table in content.items()} == {
        "catalogue": ("item", "genre")
    }
    assert len(content["catalogue"].rows) == small.ITEMS
