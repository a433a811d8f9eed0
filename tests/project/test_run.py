"""A run spends once, keeps whole what it keeps, and can be cut off between any two steps."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import small_project as small
from tacit.collect.round import Collection
from tacit.device.agent import Agent
from tacit.engines.reference import Reference
from tacit.errors import BudgetError, DataError, Refused, StoreError, TacitError
from tacit.govern.ledger import Ledger, Reservation
from tacit.project import Project, release
from tacit.project import run as running
from tacit.project.run import Results, run


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    """A project that has been run, for tests that only read."""
    folder = tmp_path_factory.mktemp("done") / "shop"
    return folder, run(small.project(folder))


def spends(project: Project) -> list[tuple[str, str]]:
    return [
        (line.spend.release.partition("@")[0], line.spend.state)
        for line in project.ledger.statement("discover")
    ]


def files(folder: Path) -> dict[str, bytes]:
    # SQLite's write-ahead log comes and goes with open connections; it is no file of the project's.
    found = [p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(("-wal", "-shm"))]
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def edited(folder: Path, old: str, new: str) -> Project:
    text = (folder / "signals.py").read_text()
    assert old in text
    (folder / "signals.py").write_text(text.replace(old, new))
    return Project.load(folder)


# ---------------------------------------------------------------------- what comes of it


def test_everybody_contributed(done: tuple[Path, Results]) -> None:
    _, results = done
    for released in results.releases.values():
        assert (released.reports, released.refused) == (small.PEOPLE, 0)
        assert not released.reused
    assert set(results.bundles) == {"recommender", "space"}


def test_a_metric_is_the_truth_within_its_error(done: tuple[Path, Results]) -> None:
    _, results = done
    truth = dict(zip(small.CATALOGUE.ids, small.wanted().sum(axis=0), strict=True))
    found = results.metrics["popular"]
    assert len(found) == small.ITEMS
    assert {each.stderr for each in found} == {results.releases["demand"].value.stderr}
    errors = np.array([(each.value - truth[each.item]) / each.stderr for each in found])
    assert np.abs(errors).max() < 5.5
    assert 0.6 < errors.std() < 1.5  # and the error is the one that is stated


def test_a_sink_has_every_event_at_its_own_moment(done: tuple[Path, Results]) -> None:
    folder, results = done
    project = Project.load(folder)
    found = pq.read_table(results.sinks["training"])
    rows = project.rows("visits").table
    spine = pa.table({"person": rows.column("person"), "at": rows.column("at")})
    assert found.num_rows == rows.num_rows
    prepared = project.plan.nodes["looks"].inputs[0]
    [view] = [view for view in project.plan.views if view.name == prepared]
    sources = {"visits": rows, "catalogue": project.rows("catalogue").table}
    expected = Reference().features([view], sources, spine)
    for signal_name in ("looks", "last"):
        assert found.column(signal_name).to_pylist() == expected.column(signal_name).to_pylist()
    # Nothing of the event itself, or later, is in its row.
    first = found.column("at").to_pylist().index(min(found.column("at").to_pylist()))
    assert found.column("looks")[first].as_py() == 0
    assert found.column("last")[first].as_py() is None


def test_features_at_any_moment(done: tuple[Path, Results]) -> None:
    project = Project.load(done[0])
    spine = pa.table({"person": ["p001", "nobody"], "at": pa.array([project.now()] * 2)})
    found = project.features(["last"], spine)
    assert found.column_names == ["person", "at", "last"]
    assert found.column("last")[1].as_py() is None
    for name in ("first", "taste", "nothing"):
        with pytest.raises(DataError) as refused:
            project.features([name], spine)
        assert refused.value.code == "T313"


# ---------------------------------------------------------------------- once


def test_again_costs_nothing_and_changes_nothing(
    done: tuple[Path, Results], tmp_path: Path
) -> None:
    folder = tmp_path / "shop"
    shutil.copytree(done[0], folder)
    before, spent = files(folder), spends(Project.load(folder))
    project = Project.load(folder)
    change = project.change()
    assert change is not None
    assert not change
    results = run(project)
    assert all(released.reused for released in results.releases.values())
    assert results.releases["taste"].reports == small.PEOPLE
    assert spends(project) == spent == [("taste", "committed"), ("demand", "committed")]
    after = files(folder)
    assert {name: len(raw) for name, raw in after.items() if not name.endswith(".vault")} == {
        name: len(raw) for name, raw in before.items() if not name.endswith(".vault")
    }
    for name in after:
        if "bundles" in name or "releases" in name or "tasks" in name or "sinks" in name:
            assert after[name] == before[name]


def test_a_comment_costs_nothing(done: tuple[Path, Results], tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    shutil.copytree(done[0], folder)
    project = edited(folder, '"What is wanted together."', '"What one wants together."')
    assert run(project).releases["taste"].reused


def test_a_changed_release_is_another_and_costs_anew(
    done: tuple[Path, Results], tmp_path: Path
) -> None:
    folder = tmp_path / "shop"
    shutil.copytree(done[0], folder)
    project = edited(folder, '"max_pairs": 400', '"max_pairs": 300')
    change = project.change()
    assert change is not None
    assert change.changed == ("taste",)
    before = project.ledger.spent("discover")
    results = run(project)
    assert [r.reused for r in results.releases.values()] == [False, True]
    assert project.ledger.spent("discover") > before
    assert [name for name, _ in spends(project)] == ["taste", "demand", "taste"]
    assert results.bundles["recommender"].name == "recommender-2.bundle"


def test_a_change_that_the_budget_does_not_hold_is_refused(
    done: tuple[Path, Results], tmp_path: Path
) -> None:
    folder = tmp_path / "shop"
    shutil.copytree(done[0], folder)
    project = edited(folder, "epsilon=20, delta", "epsilon=6.5, delta")
    assert all(released.reused for released in run(project).releases.values())
    project = edited(folder, '"max_pairs": 400', '"max_pairs": 300')
    before = spends(project)
    with pytest.raises(BudgetError) as refused:
        run(project)
    assert refused.value.code == "T501"
    assert spends(project) == before
    assert len(list((folder / ".tacit" / "releases").iterdir())) == 2
    assert project.change()  # what was refused was not applied


# ---------------------------------------------------------------------- cut off


class Cut(BaseException):
    """As abrupt as Python can be: nothing that catches errors catches it."""


def cut(*_: Any, **__: Any) -> Any:
    raise Cut


CUTS: dict[str, tuple[Any, str]] = {
    "before the reservation": (Ledger, "reserve"),
    "before any device is asked": (release, "Collection"),
    "before the sum": (Collection, "close"),
    "before the aggregates are kept": (release, "replace_file"),
    "before the commit": (Reservation, "commit"),
    "before anything is learned": (running, "learn"),
    "before the bundle": (running, "publish_model"),
    "before the bundle is recorded": (Project, "apply"),
}


@pytest.mark.parametrize("where", sorted(CUTS))
def test_cut_off_anywhere_it_is_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    folder = tmp_path / "shop"
    project = small.project(folder, small.PAIRS_ONLY)
    with monkeypatch.context() as patch:
        patch.setattr(*CUTS[where], cut)
        with pytest.raises(Cut):
            run(project)
    project = Project.load(folder)
    results = run(project)
    assert results.releases["taste"].reports == small.PEOPLE
    assert spends(project) == [("taste", "committed")]
    assert results.bundles["recommender"].name == "recommender-1.bundle"
    assert not [name for name in files(folder) if "/." in name.removeprefix(".tacit/")]


def test_cut_off_while_devices_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that had answered answer again, the same; nobody is left out and nobody counts twice."""
    project = small.project(tmp_path / "shop", small.PAIRS_ONLY)
    sent: list[Any] = []
    contribute = Agent.contribute

    def some(self: Agent, *args: Any) -> Any:
        if len(sent) == 30:
            raise Cut
        sent.append(contribute(self, *args))
        return sent[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Agent, "contribute", some)
        with pytest.raises(Cut):
            run(project)
    seen: list[Any] = []

    def watched(self: Agent, *args: Any) -> Any:
        seen.append(contribute(self, *args))
        return seen[-1]

    monkeypatch.setattr(Agent, "contribute", watched)
    assert run(Project.load(tmp_path / "shop")).releases["taste"].reports == small.PEOPLE
    assert {r.id: r.messages for r in sent}.items() <= {r.id: r.messages for r in seen}.items()


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
from tacit.project import Project, release, run
from tacit.device.vault import Vault
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
stage = sys.argv[2]
if stage == "enrolling":
    made = []
    append = Vault.append
    def half(self, *args, **more):
        made.append(1)
        return die() if len(made) == 25 else append(self, *args, **more)
    Vault.append = half
