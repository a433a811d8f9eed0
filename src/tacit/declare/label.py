"""Labels: what may be done with a piece of data, and how the labels of joined data combine.

A label travels with every column of a plan. Joining two pieces of data joins their labels to the
stricter of the two in every dimension, so a label can only tighten on its way; the one thing that
loosens it is a declared `Release`. The set of labels is a join-semilattice: `join` is associative,
commutative and idempotent, and `PUBLIC_LABEL` is its least element (Denning, "A lattice model of
secure information flow", 1976, §3).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import lru_cache


class Place(IntEnum):
    """Where data may be, the most confined first: what may be in the cloud may be anywhere."""

    DEVICE = 0
    ENCLAVE = 1
    CLOUD = 2

    def __str__(self) -> str:
        return self.name.lower()


class Linkability(IntEnum):
    """How closely data can be tied to a person (ISO/IEC 20889 terms, least first)."""

    PUBLIC = 0
    AGGREGATE = 1
    PSEUDONYMOUS = 2
    IDENTIFIED = 3

    def __str__(self) -> str:
        return self.name.lower()


class Basis(StrEnum):
    """The lawful bases of processing: GDPR Art. 6(1)(a) to (f)."""

    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal_obligation"
    VITAL_INTEREST = "vital_interest"
    PUBLIC_TASK = "public_task"
    LEGITIMATE_INTEREST = "legitimate_interest"


@dataclass(frozen=True, slots=True)
class Label:
    """What may be done with data. For `purposes`, `regions` and `retention`, None is "any".

    Attributes:
        place: the widest place where the data may be.
        subjects: entities whose people the data is about.
        categories: fideslang data categories.
        purposes: names of the purposes it may serve.
        bases: the lawful bases it was gathered on; a use must accept every one of them.
        regions: regions where it may be kept.
        retention: microseconds that it may be kept.
        linkability: how closely it can be tied to a person.
        releases: releases it came through; their claims are its privacy loss.
    """

    place: Place
    subjects: frozenset[str]
    categories: frozenset[str]
    purposes: frozenset[str] | None
    bases: frozenset[Basis]
    regions: frozenset[str] | None
    retention: int | None
    linkability: Linkability
    releases: frozenset[str] = frozenset()

    def join(self, other: Label) -> Label:
        """The label of data made from both: the stricter in every dimension."""
        return self if self is other else _join(self, other)


PUBLIC_LABEL = Label(
    place=Place.CLOUD,
    subjects=frozenset(),
    categories=frozenset(),
    purposes=None,
    bases=frozenset(),
    regions=None,
    retention=None,
    linkability=Linkability.PUBLIC,
)


@lru_cache(maxsize=65_536)
def _join(a: Label, b: Label) -> Label:
    return Label(
        place=min(a.place, b.place),
        subjects=a.subjects | b.subjects,
        categories=a.categories | b.categories,
        purposes=both(a.purposes, b.purposes),
        bases=a.bases | b.bases,
        regions=both(a.regions, b.regions),
        retention=shortest(a.retention, b.retention),
        linkability=max(a.linkability, b.linkability),
        releases=a.releases | b.releases,
    )


def both(a: frozenset[str] | None, b: frozenset[str] | None) -> frozenset[str] | None:
    """Intersection, where None is the set of everything."""
    if a is None:
        return b
    return a if b is None else a & b


def shortest(a: int | None, b: int | None) -> int | None:
    """The shorter of two times, where None is for ever."""
    if a is None:
        return b
    return a if b is None else min(a, b)
