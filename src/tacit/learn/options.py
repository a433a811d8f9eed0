"""Options of a declaration against their stated defaults and ranges."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tacit.errors import DeclarationError


@dataclass(frozen=True, slots=True)
class Option:
    """A setting: its default, its range, and whether it is a whole number."""

    default: float | None
    least: float
    most: float
    whole: bool = False


def read_options(
    options: Mapping[str, Any], known: Mapping[str, Option], where: str
) -> dict[str, Any]:
    """Every known option's value: given, or its default.

    Raises DeclarationError T117 for an unknown one, T118 for a value out of its range.
    """
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            raise DeclarationError(
                f"there is no option {name!r}",
                code="T117",
                where=where,
                fix=f"did you mean {close[0]!r}?" if close else f"use {', '.join(sorted(known))}",
            )
    return {
        name: _checked(name, options[name], option, where) if name in options else option.default
        for name, option in known.items()
    }


def _checked(name: str, value: Any, option: Option, where: str) -> Any:
    right = isinstance(value, int if option.whole else int | float) and not isinstance(value, bool)
    if right and option.least <= value <= option.most:
        return value
    kind = "whole number" if option.whole else "number"
    raise DeclarationError(
        f"option {name!r} is {value!r}",
        code="T118",
        where=where,
        fix=f"give a {kind} from {option.least:g} to {option.most:g}",
    )
