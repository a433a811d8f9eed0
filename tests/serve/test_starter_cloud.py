"""The README's cloud side, command by command, on the project that `tacit init --cloud` makes."""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path

import pytest
from serve_client import Caller

from tacit.cli import main
from tacit.project import Project
from tacit.serve.server import application

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
[SIDE] = re.findall(r"## The cloud side\n(.*?)\n## ", README, re.DOTALL)
COMMANDS = re.findall(r"^tacit (.*?)(?: +#.*)?$", SIDE, re.MULTILINE)
[LEARN] = re.findall(r"```python\n(.*?)```", SIDE, re.DOTALL)
[READ] = re.findall(r"http://[^/]*(/v1/\S*?)\"", SIDE)
VIEWS, PEOPLE = 80_652, 4_000


@pytest.mark.slow
def test_the_cloud_side_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(command: str) -> str:
        assert main(shlex.split(command)) == 0
        return capsys.readouterr().out

    first, *before = COMMANDS[: COMMANDS.index("serve")]
    monkeypatch.chdir(tmp_path)
    made, _, into = first.partition(" && cd ")
    assert "tacit ingest views" in run(made)
    monkeypatch.chdir(into)
    told = [run(command) for command in before]
    assert f"accepted {VIEWS:,}" in told[0]
    assert told[2].splitlines() == [
        f"views: the online store holds {VIEWS:,} rows, version 2",
        f"choices: the online store holds {PEOPLE:,} rows, version 2",
    ]
    served(told[-1].strip())
    exec(compile(LEARN, "README.md", "exec"), {"__name__": "readme"})
    learned = capsys.readouterr().out
    assert "'lately:status': 'fresh'" in learned
    assert "'back:status': 'complete'" in learned
    query, quality = (run(command) for command in COMMANDS[COMMANDS.index("serve") + 1 :])
    assert len(re.findall(r"^genre\d ", query, re.MULTILINE)) == 8
    assert "spent ε 0.5; ε 5.5 of 6 is left" in query
    assert "last_viewed" in quality
    rebased(capsys)


def served(key: str) -> None:
    """What was ingested is read; who refused is not; what is pushed now follows on it."""
    shop = Project.load(".")
    call = Caller(application(shop), {"authorization": f"Bearer {key}"})
    assert call.get(READ).json()["status"] == ["fresh", "fresh"]
    assert call.get(READ.replace("p000237", "p000019")).json()["status"] == ["denied", "denied"]
    [newest] = shop.rows("views").table.sort_by([("at", "descending")]).slice(0, 1).to_pylist()
    person, item = newest["person"], newest["item"]
    path = f"/v1/features/person/{person}?signals=views_7d,last_viewed"
    [views, last] = call.get(path).json()["values"]
    assert views >= 1
    assert last == item
    row = {"person": person, "item": "10001", "at": time.time_ns() // 1000, "seconds": 3.5}
    pushed = call.post("/v1/events/views", json=[row], headers={"idempotency-key": "1"})
    assert pushed.json()["accepted"] == 1
    assert call.get(path).json()["values"] == [views + 1, "10001"]
    shop.online.backend.close()


def rebased(capsys: pytest.CaptureFixture[str]) -> None:
    """The push is in no row of the lake: a baseline would lose it, and does not without a word."""
    assert main(["rebase", "views"]) == 1
    assert "T730: 1 rows were pushed" in capsys.readouterr().err
    assert main(["rebase", "views", "--ids", "item"]) == 1
    assert "none of them with an id" in capsys.readouterr().err
    assert main(["rebase", "views", "--replace"]) == 0
    assert f"holds {VIEWS:,} rows" in capsys.readouterr().out
