"""Reads over HTTP: what is answered, to whom, and what is refused with which problem."""

from __future__ import annotations

import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from serve_cases import NOW, SETTINGS, SIGNALS, filled, project
from serve_client import Caller, caller, key_for

from tacit.errors import DataError, ServeError
from tacit.serve import answers as answering
from tacit.serve.keys import KeyRing, revoke_key
from tacit.serve.server import application

FLOAT32 = "application/vnd.tacit.float32"


def refused(found: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert found.status_code == status, found.text
    assert found.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = found.json()
    assert told["code"] == code, told
    assert told["type"] == f"urn:tacit:error:{code}"
    assert told["status"] == status
    assert told["title"]
    assert told["detail"]
    assert told["fix"]
    return told


def test_one_key_by_its_path(tmp_path: Path) -> None:
    ask = caller(filled(tmp_path), "discover")
    found = ask.get("/v1/features/person/p1?signals=looks,last,spent,fond,kinds,share")
    assert found.status_code == 200, found.text
    assert found.headers["content-type"] == "application/json"
    assert found.json() == {
        "signals": ["looks", "last", "spent", "fond", "kinds", "share"],
        "at": NOW,
        "values": [2, "i2", 2.75, False, {"i1": 1, "i2": 1}, 0.5],
        "status": ["fresh"] * 6,
    }
    everything = ask.get("/v1/features/person/p1").json()
    assert "looks" in everything["signals"]
    assert "seen" not in everything["signals"]
    nobody = ask.get("/v1/features/person/no%2Fbody%20%E2%82%AC?signals=looks,last").json()
    assert nobody["status"] == ["missing", "missing"]
    assert nobody["values"] == [0, None]
    assert ask.get("/v1/features/thing/i1").json()["values"] == [2]
    earlier = ask.get(f"/v1/features/person/p1?signals=looks&at={NOW - 60_000_000}")
    assert earlier.json()["values"] == [1]


def test_many_keys_and_one_user_s_candidates(tmp_path: Path) -> None:
    ask = caller(filled(tmp_path), "discover")
    question = {"keys": {"person": "p1", "thing": ["i1", "i2", "i3"]},
                "signals": ["looks", "seen", "both"]}  # fmt: skip
    found = ask.post("/v1/features", json=question)
    assert found.json() == {
        "signals": ["looks", "seen", "both"],
        "at": NOW,
        "values": [[2, 2, 1], [2, 1, 1], [2, 0, 0]],
        "status": [["fresh"] * 3, ["fresh"] * 3, ["fresh", "missing", "missing"]],
    }
    rows = [{"person": person, "thing": thing} for person, thing in
            (("p1", "i2"), ("p2", "i1"), ("p2", "i2"))]  # fmt: skip
    pairs = ask.post(
        "/v1/features", json={"rows": rows, "signals": ["both", "looks"], "at": NOW + 0.0}
    )
    assert pairs.json()["values"] == [[1, 2], [1, 1], [0, 1]]
    one = ask.post("/v1/features", json={"keys": {"person": "p1", "thing": "i1"}}).json()
    assert len(one["values"]) == len(one["signals"]) == 11
    large = {"keys": {"person": [f"p{i}" for i in range(1000)]}, "signals": ["looks"]}
    assert len(ask.post("/v1/features", json=large).json()["values"]) == 1000


def test_the_binary_body_is_laid_out_as_described(tmp_path: Path) -> None:
    ask = caller(filled(tmp_path), "discover")
    names = ["looks", "last", "spent", "fond", "share"]
    question = {"keys": {"person": ["p1", "p2", "p3"]}, "signals": names}
    told = ask.post("/v1/features", json=question).json()
    found = ask.post("/v1/features", json=question, headers={"accept": FLOAT32})
    assert found.headers["content-type"] == FLOAT32
    body = found.content
    assert struct.unpack_from("<4sHHIIq", body) == (b"TF32", 1, 0, 3, 5, NOW)
    floats = np.frombuffer(body, "<f4", 15, 24).reshape(3, 5)
    status = np.frombuffer(body, np.uint8, 15, 24 + 60).reshape(3, 5)
    assert len(body) == 24 + 60 + 15
    numbers = [[v if isinstance(v, int | float) else np.nan for v in row] for row in told["values"]]
    np.testing.assert_array_equal(floats, np.array(numbers, np.float32))
    words = ["fresh", "stale", "missing", "denied", "noised"]
    assert [[words[each] for each in row] for row in status.tolist()] == told["status"]
    one = ask.get(
        f"/v1/features/person/p1?signals={','.join(names)}",
        headers={"accept": f"text/html;q=0.9, {FLOAT32}, application/json;q=0.1"},
    )
    assert one.content[24 : 24 + 20] == body[24 : 24 + 20]
    assert struct.unpack_from("<II", one.content, 8) == (1, 5)


def test_who_may_see_what(tmp_path: Path) -> None:
    shop = filled(tmp_path)
    ask = caller(shop, "measure")
    found = ask.get("/v1/features/person/p1?signals=looks,likes,share").json()
    assert found["values"] == [2, None, None]
    assert found["status"] == ["fresh", "denied", "denied"]
    told = refused(ask.get("/v1/features/person/p1?purpose=discover"), 403, "T843")
    assert "measure" in told["fix"]
    assert "discover" not in told["fix"]
    both = caller(shop, "measure", "discover")
    told = refused(both.get("/v1/features/person/p1"), 400, "T840")
    assert told["fix"] == "name one of yours: discover, measure"
    assert both.get("/v1/features/person/p1?purpose=measure&signals=likes").json() == {
        "signals": ["likes"], "at": NOW, "values": [None], "status": ["denied"],
    }  # fmt: skip
    pusher = caller(shop, push=("visits",))
    refused(pusher.get("/v1/features/person/p1?purpose=discover"), 403, "T843")
    catalog = {each["name"]: each for each in ask.get("/v1/signals").json()["signals"]}
    assert catalog["looks"] == {
        "name": "looks", "type": "int", "entities": ["person"], "inputs": {}, "doc": "",
        "purposes": ["measure"],
    }  # fmt: skip
    assert catalog["likes"]["purposes"] == []


def test_nobody_is_let_in_without_a_key(tmp_path: Path) -> None:
    shop = filled(tmp_path)
    good = key_for(shop, "discover")
    old = key_for(shop, "discover", expires=time.time_ns() // 1000 - 1)
    app = application(shop)
    for path in ("/v1/features/person/p1", "/v1/signals", "/openapi.json", "/metrics"):
        assert Caller(app, good).get(path).status_code == 200
        for headers in (
            {},
            {"authorization": "Bearer"},
            {"authorization": "Basic dTpw"},
            {"authorization": "Bearer tacit_0011223344556677_" + "A" * 43},
            {"authorization": good["authorization"][:-1].encode() + b"\xe9"},
            {"authorization": good["authorization"][:-2] + "__"},
        ):
            found = Caller(app, headers).get(path)
            refused(found, 401, "T844")
            assert found.headers["www-authenticate"].startswith("Bearer")
        refused(Caller(app, old).get(path), 401, "T845")
    for path in ("/healthz", "/readyz"):
        assert Caller(app).get(path).status_code == 200
    ring = app.identity.ring
    assert isinstance(ring, KeyRing)
    revoke_key(shop.control, good["authorization"].split("_")[1])
    app.identity.refresh()
    refused(Caller(app, good).get("/v1/signals"), 401, "T844")
    with pytest.raises(ServeError, match="T845"):
        revoke_key(shop.control, "nothing")
    secrets = [key["authorization"].split("_", 2)[2].encode() for key in (good, old)]
    kept = b"".join(path.read_bytes() for path in (tmp_path / ".tacit").glob("control*"))
    assert not any(secret in kept for secret in secrets)


def test_keys_that_cannot_be_read_let_nobody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = caller(filled(tmp_path), "discover")
    monkeypatch.setattr("tacit.serve.identity._STALE", -1.0)
    found = ask.get("/v1/features/person/p1")
    refused(found, 503, "T854")
    assert found.headers["retry-after"] == "1"
    refused(ask.get("/readyz"), 503, "T854")


def test_an_open_server_is_of_this_machine_alone(tmp_path: Path) -> None:
    shop = filled(tmp_path, settings=SETTINGS + "\n[serve]\nopen = true\n")
    ask = Caller(application(shop))
    found = ask.get("/v1/features/person/p1?purpose=discover&signals=looks")
    assert found.json()["values"] == [2]
    refused(ask.get("/v1/features/person/p1"), 400, "T840")
    (tmp_path / "tacit.toml").write_text(SETTINGS + '\n[serve]\nopen = true\nhost = "0.0.0.0"\n')
    with pytest.raises(DataError, match="T311"):
        project(tmp_path, settings=(tmp_path / "tacit.toml").read_text())


@pytest.mark.parametrize(
    ("path", "status", "code", "says"),
    [
        ("/v1/features/person/p1?signals=lokos", 400, "T841", "did you mean 'looks'"),
        ("/v1/features/person/p1?signals=looks,looks", 400, "T841", "once"),
        ("/v1/features/person/p1?signals=", 400, "T841", "use"),
        ("/v1/features/person/p1?signals=looks&signals=last", 400, "T840", "once"),
        ("/v1/features/person/p1?signals=seen", 400, "T840", "POST"),
        ("/v1/features/person/p1?signal=looks", 400, "T840", "did you mean 'signals'"),
        ("/v1/features/person/p1?x", 400, "T840", "name=value"),
        ("/v1/features/person/p1?at=now", 400, "T840", "microseconds"),
        (f"/v1/features/person/p1?at={2**63}", 400, "T840", "microseconds"),
        (f"/v1/features/person/p1?at={NOW - 10**13}", 400, "T725", "later moment"),
        ("/v1/features/persona/p1", 404, "T842", "did you mean 'person'"),
        ("/v1/features/person/", 404, "T850", "openapi.json"),
        ("/v1/features/person", 404, "T850", "openapi.json"),
        ("/v1/signals?x=1", 400, "T840", "use none"),
        ("/", 404, "T850", "openapi.json"),
    ],
)  # fmt: skip
def test_wrong_paths_and_parameters(
    one_shop: Caller, path: str, status: int, code: str, says: str
) -> None:
    assert says in refused(one_shop.get(path), status, code)["fix"]


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        (b"", 400, "T840", "body"),
        (b"{", 400, "T840", "body"),
        (b"[]", 400, "T840", "body"),
        (b"{}", 400, "T840", "body"),
        (b'\xff{"keys": {}}', 400, "T840", "body"),
        (b"[" * 100_000, 400, "T840", "body"),
        (b'{"keys": {"person": "p1"}, "signal": ["looks"]}', 400, "T840", "body"),
        (b'{"keys": {"person": 1.5}}', 400, "T840", "$.keys"),
        (b'{"keys": {"person": 7}}', 400, "T840", "$.keys"),
        (b'{"keys": {"person": ["p1", 7]}, "signals": ["looks"]}', 400, "T840", "$.keys"),
        (b'{"keys": {"person": []}, "signals": ["looks"]}', 400, "T840", "$.keys"),
        (b'{"keys": {"person": ["a"], "thing": ["b", "c"]}}', 400, "T840", "$.keys"),
        (b'{"keys": {"person": "a", "thing": 7}, "signals": ["looks"]}', 400, "T840", "$.keys"),
        (b'{"keys": {"person": ["a"], "thing": ["b"]}}', 400, "T840", "$.keys"),
        (b'{"rows": []}', 400, "T840", "$.rows"),
        (b'{"rows": [{}]}', 400, "T841", "signals"),
        (b'{"rows": [{"person": "a"}, {"thing": "a"}]}', 400, "T840", "$.rows[1]"),
        (b'{"rows": [{"person": "a", "screen": 1}]}', 400, "T840", "input"),
        (b'{"rows": [{"person": null}]}', 400, "T840", "$.rows[0]"),
        (b'{"rows": [{"person": "a"}], "keys": {"person": "a"}}', 400, "T840", "body"),
        (b'{"rows": [{"person": "a"}], "inputs": {"person": "a"}}', 400, "T840", "body"),
        (b'{"keys": {"person": "a"}, "signals": ["both"]}', 400, "T390", "thing"),
        (b'{"keys": {}}', 400, "T841", "signals"),
        (b'{"keys": {"persona": "a"}}', 404, "T842", "entity"),
        (b'{"keys": {"persona": "a"}, "signals": ["looks"]}', 404, "T842", "entity"),
        (b'{"keys": {"person": "a"}, "signals": ["lokos"]}', 400, "T841", "signal"),
        (b'{"keys": {"person": "a"}, "purpose": "sell"}', 403, "T843", "purpose"),
        (b'{"keys": {"person": "a"}, "at": 1e300}', 400, "T840", "$.at"),
        (b'{"keys": {"person": "a"}, "at": 99999999999999999999}', 400, "T840", "$.at"),
    ],
)  # fmt: skip
def test_wrong_bodies(one_shop: Caller, body: bytes, status: int, code: str, says: str) -> None:
    found = one_shop.post(
        "/v1/features", content=body, headers={"content-type": "application/json"}
    )
    assert refused(found, status, code)["where"] == says


