"""Events over HTTP: acknowledged when they are on the disk, counted once, set apart when they are
none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from serve_cases import NOW, SETTINGS, project
from serve_client import Caller, caller
from test_serve_http import refused

from tacit.live.inputs.folder import Folder
from tacit.values import DAY, MINUTE

ROW = {"person": "p1", "thing": "i1", "at": NOW - 1, "seconds": 2, "liked": True}


def push(ask: Caller, rows: Any, key: str | None = None, query: str = "", **how: Any) -> Any:
    headers = {} if key is None else {"idempotency-key": key}
    return ask.post(f"/v1/events/visits{query}", json=rows, headers=headers, **how)


def looks(ask: Caller, person: str = "p1") -> Any:
    return ask.get(f"/v1/features/person/{person}?signals=looks").json()["values"][0]


def test_a_push_counts_once_by_its_key(tmp_path: Path) -> None:
    shop = project(tmp_path)
    ask = caller(shop, "discover", push=("visits",))
    other = caller(shop, push=("visits",))
    told = push(ask, [ROW, {**ROW, "thing": "i2"}], '"one"').json()
    assert told == {
        "accepted": 2, "duplicates": 0, "late": 0, "quarantined": 0, "parked": False,
    }  # fmt: skip
    assert looks(ask) == 2
    again = push(ask, [ROW, {**ROW, "thing": "i2"}], "one").json()
    assert (again["accepted"], again["duplicates"]) == (0, 2)
    assert looks(ask) == 2
    # Another caller's pushes have names of their own: nothing of theirs is lost to ours.
    assert push(other, [ROW], "one").json()["accepted"] == 1
    assert looks(ask) == 3


def test_events_count_once_by_their_ids(tmp_path: Path) -> None:
    ask = caller(project(tmp_path), "discover", push=("visits",))
    rows = [{**ROW, "id": "a"}, {**ROW, "id": "b"}, {**ROW, "id": "a"}]
    told = push(ask, rows, query="?ids=id").json()
    assert (told["accepted"], told["duplicates"]) == (2, 1)
    lines = b"\n".join(json.dumps({**ROW, "id": each}).encode() for each in "bcd")
    told = ask.post(
        "/v1/events/visits?ids=id", content=lines, headers={"content-type": "application/x-ndjson"}
    ).json()
    assert (told["accepted"], told["duplicates"]) == (2, 1)
    assert looks(ask) == 4
    for row in (ROW, 7, {**ROW, "id": None}, {**ROW, "id": True}):
        assert (
            refused(push(ask, [{**ROW, "id": "z"}, row], query="?ids=id"), 400, "T840")["where"]
            == "$[1]"
        )
    assert looks(ask) == 4


def test_what_is_no_event_is_set_apart_with_the_reason(tmp_path: Path) -> None:
    shop = project(tmp_path)
    ask = caller(shop, "discover", push=("visits",))
    poison: list[Any] = [
        {**ROW, "seconds": "long"}, {**ROW, "person": None}, {**ROW, "person": 7},
        {**ROW, "at": NOW + 10**10}, {**ROW, "at": "whenever"}, 7, None, [], "text",
        {**ROW, "at": 2**70}, {"person": "p1"},
    ]  # fmt: skip
    told = push(ask, [ROW, *poison], "poison").json()
    # A row without some of its columns has nothing in them, as one from a stream: it has no time.
    assert (told["accepted"], told["quarantined"]) == (2, len(poison) - 1)
    assert looks(ask) == 1
    kept = list(shop.online.quarantined("visits"))
    assert len(kept) == len(poison) - 1
    assert all(reason for _, reason, _ in kept)
    assert [reason for _, reason, _ in kept if "future" in reason] == [
        "dated 10000 s in the future"
    ]
    assert push(ask, [], "nothing").json()["accepted"] == 0


def test_late_events_merge_until_no_window_sees_them(tmp_path: Path) -> None:
    ask = caller(project(tmp_path), "discover", push=("visits",))
    late = [{**ROW, "at": NOW - days * DAY} for days in (1, 6, 20, 60)]
    told = push(ask, late, "late").json()
    assert (told["accepted"], told["late"], told["quarantined"]) == (4, 1, 0)
    assert looks(ask) == 2  # of seven days
    found = ask.get("/v1/features/person/p1?signals=likes").json()
    assert found["values"] == [3]  # of thirty
    metered = ask.get("/metrics").text
    assert '\ntacit_events_total{source="visits",outcome="late"} 1\n' in metered


@pytest.mark.parametrize("at", [(NOW - 1) // 10**6, (NOW - 1) // 1000, (NOW - 1) * 1000])
def test_times_of_another_unit_are_refused(tmp_path: Path, at: int) -> None:
    """As the lake has it: most of a push, and it is refused, and nothing is kept; some rows, and
    they are set apart."""
    shop = project(tmp_path)
    ask = caller(shop, "discover", push=("visits",))
    other = {**ROW, "at": at}
    found = refused(push(ask, [other, other, ROW], "a"), 400, "T348")
    assert "unit" in found["fix"]
    refused(push(ask, [other], "a"), 400, "T348")
    assert looks(ask) == 0
    assert list(shop.online.quarantined("visits")) == []
    told = push(ask, [ROW, ROW, other, {**ROW, "at": "1970-01-02"}], "a").json()
    assert (told["accepted"], told["quarantined"]) == (3, 1)
    [(_, reason, _)] = shop.online.quarantined("visits")
    assert "T348" in reason
    assert looks(ask) == 2


@pytest.mark.parametrize(("unit", "of"), [("s", 10**6), ("ms", 1000), ("us", 1), ("ns", 0)])
def test_times_of_a_unit_that_is_said(tmp_path: Path, unit: str, of: int) -> None:
    shop = project(tmp_path, settings=SETTINGS + f'\n[sources.visits]\nunit = "{unit}"\n')
    ask = caller(shop, "discover", push=("visits",))
    at = (NOW - MINUTE) * 1000 + 999 if not of else (NOW - MINUTE) // of
    rows = [{**ROW, "at": at}, {**ROW, "at": "2025-12-30T23:59:00Z"}]
    assert push(ask, rows, "a").json()["accepted"] == 2
    shop.push("visits", pa.Table.from_pylist([{**ROW, "seconds": 2.0, "at": at}]), batch="b")
    path = f"/v1/features/person/p1?signals=looks&at={NOW - MINUTE}"
    assert ask.get(path).json()["values"] == [0]
    assert ask.get(path[:-1] + "1").json()["values"] == [3]
    told = push(ask, [{**ROW, "at": 2**62}, ROW | {"at": True}, rows[0]], "c").json()
    # What does not fit, or is dated ahead, is set apart by itself.
    assert (told["accepted"], told["quarantined"]) == (1, 2)


def test_a_stream_goes_on_past_times_of_another_unit(tmp_path: Path) -> None:
    """A message that nobody can take would else be read again for ever."""
    shop = project(tmp_path)
    (tmp_path / "in").mkdir()
    rows = [{**ROW, "at": (NOW - 1) // 1000}] * 3
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "in" / "a.jsonl").write_text(lines + "\n" + json.dumps(ROW) + "\n")
    reader = Folder(shop.online, "visits", tmp_path / "in", clock=shop.now)
    while reader.step():
        pass
    assert shop.online.standing("visits").counts["quarantined"] == 3
    assert shop.lookup("looks").one({"person": "p1"}, NOW).values == [1]


def test_a_push_that_is_sent_again_sets_nothing_apart_again(tmp_path: Path) -> None:
    shop = project(tmp_path)
    ask = caller(shop, "discover", push=("visits",))
    rows = [ROW, {**ROW, "seconds": "long"}]
    assert push(ask, rows, "one").json()["quarantined"] == 1
    again = push(ask, rows, "one").json()
    assert (again["accepted"], again["duplicates"], again["quarantined"]) == (0, 1, 0)
    assert len(list(shop.online.quarantined("visits"))) == 1


def test_pushes_that_are_refused_whole(tmp_path: Path) -> None:
    shop = project(tmp_path)
    ask = caller(shop, "discover", push=("visits",))
    refused(push(caller(shop, "discover"), [ROW], "a"), 403, "T856")
    refused(ask.post("/v1/events/nothing", json=[ROW]), 403, "T856")
    refused(push(ask, [ROW]), 400, "T855")
    refused(push(ask, [ROW], "a", "?ids=id"), 400, "T855")
    refused(push(ask, [ROW], "a" * 257), 400, "T855")
    refused(push(ask, [ROW], "a", "?id=id"), 400, "T840")
    refused(push(ask, {"rows": [ROW]}, "a"), 400, "T840")
    refused(push(ask, [ROW] * 100_001, "a"), 413, "T847")
    name = {"idempotency-key": "a", "content-type": "application/x-ndjson"}
    refused(ask.post("/v1/events/visits", content=b'{"a": 1}\n{', headers=name), 400, "T840")
    name["content-type"] = "text/csv"
    refused(ask.post("/v1/events/visits", content=b"a,b", headers=name), 415, "T853")
    assert looks(ask) == 0
    assert push(ask, [ROW], "a").json()["accepted"] == 1


@pytest.mark.parametrize("code", ["T720", "T721", "T722"])
def test_a_store_that_cannot_take_it_says_when_to_come_again(
    tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tacit.errors import StoreError
    from tacit.live.online import Online

    ask = caller(project(tmp_path), "discover", push=("visits",))

    def fail(*_: object, **__: object) -> None:
        raise StoreError("it is so", code=code, where="/var/secret/place", fix="wait")

    with monkeypatch.context() as broken:
        broken.setattr(Online, "push", fail)
        found = push(ask, [ROW], "a")
        assert "where" not in refused(found, 503, code)
        assert found.headers["retry-after"] == "1"
    assert push(ask, [ROW], "a").json()["accepted"] == 1
