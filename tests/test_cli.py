"""The commands, as somebody types them: what they print, what they leave, how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import small_project as small
from tacit.cli import main

ENTRY = [sys.executable, "-c", "import sys; from tacit.cli import main; sys.exit(main())"]


def tacit(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ENTRY, *map(str, words)], capture_output=True, text=True, cwd=cwd, timeout=120
    )


def done(*words: str | Path, cwd: Path | None = None) -> str:
    found = tacit(*words, cwd=cwd)
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    return found.stdout


def failed(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """The error of a command that ends with 1, called as the entry point calls it."""
    assert main([str(word) for word in words]) == 1
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert "  at   " in printed.err
    assert "  fix  " in printed.err
    return printed.err.splitlines()[0]


def test_help_answers_at_once() -> None:
    took = []
    for _ in range(3):
        began = os.times()
        shown = done("--help")
        ended = os.times()
        took.append(ended.children_user - began.children_user)  # whatever else runs
        took[-1] += ended.children_system - began.children_system
    assert min(took) < 0.5
    for command in ("init", "plan", "ingest", "lake", "run", "budget", "rank", "demo", "evaluate"):
        assert f"    {command} " in shown


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom tacit.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'pyarrow', 'duckdb', 'numba', 'scipy', 'fideslang', 'rich', 'sqlglot',"
        " 'sqlcipher3', 'cryptography', 'pyiceberg', 'asyncio', 'tacit.plan', 'tacit.project'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stderr == "[]\n"


def test_from_nothing_to_a_ranking(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a newcomer types, in that order; what has been typed before, in this process."""
    assert "tacit plan shop && tacit run shop" in done("init", "shop", cwd=tmp_path)
    assert "released" in done("plan", "shop", cwd=tmp_path)
    assert main(["plan", str(tmp_path / "shop"), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert {"hash", "nodes", "lineage", "crossings", "bill"} <= set(plan)
    assert main(["budget", str(tmp_path / "shop")]) == 0
    assert "nothing spent" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "shop").iterdir()) == [
        "data", "signals.py", "tacit.toml"
    ]  # fmt: skip
    ran = done("run", "shop", cwd=tmp_path)
    assert "release taste: collected; 200 devices" in ran
    monkeypatch.chdir(tmp_path / "shop")
    assert main(["plan"]) == 0
    after = capsys.readouterr().out
    assert after.rstrip().endswith("since the plan last applied\n  nothing")
    assert main(["budget", str(tmp_path / "shop")]) == 0
    assert "epsilon 4 of 4 a device" in capsys.readouterr().out
    ranking = done("rank", "shop", "p000007", "--count", "4", cwd=tmp_path)
    assert [line.split()[0] for line in ranking.splitlines()] == ["1.", "2.", "3.", "4."]
    assert "because of" in ranking
    assert main(["rank", str(tmp_path / "shop"), "p000007", "--model", "taste_space"]) == 0
    other = capsys.readouterr().out
    assert [line.split()[0] for line in other.splitlines()][:4] == ["1.", "2.", "3.", "4."]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write(tmp_path_factory.mktemp("cli") / "shop", small.PAIRS_ONLY)


def test_a_run_for_machines(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(shop), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["releases"]["taste"]["devices"] == small.PEOPLE
    assert found["releases"]["taste"]["reports_refused"] == 0
    assert Path(found["bundles"]["recommender"]).is_file()
    assert main(["run", str(shop), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["releases"]["taste"]["reused"]


def test_errors_of_people_are_told(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["run", str(shop)])
    capsys.readouterr()
    assert failed(capsys, "plan", tmp_path / "nowhere").startswith("T310")
    assert failed(capsys, "plan", shop / "signals.py").startswith("T310")
    assert failed(capsys, "budget", tmp_path).startswith("T310")
    assert failed(capsys, "rank", shop, "nobody").startswith("T315")
    assert failed(capsys, "rank", shop, "p003", "--model", "oracle").startswith("T314")
    assert failed(capsys, "demo", "--data", tmp_path / "none.parquet").startswith("T301")
    assert failed(capsys, "demo", "--epsilon", "-1").startswith("T309")
    assert failed(capsys, "evaluate", "--train", "none", "--test", "none").startswith("T351")
    fresh = small.write(tmp_path / "fresh", small.PAIRS_ONLY)
    assert failed(capsys, "rank", fresh, "p003").startswith("T314")
    assert not (fresh / ".tacit").exists()


def test_a_refused_plan_names_every_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small.write(
        tmp_path / "shop", small.SIGNALS.replace("signals=[looks, last]", "signals=[bought, first]")
    )
    assert main(["plan", str(folder)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "signals.py:" in printed.err
    assert "nothing has run" in printed.err
    assert not (folder / ".tacit").exists()


def test_init_writes_into_nothing_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("notes")
    assert failed(capsys, "init", tmp_path / "mine").startswith("T320")
    assert failed(capsys, "init", tmp_path / "mine" / "notes").startswith("T320")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes"]
    assert failed(capsys, "init", tmp_path / "mine" / "notes" / "below").startswith("T7")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_init_here(tmp_path: Path) -> None:
    """Into the empty folder that somebody stands in, which must not move away under them."""
    before = tmp_path.stat().st_ino
    done("init", ".", cwd=tmp_path)
    assert tmp_path.stat().st_ino == before
    assert pq.read_table(tmp_path / "data" / "history.parquet").num_rows > 1000
    assert "released" in done("plan", cwd=tmp_path)


@pytest.mark.parametrize(
    "words",
    [["dance"], [], ["rank", "shop"], ["rank", "shop", "p", "--count", "0"], ["demo", "--no"]],
)
def test_what_is_no_command(words: list[str]) -> None:
    found = tacit(*words)
    assert found.returncode == 2
    assert "usage: tacit" in found.stdout + found.stderr
    assert "Traceback" not in found.stderr


def test_a_reader_that_leaves_is_no_error(shop: Path) -> None:
    piped = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$@" plan "$0" | head -1', str(shop), *ENTRY],
        capture_output=True,
        text=True,
    )
    assert (piped.returncode, piped.stderr) == (0, "")


def test_what_the_system_refuses_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/secret")

    monkeypatch.setattr("tacit.project.Project.load", refuse)
    assert failed(capsys, "plan", tmp_path).startswith("T704")


def test_the_version() -> None:
    assert done("--version").startswith("tacit 0.")
