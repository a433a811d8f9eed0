"""Released numbers, read like signals: by every way in, for their purpose, for their time; and
nothing of what was withheld."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from noised_cases import PEOPLE, SIGNALS, project, rows
from resp_cases import running
from serve_cases import NOW
from serve_client import Caller, key_for, serving
from servers import redis_server

from tacit.errors import DataError, QueryError, Refused
from tacit.live.reader import Status
from tacit.plan.explain import explain
from tacit.plan.graph import Port
from tacit.plan.lineage import origins
from tacit.project import Project
from tacit.project.forget import forget
from tacit.project.run import run
from tacit.serve.answers import Answers
from tacit.serve.keys import add_key
from tacit.serve.server import application
from tacit.values import DAY, HOUR, MINUTE

pytestmark = pytest.mark.filterwarnings("ignore::tacit.errors.TacitWarning")
FLOAT32 = {"accept": "application/vnd.tacit.float32"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Project:
    found = project(tmp_path_factory.mktemp("shop"))
    [told] = run(found).delivered
    assert (told.metric, told.purpose, told.entity) == ("viewers", "discover", "thing")
    assert (told.numbers, told.released, told.anew) == (2, NOW, True)
    assert told.spent > 0
    found.push("visits", [{"person": "p1", "thing": "i1", "at": NOW - MINUTE}], batch="1")
    return found


@pytest.fixture(scope="module")
def ask(shop: Project) -> Caller:
    headers = key_for(shop, "discover", "measure")
    return Caller(application(shop), headers)


def near(value: Any, thing: str) -> bool:
    """Whether a number is that of a thing, and has noise in it or not: ε is large here."""
    return isinstance(value, float) and abs(value - PEOPLE[thing]) <= 1


# ---------------------------------------------------------------------- read like a signal


def test_one_many_and_candidates(shop: Project, ask: Caller) -> None:
    path = "/v1/features/thing/i1?purpose=discover"
    for _ in range(2):  # made, then kept
        found = ask.get(path).json()
        assert found["signals"] == ["seen", "viewers"]
        assert found["values"][0] == 1
        assert near(found["values"][1], "i1")
        assert found["status"] == ["fresh", "noised"]
    body = {
        "keys": {"person": "p1", "thing": ["i2", "few", "i1"]},
        "signals": ["viewers", "looks", "both"], "purpose": "discover",
    }  # fmt: skip
    for _ in range(2):
        found = ask.post("/v1/features", json=body).json()
        assert [near(row[0], each) for row, each in zip(found["values"], ("i2", "few", "i1"), strict=True)] == [True, False, True]  # fmt: skip
        assert [row[0] for row in found["status"]] == ["noised", "missing", "noised"]
        assert [row[1:] for row in found["values"]] == [[1, 0], [1, 0], [1, 1]]
    by_rows = {"rows": [{"thing": "i1"}, {"thing": "i2"}], "purpose": "discover"}
    found = ask.post("/v1/features", json=by_rows).json()
    assert [row[found["signals"].index("viewers")] for row in found["status"]] == ["noised"] * 2


def test_the_binary_body(shop: Project, ask: Caller) -> None:
    path = "/v1/features/thing/{}?purpose=discover&signals=viewers,seen"
    for thing, status in (("i1", 4), ("none", 2)):
        raw = ask.get(path.format(thing), headers=FLOAT32).content
        assert raw[32:] == bytes([status, 0 if thing == "i1" else 2])
        [number] = struct.unpack_from("<f", raw, 24)
        assert np.isnan(number) if thing == "none" else abs(number - 30) <= 1


def test_redis_clients(shop: Project) -> None:
    key = add_key(shop.control, "reader", ["discover", "measure"], [], None)
    with running(shop) as server:
        client = server.client(username="discover", password=key)
        for _ in range(2):
            assert near(json.loads(client.get("thing:i2"))["viewers"], "i2")
        one, none = client.mget("thing:i1", "thing:few")
        assert near(json.loads(one)["viewers"], "i1")
        assert none is None
        assert client.hmget("thing:i1", ["viewers:status", "seen:status"]) == [b"noised", b"fresh"]
        assert client.hget("thing:few", "viewers:status") == b"missing"
        assert near(float(client.hget("thing:i1", "viewers")), "i1")
        other = server.client(username="measure", password=key)
        assert json.loads(other.get("thing:i1")) == {"seen": 1}


def test_the_projects_own_code_reads_it(shop: Project) -> None:
    named = shop.declarations.named
    look = shop.lookup(["looks", named["viewers"]], purpose="discover")  # type: ignore[list-item]
    found = look.one({"person": "p1", "thing": "i1"}, NOW)
    assert found.status == [Status.FRESH, Status.NOISED]
    assert near(found.values[1], "i1")
    assert shop.lookup("viewers").many({"thing": ["i1", "none"]}, NOW).status.tolist() == [[4], [2]]
    with pytest.raises(DataError, match="T378"):
        shop.lookup("viewers", purpose="measure")
    with pytest.raises(DataError, match="T313"):
        shop.features(["viewers"], [{"thing": "i1", "at": NOW}])


def test_it_is_described(shop: Project, ask: Caller) -> None:
    told = {each["name"]: each for each in ask.get("/v1/signals").json()["signals"]}
    assert told["viewers"]["type"] == "float"
    assert told["viewers"]["entities"] == ["thing"]
    assert told["viewers"]["purposes"] == ["discover"]
    released = told["viewers"]["released"]["discover"]
    assert (released["at"], released["stale"]) == (NOW, NOW + DAY)
    assert 0 <= released["error"] < 1
    assert "released" not in told["seen"]
    said = ask.get("/metrics").text
    assert 'tacit_release_age_seconds{metric="viewers",purpose="discover"} 0.0' in said
    paths = ask.get("/openapi.json").json()["paths"]
    enum = paths["/v1/features/thing/{key}"]["get"]["parameters"][1]["schema"]["items"]["enum"]
    assert enum == ["seen", "viewers"]
    lines = "\n".join(line.text for line in explain(shop.plan, None))
    assert "viewers by thing, noised, anew each 1d" in lines
    assert "when it is asked, and each 1d to be served" in lines
    reached = {str(each.port) for each in origins(shop.plan, Port("page", "viewers"))}
    assert {"visits.person", "visits.thing"} <= reached


# ---------------------------------------------------------------------- for a purpose, at a time


def test_another_purpose_is_denied(shop: Project, ask: Caller) -> None:
    found = ask.get("/v1/features/thing/i1?purpose=measure&signals=viewers,seen").json()
    assert (found["values"], found["status"]) == ([None, 1], ["denied", "fresh"])
    body = {"keys": {"thing": ["i1", "few"]}, "signals": ["viewers"], "purpose": "measure"}
    assert ask.post("/v1/features", json=body).json()["status"] == [["denied"], ["denied"]]


def test_it_is_known_from_its_release_on(ask: Caller) -> None:
    path = "/v1/features/thing/i1?purpose=discover&signals=viewers&at="
    assert ask.get(path + str(NOW - 1)).json()["status"] == ["missing"]
    assert ask.get(path + str(NOW)).json()["status"] == ["noised"]
    assert ask.get(path + str(NOW + DAY - 1)).json()["status"] == ["noised"]
    assert ask.get(path + str(NOW + DAY)).json()["status"] == ["stale"]
    assert ask.get(path + str(NOW + 10 * DAY)).json()["status"] == ["stale"]
    assert ask.get(path + str(NOW + 10 * DAY + 1)).json()["status"] == ["missing"]


def statuses(shop: Project) -> tuple[list[Any], list[Status]]:
    found = Answers.open(shop).ask(["viewers"], "discover").many({"thing": ["i1", "i2"]})
    return found.columns[0], found.status[:, 0].tolist()


def test_a_period_is_released_once_whatever_rows_come(tmp_path: Path) -> None:
    """Asked anew with each row that comes, the noise would average out; and cost each time."""
    first = project(tmp_path)
    assert run(first).delivered[0].spent > 0
    values, left = statuses(first)[0], first.ledger.remaining("discover")
    for more in range(1, 4):
        people = {**PEOPLE, "few": 20 + more}
        again = project(tmp_path, NOW + more * HOUR, table=rows(people=people))
        [told] = run(again).delivered
        assert (told.spent, told.anew, told.released) == (0.0, False, NOW)
        assert statuses(again) == (values, [Status.NOISED] * 2)
        assert again.ledger.remaining("discover") == left
    # A store that was lost is filled from what was released.
    lost = tmp_path / "copy"
    shutil.copytree(tmp_path, lost, ignore=shutil.ignore_patterns("copy", "online"))
    filled = project(lost, NOW + 3 * HOUR, table=rows(people=people))
    assert statuses(filled)[1] == [Status.MISSING] * 2
    [told] = run(filled).delivered
    assert (told.spent, told.anew) == (0.0, True)
    assert statuses(filled) == (values, [Status.NOISED] * 2)
    assert filled.ledger.remaining("discover") == left


def test_the_next_period_is_another_release(tmp_path: Path) -> None:
    run(project(tmp_path))
    later = project(tmp_path, NOW + DAY, table=rows(NOW + HOUR, {"i2": 9}))
    values, status = statuses(later)
    assert near(values[0], "i1")
    assert status == [Status.STALE] * 2
    kept = Answers.open(later).ask(["viewers"], "discover")
    before = json.loads(kept.json({"thing": "i1"}))
    assert run(later).delivered[0].anew
    values, status = statuses(later)
    assert status == [Status.MISSING, Status.NOISED]  # nobody looked at i1 that day
    assert abs(values[1] - 9) <= 1
    told = json.loads(kept.json({"thing": "i1"}))
    assert (before["status"], told["status"]) == (["stale"], ["missing"])
    # The plan sets budget aside for two answers: of the third, the second stays, stale, for as
    # long as it may be kept.
    third = project(tmp_path, NOW + 2 * DAY, table=rows(NOW + DAY + HOUR))
    with pytest.raises(QueryError, match="T898"):
        run(third)
    assert statuses(third)[1] == [Status.MISSING, Status.STALE]
    late = project(tmp_path, NOW + 12 * DAY)
    assert statuses(late)[1] == [Status.MISSING] * 2


def test_what_is_delivered_no_more_is_removed(tmp_path: Path) -> None:
    first = project(tmp_path)
    run(first)
    cells = stored(first)
    assert len(cells) == 2
    bare = SIGNALS.replace("both, viewers]", "both]").replace(', every="1d"', "")
    run(project(tmp_path, signals=bare))
    assert stored(first) == {}
    assert list((tmp_path / ".tacit" / "sinks").glob("*.released")) == []


def test_a_metric_that_means_something_else_is_not_read(tmp_path: Path) -> None:
    run(project(tmp_path))
    other = project(tmp_path, signals=SIGNALS.replace("minimum=5", "minimum=6"))
    assert statuses(other)[1] == [Status.MISSING] * 2


def test_forgetting_leaves_what_was_released(tmp_path: Path) -> None:
    """A release is of nobody; what it is made of is gone, and the next one is without it."""
    shop = project(tmp_path)
    run(shop)
    shop.push("visits", [{"person": "p1", "thing": "i1", "at": NOW - MINUTE}], batch="1")
    before = statuses(shop)
    forget(shop, "person", "p1")
    assert statuses(shop) == before
    asked = Answers.open(shop).ask(["looks"], "discover")
    assert asked.one({"person": "p1"}).status == [Status.MISSING]


# ---------------------------------------------------------------------- what was withheld


def stored(shop: Project) -> dict[bytes, bytes]:
    """The cells that the store holds."""
    from tacit.live.released import deliveries_of

    [delivery] = deliveries_of(shop.plan).values() or [None]
    if delivery is None:
        return {}
    with shop.online.backend.read() as store:
        return dict(store.scan(delivery.cells))


def test_what_was_withheld_is_as_what_never_was(shop: Project) -> None:
    """An attack: `few` has two people, below the minimum; `none` has nobody; `unlisted` many, and
    no table lists it; `unheard` is no key at all. By no way in, and by nothing in the store, can
    they be told from each other."""
    headers = key_for(shop, "discover")
    ask = Caller(application(shop), headers)
    hidden = ["few", "none", "unlisted", "unheard"]
    path = "/v1/features/thing/{}?signals=viewers"
    for form in ({}, FLOAT32):
        for _ in range(2):
            answers = [ask.get(path.format(each), headers=form) for each in hidden]
            assert {each.status_code for each in answers} == {200}
            assert len({each.content for each in answers}) == 1
    body = {"keys": {"thing": hidden}, "signals": ["viewers"]}
    found = ask.post("/v1/features", json=body).json()
    assert found["values"] == [[None]] * 4
    assert found["status"] == [["missing"]] * 4
    key = add_key(shop.control, "reader", ["discover"], [], None)
    with running(shop) as server:
        client = server.client(password=key)
        assert client.mget([f"thing:{each}" for each in hidden]) == [None] * 4
        told = {
            tuple(client.hmget(f"thing:{each}", ["viewers", "viewers:status"])) for each in hidden
        }
        assert told == {(None, b"missing")}
    # No byte of the store, nor of what a run keeps to fill it, says that there was such a cell.
    cells = stored(shop)
    assert len(cells) == 2
    assert not any(each.encode() in name for each in hidden for name in cells)
    [file] = (shop.state / "sinks").glob("*.released")
    assert pa.parquet.read_table(file)["thing"].to_pylist() == ["i1", "i2"]


def test_a_withheld_cell_is_read_as_any_other(
    shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a reader asks of the store does not depend on what is there: as many trips, of as many
    keys, of names as long."""
    asked = Answers.open(shop).ask(["viewers"], "discover")
    asked.json({"thing": "i1"})  # what stands is looked at once
    trips: list[list[int]] = []
    backend = shop.online.backend
    with backend.read() as store:
        real = type(store).get

    def get(self: Any, keys: list[bytes]) -> list[bytes | None]:
        trips.append([len(key) for key in keys])
        return real(self, keys)

    monkeypatch.setattr(type(store), "get", get)
    seen = []
    for key in ("i2", "zz"):  # as long as each other: one is there
        asked._kept.turn()
        asked._kept.turn()
        trips.clear()
        asked.json({"thing": key})
        seen.append(list(trips))
    assert seen[0] == seen[1]


