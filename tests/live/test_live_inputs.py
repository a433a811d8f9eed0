"""Redis as a store, Redis Streams, JetStream and folders as inputs: real servers, real files."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from live_cases import NOW, SCHEMA, check, crash_feed, events, feed, few, online, small, table
from servers import Server, nats_server, redis_server

from tacit.errors import DataError, StoreError
from tacit.live.baseline import begin
from tacit.live.erasing import erase
from tacit.live.feed import Feed
from tacit.live.inputs.folder import Folder
from tacit.live.inputs.jetstream import JetStream
from tacit.live.inputs.redis_stream import RedisStream
from tacit.live.intake import Taken
from tacit.live.place import Mark
from tacit.store.online.redis import Reader, Redis
from tacit.values import HOUR, MINUTE


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = redis_server(tmp_path)
    yield found
    found.stop()


def url(server: Server) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


# ---------------------------------------------------------------------- Redis as the store


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(few(feed(endless=False)), id="some windows"),
        pytest.param(feed(endless=False), id="every window", marks=pytest.mark.slow),
    ],
)
def test_redis_holds_what_lmdb_holds(
    server: Server, monkeypatch: pytest.MonkeyPatch, kept: Feed
) -> None:
    small(monkeypatch)
    backend = Redis(url(server))
    assert backend.durability == "always"
    store, rng, rows = online(backend, kept), random.Random(1), []
    for step in range(5):
        now = NOW + step * 10 * MINUTE
        batch = events(rng, 40, now, 2 * HOUR)
        store.push("events", batch, now=now, ids=[f"{step}-{i}" for i in range(40)])
        rows += batch
    other = online(Redis(url(server)), kept)
    check(other, kept, rows, now)
    mark = "person-to-erase-7f3a"
    own = [{**row, "user": mark} for row in events(rng, 40, now, HOUR)]
    other.push("events", own, now=now)
    folder = Path(server.folder)
    assert any(mark.encode() in path.read_bytes() for path in folder.rglob("*.aof"))
    assert erase(store, "person", [mark]).keys > 1
    check(store, kept, rows, now)
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert not any(mark.encode() in path.read_bytes() for path in found)
    building = begin(store, "events")
    building.add(table(rows[:50]), now=now)
    building.finish(now=now)
    check(other, kept, rows[:50], now)
    store.sweep(now + 10 * HOUR)
    assert not list(redis.Redis.from_url(url(server)).scan_iter("tacit:d*"))


def test_a_key_that_is_sealed_while_it_is_read(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the trips for head and index rows move from one to the other: none counts twice."""
    small(monkeypatch)
    kept = few(feed(endless=False))
    store, rng = online(Redis(url(server)), kept), random.Random(4)
    look = store.lookup([window.signal for window in kept.views[0].windows])
    own = [{**row, "user": "ann"} for row in events(rng, 120, NOW, HOUR)]
    store.push("events", own[:30], now=NOW)
    plain, moving = Reader.get, []

    def get(self: Reader, keys: list[bytes]) -> list[bytes | None]:
        found = plain(self, keys)
        if type(self) is Reader and moving and any(key.endswith(b"h\0ann") for key in keys):
            store.push("events", moving.pop(), now=NOW)
        return found

    monkeypatch.setattr(Reader, "get", get)
    for start in range(30, 120, 15):
        before = look.one({"user": "ann"}, NOW)
        moving.append(own[start : start + 15])
        found = look.one({"user": "ann"}, NOW)
        after = look.one({"user": "ann"}, NOW)
        assert not moving
        assert before != after
        assert found in (before, after)
    check(store, kept, own, NOW)


def test_a_redis_that_dies_and_comes_back(server: Server) -> None:
    kept = crash_feed()
    store, rng = online(Redis(url(server), patience=2), kept), random.Random(1)
    rows = events(rng, 50, NOW)
    store.push("events", rows, now=NOW, batch="1")
    server.kill()
    more = events(rng, 50, NOW)
    with pytest.raises(StoreError, match="T722"):
        store.push("events", more, now=NOW, batch="2")
    with pytest.raises(StoreError, match="T722"):
        store.lookup([kept.views[0].windows[0].signal]).one({"user": "ann"}, NOW)
    server.start()
    store.push("events", more, now=NOW, batch="2")
    check(store, kept, rows + more, NOW)


def test_a_writer_that_lost_its_lease_writes_nothing(server: Server) -> None:
    backend = Redis(url(server), patience=0.2)
    plain: Any = redis.Redis.from_url(url(server))
    change = backend.change()
    inner = change.__enter__()
    inner.put([(b"mine", b"1")])
    with pytest.raises(StoreError, match="T721"), backend.change():
        pass
    plain.set("tacit:lease", b"somebody else's")
    with pytest.raises(StoreError, match="T721"):
        change.__exit__(None, None, None)
    assert plain.get("tacit:mine") is None
    assert plain.get("tacit:lease") == b"somebody else's"


