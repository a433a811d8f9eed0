"""Resources and their methods (§ HTTP Resources Reference), without any HTTP server.

`resolve` looks at a request before its body is read: it finds the resource, authenticates, and says
how long a body may be. `handle` does the whole of it, and turns refusals into problem documents.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from urllib.parse import parse_qs

from tacit.collect.dap.codec import encode
from tacit.collect.dap.errors import PROBLEM_TYPE, problem, refuse
from tacit.collect.dap.helper import Helper
from tacit.collect.dap.leader import Leader, first_error
from tacit.collect.dap.messages import (
    HPKE_CONFIGS,
    JOB_ID_BYTES,
    LONGEST_JOB,
    TASK_ID_BYTES,
    HpkeConfig,
)
from tacit.collect.dap.peer import Response, check_token, media_type
from tacit.collect.dap.profile import Profile, profile
from tacit.collect.dap.task import from_base64, to_base64
from tacit.errors import CollectError, TacitError
from tacit.values import Secret

_LOG = logging.getLogger("tacit.dap")
LONGEST_UPLOAD: Final = 32 << 20
_LONGEST_QUERY: Final = 1 << 16
_CACHE: Final = "max-age=86400"
_RETRY: Final = {"retry-after": "1"}
P = TypeVar("P", Leader, Helper)


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body. Names of headers are in lower case; `path` begins after the
    aggregator's own URL."""

    method: str
    path: str
    headers: Mapping[str, str]
    query: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What will answer a request: how long its body may be, and the answer to a body."""

    longest: int
    answer: Callable[[bytes], Response]


@dataclass(frozen=True, slots=True)
class Served(Generic[P]):
    """A task with the tokens that its peer may present: the collector's at the leader, the leader's
    at the helper."""

    party: P
    tokens: tuple[Secret, ...]


class Service(Generic[P]):
    """One aggregator's resources for all of its tasks. It may be used from several threads."""

    def __init__(self, tasks: Sequence[Served[P]], configs: Sequence[HpkeConfig]) -> None:
        self._tasks: dict[bytes, Served[P]] = {served.party.task.id: served for served in tasks}
        self._configs = encode(HPKE_CONFIGS, tuple(configs))

    def handle(self, head: Head, body: bytes) -> Response:
        """The answer to a whole request; a refusal is an answer too."""
        try:
            endpoint = self.resolve(head)
            if len(body) > endpoint.longest:
                raise too_large(endpoint.longest)
            return endpoint.answer(body)
        except Exception as error:
            return self.refusal(head, error)

    def resolve(self, head: Head) -> Endpoint:
        """Raises CollectError T802, T812, T813, T818, T829."""
        parts = [part for part in head.path.split("/") if part]
        match parts:
            case ["hpke_config"]:
                _method(head, "GET")
                return Endpoint(0, lambda _: self._hpke_config(head))
            case ["health"]:
                _method(head, "GET")
                return Endpoint(0, lambda _: Response(200, _TEXT, b"ok\n"))
            case ["tasks", name, resource, *rest] if len(rest) < 2:
                served = self._served(name)
                id = _resource_id(rest[0]) if rest else None
                return self._endpoint(served, head, resource, id)
        raise _nowhere(head)

    def _endpoint(self, served: Served[P], head: Head, resource: str, id: bytes | None) -> Endpoint:
        raise _nowhere(head)

    def refusal(self, head: Head, error: Exception) -> Response:
        """An error as an answer. What is not a refusal of ours is logged, and not told."""
        parts = [part for part in head.path.split("/") if part]
        name, version = None, 18
        if len(parts) > 1 and parts[0] == "tasks":
            try:
                task = self._served(parts[1]).party.task
                name, version = task.name, task.version
            except CollectError:
                pass
        if not isinstance(error, CollectError):
            _LOG.error("%s %s failed", head.method, head.path, exc_info=error)
            code = error.code if isinstance(error, TacitError) else "T800"
            error = refuse("T824" if code.startswith("T7") else "T800", "it failed", "try later")
        status, document = problem(error, name, version)
        return Response(status, {"content-type": PROBLEM_TYPE}, document)

    def _served(self, name: str) -> Served[P]:
        try:
            return self._tasks[from_base64(name, TASK_ID_BYTES)]
        except (ValueError, KeyError):
            raise refuse("T802", f"there is no task {name[:60]!r}", "check its id") from None

    def _hpke_config(self, head: Head) -> Response:
        asked = parse_qs(head.query).get("task_id")
        spoken = self._served(asked[0]).party.task.profile if asked else profile(18)
        media = spoken.media["hpke-config-list"]
        return Response(200, {"content-type": media, "cache-control": _CACHE}, self._configs)


