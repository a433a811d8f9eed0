"""What a request asks: its parameters or its body, checked, as keys, signals, a purpose.

Nothing of it is bent to fit: an unknown parameter or field is an error that names the nearest.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from tacit.errors import ServeError
from tacit.serve.problems import malformed
from tacit.values import Type

PARAMETERS = ("signals", "purpose", "at")


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a read. A list of keys asks for many; one key beside it counts for all."""

    keys: dict[str, str | int | list[str | int]]
    signals: list[str] | None = None
    purpose: str | None = None
    at: int | None = None
    inputs: dict[str, Any] | None = None


_QUESTION = msgspec.json.Decoder(Question)
_ROWS = msgspec.json.Decoder(list[Any])
_LINES = msgspec.json.Decoder()


def read_question(body: bytes) -> Question:
    """The question of a JSON body. Raises ServeError T840."""
    try:
        found = _QUESTION.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unread(error) from None
    if found.at is not None and not -(2**63) <= found.at < 2**63:
        raise malformed("`at` is no moment", "$.at", "give microseconds since 1970, UTC")
    return found


def _unread(error: Exception) -> ServeError:
    message, _, place = str(error).partition(" - at ")
    return malformed(
        f"the body cannot be read: {message[:200]}",
        place.strip("`") or "body",
        "send what the resource takes; /openapi.json describes it",
    )


def read_query(raw: bytes, known: Sequence[str] = PARAMETERS) -> dict[str, str]:
    """The parameters of a query. Raises ServeError T840 for one that is unknown or comes twice."""
    if not raw:
        return {}
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict",
            max_num_fields=16,
        )  # fmt: skip
    except ValueError:
        raise malformed("the query cannot be read", "query", "write name=value&…") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            raise malformed(
                f"there is no parameter {name[:80]!r}",
                "query",
                f"did you mean {close[0]!r}?" if close else f"use {', '.join(known) or 'none'}",
            )
        if name in found:
            raise malformed(f"{name!r} is given twice", f"query.{name}", "give it once")
        found[name] = value
    return found


def names_of(text: str | None) -> list[str] | None:
    """Names that stand in one parameter, parted by commas."""
    return None if text is None else text.split(",")


def moment_of(text: str | None) -> int | None:
    """A moment in µs. Raises ServeError T840 for what is none."""
    if text is None:
        return None
    sign = text[:1] == "-"
    if not (text[sign:].isascii() and text[sign:].isdecimal() and len(text) < 20):
        raise malformed("`at` is no moment", "query.at", "give microseconds since 1970, UTC")
    found = int(text)
    if not -(2**63) <= found < 2**63:
        raise malformed("`at` is no moment", "query.at", "give microseconds since 1970, UTC")
    return found


def key_of(text: str, kind: Type, entity: str) -> str | int:
    """A key as it stands in a path. Raises ServeError T840 for a number that is none."""
    if kind is Type.TEXT:
        return text
    sign = text[:1] == "-"
    if text[sign:].isascii() and text[sign:].isdecimal() and len(text) < 20:
        return int(text)
    raise malformed(f"the key of {entity!r} is a whole number", "path", "write it in digits")


def count_of(keys: Mapping[str, Any], most: int) -> int | None:
    """How many keys are asked for; None for one. Raises ServeError T840 for lists that differ, T847
    for too many."""
    sizes = {len(each) for each in keys.values() if isinstance(each, list)}
    if not sizes:
        return None
    if len(sizes) > 1:
        raise malformed(
            "the lists of keys are of different lengths",
            "$.keys",
            "give each entity one key, or as many as the others",
        )
    count = sizes.pop()
    if count > most:
        raise ServeError(
            f"{count:,} keys are asked for at once",
            code="T847",
            where="$.keys",
            fix=f"ask for {most:,} at most, several times",
        )
    return count


def read_rows(body: bytes, lines: bool, most: int) -> list[Any]:
    """The rows of a push: a JSON list, or lines of JSON. Raises ServeError T840, T847."""
    try:
        rows = _LINES.decode_lines(body) if lines else _ROWS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unread(error) from None
    if len(rows) > most:
        raise ServeError(
            f"{len(rows):,} rows are pushed at once",
            code="T847",
            where="body",
            fix=f"push {most:,} at most, several times",
        )
    return rows