elif stage == "spending":
    spent = []
    spend = Vault.spend
    def half(self, *args):
        spend(self, *args)
        spent.append(1)
        if len(spent) == 25:
            die()
    Vault.spend = half
elif stage == "keeping":
    os.replace = lambda a, b, replace=os.replace: die() if "aggregates" in str(b) else replace(a, b)
run.run(Project.load(sys.argv[1]))
"""


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param("enrolling", marks=pytest.mark.slow),
        "spending",
        pytest.param("keeping", marks=pytest.mark.slow),
    ],
)
def test_killed_it_is_taken_up_again(tmp_path: Path, stage: str) -> None:
    folder = small.write(tmp_path / "shop", small.PAIRS_ONLY)
    tests = str(Path(__file__).parents[1])
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder), stage, tests])
    assert killed.returncode == -signal.SIGKILL
    project = Project.load(folder)
    assert run(project).releases["taste"].reports == small.PEOPLE
    assert spends(project) == [("taste", "committed")]


def test_the_control_store_is_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off while it is made, it is not there: half of it would look like a damaged one."""
    project = small.project(tmp_path / "shop")
    with monkeypatch.context() as patch:
        patch.setattr("os.link", cut)
        with pytest.raises(Cut):
            _ = project.control
    assert not project.store_path.exists()
    assert Project.load(tmp_path / "shop").control.head().sequence == 0


