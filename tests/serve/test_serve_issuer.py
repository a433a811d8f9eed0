"""An identity provider that is away: who shows a token by a key that is not known is told to come
again; nobody else waits for it."""

from __future__ import annotations

import asyncio
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from serve_cases import filled
from serve_client import BASE, Caller, key_for
from test_serve_http import refused
from test_serve_trust import KEY, OTHER, jwks, token, with_keys

from tacit.errors import ServeError
from tacit.serve import issuer
from tacit.serve.issuer import Issuer
from tacit.serve.server import application

PATH = "/v1/features/person/p1?signals=looks&purpose=discover"


class Provider:
    """An issuer that answers, or is away, or never answers."""

    def __init__(self) -> None:
        self.state, self.asked, self.keys = "there", 0, jwks()
        provider, self.hangs = self, threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                if provider.state == "hangs":
                    provider.hangs.wait(30)
                body = json.dumps(provider.keys).encode()
                self.send_response(503 if provider.state == "away" else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks"


@pytest.fixture
def provider() -> Iterator[Provider]:
    found = Provider()
    yield found
    found.hangs.set()
    found.server.shutdown()
    found.server.server_close()


def of(kid: str | None, key: Any = KEY) -> dict[str, str]:
    claims = {"iss": "https://id.example", "aud": "tacit", "exp": int(time.time()) + 600,
              "tacit_purposes": ["discover"]}  # fmt: skip
    headers = {} if kid is None else {"kid": kid}
    return {"authorization": f"Bearer {jwt.encode(claims, key, 'ES256', headers=headers)}"}


def test_a_key_that_cannot_be_had_is_no_refusal(tmp_path: Path, provider: Provider) -> None:
    provider.state = "away"
    shop = filled(tmp_path, settings=with_keys(provider.url))
    own = key_for(shop, "discover")
    app = application(shop)
    found = Caller(app, token()).get(PATH)
    assert refused(found, 503, "T866")["title"] == "the issuer's keys cannot be had"
    assert found.headers["retry-after"] == "1"
    asked = provider.asked
    refused(Caller(app, token()).get(PATH), 503, "T866")
    assert provider.asked == asked  # it is not asked again at once
    assert Caller(app, own).get(PATH).json()["values"] == [2]
    assert Caller(app).get("/readyz").status_code == 200  # keys and store are there
    provider.state = "there"
    app.identity.tokens._issuer._tried -= issuer.PAUSE  # type: ignore[union-attr]
    assert Caller(app, token()).get(PATH).json()["values"] == [2]
    # What is known is known also where the issuer is away again, for tokens not seen before.
    provider.state = "away"
    app.identity.tokens._issuer._fetched -= issuer.FRESH  # type: ignore[union-attr]
    app.identity.tokens._issuer._tried -= issuer.PAUSE  # type: ignore[union-attr]
    assert Caller(app, token(sub="another")).get(PATH).json()["values"] == [2]
    refused(Caller(app, token(OTHER)).get(PATH), 401, "T844")


def test_known_keys_count_for_a_while(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(issuer, "monotonic", lambda: clock[0])
    known = Issuer(jwt, provider.url)
    assert known.key("one") is known.key("one")
    assert known.key(None) is known.key("one")  # there is one, so a token need not say which
    assert provider.asked == 1
    with pytest.raises(ServeError, match="T844"):
        known.key("another")
    assert provider.asked == 1  # strangers do not have it asked again and again
    clock[0] += issuer.PAUSE + 1
    provider.keys["keys"].append({**provider.keys["keys"][0], "kid": "another"})
    assert known.key("another") is not None
    assert provider.asked == 2
    with pytest.raises(ServeError, match="T844"):
        known.key(None)
    provider.state = "away"
    clock[0] += issuer.KEPT - 1
    assert known.key("one") is not None
    assert provider.asked == 3
    clock[0] += 2
    with pytest.raises(ServeError, match="T866"):
        known.key("one")
    provider.state, provider.keys = "there", {"keys": [provider.keys["keys"][1]]}
    clock[0] += issuer.PAUSE + 1
    with pytest.raises(ServeError, match="T844"):  # it was revoked meanwhile
        known.key("one")
    assert known.key("another") is not None
    provider.keys = {"keys": "none"}
    clock[0] += issuer.FRESH + 1
    assert known.key("another") is not None


def test_an_issuer_that_hangs_holds_up_nobody_else(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More tokens than there are threads wait for it; API keys, readiness and the look at the keys
    go on, and tokens beyond are told to come again at once."""
    provider.state = "hangs"
    shop = filled(tmp_path, settings=with_keys(provider.url))
    own = key_for(shop, "discover")
    app = application(shop)

    async def call() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=60) as client:

            async def get(headers: dict[str, str], path: str = PATH) -> httpx.Response:
                return await client.get(path, headers=headers)

            waiting = [asyncio.create_task(get(of(f"k{n}"))) for n in range(40)]
            while provider.asked == 0 or app._strangers < 16:
                await asyncio.sleep(0.01)
            done, _ = await asyncio.wait(waiting, timeout=5, return_when=asyncio.FIRST_COMPLETED)
            refused(done.pop().result(), 503, "T866")
            assert (await get(own)).json()["values"] == [2]
            assert (await get({}, "/readyz")).status_code == 200
            loop = asyncio.get_running_loop()
            await asyncio.wait_for(loop.run_in_executor(app._ring, app.identity.refresh), 10)
            assert app._strangers == 16  # all of that while they waited
            provider.hangs.set()
            for found in await asyncio.gather(*waiting):
                assert found.status_code in (401, 503)

    asyncio.run(call())


def test_nobody_listens_there(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = application(filled(tmp_path, settings=with_keys(f"http://127.0.0.1:{port}/jwks")))
    refused(Caller(app, token()).get(PATH), 503, "T866")
    refused(Caller(app, {"authorization": "Bearer a.b.c"}).get(PATH), 401, "T844")
