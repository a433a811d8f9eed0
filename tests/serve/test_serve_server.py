"""A real server: slow and broken clients, back-pressure, shutting down, TLS, what it logs."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families
from serve_cases import NOW, SETTINGS, filled
from serve_client import Process, free_port, key_for, serving

LIMITS = SETTINGS + '\n[serve]\npatience = "1s"\nin_flight = 3\nlog = "all"\ndrain = "20s"\n'
ROW = {"person": "p9", "thing": "i1", "at": NOW - 1, "seconds": 2, "liked": True}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("served")
    shop = filled(folder, settings=f"{LIMITS}resp = {free_port()}\n")
    headers = key_for(shop, "discover", push=("visits",))
    shop.online.backend.close()
    with serving(folder) as process:
        yield process, headers


def raw(process: Process, *parts: bytes, wait: float = 0.0) -> bytes:
    """What a server answers to bytes, sent one part after another."""
    with socket.create_connection(("127.0.0.1", process.port), timeout=30) as sent:
        for part in parts:
            sent.sendall(part)
            time.sleep(wait)
        found = b""
        while part := sent.recv(65536):
            found += part
            if b"\r\n\r\n" in found and b"content-length: 0" not in found and b"}" in found:
                break
        return found


def answered(sent: socket.socket) -> bytes:
    """One answer, whole."""
    found = b""
    while part := sent.recv(65536):
        found += part
        head, _, body = found.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if length is not None and len(body) == int(length[1]):
            break
    return found


def head(headers: dict[str, str], length: int, source: str = "visits") -> bytes:
    return (
        f"POST /v1/events/{source} HTTP/1.1\r\nhost: x\r\nauthorization: "
        f"{headers['authorization']}\r\ncontent-type: application/json\r\n"
        f"idempotency-key: slow\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


def test_reads_pushes_and_metrics(served: Any) -> None:
    process, headers = served
    with httpx.Client(base_url=process.url, headers=headers) as client:
        found = client.get("/v1/features/person/p1?signals=looks")
        assert found.json()["values"] == [2]
        assert "server" not in found.headers
        told = client.post("/v1/events/visits", json=[ROW], headers={"idempotency-key": "m"})
        assert told.json()["accepted"] == 1
        client.get("/v1/features/person/p1?signals=lokos")
        port = int(re.findall(r"resp = (\d+)", (process.folder / "tacit.toml").read_text())[0])
        with redis.Redis(port=port, password=headers["authorization"].split()[1]) as other:
            assert other.hget("person:p1", "looks") == b"2"
            with pytest.raises(redis.ResponseError, match="T842"):
                other.get("nothing:p1")
            text = client.get("/metrics")
        assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = {f.name: f for f in text_string_to_metric_families(text.text)}
        samples = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in families.values()
            for sample in family.samples
        }
        route = ("route", "/v1/features/{entity}/{key}")
        assert samples["tacit_requests_total", route, ("status", "200")] >= 1
        assert samples["tacit_requests_total", route, ("status", "400")] >= 1
        assert samples["tacit_refused_total", ("code", "T841")] >= 1
        assert samples["tacit_request_seconds_count", route] >= 2
        assert samples["tacit_request_seconds_bucket", ("le", "+Inf"), route] >= 2
        assert samples["tacit_in_flight",] == 1
        assert samples["tacit_values_total",] >= 1
        assert samples["tacit_store_up",] == 1
        assert samples["tacit_resp_commands_total",] >= 3
        assert samples["tacit_resp_refused_total",] == 1
        assert samples["tacit_resp_connections",] == 1
        event = ("outcome", "accepted"), ("source", "visits")
        assert samples["tacit_events_total", *event] >= 1
        assert samples["tacit_source_age_seconds", ("source", "visits")] >= 0
        assert families["tacit_request_seconds"].type == "histogram"


def test_slow_clients_are_left(served: Any) -> None:
    process, headers = served
    assert raw(process, b"GET /healthz HTTP/1.1\r\nhost: x\r\n", wait=0) == b""
    started = time.monotonic()
    found = raw(process, head(headers, 1000), b"[", wait=0)
    assert b" 408 " in found.splitlines()[0]
    assert b"T849" in found
    assert b"connection: close" in found
    assert 0.5 < time.monotonic() - started < 20
    # Byte by byte, each in time, and never done: the whole is what must come in time.
    with socket.create_connection(("127.0.0.1", process.port), timeout=5) as sent:
        try:
            for _ in range(300):
                sent.sendall(b"x")
                time.sleep(0.05)
        except OSError:
            return
    raise AssertionError("it waits for ever")


def test_clients_that_take_no_answers_are_left(served: Any) -> None:
    """Each answer is small, and lies in the server; a client that takes none in time gives its
    place back."""
    process, headers = served
    ask = f"GET /openapi.json HTTP/1.1\r\nhost: x\r\nauthorization: {headers['authorization']}"
    with httpx.Client(base_url=process.url, headers=headers) as client:
        size = len(client.get("/openapi.json").content)
        assert size < 64 << 10

        def until(status: int) -> None:
            end = time.monotonic() + 15
            while client.get("/v1/features/person/p1?signals=looks").status_code != status:
                assert time.monotonic() < end
                time.sleep(0.05)

        deaf = [socket.socket() for _ in range(3)]
        for each in deaf:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            each.settimeout(20)
            each.connect(("127.0.0.1", process.port))
            each.sendall(f"{ask}\r\n\r\n".encode() * ((8 << 20) // size))
        until(429)
        until(200)
        for each in deaf:
            each.close()


def test_a_connection_on_which_nothing_is_asked_is_left(served: Any) -> None:
    """After an answer too, and whatever is sent that begins no request."""
    process, headers = served
    for path in ("/healthz", "/v1/features/person/p1"):
        ask = f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: {headers['authorization']}"
        with socket.create_connection(("127.0.0.1", process.port), timeout=15) as sent:
            for _ in range(2):
                sent.sendall(f"{ask}\r\n\r\n".encode())
                assert answered(sent).startswith(b"HTTP/1.1 200 ")
            sent.sendall(b"\r\n")
            assert sent.recv(65536) == b""


def test_a_head_has_a_limit(served: Any) -> None:
    """However it comes: in one header, in many, in the target, or without an end."""
    process, headers = served
    key = f"host: x\r\nauthorization: {headers['authorization']}\r\n".encode()
    start = b"GET /v1/signals HTTP/1.1\r\n" + key
    size = 60 << 10
    with socket.create_connection(("127.0.0.1", process.port), timeout=15) as sent:
        for _ in range(2):
            sent.sendall(start + b"x-more: " + b"x" * size + b"\r\n\r\n")
            assert answered(sent).startswith(b"HTTP/1.1 200 ")
    for large in (
        start + b"x-more: " + b"x" * (size + 6000) + b"\r\n\r\n",
        start + b"x-more: %s\r\n" % (b"x" * 1000) * 70 + b"\r\n",
        b"GET /v1/signals?x=%s HTTP/1.1\r\n" % (b"x" * 70_000) + key + b"\r\n",
        start + b"x-more: " + b"x" * 500_000,
        start + b"x" * 500_000,
    ):
        for piece in (len(large), 9000):
            with socket.create_connection(("127.0.0.1", process.port), timeout=15) as sent:
                for low in range(0, len(large), piece):
                    sent.sendall(large[low : low + piece])
                found = answered(sent)
                assert found.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
                assert b'"code":"T859"' in found
                assert b"connection: close" in found
                assert sent.recv(65536) == b""


def test_small_heads_have_no_limit_together(served: Any) -> None:
    """Pipelined, in pieces that end within one of them."""
    process, _ = served
    ask = f"GET /healthz HTTP/1.1\r\nhost: x\r\nx-more: {'x' * 4000}\r\n\r\n".encode()
    data = ask * 40
    with socket.create_connection(("127.0.0.1", process.port), timeout=15) as sent:
        sender = threading.Thread(target=sent.sendall, args=(data,))
        sender.start()
        found = b""
        while found.count(b"HTTP/1.1 200 ") < 40:
            part = sent.recv(65536)
            assert part
            found += part
        sender.join()


def test_what_follows_a_body_is_no_header(served: Any) -> None:
    """Fields after a chunked body say nothing about the request, and are not read for ever."""
    process, headers = served
    start = (
        "POST /v1/events/visits HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"authorization: {headers['authorization']}\r\ntransfer-encoding: chunked\r\n\r\n"
    ).encode()
    body = json.dumps([ROW]).encode()
    data = start + b"%x\r\n%s\r\n0\r\n" % (len(body), body)
    with socket.create_connection(("127.0.0.1", process.port), timeout=15) as sent:
        sent.sendall(data + b"idempotency-key: late\r\n\r\n")
        found = answered(sent)
        assert found.startswith(b"HTTP/1.1 400 ")
        assert b"T855" in found
    with socket.create_connection(("127.0.0.1", process.port), timeout=15) as sent:
        sent.sendall(data)
        sending = time.monotonic()
        with pytest.raises(OSError):
            sent.sendall(b"x-more: %s\r\n" % (b"x" * 1000) * 10_000)
        assert time.monotonic() - sending < 10
        sent.close()
    large = b"".join(b"%x\r\n%s\r\n" % (5, b"     ") for _ in range(60_000))
    with socket.create_connection(("127.0.0.1", process.port), timeout=15) as sent:
        sent.sendall(start + large + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        assert b"T855" in answered(sent)


def test_disconnects_half_way_leave_nothing(served: Any) -> None:
    process, headers = served
    body = json.dumps([{**ROW, "person": "gone"}]).encode()
    for cut in (0, 1, len(body) - 1):
        with socket.create_connection(("127.0.0.1", process.port)) as sent:
            sent.sendall(head(headers, len(body)) + body[:cut])
    time.sleep(0.3)
    with httpx.Client(base_url=process.url, headers=headers) as client:
        assert client.get("/v1/features/person/gone?signals=looks").json()["values"] == [0]
        in_flight = [
            line
            for line in client.get("/metrics").text.splitlines()
            if line.startswith("tacit_in_flight ")
        ]
        assert in_flight == ["tacit_in_flight 1"]


def test_requests_beyond_what_it_takes_are_refused_at_once(served: Any) -> None:
    process, headers = served
    slow = [socket.create_connection(("127.0.0.1", process.port)) for _ in range(3)]
    for each in slow:
        each.sendall(head(headers, 1000))
    time.sleep(0.3)
    with httpx.Client(base_url=process.url, headers=headers) as client:
        found = client.get("/v1/features/person/p1?signals=looks")
        assert found.status_code == 429
        assert found.json()["code"] == "T848"
        assert found.headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == 200
        for each in slow:
            each.close()
        time.sleep(0.3)
        assert client.get("/v1/features/person/p1?signals=looks").status_code == 200


@pytest.mark.parametrize(
    "bad",
    [b"\x16\x03\x01\x00\xa5\x01", b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\n", b"\x00" * 1000],
)
def test_what_is_no_http_does_no_harm(served: Any, bad: bytes) -> None:
    process, _ = served
    with socket.create_connection(("127.0.0.1", process.port)) as sent:
        sent.sendall(bad)
    assert httpx.get(process.url + "/healthz").status_code == 200


def test_logs_are_lines_of_json_about_nobody(served: Any) -> None:
    process, headers = served
    secret = "zq-8fd1-personal"
    with httpx.Client(base_url=process.url, headers=headers) as client:
        client.get(f"/v1/features/person/{secret}")
        client.get(f"/v1/features/person/{secret}?signals={secret}")
        client.get(f"/v1/features/{secret}/{secret}?signals={secret}&purpose={secret}")
        client.get(f"/{secret}?{secret}={secret}", headers={"traceparent": secret})
        client.post("/v1/features", json={"keys": {secret: secret}, "signals": [secret]})
        client.post("/v1/features", json={"keys": {"person": [secret, 7]}})
        client.post("/v1/features", content=f"{{{secret}")
        client.post(f"/v1/events/{secret}", json=[{secret: secret}])
        client.post(
            "/v1/events/visits",
            json=[{**ROW, "person": secret}, {"person": secret, "at": secret}],
            headers={"idempotency-key": secret},
        )
        client.request("BREW", f"/{secret}")
        client.get("/v1/signals", headers={"authorization": f"Bearer {secret}"})
    raw(process, f"GET /{secret} HTTP/1.1\r\n{secret}\r\n\r\n}}".encode())
    text = process.lines.read_text()
    assert secret not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert {"started", "request"} <= {line["event"] for line in lines}
    requests = [line for line in lines if line["event"] == "request"]
    assert all({"route", "status", "ms", "method", "code"} <= set(line) for line in requests)
    assert {"T841", "T842", "T850", None} <= {line["code"] for line in requests}


@pytest.mark.slow
def test_what_is_under_way_is_finished_before_it_stops(tmp_path: Path) -> None:
    shop = filled(tmp_path, settings=LIMITS.replace('"1s"', '"10s"'))
    headers = key_for(shop, "discover", push=("visits",))
    with serving(tmp_path) as process:
        body = json.dumps([ROW]).encode()
        sent = socket.create_connection(("127.0.0.1", process.port), timeout=30)
        sent.sendall(head(headers, len(body)))
        time.sleep(0.3)
        process.process.terminate()
        time.sleep(0.3)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", process.port), timeout=1)
        sent.sendall(body)
        assert b" 200 " in sent.recv(65536).splitlines()[0]
        sent.close()
        assert process.stop() == 0
        events = [json.loads(line)["event"] for line in process.lines.read_text().splitlines()]
        assert events[-1] == "stopped"
        assert "stopping" in events


def test_revoked_keys_and_new_ones_are_seen_within_seconds(served: Any) -> None:
    process, _ = served
    from tacit.project import Project
    from tacit.serve.keys import revoke_key

    shop = Project.load(process.folder)
    headers = key_for(shop, "discover")

    def status() -> int:
        return httpx.get(process.url + "/v1/signals", headers=headers).status_code

    for wanted in (200, 401):
        for _ in range(100):
            if status() == wanted:
                break
            time.sleep(0.1)
        assert status() == wanted
        revoke_key(shop.control, headers["authorization"].split("_")[1])


@pytest.mark.slow
def test_a_port_that_is_taken_is_told(served: Any, tmp_path: Path) -> None:
    process, _ = served
    filled(tmp_path, settings=LIMITS).online.backend.close()
    other = object.__new__(Process)
    other.folder, other.port, other.lines = tmp_path, process.port, tmp_path / "log"
    other.before = None
    other.start()  # somebody listens: it is the first
    assert other.process.wait(60) == 1
    assert "T857" in other.lines.read_text()


def test_clients_under_load_all_get_their_own_answers(served: Any) -> None:
    process, headers = served
    wrong: list[str] = []

    def read(person: str, wanted: int) -> None:
        with httpx.Client(base_url=process.url, headers=headers) as client:
            for _ in range(40):
                found = client.get(f"/v1/features/person/{person}?signals=looks")
                if found.status_code != 429 and found.json()["values"] != [wanted]:
                    wrong.append(found.text)

    threads = [
        threading.Thread(target=read, args=case)
        for case in (("p1", 2), ("p2", 1), ("nobody", 0), ("p1", 2))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
