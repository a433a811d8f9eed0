"""Batches are kept by key: what is told again is what would be found, whatever was written."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from serve_cases import NOW, ROWS, SIGNALS, filled

from tacit.project import Project
from tacit.serve.answers import Answers
from tacit.serve.resp_views import Views
from tacit.values import MINUTE

AGES = 'ago = visits.since()\ngone = visits.since(per=thing)\nrest = Formula("Later.", sql="ago / 2")\n'


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    found = filled(tmp_path, SIGNALS + AGES)
    clock = [NOW]
    monkeypatch.setattr(Project, "now", lambda self: clock[0])
    monkeypatch.setattr(Project, "clock", clock, raising=False)
    return found


def found(answers: Answers, names: list[str], people: list[str], at: int) -> Any:
    """What is found anew, as JSON has it."""
    asked = answers.ask(names, "discover")
    rows = [asked.one({"person": person}, at) for person in people]
    plain = [json.loads(asked.encode.one(r.values, r.status, at)) for r in rows]
    return {
        "signals": names,
        "at": at,
        "values": [each["values"] for each in plain],
        "status": [each["status"] for each in plain],
    }


@pytest.mark.parametrize(
    "names",
    [["looks", "last", "spent", "kinds"], ["looks", "ago", "lately", "share"], ["rest", "ago"]],
)
def test_batches_say_what_is_found(shop: Project, names: list[str]) -> None:
    rng, answers = random.Random(5), Answers.open(shop)
    asked, views = answers.ask(names, "discover"), Views(answers, "discover")
    people = ["p1", "p2", "p3", "p4", "nobody"]
    for step in range(25):
        shop.clock[0] += rng.choice([0, 0, 1, MINUTE])  # type: ignore[attr-defined]
        at = shop.now()
        if rng.random() < 0.3:
            row = {**ROWS[0], "person": rng.choice(people[:4]), "at": at - rng.randrange(MINUTE)}
            shop.push("visits", [row], batch=str(step))
        several = [rng.choice(people) for _ in range(rng.randrange(1, 7))]
        wanted = found(answers, names, several, at)
        assert json.loads(asked.json_all({"person": several}, len(several))) == wanted
        one = json.loads(asked.json({"person": several[0]}))
        assert one["values"] == wanted["values"][0]
        keys = [f"person:{person}".encode() for person in several]
        told = views.get_all(keys)
        assert told == [views.get(key) for key in keys]
        for person, raw in zip(several, told, strict=True):
            if raw is None:
                assert set(wanted["status"][several.index(person)]) == {"missing"}
                continue
            whole = json.loads(raw.split(b"\r\n")[1])
            values = wanted["values"][several.index(person)]
            assert [whole[name] for name in names] == values
            assert raw == b"$%d\r\n%s\r\n" % (len(raw.split(b"\r\n")[1]), raw.split(b"\r\n")[1])


def test_what_stands_is_not_made_again(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers.open(shop)
    asked = answers.ask(["looks", "ago", "last"], "discover")
    people = {"person": ["p1", "p2", "nobody"]}
    first = asked.json_all(people, 3)
    with monkeypatch.context() as patch:
        patch.setattr(asked.serving, "many", None)  # it would be missed
        assert asked.json_all(people, 3) == first
        shop.push("visits", [{**ROWS[2], "person": "p7"}], batch="of another")
        shop.clock[0] += 7  # type: ignore[attr-defined]
        later = json.loads(asked.json_all(people, 3))
    assert later["values"][0][1] == json.loads(first)["values"][0][1] + 7
    shop.push("visits", [{**ROWS[2], "person": "p2", "at": shop.now() - 1}], batch="of p2")
    last = json.loads(asked.json_all(people, 3))
    assert last["values"][1][0] == later["values"][1][0] + 1
    assert last["values"][0] == later["values"][0]
