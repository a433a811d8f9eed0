"""Engines get a project's files as they are, and results go to files: on one machine and on Spark."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import small_project as small
from tacit.errors import DataError
from tacit.project import Project
from tacit.project.files import bound
from tacit.values import DAY

MORE = """
day = visits.sum("n", "1d")
rising = trend(day, looks)
"""
MODULE = small.SIGNALS.replace('"at": time()}', '"at": time(), "n": integer().narrow(keep="290d")}')
MODULE = MODULE.replace('looks = visits.count("7d")', 'looks = visits.sum("n", "7d")') + MORE
SIGNALS = ["last", "looks", "rising"]
SPARK = 'engine = "spark"\n{}\n[engines.spark]\nmaster = "local[2]"\nbuckets = 2\n'
BOUND = small.SETTINGS.replace(
    '[sources.visits]\npath = "history.parquet"',
    '[sources.visits]\npath = "history.parquet"\ncolumns = { n = "quantity" }',
)
LAKE = BOUND.replace('[sources.visits]\npath = "history.parquet"', "[sources.visits]")


def moments() -> pa.Table:
    history = small.history()
    at = pa.array([moment + DAY for moment in history["at"].cast(pa.int64()).to_pylist()])
    return pa.table({"person": history["person"], "at": at, "note": history["item"]})


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """What the rows give, loaded whole; no file is read by the engine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tacit.project.files.bound", lambda *_: None)
        project = small.project(tmp_path_factory.mktemp("whole") / "shop", MODULE, LAKE)
        history = small.history()
        for start in range(0, history.num_rows, 100):
            project.ingest("visits", history.slice(start, 100))
        rows = project.rows("visits").table
        from tacit.plan.views import formulas_of, views_of

        views, formulas = views_of(project.plan, SIGNALS), formulas_of(project.plan, SIGNALS)
        found = project.engine.features(views, {"visits": rows}, moments())
        return project.engine.derive(found, formulas).drop_columns(["day"])