@pytest.mark.slow
def test_a_full_redis_keeps_nothing_of_a_change(tmp_path: Path) -> None:
    server = redis_server(tmp_path, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    try:
        kept = crash_feed()
        store, rng, rows = online(Redis(url(server)), kept), random.Random(1), []
        code = ""
        while not code:
            batch = events(rng, 500, NOW)
            try:
                store.push("events", batch, now=NOW)
                rows += batch
            except StoreError as error:
                code = error.code
        assert code == "T720"
        check(store, kept, rows, NOW)
    finally:
        server.stop()


# ---------------------------------------------------------------------- Redis Streams


def test_redis_streams(server: Server, tmp_path: Path) -> None:
    kept = crash_feed()
    store, rng = online(tmp_path / "store", kept), random.Random(1)
    client: Any = redis.Redis.from_url(url(server))
    rows = events(rng, 100, NOW)
    for row in rows:
        client.xadd("s", {"event": json.dumps(row)})
    client.xadd("s", {"event": "{not json"})
    client.xadd("s", {"event": "[1]"})
    client.xadd("s", {"event": json.dumps({**rows[0], "quantity": "many"})})
    plain = {**dict.fromkeys(SCHEMA), "user": "ann", "at": NOW - 1, "quantity": 4}
    client.xadd("s", {name: str(value) for name, value in plain.items() if value is not None})
    # Somebody was given entries and died before it committed them.
    client.xgroup_create("s", "tacit", id="0")
    client.xreadgroup("tacit", "the dead", {"s": ">"}, count=7)
    reader = RedisStream(store, "events", url(server), "s", clock=lambda: NOW, batch=30)
    while reader.step() is not None:
        pass
    assert client.xpending("s", "tacit")["pending"] == 0
    counts = store.standing("events").counts
    assert (counts["accepted"], counts["quarantined"]) == (101, 3)
    reasons = sorted(why.split(":")[0] for _, why, _ in store.quarantined("events"))
    assert reasons == ["not JSON", "not a JSON object", "the row does not fit"]
    check(store, kept, [*rows, plain], NOW)
    # What the mark holds is acknowledged, and not taken again, in whatever group.
    again = RedisStream(store, "events", url(server), "s", clock=lambda: NOW, group="other")
    receipt = again.step()
    assert receipt is not None
    assert (receipt.accepted, receipt.duplicates) == (0, 104)
    assert again.step() is None
    server.kill()
    with pytest.raises(StoreError, match="T722"):
        reader.step()
    server.start()
    client = redis.Redis.from_url(url(server))
    client.xadd("s", {"event": json.dumps(rows[0])})
    assert reader.step() is not None
    check(store, kept, [*rows, plain, rows[0]], NOW)


def test_two_readers_of_one_group(server: Server, tmp_path: Path) -> None:
    """Whoever commits first, what the other was given before is not passed over."""
    kept = crash_feed()
    store, rng = online(tmp_path / "store", kept), random.Random(1)
    client: Any = redis.Redis.from_url(url(server))
    rows = events(rng, 90, NOW)
    one, other = (
        RedisStream(store, "events", url(server), "s", clock=lambda: NOW, batch=30)
        for _ in range(2)
    )
    assert one.step() is other.step() is None  # nothing to claim
    for row in rows:
        client.xadd("s", {"event": json.dumps(row)})
    first = one._entries(0)
    for _ in range(2):
        receipt = other.step()
        assert receipt is not None
        assert receipt.accepted == 30
    mark = store.mark("events", one.name)
    assert len(mark.above) == 60
    assert one._commit(first).accepted == 30
    own = max(tuple(map(int, key.split(b"-"))) for key, _ in first)
    assert store.mark("events", one.name) == Mark(own, mark.above)
    # It was killed before it acknowledged: others are given it, and do not take it again.
    again = RedisStream(store, "events", url(server), "s", clock=lambda: NOW)
    receipt = again.step()
    assert receipt is not None
    assert (receipt.accepted, receipt.duplicates) == (0, 30)
    assert client.xpending("s", "tacit")["pending"] == 0
    check(store, kept, rows, NOW)


def test_a_lost_answer_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    """What Redis gave and nobody got is pending: to read on would pass over it."""
    kept = crash_feed()
    store, rng = online(tmp_path / "store", kept), random.Random(1)
    client: Any = redis.Redis.from_url(url(server))
    rows = events(rng, 60, NOW)
    with Losing(server.port) as losing:
        address = f"redis://127.0.0.1:{losing.port}/0"
        reader = RedisStream(store, "events", address, "s", clock=lambda: NOW, batch=30)
        assert reader.step() is None
        for row in rows:
            client.xadd("s", {"event": json.dumps(row)})
        losing.lose(b"XREADGROUP")
        with pytest.raises(StoreError, match="T722"):
            reader.step()
        assert client.xpending("s", "tacit")["pending"] == 30
        while reader.step() is not None:
            pass
    check(store, kept, rows, NOW)
    assert store.standing("events").counts["accepted"] == 60


class Losing:
    """Stands between a client and a server, and loses the answer to a command when it is told to."""

    def __init__(self, server: int) -> None:
        self.server, self.word = server, b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def __enter__(self) -> Losing:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def lose(self, word: bytes) -> None:
        self.word = word

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.server)) as server:
            while asked := client.recv(1 << 16):
                server.sendall(asked)
                answer = server.recv(1 << 20)
                if self.word and self.word in asked:
                    self.word = b""
                    return
                client.sendall(answer)


