"""Requests to another party, and the tokens that authenticate them (§ HTTP Usage, § Request
Authentication)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from tacit.collect.dap.errors import from_problem, refuse
from tacit.errors import CollectError
from tacit.values import Secret

T = TypeVar("T")
_MOST_BYTES: Final = 1 << 27  # of a response
_TIMEOUT: Final = 60.0  # seconds
_RETRIES: Final = 4
POLL: Final = 0.1  # seconds between two looks, unless the server asks for more
_LONGEST_POLL: Final = 30.0
_PATIENCE: Final = 20.0  # seconds for which a deferred answer is polled before it is left for later


@dataclass(frozen=True, slots=True)
class Response:
    """A status, headers with names in lower case, and a body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Peer(Protocol):
    """Something that answers HTTP requests."""

    def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """One request. Raises CollectError T820 when no answer came."""
        ...


@dataclass(frozen=True, slots=True)
class Token:
    """A secret that a requester presents: as a bearer token, or as DAP-Auth-Token."""

    secret: Secret
    bearer: bool = True

    def headers(self) -> dict[str, str]:
        """What to send."""
        text = self.secret.reveal().decode("ascii")
        if self.bearer:
            return {"authorization": f"Bearer {text}"}
        return {"dap-auth-token": text}


def check_token(headers: Mapping[str, str], accepted: Sequence[Secret]) -> None:
    """Raises CollectError T812 unless a header has one of the tokens; takes the same time for any.

    Without any accepted token, nothing is accepted.
    """
    given = headers.get("dap-auth-token", "")
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        given = credentials.strip()
    presented = Secret(given.encode("utf-8", "surrogateescape"))
    # No short cut: every token is compared.
    if not sum([presented == secret for secret in accepted]):
        raise refuse("T812", "the request is not authenticated", "present the token agreed on")


class HttpPeer:
    """A party over HTTP, with connections kept open. It may be used from several threads.

    Certificates are checked; redirects are not followed, for they would carry the token along.
    """

    def __init__(self, timeout: float = _TIMEOUT) -> None:
        import httpx

        self._httpx = httpx
        self._client = httpx.Client(timeout=timeout, follow_redirects=False, trust_env=False)

    def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        try:
            with self._client.stream(method, url, headers=dict(headers), content=body) as answer:
                parts, size = [], 0
                for part in answer.iter_bytes():
                    size += len(part)
                    if size > _MOST_BYTES:
                        raise refuse("T823", "an answer is too long", "ask another party", url)
                    parts.append(part)
                lower = {name.lower(): value for name, value in answer.headers.items()}
                return Response(answer.status_code, lower, b"".join(parts))
        except (self._httpx.HTTPError, self._httpx.InvalidURL, OSError) as error:
            raise unreachable(url, repr(error)) from None

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


def unreachable(url: str, why: str) -> CollectError:
    """T820."""
    return refuse("T820", f"no answer came: {why}", "check the address, and try again", url)


def ask(
    peer: Peer,
    method: str,
    url: str,
    *,
    body: bytes = b"",
    media: str | None = None,
    token: Token | None = None,
) -> Response:
    """One request whose refusal is an error: raises what the problem document says, T820, T821."""
    headers: dict[str, str] = {} if media is None else {"content-type": media}
    if token is not None:
        headers |= token.headers()
    response = peer.request(method, url, headers, body)
    if response.status >= 500 or response.status == 429:
        raise unreachable(url, f"status {response.status}")
    if not 200 <= response.status < 300:
        raise from_problem(response.status, response.body, url)
    return response


def retried(work: Callable[[], T], sleep: Callable[[float], Any] = time.sleep) -> T:
    """The result of something idempotent, tried again while the peer cannot be reached (T820)."""
    for attempt in range(_RETRIES):
        try:
            return work()
        except CollectError as error:
            if error.code != "T820":
                raise
            sleep(0.1 * 4**attempt)
    return work()


def settled(
    peer: Peer,
    response: Response,
    url: str,
    token: Token,
    *,
    query: str = "",
    sleep: Callable[[float], Any] = time.sleep,
) -> Response:
    """The answer to a request by which a resource below `url` was created.

    An empty one is deferred, and polled for as long as patience lasts (§ Asynchronous Request
    Handling). Raises CollectError T828 then, and as `ask`.
    """
    where, waited = "", 0.0
    while not response.body:
        where = where or f"{url}/{last_segment(response)}{query}"
        if waited >= _PATIENCE:
            raise refuse("T828", "the answer is deferred", "it is asked for again later", where)
        rest = pause(response)
        sleep(rest)
        waited += rest
        response = ask(peer, "GET", where, token=token)
    return response


def pause(response: Response) -> float:
    """How long the server wants to be left alone (Retry-After, in seconds)."""
    text = response.headers.get("retry-after", "")
    asked = float(text) if text.isdecimal() and len(text) < 6 else POLL
    return min(max(asked, POLL), _LONGEST_POLL)


def check_media(response: Response, expected: str) -> None:
    """Raises CollectError T823 for an answer of another media type."""
    if media_type(response.headers.get("content-type", "")) != media_type(expected):
        raise refuse(
            "T823",
            f"an answer is not {expected}: {response.headers.get('content-type')!r:.200}",
            "check that the address is that of an aggregator which speaks this draft",
        )


def media_type(text: str) -> tuple[str, str | None]:
    """A media type and its `message` parameter; other parameters are a hint at most."""
    kind, *parameters = text.split(";")
    message = None
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "message":
            message = value.strip().strip('"')
    return kind.strip().lower(), message


def answered(response: Response, media: str, read: Callable[[bytes], T]) -> T:
    """The message in an answer. Raises CollectError T823 for an answer of another media type, or a
    malformed one: of such a one, nothing is used."""
    check_media(response, media)
    try:
        return read(response.body)
    except CollectError as error:
        raise refuse("T823", f"the answer is malformed: {error.message}", error.fix) from error


def last_segment(response: Response) -> str:
    """The name of the resource that an answer's Location ends in. Raises CollectError T823.

    Only the name is taken: an answer never sends its reader to another host.
    """
    location = response.headers.get("location", "").partition("?")[0]
    name = location.rstrip("/").rpartition("/")[2]
    if not name:
        raise refuse("T823", "an answer does not name its resource", "ask another party")
    return name
