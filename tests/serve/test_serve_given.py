"""On-demand signals, and consent: what arrives with a request, and what a person refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serve_cases import NOW, SETTINGS, SIGNALS, filled, project
from serve_client import Caller, caller
from test_serve_http import refused

from tacit.errors import ServeError
from tacit.live.reader import Status
from tacit.project import Project
from tacit.serve.answers import Answers
from tacit.serve.resp_views import Views
from tacit.values import DAY, MINUTE

GIVEN = (
    SIGNALS
    + """
cart = Given("What the cart is worth.", value=number(PUBLIC), place="cloud")
screen = Given("The kind of screen.", value=text(PUBLIC), place="cloud")
worth = Formula("For each look.", sql="cart / looks")
tall = Formula("On a phone.", sql="screen = 'phone' AND looks > 1")
consents = Events(
    "Who allows what.", place="cloud", region="eu", keep="ever", basis="legal_obligation",
    purposes=[discover, measure, sell], time="at", category="user.behavior",
    columns={
        "person": key(person, "user.unique_id.pseudonymous"), "purpose": text(), "at": time(),
        "allowed": flag(),
    },
)
refused = consents.last("NOT allowed", where="purpose = 'discover'")
"""
)
REFUSALS = SETTINGS + '\n[serve.refusals]\ndiscover = "refused"\n'


def ask(call: Caller, **body: Any) -> Any:
    return call.post("/v1/features", json=body)


def test_formulas_over_what_arrives(tmp_path: Path) -> None:
    shop = filled(tmp_path, GIVEN)
    call = caller(shop, "discover")
    names = ["worth", "tall", "looks"]
    given = {"cart": 5, "screen": "phone"}
    found = ask(call, keys={"person": "p1"}, signals=names, inputs=given).json()
    assert found["values"] == [2.5, True, 2]
    assert found["status"] == ["fresh"] * 3
    many = ask(
        call,
        rows=[
            {"person": f"p{i}", "cart": cart, "screen": "phone"}
            for i, cart in enumerate([1, 2.0, 3], 1)
        ],
        signals=names,
    ).json()
    assert many["values"] == [[0.5, True, 2], [2.0, False, 1], [None, False, 0]]
    same = ask(call, keys={"person": ["p1", "p2"]}, signals=names, inputs=given).json()
    assert same["values"] == [[2.5, True, 2], [5.0, False, 1]]
    everything = ask(call, keys={"person": "p1"}).json()["signals"]
    assert "worth" not in everything
    everything = ask(call, keys={"person": "p1"}, inputs={"cart": None}).json()
    assert "worth" in everything["signals"]
    assert "tall" not in everything["signals"]
    told = refused(ask(call, keys={"person": "p1"}, signals=names, inputs={"cart": 1}), 400, "T390")
    assert "screen" in told["detail"]
    for inputs, code, says in (
        ({"cart": "1", "screen": "x"}, "T840", "$.inputs"),
        ({"cart": 1, "screen": "x", "crt": 1}, "T840", "input"),
        ({"cart": [1], "screen": "x"}, "T840", "$.inputs"),
    ):
        found = ask(call, keys={"person": "p1"}, signals=names, inputs=inputs)
        assert refused(found, 400, code)["where"] == says
    told = refused(call.get("/v1/features/person/p1?signals=worth"), 400, "T840")
    assert "POST" in told["fix"]
    catalog = {each["name"]: each for each in call.get("/v1/signals").json()["signals"]}
    assert catalog["worth"]["inputs"] == {"cart": "float"}


def test_formulas_over_what_may_not_be_seen(tmp_path: Path) -> None:
    """By the purpose or by the person: denied by every way in, whatever arrives with it."""
    shop = filled(
        tmp_path, GIVEN + 'warm = Formula("For each liked.", sql="cart / likes")\n', REFUSALS
    )
    record(shop, "p1", True, NOW - MINUTE)
    record(shop, "p2", False, NOW - MINUTE)
    call, names = caller(shop, "discover", "measure"), ["warm", "worth"]
    people = ["p1", "p2"]
    wanted = {
        ("discover", "p1"): ([2.0, 1.0], ["fresh", "fresh"]),
        ("discover", "p2"): ([None, None], ["denied", "denied"]),
        ("measure", "p1"): ([None, 1.0], ["denied", "fresh"]),
        ("measure", "p2"): ([None, 2.0], ["denied", "fresh"]),
    }
    binary = {"accept": "application/vnd.tacit.float32"}
    for purpose in ("discover", "measure"):
        asked = {"signals": names, "purpose": purpose}
        each = [wanted[purpose, person] for person in people]
        bodies = (
            {"keys": {"person": people}, "inputs": {"cart": 2}},
            {"rows": [{"person": person, "cart": 2} for person in people]},
        )
        for body in bodies:
            many = ask(call, **asked, **body).json()
            assert list(zip(many["values"], many["status"], strict=True)) == each
            raw = call.post("/v1/features", json={**asked, **body}, headers=binary).content
            floats = np.frombuffer(raw, "<f4", 4, 24).reshape(2, 2)
            lacking = [[value is None for value in values] for values, _ in each]
            assert np.isnan(floats).tolist() == lacking
            denied = [[word == "denied" for word in words] for _, words in each]
            assert [[s == Status.DENIED for s in raw[40:42]],
                    [s == Status.DENIED for s in raw[42:44]]] == denied  # fmt: skip
        for person, (values, words) in zip(people, each, strict=True):
            one = ask(call, keys={"person": person}, inputs={"cart": 2}, **asked).json()
            assert (one["values"], one["status"]) == (values, words)


def record(shop: Any, person: str, allowed: bool, at: int, purpose: str = "discover") -> None:
    row = {"person": person, "purpose": purpose, "at": at, "allowed": allowed}
    shop.push("consents", [row])


def test_what_a_person_refused_is_denied_from_then_on(tmp_path: Path) -> None:
    shop = filled(tmp_path, GIVEN, REFUSALS)
    both = caller(shop, "discover", "measure")
    path = "/v1/features/person/p1?purpose=discover&signals=looks,last"
    denied = {"values": [None, None], "status": ["denied", "denied"]}
    allowed = {"values": [2, "i2"], "status": ["fresh", "fresh"]}

    def told(found: Any) -> Any:
        return {name: found.json()[name] for name in ("values", "status")}

    assert told(both.get(path)) == denied  # gathered on consent, and no record of any
    record(shop, "p1", True, NOW - 10 * MINUTE)
    assert told(both.get(path)) == allowed
    assert told(both.get(path + f"&at={NOW - 3 * MINUTE}")) == {
        "values": [1, "i1"], "status": ["fresh", "fresh"],
    }  # fmt: skip
    record(shop, "p1", False, NOW - MINUTE, "measure")
    assert told(both.get(path)) == allowed
    record(shop, "p1", False, NOW - 2 * MINUTE)
    assert told(both.get(path)) == denied
    # Nor is what was known before told any more, or what will be.
    for at in (NOW - 3 * MINUTE, NOW + MINUTE):
        assert told(both.get(path + f"&at={at}")) == denied
        asked = {"keys": {"person": ["p1"]}, "signals": ["looks", "last"], "purpose": "discover"}
        found = ask(both, **asked, at=at).json()
        assert (found["values"], found["status"]) == ([[None, None]], [["denied", "denied"]])
    # Another purpose, that the settings know no refusals of, is decided by the plan alone.
    assert told(both.get(path.replace("discover", "measure"))) == allowed
    record(shop, "p2", True, NOW - 2 * MINUTE)
    body = {"keys": {"person": ["p1", "p2", "p3"]}, "signals": ["looks", "refused"],
            "purpose": "discover"}  # fmt: skip
    many = ask(both, **body).json()
    # The purpose does not accept the basis on which records are kept: it is not told of them.
    assert many["values"] == [[None, None], [1, None], [None, None]]
    assert many["status"] == [["denied", "denied"], ["fresh", "denied"], ["denied", "denied"]]
    one = ask(both, **{**body, "keys": {"person": "p2"}}).json()
    assert (one["values"], one["status"]) == ([1, None], ["fresh", "denied"])
    # Of things alone, no person is asked: it is an aggregate of many.
    assert told(both.get("/v1/features/thing/i1?purpose=discover")) == {
        "values": [2], "status": ["fresh"],
    }  # fmt: skip
    pairs = ask(both, keys={"person": "p1", "thing": ["i1"]}, purpose="discover",
                signals=["both", "seen"]).json()  # fmt: skip
    assert pairs["status"] == [["denied", "denied"]]
    # Of two records of one moment, the one that denies counts.
    record(shop, "p2", True, NOW - 5)
    record(shop, "p2", False, NOW - 5)
    assert told(both.get(path.replace("p1", "p2"))) == denied


def test_a_refusal_dated_ahead_counts_at_once(tmp_path: Path) -> None:
    """Clocks disagree a little: who said no a moment ago is not to be told of until it is theirs.
    To agree counts from its time on."""
    shop = filled(tmp_path, GIVEN, REFUSALS)
    call = caller(shop, "discover")
    path = "/v1/features/person/{}?signals=looks"
    binary = {"accept": "application/vnd.tacit.float32"}

    def told(person: str) -> list[str]:
        """By every way in."""
        one = call.get(path.format(person)).json()["status"][0]
        many = ask(call, keys={"person": [person, "p3"]}, signals=["looks"]).json()["status"][0][0]
        early = call.get(path.format(person) + f"&at={NOW - 3 * MINUTE}").json()["status"][0]
        raw = call.get(path.format(person), headers=binary).content[-1]
        kept = Views(Answers.open(shop), "discover").get(f"person:{person}".encode())
        fields = Views(Answers.open(shop), "discover").fields(
            f"person:{person}".encode(), (b"looks:status",)
        )
        assert (raw == Status.DENIED) == (one == "denied") == (kept is None)
        assert fields == [one.encode()]
        return [one, many, early]

    record(shop, "p1", True, NOW - 10 * MINUTE)
    assert told("p1") == ["fresh"] * 3
    record(shop, "p1", False, NOW + 5 * MINUTE)  # the furthest ahead that a row may be dated
    assert told("p1") == ["denied"] * 3
    record(shop, "p2", True, NOW + MINUTE)
    assert told("p2")[:2] == ["denied"] * 2  # it agrees, but not yet
    record(shop, "p2", True, NOW - 2 * DAY - MINUTE)
    record(shop, "p2", False, NOW + 2 * MINUTE)
    record(shop, "p2", True, NOW + 3 * MINUTE)
    assert told("p2")[:2] == ["fresh"] * 2  # it says no, and yes again: the last word of all


def test_what_is_kept_knows_of_refusals_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is given again is what would be found, at every moment: with records that
    come, begin and leave their window meanwhile."""
    rng, clock = random.Random(3), [NOW]
    monkeypatch.setattr(Project, "now", lambda self: clock[0])
    short = GIVEN.replace("where=\"purpose = 'discover'\")", '"20m")')
    shop = filled(tmp_path, short, REFUSALS)
    answers, people = Answers.open(shop), ["p1", "p2"]
    asked = answers.ask(["looks"], "discover")
    for _ in range(120):
        clock[0] += rng.choice([0, 1, MINUTE, 7 * MINUTE])
        if rng.random() < 0.3:
            ahead = rng.choice([-2, 0, 1, 4]) * MINUTE + rng.randrange(3)
            record(shop, rng.choice(people), rng.random() < 0.6, clock[0] + ahead)
        at = clock[0]
        anew = [asked.one({"person": person}).status[0].name.lower() for person in people]
        for person, status in zip(people, anew, strict=True):
            assert json.loads(asked.json({"person": person}))["status"] == [status]
        many = json.loads(asked.json_all({"person": people}, 2))
        assert many["status"] == [[status] for status in anew], at


def test_refusals_that_are_none(tmp_path: Path) -> None:
    for line in ('discovery = "refused"', 'discover = "nothing"', 'discover = "looks"'):
        shop = project(tmp_path, GIVEN, SETTINGS + f"\n[serve.refusals]\n{line}\n")
        with pytest.raises(ServeError, match="T857"):
            Answers.open(shop)
        shop.online.backend.close()
