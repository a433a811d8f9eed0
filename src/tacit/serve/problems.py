"""Refusals as they travel: problem details (RFC 9457), with the code, the place and the mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

import msgspec

from tacit.errors import ServeError, TacitError

PROBLEM: Final = b"application/problem+json"

STATUS: Final[Mapping[str, tuple[int, str]]] = {
    "T348": (400, "the times are of another unit"),
    "T390": (400, "a key or a moment is none"),
    "T391": (400, "the rows do not fit their source"),
    "T392": (404, "no such source takes events"),
    "T393": (400, "the online store does not keep it"),
    "T720": (503, "the store is full"),
    "T721": (503, "the store is busy"),
    "T722": (503, "the store cannot be reached"),
    "T723": (503, "the store is damaged"),
    "T724": (500, "what is held of the key is damaged"),
    "T725": (400, "the moment is too far in the past"),
    "T727": (503, "the store is of another plan"),
    "T728": (503, "there is no baseline yet"),
    "T840": (400, "the request is malformed"),
    "T841": (400, "the signals cannot be asked for"),
    "T842": (404, "no such entity is served"),
    "T843": (403, "the purpose is not allowed"),
    "T844": (401, "no valid credentials"),
    "T845": (401, "the credentials have expired"),
    "T846": (413, "the body is too large"),
    "T847": (413, "the batch is too large"),
    "T848": (429, "too many requests at a time"),
    "T849": (408, "the request did not come in time"),
    "T850": (404, "no such resource"),
    "T851": (405, "the resource has no such method"),
    "T852": (406, "no such representation"),
    "T853": (415, "the content is of another type"),
    "T854": (503, "the server is stopping"),
    "T855": (400, "the push has no identity"),
    "T856": (403, "the source is not the caller's to push to"),
    "T858": (500, "the request failed"),
    "T859": (431, "the request's head is too large"),
    "T866": (503, "the issuer's keys cannot be had"),
}
"""The HTTP status and the title of each code; any other is 500."""

RETRY: Final = frozenset({"T720", "T721", "T722", "T728", "T848", "T854", "T866"})
"""Codes after which the same request may succeed: they say so with Retry-After."""
AFTER: Final = b"1"
"""Seconds."""
LONGEST: Final = 80
"""Characters of a name that it is looked for by; no more of it is said, either."""
MOST: Final = 1000
"""Names among which one is looked for."""


def problem(error: TacitError) -> tuple[int, bytes]:
    """The HTTP status and the body of a refusal."""
    status, title = STATUS.get(error.code, STATUS["T858"])
    told = {
        "type": f"urn:tacit:error:{error.code}",
        "title": title,
        "status": status,
        "detail": error.message,
        "code": error.code,
        "fix": error.fix,
    }
    if error.where and status < 500:  # places of the machine are nobody's business
        told["where"] = error.where
    return status, msgspec.json.encode(told)


def headers(error: TacitError, status: int) -> list[tuple[bytes, bytes]]:
    """What a refusal adds to the head of its answer."""
    found = [(b"content-type", PROBLEM), (b"cache-control", b"no-store")]
    if error.code in RETRY:
        found.append((b"retry-after", AFTER))
    if status == 401:
        found.append((b"www-authenticate", b'Bearer realm="tacit"'))
    return found


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that one is most like, if it is like any. What a client sent may be long, and
    comparing takes as long as both names and all that are known."""
    close = difflib.get_close_matches(name[:LONGEST], list(islice(known, MOST)), 1)
    return close[0] if close else None


def malformed(message: str, where: str | None, fix: str) -> ServeError:
    """T840."""
    return ServeError(message, code="T840", where=where, fix=fix)
