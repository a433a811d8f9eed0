"""Entities (what keys identify) and purposes (what data may be used for)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from tacit.declare.arguments import (
    DURATION,
    FLAG,
    NUMBER,
    QUOTAS,
    WORD,
    Takes,
    one_of,
    optional,
)
from tacit.declare.base import Declaration
from tacit.declare.label import Basis

BasisName = Literal[
    "consent",
    "contract",
    "legal_obligation",
    "vital_interest",
    "public_task",
    "legitimate_interest",
]
BASIS = one_of(*Basis)


@dataclass(frozen=True, eq=False, kw_only=True)
class Entity(Declaration):
    """Something with a key: a person, a film, a shop.

    Args:
        person: for people, how their key ties to them: "pseudonymous" or "identified". Left out,
            the entity is a thing, and its key alone says nothing of anybody.
        epoch: for people, the length of the epochs into which their time is cut, such as "30d".
            Left out, only purposes bound what is learned of them.
        epsilon, delta: what everybody together may learn of one person's rows of one epoch.
        quotas: of that, what each team may use: ε by `owner`. Left out, all may use all of it.
    """

    kind: ClassVar[str] = "entity"
    takes: ClassVar[Mapping[str, Takes]] = {
        **Declaration.takes,
        "person": optional(one_of("pseudonymous", "identified")),
        "epoch": optional(DURATION),
        "epsilon": NUMBER,
        "delta": NUMBER,
        "quotas": optional(QUOTAS),
    }

    person: Literal["pseudonymous", "identified"] | None = None
    epoch: str | None = None
    epsilon: float = 0.0
    delta: float = 1e-6
    quotas: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epoch is None:
            if self.epsilon or self.quotas is not None:
                raise self.wrong(
                    "bounds what may be learned of an epoch, and has no epochs",
                    code="T118",
                    fix='give it epochs, as in epoch="30d"',
                )
            return
        quotas = (self.quotas or {}).values()
        possible = self.epsilon > 0 and 1e-300 < self.delta < 0.1
        if not (self.person and possible and all(0 <= each <= self.epsilon for each in quotas)):
            raise self.wrong(
                f"has epochs with an impossible epsilon {self.epsilon}, delta {self.delta}",
                code="T118",
                fix="give a person a finite epsilon above 0, a delta between 0 and 0.1, and quotas"
                " of at most that epsilon",
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class Purpose(Declaration):
    """A reason to use data, the lawful bases it accepts, and the privacy budget it may spend.

    Args:
        use: a fideslang data use, such as "personalize.content".
        basis: the lawful bases under which data must have been gathered to serve this purpose.
        epsilon: privacy budget per device at `delta`, over all releases for this purpose.
        delta: the chance that the budget's promise fails; well below one over the people.
        per_epoch: whether the budget is of each epoch of a person, instead of for ever.
    """

    kind: ClassVar[str] = "purpose"
    takes: ClassVar[Mapping[str, Takes]] = {
        **Declaration.takes,
        "use": WORD,
        "basis": Takes(
            f"one of {', '.join(Basis)}, or a list of them",
            '"consent"',
            lambda value: (
                BASIS.test(value)
                or (isinstance(value, list | tuple) and all(BASIS.test(name) for name in value))
            ),
            "T105",
        ),
        "epsilon": NUMBER,
        "delta": NUMBER,
        "per_epoch": FLAG,
    }

    use: str
    basis: BasisName | tuple[BasisName, ...] | list[BasisName] = ()
    epsilon: float = 0.0
    delta: float = 1e-6
    per_epoch: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.epsilon >= 0.0 and 1e-300 < self.delta < 0.1):
            raise self.wrong(
                f"has an impossible budget of epsilon {self.epsilon}, delta {self.delta}",
                code="T118",
                fix="give a finite epsilon of 0 or more and a delta between 0 and 0.1",
            )

    @property
    def bases(self) -> tuple[str, ...]:
        """The accepted lawful bases, as a tuple."""
        return (self.basis,) if isinstance(self.basis, str) else tuple(self.basis)
