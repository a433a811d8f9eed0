"""Forgetting a person everywhere in the cloud: nothing of theirs is left, and a receipt is kept."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import small_project as small
from tacit.cli import main
from tacit.errors import DataError
from tacit.project import Project
from tacit.project.forget import commitment, forget, resume
from tacit.values import DAY

WHO = "p-is-to-be-forgotten"
MODULE = """\
from tacit import *

person = Entity("Somebody.", person="pseudonymous")
thing = Entity("Something on sale.")
discover = Purpose("Show what one may want.", use="personalize.content", basis="consent")
terms = dict(
    place="cloud", region="eu", keep="730d", basis="consent", purposes=[discover], time="at",
    category="user.behavior",
)
visits = Events(
    "What was looked at.", **terms,
    columns={"person": key(person, "user.unique_id.pseudonymous"), "item": key(thing), "at": time()},
)
gifts = Events(
    "What was given to whom.", **terms,
    columns={
        "giver": key(person, "user.unique_id.pseudonymous"),
        "taker": key(person, "user.unique_id.pseudonymous"), "item": key(thing), "at": time(),
    },
)
looks = visits.count("7d")
seen = visits.count("30d", per=thing)
training = Sink(
    "Rows to learn from.", signals=[looks], to="training", place="cloud", purposes=[discover],
    region="eu", keep="30d",
)
"""
SETTINGS = 'name = "shop"\nas_of = 2025-12-31T00:00:00Z\n'
NOW = small.NOW


def rows(seed: int, *others: str) -> pa.Table:
    draw = random.Random(seed)
    people = [draw.choice(["a", "b", WHO]) for _ in range(60)]
    at = sorted(NOW - draw.randrange(20) * DAY for _ in people)
    items = [draw.choice("xyz") for _ in people]
    return pa.table({"person": people, "item": items, "at": at})


def make(folder: Path, settings: str = SETTINGS) -> Project:
    """A project with the person in its lake, its history, its quarantine, online and in a sink."""
    from tacit.project.run import run

    folder.mkdir()
    (folder / "signals.py").write_text(MODULE)
    (folder / "tacit.toml").write_text(settings)
    project = Project.load(folder)
    for seed in range(3):
        project.ingest("visits", rows(seed))
    given = rows(7).rename_columns(["giver", "item", "at"])
    project.ingest("gifts", given.append_column("taker", rows(8)["person"]))
    bad = [{"person": WHO, "item": "x", "at": "no moment"}]
    (folder / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bad))
    project.ingest("visits", folder / "bad.jsonl")
    (folder / "bad.jsonl").unlink()
    recent = [{"person": who, "item": "x", "at": project.now() - DAY} for who in ("a", WHO)]
    project.push("visits", recent)
    run(project)
    return project


def holding(folder: Path, word: str) -> list[Path]:
    """The files below a folder in which a word stands, byte for byte or in a column."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        raw = path.read_bytes()
        table = pq.read_table(path) if path.suffix == ".parquet" else pa.table({})
        if word.encode() in raw or any(word in map(str, c.to_pylist()) for c in table.columns):
            found.append(path)
    return found


def test_nothing_of_the_person_is_left(tmp_path: Path) -> None:
    project = make(tmp_path / "shop")
    assert len(holding(project.root, WHO)) >= 5, "lake, quarantine, online, sink"
    before = {name: project.rows(name).table for name in ("visits", "gifts")}
    [receipt] = forget(project, "person", WHO)
    assert holding(project.root, WHO) == []
    assert not list((project.state / "forget").iterdir())
    for name, table in before.items():
        people = [c for c in table.column_names if c not in ("item", "at")]
        theirs = pc.equal(table[people[0]], WHO)
        for column in people[1:]:
            theirs = pc.or_(theirs, pc.equal(table[column], WHO))
        kept = project.rows(name).table
        assert sorted(map(str, kept.to_pylist())) == sorted(
            map(str, table.filter(pc.invert(theirs)).to_pylist())
        )
        assert receipt.body["removed"][f"lake:{name}"]["rows"] == pc.sum(theirs).as_py() > 5
    look = project.online.lookup(["looks", "seen"])
    assert look.one({"person": WHO, "thing": "x"}, project.now()).values == [0, 1]
    assert look.one({"person": "a", "thing": "x"}, project.now()).values == [1, 1]
    assert receipt.body["removed"]["sink:training"]["rows"] > 0
    assert receipt.body["rebuild"] == ["sink training"]


def test_a_receipt_is_chained_and_tells_only_whoever_has_the_salt(tmp_path: Path) -> None:
    project = make(tmp_path / "shop")
    [receipt] = forget(project, "visits", WHO)
    project.control.verify()
    [record] = project.control.read("receipt", f"forget:{receipt.body.get('id', '')}") or [
        r for r in project.control.read("receipt") if r.sequence == receipt.record
    ]
    assert record.hash == receipt.hash
    assert record.body["commitment"] == commitment(receipt.salt, "person", WHO)
    assert commitment("00" * 32, "person", WHO) != record.body["commitment"]
    assert receipt.salt not in (tmp_path / "shop" / ".tacit" / "control.sqlite").read_bytes().hex()
    [again] = forget(project, "person", WHO)
    assert again.rows == 0
    assert again.body["commitment"] != record.body["commitment"], "two receipts cannot be joined"


