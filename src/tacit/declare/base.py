"""What all declarations share: a sentence, a name, and the line of the user's file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

from tacit.declare.arguments import NAME, SENTENCE, WORD, Takes, frozen, optional, short
from tacit.errors import DeclarationError


def here() -> str:
    """`file:line` of the nearest caller outside this room: where the declaration was written."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _inside(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _inside(module: str) -> bool:
    return module.startswith("tacit.declare.") or module == "dataclasses"


@dataclass(frozen=True, eq=False)
class Declaration:
    """Base of everything a project declares. Immutable; two are the same only if they are one.

    Attributes:
        doc: one sentence for the people who read the catalog.
        name: taken from the variable it is bound to, unless given.
        owner: the team to ask.
        where: `file:line`, found by itself.
    """

    kind: ClassVar[str] = "declaration"
    takes: ClassVar[Mapping[str, Takes]] = {
        "doc": SENTENCE,
        "name": optional(NAME),
        "owner": optional(WORD),
    }

    doc: str = ""
    _: KW_ONLY
    name: str | None = None
    owner: str | None = None
    where: str = field(init=False, repr=False, default="")

    def __post_init__(self) -> None:
        """Holds every argument against its rule. Raises DeclarationError T101, T105 or T116."""
        object.__setattr__(self, "where", here())
        for attribute, rule in self.takes.items():
            value = getattr(self, attribute)
            if not rule.test(value):
                argument = rule.argument or attribute
                raise self.wrong(
                    f"has {argument}={short(value)}, which is not {rule.what}",
                    code=rule.code,
                    fix=f"write {argument}={rule.example}",
                )
            if isinstance(value, list | Mapping):
                object.__setattr__(self, attribute, frozen(value))

    def wrong(
        self, message: str, *, code: str, fix: str, name: str | None = None
    ) -> DeclarationError:
        """An error of this declaration, at its place in the user's file."""
        called = name or self.name
        title = f"{self.kind} {called!r}" if isinstance(called, str) else self.kind
        return DeclarationError(f"{title} {message}", code=code, where=self.where, fix=fix)
