"""OpenAPI 3.1 of a project's own plan: its entities, its signals with their types, its sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tacit import __version__
from tacit.live.values import Status
from tacit.serve.encode import FLOAT32
from tacit.serve.problems import STATUS
from tacit.values import Type

if TYPE_CHECKING:
    from tacit.serve.answers import Answers

LONGEST = {"minimum": -(2**63), "maximum": 2**63 - 1}
_TYPES: Mapping[str, dict[str, Any]] = {
    "int": {"type": ["integer", "null"]},
    "float": {"type": ["number", "null"]},
    "text": {"type": ["string", "null"]},
    "bool": {"type": ["boolean", "null"]},
    "time": {"type": ["integer", "null"], "description": "microseconds since 1970, UTC"},
}
_KEYS: Mapping[Type, dict[str, Any]] = {
    Type.TEXT: {"type": "string"},
    Type.INT: {"type": "integer", **LONGEST},
}


def describe(answers: Answers, batch: int) -> dict[str, Any]:
    """The description, as JSON data."""
    project = answers.project
    kinds = answers.key_types()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Signals of {project.settings.name}",
            "version": __version__,
            "description": "Signals by keys, for a purpose, each with a status.",
        },
        "security": [{"key": []}],
        "paths": {
            **{
                f"/v1/features/{entity}/{{key}}": {"get": _read(answers, entity, kind)}
                for entity, kind in kinds.items()
                if any(needs == (entity,) for needs in answers.entities.values())
            },
            "/v1/features": {"post": _ask(answers, kinds)},
            **{
                f"/v1/events/{source}": {"post": _push(answers, source, batch)}
                for source in project.online.sources
            },
            "/v1/signals": {"get": _about("The signals that there are.", "Catalog")},
            "/openapi.json": {"get": _about("This description.", None)},
            "/metrics": {"get": _text("Counts and times, as Prometheus reads them.")},
            "/healthz": {"get": _open("The process answers.", ())},
            "/readyz": {"get": _open("The store can be read.", (503,))},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(answers, kinds),
        },
    }


def _purpose(answers: Answers) -> dict[str, Any]:
    return {"type": "string", "enum": sorted(answers.decisions.allowed)}


def _read(answers: Answers, entity: str, kind: Type) -> dict[str, Any]:
    names = list(answers.of(entity))
    return {
        "summary": f"The signals of one {entity}.",
        "operationId": f"read_{entity}",
        "parameters": [
            {
                "name": "key",
                "in": "path",
                "required": True,
                "schema": {**_KEYS[kind], **({"minLength": 1} if kind is Type.TEXT else {})},
            },
            {
                "name": "signals",
                "in": "query",
                "description": "Those to be read; left out, all of the entity.",
                "style": "form",
                "explode": False,
                "schema": {
                    "type": "array",
                    "items": {"type": "string", "enum": names},
                    "minItems": 1,
                    "uniqueItems": True,
                },
            },
            {
                "name": "purpose",
                "in": "query",
                "description": "May be left out by who has one purpose.",
                "schema": _purpose(answers),
            },
            {
                "name": "at",
                "in": "query",
                "description": "The moment, µs since 1970, UTC; left out, now.",
                "schema": {"type": "integer", **LONGEST},
            },
        ],
        "responses": _answered(("One",), (400, 401, 403, 404, 406, 429, 500, 503)),
    }


def _ask(answers: Answers, kinds: Mapping[str, Type]) -> dict[str, Any]:
    return {
        "summary": "The signals of one set of keys, or of many.",
        "operationId": "ask",
        "requestBody": _body("Question"),
        "responses": _answered(
            ("One", "Many"), (400, 401, 403, 404, 406, 408, 413, 415, 429, 500, 503)
        ),
    }


def _push(answers: Answers, source: str, batch: int) -> dict[str, Any]:
    rows = {
        "type": "array",
        "description": f"Rows as Row.{source} has them; what is none is quarantined, not refused.",
        "items": {},
    }
    return {
        "summary": f"Events of {source}: on the disk, and counted once, when it is answered.",
        "operationId": f"push_{source}",
        "description": "Either Idempotency-Key or ids must be given, not both.",
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": True,
                "description": "An id of this push: sent again, it is counted once.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 256,
                           "pattern": "^[A-Za-z0-9_.:-]+$"},
            },
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": rows}},
        },
        "responses": {
            "200": _content("What became of the rows.", {"$ref": "#/components/schemas/Receipt"}),
            **_problems((400, 401, 403, 404, 408, 413, 415, 429, 500, 503)),
        },
    }  # fmt: skip


def _body(schema: str) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"required": True, "content": {"application/json": {"schema": reference}}}


def _answered(schemas: Sequence[str], statuses: Sequence[int]) -> dict[str, Any]:
    found = [{"$ref": f"#/components/schemas/{name}"} for name in schemas]
    content = {
        "application/json": {"schema": found[0] if len(found) == 1 else {"oneOf": found}},
        FLOAT32.decode(): {"schema": {"type": "string", "format": "binary"}},
    }
    return {
        "200": {"description": "Values and their statuses.", "content": content},
        **_problems(statuses),
    }


def _content(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problems(statuses: Sequence[int]) -> dict[str, Any]:
    reference = {"$ref": "#/components/schemas/Problem"}
    found: dict[str, Any] = {}
    for status in sorted({*statuses, 431}):  # any request's head may be too large
        codes = [f"{code}: {title}" for code, (each, title) in STATUS.items() if each == status]
        found[str(status)] = {
            "description": "; ".join(codes),
            "content": {"application/problem+json": {"schema": reference}},
        }
        if status in (429, 503):
            after = {"description": "Seconds to wait.", "schema": {"type": "integer"}}
            found[str(status)]["headers"] = {"Retry-After": after}
    return found


def _about(summary: str, schema: str | None) -> dict[str, Any]:
    described = {"$ref": f"#/components/schemas/{schema}"} if schema else {"type": "object"}
    return {
        "summary": summary,
        "responses": {
            "200": _content(summary, described),
            **_problems((400, 401, 429, 500, 503)),
        },
    }


def _text(summary: str) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "summary": summary,
        "responses": {
            "200": {"description": summary, "content": content},
            **_problems((401, 429, 500, 503)),
        },
    }


def _open(summary: str, statuses: Sequence[int]) -> dict[str, Any]:
    return {
        "summary": summary,
        "security": [],
        "responses": {
            "200": _content(summary, {"type": "object"}),
            **_problems((*statuses, 500)),
        },
    }


def _schemas(answers: Answers, kinds: Mapping[str, Type]) -> dict[str, Any]:
    statuses = [status.name.lower() for status in Status]
    values = {"type": "array", "items": {}}
    told = {"type": "array", "items": {"type": "string", "enum": statuses}}
    names = {"type": "array", "items": {"type": "string"}}
    moment = {"type": "integer", **LONGEST}
    project = answers.project
    return {
        "Question": {"anyOf": _questions(answers, kinds)},
        "One": _told(names, moment, values, told),
        "Many": _told(
            names, moment, {"type": "array", "items": values}, {"type": "array", "items": told}
        ),
        "Receipt": {
            "type": "object",
            "required": ["accepted", "duplicates", "late", "quarantined", "parked"],
            "properties": {
                **{
                    name: {"type": "integer", "minimum": 0}
                    for name in ("accepted", "duplicates", "late", "quarantined")
                },
                "parked": {"type": "boolean"},
            },
        },
        "Problem": {
            "type": "object",
            "required": ["type", "title", "status", "detail", "code", "fix"],
            "properties": {
                **{name: {"type": "string"} for name in ("type", "title", "detail", "fix")},
                "code": {"type": "string", "pattern": "^T[0-9]{3}$"},
                "where": {"type": "string"},
                "status": {"type": "integer"},
            },
        },
        "Catalog": {
            "type": "object",
            "required": ["signals"],
            "properties": {"signals": {"type": "array", "items": {"type": "object"}}},
        },
        **{
            f"Signal.{each['name']}": {
                **_value(each["type"]),
                "title": each["name"],
                "description": " ".join(
                    filter(None, [each["doc"], f"Of {', '.join(each['entities'])}."])
                ),
            }
            for each in answers.catalog()
        },
        **{f"Row.{source}": _row(project.schema(source)) for source in project.online.sources},
    }


def _questions(answers: Answers, kinds: Mapping[str, Type]) -> list[dict[str, Any]]:
    """What may be asked, by the entities whose keys it needs and by what arrives with it; one key
    of each, or a list of one of them."""
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], None] = {}
    for name, needs in answers.entities.items():
        groups[tuple(sorted(needs)), tuple(sorted(answers.given.get(name, ())))] = None
    groups[tuple(sorted(kinds)), tuple(sorted(answers.inputs))] = None
    return [
        _question(answers, kinds, entities, given, listed)
        for entities, given in groups
        for listed in (None, *entities)
    ] + [_row_question(answers, kinds, entities, given) for entities, given in groups]


def _row_question(
    answers: Answers, kinds: Mapping[str, Type], entities: Sequence[str], given: Sequence[str]
) -> dict[str, Any]:
    """The same by rows, which have a key for each entity and a value for each input."""
    found = _question(answers, kinds, entities, (), None)
    row = found["properties"].pop("keys")
    found["properties"].pop("inputs", None)
    row["required"] += given
    row["properties"] |= {name: _value(str(answers.inputs[name])) for name in given}
    names = answers.with_keys(entities, given)
    found["properties"]["signals"]["items"]["enum"] = list(names)
    found["properties"]["rows"] = {"type": "array", "items": row, "minItems": 1}
    return {**found, "title": f"Rows of {' and '.join(entities)}", "required": ["rows"]}


def _question(
    answers: Answers,
    kinds: Mapping[str, Type],
    entities: Sequence[str],
    given: Sequence[str],
    listed: str | None,
) -> dict[str, Any]:
    names = answers.with_keys(entities, given)
    keys = {
        entity: {"type": "array", "items": _KEYS[kinds[entity]], "minItems": 1}
        if entity == listed
        else _KEYS[kinds[entity]]
        for entity in entities
    }
    inputs = {
        "type": "object",
        "required": list(given),
        "additionalProperties": False,
        "properties": {name: _value(str(kind)) for name, kind in answers.inputs.items()},
    }
    found = {
        "title": f"Of {' and '.join(entities)}" + (f", many of {listed}" if listed else ""),
        "type": "object",
        "required": ["keys", *(["inputs"] if given else [])],
        "additionalProperties": False,
        "properties": {
            "keys": {
                "type": "object",
                "required": list(entities),
                "additionalProperties": False,
                "properties": keys,
            },
            "signals": {
                "type": ["array", "null"],
                "items": {"type": "string", "enum": list(names)},
                "minItems": 1,
                "uniqueItems": True,
            },
            "purpose": {"anyOf": [_purpose(answers), {"type": "null"}]},
            "at": {"anyOf": [{"type": "integer", **LONGEST}, {"type": "null"}]},
        },
    }
    if answers.inputs:
        found["properties"]["inputs"] = inputs  # type: ignore[index]
    return found


def _told(
    names: Any, moment: Any, values: dict[str, Any], status: dict[str, Any]
) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["signals", "at", "values", "status"],
        "additionalProperties": False,
        "properties": {"signals": names, "at": moment, "values": values, "status": status},
    }


def _value(kind: str) -> dict[str, Any]:
    """The schema of a signal's values."""
    if kind in _TYPES:
        return dict(_TYPES[kind])
    if kind.startswith("list<"):
        return {"type": ["array", "null"]}
    return {"type": ["object", "null"]}


def _row(schema: Mapping[str, Type]) -> dict[str, Any]:
    """The schema of an event: what does not fit it is quarantined, not refused."""
    return {
        "type": "object",
        "properties": {
            name: {"anyOf": [{"type": "string"}, _TYPES[str(kind)]]}
            if kind is Type.TIME
            else dict(_TYPES[str(kind)])
            for name, kind in schema.items()
            if str(kind) in _TYPES
        },
    }