HOLDER = """
import sys
from pathlib import Path
from tacit.store.atomic import alone
with alone(Path(sys.argv[1])):
    print(flush=True)
    sys.stdin.read()
"""


def test_two_runs_at_once_are_one(done: tuple[Path, Results], tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    shutil.copytree(done[0], folder)
    holder = subprocess.Popen(
        [
            sys.executable, "-c",
            HOLDER,
            str(folder / ".tacit" / "run.lock"),
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(StoreError) as refused:
        run(Project.load(folder))
    assert refused.value.code == "T703"
    holder.communicate(b"")
    run(Project.load(folder))


# ---------------------------------------------------------------------- fail closed


def test_a_refused_plan_leaves_nothing_on_the_disk(tmp_path: Path) -> None:
    text = small.SIGNALS.replace("signals=[looks, last]", "signals=[bought]")
    project = small.project(tmp_path / "shop", text)
    before = files(tmp_path)
    with pytest.raises(Refused):
        run(project)
    assert files(tmp_path) == before


def test_too_few_devices_spend_nothing(tmp_path: Path) -> None:
    project = small.project(tmp_path / "shop", small.PAIRS_ONLY)
    rows = small.history()
    few = rows.filter(pa.array([person < "p019" for person in rows.column("person").to_pylist()]))
    pq.write_table(few, tmp_path / "shop" / "history.parquet")
    with pytest.raises(TacitError) as refused:
        run(project)
    assert refused.value.code == "T541"
    assert spends(project) == [("taste", "refunded")]
    assert project.ledger.spent("discover") == 0
    assert not (project.state / "releases").exists()
    pq.write_table(rows, tmp_path / "shop" / "history.parquet")
    project = Project.load(tmp_path / "shop")
    assert run(project).releases["taste"].reports == small.PEOPLE
    assert spends(project) == [("taste", "refunded"), ("taste", "committed")]


def test_a_metric_of_too_few(tmp_path: Path) -> None:
    text = small.SIGNALS.replace("minimum=20", "minimum=46")
    with pytest.raises(TacitError, match="fewer than the metric's 46") as refused:
        run(small.project(tmp_path / "shop", text))
    assert refused.value.code == "T541"


def copied(done: tuple[Path, Results], tmp_path: Path) -> Path:
    shutil.copytree(done[0], tmp_path / "shop")
    return tmp_path / "shop"


def kept(folder: Path) -> Path:
    return next(iter((folder / ".tacit" / "releases").glob("taste*")))


def test_aggregates_that_are_gone(done: tuple[Path, Results], tmp_path: Path) -> None:
    folder = copied(done, tmp_path)
    kept(folder).unlink()
    with pytest.raises(StoreError, match="are gone") as refused:
        run(Project.load(folder))
    assert refused.value.code == "T702"


@pytest.mark.parametrize("how", ["cut", "empty", "changed", "another head"])
def test_aggregates_that_are_others(done: tuple[Path, Results], tmp_path: Path, how: str) -> None:
    folder = copied(done, tmp_path)
    raw = bytearray(kept(folder).read_bytes())
    if how == "changed":
        raw[-1] ^= 1
    if how == "another head":
        raw = bytearray(bytes(raw).replace(b'"reports":45', b'"reports":99'))
    kept(folder).write_bytes({"cut": raw[:-1], "empty": b""}.get(how, raw))
    with pytest.raises(TacitError) as refused:
        run(Project.load(folder))
    assert refused.value.code == ("T702" if how in ("cut", "empty") else "T564")


def test_a_release_stands_when_its_task_has_expired(
    done: tuple[Path, Results], tmp_path: Path
) -> None:
    folder = copied(done, tmp_path)
    text = (folder / "tacit.toml").read_text().replace("2025-12-31", "2026-03-31")
    (folder / "tacit.toml").write_text(text)
    results = run(Project.load(folder))
    assert results.releases["taste"].reused
    # The bundles had expired too: those are made anew.
    assert results.bundles["recommender"].name == "recommender-2.bundle"


def test_a_task_that_expired_unanswered_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shop"
    project = small.project(folder, small.PAIRS_ONLY)
    with monkeypatch.context() as patch:
        patch.setattr(Collection, "close", cut)
        with pytest.raises(Cut):
            run(project)
    later = small.SETTINGS.replace("2025-12-31", "2026-03-31")
    (folder / "tacit.toml").write_text(later)
    project = Project.load(folder)
    assert run(project).releases["taste"].reports == small.PEOPLE
    assert spends(project) == [("taste", "committed")]


def test_a_model_speaks_of_the_items_that_were_released(
    done: tuple[Path, Results], tmp_path: Path
) -> None:
    """A table written in another order since, or with other rows, must not move names."""
    folder = copied(done, tmp_path)
    table = small.catalogue()
    reordered = pa.concat_tables([table.slice(0, 1), table.slice(2)[::-1]])
    new = pa.Table.from_pylist(
        [{"item": "new", "title": "brand new", "genre": "genre1", "weight": 1.0}], table.schema
    )
    pq.write_table(pa.concat_tables([new, reordered]), folder / "catalogue.parquet")
    project = Project.load(folder)
    results = run(project)
    bundle = project.open_bundle(results.bundles["recommender"])
    catalogue = bundle.json("catalogue.json")
    assert catalogue["items"] == list(small.CATALOGUE.ids)
    expected = list(small.CATALOGUE.texts)
    expected[1] = small.CATALOGUE.ids[1]  # gone from the table: called by its key
    assert catalogue["titles"] == expected


# ---------------------------------------------------------------------- rows


def test_a_key_that_comes_twice(tmp_path: Path) -> None:
    project = small.project(tmp_path / "shop")
    table = small.catalogue()
    pq.write_table(
        pa.concat_tables([table, table.slice(3, 1)]), tmp_path / "shop/catalogue.parquet"
    )
    for action in (lambda: run(project), lambda: release.device_program(project, "bought")):
        with pytest.raises(DataError) as refused:
            action()
        assert refused.value.code == "T306"
        assert small.CATALOGUE.ids[3] in refused.value.message


def test_a_source_without_a_binding(tmp_path: Path) -> None:
    settings = small.SETTINGS.split("[sources.visits]")[0]
    project = small.project(tmp_path / "shop", settings=settings)
    with pytest.raises(DataError) as refused:
        run(project)
    assert refused.value.code == "T312"
    assert "[sources.visits]" in refused.value.fix
    assert not project.state.exists()  # found before anything was spent
    project = small.project(tmp_path / "shop")
    (tmp_path / "shop" / "history.parquet").unlink()
    with pytest.raises(DataError) as refused:
        run(project)
    assert refused.value.code == "T301"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("release=demand, minimum", "release=taste, minimum", "T113"),
        ('learner="spectral", release=taste', 'learner="spectral", release=demand', "T113"),
        ('learner="spectral", ', 'learner="spectral", options={"rank": 3}, ', "T117"),
        ('learner="spectral", ', 'learner="spectral", options={"dimensions": 0}, ', "T118"),
        ('"max_pairs": 400', '"most_pairs": 400', "T117"),
        ('"bound": 40.0', '"bound": -1.0', "T118"),
    ],
)
def test_what_is_wrong_is_found_before_anything_is_spent(
    tmp_path: Path, old: str, new: str, code: str
) -> None:
    assert old in small.SIGNALS
    project = small.project(tmp_path / "shop", small.SIGNALS.replace(old, new))
    with pytest.raises(TacitError) as refused:
        run(project)
    found = refused.value.errors[0] if isinstance(refused.value, Refused) else refused.value
    assert found.code == code
    assert "signals.py:" in str(found.where)
    assert not project.state.exists()


def test_rows_of_nobody_are_told(tmp_path: Path) -> None:
    project = small.project(tmp_path / "shop", small.PAIRS_ONLY)
    rows = small.history().to_pylist()
    rows += [{**rows[0], "person": None}] * 3 + [{**rows[0], "at": None}] * 2
    rows += [{**rows[0], "item": None}]  # somebody's, though of nothing
    rows += [{**rows[0], "at": rows[0]["at"].replace(year=2020)}] * 4
    pq.write_table(
        pa.Table.from_pylist(rows, small.history().schema), tmp_path / "shop/history.parquet"
    )
    found = run(project).releases["taste"].rows
    assert (found.without_key, found.without_time, found.expired) == (3, 2, 4)
    assert found.table.num_rows == small.history().num_rows + 1


def test_a_table_without_rows(tmp_path: Path) -> None:
    project = small.project(tmp_path / "shop", small.PAIRS_ONLY)
    pq.write_table(small.catalogue().slice(0, 0), tmp_path / "shop/catalogue.parquet")
    with pytest.raises(DataError) as refused:
        run(project)
    assert refused.value.code == "T308"
    assert spends(project) == []


def test_content_that_devices_cannot_be_sent(tmp_path: Path) -> None:
    text = small.SIGNALS.replace("catalogue.genre <> 'genre0'", "catalogue.weight >= 0.0")
    project = small.project(tmp_path / "shop", text)
    content = release.device_program(project, "bought").content["catalogue"]
    weight = content.columns.index("weight")
    assert [row[weight] for row in content.rows[:3]] == [None, None, 0.0]  # NaN is missing
    table = small.catalogue().to_pylist()
    table[5]["weight"] = float("inf")
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "shop/catalogue.parquet")
    with pytest.raises(DataError, match="infinity") as refused:
        release.device_program(project, "bought")
    assert refused.value.code == "T304"


