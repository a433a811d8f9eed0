"""The resources that are served: what each reads, asks and answers."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tacit.errors import ServeError, StoreError
from tacit.serve.answers import Answers
from tacit.serve.asked import Asked
from tacit.serve.encode import FLOAT32, JSON, floats_of
from tacit.serve.messages import Answer, Headers, header
from tacit.serve.metrics import TEXT, Metrics
from tacit.serve.openapi import describe
from tacit.serve.problems import malformed
from tacit.serve.questions import (
    key_of,
    moment_of,
    names_of,
    read_query,
    read_question,
    read_rows,
    wanted,
)

if TYPE_CHECKING:
    from tacit.serve.keys import Caller

LARGE = 8 << 10
"""Bytes of a body above which it is answered in a thread: others are not to wait for it."""
ROWS = 100
"""Rows that may be pushed at once, for each key that may be read."""
_MOST = 4096  # different questions that are kept ready
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,256}")
_LINES = (b"application/x-ndjson", b"application/jsonl")


class Request:
    """What came in: the parts of its path, its query, head and body, and who sent it."""

    __slots__ = ("body", "caller", "headers", "key", "name", "path", "query")

    caller: Caller

    def __init__(self, path: str, query: bytes, headers: Headers) -> None:
        self.path, self.query, self.headers = path, query, headers
        self.name = self.key = ""
        self.body = b""


class Ready:
    """A question that was asked before: its signals ready to be read, for a moment or for now."""

    __slots__ = ("asked", "at", "kind")

    def __init__(self, asked: Asked, entity: str, at: int | None) -> None:
        self.asked, self.at = asked, at
        self.kind = asked.entities[entity]


class Resources:
    """What is answered to each request. Raises ServeError T840 to T856, and what the store does."""

    def __init__(self, answers: Answers, batch: int, metrics: Metrics) -> None:
        self.answers = answers
        self.project = answers.project
        self.online = answers.project.online
        self.batch = batch
        self.metered = metrics
        self.kinds = answers.key_types()
        self.remote = answers.project.settings.online.redis is not None
        self._ready: dict[tuple[str, bytes, frozenset[str]], Ready] = {}
        self._preparing = threading.Lock()
        self._accepted: dict[bytes | None, bytes] = {None: JSON}
        self._description = msgspec.json.encode(describe(answers, batch))

    # ------------------------------------------------------------------ reads

    def read(self, request: Request) -> Answer:
        """`GET /v1/features/{entity}/{key}`: the signals of one key."""
        form = self.form(request.headers)
        known = (request.name, request.query, request.caller.purposes)
        ready = self._ready.get(known)
        if ready is None:
            ready = self._prepare(request)
            with self._preparing:  # several threads may come here at once
                if len(self._ready) >= _MOST:
                    self._ready.pop(next(iter(self._ready)))
                self._ready[known] = ready
        key = key_of(request.key, ready.kind, request.name)
        return self._one(ready.asked, {request.name: key}, ready.at, form)

    def again(self, entity: str, key: str, query: bytes, caller: Caller) -> bytes | None:
        """JSON of one key, now, for a question that was asked before; None for another."""
        ready = self._ready.get((entity, query, caller.purposes))
        if ready is None or ready.at is not None or not key:
            return None
        asked, known = ready.asked, key_of(key, ready.kind, entity)
        body = asked.remembered(known, self.answers.project.now()) or asked.json({entity: known})
        self.metered.values += len(asked.signals)
        return body

    def _prepare(self, request: Request) -> Ready:
        entity, given = request.name, read_query(request.query)
        of = self.answers.of(entity)
        names = names_of(given.get("signals")) or of
        asked = self.answers.ask(names, self._purpose(given.get("purpose"), request.caller))
        if set(asked.entities) != {entity} or asked.given:
            raise malformed(
                f"the signals need {', '.join([*asked.entities, *asked.given])}",
                "query.signals",
                f"ask for signals of {entity} alone, or POST keys and inputs to /v1/features",
            )
        return Ready(asked, entity, moment_of(given.get("at")))

    def ask(self, request: Request) -> Answer:
        """`POST /v1/features`: the signals of one set of keys, or of many."""
        form = self.form(request.headers)
        self._content(request.headers, (JSON,))
        read_query(request.query, ())
        given = read_question(request.body)
        want = wanted(given, self.kinds, self.answers.inputs, self.batch)
        purpose = self._purpose(given.purpose, request.caller)
        names = given.signals
        if names is None:
            names = list(self.answers.with_keys(want.keys, want.inputs))
        asked = self.answers.ask(names, purpose)
        at = int(given.at) if given.at is not None else None
        if want.many is None:
            return self._one(asked, want.keys, at, form, want.inputs)
        self.metered.values += want.many * len(asked.signals)
        if at is None and form == JSON and not asked.given:
            return self._sent(form, asked.json_all(want.keys, want.many))
        moment = self.project.now() if at is None else at
        table = asked.many(want.keys, moment, want.inputs)
        if form == FLOAT32:
            return self._sent(form, asked.encode.packed(table.floats(), table.status, moment))
        return self._sent(form, asked.encode.many(table, moment))

    def _one(
        self,
        asked: Asked,
        keys: Mapping[str, Any],
        at: int | None,
        form: bytes,
        given: Mapping[str, Any] | None = None,
    ) -> Answer:
        self.metered.values += len(asked.signals)
        if at is None and not asked.given:
            return self._sent(form, asked.json(keys) if form == JSON else asked.packed(keys))
        at = self.project.now() if at is None else at
        values, status = asked.one(keys, at, given)
        if form == FLOAT32:
            told = np.array([status], np.uint8)
            return self._sent(form, asked.encode.packed(floats_of(values), told, at))
        return self._sent(form, asked.encode.one(values, status, at))

    def _sent(self, form: bytes, body: bytes) -> Answer:
        return Answer(200, [(b"content-type", form), (b"cache-control", b"no-store")], body)

    def _purpose(self, given: str | None, caller: Caller) -> str:
        if given is None and len(caller.purposes) == 1:
            return next(iter(caller.purposes))
        mine = ", ".join(sorted(caller.purposes)) or "none"
        if given is None:
            raise malformed("the purpose is not said", "purpose", f"name one of yours: {mine}")
        if given not in caller.purposes:
            raise ServeError(
                f"the purpose {given[:80]!r} is not one that the caller may read for",
                code="T843",
                where="purpose",
                fix=f"name one of yours: {mine}",
            )
        return given

    def form(self, headers: Headers) -> bytes:
        """The media type of the answer. Raises ServeError T852 where none is acceptable."""
        given = header(headers, b"accept")
        found = self._accepted.get(given)
        if found is None:
            assert given is not None, "no header is known"
            found = _acceptable(given)
            if len(self._accepted) < 256:
                self._accepted[given] = found
        return found

    def _content(self, headers: Headers, known: Sequence[bytes]) -> bytes:
        """The media type of the body. Raises ServeError T853."""
        given = (header(headers, b"content-type") or b"").partition(b";")[0].strip().lower()
        if given not in known:
            raise ServeError(
                "the body is of a type that the resource does not take",
                code="T853",
                where="content-type",
                fix="send " + b" or ".join(known).decode(),
            )
        return given

    def is_large(self, request: Request) -> bool:
        """Whether others are not to wait while it is answered."""
        return len(request.body) > LARGE

    # ------------------------------------------------------------------ events in

    def push(self, request: Request) -> Answer:
        """`POST /v1/events/{source}`: on the disk, and counted once, when it is answered."""
        source, caller = request.name, request.caller
        if source not in caller.sources:
            mine = ", ".join(sorted(caller.sources)) or "none"
            raise ServeError(
                f"{source[:80]!r} is not a source that the caller may push to",
                code="T856",
                where="source",
                fix=f"push to one of yours: {mine}",
            )
        kind = self._content(request.headers, (JSON, *_LINES))
        given = read_query(request.query, ("ids",))
        batch = (header(request.headers, b"idempotency-key") or b"").decode("latin-1")
        batch = batch.strip().strip('"')
        named = _NAME.fullmatch(batch) is not None
        if ("ids" in given) == bool(batch) or (batch and not named):
            raise ServeError(
                "nothing tells this push from the next"
                if not batch
                else ("the push has two names" if named else "the push's name is none"),
                code="T855",
                where="idempotency-key",
                fix="send Idempotency-Key with an id of the push, 1 to 256 of A-Z a-z 0-9 _.:-"
                " or ?ids= with the field that identifies each event; not both",
            )
        rows = read_rows(request.body, kind in _LINES, self.batch * ROWS)
        ids = _ids(rows, given["ids"]) if "ids" in given else None
        receipt = self.online.push(
            source,
            rows,
            now=self.project.now(),
            ids=ids,
            batch=f"{caller.name}:{batch}" if batch else None,
        )
        told = {
            "accepted": receipt.accepted,
            "duplicates": receipt.duplicates,
            "late": receipt.late,
            "quarantined": receipt.quarantined,
        }
        self.metered.took(source, told)
        body = msgspec.json.encode({**told, "parked": receipt.parked})
        return Answer(200, [(b"content-type", JSON)], body)

    # ------------------------------------------------------------------ about itself

    def signals(self, request: Request) -> Answer:
        """`GET /v1/signals`: what there is, and for which of the caller's purposes."""
        read_query(request.query, ())
        mine = sorted(request.caller.purposes)
        allowed = self.answers.decisions.allowed
        told = [
            {**each, "purposes": [p for p in mine if each["name"] in allowed.get(p, ())]}
            for each in self.answers.catalog()
        ]
        released = self.answers.standing(mine)
        for each in told:
            if each["name"] in released:
                each["released"] = released[each["name"]]
        return Answer(200, [(b"content-type", JSON)], msgspec.json.encode({"signals": told}))

    def description(self, request: Request) -> Answer:
        """`GET /openapi.json`: OpenAPI 3.1, of the project's own signals."""
        return Answer(200, [(b"content-type", JSON)], self._description)

    def metrics(self, request: Request) -> Answer:
        """`GET /metrics`: Prometheus' text. What the server counts is told also while its store is
        away, when it is looked at most."""
        now, there = self.project.now(), True
        ages: dict[str, float] = {}
        released: dict[tuple[str, str], float] = {}
        try:
            for name in self.online.sources:
                progress = self.online.standing(name).progress
                if progress > -(2**63):
                    ages[name] = max(0.0, (now - progress) / 1e6)
            for metric, each in self.answers.standing(self.answers.decisions.allowed).items():
                for purpose, stands in each.items():
                    released[metric, purpose] = max(0.0, (now - stands["at"]) / 1e6)
        except StoreError:
            there = False
        return Answer(200, [(b"content-type", TEXT)], self.metered.text(ages, released, there))

    def alive(self, request: Request) -> Answer:
        """`GET /healthz`: the process answers."""
        return Answer(200, [(b"content-type", JSON)], b'{"alive":true}')

    def ready(self, request: Request) -> Answer:
        """`GET /readyz`: the store can be read. Raises StoreError T722 where it cannot."""
        for name in self.online.sources:
            self.online.standing(name)
        return Answer(200, [(b"content-type", JSON)], b'{"ready":true}')


