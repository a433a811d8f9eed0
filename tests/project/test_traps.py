"""What went wrong in silence: each is refused, or said beside the result, with its code and mend."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

import small_project as small
from tacit.cli import main
from tacit.errors import DataError, Refused, TacitWarning
from tacit.project import Project
from tacit.values import DAY

LAKE = small.SETTINGS.replace('[sources.visits]\npath = "history.parquet"\n', "")
SIGNALS = ["looks", "last"]


def moments(late: int = 0) -> pa.Table:
    history = small.history()
    at = pc.add(history["at"].cast(pa.int64()), late)
    return pa.table({"person": history["person"], "at": at})


def silent(call: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", TacitWarning)
        return call()


# ---------------------------------------------------------------------- what arrived too late


def test_a_backfilled_lake_says_that_it_knows_of_nothing(tmp_path: Path) -> None:
    project = small.project(tmp_path / "shop", settings=LAKE)
    project.ingest("visits", small.history())
    with pytest.warns(TacitWarning, match="T347: 100% of the rows of 'visits'"):
        made = project.training_set(moments(), SIGNALS, as_of="spine")
    assert made.late == {"visits": 1.0}
    assert set(made.status["looks"].to_pylist()) == {"missing"}
    plain = silent(lambda: project.training_set(moments(DAY), SIGNALS))
    assert plain.late == {}
    assert "fresh" in plain.status["looks"].to_pylist()


def test_rows_that_were_known_in_time_are_no_news(tmp_path: Path) -> None:
    project = small.project(tmp_path / "shop")
    history = small.history()
    arrived = pc.add(history["at"].cast(pa.int64()), 60_000_000)
    pq.write_table(history.append_column("_arrived", arrived), project.file("visits"))
    made = silent(lambda: project.training_set(moments(DAY), SIGNALS, as_of="spine"))
    assert 0 <= made.late["visits"] < 0.05


# ---------------------------------------------------------------------- what is not online


def test_the_online_store_says_that_it_has_no_baseline(tmp_path: Path) -> None:
    project = small.project(tmp_path / "shop")
    with pytest.warns(TacitWarning, match=r"T318: .*'visits'(.|\n)*project.rebase\('visits'\)"):
        look = project.lookup(["last"])
    now, who = project.now(), small.history()["person"][-1].as_py()
    assert look.one({"person": who}, now).values == [None]
    project.rebase("visits")
    found = silent(lambda: project.lookup(["last"])).one({"person": who}, now)
    asked = pa.table({"person": [who], "at": [now]})
    assert found.values == project.features(["last"], asked)["last"].to_pylist() != [None]


def test_a_source_of_pushes_alone_is_whole(tmp_path: Path) -> None:
    project = small.project(tmp_path / "shop", settings=LAKE)
    silent(lambda: project.lookup(["looks"]))


# ---------------------------------------------------------------------- units


def seconds(per: int) -> pa.Table:
    history = small.history()
    whole = pc.divide(history["at"].cast(pa.int64()), per)
    return history.set_column(history.column_names.index("at"), "at", whole)


@pytest.mark.parametrize(("unit", "per"), [("s", 1_000_000), ("ms", 1_000)])
def test_moments_of_another_unit_are_refused_until_it_is_said(
    unit: str, per: int, tmp_path: Path
) -> None:
    project = small.project(tmp_path / "shop")
    wanted = project.features(SIGNALS, moments())
    coarse = seconds(per)
    pq.write_table(coarse, project.file("visits"))
    for ask in (project.features, lambda names, spine: project.training_set(spine, names)):
        with pytest.raises(DataError) as refused:
            ask(SIGNALS, moments())
        assert refused.value.code == "T348"
        assert 'unit = "s", "ms"' in refused.value.fix
    toml = tmp_path / "shop" / "tacit.toml"
    toml.write_text(toml.read_text() + f'unit = "{unit}"\n')
    project = Project.load(project.root)
    rows = project.rows("visits").table
    assert rows["at"].to_pylist() == [at * per for at in coarse["at"].to_pylist()]
    assert project.features(["looks"], moments(per)).num_rows == wanted.num_rows
    toml.write_text(toml.read_text().replace(f'"{unit}"', '"us"'))
    assert Project.load(project.root).rows("visits").expired == small.history().num_rows


def test_a_spine_of_another_unit_is_refused(tmp_path: Path) -> None:
    project = small.project(tmp_path / "shop")
    asked = moments().set_column(1, "at", pc.divide(moments()["at"], 1_000_000))
    pq.write_table(asked, tmp_path / "spine.parquet")
    for spine in (asked, asked.to_pylist(), tmp_path / "spine.parquet"):
        with pytest.raises(DataError, match="T348"):
            project.features(SIGNALS, spine)
    old = [{"person": "p", "at": "1970-01-01T00:00:01Z"}, {"person": "p", "at": project.now()}]
    assert project.features(SIGNALS, old).num_rows == 2
    stamps = asked.set_column(1, "at", asked["at"].cast(pa.timestamp("us")))
    assert project.features(SIGNALS, stamps).num_rows == asked.num_rows


@pytest.mark.parametrize("kind", ["table", "csv", "jsonl"])
def test_what_is_ingested_is_held_to_its_unit(kind: str, tmp_path: Path) -> None:
    project = small.project(tmp_path / "shop", settings=LAKE)
    given = seconds(1_000).select(["person", "item", "at"])
    file: Any = given
    if kind == "csv":
        pa_csv.write_csv(given, file := tmp_path / "visits.csv")
    if kind == "jsonl":
        file = tmp_path / "visits.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in given.to_pylist()))
    with pytest.raises(DataError) as refused:
        project.ingest("visits", file)
    assert refused.value.code == "T348"
    assert project.rows("visits").table.num_rows == 0, "nothing of it was kept"
    toml = tmp_path / "shop" / "tacit.toml"
    toml.write_text(toml.read_text() + '[sources.visits]\nunit = "ms"\n')
    project = Project.load(project.root)
    done = project.ingest("visits", file)
    assert done.accepted == done.read == given.num_rows
    found = sorted(project.rows("visits").table["at"].to_pylist())
    assert found == sorted(at * 1_000 for at in given["at"].to_pylist())


def test_a_row_of_another_unit_among_others_is_quarantined(tmp_path: Path) -> None:
    """Texts are moments whatever the unit of whole numbers is."""
    project = small.project(tmp_path / "shop", settings=LAKE)
    at = small.NOW
    rows = [
        {"person": "a", "item": "x", "at": at},
        {"person": "b", "item": "x", "at": at // 1000},
        {"person": "c", "item": "x", "at": "2025-12-30T12:00:00Z"},
    ]
    file = tmp_path / "visits.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = project.ingest("visits", file)
    assert (done.accepted, dict(done.reasons)) == (2, {"T348": 1})
    toml = tmp_path / "shop" / "tacit.toml"
    toml.write_text(toml.read_text() + '[sources.visits]\nunit = "ms"\n')
    project = Project.load(project.root)
    rows[0]["at"] = at // 1000
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert project.ingest("visits", file).accepted == 3


# ---------------------------------------------------------------------- names, files, retention


def test_a_name_that_is_nearly_one(tmp_path: Path) -> None:
    project = small.project(tmp_path / "shop")
    with pytest.raises(DataError, match=r"T313(.|\n)*did you mean 'looks'\?"):
        project.features(["loks"], moments())
    with pytest.raises(DataError, match=r"T313(.|\n)*a release may reach others"):
        project.features(["first"], moments())


def test_a_percentage_is_no_share(tmp_path: Path) -> None:
    for wrong, mend in (
        ('visits.approx_quantile("n", 90)', r"did you mean 0\.9\?"),
        ('visits.approx_quantile("n", 99.9)', r"did you mean 0\.999\?"),
        ('visits.last_k("n", 0.5)', r"write it as last_k\("),
    ):
        module = small.SIGNALS.replace('"at": time()}', '"at": time(), "n": integer()}')
        project = small.project(tmp_path / "shop", module + f"\nwrong = {wrong}\n")
        with pytest.raises(Refused, match=rf"T117(.|\n)*{mend}"):
            project.plan  # noqa: B018


def test_csv_is_ingested_and_not_bound(tmp_path: Path) -> None:
    project = small.project(
        tmp_path / "shop",
        settings=small.SETTINGS.replace(
            '[sources.visits]\npath = "history.parquet"', '[sources.visits]\npath = "visits.csv"'
        ),
    )
    pa_csv.write_csv(small.history(), tmp_path / "shop" / "visits.csv")
    with pytest.raises(DataError, match=r"T302(.|\n)*tacit ingest SOURCE FILE"):
        project.features(SIGNALS, moments())


@pytest.mark.parametrize("where", ["bound", "mended", "lake"])
def test_retention_that_leaves_nothing_says_so(where: str, tmp_path: Path) -> None:
    settings = LAKE if where == "lake" else small.SETTINGS
    project = small.project(tmp_path / "shop", settings=settings)
    if where == "mended":
        history = small.history()
        nanos = history["at"].cast(pa.timestamp("ns"))
        history = history.set_column(history.column_names.index("at"), "at", nanos)
        pq.write_table(history, project.file("visits"))
    if where == "lake":
        project.ingest("visits", small.history())
    silent(lambda: project.features(SIGNALS, moments()))
    toml = project.root / "tacit.toml"
    toml.write_text(toml.read_text().replace("2025-12-31", "2028-12-31"))
    project = Project.load(project.root)
    with pytest.warns(TacitWarning, match="T349: all .* rows of 'visits'"):
        found = project.features(SIGNALS, moments())
    assert set(found["looks"].to_pylist()) == {0}


def test_the_command_line_prints_warnings_plainly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small.write(tmp_path / "shop", settings=small.SETTINGS.replace("2025-12-31", "2028-12-31"))
    assert main(["quality", str(tmp_path / "shop"), "--days", "300"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("T349: all ")
    assert ".py" not in said.splitlines()[0]
    assert "T380" in said