def test_limits_types_and_methods(one_shop: Caller) -> None:
    many = {"keys": {"person": ["p"] * 1001}, "signals": ["looks"]}
    refused(one_shop.post("/v1/features", json=many), 413, "T847")
    sent = {"content-type": "application/json"}
    large = one_shop.post("/v1/features", content=b" " * (8 << 20) + b" ", headers=sent)
    refused(large, 413, "T846")
    assert large.headers["connection"] == "close"

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b" " * (1 << 20)

    large = one_shop.post("/v1/features", content=parts(), headers=sent)  # it says not how large
    refused(large, 413, "T846")
    refused(one_shop.post("/v1/features", content=b"{}"), 415, "T853")
    accept = {"accept": "text/html, application/json;q=0"}
    refused(one_shop.get("/v1/features/person/p1", headers=accept), 406, "T852")
    for method, path, allowed in (
        ("DELETE", "/v1/features/person/p1", "GET"),
        ("GET", "/v1/features", "POST"),
        ("PUT", "/v1/events/visits", "POST"),
        ("OPTIONS", "/metrics", "GET"),
    ):
        found = one_shop(method, path)
        refused(found, 405, "T851")
        assert found.headers["allow"] == allowed


def test_a_failure_of_ours_is_told_without_what_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ask = caller(filled(tmp_path), "discover")

    def fail(self: object, keys: object) -> None:
        raise RuntimeError(f"cannot read {keys}")

    monkeypatch.setattr(answering.Asked, "json", fail)
    found = ask.get("/v1/features/person/a-secret-name")
    refused(found, 500, "T858")
    assert "secret" not in found.text


@pytest.fixture(scope="module")
def one_shop(tmp_path_factory: pytest.TempPathFactory) -> Caller:
    return caller(filled(tmp_path_factory.mktemp("shop"), SIGNALS), "discover")


def test_every_operation_says_that_its_head_may_be_too_large(tmp_path: Path) -> None:
    """Which the server refuses before it knows whose it is (431)."""
    told = caller(filled(tmp_path), "discover").get("/openapi.json").json()
    for path in told["paths"].values():
        for operation in path.values():
            found = operation["responses"]["431"]
            assert "T859" in found["description"]
            assert "application/problem+json" in found["content"]
