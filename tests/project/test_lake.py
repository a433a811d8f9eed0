"""A project whose source is in the lake gives what one whose source is a file gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import small_project as small
from tacit.cli import main
from tacit.errors import DataError
from tacit.project import Project
from tacit.project.lake import layout_of
from tacit.store.lake.layout import ARRIVED
from tacit.values import DAY

LAKE_SETTINGS = small.SETTINGS.replace('[sources.visits]\npath = "history.parquet"\n', "").replace(
    '[sources.catalogue]\npath = "catalogue.parquet"\n', ""
)


def shop(folder: Path, signals: str = small.SIGNALS) -> Project:
    """With `visits` and `catalogue` in the lake, in several files."""
    project = small.project(folder, signals, LAKE_SETTINGS)
    history = small.history()
    for start in range(0, history.num_rows, 150):
        done = project.ingest("visits", history.slice(start, 150))
        assert done.quarantined == 0
    project.ingest("catalogue", folder / "catalogue.parquet")
    return Project.load(folder)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Project]:
    folder = tmp_path_factory.mktemp("lakes")
    return small.project(folder / "files"), shop(folder / "lake")


def spine(project: Project) -> pa.Table:
    rows = project.rows("visits").table
    at = pc.add(rows["at"], DAY)
    return pa.table({"person": rows["person"], "at": at}).sort_by(
        [("person", "ascending"), ("at", "ascending")]
    )


def test_the_same_features(both: tuple[Project, Project]) -> None:
    files, lake = both
    assert lake.plan.hash == files.plan.hash, "where rows lie is no part of the plan"
    asked = spine(files)
    expected = files.features(["looks", "last"], asked)
    assert lake.features(["looks", "last"], asked).equals(expected)
    assert expected["looks"].null_count < expected.num_rows


def test_the_same_rows_and_when_they_came(both: tuple[Project, Project]) -> None:
    files, lake = both
    order = [(name, "ascending") for name in ("person", "at", "item")]
    found, expected = (each.rows("visits").table.sort_by(order) for each in (lake, files))
    assert found.equals(expected)
    arrived = lake.rows("visits", also=("_arrived",)).table
    assert set(arrived[ARRIVED].to_pylist()) == {lake.now()}
    with pytest.raises(DataError) as error:
        files.rows("visits", also=("_arrived",))
    assert error.value.code == "T303"
    assert lake.content("catalogue").items == files.content("catalogue").items


def test_a_run_reads_from_the_lake(tmp_path: Path) -> None:
    signals = small.only(
        small.SIGNALS, "space", "recommender", "taste", "first", "demand", "popular", "bought"
    )
    project = shop(tmp_path / "shop", signals)
    assert main(["run", str(tmp_path / "shop")]) == 0
    written = pq.read_table(project.state / "sinks" / "training.parquet")
    assert written.num_rows == small.history().num_rows


def test_expired_rows_and_values_are_not_seen(tmp_path: Path) -> None:
    """Nor are they before retention is enforced; and features are the same after."""
    signals = small.only(small.SIGNALS, "training").replace(
        '"item": key(thing), "at": time()},\n)\nfirst',
        '"item": key(thing).narrow(keep="200d"), "at": time()},\n)\nfirst',
    ).replace('keep="730d", basis="consent",\n    purposes=[discover], time="at", category="user.behavior",\n    columns={"person"',
              'keep="300d", basis="consent",\n    purposes=[discover], time="at", category="user.behavior",\n    columns={"person"').replace(
        'last = visits.last("item")', 'last = visits.last("item", "30d")')  # fmt: skip
    assert 'keep="300d"' in signals
    assert 'keep="200d"' in signals
    folder = small.write(tmp_path / "shop", signals, LAKE_SETTINGS)
    early = LAKE_SETTINGS.replace("2025-12-31", "2025-06-30")
    (folder / "tacit.toml").write_text(early)
    before = Project.load(folder)
    history = small.history()
    at = history["at"].cast(pa.int64())
    old = history.filter(pc.less(at, before.now()))
    assert before.ingest("visits", old).quarantined == 0
    (folder / "tacit.toml").write_text(LAKE_SETTINGS)
    project = Project.load(folder)
    new = history.filter(pc.greater_equal(at, before.now()))
    project.ingest("visits", new)
    now = project.now()
    kept = pc.sum(pc.greater_equal(at, now - 300 * DAY)).as_py()
    blank = (
        pc.sum(pc.less(at, now - 200 * DAY)).as_py() - pc.sum(pc.less(at, now - 300 * DAY)).as_py()
    )
    rows = project.rows("visits").table
    assert 0 < rows.num_rows == kept < history.num_rows
    assert rows["item"].null_count == blank > 0
    asked = pa.table({"person": history["person"], "at": pc.add(at, 5 * DAY)})
    seen = project.features(["looks", "last"], asked)
    layout = layout_of(project.declarations, "visits")
    gone = project.lake.retain(layout, now)
    assert (gone.rows, gone.values) == (history.num_rows - kept, blank)
    assert Project.load(folder).features(["looks", "last"], asked).equals(seen)
    reference = pa.table({name: rows[name] for name in rows.column_names})
    from tacit.engines.local import Local
    from tacit.plan.views import view_of

    views = [
        chosen
        for view in project.plan.views
        if (chosen := view_of(view, {"looks", "last"})).windows
    ]
    assert Local().features(views, {"visits": reference}, asked).equals(seen)


def test_what_may_not_come_into_the_lake(tmp_path: Path) -> None:
    project = small.project(tmp_path / "shop")
    for source, code in (("history", "T369"), ("visitors", "T312"), ("discover", "T312")):
        with pytest.raises(DataError) as error:
            project.ingest(source, small.history())
        assert error.value.code == code
    with pytest.raises(DataError, match="bound to history") as error:
        project.ingest("visits", small.history())
    assert error.value.code == "T369"
    assert "[sources.visits]" in error.value.fix
    assert not (project.state / "lake" / "warehouse").exists()


def test_a_catalog_of_ones_own(tmp_path: Path) -> None:
    settings = LAKE_SETTINGS + (
        f'[lake]\ncatalog = "ours"\ntype = "sql"\nuri = "sqlite:///{tmp_path}/ours.sqlite"\n'
        f'warehouse = "file://{tmp_path}/elsewhere"\n'
    )
    project = small.project(tmp_path / "shop", settings=settings)
    project.ingest("visits", small.history())
    assert list((tmp_path / "elsewhere").rglob("*.parquet"))
    assert Project.load(tmp_path / "shop").rows("visits").table.num_rows == small.history().num_rows
    wrong = settings.replace('type = "sql"', 'type = "postgresql"')
    with pytest.raises(DataError) as error:
        small.project(tmp_path / "wrong", settings=wrong).ingest("visits", small.history())
    assert error.value.code == "T710"


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = small.write(tmp_path / "shop", settings=LAKE_SETTINGS)
    project = ["--project", str(folder)]
    (folder / "v.csv").write_text("person,item,at\np1,a,2025-06-01\np2,b,never\n")
    (folder / "w.jsonl").write_text(
        '{"person": "p1", "item": "a", "at": "2025-06-02T00:00:00+02:00"}\n'
    )
    files = [str(folder / "v.csv"), str(folder / "w.jsonl")]
    assert main(["ingest", "visits", *files, *project]) == 0
    said = capsys.readouterr().out
    assert "read 2, accepted 1, quarantined 1 (T364 1)" in said
    place = next(line.split("see ")[1] for line in said.splitlines() if "  see " in line)
    assert json.loads(Path(place).read_text())["row"] == 2
    assert main(["ingest", "visits", *files, "--json", *project]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["again"], line["accepted"]) for line in lines] == [(True, 1), (True, 1)]
    assert main(["lake", str(folder), "--retain", "--compact", "--expire", "1s", "--purge"]) == 0
    said = capsys.readouterr().out
    assert "visits: 2 rows in " in said
    assert "visits: 1 small files made 0" not in said
    assert main(["ingest", "catalogue", *files, *project]) == 1
    assert capsys.readouterr().err.startswith("T369")
    assert main(["ingest", "visits", str(folder / "none.csv"), *project]) == 1
    assert capsys.readouterr().err.startswith("T301")
    code = "from tacit.cli import main; import sys; sys.exit(main(sys.argv[1:]))"
    ran = subprocess.run(
        [sys.executable, "-c", code, "lake", str(folder)], capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (0, "")
