"""What a request asks: its parameters or its body, checked, as keys, signals, a purpose.

Nothing of it is bent to fit: an unknown parameter or field is an error that names the nearest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from tacit.errors import ServeError
from tacit.project.serving import fits
from tacit.serve.answers import unknown
from tacit.serve.problems import malformed, nearest
from tacit.values import Type

PARAMETERS = ("signals", "purpose", "at")


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a read: keys with inputs, or rows of both.

    A list of keys of one entity asks for many; one key of another, and each input, counts for all.
    A row has a key for each entity and a value for each input, by their names.
    """

    keys: dict[str, str | int | float | list[str | int | float]] | msgspec.UnsetType = msgspec.UNSET
    signals: list[str] | None = None
    purpose: str | None = None
    at: int | float | None = None
    inputs: dict[str, Any] = {}
    rows: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET


_QUESTION = msgspec.json.Decoder(Question)
_ROWS = msgspec.json.Decoder(list[Any])
_LINES = msgspec.json.Decoder()


def read_question(body: bytes) -> Question:
    """The question of a JSON body. Raises ServeError T840."""
    try:
        found = _QUESTION.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unread(error) from None
    at = whole(found.at)
    if at is not None and not (isinstance(at, int) and -(2**63) <= at < 2**63):
        raise malformed("`at` is no moment", "$.at", "give microseconds since 1970, UTC")
    found.at = at
    by_rows = found.rows is not msgspec.UNSET
    if (found.keys is msgspec.UNSET) != by_rows or (by_rows and found.inputs):
        fix = "give keys, and inputs where there are any; or rows, which have both"
        raise malformed("there are no keys, or keys and rows", "body", fix)
    return found


def whole(value: Any) -> Any:
    """A number that is whole as an int: to JSON, 7.0 is one (RFC 8259 §6)."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2.0**63:
        return int(value)
    return value


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
            close = nearest(name, known)
            raise malformed(
                f"there is no parameter {name[:80]!r}",
                "query",
                f"did you mean {close!r}?" if close else f"use {', '.join(known) or 'none'}",
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
    if not (text[sign:].isascii() and text[sign:].isdecimal() and len(text) < 21):
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
    if text[sign:].isascii() and text[sign:].isdecimal() and len(text) < 21:
        return int(text)
    raise malformed(f"the key of {entity!r} is a whole number", "path", "write it in digits")


class Wanted(NamedTuple):
    """What is read: keys and inputs, each one or lists of so many; ``many`` is None for one."""

    keys: dict[str, Any]
    inputs: dict[str, Any]
    many: int | None


def wanted(
    question: Question, kinds: Mapping[str, Type], inputs: Mapping[str, Type], most: int
) -> Wanted:
    """What a question wants, checked. ``kinds`` are the types of entities' keys, ``inputs`` those
    of what may arrive; what is there and nobody needs is left alone.

    Raises ServeError T840 for what does not fit, T842 for an unknown entity, T847 for too many.
    """
    if not isinstance(question.rows, msgspec.UnsetType):
        return _rows(question.rows, kinds, inputs, most)
    assert not isinstance(question.keys, msgspec.UnsetType), "it was checked as it was read"
    keys = {}
    lists = [len(key) for key in question.keys.values() if isinstance(key, list)]
    if len(lists) > 1:
        raise malformed(
            "keys of several entities are lists", "$.keys", "give rows in place of keys"
        )
    _few(lists[0] if lists else 1, "$.keys", most)
    for entity, key in question.keys.items():
        if entity not in kinds:
            raise unknown("entity", entity, sorted(kinds), "T842")
        if isinstance(key, list):
            keys[entity] = [_key(entity, kinds[entity], one, "$.keys") for one in key]
        else:
            keys[entity] = _key(entity, kinds[entity], key, "$.keys")
    given = {
        name: _input(name, value, inputs, "$.inputs") for name, value in question.inputs.items()
    }
    return Wanted(keys, given, lists[0] if lists else None)


def _rows(
    rows: list[dict[str, Any]], kinds: Mapping[str, Type], inputs: Mapping[str, Type], most: int
) -> Wanted:
    _few(len(rows), "$.rows", most)
    names = set(rows[0])
    columns: dict[str, list[Any]] = {name: [] for name in rows[0]}
    for place, row in enumerate(rows):
        where = f"$.rows[{place}]"
        if set(row) != names:
            raise malformed("rows have different fields", where, "give all rows the same")
        for name, value in row.items():
            if name in kinds:
                columns[name].append(_key(name, kinds[name], value, where))
            else:
                columns[name].append(_input(name, value, inputs, where))
    keys = {name: column for name, column in columns.items() if name in kinds}
    return Wanted(keys, {n: c for n, c in columns.items() if n not in keys}, len(rows))


def _few(count: int, where: str, most: int) -> None:
    if not count:
        raise malformed("nothing is asked for: a list is empty", where, "give one key at least")
    if count > most:
        raise ServeError(
            f"{count:,} keys are asked for at once",
            code="T847",
            where=where,
            fix=f"ask for {most:,} at most, several times",
        )


def _key(entity: str, kind: Type, key: Any, where: str) -> Any:
    found = whole(key) if kind is not Type.TEXT else key
    if found is None or not fits(found, kind):
        raise malformed(f"the key of {entity!r} is no {kind}", where, f"give {entity} as {kind}")
    return found


def _input(name: str, value: Any, inputs: Mapping[str, Type], where: str) -> Any:
    if name not in inputs:
        raise unknown("input", name, sorted(inputs), "T840")
    found = value if inputs[name] is Type.FLOAT else whole(value)
    if not fits(found, inputs[name]):
        raise malformed(f"the input {name!r} is no {inputs[name]}", where, f"give {inputs[name]}")
    return found


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
