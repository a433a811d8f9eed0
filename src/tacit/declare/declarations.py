"""All declarations of one project, under their names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from tacit.declare.arguments import NAME, short
from tacit.declare.base import Declaration
from tacit.declare.entity import Entity, Purpose
from tacit.errors import DeclarationError, Refused

D = TypeVar("D", bound=Declaration)

_TAKEN = re.compile(r"at|row|[ck]\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Declarations:
    """An immutable set of named declarations; `collect` makes it.

    Attributes:
        named: name → declaration, in the order of declaration.
    """

    named: Mapping[str, Declaration]
    _names: Mapping[int, str]

    def __iter__(self) -> Iterator[tuple[str, Declaration]]:
        return iter(self.named.items())

    def of(self, kind: type[D]) -> dict[str, D]:
        """The declarations of one kind."""
        return {name: d for name, d in self.named.items() if isinstance(d, kind)}

    def wrong(self, user: Declaration, message: str, *, code: str, fix: str) -> DeclarationError:
        """An error of a declaration, under the name that it has in the project."""
        return user.wrong(message, code=code, fix=fix, name=self._names.get(id(user)))

    def name(self, declaration: Declaration, user: Declaration) -> str:
        """The name of a declaration that `user` refers to.

        Raises DeclarationError T103 when it is not part of the project.
        """
        name = self._names.get(id(declaration))
        if name is None:
            raise self.wrong(
                user,
                f"refers to a {declaration.kind} (made at {declaration.where}) that the project"
                " does not name",
                code="T103",
                fix=f"bind the {declaration.kind} to a variable of the project's module",
            )
        return name

    def purposes(self, given: Iterable[Purpose | str] | None, user: Declaration) -> frozenset[str]:
        """The names of purposes given as objects or names. Raises T103 for one nobody declared."""
        names = []
        for purpose in given or ():
            name = purpose if isinstance(purpose, str) else self.name(purpose, user)
            if not isinstance(self.named.get(name), Purpose):
                close = difflib.get_close_matches(name, self.of(Purpose), 1)
                hint = f"did you mean {close[0]!r}?" if close else "declare it with Purpose(…)"
                raise self.wrong(
                    user, f"is for a purpose {name!r} that nobody declared", code="T103", fix=hint
                )
            names.append(name)
        return frozenset(names)


def collect(namespace: Mapping[str, object]) -> Declarations:
    """The declarations bound in a namespace, also those in its lists, tuples and dicts.

    A declaration is named by its `name`, else by the variable; one within a dict by its key, one
    within a list by the variable and its position. What is bound to a variable that begins with an
    underscore is not collected. Raises Refused with every T102 (a name used twice, or taken) and
    T116 (a name that is none).
    """
    found: dict[int, tuple[str, Declaration]] = {}
    for variable, value in namespace.items():
        if not variable.startswith("_"):
            for name, declaration in _named(variable, value):
                found.setdefault(id(declaration), (name, declaration))
    ordered = sorted(found.values(), key=lambda pair: _line(pair[1]))
    named: dict[str, Declaration] = {}
    folded: dict[tuple[str, str], str] = {}
    errors: list[DeclarationError] = []
    for name, declaration in ordered:
        errors += _check_name(name, declaration, named, folded)
        named.setdefault(name, declaration)
    if errors:
        raise Refused(errors)
    names = {key: name for key, (name, _) in found.items()}
    return Declarations(MappingProxyType(named), MappingProxyType(names))


def _check_name(
    name: str,
    declaration: Declaration,
    named: Mapping[str, Declaration],
    folded: dict[tuple[str, str], str],
) -> Iterator[DeclarationError]:
    """Engines name tables and columns so; what they would confuse is refused."""
    if not NAME.test(name):
        message = f"is called {short(name)}, which is not {NAME.what}"
        yield declaration.wrong(message, code="T116", fix="give it name=…, or another key")
    kind = "source" if declaration.kind in ("events", "table") else declaration.kind
    same = folded.setdefault((kind, name.casefold()), name)
    if name in named:
        message = f"is called {name!r}, as the {named[name].kind} at {named[name].where} is"
        yield declaration.wrong(message, code="T102", fix="give it another name")
    elif same != name:
        message = f"is called {name!r}, which engines read as {same!r} ({named[same].where})"
        yield declaration.wrong(message, code="T102", fix="give it another name")
    if isinstance(declaration, Entity) and _TAKEN.fullmatch(name):
        message = f"is called {name!r}, which engines use for columns of their own"
        yield declaration.wrong(message, code="T102", fix="give it another name")


def _line(declaration: Declaration) -> tuple[str, int]:
    file, _, line = declaration.where.rpartition(":")
    return file, int(line)


def _named(variable: str, value: object) -> Iterator[tuple[str, Declaration]]:
    if isinstance(value, Declaration):
        yield value.name or variable, value
    elif isinstance(value, Mapping):
        for key, member in value.items():
            if isinstance(member, Declaration):
                yield member.name or str(key), member
    elif isinstance(value, list | tuple):
        for index, member in enumerate(value):
            if isinstance(member, Declaration):
                yield member.name or f"{variable}_{index}", member