# ---------------------------------------------------------------------- JetStream


def test_jetstream(tmp_path: Path) -> None:
    server = nats_server(tmp_path)
    try:
        asyncio.run(_jetstream(f"nats://127.0.0.1:{server.port}", tmp_path))
        server.kill()
        server.start()  # what JetStream keeps outlives it, and so does the mark
        asyncio.run(_jetstream_again(f"nats://127.0.0.1:{server.port}", tmp_path))
    finally:
        server.stop()


async def _jetstream(address: str, folder: Path) -> None:
    kept = crash_feed()
    store, rng = online(folder / "store", kept), random.Random(1)
    client = await nats.connect(address)
    context = client.jetstream()
    await context.add_stream(name="S", subjects=["events.*"])
    rows = events(rng, 60, NOW)
    for i, row in enumerate(rows):
        await context.publish("events.other", b"{}")  # of another subject: numbers have gaps
        await context.publish("events.shop", json.dumps(row).encode())
        if i == 30:
            await context.publish("events.shop", b"poison")
    reader = JetStream(store, "events", address, "S", "events.shop", clock=lambda: NOW, batch=25)
    first = await reader.step()
    assert first is not None
    # Committed, not acknowledged: it comes again, after others, and is not counted again.
    messages = await reader._pull.fetch(10, timeout=1)
    reader._commit(messages, 0)
    assert {len(reader.online.mark("events", reader.name).above) > 0}
    for message in messages:
        await message.nak()
    while await reader.step(wait=0.5) is not None:
        pass
    counts = store.standing("events").counts
    assert (counts["accepted"], counts["quarantined"]) == (60, 1)
    assert [(why[:8], row) for _, why, row in store.quarantined("events")] == [
        ("not JSON", "poison")
    ]
    check(store, kept, rows, NOW)
    await context.publish("events.shop", json.dumps(rows[0]).encode())
    await reader.close()
    await client.close()


async def _jetstream_again(address: str, folder: Path) -> None:
    kept = crash_feed()
    store, rng = online(folder / "store", kept), random.Random(1)
    rows = events(rng, 60, NOW)
    reader = JetStream(store, "events", address, "S", "events.shop", clock=lambda: NOW)
    while await reader.step(wait=0.5) is not None:
        pass
    assert store.standing("events").counts["accepted"] == 61
    check(store, kept, [*rows, rows[0]], NOW)
    # What comes alone is taken at once, not when the time to wait for more is over.
    client = await nats.connect(address)
    for row in rows[1:3]:
        await client.jetstream().publish("events.shop", json.dumps(row).encode())
    begun = time.monotonic()
    receipt = await reader.step(wait=30)
    assert receipt is not None
    assert receipt.accepted == 2
    assert time.monotonic() - begun < 10
    await client.close()
    await reader.close()


# ---------------------------------------------------------------------- folders


def test_a_folder_of_segments(tmp_path: Path) -> None:
    kept = crash_feed()
    folder = tmp_path / "segments"
    folder.mkdir()
    store, rng = online(tmp_path / "store", kept), random.Random(1)
    rows = events(rng, 120, NOW)
    pq.write_table(table(rows[:50]), folder / "a.parquet", row_group_size=20)
    lines = [json.dumps(row) for row in rows[50:90]]
    (folder / "b.jsonl").write_text("\n".join([*lines[:20], "poison", *lines[20:]]) + "\n")
    (folder / "_c.jsonl").write_text("not yet")
    reader = Folder(store, "events", folder, clock=lambda: NOW, batch=15)
    for _ in range(2):  # it stops in the middle of a file
        assert reader.step() is not None
    reader = Folder(store, "events", folder, clock=lambda: NOW, batch=15)
    while reader.step() is not None:
        pass
    counts = store.standing("events").counts
    assert (counts["accepted"], counts["quarantined"]) == (90, 1)
    assert [(why[:8], row) for _, why, row in store.quarantined("events")] == [
        ("not JSON", "poison")
    ]
    check(store, kept, rows[:90], NOW)
    pq.write_table(table(rows[90:]), folder / "d.parquet")
    while reader.step() is not None:
        pass
    check(store, kept, rows, NOW)
    assert reader.step() is None
    (folder / "e.parquet").write_bytes(b"PAR1 but no")
    with pytest.raises(DataError, match="T394"):
        reader.step()
    (folder / "e.parquet").unlink()
    (folder / "b.jsonl").write_text("other")
    with pytest.raises(DataError, match="T394"):
        reader.step()
    check(store, kept, rows, NOW)


