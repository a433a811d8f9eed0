"""The demo runs on anybody's file, says what it did, and ends in one line for machines."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import small_project as small
from tacit.demo.holdout import hold_out
from tacit.demo.interactions import made_up, read_interactions
from tacit.demo.picture import Chart, Line, draw
from tacit.demo.run import MARK, run_demo
from tacit.errors import DataError, TacitError
from tacit.project import Project

NONE = dict.fromkeys(("user", "item", "time", "title"))


def table(**renamed: str) -> pa.Table:
    rows = small.history()
    titles = dict(zip(small.CATALOGUE.ids, small.CATALOGUE.texts, strict=True))
    rows = rows.append_column("title", [[titles[i] for i in rows.column("item").to_pylist()]])
    return rows.rename_columns([renamed.get(name, name) for name in rows.column_names])


def write(folder: Path, rows: pa.Table) -> Path:
    pq.write_table(rows, folder / "rows.parquet")
    return folder / "rows.parquet"


def given(out: Path, **said: Any) -> argparse.Namespace:
    options = {"data": None, "devices": None, "epsilon": 4.0, "json": False, "where": None}
    return argparse.Namespace(**{**options, **NONE, "out": out, **said})


SECTIONS = (
    "The plan, checked before anything runs",
    "The run",
    "What left each device",
    "What privacy costs here",
    "How the cost shrinks as the population grows",
    "One device ranks for itself",
    "Where it lies",
)


def test_everything_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write(tmp_path, table(item="Stock Code", at="When")), tmp_path / "out"
    said = given(out, data=data, item="Stock Code", time="When", where="enjoyed", json=True)
    run_demo(said, populations=(40,), epsilons=(1.0, 4.0))
    printed = capsys.readouterr().out
    places = [printed.index(section) for section in SECTIONS]
    assert places == sorted(places)
    assert "item = Stock Code" in printed
    assert "enjoyed" in printed
    assert "because of" in printed
    assert "Traceback" not in printed

    found = json.loads(printed.splitlines()[-1])
    assert found["devices"] == small.PEOPLE
    assert found["events"] == len(small.EVENTS.user)
    assert found["bytes_out_per_device"] > 0
    assert found["seconds"] > 0
    assert Path(found["bundle"]).is_file()
    for scores in (found["popularity"], found["non_private"], *found["private"].values()):
        for name in ("hr10", "ndcg10", "coverage"):
            assert 0 <= scores[name] <= 1
    assert set(found["private"]) == {"1", "4"}

    picture = ElementTree.fromstring((out / "curve.svg").read_text())
    words = [element.text for element in picture.iter() if element.text]
    for name in ("popularity", "EASE, not private", "private"):
        assert any(name in word for word in words)

    project = Project.load(out / "project")  # it is a project like any other
    assert project.change() is not None
    assert not project.change()

    # What the answer was, no device was told; and the demo may clear what it made.
    holdout = hold_out(
        read_interactions(data, {**NONE, "item": "Stock Code", "time": "When"}, "enjoyed", None)
    )
    rows = project.rows("history").table
    pairs = set(
        zip(rows.column("person").to_pylist(), rows.column("item").to_pylist(), strict=True)
    )
    question = holdout.question
    for person, item in zip(question.evaluated, question.target, strict=True):
        assert (holdout.people[person], question.items[item]) not in pairs
    assert (out / MARK).exists()


def test_it_clears_only_what_it_made(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    for out in (folder, folder / "thesis.txt"):
        with pytest.raises(DataError) as refused:
            run_demo(given(out, devices=30))
        assert refused.value.code == "T320"
    assert (folder / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    "said", [{"devices": 0}, {"devices": -5}, {"epsilon": 0.0}, {"epsilon": float("nan")}]
)
def test_numbers_that_are_none(tmp_path: Path, said: dict[str, Any]) -> None:
    with pytest.raises(DataError) as refused:
        run_demo(given(tmp_path / "out", **said))
    assert refused.value.code == "T309"
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------- anybody's file


def refused(
    path: Path, where: str | None = None, devices: int | None = None, **chosen: str
) -> TacitError:
    with pytest.raises(TacitError) as error:
        read_interactions(path, {**NONE, **chosen}, where, devices)
    return error.value


def test_columns_are_guessed_or_said(tmp_path: Path) -> None:
    guessed = read_interactions(write(tmp_path, table()), NONE, None, None)
    assert guessed.columns == {"user": "person", "item": "item", "time": "at", "title": "title"}
    odd = table(person="wer", item="was", at="wann", title="wie", quantity="menge")
    path = write(tmp_path, odd)
    said = {"user": "wer", "item": "was", "time": "wann", "title": "wie"}
    found = read_interactions(path, said, "menge > 0", None)
    assert found.history.equals(guessed.history)
    assert found.catalogue.equals(guessed.catalogue)
    without = read_interactions(path, {**said, "title": None}, None, None)
    assert without.catalogue.column("title").equals(without.catalogue.column("item"))


def test_wrong_columns(tmp_path: Path) -> None:
    path = write(tmp_path, table(person="wer"))
    error = refused(path)
    assert (error.code, "--user" in error.fix) == ("T303", True)
    assert refused(path, user="wen").code == "T303"
    assert "wer" in refused(path, user="wen").fix
    for role, column in (
        ("user", "at"),
        ("time", "title"),
        ("title", "quantity"),
        ("item", "enjoyed"),
    ):
        error = refused(path, **{"user": "wer", role: column})
        assert error.code == "T304", role
        assert f"--{role}" in error.fix


@pytest.mark.parametrize(
    "where",
    ["nothing > 1", "quantity >", "title", "sum(quantity) > 1", "quantity > 0; DROP TABLE rows",
     "CAST(title AS INTEGER) > 0", "quantity > 0 --"],
)  # fmt: skip
def test_conditions_that_cannot_be_applied(tmp_path: Path, where: str) -> None:
    path = write(tmp_path, table())
    error = refused(path, where)
    assert error.code == "T307"
    assert where in str(error.where)


def test_files_that_are_none(tmp_path: Path) -> None:
    path = write(tmp_path, table())
    raw = path.read_bytes()
    assert refused(tmp_path / "none").code == "T301"
    for damaged in (raw[:-1], raw[: len(raw) // 2], b"", b"a,b\n"):
        path.write_bytes(damaged)
        assert refused(path).code == "T302"
    path.write_bytes(raw[:100] + bytes(400) + raw[500:])
    assert refused(path).code in ("T302", "T304")


def test_rows_of_nobody_are_counted_and_people_are_chosen(tmp_path: Path) -> None:
    rows = table().to_pylist()
    rows += [{**rows[0], "person": None}, {**rows[0], "item": None}, {**rows[0], "at": None}]
    path = write(tmp_path, pa.Table.from_pylist(rows, table().schema))
    found = read_interactions(path, NONE, None, None)
    assert found.left_out == 3
    some = read_interactions(path, NONE, None, 7)
    assert len(set(some.history.column("person").to_pylist())) == 7
    shuffled = write(tmp_path, pa.Table.from_pylist(rows[::-1], table().schema))
    again = read_interactions(shuffled, NONE, None, 7)
    assert set(again.history.column("person").to_pylist()) == set(
        some.history.column("person").to_pylist()
    )
    assert refused(path, "false").code == "T308"


def test_too_short_histories_ask_nobody(tmp_path: Path) -> None:
    path = write(tmp_path, table().slice(0, 3))
    with pytest.raises(DataError) as error:
        hold_out(read_interactions(path, NONE, None, None))
    assert error.value.code == "T308"


def test_a_made_up_population_is_the_same_again() -> None:
    one, again, other = made_up(40), made_up(40), made_up(40, seed=2)
    assert one.history.equals(again.history)
    assert one.catalogue.equals(again.catalogue)
    assert not one.history.equals(other.history)
    assert len(set(one.history.column("person").to_pylist())) == 40


# ---------------------------------------------------------------------- the picture


def test_a_picture_shows_every_learner_by_name() -> None:
    names = [f"learner <{i}> & co" for i in range(12)]
    lines = [Line(name, [(1.0, 0.0, 0.0), (8.0, i / 10, 0.01)]) for i, name in enumerate(names)]
    levels = [Line("a level", [(1.0, 0.5, 0.0)], dashed=True)]
    charts = [
        Chart("a & b", "ε", "NDCG@10", [1.0, 8.0], lines),
        Chart("c", "x", "y", [5.0], levels),
    ]
    picture = ElementTree.fromstring(draw(charts))
    words = {element.text for element in picture.iter() if element.text}
    assert {*names, "a level", "a & b", "ε"} <= words
    numbers = [
        float(number)
        for element in picture.iter()
        for point in element.get("points", "").split()
        for number in point.split(",")
    ]
    assert np.isfinite(numbers).all()


def test_a_picture_of_nothing_found() -> None:
    flat = Line("nobody found it", [(1.0, 0.0, 0.0), (2.0, 0.0, 0.0)])
    ElementTree.fromstring(draw([Chart("flat", "x", "y", [1.0, 2.0], [flat])]))
