"""Refusals of the protocol, and the problem documents that carry them (§ Errors; RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

from tacit.errors import CollectError

URN: Final = "urn:ietf:params:ppm:dap:error:"
PROBLEM_TYPE: Final = "application/problem+json"

PROBLEMS: Final[Mapping[str, tuple[int, str | None]]] = {
    "T801": (400, "invalidMessage"),
    "T802": (404, "unrecognizedTask"),
    "T803": (404, "unrecognizedAggregationJob"),
    "T804": (400, "batchInvalid"),
    "T805": (400, "invalidBatchSize"),
    "T806": (400, "invalidAggregationParameter"),
    "T807": (400, "batchMismatch"),
    "T808": (400, "stepMismatch"),
    "T809": (400, "batchOverlap"),
    "T810": (400, "unsupportedExtension"),
    "T811": (400, "invalidExtension"),
    "T812": (403, "unauthorizedRequest"),
    "T813": (404, None),
    "T814": (409, None),
    "T815": (400, "outdatedConfig"),
    "T816": (400, "reportRejected"),
    "T817": (400, "reportTooEarly"),
    "T818": (415, None),
    "T819": (413, None),
    "T824": (503, None),
    "T826": (503, None),
    "T829": (405, None),
}
"""The HTTP status and the error type of each code. `None` types stand in no registry."""

_ONLY_IN_09: Final = frozenset(
    {"unauthorizedRequest", "outdatedConfig", "reportRejected", "reportTooEarly"}
)
_CODES: Final = {kind: code for code, (_, kind) in PROBLEMS.items() if kind}


class ReportError(IntEnum):
    """Why one report of many is refused (§ Basic Type Definitions)."""

    BATCH_COLLECTED = 1
    REPORT_REPLAYED = 2
    REPORT_DROPPED = 3
    HPKE_UNKNOWN_CONFIG_ID = 4
    HPKE_DECRYPT_ERROR = 5
    VDAF_VERIFY_ERROR = 6
    TASK_EXPIRED = 7
    INVALID_MESSAGE = 8
    REPORT_TOO_EARLY = 9
    TASK_NOT_STARTED = 10
    OUTDATED_CONFIG = 11


def refuse(code: str, message: str, fix: str, where: str | None = None) -> CollectError:
    """The error with that code; `PROBLEMS` says how it travels."""
    return CollectError(message, code=code, fix=fix, where=where)


def malformed(what: str) -> CollectError:
    """T801: a message that is not one of the standard's."""
    return refuse("T801", what, "send the message that the standard gives for this resource")


def problem(error: CollectError, task_id: str | None, version: int) -> tuple[int, bytes]:
    """The HTTP status and the problem document of a refusal."""
    status, kind = PROBLEMS.get(error.code, (500, None))
    if kind in _ONLY_IN_09 and version != 9:
        kind = None
    document: dict[str, Any] = {
        "type": f"{URN}{kind}" if kind else "about:blank",
        "title": kind or _TITLES.get(error.code, "the request failed"),
        "status": status,
        "detail": error.message,
    }
    if task_id is not None:
        document["taskid"] = task_id
    if error.code == "T810" and error.path:
        document["unsupported_extensions"] = [int(kind) for kind in error.path]
    return status, json.dumps(document).encode()


def from_problem(status: int, body: bytes, where: str) -> CollectError:
    """What a peer's problem document says, as an error of ours: T821 for a type without a code."""
    try:
        document = json.loads(body)
        kind, detail = str(document.get("type", "")), str(document.get("detail", ""))
    except (ValueError, AttributeError, RecursionError):
        kind, detail = "", ""
    code = _CODES.get(kind.removeprefix(URN), "T821") if kind.startswith(URN) else "T821"
    said = kind.removeprefix(URN) or "no problem document"
    return refuse(
        code,
        f"the peer refused with status {status}, {said}: {detail[:500]}",
        "mend what it names, then ask again",
        where,
    )


_TITLES: Final = {
    "T812": "the request is not authenticated",
    "T813": "there is no such resource",
    "T814": "the resource exists with other content",
    "T815": "the HPKE configuration is outdated",
    "T818": "the resource takes no such request",
    "T819": "the request is too large",
    "T824": "the service is shutting down",
    "T829": "the resource has no such method",
}
