"""Any Redis client reads signals, those that its key's purpose may see; nobody writes any."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.retry import Retry
from resp_cases import Running, received, running
from serve_cases import NOW, ROWS, SETTINGS, filled
from serve_client import free_port, serving
from servers import Server, binary, redis_server
from test_serve_given import GIVEN, REFUSALS, record
from test_serve_trust import Authority

from examples import examples
from tacit.project import Project
from tacit.serve.keys import add_key, revoke_key
from tacit.serve.resp_commands import COMMANDS, WRITES
from tacit.serve.resp_frames import bulk
from tacit.values import MINUTE, SECOND


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return filled(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def key(shop: Project) -> str:
    return add_key(shop.control, "reader", ["discover", "measure", "sell"], [], None)


@pytest.fixture(scope="module")
def server(shop: Project, key: str) -> Iterator[Running]:
    with running(shop) as found:
        yield found


def frame(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(map(bulk, words))


def login(key: str, purpose: str = "discover") -> bytes:
    return frame(b"AUTH", purpose.encode(), key.encode())


# ---------------------------------------------------------------------- reading


@pytest.mark.parametrize("protocol", [2, 3])
def test_what_a_redis_client_reads(server: Running, shop: Project, key: str, protocol: int) -> None:
    client = server.client(username="discover", password=key, protocol=protocol)
    names = ["looks", "last", "spent", "average", "likes", "fond", "kinds", "lately", "share"]
    values = shop.lookup(names).one({"person": "p1"}, NOW).values
    wanted = dict(zip(names, values, strict=True)) | {"kinds": {"i1": 1, "i2": 1}}
    assert json.loads(client.get("person:p1")) == wanted
    assert client.get("person:nobody") is None
    many = client.mget("person:p1", "thing:i1", "person:nobody", "person:p2", "person:p1")
    assert [None if each is None else json.loads(each).get("looks") for each in many] == [
        2, None, None, 1, 2,
    ]  # fmt: skip
    assert json.loads(many[1]) == {"seen": 2}
    assert client.hget("person:p1", "looks") == b"2"
    assert client.hget("person:p1", "average") == b"1.375"
    assert client.hmget("person:p1", ["last", "fond", "kinds", "nothing", "looks:status"]) == [
        b"i2", b"false", b'{"i1":1,"i2":1}', None, b"fresh",
    ]  # fmt: skip
    whole = client.hgetall("person:p1")
    assert whole[b"share"] == b"0.5"
    assert set(whole) == {name.encode() for name in names}
    assert sorted(client.hkeys("person:p1")) == sorted(whole)
    assert client.hlen("person:p1") == len(whole)
    assert client.hexists("person:p1", "last")
    assert not client.hexists("person:p2", "fond")
    assert client.hgetall("person:nobody") == {}
    assert client.exists("person:p1", "person:nobody", "person:p1") == 2
    assert client.type("person:p1") == b"string"
    assert client.type("person:nobody") == b"none"
    assert json.loads(client.get('person,thing:["p1","i2"]')) == {"both": 1}
    assert client.ping()
    assert client.echo("hello") == b"hello"
    assert client.select(0)
    assert client.info()["connected_clients"] >= 1
    assert client.client_id() > 0
    with client.pipeline(transaction=False) as pipe:
        for _ in range(500):
            pipe.get("person:p1")
        assert len(set(pipe.execute())) == 1


def test_what_is_remembered_is_what_is_there(server: Running, shop: Project, key: str) -> None:
    """A push is seen by the next read, however often the key was read before."""
    client = server.client(username="discover", password=key)
    for number in range(1, 4):
        for _ in range(3):
            assert json.loads(client.get("person:p9") or '{"looks":0}')["looks"] == number - 1
        row = {**ROWS[0], "person": "p9", "at": NOW - number}
        shop.push("visits", [row], batch=f"p9 {number}")
        assert json.loads(client.mget("person:p9")[0])["looks"] == number


def test_who_asks_at_once_is_answered_as_each_by_itself(
    server: Running, shop: Project, key: str
) -> None:
    """Whatever comes within a turn of the loop, in whatever pieces: in each connection's order, and
    by what stood when it was asked."""
    rng = random.Random(11)
    gets = [frame(b"GET", each) for each in (b"person:p1", b"person:p2", b"person:p8", b"person:-")]
    others = [
        frame(b"ECHO", b"a"), frame(b"MGET", b"person:p1", b"person:p8"), frame(b"GET", b"no"),
        b"get person:p2\r\n", frame(b"HGET", b"person:p8", b"looks"),
        frame(b"GET", b"person:" + b"$1\r\na*2\r\n$3\r\nGET\r\n$"),
    ]  # fmt: skip
    with ExitStack() as stack:
        ones = [stack.enter_context(server.raw()) for _ in range(12)]
        for one in ones:
            one.sendall(login(key))
            assert one.recv(100) == b"+OK\r\n"
        for number in range(40):
            if number % 4 == 0:
                row = {**ROWS[0], "person": "p8", "at": NOW - 1 - number}
                shop.push("visits", [row], batch=f"p8 {number}")
            told = {
                each: server.said(login(key) + each).removeprefix(b"+OK\r\n")
                for each in (*gets, *others)
            }
            assert json.loads(told[gets[2]].split(b"\r\n")[1])["looks"] == number // 4 + 1
            asked = [
                rng.choices(gets + (others if rng.random() < 0.5 else []), k=rng.choice([1, 1, 5]))
                for _ in ones
            ]
            pieces = []
            for place, each in enumerate(asked):
                data = b"".join(each)
                cut = rng.randrange(len(data)) if rng.random() < 0.2 else len(data)
                pieces += [(ones[place], data[:cut]), (ones[place], data[cut:])]
            for one, piece in pieces:
                one.sendall(piece)
            for one, each in zip(ones, asked, strict=True):
                wanted = b"".join(told[request] for request in each)
                found = b""
                while len(found) < len(wanted):
                    found += one.recv(len(wanted) - len(found))
                assert found == wanted


def test_several_keys_are_read_as_each_by_itself(server: Running, key: str) -> None:
    client = server.client(username="discover", password=key)
    keys = [f"person:{name}" for name in ("p1", "p2", "x", "y", "z", "p1")] * 3
    assert client.mget(keys) == [client.get(each) for each in keys]
    with pytest.raises(redis.ResponseError, match="T864"):
        client.mget([*keys, b"person:\xff"])
    with pytest.raises(redis.ResponseError, match="multibulk"):
        client.mget(["person:p1"] * 2000)


def test_redis_cli_reads(server: Running, key: str) -> None:
    program = binary("redis-cli", "redis-tools")
    said = subprocess.run(
        [program, "-p", str(server.port), "--user", "discover", "--pass", key, "HGET", "person:p1", "looks"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert said.strip() == "2"


# ---------------------------------------------------------------------- who may


def test_nothing_without_a_key(server: Running, key: str) -> None:
    said = server.said(frame(b"GET", b"person:p1") + frame(b"PING") + frame(b"INFO"))
    assert said.count(b"-NOAUTH") == 3
    for wrong in ("nothing", key[:-1] + ("A" if key[-1] != "A" else "B"), "tacit_" + "0" * 16):
        with pytest.raises(redis.AuthenticationError):
            server.client(username="discover", password=wrong).ping()
    said = server.said(frame(b"AUTH", b"guess") * 5)
    assert said.count(b"-WRONGPASS") == 3  # then it is closed
    with pytest.raises(redis.AuthenticationError, match="T862"):
        server.client(password=key).ping()  # it is for three purposes: which?
    with pytest.raises(redis.AuthenticationError, match="T862"):
        server.client(username="other", password=key).ping()
    assert b"-NOAUTH" in server.said(frame(b"HELLO", b"3"))
    assert b"-NOPROTO" in server.said(login(key) + frame(b"HELLO", b"4"))


def test_a_key_of_one_purpose_needs_not_name_it(server: Running, shop: Project) -> None:
    one = add_key(shop.control, "one", ["measure"], [], None)
    server.server.refresh()
    assert server.client(password=one).hget("person:p1", "looks") == b"2"


def test_a_purpose_sees_what_it_may(server: Running, key: str) -> None:
    seen = server.client(username="measure", password=key)
    assert set(json.loads(seen.get("person:p1"))) == {
        "looks", "last", "spent", "average", "kinds", "lately",
    }  # fmt: skip
    assert seen.hget("person:p1", "fond") is None
    assert seen.hget("person:p1", "likes:status") is None
    with pytest.raises(redis.ResponseError, match="T863"):
        server.client(username="sell", password=key).get("person:p1")


def test_what_a_person_refused_is_not_told(tmp_path: Path) -> None:
    """From the push of the refusal on, however often it was told before."""
    mine = filled(tmp_path, GIVEN, REFUSALS)
    own = add_key(mine.control, "own", ["discover"], [], None)
    with running(mine) as found:
        client = found.client(password=own)
        assert client.get("person:p1") is None  # gathered on consent, and no record of any
        for number in range(3):
            then = NOW - (20 - 2 * number) * MINUTE
            record(mine, "p1", True, then)
            for _ in range(2):
                told = json.loads(client.get("person:p1"))
                assert told["looks"] == 2
                assert "worth" not in told  # it wants what arrives with a request
                assert client.mget("person:p1", "person:p2")[1] is None
            record(mine, "p1", False, then + MINUTE)
            assert client.mget("person:p1", "person:p1") == [None, None]
            assert client.get("person:p1") is None
            assert client.hmget("person:p1", "looks", "looks:status") == [None, b"denied"]
            assert client.hgetall("person:p1") == {}
            assert json.loads(client.get("thing:i1")) == {"seen": 2}


def test_a_revoked_key_lets_its_connections_go(server: Running, shop: Project) -> None:
    made = add_key(shop.control, "short", ["discover"], [], None)
    server.server.refresh()
    with server.raw() as each:
        each.sendall(login(made))
        assert each.recv(100) == b"+OK\r\n"
        revoke_key(shop.control, made.split("_")[1])
        assert received(each) == b""  # it is closed, within a second or two


@pytest.mark.slow
def test_a_key_that_expires_lets_its_connections_go(server: Running, shop: Project) -> None:
    now = time.time_ns() // 1000
    gone = add_key(shop.control, "gone", ["discover"], [], now - 1)
    short = add_key(shop.control, "short", ["discover"], [], now + 5 * SECOND)
    server.server.refresh()
    assert b"-WRONGPASS T845" in server.said(frame(b"AUTH", gone.encode()))
    with server.raw() as each:
        each.sendall(login(short))
        assert each.recv(100) == b"+OK\r\n"
        assert received(each) == b""
    assert time.time_ns() // 1000 > now + 5 * SECOND
    assert b"-WRONGPASS T845" in server.said(login(short))


def test_strangers_are_not_waited_for(shop: Project) -> None:
    with running(shop, patience=1.0, connections=2) as found, found.raw() as one, found.raw():
        time.sleep(0.05)
        assert b"max number of clients" in found.said(b"")
        assert received(one) == b""


# ---------------------------------------------------------------------- what is refused


def test_nobody_writes(server: Running, key: str) -> None:
    client = server.client(username="discover", password=key)
    for command in sorted(WRITES):
        with pytest.raises(redis.ReadOnlyError):
            client.execute_command(command, "person:p1", "x", "1")
    with pytest.raises(redis.ReadOnlyError):
        client.config_set("maxmemory", "1")
    assert not WRITES & set(COMMANDS)
    for wrong, said in (
        (("SUBSCRIBE", "x"), "unknown command"), (("GET",), "wrong number"),
        (("SELECT", "1"), "out of range"), (("GET", "shoe:1"), "T842"),
        (("GET", "person"), "T864"), (("GET", b"person:\xff"), "T864"),
        (("GET", "person,thing:p1"), "T864"), (("GET", 'person,thing:["p1"]'), "T864"),
        (("GET", 'person,thing:["p1",7]'), "T390"), (("CLIENT", "TRACKING", "ON"), "unknown"),
    ):  # fmt: skip
        with pytest.raises(redis.ResponseError, match=said):
            client.execute_command(*wrong)
    assert client.hget("person:p1", "looks") == b"2"  # the connection goes on


@pytest.mark.parametrize(
    "wrong", [b"*x\r\n", b"*1\r\n:1\r\n", b"*99999\r\n", b"*1\r\n$9999999\r\n", b"GET '\r\n"]
)
def test_what_is_malformed_ends_the_connection(server: Running, key: str, wrong: bytes) -> None:
    said = server.said(login(key) + frame(b"PING") + wrong + frame(b"PING"))
    assert said.startswith(b"+OK\r\n+PONG\r\n-ERR Protocol error")
    assert said.count(b"PONG") == 1


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([
    b"*2\r\n$3\r\nGET\r\n", b"*1\r\n$4\r\nPING\r\n", b"$9\r\nperson:p1\r\n", b"QUIT\r\n", b"\r\n",
    b"*3\r\n$4\r\nHGET\r\n$9\r\nperson:p1\r\n$5\r\nlooks\r\n", b"HGETALL person:p1\r\n",
])), max_size=8))  # fmt: skip
@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_bytes_hurt_the_server(server: Running, key: str, parts: list[bytes]) -> None:
    said = server.said(login(key) + b"".join(parts))
    assert said.startswith(b"+OK\r\n")
    assert b"T861" not in said
    assert server.said(login(key) + frame(b"PING")) == b"+OK\r\n+PONG\r\n"


def test_a_client_that_takes_nothing_is_read_no_further(server: Running, key: str) -> None:
    """What waits for it is bounded; when it takes what there is, it gets the rest, in order."""
    count = 3000
    ask = frame(b"MGET", *[b"person:p1"] * 60)  # the answer is ten times as long
    data = b"".join(frame(b"ECHO", b"%06d" % n) + ask for n in range(count))
    with server.raw() as each:
        each.sendall(login(key))
        assert each.recv(5) == b"+OK\r\n"
        sender = threading.Thread(target=each.sendall, args=(data,))
        sender.start()
        end, most = time.monotonic() + 20, 0
        while time.monotonic() < end and not any(one._full for one in connections(server)):
            time.sleep(0.01)
        for _ in range(20):
            time.sleep(0.01)
            sizes = [one.transport.get_write_buffer_size() for one in connections(server)]
            most = max(most, *sizes)
        assert 1 << 18 <= most < 4 << 20
        found = b""
        while found.count(b"$6\r\n") < count or not found.endswith(b"}\r\n"):
            found = found[-64:] if len(found) > 1 << 25 else found
            found += each.recv(1 << 20)
            if found.count(b"$6\r\n%06d" % (count - 1)):
                break
        sender.join()


def test_what_a_client_sends_too_fast_is_left_to_wait_in_its_socket(
    server: Running, key: str
) -> None:
    """Of a stranger some kilobytes are held, of others as much as their largest request, and what
    one read brings; all of it is answered, in order, and a large request still comes whole."""
    count, most, done = 20_000, [0, 0], b"+OK\r\n"
    ping = frame(b"ECHO", b"x" * 200)

    def watch(at: int, each: socket.socket, data: bytes, wanted: bytes) -> bytes:
        sender = threading.Thread(target=each.sendall, args=(data,))
        sender.start()
        found = bytearray()
        while not found.endswith(wanted):
            found += each.recv(1 << 16)
            most[at] = max(most[at], *(one.requests.waiting for one in connections(server)))
        sender.join()
        return bytes(found)

    with server.raw() as each:
        said = watch(0, each, ping * count + login(key), done)
        assert said.count(b"-NOAUTH") == count
        assert most[0] < 512 << 10
        said = watch(1, each, ping * count + frame(b"ECHO", b"last"), b"last\r\n")
        assert said.count(b"$200\r\n") == count
        assert most[1] < 2 << 20
        large = frame(b"MGET", *[b"person:" + b"y" * 1000] * 1000)
        for _ in range(2):
            each.sendall(large[:-1])
            time.sleep(0.05)
            each.sendall(large[-1:])
            wanted = b"*1000\r\n" + b"$-1\r\n" * 1000
            assert watch(1, each, b"", wanted) == wanted


def connections(server: Running) -> list[Any]:
    return list(server.server.connections)


def test_a_store_that_is_gone_is_said_and_may_come_back(
    tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = filled(tmp_path)
    own = add_key(mine.control, "own", ["discover"], [], None)
    with running(mine) as found:
        client = found.client(password=own)
        assert client.get("person:p1")
        pointer = tmp_path / ".tacit" / "online" / "current"
        pointer.rename(pointer.with_name("away"))
        time.sleep(0.5)  # it is looked for now and then
        with pytest.raises(redis.ResponseError, match="T722"):
            client.get("person:p1")
        pointer.with_name("away").rename(pointer)
        time.sleep(0.5)
        assert client.get("person:p1")


@pytest.mark.slow
def test_servers_share_their_ports(tmp_path: Path) -> None:
    """`tacit serve`, twice: over HTTP and RESP; when one is killed the other answers."""
    ports = free_port(), free_port()
    how = f"\n[serve]\nopen = true\nshared = true\nresp = {ports[1]}\n"
    mine = filled(tmp_path, settings=SETTINGS + how)
    mine.online.backend.close()
    with serving(tmp_path, port=ports[0]) as one, serving(tmp_path, port=ports[0]) as other:

        def looks() -> set[bytes]:
            found = set()
            for _ in range(20):
                client = redis.Redis(port=ports[1], username="discover", password="any")
                found.add(client.hget("person:p1", "looks"))
                client.close()
            place = f"{one.url}/v1/features/person/p1?signals=looks&purpose=discover"
            found |= {str(httpx.get(place).json()["values"][0]).encode() for _ in range(10)}
            return found

        assert looks() == {b"2"}
        one.kill()
        end = time.monotonic() + 60
        while True:
            try:
                assert looks() == {b"2"}
                break
            except (redis.ConnectionError, httpx.TransportError):  # it may still be starting
                assert time.monotonic() < end
                time.sleep(0.1)
        assert other.stop() == 0


def test_over_tls_as_http(tmp_path: Path) -> None:
    """With `certificate` and `client_ca`, Redis clients show one too; in the clear nothing is said."""
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    ours.issue("server")
    client, stranger = ours.issue("client"), others.issue("stranger")
    port = free_port()
    how = (
        f'\n[serve]\nresp = {port}\ncertificate = "server.crt"\nprivate_key = "server.key"\n'
        'client_ca = "ours.pem"\n'
    )
    mine = filled(tmp_path, settings=SETTINGS + how)
    own = add_key(mine.control, "own", ["discover"], [], None)
    mine.online.backend.close()

    def looks(pair: tuple[Path, Path]) -> Any:
        certificate, private = map(str, pair)
        reading = redis.Redis(
            port=port, host="127.0.0.1", password=own, ssl=True, ssl_ca_certs=str(ours.path),
            ssl_certfile=certificate, ssl_keyfile=private, retry=Retry(NoBackoff(), 0),
        )  # fmt: skip
        return reading.hget("person:p1", "looks")

    with serving(tmp_path, scheme="https"):
        assert looks(client) == b"2"
        with pytest.raises(redis.ConnectionError):
            looks(stranger)
        with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
            plain.sendall(frame(b"PING"))
            assert b"PONG" not in received(plain)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[tuple[Server, Project]]:
    """A project whose store is in a Redis."""
    (tmp_path / "redis").mkdir()
    store = redis_server(tmp_path / "redis")
    online = f'\n[online]\nredis = "redis://127.0.0.1:{store.port}/0"\n'
    try:
        yield store, filled(tmp_path / "shop", settings=SETTINGS + online)
    finally:
        store.stop()


def test_a_store_in_a_redis_is_read_in_threads(far: Any) -> None:
    """In order, whatever a pipeline holds; and what hangs in one connection holds up no other."""
    store, mine = far
    own = add_key(mine.control, "own", ["discover", "measure"], [], None)
    with running(mine, readers=ThreadPoolExecutor(4)) as found:
        client = found.client(username="discover", password=own)
        assert json.loads(client.get("person:p1"))["looks"] == 2
        assert client.get("person:nobody") is None
        assert [each is None for each in client.mget("person:p1", "person:nobody")] == [False, True]
        mixed = b"".join(
            frame(b"GET", b"person:p1") + frame(b"ECHO", b"%03d" % n) + frame(b"GET", b"person:p2")
            for n in range(200)
        )
        said = found.said(login(own) + mixed + frame(b"QUIT") + frame(b"PING"))
        assert said.startswith(b"+OK\r\n")
        places = [said.index(b"$3\r\n%03d\r\n" % n) for n in range(200)]
        assert places == sorted(places)
        assert said.endswith(b"+OK\r\n")
        assert said.count(b'"looks":2') == said.count(b'"looks":1') == 200
        # A purpose that is changed half-way counts from there on.
        half = frame(b"HGET", b"person:p1", b"likes")
        said = found.said(login(own) + half + login(own, "measure") + half)
        assert said == b"+OK\r\n$1\r\n1\r\n+OK\r\n$-1\r\n"
        assert b"T860" not in said
        said = found.said(login(own) + half + b"*x\r\n" + half)
        assert said.startswith(b"+OK\r\n$1\r\n1\r\n-ERR Protocol error")
        mine.push("visits", [{**ROWS[0], "at": NOW - 1}], batch="2")
        assert json.loads(client.get("person:p1"))["looks"] == 3
        os.kill(store.process.pid, signal.SIGSTOP)  # it takes what is asked, and answers nothing
        try:
            waiting = found.raw()
            waiting.sendall(login(own))
            assert waiting.recv(5) == b"+OK\r\n"
            for asked in (b"p1", b"p2", b"nobody"):  # each by itself, and none before another
                waiting.sendall(frame(b"GET", b"person:" + asked))
                time.sleep(0.05)
            idle = time.process_time()
            assert client.ping()
            stranger = found.client(password="tacit_nothing")
            with pytest.raises(redis.AuthenticationError):
                stranger.ping()
            assert time.process_time() - idle < 5
        finally:
            os.kill(store.process.pid, signal.SIGCONT)
        waiting.shutdown(socket.SHUT_WR)
        said = received(waiting)
        assert said.index(b'"looks":3') < said.index(b'"looks":1') < said.index(b"$-1\r\n")
        waiting.close()


def test_what_is_under_way_is_finished_before_it_stops(far: Any) -> None:
    store, mine = far
    own = add_key(mine.control, "own", ["discover"], [], None)
    with running(mine, readers=ThreadPoolExecutor(2)) as found, found.raw() as waiting:
        waiting.sendall(login(own))
        assert waiting.recv(5) == b"+OK\r\n"
        os.kill(store.process.pid, signal.SIGSTOP)
        try:
            asked = frame(b"HGET", b"person:p1", b"looks")
            waiting.sendall(asked * 300)  # more than are answered at a time
            time.sleep(0.3)
            stopping = asyncio.run_coroutine_threadsafe(found.server.stop(), found.loop)
            time.sleep(0.3)
            assert not stopping.done()
            with pytest.raises(OSError):
                found.raw()
        finally:
            os.kill(store.process.pid, signal.SIGCONT)
        stopping.result(20)
        assert received(waiting) == b"$1\r\n2\r\n" * 300


def test_a_client_that_keeps_a_server_from_stopping_is_left(shop: Project) -> None:
    own = add_key(shop.control, "own", ["discover"], [], None)
    with running(shop, drain=0.5, patience=0.5) as found, found.raw() as deaf:
        deaf.sendall(login(own) + frame(b"MGET", *[b"person:p1"] * 900) * 40)
        end = time.monotonic() + 20
        while not any(one._full for one in found.server.connections):
            assert time.monotonic() < end
            time.sleep(0.01)
        stopping = asyncio.run_coroutine_threadsafe(found.server.stop(), found.loop)
        stopping.result(20)


@pytest.mark.slow
def test_a_server_over_a_redis_answers_redis_clients(far: Any) -> None:
    """`tacit serve` itself; the store dies, and comes back."""
    store, mine = far
    port = free_port()
    settings = (mine.root / "tacit.toml").read_text() + f"\n[serve]\nresp = {port}\n"
    (mine.root / "tacit.toml").write_text(settings)
    own = add_key(mine.control, "own", ["discover"], [], None)
    with serving(mine.root):
        client = redis.Redis(port=port, password=own, socket_timeout=60)
        assert client.hget("person:p1", "looks") == b"2"
        store.kill()
        with pytest.raises(redis.ResponseError, match="T722"):
            client.hget("person:p1", "looks")
        store.start()
        assert client.hget("person:p1", "looks") == b"2"


# ---------------------------------------------------------------------- another client

NODE = """
import { createClient } from "redis";
const [port, key, protocol] = process.argv.slice(2);
const client = createClient({
  RESP: Number(protocol), username: "discover", password: key, socket: { port: Number(port) },
});
await client.connect();
const whole = await client.hGetAll("person:p1");
const several = await client.mGet(["person:p1", "person:nobody"]);
console.log(JSON.stringify({
  looks: await client.hGet("person:p1", "looks"), last: whole.last,
  null: several[1], parsed: JSON.parse(await client.get("person:p1")).looks,
}));
await client.close();
"""


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["2", "3"])
def test_the_client_of_node_reads(
    server: Running, key: str, protocol: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    npm, node = binary("npm", "npm"), binary("node", "nodejs")
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"type": "module"}')
    got = subprocess.run(
        [npm, "install", "redis@5"], cwd=folder, capture_output=True, text=True, check=False
    )
    if got.returncode:
        pytest.skip(f"npm cannot install redis: {got.stderr[-200:]}")
    (folder / "read.mjs").write_text(NODE)
    command: list[Any] = [node, "read.mjs", str(server.port), key, protocol]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout) == {"looks": "2", "last": "i2", "null": None, "parsed": 2}