def test_a_table_that_is_declared_no_more_is_looked_through(tmp_path: Path) -> None:
    make(tmp_path / "shop")
    module = MODULE[: MODULE.index("gifts = ")] + MODULE[MODULE.index("looks = ") :]
    (tmp_path / "shop" / "signals.py").write_text(module)
    project = Project.load(tmp_path / "shop")
    [receipt] = forget(project, "person", WHO)
    assert receipt.body["removed"]["lake:gifts"]["rows"] > 5
    assert holding(project.root, WHO) == []


def test_files_of_the_users_own_are_named_and_not_touched(tmp_path: Path) -> None:
    settings = SETTINGS + '[sources.visits]\npath = "visits.parquet"\n'
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "signals.py").write_text(MODULE)
    (tmp_path / "shop" / "tacit.toml").write_text(settings)
    pq.write_table(rows(1), tmp_path / "shop" / "visits.parquet")
    project = Project.load(tmp_path / "shop")
    [receipt] = forget(project, "person", WHO)
    assert (receipt.rows, receipt.body["beyond"]) == (0, ["visits"])
    [receipt] = forget(project, "person", "nobody")
    assert receipt.body["beyond"] == []


@pytest.mark.parametrize(
    ("name", "key", "code"),
    [("thing", "x", "T319"), ("nothing", "x", "T319"), ("gifts", "x", None)],
)
def test_who_is_nobody_is_refused(name: str, key: str, code: str | None, tmp_path: Path) -> None:
    (tmp_path / "signals.py").write_text(MODULE)
    (tmp_path / "tacit.toml").write_text(SETTINGS)
    project = Project.load(tmp_path)
    if code is None:
        assert forget(project, name, key)[0].rows == 0
        return
    with pytest.raises(DataError) as refused:
        forget(project, name, key)
    assert refused.value.code == code


def test_a_key_of_numbers_is_one(tmp_path: Path) -> None:
    module = MODULE.replace(
        '"user.unique_id.pseudonymous")', '"user.unique_id.pseudonymous", type="int")'
    )
    (tmp_path / "signals.py").write_text(module)
    (tmp_path / "tacit.toml").write_text(SETTINGS)
    project = Project.load(tmp_path)
    project.ingest("visits", pa.table({"person": [17, 4711], "item": ["x", "y"], "at": [NOW, NOW]}))
    with pytest.raises(DataError, match="T317"):
        forget(project, "person", "x17")
    assert forget(project, "person", "4711")[0].body["removed"]["lake:visits"]["rows"] == 1
    assert project.rows("visits").table["person"].to_pylist() == [17]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = make(tmp_path / "shop")
    where = ["--project", str(project.root)]
    assert main(["forget", "person", WHO, *where, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["commitment"] == commitment(told["salt"], "person", WHO)
    assert main(["forget", "person", WHO, *where]) == 0
    assert "0 rows removed" in capsys.readouterr().out
    assert main(["forget", *where]) == 0
    assert "nothing was cut off" in capsys.readouterr().out
    assert main(["forget", "person", *where]) == 1
    assert "T317" in capsys.readouterr().err


def begun(project: Project) -> tuple[subprocess.Popen[bytes], float]:
    """The command as a process, when it has written down what it was asked; and that moment."""
    command = [sys.executable, "-m", "tacit.cli", "forget", "person", WHO]
    worker = subprocess.Popen([*command, "--project", str(project.root)], stdout=subprocess.DEVNULL)
    while not requests(project):
        assert worker.poll() is None
        time.sleep(0.002)
    return worker, time.monotonic()


def requests(project: Project) -> list[Path]:
    """What is not finished."""
    return list((project.state / "forget").glob("*.json"))


@pytest.mark.slow
def test_killed_anywhere_it_is_finished_by_the_next(tmp_path: Path) -> None:
    """Whatever had been removed, the next call removes the rest, and there is one receipt."""
    draw = random.Random(5)
    whole = 0.0
    cut = 0
    for attempt in range(9):
        project = make(tmp_path / f"shop{attempt}")
        worker, began = begun(project)
        if attempt < 2:  # the first may compile, and take far longer
            while requests(project) and worker.poll() is None:
                time.sleep(0.002)
            whole = time.monotonic() - began  # what comes then, it takes to end
            assert worker.wait() == 0
        else:
            time.sleep(draw.random() * whole)
            worker.kill()
            worker.wait()
            left = requests(project)
            cut += bool(left)
            again = Project.load(project.root)
            if attempt % 2 and left:
                assert len(resume(again)) == 1
            else:  # whoever asks anew finishes what was begun first
                assert forget(again, "person", WHO)[-1].rows >= 0
        assert holding(project.root, WHO) == []
        project = Project.load(project.root)
        project.control.verify()
        receipts = [r for r in project.control.read("receipt") if r.key.startswith("forget:")]
        assert 1 <= len(receipts) <= 2
    assert cut > 1


@pytest.mark.parametrize("step", ["lake:visits", "online", "receipt"])
def test_cut_off_after_any_step_it_goes_on(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step was done, and the process ended before anything said so."""
    project = make(tmp_path / "shop")
    import tacit.project.forget as module

    keep = module._save

    def dies(project: Project, request: module.Request) -> None:
        if step in request.done:
            raise KeyboardInterrupt
        keep(project, request)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_save", dies)
        if step == "receipt":
            patch.setattr(module, "sync_folder", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            forget(project, "person", WHO)
    project = Project.load(project.root)
    found = resume(project)
    assert len(found) == (0 if step == "receipt" else 1)
    assert holding(project.root, WHO) == []
    assert len([r for r in project.control.read("receipt") if r.key.startswith("forget:")]) == 1