# ---------------------------------------------------------------------- what is sent twice


def twice(rng: random.Random) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Events, and messages of them: each twice, by a producer that tries again; others are late,
    dated ahead, or have no id."""
    rows = events(rng, 20, NOW)
    named = [{**row, "nr": f"e{n}"} for n, row in enumerate(rows)]
    odd = [{**rows[0], "at": NOW + HOUR, "nr": "ahead"}, rows[1], {**rows[2], "nr": None}]
    return rows, [json.dumps(row).encode() for row in (*named, *odd, *named[::-1])]


def once(store: Any, kept: Feed, rows: list[dict[str, Any]]) -> None:
    """Each event counted once, whichever way it came; what is none lies apart with the reason."""
    counts = store.standing("events").counts
    assert (counts["accepted"], counts["duplicates"], counts["quarantined"]) == (20, 20, 3)
    reasons = sorted(why for _, why, _ in store.quarantined("events"))
    assert reasons == [
        "dated 3600 s in the future",
        *["the row has no nr: it could come twice"] * 2,
    ]
    check(store, kept, rows, NOW)
    again = store.push("events", [{**row, "nr": f"e{n}"} for n, row in enumerate(rows)],
                       now=NOW, ids="nr")  # fmt: skip
    assert (again.accepted, again.duplicates) == (0, 20)


def test_an_event_that_is_sent_twice_to_redis_streams(server: Server, tmp_path: Path) -> None:
    kept = crash_feed()
    store = online(tmp_path / "store", kept)
    rows, messages = twice(random.Random(2))
    client: Any = redis.Redis.from_url(url(server))
    for message in messages:
        client.xadd("s", {"event": message})
    reader = RedisStream(store, "events", url(server), "s", clock=lambda: NOW, ids="nr", batch=9)
    while reader.step() is not None:
        pass
    once(store, kept, rows)


def test_an_event_that_is_sent_twice_in_files(tmp_path: Path) -> None:
    kept = crash_feed()
    store = online(tmp_path / "store", kept)
    rows, messages = twice(random.Random(2))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(b"\n".join(messages[:23]))
    (tmp_path / "in" / "b.jsonl").write_bytes(b"\n".join(messages[23:]))
    reader = Folder(store, "events", tmp_path / "in", clock=lambda: NOW, ids="nr", batch=9)
    while reader.step() is not None:
        pass
    once(store, kept, rows)
    named = table(rows).append_column("nr", pa.array([f"e{n}" for n in range(20)]))
    pq.write_table(named, tmp_path / "in" / "c.parquet")
    receipt = reader.step()
    assert receipt is not None
    assert (receipt.accepted, receipt.duplicates) == (0, 9)


def test_an_event_that_is_sent_twice_to_jetstream(tmp_path: Path) -> None:
    server = nats_server(tmp_path)
    kept = crash_feed()
    store = online(tmp_path / "store", kept)
    rows, messages = twice(random.Random(2))
    address = f"nats://127.0.0.1:{server.port}"

    async def run() -> None:
        client = await nats.connect(address)
        context = client.jetstream()
        await context.add_stream(name="S", subjects=["e"])
        for message in messages:
            await context.publish("e", message)
        reader = JetStream(store, "events", address, "S", "e", clock=lambda: NOW, ids="nr", batch=9)
        while await reader.step(wait=0.5) is not None:
            pass
        await reader.close()
        await client.close()

    try:
        asyncio.run(run())
    finally:
        server.stop()
    once(store, kept, rows)


def test_a_mark_is_a_floor_and_what_is_above() -> None:
    mark = Mark((5,), frozenset({(8,)}))
    assert (5,) in mark
    assert (8,) in mark
    assert (7,) not in mark
    assert Mark((8,)).covers(mark)
    assert not Mark((7,)).covers(mark)
    assert Mark.load(mark.dump()) == mark
    assert Taken("s", [], mark, mark).before == mark