def test_a_signal_of_somebody_else_is_not_asked_of_devices(tmp_path: Path) -> None:
    text = small.PAIRS_ONLY.replace('by="item", where="enjoyed")', 'by="item", per=thing)')
    with pytest.raises(TacitError) as refused:
        run(small.project(tmp_path / "shop", text))
    assert refused.value.code in ("T114", "T001")


def test_rows_of_two_people_are_on_nobodys_device(tmp_path: Path) -> None:
    text = (
        small.PAIRS_ONLY.replace(
            "thing = Entity",
            'giver = Entity("Who gave it.", person="pseudonymous")\nthing = Entity',
        )
        .replace(
            '"item": key(thing),\n        "at": time(), "enjoyed"',
            '"item": key(thing),\n        "giver": key(giver, "user.unique_id.pseudonymous"), '
            '"at": time(), "enjoyed"',
        )
        .replace('where="enjoyed")', 'where="enjoyed", per=person)')
    )
    with pytest.raises(TacitError) as refused:
        run(small.project(tmp_path / "shop", text))
    assert refused.value.code in ("T316", "T114", "T001")


# ---------------------------------------------------------------------- the disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def whole(folder: Path) -> list[str]:
    """The names that a crash would leave: none."""
    found = [p for p in (folder / ".tacit").rglob("*") if p.is_file()]
    return [
        path.name
        for path in found
        if path.name.startswith(".")
        or path.name.endswith(".new")
        or (path.name.endswith("-journal") and path.stat().st_size)
    ]


@pytest.mark.parametrize("left", [20, 200, 500, 900])
def test_a_full_disk_gives_one_clear_error(small_disk: Path, left: int) -> None:
    folder = small_disk / "shop"
    small.write(folder, small.PAIRS_ONLY)
    used = shutil.disk_usage(small_disk)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(max(0, used.free - left * 1024)))
    with pytest.raises(StoreError) as refused:
        run(Project.load(folder))
    assert refused.value.code == "T701"
    assert whole(folder) == []
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    project = Project.load(folder)
    assert run(project).releases["taste"].reports == small.PEOPLE
    assert spends(project) == [("taste", "committed")]


def test_a_disk_that_cannot_be_written(small_disk: Path) -> None:
    folder = small.write(small_disk / "shop", small.PAIRS_ONLY)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StoreError) as refused:
        run(Project.load(folder))
    assert refused.value.code == "T704"
    assert str(folder) in str(refused.value.where)
