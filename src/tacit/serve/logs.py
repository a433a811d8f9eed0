"""Logs as lines of JSON, without personal data.

A line has words of ours alone: a route's template, a status, a code, an id of the request. What a
client sent stands in none, nor does an error's message, which may quote it; of a failure nobody
foresaw, its type and the lines of code that it passed.
"""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

LOG = logging.getLogger("tacit.serve")


class Lines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.msg if record.name == LOG.name else "server",
        }
        told.update(getattr(record, "told", {}))
        if record.exc_info and record.exc_info[1] is not None:
            told |= failure(record.exc_info[1])
        if record.name != LOG.name:
            told["logger"] = record.name
            if record.name.startswith("uvicorn"):  # its own words, without what they are filled by
                told["said"] = str(record.msg)[:200]
        return msgspec.json.encode(told).decode()


def failure(error: BaseException) -> dict[str, Any]:
    """An error without its message: what it is, and where it came by."""
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "error": type(error).__name__,
        "code": getattr(error, "code", None),
        "trace": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:]],
    }


def say(event: str, level: int = logging.INFO, **told: Any) -> None:
    """Writes a line."""
    if LOG.isEnabledFor(level):
        LOG.log(level, event, extra={"told": told})


def set_up(stream: TextIO | None = None) -> None:
    """Sends all that is logged in this process to a stream, as such lines."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(Lines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    LOG.setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