def _ids(rows: Sequence[Any], field: str) -> list[Any]:
    """What identifies each row. Raises ServeError T840 for a row that has nothing to."""
    found = [row.get(field) if isinstance(row, dict) else None for row in rows]
    for place, each in enumerate(found):
        if not isinstance(each, str | int) or isinstance(each, bool):
            raise malformed(
                "a row has no id, so that it could be counted twice",
                f"$[{place}]",
                "give each row the field that ?ids= names, as text or a whole number",
            )
    return found


def _acceptable(given: bytes) -> bytes:
    """The first type of ours that an Accept header takes (RFC 9110 §12.5.1, by its weights)."""
    ranges = []
    for place, part in enumerate(given.lower().split(b",")):
        name, *options = (each.strip() for each in part.split(b";"))
        weight = next((each[2:] for each in options if each.startswith(b"q=")), b"1")
        try:
            ranges.append((-float(weight), place, name))
        except ValueError:
            continue
    for worth, _, name in sorted(ranges):
        if not worth:
            continue
        if name in (JSON, b"*/*", b"application/*"):
            return JSON
        if name == FLOAT32:
            return FLOAT32
    raise ServeError(
        "the answer has no representation that is acceptable",
        code="T852",
        where="accept",
        fix=f"accept {JSON.decode()} or {FLOAT32.decode()}",
    )
