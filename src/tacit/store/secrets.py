"""Secrets that settings name and do not hold: in the environment, or in a file of their own.

A text ``env:NAME`` stands for what the environment holds under that name, ``file:PATH`` for what a
file holds (relative to the project), without the end of its last line. Any other text is meant as
it is written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tacit.errors import EngineError
from tacit.values import Secret

ENVIRONMENT, FILE = "env:", "file:"
UNREADABLE = "an address that is none"


def known(text: str, what: str, root: Path | None) -> str | Secret:
    """What a text stands for: itself, or a secret of the environment or of a file; without a root
    of the environment alone.

    Raises EngineError T413 for one that is not there. ``what`` says what it is for.
    """
    if text.startswith(ENVIRONMENT):
        variable = text.removeprefix(ENVIRONMENT)
        if variable not in os.environ:
            raise EngineError(
                f"{what} is to come from {variable}, which is not set",
                code="T413",
                where="the environment",
                fix=f"set {variable}, or write the value into tacit.toml",
            )
        return Secret(os.environ[variable].encode())
    if text.startswith(FILE) and root is not None:
        path = root / text.removeprefix(FILE)
        try:
            return Secret(path.read_bytes().rstrip(b"\r\n"))
        except OSError as error:
            raise EngineError(
                f"{what} is to come from a file, which cannot be read: {error.strerror or error}",
                code="T413",
                where=str(path),
                fix="write the file, for this user alone to read; or env:NAME in its place",
            ) from None
    return text


def secret(text: str, what: str, root: Path) -> Secret:
    """A secret that is the whole of a file, by its path; or as `known`. Raises EngineError T413."""
    elsewhere = text.startswith((ENVIRONMENT, FILE))
    found = known(text if elsewhere else FILE + text, what, root)
    assert isinstance(found, Secret), "it is not written in the settings"
    return found


def revealed(value: str | Secret) -> str:
    """A value for the client that needs it."""
    return value.reveal().decode() if isinstance(value, Secret) else value


def address(text: str, what: str, root: Path, schemes: Sequence[str]) -> Secret:
    """A URL of one of these schemes, which may hold a password, or stand elsewhere (`known`).

    Raises EngineError T413 as `known`, T429 for what is no such URL.
    """
    url = revealed(known(text, what, root))
    if place_of(url) == UNREADABLE or urlsplit(url).scheme not in schemes:
        raise EngineError(
            f"{what} is not a URL: its text is not shown, since it may hold a password",
            code="T429",
            where="tacit.toml",
            fix=f"write {schemes[0]}://host:port, with what is no letter, digit, - or _ of a"
            " password as %XX; or env:NAME or file:PATH, which have it",
        )
    return Secret(url.encode())


def place_of(url: str) -> str:
    """Host, port and path of a URL, which may be shown; never who asks, a password or a query."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return UNREADABLE
    # An @ past the host: what looks like the host may be a part of a password with a / or a ?.
    if "@" in parts.path + parts.query + parts.fragment or not (parts.hostname or parts.path):
        return UNREADABLE
    host = parts.hostname or ""
    return host + (f":{port}" if port else "") + parts.path
