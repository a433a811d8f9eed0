"""Reads that come within one turn of the event loop look at the store together, over HTTP and from
Redis clients: each is answered as by itself."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from resp_cases import running
from serve_cases import NOW, ROWS, SETTINGS, SIGNALS, filled
from serve_client import Caller, key_for

from tacit.live.place import Place
from tacit.project import Project
from tacit.serve.asked import Asked
from tacit.serve.keys import add_key
from tacit.serve.resp_frames import bulk
from tacit.serve.server import Server, application, config

PLACE = "/v1/features/person/"
NUMBERS = re.sub(r"(?m)^(last|kinds|fond|lately|share) = .*\n", "", SIGNALS)
NOTHING_KEPT = SETTINGS + "\n[serve]\nremember = 1\n"


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    """All that is known of a person is numbers, and nothing of it is remembered."""
    return filled(tmp_path, NUMBERS, NOTHING_KEPT)


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many keys were looked up in numbers at a time."""
    found: list[int] = []
    inner = Asked._numbers

    def counted(self: Asked, store: Any, lacking: Sequence[int], *rest: Any) -> Any:
        found.append(len(lacking))
        return inner(self, store, lacking, *rest)

    monkeypatch.setattr(Asked, "_numbers", counted)
    return found


class Serving:
    """An HTTP server on a thread."""

    def __init__(self, shop: Project) -> None:
        self.headers = key_for(shop, "discover")
        self.app = application(shop)
        self.server = Server(config(self.app, self.app.settings), self.app)
        self.server.config.port = 0
        self.way = Caller(self.app, self.headers)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        [listening] = self.server.servers
        self.port = listening.sockets[0].getsockname()[1]
        self.loop = listening.get_loop()
        self.way.get(f"{PLACE}p1")  # the question was asked before

    def get(self, name: str) -> bytes:
        return (
            f"GET {PLACE}{name} HTTP/1.1\r\nhost: x\r\n"
            f"authorization: {self.headers['authorization']}\r\n\r\n"
        ).encode()

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


@pytest.fixture
def http(shop: Project) -> Iterator[Serving]:
    found = Serving(shop)
    yield found
    found.server.should_exit = True
    found.thread.join(20)


def within_a_turn(loop: Any, send: Callable[[], None]) -> None:
    """What is sent waits in the sockets until the loop looks at all of them."""
    begun = threading.Event()

    def hold() -> None:
        begun.set()
        time.sleep(0.3)

    loop.call_soon_threadsafe(hold)
    begun.wait(20)
    send()


def answers(one: socket.socket, count: int) -> list[tuple[int, bytes]]:
    """Statuses and bodies of so many."""
    data, found = b"", list[tuple[int, bytes]]()
    while len(found) < count:
        head, end, rest = data.partition(b"\r\n\r\n")
        size = re.search(rb"(?i)content-length: (\d+)", head)
        if end and size and len(rest) >= int(size[1]):
            found.append((int(head.split()[1]), rest[: int(size[1])]))
            data = rest[int(size[1]) :]
            continue
        part = one.recv(1 << 16)
        assert part, f"{len(found)} of {count} answers came"
        data += part
    return found


def damage(shop: Project, name: str) -> None:
    """What the store holds of a person is damaged."""
    [view] = [f.form.view.name for f in shop.online.source("visits").segments
              if f.form.view.keys == (("person", "person"),)]  # fmt: skip
    shop.online.merger.run()
    with shop.online.backend.change() as change:
        change.put([(Place.of("visits", 1, view).head(b"\x00" + name.encode()), b"\0" * 72)])


NAMES = ["p1", "p2", "nobody", "p1", "p3", "p2", *(f"n{i}" for i in range(10))]


def test_reads_of_a_turn_are_each_its_own(http: Serving, together: list[int]) -> None:
    wanted = {name: http.way.get(PLACE + name).content for name in set(NAMES)}
    assert len(set(wanted.values())) == 3
    together.clear()
    with ExitStack() as stack:
        ones = [stack.enter_context(http.open()) for _ in NAMES]

        def send() -> None:
            for one, name in zip(ones, NAMES, strict=True):
                one.sendall(http.get(name))

        before = http.app.metrics.routes["/v1/features/{entity}/{key}"].statuses[200]
        for _ in range(3):
            within_a_turn(http.loop, send)
            said = [answers(one, 1)[0] for one in ones]
            assert said == [(200, wanted[name]) for name in NAMES]
    after = http.app.metrics.routes["/v1/features/{entity}/{key}"].statuses[200]
    assert after - before == 3 * len(NAMES)
    assert max(together) >= len(NAMES) // 2


