"""Columns: a type, what the values say of people, and whose key they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tacit.aggregates.vectors import MOST
from tacit.declare.arguments import (
    KEEP,
    REGION,
    Takes,
    instance,
    is_printable,
    one_of,
    several,
    short,
)
from tacit.declare.base import here
from tacit.declare.entity import Entity, Purpose
from tacit.errors import DeclarationError
from tacit.values import Type

PlaceName = Literal["device", "enclave", "cloud"]
Names = str | tuple[str, ...] | list[str]
Purposes = tuple[Purpose | str, ...] | list[Purpose | str] | tuple[Purpose, ...] | list[Purpose]

PUBLIC = "public"
"""The category of data that is about nobody: a title, a genre, a price tag."""

ANYWHERE = "anywhere"
"""The region of data that may be kept in any region."""

PLACE = one_of("device", "enclave", "cloud")
PURPOSES = several((Purpose, str), "a list of purposes", "[…]")


@dataclass(frozen=True, slots=True)
class Terms:
    """Stricter terms for one column: purposes, regions, retention; None adds nothing."""

    purposes: Purposes | None
    region: Names | None
    keep: str | None


@dataclass(frozen=True)
class Column:
    """A column: its type, what it says of people, and whose key it is, if it is one.

    `category` is a fideslang data category, or `PUBLIC`; None takes the source's `category`. The
    other labels come from the source, made stricter by every `narrow`. `size` is that of a vector.
    """

    type: Type
    category: str | None
    entity: Entity | None = None
    narrowed: tuple[Terms, ...] = ()
    size: int | None = None

    def narrow(
        self,
        *,
        purposes: Purposes | None = None,
        region: Names | None = None,
        keep: str | None = None,
    ) -> Column:
        """The column under stricter terms than its source; they join, so they can only tighten.

        Raises DeclarationError T101 or T116 for an argument of the wrong kind.
        """
        given = {"purposes": purposes, "region": region, "keep": keep}
        for argument, rule in (("purposes", PURPOSES), ("region", REGION), ("keep", KEEP)):
            value = given[argument]
            if value is not None and not rule.test(value):
                _refuse_column(f"narrow has {argument}=", value, rule, f"write {argument}=")
        listed = None if purposes is None else tuple(purposes)
        places = tuple(region) if isinstance(region, list) else region
        return replace(self, narrowed=(*self.narrowed, Terms(listed, places, keep)))


def _refuse_column(start: str, value: object, rule: Takes, fix: str) -> None:
    raise DeclarationError(
        f"{start}{short(value)}, which is not {rule.what}",
        code=rule.code,
        where=here(),
        fix=f"{fix}{rule.example}",
    )


_CATEGORY = Takes("a fideslang data category", '"user.behavior", or PUBLIC', is_printable)
_ENTITY = instance(Entity, "an Entity", "the entity that the key is of")


def _column(type: Type, category: str | None, entity: Entity | None = None) -> Column:
    if category is not None and not _CATEGORY.test(category):
        _refuse_column("a column is labelled ", category, _CATEGORY, "write ")
    return Column(type, category, entity)


def key(
    entity: Entity, category: str | None = None, type: Literal["text", "int"] = "text"
) -> Column:
    """The key of an entity. Joins to content tables and the grouping of signals follow keys.

    Raises DeclarationError T116 for what is not an entity, T112 for a type that keys do not have:
    floats and moments are measured, and two measures are seldom the same.
    """
    if not _ENTITY.test(entity):
        _refuse_column("a key is of ", entity, _ENTITY, "name ")
    if type not in ("text", "int"):
        raise DeclarationError(
            f"the key has type={short(type)}, which is neither text nor int",
            code="T112",
            where=here(),
            fix='write type="int", or leave it out for text',
        )
    return _column(Type(type), category, entity)


def text(category: str | None = None) -> Column:
    """A column of text."""
    return _column(Type.TEXT, category)


def integer(category: str | None = None) -> Column:
    """A column of 64-bit integers."""
    return _column(Type.INT, category)


def number(category: str | None = None) -> Column:
    """A column of 64-bit floats."""
    return _column(Type.FLOAT, category)


def flag(category: str | None = None) -> Column:
    """A column of true and false."""
    return _column(Type.BOOL, category)


def time(category: str | None = None) -> Column:
    """A column of moments, in microseconds UTC."""
    return _column(Type.TIME, category)


def vector(category: str | None = None, *, size: int) -> Column:
    """A column of embeddings: so many floats of 32 bits. Signals take its `sum`, `mean` and `last`.

    In Arrow and Parquet it is a list of floats, of fixed size or not. A row whose vector is null,
    of another size, or holds a null, a NaN or an infinity counts as one without a value.

    Raises DeclarationError T119 for a size that is not a whole number from 1 to 4096.
    """
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MOST:
        raise DeclarationError(
            f"a vector has size={short(size)}, which is no whole number from 1 to {MOST}",
            code="T119",
            where=here(),
            fix="write size=64, or however many floats an embedding has",
        )
    return replace(_column(Type.VECTOR, category), size=size)
