"""`[serve]` of `tacit.toml`: where a project's signals are served, to whom, within which limits.

::

    [serve]
    host = "127.0.0.1"
    port = 8787
    shared = false                # true: several servers listen on the port, one for each core
    open = false                  # true: no key is asked for; on 127.0.0.1 alone
    in_flight = 256               # requests at a time; those beyond are refused (429)
    batch = 1000                  # keys of a read, rows of a push times a hundred
    body = 8388608                # bytes of a request
    patience = "10s"              # for a request to come whole, and an answer to be taken
    resp = 6380                   # the port for Redis clients, if there is to be one
    remember = 67108864           # bytes of answers that are kept (live.md)
    drain = "30s"                 # for requests under way, when the server is stopped
    log = "errors"                # "all", "errors" or "none"
    traces = false                # OpenTelemetry, as its own variables (OTEL_…) say
    certificate = "server.pem"    # TLS; with client_ca, clients must show a certificate of it
    private_key = "server.key"
    client_ca = "clients.pem"

    [serve.refusals]              # purpose → the signal that is true where a person refused it
    discover = "refused_discover"

    [serve.oidc]                  # bearer tokens of an identity provider, beside API keys
    issuer = "https://id.example"
    audience = "tacit"
    keys = "https://id.example/jwks.json"   # or a file beside tacit.toml
    purposes = "tacit_purposes"   # the claims that list purposes, and sources to push to
    sources = "tacit_sources"
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tacit.errors import DataError
from tacit.values import SECOND, duration

Wrong = Callable[[str, str], DataError]
"""Makes an error of a message and its mend."""


@dataclass(frozen=True, slots=True)
class Oidc:
    """An identity provider whose tokens are taken. ``keys`` is a URL or a file of its JWK set."""

    issuer: str
    audience: str
    keys: str
    purposes: str = "tacit_purposes"
    sources: str = "tacit_sources"


@dataclass(frozen=True, slots=True)
class Service:
    """How a project is served. Times are in seconds."""

    host: str = "127.0.0.1"
    port: int = 8787
    open: bool = False
    in_flight: int = 256
    batch: int = 1000
    body: int = 8 << 20
    resp: int | None = None
    shared: bool = False
    remember: int = 64 << 20
    patience: float = 10.0
    drain: float = 30.0
    log: str = "errors"
    traces: bool = False
    certificate: Path | None = None
    private_key: Path | None = None
    client_ca: Path | None = None
    refusals: Mapping[str, str] = field(default_factory=dict)
    oidc: Oidc | None = None


_TEXTS = ("host", "log", "patience", "drain", "certificate", "private_key", "client_ca")
_NUMBERS = {
    "port": 65_535,
    "in_flight": 65_536,
    "batch": 100_000,
    "body": 1 << 30,
    "resp": 65_535,
    "remember": 1 << 40,
}
_FLAGS = ("open", "shared", "traces")
SERVICE_KEYS = (*_TEXTS, *_NUMBERS, *_FLAGS)
_TABLES = ("refusals", "oidc")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def service(root: Path, raw: Any, wrong: Wrong) -> Service:
    """The settings of ``[serve]``. Raises what ``wrong`` makes: DataError T311."""
    if not isinstance(raw, dict):
        raise wrong("`serve` is not a table", "write [serve] and settings such as port = 8787")
    known = (*SERVICE_KEYS, *_TABLES)
    for name, value in raw.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            fix = f"did you mean {close[0]!r}?" if close else f"use {', '.join(known)}"
            raise wrong(f"[serve] has an unknown setting {name!r}", fix)
        _check(name, value, wrong)
    found: dict[str, Any] = {name: raw[name] for name in raw if name not in _TABLES}
    for name in ("patience", "drain"):
        if name in found:
            found[name] = duration(found[name], where=str(root)) / SECOND
    for name in ("certificate", "private_key", "client_ca"):
        if name in found:
            found[name] = root / found[name]
    made = Service(**found, refusals=dict(raw.get("refusals", {})), oidc=_oidc(raw, wrong))
    if made.open and made.host not in LOOPBACK:
        fix = 'write host = "127.0.0.1", or take open away and make keys: tacit key add'
        raise wrong("[serve] is open to everybody on a host that others reach", fix)
    if (made.certificate is None) != (made.private_key is None) or (
        made.client_ca is not None and made.certificate is None
    ):
        fix = "write certificate and private_key together; client_ca beside them"
        raise wrong("[serve] has a part of what TLS needs", fix)
    return made


def _check(name: str, value: Any, wrong: Wrong) -> None:
    if name in _NUMBERS:
        right = type(value) is int and 0 < value <= _NUMBERS[name]
        fix = f"write a number from 1 to {_NUMBERS[name]}"
    elif name in _FLAGS:
        right, fix = isinstance(value, bool), "write true or false"
    elif name in _TABLES:
        right = isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
        fix = f'write [serve.{name}] and texts: NAME = "…"'
    elif name == "log":
        right, fix = value in ("all", "errors", "none"), 'write "all", "errors" or "none"'
    else:
        right, fix = isinstance(value, str) and bool(value), f'write {name} = "…"'
    if not right:
        raise wrong(f"[serve] has {name} = {value!r}", fix)


def _oidc(raw: Mapping[str, Any], wrong: Wrong) -> Oidc | None:
    given = raw.get("oidc")
    if given is None:
        return None
    names = ("issuer", "audience", "keys", "purposes", "sources")
    lacking = [name for name in names[:3] if not given.get(name)]
    if lacking or not set(given) <= set(names):
        fix = 'write issuer = "…", audience = "…" and keys = "…", the URL or file of its JWK set'
        raise wrong(f"[serve.oidc] lacks {', '.join(lacking) or 'nothing, and has more'}", fix)
    return Oidc(**given)
