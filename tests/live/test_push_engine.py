"""`tacit stream` without an engine past one machine: folders, Redis Streams and JetStream, real ones,
into the states that `push` writes; servers that go away; processes that are killed."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import signal
import subprocess
import sys
import threading
import time
from binascii import crc_hqx
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nats
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from servers import Server, nats_server, redis_server
from streams_cases import counted, states

import small_project as small
from tacit.cli import main
from tacit.errors import DataError, EngineError, StoreError
from tacit.live import upkeep
from tacit.live.inputs import pushing
from tacit.project import Project
from tacit.project.streaming import on_push
from tacit.store.online.base import unreachable
from tacit.values import DAY

PASSWORD = "pa/ss:w?r@d"
QUOTED = "pa%2Fss%3Aw%3Fr%40d"
POISON = ("poison", "[1]", '{"person": null, "item": "i0", "at": 1767000000000000, "visit": "n1"}')
FOLDER = '[stream.sources.visits]\nfolder = "incoming"\nids = "visit"\n'
REDIS = '[stream.sources.visits]\nredis = "env:TACIT_REDIS"\nstream = "visits"\nids = "visit"\n'
NATS = """
[stream.sources.visits]
nats = "file:nats.url"
stream = "VISITS"
subject = "visits.*"
ids = "visit"
"""


def messages_of(rows: list[dict[str, Any]]) -> list[str]:
    """The rows in the order of arrival, a tenth of them twice, poison among them."""
    rng, found = random.Random(7), [json.dumps(row) for row in rows]
    for again in rng.sample(found, len(found) // 10):
        found.insert(rng.randrange(len(found)), again)
    for poison in POISON:
        found.insert(rng.randrange(len(found)), poison)
    return found


class Place:
    """Where messages are put: a folder, or a stream of a server."""

    settings = FOLDER
    server: Server | None = None

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.number = root, 0
        (root / "incoming").mkdir()

    def put(self, messages: list[str]) -> None:
        self.number += 1
        aside = self.root / "incoming" / ".aside"
        aside.write_text("".join(f"{each}\n" for each in messages))
        aside.rename(self.root / "incoming" / f"{self.number:03}.jsonl")


class InRedis(Place):
    settings = REDIS

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (root / "redis").mkdir()
        self.server = redis_server(root / "redis", "--requirepass", PASSWORD)
        self.url = f"redis://:{QUOTED}@127.0.0.1:{self.server.port}/0"
        monkeypatch.setenv("TACIT_REDIS", self.url)

    def put(self, messages: list[str]) -> None:
        client: Any = redis.Redis.from_url(self.url)
        with client.pipeline() as pipe:
            for each in messages:
                pipe.xadd("visits", {"event": each})
            pipe.execute()


class InNats(Place):
    settings = NATS

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (root / "nats").mkdir()
        self.server = nats_server(root / "nats", "--user", "reader", "--pass", PASSWORD)
        self.url = f"nats://reader:{QUOTED}@127.0.0.1:{self.server.port}"
        (root / "nats.url").write_text(self.url + "\n")
        self.made = False

    def put(self, messages: list[str]) -> None:
        asyncio.run(self._put(messages))

    async def _put(self, messages: list[str]) -> None:
        assert self.server is not None
        client = await nats.connect(
            f"nats://127.0.0.1:{self.server.port}", user="reader", password=PASSWORD
        )
        context = client.jetstream()
        if not self.made:
            await context.add_stream(name="VISITS", subjects=["visits.*"])
            self.made = True
        for i in range(0, len(messages), 200):
            await asyncio.gather(
                *(context.publish("visits.a", each.encode()) for each in messages[i : i + 200])
            )
        await client.close()


KINDS = {"folder": Place, "redis": InRedis, "nats": InNats}


@contextmanager
def placed(kind: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    root.mkdir()
    found = KINDS[kind](root, monkeypatch)
    try:
        yield found
    finally:
        if found.server is not None:
            found.server.stop()


def loaded(root: Path, place: Place, more: str = "") -> Project:
    return Project.load(small.write(root, settings=small.SETTINGS + place.settings + more))


def same(project: Project, folder: Path, rows: list[dict[str, Any]]) -> None:
    """What is kept is what one push of the same events keeps."""
    pushed = small.project(folder)
    pushed.push("visits", rows, ids="visit")
    assert states(project.online, "visits") == states(pushed.online, "visits")


@pytest.mark.parametrize("kind", KINDS)
def test_the_states_are_those_of_push(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with placed(kind, tmp_path / "a", monkeypatch) as place:
        project = loaded(tmp_path / "a", place)
        rows = small.visits(600, project.now())
        place.put(messages_of(rows))
        said: list[str] = []
        for _ in range(2):  # the second time there is nothing
            on_push(project, "visits", said.append).run(threading.Event(), once=True)
        told = counted(project.online, "visits")
        assert (told["accepted"], told["duplicates"], told["quarantined"]) == (600, 60, 3)
        reasons = sorted(why.split(":")[0] for _, why, _ in project.online.quarantined("visits"))
        assert reasons == ["not JSON", "not a JSON object", "the row has no person"]
        same(project, tmp_path / "b", rows)
        assert said == []
        assert PASSWORD not in repr(project.settings)
        assert QUOTED not in repr(project.settings)


# ---------------------------------------------------------------------- what is away


def test_waiting_grows_to_its_cap_and_says_each_reason_once() -> None:
    waits, said = list[float](), list[str]()

    class Event:
        def wait(self, seconds: float) -> None:
            waits.append(seconds)

    stopped: Any = Event()
    waiting = pushing.Waiting("visits", stopped, said.append)
    for _ in range(3000):  # a day of it
        waiting.after(unreachable("one:6379", "it is gone"))
    assert waits[:4] == [0.25, 0.5, 1.0, 2.0]
    assert set(waits[7:]) == {30.0}
    why = "T722: the online store cannot be reached: it is gone (one:6379)"
    assert said == [f"visits waits, and goes on by itself: {why}"]
    waiting.over()
    waiting.over()
    assert said[1:] == ["visits goes on"]
    busy = StoreError("busy", code="T721", where="one", fix="")
    for _ in range(5):  # others are at work: no word, unless it lasts
        waiting.after(busy)
    waiting.over()
    assert len(said) == 2
    with pytest.raises(StoreError, match="T724"):
        waiting.after(StoreError("damaged", code="T724", where="one", fix=""))
    brief = pushing.Waiting("visits", stopped, said.append, brief=True)
    for _ in range(5):
        brief.after(unreachable("one:6379", "it is gone"))
    with pytest.raises(StoreError, match="T722"):
        brief.after(unreachable("one:6379", "it is gone"))


class Running:
    """A stream that is taken by a thread, and what it said."""

    def __init__(self, project: Project) -> None:
        self.project, self.said, self.stopped = project, list[str](), threading.Event()
        stream = on_push(project, "visits", self.said.append)
        self.failed: list[BaseException] = []
        self.thread = threading.Thread(target=self._run, args=(stream,), daemon=True)
        self.thread.start()

    def _run(self, stream: Any) -> None:
        try:
            stream.run(self.stopped)
        except BaseException as error:
            self.failed.append(error)

    def until(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not true():
            assert not self.failed, self.failed
            assert time.monotonic() < end, self.said
            time.sleep(0.02)

    def taken(self, count: int) -> None:
        self.until(lambda: counted(self.project.online, "visits")["accepted"] == count)

    def says(self, text: str, after: int = 0) -> None:
        self.until(lambda: any(text in line for line in self.said[after:]))

    def stop(self) -> None:
        self.stopped.set()
        self.thread.join(20)
        assert not self.thread.is_alive()
        assert not self.failed, self.failed
        for line in self.said:
            assert PASSWORD not in line
            assert QUOTED not in line


@pytest.mark.parametrize("kind", ["redis", pytest.param("nats", marks=pytest.mark.slow)])
def test_a_stream_whose_server_dies_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(pushing, "_MOST", 0.5)
    with placed(kind, tmp_path / "a", monkeypatch) as place:
        project = loaded(tmp_path / "a", place)
        rows = small.visits(300, project.now())
        running = Running(project)
        if kind == "nats":
            running.says("stream not found")  # it is made later
        place.put(messages_of(rows[:200]))
        running.taken(200)
        assert place.server is not None
        place.server.kill()
        before = len(running.said)
        running.says("cannot be reached", before)
        place.server.start()
        running.says("visits goes on", before)
        place.put(messages_of(rows[200:]))
        running.taken(300)
        running.stop()
        # One line for each reason, however often it was tried.
        assert len(running.said) <= 8, running.said
        same(project, tmp_path / "b", rows)


def test_a_store_that_dies_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "_MOST", 0.5)
    (tmp_path / "store").mkdir()
    store = redis_server(tmp_path / "store", "--requirepass", PASSWORD)
    try:
        with placed("folder", tmp_path / "a", monkeypatch) as place:
            url = f"redis://:{QUOTED}@127.0.0.1:{store.port}/0"
            (tmp_path / "a" / "store.url").write_text(url)
            project = loaded(tmp_path / "a", place, '[online]\nredis = "file:store.url"\n')
            rows = small.visits(200, project.now())
            place.put(messages_of(rows[:100]))
            running = Running(project)
            running.taken(100)
            store.kill()
            place.put(messages_of(rows[100:]))
            running.says("T722: the online store cannot be reached")
            store.start()
            running.taken(200)
            running.stop()
            same(project, tmp_path / "b", rows)
            # The command waits for a store that is not there yet; what asks once gives up.
            store.kill()
            monkeypatch.setattr(pushing, "_FIRST", 0.01)
            assert main(["stream", str(tmp_path / "a"), "--once"]) == 1
    finally:
        store.stop()


def test_what_is_wrong_is_told_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pushing, "_FIRST", 0.01)
    where = {"env": "TACIT_REDIS", "a": tmp_path / "a"}
    small.write(where["a"], settings=small.SETTINGS + REDIS)

    def told(*more: str) -> str:
        assert main(["stream", str(tmp_path / "a"), *more]) == 1
        out, err = capsys.readouterr()
        for text in (PASSWORD, QUOTED, "pa%2F", "pa/ss"):
            assert text not in out + err
        return err

    monkeypatch.delenv("TACIT_REDIS", raising=False)
    assert "T413" in told("--once")
    for wrong in (f"redis:/:{QUOTED}@x", f"http://:{QUOTED}@x", f"redis://:{PASSWORD}@x:1"):
        monkeypatch.setenv("TACIT_REDIS", wrong)
        assert "T429" in told("--show")
        assert "T429" in told("--once")
    with placed("redis", tmp_path / "r", monkeypatch) as place:
        assert place.server is not None
        monkeypatch.setenv("TACIT_REDIS", f"redis://:{QUOTED}x@127.0.0.1:{place.server.port}/0")
        said = told("--once")
        assert "T722: the stream of Redis cannot be reached" in said
        assert f"visits at 127.0.0.1:{place.server.port}/0" in said
    small.write(where["a"], settings=small.SETTINGS + NATS)
    assert "T413" in told("--once")
    with placed("nats", tmp_path / "n", monkeypatch) as place:
        assert place.server is not None
        url = f"nats://reader:{QUOTED}x@127.0.0.1:{place.server.port}"
        (tmp_path / "a" / "nats.url").write_text(url)
        said = told("--once")
        assert "T722: the stream of NATS cannot be reached" in said
        assert "Authorization Violation" in said
    (tmp_path / "a" / "user.creds").write_text("-----BEGIN NATS USER JWT-----\nno\n")
    small.write(where["a"], settings=small.SETTINGS + NATS + 'credentials = "user.creds"\n')
    assert "T429" in told("--once")
    kafka = '[stream.sources.visits]\nkafka = "one:9092"\ntopic = "t"\n'
    small.write(where["a"], settings=small.SETTINGS + kafka)
    assert "--engine spark or flink" in told("--once")
    small.write(where["a"], settings=small.SETTINGS + REDIS)
    assert "T426" in told("--engine", "spark")
    with pytest.raises(EngineError, match="T426"):
        on_push(
            Project.load(small.write(tmp_path / "k", settings=small.SETTINGS + kafka)), "visits"
        )


def test_what_is_read_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TACIT_REDIS", f"rediss://me:{QUOTED}@one:6380/2?ssl_ca_certs=/x")
    small.write(tmp_path, settings=small.SETTINGS + REDIS)
    assert main(["stream", str(tmp_path), "--show"]) == 0
    assert capsys.readouterr().out == (
        "visits: redis at one:6380/2, stream visits, group tacit-shop-visits, ids visit\n"
    )
    (tmp_path / "nats.url").write_text("nats://a-token@two:4222\n")
    small.write(tmp_path, settings=small.SETTINGS + NATS + 'group = "mine"\n')
    assert main(["stream", str(tmp_path), "--show"]) == 0
    assert capsys.readouterr().out == (
        "visits: nats at two:4222, stream VISITS, subject visits.*, group mine, ids visit\n"
    )


# ---------------------------------------------------------------------- JetStream


def key_of(prefix: int, public: bytes) -> str:
    """A public key as NATS writes it: prefix, key, CRC-16; in base32."""
    raw = bytes([prefix << 3]) + public
    return base64.b32encode(raw + crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")


class Signer:
    """An operator, an account or a user of NATS."""

    def __init__(self, prefix: int) -> None:
        self.key, self.prefix = Ed25519PrivateKey.generate(), prefix
        self.name = key_of(prefix, self.key.public_key().public_bytes_raw())

    def seed(self) -> str:
        two = bytes([18 << 3 | self.prefix >> 2, (self.prefix & 3) << 6])
        raw = two + self.key.private_bytes_raw()
        return base64.b32encode(raw + crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")

    def token(self, subject: str, claims: dict[str, Any]) -> str:
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        body = {"jti": "x", "iat": 1, "iss": self.name, "name": "n", "sub": subject, "nats": claims}
        parts = [
            base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in (head, body)
        ]
        signed = base64.urlsafe_b64encode(self.key.sign(b".".join(parts))).rstrip(b"=")
        return b".".join([*parts, signed]).decode()


def test_a_user_of_nats_with_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    operator, account, user, system = Signer(14), Signer(0), Signer(20), Signer(0)
    limits = dict.fromkeys(
        ("subs", "data", "payload", "imports", "exports", "conn", "leaf", "mem_storage",
         "disk_storage", "streams", "consumer"), -1,
    )  # fmt: skip
    of_account = {"type": "account", "version": 2, "limits": {**limits, "wildcards": True}}
    of_user = {"type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1,
               "payload": -1}  # fmt: skip
    trusted = operator.token(operator.name, {"type": "operator", "version": 2})
    accounts = operator.token(account.name, of_account)
    servers = operator.token(system.name, {"type": "account", "version": 2})
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / "conf").write_text(
        f'operator: "{trusted}"\nresolver: MEMORY\n'
        f'system_account: {system.name}\nresolver_preload: {{ {account.name}: "{accounts}"\n'
        f' {system.name}: "{servers}" }}\n'
    )
    server = nats_server(tmp_path / "n", "-c", str(tmp_path / "n" / "conf"))
    try:
        settings = NATS.replace("file:nats.url", f"nats://127.0.0.1:{server.port}")
        settings += 'credentials = "user.creds"\n'
        small.write(tmp_path / "a", settings=small.SETTINGS + settings)
        creds = (
            f"-----BEGIN NATS USER JWT-----\n{account.token(user.name, of_user)}\n"
            "------END NATS USER JWT------\n\nkeep it\n\n-----BEGIN USER NKEY SEED-----\n"
            f"{user.seed()}\n------END USER NKEY SEED------\n"
        )
        (tmp_path / "a" / "user.creds").write_text(creds)
        project = Project.load(tmp_path / "a")
        rows = small.visits(50, project.now())
        running = Running(project)
        running.says("stream not found")  # it was let in

        async def put() -> None:
            from tacit.live.inputs.credentials import signing
            from tacit.values import Secret

            who: Any = signing(Secret(creds.encode()))
            client = await nats.connect(f"nats://127.0.0.1:{server.port}", **who)
            await client.jetstream().add_stream(name="VISITS", subjects=["visits.*"])
            for row in rows:
                await client.jetstream().publish("visits.b", json.dumps(row).encode())
            await client.close()

        asyncio.run(put())
        running.taken(50)
        running.stop()
        assert user.seed() not in "".join(running.said)
    finally:
        server.stop()


def test_a_stream_of_nats_that_was_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with placed("nats", tmp_path / "a", monkeypatch) as place:
        assert isinstance(place, InNats)
        project = loaded(tmp_path / "a", place)
        rows = small.visits(60, project.now())
        place.put([json.dumps(row) for row in rows[:50]])
        stream = on_push(project, "visits", print)
        stream.run(threading.Event(), once=True)
        server = place.server
        assert server is not None

        async def remove() -> None:
            address = f"nats://127.0.0.1:{server.port}"
            client = await nats.connect(address, user="reader", password=PASSWORD)
            await client.jetstream().delete_stream("VISITS")
            await client.close()

        asyncio.run(remove())
        place.made = False
        place.put([json.dumps(row) for row in rows[50:]])
        with pytest.raises(StoreError, match="T427"):
            stream.run(threading.Event(), once=True)
        assert counted(project.online, "visits")["accepted"] == 50


# ---------------------------------------------------------------------- folders


def test_a_file_that_cannot_be_taken_holds_no_other_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with placed("folder", tmp_path / "a", monkeypatch) as place:
        project = loaded(tmp_path / "a", place)
        rows, folder = small.visits(90, project.now()), tmp_path / "a" / "incoming"
        table = pa.Table.from_pylist(rows)
        (folder / "000.parquet").write_bytes(b"PAR1 and no more")
        pq.write_table(table.drop_columns(["item"]).slice(0, 30), folder / "0001.parquet")
        pq.write_table(table.drop_columns(["visit"]).slice(0, 30), folder / "0002.parquet")
        place.put(messages_of(rows[:30]))
        ids = pa.array([*table["visit"].to_pylist()[30:59], None])
        pq.write_table(table.slice(30, 30).set_column(3, "visit", ids), folder / "2.parquet")
        stream = on_push(project, "visits", print)
        with pytest.raises(DataError, match="T394"):
            stream.run(threading.Event(), once=True)
        running = Running(project)
        running.taken(59)
        running.until(lambda: len(running.said) == 3)
        reasons = [why for _, why, _ in project.online.quarantined("visits")]
        assert "the row has no visit: it could come twice" in reasons
        assert len(reasons) == 4
        for number, start in (("000", 60), ("0001", 75)):
            aside = folder / ".aside.parquet"
            pq.write_table(table.slice(start, 15), aside)
            aside.rename(folder / f"{number}.parquet")
        running.taken(89)
        running.stop()
        assert len(running.said) == 3
        same(project, tmp_path / "b", rows[:59] + rows[60:])


# ---------------------------------------------------------------------- the command itself


def start(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tacit.cli", "stream", str(folder), *more]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def until(process: subprocess.Popen[bytes], folder: Path, true: Callable[[], bool]) -> None:
    end = time.monotonic() + 90
    while not true():
        assert process.poll() is None, (folder / "log").read_text()[-3000:]
        assert time.monotonic() < end, (folder / "log").read_text()[-3000:]
        time.sleep(0.005)


@pytest.mark.parametrize(
    "sent", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_the_command_ends_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals
) -> None:
    with placed("redis", tmp_path / "a", monkeypatch) as place:
        assert isinstance(place, InRedis)
        project = loaded(tmp_path / "a", place)
        rows = small.visits(200, project.now())
        place.put(messages_of(rows))
        process = start(tmp_path / "a")
        until(process, tmp_path / "a", lambda: counted(project.online, "visits")["accepted"] == 200)
        process.send_signal(sent)
        try:
            assert process.wait(60) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail((tmp_path / "a" / "log").read_text())
        assert (tmp_path / "a" / "log").read_text().splitlines() == [
            "push takes visits; stop it with Ctrl-C",
            "visits: 200 accepted, 20 duplicates, 0 late, 3 quarantined",
        ]
        client: Any = redis.Redis.from_url(place.url)
        assert client.xpending("visits", "tacit-shop-visits")["pending"] == 0


def killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, times: int, seed: int
) -> None:
    """Kills the command so many times while it takes what is put meanwhile."""
    rng, rows, folder = random.Random(seed), list[dict[str, Any]](), tmp_path / "a"
    with placed(kind, folder, monkeypatch) as place:
        project = loaded(folder, place)
        puts = 0

        def put(count: int) -> None:
            nonlocal puts
            new = small.visits(count, project.now(), seed=100 + puts)
            puts += 1
            place.put(messages_of(new))
            rows.extend(new)

        def number() -> int:
            return project.online.standing("visits").number

        for _ in range(times):
            before = number()
            put(400)
            process = start(folder)
            until(process, folder, lambda before=before: number() > before)  # type: ignore[misc]
            end = time.monotonic() + rng.random() * 0.5
            while time.monotonic() < end:
                put(20)
                time.sleep(0.01)
            time.sleep(rng.random() * 0.03)  # it is reading, writing or acknowledging the last
            assert process.poll() is None
            process.kill()
            process.wait()
        assert start(folder, "--once").wait(120) == 0, (folder / "log").read_text()[-3000:]
        told = counted(project.online, "visits")
        assert told["accepted"] == len(rows)
        assert told["duplicates"] == len(rows) // 10
        reasons = sorted(why.split(":")[0] for _, why, _ in project.online.quarantined("visits"))
        wanted = ["not JSON", "not a JSON object", "the row has no person"]
        assert reasons == sorted(wanted * puts)
        same(project, tmp_path / "b", rows)
        if isinstance(place, InRedis):
            client: Any = redis.Redis.from_url(place.url)
            assert client.xpending("visits", "tacit-shop-visits")["pending"] == 0
        if isinstance(place, InNats):
            assert asyncio.run(_left(place)) == (0, 0)


async def _left(place: InNats) -> tuple[int, int]:
    assert place.server is not None
    address = f"nats://127.0.0.1:{place.server.port}"
    client = await nats.connect(address, user="reader", password=PASSWORD)
    info = await client.jetstream().consumer_info("VISITS", "tacit-shop-visits")
    await client.close()
    return int(info.num_pending), int(info.num_ack_pending)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "times"), [("redis", 20), ("nats", 20), ("folder", 8)])
def test_killed_while_it_takes_a_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, times: int
) -> None:
    killed(tmp_path, monkeypatch, kind, times, seed=11)


# ---------------------------------------------------------------------- upkeep


def test_what_has_expired_is_swept_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = small.SETTINGS.replace("as_of = 2025-12-31T00:00:00Z\n", "")
    small.write(tmp_path / "a", settings=settings + FOLDER)
    project = Project.load(tmp_path / "a")
    now = project.now()
    assert not upkeep.begin_sweep(project.online, now - 9 * DAY)  # nobody has swept since
    old = {"person": "p000", "item": "i1", "at": now - 800 * DAY, "visit": "old"}
    project.online.push("visits", [old], now=now - 790 * DAY)
    project.online.merger.run()
    assert len(states(project.online, "visits")) == 1
    assert main(["stream", str(tmp_path / "a"), "--once"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "push takes visits; stop it with Ctrl-C",
        "swept: 1 keys had something that has expired",
        "visits: 1 accepted, 0 duplicates, 0 late, 0 quarantined",
    ]
    assert not states(project.online, "visits")
    # One that runs for long does it meanwhile; within a day of the last nobody does.
    monkeypatch.setattr(upkeep, "_LOOK", 0.01)
    project.online.push("visits", [old], now=now - 790 * DAY)
    project.online.merger.run()
    said: list[str] = []
    clock = project.now()
    with upkeep.upkeep(project.online, lambda: clock, said.append):
        time.sleep(0.2)
        assert said == []
        clock += 2 * DAY
        end = time.monotonic() + 20
        while not said and time.monotonic() < end:
            time.sleep(0.01)
    assert said == ["swept: 1 keys had something that has expired"]

    def away(*_: object, **__: object) -> int:
        raise unreachable("one:6379", "it is gone")

    monkeypatch.setattr(project.online, "sweep", away)
    clock += 2 * DAY
    with upkeep.upkeep(project.online, lambda: clock, said.append):
        while len(said) < 2 and time.monotonic() < end + 20:
            time.sleep(0.01)
    why = "T722: the online store cannot be reached: it is gone"
    assert said[1:] == [f"what has expired cannot be swept: {why}"]


def test_rows_that_wait_past_their_sources_retention_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = small.SETTINGS.replace("as_of = 2025-12-31T00:00:00Z\n", "")
    settings += FOLDER + '[online]\nbaseline = ["visits"]\n'
    small.write(tmp_path / "a", settings=settings)
    project = Project.load(tmp_path / "a")
    now = project.now()
    assert not upkeep.begin_sweep(project.online, now - 9 * DAY)
    rows = [
        {"person": "p000", "item": "i1", "at": now - days * DAY, "visit": f"v{days}"}
        for days in (1, 729, 731)  # visits are kept for 730 days
    ]
    (tmp_path / "a" / "incoming").mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a" / "incoming" / "a.jsonl").write_text(lines)
    assert main(["stream", str(tmp_path / "a"), "--once"]) == 0
    told = capsys.readouterr()
    assert "T428: 1 rows of 'visits' waited for a baseline past their retention of 730d" in told.err
    assert told.out.splitlines()[1:] == [
        "swept: 1 keys had something that has expired",
        "visits: 3 accepted, 0 duplicates, 0 late, 0 quarantined, 1 expired",
    ]