def test_one_that_fails_is_told_so_and_no_other(
    shop: Project, http: Serving, together: list[int]
) -> None:
    wanted = {name: http.way.get(PLACE + name).content for name in set(NAMES)}
    damage(shop, "p2")
    refused = http.way.get(f"{PLACE}p2")
    assert refused.status_code >= 500
    assert b"T724" in refused.content
    with ExitStack() as stack:
        ones = [stack.enter_context(http.open()) for _ in NAMES]

        def send() -> None:
            for one, name in zip(ones, NAMES, strict=True):
                one.sendall(http.get(name))

        for _ in range(2):  # the connections stay
            within_a_turn(http.loop, send)
            for one, name in zip(ones, NAMES, strict=True):
                [(status, body)] = answers(one, 1)
                if name == "p2":
                    assert (status, b"T724" in body) == (refused.status_code, True)
                else:
                    assert (status, body) == (200, wanted[name])
    assert max(together) > 1


def test_a_connection_keeps_its_order(shop: Project, http: Serving) -> None:
    """One after another without waiting, whole and in pieces, with what the application answers in
    between; and what fails."""
    damage(shop, "p2")
    names = ["p1", "p3", "p1?signals=lokos", "p2", "p1", "p2", "p2", "p3"]
    wanted = [http.way.get(PLACE + name) for name in names]
    data = b"".join(http.get(name) for name in names)
    for size in (len(data), 500, 7):
        with http.open() as one:
            for low in range(0, len(data), size):
                one.sendall(data[low : low + size])
            said = answers(one, len(names))
            assert [status for status, _ in said] == [each.status_code for each in wanted]
            assert [body for status, body in said if status == 200] == [
                each.content for each in wanted if each.status_code == 200
            ]


def test_a_client_that_ends_gets_its_answer(http: Serving) -> None:
    """Who sends no more, and who sends what is no HTTP after a read."""
    wanted = http.way.get(f"{PLACE}p1").content
    for rest in (None, b"\x01 no HTTP\r\n\r\n"):
        with http.open() as one:

            def send(one: socket.socket = one, rest: bytes | None = rest) -> None:
                one.sendall(http.get("p1") + (rest or b""))
                if rest is None:
                    one.shutdown(socket.SHUT_WR)

            within_a_turn(http.loop, send)
            first, *more = answers(one, 2 if rest else 1)
            assert first == (200, wanted)
            assert [status for status, _ in more] == ([400] if rest else [])
            assert one.recv(1 << 16) == b""
    with http.open() as one:  # who is gone by then does no harm

        def leave() -> None:
            one.sendall(http.get("p1"))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            one.close()

        within_a_turn(http.loop, leave)
    with http.open() as one:
        one.sendall(http.get("p1"))
        assert answers(one, 1) == [(200, wanted)]


def test_a_push_is_seen_by_who_asks_after_it(shop: Project, http: Serving) -> None:
    with ExitStack() as stack:
        ones = [stack.enter_context(http.open()) for _ in range(8)]
        for number in range(1, 4):
            shop.push(
                "visits", [{**ROWS[0], "person": "p9", "at": NOW - number}], batch=f"{number}"
            )
            for one in ones:
                one.sendall(http.get("p9"))
            for one in ones:
                [(status, body)] = answers(one, 1)
                assert status == 200
                assert b'"values":[%d,' % number in body


def frame(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(map(bulk, words))


def test_redis_clients_are_read_together(shop: Project, together: list[int]) -> None:
    login = frame(b"AUTH", add_key(shop.control, "reader", ["discover"], [], None).encode())
    gets = [frame(b"GET", b"person:" + name.encode()) for name in NAMES]
    gets += [frame(b"GET", b"person:\xff"), frame(b"GET", b"person"), b"get person:p1\r\n"]
    with running(shop) as server, ExitStack() as stack:
        for spoiled in (False, True):
            if spoiled:
                damage(shop, "p2")
            told = [server.said(login + each).removeprefix(b"+OK\r\n") for each in gets]
            assert (b"T724" in told[1]) == spoiled
            assert told[2] == b"$-1\r\n"
            ones = [stack.enter_context(server.raw()) for _ in gets]
            for one in ones:
                one.sendall(login)
                assert one.recv(100) == b"+OK\r\n"
            together.clear()

            def send(ones: list[socket.socket] = ones) -> None:
                for one, each in zip(ones, gets, strict=True):
                    one.sendall(each)

            within_a_turn(server.loop, send)
            for one, wanted in zip(ones, told, strict=True):
                found = b""
                while len(found) < len(wanted):
                    found += one.recv(len(wanted) - len(found))
                assert found == wanted
            assert max(together) >= len(NAMES) // 2, (spoiled, together)
