"""Bearer tokens of an identity provider, TLS with clients' certificates, traces."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from serve_cases import SETTINGS, filled
from serve_client import Caller, caller, key_for, serving
from test_serve_http import refused

from tacit.errors import ServeError
from tacit.serve.server import application
from tacit.serve.traces import Tracing

ISSUER = "https://id.example"
KEY, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))


def jwks() -> dict[str, Any]:
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key()))
    return {"keys": [{**public, "kid": "one", "use": "sig", "alg": "ES256"}]}


def token(key: Any = KEY, algorithm: str = "ES256", **claims: Any) -> dict[str, str]:
    told = {
        "iss": ISSUER, "aud": "tacit", "sub": "somebody", "exp": int(time.time()) + 60,
        "tacit_purposes": ["discover", "nothing"], "tacit_sources": "visits other", **claims,
    }  # fmt: skip
    told = {name: value for name, value in told.items() if value is not None}
    made = jwt.encode(told, key, algorithm, headers={"kid": "one"})
    return {"authorization": f"Bearer {made}"}


def with_keys(keys: str) -> str:
    return SETTINGS + f'\n[serve.oidc]\nissuer = "{ISSUER}"\naudience = "tacit"\nkeys = "{keys}"\n'


def test_tokens_of_an_identity_provider(tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_text(json.dumps(jwks()))
    shop = filled(tmp_path, settings=with_keys("jwks.json"))
    app = application(shop)
    path = "/v1/features/person/p1?signals=looks"
    for _ in range(2):  # looked up, then known
        assert Caller(app, token()).get(path).json()["values"] == [2]
    assert Caller(app, key_for(shop, "measure")).get(path).status_code == 401  # not read yet
    row = {"person": "p5", "thing": "i1", "at": shop.now() - 1, "seconds": 1.0, "liked": None}
    pushed = Caller(app, token()).post(
        "/v1/events/visits", json=[row], headers={"idempotency-key": "a"}
    )
    assert pushed.json()["accepted"] == 1
    refused(
        Caller(app, token(tacit_purposes="measure")).get(path + "&purpose=discover"), 403, "T843"
    )
    refused(Caller(app, token(tacit_purposes=7)).get(path + "&purpose=discover"), 403, "T843")
    refused(Caller(app, token(exp=int(time.time()) - 5)).get(path), 401, "T845")
    none = jwt.encode({"iss": ISSUER}, "", "none")
    weak = token(key="x" * 64, algorithm="HS256")
    for wrong in (
        token(OTHER), token(iss="https://other.example"), token(aud="other"), token(exp=None),
        weak, {"authorization": f"Bearer {none}"}, {"authorization": "Bearer a.b.c"},
    ):  # fmt: skip
        refused(Caller(app, wrong).get(path), 401, "T844")
    # One that was good is not for longer than it says.
    short = token(exp=int(time.time()) + 2)
    assert Caller(app, short).get(path).status_code == 200
    for _ in range(60):
        if Caller(app, short).get(path).status_code == 401:
            break
        time.sleep(0.1)
    refused(Caller(app, short).get(path), 401, "T845")


@pytest.fixture
def provider() -> Iterator[str]:
    class Keys(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(jwks()).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Keys)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/jwks"
    server.shutdown()


def test_an_issuer_s_keys_are_fetched(tmp_path: Path, provider: str) -> None:
    app = application(filled(tmp_path, settings=with_keys(provider)))
    path = "/v1/features/person/p1?signals=looks"
    assert Caller(app, token()).get(path).json()["values"] == [2]
    refused(Caller(app, token(OTHER)).get(path), 401, "T844")


def test_keys_that_are_none(tmp_path: Path) -> None:
    for keys in ("nothing.json", "tacit.toml", "http://id.example/jwks"):
        shop = filled(tmp_path, settings=with_keys(keys))
        with pytest.raises(ServeError, match="T857"):
            application(shop)
        shop.online.backend.close()


# ---------------------------------------------------------------------- TLS


class Authority:
    """A certificate authority of our own, in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.name, self.key.public_key(), True)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(self, subject: x509.Name, public: Any, authority: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), True)
        )
        if not authority:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            built = built.add_extension(x509.SubjectAlternativeName([address]), False)
            built = built.add_extension(x509.ExtendedKeyUsage(usages), False)
        return built.sign(self.key, hashes.SHA256())

    def issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._sign(subject, key.public_key(), False)
        paths = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return paths


@pytest.mark.slow
def test_clients_show_a_certificate(tmp_path: Path) -> None:
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    ours.issue("server")
    client, stranger = ours.issue("client"), others.issue("stranger")
    settings = '\n[serve]\ncertificate = "server.crt"\nprivate_key = "server.key"\nclient_ca = "ours.pem"\n'
    shop = filled(tmp_path, settings=SETTINGS + settings)
    headers = key_for(shop, "discover")
    shop.online.backend.close()

    def ask(pair: tuple[Path, Path] | None) -> int:
        context = ssl.create_default_context(cafile=str(ours.path))
        if pair is not None:
            context.load_cert_chain(*map(str, pair))
        with httpx.Client(verify=context, headers=headers) as calling:
            return calling.get(f"{process.url}/v1/features/person/p1").status_code

    with serving(tmp_path, scheme="https") as process:
        assert ask(client) == 200
        headers["authorization"] = "Bearer nothing"
        assert ask(client) == 401  # a certificate lets in, and tells of no purpose
        for pair in (None, stranger):
            with pytest.raises(httpx.TransportError):
                ask(pair)
        with pytest.raises(httpx.TransportError):
            httpx.get(process.url.replace("https", "http"))


# ---------------------------------------------------------------------- traces


def test_requests_are_traced_without_keys(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    ask = caller(filled(tmp_path), "discover", push=("visits",))
    ask.app.tracing, ask.app._inline = Tracing(provider), False
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    secret = "zq-personal"
    ask.get(f"/v1/features/person/{secret}?signals=looks", headers={"traceparent": parent})
    ask.get(f"/v1/features/person/{secret}?signals=lokos")
    ask.post("/v1/events/visits", json=[{"person": secret}], headers={"idempotency-key": secret})
    good, bad, pushed = exporter.get_finished_spans()
    assert good.name == "GET /v1/features/{entity}/{key}"
    assert good.context is not None
    assert good.parent is not None
    assert f"{good.context.trace_id:032x}" == parent[3:35]
    assert f"{good.parent.span_id:016x}" == parent[36:52]
    assert dict(good.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/v1/features/{entity}/{key}",
        "http.response.status_code": 200,
    }
    assert (bad.attributes or {})["error.type"] == "T841"
    assert not bad.status.is_ok
    assert pushed.name == "POST /v1/events/{source}"
    assert secret not in "".join(span.to_json() for span in (good, bad, pushed))


def test_traces_are_set_up_by_the_settings(tmp_path: Path) -> None:
    shop = filled(tmp_path, settings=SETTINGS + "\n[serve]\ntraces = true\n")
    app = application(shop)
    assert app.tracing is not None
    assert Caller(app, key_for(shop, "discover")).get("/v1/signals").status_code == 401
