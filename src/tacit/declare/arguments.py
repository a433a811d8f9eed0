"""What each argument of a declaration may be, so that a slip is told where it was made.

Every declaration lists its arguments in `takes`; `Declaration` holds each against its rule as it is
made, in the user's own line. No later room then meets a number where it wants text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from tacit.errors import DeclarationError
from tacit.values import canonical_json, duration

_NAME = re.compile(r"\w[\w-]*")


@dataclass(frozen=True, slots=True)
class Takes:
    """A rule for one argument: what it is, an example to copy, and the test.

    Attributes:
        what: completes "… is not".
        example: how it is written, as in `window="30d"`.
        argument: its name for the user, where that is not the attribute's.
    """

    what: str
    example: str
    test: Callable[[Any], bool]
    code: str = "T116"
    argument: str | None = None


def optional(rule: Takes) -> Takes:
    """The rule, or None."""
    test = rule.test
    return Takes(rule.what, rule.example, lambda v: v is None or test(v), rule.code, rule.argument)


def instance(kind: type | tuple[type, ...], what: str, example: str) -> Takes:
    """An object of a kind."""
    return Takes(what, example, lambda value: isinstance(value, kind))


def one_of(*choices: str) -> Takes:
    """One of some words: T105 for another."""
    listed = " or ".join(f'"{choice}"' for choice in choices)
    return Takes(
        f"one of {', '.join(choices)}",
        listed,
        lambda value: isinstance(value, str) and value in choices,
        "T105",
    )


def several(kind: type | tuple[type, ...], what: str, example: str) -> Takes:
    """A list or tuple of objects of a kind."""
    return Takes(what, example, lambda value: _listed(value, kind))


def _listed(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(member, kind) for member in value)


def is_number(value: object) -> bool:
    """A finite int or float; True and False are not numbers here."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int past the largest double
        return False


def is_name(value: object) -> bool:
    """What a declaration, and nothing made from one, may be called: letters, digits, _ and -."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def is_printable(value: object) -> bool:
    """Text that is not empty, with no control characters and nothing that engines do not store."""
    return isinstance(value, str) and value != "" and value.isprintable()


@lru_cache(maxsize=4096)
def _is_duration(value: str) -> bool:
    try:
        duration(value)
    except (DeclarationError, ValueError):  # Python reads no int of thousands of digits
        return False
    return True


def _is_keep(value: object) -> bool:
    return isinstance(value, str) and (value == "ever" or _is_duration(value))


def _is_region(value: object) -> bool:
    if isinstance(value, str):
        return is_printable(value)
    return bool(value) and _listed(value, str) and all(map(is_printable, value))  # type: ignore[call-overload]


def _is_words(value: object) -> bool:
    return isinstance(value, str) or _listed(value, str)


def _is_data(value: object) -> bool:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        return False
    try:
        canonical_json(dict(value))
    except (TypeError, ValueError):
        return False
    return True


SENTENCE = instance(str, "a sentence that says what it is", '"…", before every other argument')
NAME = Takes("a name of letters, digits, _ and -", '"plays_7d"', is_name)
WORD = Takes("a word", '"…"', is_printable)
SQL = instance(str, "SQL in a string", '"price * 2"')
DURATION = Takes(
    "a duration of more than nothing",
    '"90s", "5m", "1h", "30d" or "2w"',
    lambda value: isinstance(value, str) and _is_duration(value),
    "T101",
)
KEEP = Takes("a duration, nor ever", '"400d", or "ever"', _is_keep, "T101")
REGION = Takes("a region or a list of regions", '"eu" or ["eu", "us"]', _is_region)
WORDS = Takes("a fideslang category or a list of them", '["user.location.precise"]', _is_words)
NUMBER = Takes("a finite number", "4.0", is_number)
COUNT = Takes("a whole number", "100", lambda v: isinstance(v, int) and not isinstance(v, bool))
FLAG = instance(bool, "True or False", "True")
QUOTAS = Takes(
    "a mapping from teams to numbers",
    '{"growth": 2.0}',
    lambda v: (
        isinstance(v, Mapping) and all(map(is_printable, v)) and all(map(is_number, v.values()))
    ),
)
OPTIONS = Takes("a mapping from names to JSON values", '{"rank": 64}', _is_data)


def frozen(value: object) -> object:
    """The value where nobody can change it: lists as tuples, mappings read-only, in depth."""
    if isinstance(value, Mapping):
        return MappingProxyType({name: frozen(member) for name, member in value.items()})
    return tuple(frozen(member) for member in value) if isinstance(value, list | tuple) else value


def plain(value: Any) -> Any:
    """`frozen` undone: dicts and lists, as JSON wants them."""
    if isinstance(value, Mapping):
        return {name: plain(member) for name, member in value.items()}
    return [plain(member) for member in value] if isinstance(value, list | tuple) else value


def short(value: object) -> str:
    """A value as an error quotes it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
