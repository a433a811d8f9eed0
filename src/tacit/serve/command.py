"""The commands `tacit serve` and `tacit key`."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tacit.errors import ServeError


def add_serve(commands: Any) -> None:
    """Adds `serve` and `key` to a parser's commands."""
    serve = commands.add_parser("serve", help="serve signals over HTTP, and take events in")
    serve.add_argument("folder", type=Path, metavar="DIR", nargs="?", default=Path())
    serve.add_argument("--host", help="where to listen, in place of the settings'")
    serve.add_argument("--port", type=int, help="and on which port")
    serve.add_argument("--resp-port", type=int, help="for Redis clients, if there are to be any")
    serve.add_argument(
        "--shared", action="store_true", help="let other servers listen there too: one a core"
    )
    serve.set_defaults(command=_serve)
    key = commands.add_parser("key", help="API keys: who may read for what, and push where")
    verbs = key.add_subparsers(title="commands", metavar="", required=True)
    add = verbs.add_parser("add", help="make a key, and print it: it is not seen again")
    add.add_argument("folder", type=Path, metavar="DIR", nargs="?", default=Path())
    add.add_argument("--name", required=True, help="what the key is called; no person's name")
    for what, meaning in (("purpose", "to read for"), ("push", "to push events to")):
        add.add_argument(
            f"--{what}", action="append", default=[], metavar="NAME", help=f"{meaning}; may repeat"
        )
    add.add_argument("--expires", metavar="90d", help="how long it is good for; left out, always")
    add.set_defaults(command=_add)
    shown = verbs.add_parser("list", help="print the keys that there are, and what they may")
    shown.add_argument("folder", type=Path, metavar="DIR", nargs="?", default=Path())
    shown.set_defaults(command=_list)
    revoke = verbs.add_parser("revoke", help="revoke a key, for good")
    revoke.add_argument("id", metavar="ID")
    revoke.add_argument("folder", type=Path, metavar="DIR", nargs="?", default=Path())
    revoke.set_defaults(command=_revoke)


def _serve(given: argparse.Namespace) -> int:
    from tacit.project import Project
    from tacit.serve.server import serve

    project = Project.load(given.folder)
    settings = project.settings.serve
    if given.host is not None:
        settings = replace(settings, host=given.host)
    if given.port is not None:
        settings = replace(settings, port=given.port)
    if given.resp_port is not None:
        settings = replace(settings, resp=given.resp_port)
    if given.shared:
        settings = replace(settings, shared=True)
    serve(project, settings)
    return 0


def _add(given: argparse.Namespace) -> int:
    from tacit.declare import Events, Place, Purpose
    from tacit.project import Project
    from tacit.serve.keys import add_key
    from tacit.values import duration

    project = Project.load(given.folder)
    named = project.declarations
    cloud = [n for n, s in named.of(Events).items() if s.place == str(Place.CLOUD)]
    _check("purpose", given.purpose, list(named.of(Purpose)))
    _check("source", given.push, cloud)
    if not given.purpose and not given.push:
        raise ServeError(
            "a key for nothing",
            code="T843",
            where="--purpose",
            fix="say what it is for: --purpose NAME, --push SOURCE",
        )
    expires = None
    if given.expires is not None:
        expires = time.time_ns() // 1000 + duration(given.expires, where="--expires")
    print(add_key(project.control, given.name, given.purpose, given.push, expires))
    return 0


def _check(what: str, names: list[str], known: list[str]) -> None:
    from tacit.serve.answers import unknown

    for name in names:
        if name not in known:
            raise unknown(what, name, known, "T843")


def _list(given: argparse.Namespace) -> int:
    from tacit.project import Project
    from tacit.serve.keys import KeyRing

    project = Project.load(given.folder)
    now = time.time_ns() // 1000
    for key in KeyRing(project.control).keys.values():
        until = key.caller.expires
        state = "revoked" if key.revoked else "good"
        if until is not None:
            state = "expired" if state == "good" and until <= now else state
            state += f" until {datetime.fromtimestamp(until / 1e6, UTC):%Y-%m-%d}"
        may = [*sorted(key.caller.purposes), *(f"push {s}" for s in sorted(key.caller.sources))]
        print(f"{key.id}  {key.title}: {', '.join(may)}; {state}")
    return 0


def _revoke(given: argparse.Namespace) -> int:
    from tacit.project import Project
    from tacit.serve.keys import revoke_key

    revoke_key(Project.load(given.folder).control, given.id)
    print(f"revoked {given.id}; servers refuse it within seconds")
    return 0