# ---------------------------------------------------------------------- what the plan refuses

MORE = """\
how_many = Metric(
    "How many there are.", measure=Measure.count(things), dimensions=["thing"], purposes=[discover]
)
so_far = CumulativeMetric("To date.", metric=viewers)
page ="""
ASIDE = SIGNALS[SIGNALS.index("signals=[seen]") : -2]
VIEWERS = 'signals=[viewers], to="{to}", place="cloud", purposes=[{of}], region="eu", keep="10d"'
REFUSED = {
    "no period": (', every="1d"', "", "T132", "does not say how often"),
    "another grain": ('["thing"],', '["thing"], grains=["1h"],', "T132", "none of its grains"),
    "periods that add up": ("both, viewers]", "both, so_far]", "T132", "adds up over periods"),
    "no key": ('["thing"]', """{"early": "thing < 'm'"}""", "T114", "one must be a key: none"),
    "two keys": ('["thing"]', '{"a": "thing", "b": "thing"}', "T114", "one must be a key: a, b"),
    "nothing to release": ("both, viewers]", "both]", "T116", "takes no metric"),
    "no noise": ("both, viewers]", "both, how_many]", "T350", "no mechanism"),
    "twice": (
        ASIDE, VIEWERS.format(to="online", of="discover") + ', every="1d"', "T350", "as the sink",
    ),
    "to learn from": (
        ASIDE, VIEWERS.format(to="training", of="discover"), "T116", "joined to no rows",
    ),
    "another purpose": (
        ASIDE, VIEWERS.format(to="online", of="measure") + ', every="1d"', "T203", "for measure",
    ),
    "for too long": ('keep="10d", every', 'keep="200d", every', "T204", "90d"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_delivered(tmp_path: Path, case: str) -> None:
    old, new, code, says = REFUSED[case]
    module = SIGNALS.replace("page =", MORE)
    assert old in module
    with pytest.raises(Refused) as refused:
        project(tmp_path, signals=module.replace(old, new)).plan  # noqa: B018
    found = [error for error in refused.value.errors if error.code == code]
    assert any(says in error.message for error in found), refused.value.errors
    assert all(error.fix for error in found)


# ---------------------------------------------------------------------- real servers


def test_a_fleet_reads_it_from_a_redis(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    store = redis_server(tmp_path / "redis")
    try:
        online = f'\n[online]\nredis = "redis://127.0.0.1:{store.port}/0"\n'
        shop = project(tmp_path / "shop", more=online)
        ask = Answers.open(shop).ask(["viewers", "seen"], "discover")
        assert json.loads(ask.json({"thing": "i1"}))["status"] == ["missing", "missing"]
        run(shop)
        shop.push("visits", [{"person": "p1", "thing": "i1", "at": NOW - MINUTE}], batch="1")
        for _ in range(2):
            found = json.loads(ask.json_all({"thing": ["i1", "few", "i2"]}, 3))
            assert [row[0] for row in found["status"]] == ["noised", "missing", "noised"]
            assert near(json.loads(ask.json({"thing": "i2"}))["values"][0], "i2")
        key = add_key(shop.control, "reader", ["discover"], [], None)
        with running(shop, readers=ThreadPoolExecutor(2)) as server:
            assert near(json.loads(server.client(password=key).get("thing:i1"))["viewers"], "i1")
        assert near(statuses(project(tmp_path / "shop", NOW + DAY, more=online))[0][0], "i1")
    finally:
        store.stop()


@pytest.mark.slow
def test_a_real_server_serves_what_a_run_delivers(tmp_path: Path) -> None:
    shop = project(tmp_path, more='\n[serve]\npatience = "60s"\n')
    headers = key_for(shop, "discover", push=("visits",))
    shop.online.backend.close()
    with (
        serving(tmp_path) as process,
        httpx.Client(base_url=process.url, headers=headers, timeout=60) as client,
    ):
        path = "/v1/features/thing/i1?signals=viewers,seen"
        row = {"person": "p1", "thing": "i1", "at": NOW - MINUTE}
        named = {"idempotency-key": "1"}
        assert client.post("/v1/events/visits", json=[row], headers=named).status_code == 200
        found = client.get(path).json()
        assert (found["values"], found["status"]) == ([None, 1], ["missing", "fresh"])
        done = subprocess.run(
            [sys.executable, "-m", "tacit.cli", "run", str(tmp_path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "served  viewers: 2 numbers by thing for discover" in done.stdout
        found = client.get(path).json()
        assert near(found["values"][0], "i1")
        assert found["status"] == ["noised", "fresh"]
        body = {"keys": {"thing": ["i1", "few"]}, "signals": ["viewers"]}
        assert client.post("/v1/features", json=body).json()["status"] == [["noised"], ["missing"]]
