"""A feed: one source of events as the online store takes it, with the views that are kept of it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b

import pyarrow as pa

from tacit.live.form import Form
from tacit.operations import View
from tacit.values import Type, fingerprint

LONG = 360
"""Bytes of a key's parts together, above which digests stand for long ones: LMDB has 511 a key."""


@dataclass(frozen=True)
class Feed:
    """What the store must know of a source.

    Attributes:
        name: of the source.
        schema: its stored columns.
        time: the column of moments.
        views: what is kept of it, each with its windows.
        content: the tables that views join, whole.
        people: the columns that hold keys of people, by entity.
        keep: how long each signal's rows may be kept, µs; None is for ever.
        baseline: whether a baseline must be there before anything is answered.
        unit: of moments that come as whole numbers; None where it is not said, and is the µs.
        retention: how long its rows may be kept from their time on, µs; None is for ever.
        kept: the same of columns that may be kept shorter than their rows.
    """

    name: str
    schema: Mapping[str, Type]
    time: str
    views: tuple[View, ...]
    content: Mapping[str, pa.Table] = field(default_factory=dict)
    people: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    keep: Mapping[str, int | None] = field(default_factory=dict)
    baseline: bool = False
    unit: str | None = None
    retention: int | None = None
    kept: Mapping[str, int] = field(default_factory=dict)

    @property
    def required(self) -> tuple[str, ...]:
        """The columns without which a row belongs to nobody, where rows are of one person each."""
        people = [column for columns in self.people.values() for column in columns]
        return tuple(people) if len(people) == 1 else ()

    @cached_property
    def forms(self) -> tuple[Form, ...]:
        """The form of each view's rows."""
        people = [column for columns in self.people.values() for column in columns]
        return tuple(
            Form(
                view,
                tuple(self.schema[source] for _, source in view.keys),
                tuple(sorted(set(people) - {source for _, source in view.keys})),
                self.keep,
            )
            for view in self.views
        )

    @cached_property
    def meaning(self) -> str:
        """Of all that a store of this feed depends on."""
        windows = [
            [w.signal, w.hop, w.length, self.keep.get(w.signal)]
            for view in self.views
            for w in view.windows
        ]
        return fingerprint([form.stamp for form in self.forms], windows)


def key_parts(types: Sequence[Type], values: Sequence[object]) -> list[bytes]:
    """The bytes of each part of a key. A digest stands for one that is too long."""
    parts = []
    for kind, value in zip(types, values, strict=True):
        if kind is Type.TEXT:
            assert isinstance(value, str), "checked where it came in"
            raw = value.encode()
        else:
            assert isinstance(value, int), "checked where it came in"
            raw = (value + 2**63).to_bytes(8, "big")
        parts.append(part_bytes(raw, len(types)))
    return parts


def part_bytes(raw: bytes, parts: int) -> bytes:
    """A part of a key of so many: a mark, and the part itself or its digest."""
    if len(raw) > LONG // parts:
        return b"\x01" + blake2b(raw, digest_size=32).digest()
    return b"\x00" + raw


def join_parts(parts: Sequence[bytes]) -> bytes:
    """The bytes of a key: one form for each, so that no two keys share one."""
    if len(parts) == 1:
        return parts[0]
    return b"".join(struct.pack(">H", len(part)) + part for part in parts)


def split_key(key: bytes, parts: int) -> list[bytes]:
    """The parts of a key back."""
    if parts == 1:
        return [key]
    found, at = [], 0
    for _ in range(parts):
        size = struct.unpack_from(">H", key, at)[0]
        found.append(key[at + 2 : at + 2 + size])
        at += 2 + size
    return found


def owner_words(salt: bytes, values: Iterable[object]) -> list[int]:
    """Of each, 64 bits that stand for a person in rows whose key does not name them; never 0."""
    started, found = blake2b(key=salt, digest_size=8), []
    for value in values:
        word = started.copy()
        word.update(f"{type(value).__name__}:{value}".encode())
        found.append(int.from_bytes(word.digest(), "little", signed=True) or 1)
    return found
