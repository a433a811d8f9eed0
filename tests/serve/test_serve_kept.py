"""Batches are kept by key: what is told again is what would be found, whatever was written."""

from __future__ import annotations

import gc
import json
import random
import sys
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from serve_cases import NOW, ROWS, SIGNALS, filled

from tacit.live.lasting import Trace
from tacit.project import Project
from tacit.serve import answers as answers_module
from tacit.serve import resources as resources_module
from tacit.serve.answers import Answers
from tacit.serve.kept import Entry, Kept
from tacit.serve.keys import Caller
from tacit.serve.metrics import Metrics
from tacit.serve.resources import Request, Resources
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


# ---------------------------------------------------------------------- several threads


def together(work: Callable[[random.Random], None]) -> None:
    """Runs it in several threads, which take turns as often as they can."""
    turns = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(6) as pool:
            for done in [pool.submit(work, random.Random(seed)) for seed in range(6)]:
                done.result()
    finally:
        sys.setswitchinterval(turns)


def test_what_is_kept_is_counted_right_by_several_threads() -> None:
    kept = Kept(200_000)
    shelves = [kept.shelf() for _ in range(3)]

    def work(rng: random.Random) -> None:
        for _ in range(3000):
            key, shelf = ("k", str(rng.randrange(100))), rng.choice(shelves)
            found = shelf.get(key)
            if found is None:
                shelf.put(
                    key, Entry(None, 0, 1, Trace().made(), {}, (b"x" * rng.randrange(400), b""))
                )
            else:
                assert found.text.startswith(b"x" * len(found.text))
            if rng.random() < 0.002:
                kept.turn()

    together(work)
    young = [each for shelf in shelves for each in shelf.young.items()]
    assert kept._size == sum(entry.size + sum(map(len, key)) for key, entry in young) <= 100_000


def test_entries_take_about_what_they_say(shop: Project) -> None:
    """Of what is kept, so many bytes are told as memory holds; what has no room is not kept."""
    people = [f"person-{number:06}" for number in range(400)]
    rows = [{**ROWS[0], "person": person, "at": NOW - n} for n, person in enumerate(people)]
    shop.push("visits", rows, batch="many")
    shop.online.merger.run()  # what waits is read into memory, too
    for room in (100, 1 << 24):
        answers = Answers.open(shop, room)
        asked = answers.ask(["looks", "last", "spent"], "discover")
        asked.json({"person": "p1"})
        said = answers.kept._size
        gc.collect()
        tracemalloc.start()
        try:
            for person in people:
                asked.json({"person": person})
            gc.collect()
            took, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        said = answers.kept._size - said
        if room == 100:
            assert said == 0
            assert took < 100 * len(people)
        else:
            assert 0.75 < said / took < 1.35


def test_questions_are_let_go_by_several_threads(
    shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers_module, "_MOST", 3)
    monkeypatch.setattr(resources_module, "_MOST", 3)
    answers = Answers.open(shop)
    resources = Resources(answers, 100, Metrics())
    names = ["looks", "last", "spent", "average"]
    who = Caller("a", frozenset(["discover"]), frozenset())

    def work(rng: random.Random) -> None:
        for _ in range(40):
            some = rng.sample(names, rng.randrange(1, 5))
            asked = answers.ask(some, "discover")
            assert asked.signals == tuple(some)
            assert len(asked.one({"person": "p1"}).values) == len(some)
            request = Request("", f"signals={','.join(some)}".encode(), ())
            request.name, request.key, request.caller = "person", "p1", who
            assert json.loads(resources.read(request).body)["signals"] == some

    together(work)
    assert len(answers._asked) <= 3
    assert len(resources._ready) <= 3