class LeaderService(Service[Leader]):
    """Reports and collection jobs."""

    def _endpoint(
        self, served: Served[Leader], head: Head, resource: str, id: bytes | None
    ) -> Endpoint:
        leader, posts = served.party, served.party.task.profile.posts
        match resource, id is None:
            case "reports", True:
                _method(head, "POST" if posts else "PUT")
                _media(head, leader.task.profile, "upload-req")
                return Endpoint(LONGEST_UPLOAD, lambda body: self._upload(leader, body))
            case "collection_jobs", _:
                check_token(head.headers, served.tokens)
                return self._collection(leader, head, id)
        raise _nowhere(head)

    def _upload(self, leader: Leader, body: bytes) -> Response:
        profile = leader.task.profile
        statuses = leader.upload(body)
        if not profile.posts:
            if statuses:
                raise first_error(statuses)
            return Response(201)
        if not statuses:
            return Response(200)
        media = {"content-type": profile.media["upload-errors"]}
        return Response(200, media, profile.write_upload_errors(statuses))

    def _collection(self, leader: Leader, head: Head, id: bytes | None) -> Endpoint:
        profile = leader.task.profile
        if id is None or (not profile.posts and head.method == "PUT"):
            _method(head, "POST" if profile.posts else "PUT")
            if id is None and not profile.posts:
                raise _nowhere(head)
            _media(head, profile, "collection-job-req")
            return Endpoint(_LONGEST_QUERY, lambda body: self._collect(leader, head, body, id))
        known = id
        if head.method == "DELETE":
            return Endpoint(0, lambda _: _done(leader.delete_collection, known))
        _method(head, "GET" if profile.posts else "POST")
        return Endpoint(0, lambda _: self._state(leader, leader.awaited_collection(known)))

    def _collect(self, leader: Leader, head: Head, body: bytes, id: bytes | None) -> Response:
        started = leader.start_collection(body, id)
        if id is not None:
            return Response(201)
        state = self._state(leader, leader.collection(started))
        return located(state, head, started)

    def _state(self, leader: Leader, answer: bytes | None) -> Response:
        if answer is None:
            return Response(200 if leader.task.profile.posts else 202, _RETRY)
        media = leader.task.profile.media["collection-job-resp"]
        return Response(200, {"content-type": media}, answer)


class HelperService(Service[Helper]):
    """Aggregation jobs and aggregate shares."""

    def _endpoint(
        self, served: Served[Helper], head: Head, resource: str, id: bytes | None
    ) -> Endpoint:
        if resource not in ("aggregation_jobs", "aggregate_shares"):
            raise _nowhere(head)
        check_token(head.headers, served.tokens)
        if resource == "aggregation_jobs":
            return self._job(served.party, head, id)
        return self._share(served.party, head, id)

    def _job(self, helper: Helper, head: Head, id: bytes | None) -> Endpoint:
        profile = helper.task.profile
        media = {"content-type": profile.media["aggregation-job-resp"]}
        if (id is None) == profile.posts and head.method == ("POST" if profile.posts else "PUT"):
            _media(head, profile, "aggregation-job-init-req")
            return Endpoint(LONGEST_JOB, lambda body: self._start(helper, head, body, id))
        if id is None:
            _method(head, "POST")
            raise _nowhere(head)
        match head.method:
            case "POST":
                _media(head, profile, "aggregation-job-continue-req")
                return Endpoint(
                    LONGEST_JOB, lambda body: Response(200, media, helper.continue_job(id, body))
                )
            case "GET":
                _step(head)
                return Endpoint(0, lambda _: Response(200, media, helper.job(id)))
            case "DELETE":
                return Endpoint(0, lambda _: _done(helper.delete_job, id))
        raise _no_method(head)

    def _start(self, helper: Helper, head: Head, body: bytes, id: bytes | None) -> Response:
        job_id, answer = helper.start_job(body, id)
        media = {"content-type": helper.task.profile.media["aggregation-job-resp"]}
        if id is not None:
            return Response(201, media, answer)
        return located(Response(200, media, answer), head, job_id)

    def _share(self, helper: Helper, head: Head, id: bytes | None) -> Endpoint:
        profile = helper.task.profile
        media = {"content-type": profile.media["aggregate-share"]}
        if id is None:
            _method(head, "POST")
            _media(head, profile, "aggregate-share-req")
            return Endpoint(_LONGEST_QUERY, lambda body: self._collect(helper, head, body))
        if head.method == "DELETE":
            return Endpoint(0, lambda _: _done(helper.delete_share, id))
        _method(head, "GET")
        return Endpoint(0, lambda _: Response(200, media, helper.share(id)))

    def _collect(self, helper: Helper, head: Head, body: bytes) -> Response:
        share_id, answer = helper.start_share(body)
        media = {"content-type": helper.task.profile.media["aggregate-share"]}
        return located(Response(200, media, answer), head, share_id)


_TEXT: Final = {"content-type": "text/plain"}


def located(response: Response, head: Head, id: bytes) -> Response:
    """An answer that says where the resource is that the request created."""
    location = {"location": f"{head.path.rstrip('/')}/{to_base64(id)}"}
    return Response(response.status, {**response.headers, **location}, response.body)


def too_large(longest: int) -> CollectError:
    """T819."""
    return refuse("T819", f"the body is longer than {longest} bytes", "send it in parts")


def _done(delete: Callable[[bytes], None], id: bytes) -> Response:
    delete(id)
    return Response(204)


def _resource_id(text: str) -> bytes:
    try:
        return from_base64(text, JOB_ID_BYTES)
    except ValueError:
        raise refuse("T813", "this names no resource", "check the address") from None


def _step(head: Head) -> None:
    """The one step that a job of Prio3 has. Raises CollectError T808."""
    if parse_qs(head.query).get("step", ["0"]) != ["0"]:
        raise refuse("T808", "the job is at step 0, and ends there", "ask for step 0")


def _media(head: Head, spoken: Profile, message: str) -> None:
    expected = spoken.media[message]
    if media_type(head.headers.get("content-type", "")) != media_type(expected):
        raise refuse("T818", f"this resource takes {expected}", "set the content type")


def _method(head: Head, method: str) -> None:
    if head.method != method:
        raise _no_method(head)


def _no_method(head: Head) -> CollectError:
    return refuse("T829", f"{head.method} is nothing that can be done here", "see the standard")


def _nowhere(head: Head) -> CollectError:
    return refuse("T813", "there is no such resource", "check the address")