@pytest.mark.parametrize("engine_name", ["local", pytest.param("spark", marks=pytest.mark.slow)])
@pytest.mark.parametrize("where", ["bound", "lake"])
def test_no_row_passes_through_the_project(
    engine_name: str,
    where: str,
    expected: pa.Table,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    settings = BOUND if where == "bound" else LAKE
    if engine_name == "spark":
        request.getfixturevalue("spark")  # its Java goes on after this project
        settings = SPARK.format(settings)
    project = small.project(tmp_path / "shop", MODULE, settings)
    if where == "lake":
        history = small.history()
        for start in range(0, history.num_rows, 100):
            project.ingest("visits", history.slice(start, 100))

    def loads(*_: object, **__: object) -> None:
        raise AssertionError("the rows are loaded")

    monkeypatch.setattr(Project, "rows", loads)
    monkeypatch.setattr("tacit.store.lake.lake.read_rows", loads)
    found = project.features(SIGNALS, moments())
    assert found.select(expected.column_names).equals(expected)
    assert 0 < found["looks"].null_count < found.num_rows, "of old rows n is not kept"
    target = tmp_path / "out"
    pq.write_table(moments(), tmp_path / "spine.parquet", row_group_size=50)
    for spine in (moments(), tmp_path / "spine.parquet", str(tmp_path / "spine.parquet")):
        assert project.write(SIGNALS, spine, target) == expected.num_rows
        parts = sorted(target.glob("*.parquet")) if target.is_dir() else [target]
        written = pa.concat_tables(pq.read_table(part) for part in parts)
        assert written.column_names == ["person", "at", "note", *SIGNALS], "in the order asked"
        assert written.select(expected.column_names).to_pylist() == expected.to_pylist()
    if target.is_dir():
        assert project.write(["last"], target / "..", tmp_path / "again") == expected.num_rows


def change(name: str, values: Callable[[pa.Table], pa.Array]) -> pa.Table:
    history = small.history()
    return history.set_column(history.column_names.index(name), name, values(history))


@pytest.mark.parametrize(
    ("table", "code"),
    [
        (change("at", lambda t: t["at"].cast(pa.timestamp("ns"))), None),
        (change("quantity", lambda t: t["quantity"].cast(pa.int32())), None),
        (change("person", lambda t: t["person"].dictionary_encode()), None),
        (change("at", lambda t: pa.array([datetime(2100, 1, 1)] * len(t))), "T305"),
        (change("quantity", lambda t: t["item"]), "T304"),
        (small.history().drop_columns(["item"]), "T303"),
    ],
)
def test_what_is_to_be_mended_or_told_is_loaded(
    table: pa.Table, code: str | None, tmp_path: Path
) -> None:
    project = small.project(tmp_path / "shop", MODULE, BOUND)
    used = ["person", "item", "at", "n"]
    assert bound(project, "visits", used) is not None
    assert bound(project, "catalogue", ["genre"]) is None, "its keys are looked through"
    file = tmp_path / "shop" / "history.parquet"
    pq.write_table(table, file)
    assert bound(project, "visits", used) is None
    if code is None:
        assert project.features(SIGNALS, moments()).num_rows == small.history().num_rows
    else:
        with pytest.raises(DataError) as refused:
            project.features(SIGNALS, moments())
        assert refused.value.code == code
    pq.write_table(small.history(), file, write_statistics=False)
    assert bound(project, "visits", used) is None
    file.write_bytes(b"PAR1 not")
    with pytest.raises(DataError) as refused:
        project.features(SIGNALS, moments())
    assert refused.value.code == "T302"


def test_only_what_is_used_must_fit_and_rows_of_nobody_are_none(tmp_path: Path) -> None:
    """Rows without a person count for nobody's signals, an item's neither; a column that no signal
    reads may be anything."""
    module = MODULE + '\nsold = visits.count("30d", per=thing)\n'
    project = small.project(tmp_path / "shop", module, BOUND)
    history = small.history()
    nobody = [None if i % 3 == 0 else who for i, who in enumerate(history["person"].to_pylist())]
    table = change("person", lambda t: pa.array(nobody)).drop_columns(["quantity"])
    pq.write_table(table, tmp_path / "shop" / "history.parquet", row_group_size=50)
    files = bound(project, "visits", ["item"])
    assert files is not None
    assert list(files.required) == ["person"]
    asked = pa.table({"thing": history["item"], "at": moments()["at"]})
    found = project.features(["sold"], asked)
    view = next(v for v in project.plan.views if v.windows[0].signal == "sold")
    rows = project.rows("visits", only=["item"]).table
    assert rows.column_names == ["person", "item", "at"]
    assert rows.num_rows == len(nobody) - nobody.count(None)
    assert found["sold"].equals(project.engine.features([view], {"visits": rows}, asked)["sold"])


def test_what_is_not_written(tmp_path: Path) -> None:
    project = small.project(tmp_path / "shop", MODULE, BOUND)
    spine, target = tmp_path / "spine.parquet", tmp_path / "out.parquet"
    pq.write_table(moments(), spine)
    named = moments().append_column("looks", moments()["at"])
    (tmp_path / "empty").mkdir()
    for asked, given, to, code in (
        (["nothing"], spine, target, "T313"),
        (["looks"], named, target, "T371"),
        (["looks"], tmp_path / "none.parquet", target, "T301"),
        (["looks"], tmp_path / "empty", target, "T342"),
        (["looks"], spine, spine, "T320"),
        (["looks"], spine, tmp_path / "shop", "T320"),
        (["looks"], spine, tmp_path / "shop" / "history.parquet", "T320"),
    ):
        with pytest.raises(DataError) as refused:
            project.write(asked, given, to)
        assert refused.value.code == code, (asked, given, to)
    assert not target.exists()
    with pytest.raises(DataError) as refused:
        project.write(["looks"], moments().drop_columns(["person"]), target)
    assert refused.value.code == "T341"
    assert not list(tmp_path.glob(".out*")), "nothing is left half written"
    assert project.write("looks", spine, target) == small.history().num_rows
    assert target.stat().st_mode & 0o777 == 0o600, "it is of people"


@pytest.mark.slow
def test_spark_takes_the_place_of_its_own_results_alone(tmp_path: Path, spark: object) -> None:
    project = small.project(tmp_path / "shop", MODULE, SPARK.format(BOUND))
    assert spark is not None
    (tmp_path / "own").mkdir()
    pq.write_table(moments(), tmp_path / "own" / "1.parquet")
    for target in (tmp_path / "own", tmp_path, tmp_path / "own" / "1.parquet"):
        with pytest.raises(DataError) as refused:
            project.write("looks", tmp_path / "own", target)
        assert refused.value.code == "T320"
    assert pq.read_table(tmp_path / "own").equals(moments())
    for _ in range(2):
        assert project.write("looks", tmp_path / "own", tmp_path / "new") == moments().num_rows
