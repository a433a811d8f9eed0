"""What a purpose reads by Redis's keys: `ENTITY:ID`, or `ENTITY,ENTITY:[ID,ID]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tacit.errors import ServeError
from tacit.live.values import Status, Values
from tacit.serve.answers import Answers
from tacit.serve.kept import Entry, Shelf
from tacit.serve.resp_frames import bulk, rest_of
from tacit.values import Type

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[str | int]).decode


class View:
    """The signals of some entities that a purpose may see.

    Args:
        entities: whose keys they need, in order.
        shelf: keeps replies by the key as a request has it (`resp_frames.rest_of`).
    """

    def __init__(
        self, answers: Answers, entities: Sequence[str], purpose: str, shelf: Shelf
    ) -> None:
        self.entities = tuple(entities)
        # What is over inputs of a request is not told here: Redis's commands have none.
        names = [
            name
            for name, needs in answers.entities.items()
            if needs == self.entities and not answers.given.get(name)
        ]
        allowed = answers.decisions.row(purpose, names)
        self.names = [name for name, may in zip(names, allowed, strict=True) if may]
        if not self.names:
            raise ServeError(
                f"the purpose may see nothing of {','.join(entities)}",
                code="T863",
                where="key",
                fix="ask for another purpose, or of other entities",
            )
        self.asked = answers.ask(self.names, purpose)
        self._shelf = shelf
        self.types = [self.asked.entities[entity] for entity in self.entities]
        self.fields = {name.encode(): i for i, name in enumerate(self.names)}
        self.statuses = {f"{name}:status".encode(): i for i, name in enumerate(self.names)}
        self.now = answers.project.now

    def get(self, key: bytes) -> bytes | None:
        """All of a key as a bulk string of JSON; None where nothing is known of it."""
        return self.get_all([key])[0]

    def get_all(self, several: Sequence[bytes]) -> list[bytes | None]:
        """The same of several; those that were not made before are read together."""
        at = self.now()

        def some(places: Sequence[int]) -> dict[str, list[Any]]:
            keys = [self.keys(_parts(several[i])[1]) for i in places]
            return {name: [key[name] for key in keys] for name in self.entities}

        known = list(map(rest_of, several))
        entries = self.asked.entries(self._shelf, known, some, at, self._make)
        return [_told(entry, at) for entry in entries]

    def read(self, ids: bytes) -> Values:
        """The values of a key, as they are."""
        return self.asked.one(self.keys(ids), self.now())

    def keys(self, ids: bytes) -> dict[str, Any]:
        """The ids of a key, by entity. Raises ServeError T864 for what are none."""
        try:
            if len(self.entities) == 1:
                text = ids.decode()
                return {self.entities[0]: text if self.types[0] is Type.TEXT else _int(text)}
            found = _decode(ids)
            if len(found) == len(self.entities):
                return dict(zip(self.entities, found, strict=True))
        except (ValueError, msgspec.DecodeError):
            pass
        kinds = " and ".join(str(kind) for kind in self.types)
        raise _no_key(f"a key of {','.join(self.entities)} does not end in {kinds}")

    def _make(
        self, values: Sequence[Any], status: Sequence[int], ages: Mapping[int, int]
    ) -> tuple[bytes, bytes]:
        """JSON to be filled; or a bulk string as it is, where nothing in it ages."""
        if _unknown(status):
            return b"", b""
        text = self.asked.encode.row(values, ages, self.names)
        return (text, b"") if ages else (b"", bulk(text))


def _told(entry: Entry, at: int) -> bytes | None:
    if entry.rest:
        return entry.rest
    return bulk(entry.told(at)) if entry.text else None


def _parts(key: bytes) -> tuple[bytes, bytes]:
    """The entities, and the ids."""
    name, colon, ids = key.partition(b":")
    if not colon:
        raise _no_key("a key names no id")
    return name, ids


def _no_key(what: str) -> ServeError:
    return ServeError(
        what,
        code="T864",
        where="key",
        fix="write ENTITY:ID, or of several entities ENTITY,ENTITY:[ID,ID] in JSON",
    )


def _unknown(status: Sequence[int]) -> bool:
    return all(each in (Status.MISSING, Status.DENIED) for each in status)


def _int(text: str) -> int:
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20):
        raise ValueError(text)
    return int(text)


def _written(value: Any) -> bytes | None:
    """A value by itself: text as it is, all else as JSON has it."""
    if value is None:
        return None
    return value.encode() if isinstance(value, str) else _encode(value)


class Views:
    """All that a purpose reads; `get` and the rest take whole keys.

    Attributes:
        shelf: replies to GETs that are kept, each by the `rest_of` its key; a `rest` that is not
            empty is the whole reply.
        moment, now: the store's moment, and the present one.
    """

    def __init__(self, answers: Answers, purpose: str) -> None:
        self.answers, self.purpose = answers, purpose
        self.shelf = answers.kept.shelf()
        self.moment = answers.project.online.backend.moment
        self.now = answers.project.now
        self._views: dict[bytes, View] = {}
        self._known = {",".join(each).encode(): each for each in answers.entities.values()}

    def get(self, key: bytes) -> bytes | None:
        """See `View.get`. Raises ServeError T842 for an entity that nothing is of, T863, T864."""
        return self._view(_parts(key)[0]).get(key)

    def get_all(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `View.get_all`."""
        places: dict[bytes, list[int]] = {}
        for i, key in enumerate(keys):
            places.setdefault(_parts(key)[0], []).append(i)
        if len(places) == 1:
            return self._view(next(iter(places))).get_all(keys)
        found: list[bytes | None] = [None] * len(keys)
        for name, several in places.items():
            each = self._view(name).get_all([keys[i] for i in several])
            for i, value in zip(several, each, strict=True):
                found[i] = value
        return found

    def fields(self, key: bytes, names: Sequence[bytes]) -> list[bytes | None]:
        """Values, or statuses, of a key by their names; None for what has none, or is not there."""
        name, ids = _parts(key)
        view = self._view(name)
        read = view.read(ids)
        values = view.asked.encode.plain(read.values)
        found: list[bytes | None] = []
        for each in names:
            if each in view.fields:
                found.append(_written(values[view.fields[each]]))
            elif each in view.statuses:
                found.append(Status(read.status[view.statuses[each]]).name.lower().encode())
            else:
                found.append(None)
        return found

    def whole(self, key: bytes) -> Mapping[bytes, bytes]:
        """All values that a key has, by name."""
        name, ids = _parts(key)
        view = self._view(name)
        read = view.read(ids)
        if _unknown(read.status):
            return {}
        values = view.asked.encode.plain(read.values)
        written = ((n, _written(v)) for n, v in zip(view.fields, values, strict=True))
        return {n: v for n, v in written if v is not None}

    def _view(self, name: bytes) -> View:
        found = self._views.get(name)
        if found is None:
            entities = self._known.get(name)
            if entities is None:
                raise ServeError(
                    "the key names no entity that something served is of",
                    code="T842",
                    where="key",
                    fix="write ENTITY:ID with one of "
                    + ", ".join(sorted(each.decode() for each in self._known)),
                )
            found = self._views[name] = View(self.answers, entities, self.purpose, self.shelf)
        return found
