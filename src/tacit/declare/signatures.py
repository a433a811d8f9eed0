"""The methods by which events are made into signals: one for each aggregate, from its own words.

An aggregate's class says its name, its argument, whether it takes a value, and its sentence; what
all methods share stands once, in `OPTIONS`. `signal_method` makes the method that runs; `stub`
writes the file `methods.pyi`, by which editors and type checkers know the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import Parameter, Signature
from typing import Any

from tacit.aggregates.algebra import AGGREGATES, Aggregate
from tacit.declare.signal import Signal

_EMPTY = Parameter.empty

OPTIONS: tuple[tuple[str, str, Any], ...] = (
    ("by", "str | None", None),
    ("where", "str | None", None),
    ("hop", "str | None", None),
    ("per", "Entity | tuple[Entity, ...] | list[Entity] | None", None),
    ("doc", "str", ""),
    ("name", "str | None", None),
    ("owner", "str | None", None),
)
"""What every signal method takes by name: the name, its type as it is written, its default."""

_ATTRIBUTES = {"where": "filter"}  # of a Signal, where they are not called as the option is
METHODS = tuple(made for made in AGGREGATES if made.over is None)


def signature_of(aggregate: type[Aggregate[Any]]) -> Signature:
    """The signature of an aggregate's method."""

    def at(name: str, kind: str, default: Any = _EMPTY) -> Parameter:
        return Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind)

    def named(name: str, kind: str, default: Any) -> Parameter:
        return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)

    optional = None in aggregate.inputs
    parameters = [Parameter("self", Parameter.POSITIONAL_ONLY)]
    if not optional:
        parameters.append(at("value", "str"))
    if aggregate.argument is not None:
        parameters.append(at(aggregate.argument.name, aggregate.argument.kind))
    parameters.append(at("window", "str | None", None))
    if optional:
        parameters.append(named("value", "str | None", None))
    parameters += [named(*option) for option in OPTIONS]
    return Signature(parameters, return_annotation="Signal")


def signal_method(aggregate: type[Aggregate[Any]]) -> Callable[..., Signal]:
    """The method of an aggregate: what it is given becomes a `Signal` over its events."""
    signature = signature_of(aggregate)
    name, argument = aggregate.key, aggregate.argument

    def method(*given: Any, **options: Any) -> Signal:
        try:
            bound = signature.bind(*given, **options)
        except TypeError as error:
            raise TypeError(f"{name}() has {error}") from None
        bound.apply_defaults()
        found = bound.arguments
        key = name if argument is None else f"{name}({_text(found.pop(argument.name))})"
        per = found.pop("per")
        entities: Any = per if isinstance(per, list | tuple) else () if per is None else (per,)
        source = found.pop("self")
        rest = {_ATTRIBUTES.get(each, each): value for each, value in found.items()}
        return Signal(source=source, aggregate=key, per=entities, **rest)

    method.__name__, method.__qualname__ = name, f"Events.{name}"
    method.__doc__ = aggregate.about
    method.__signature__ = signature  # type: ignore[attr-defined]  # what help() shows
    return method


def _text(argument: object) -> str:
    """An argument within a key: 1.0 is written 1."""
    return str(argument).removesuffix(".0") if isinstance(argument, float) else str(argument)


def stub() -> str:
    """The text of methods.pyi."""
    return "\n".join([*_HEAD, *(line for made in METHODS for line in _lines(made))]) + "\n"


_HEAD = (
    "# Written by tests/aggregates/write_golden.py from the aggregates; do not edit it by hand.",
    "from tacit.declare.entity import Entity",
    "from tacit.declare.signal import Signal",
    "",
    "class SignalMethods:",
)


def _lines(aggregate: type[Aggregate[Any]]) -> Iterator[str]:
    yield f"    def {aggregate.key}("
    before: Any = None
    for parameter in signature_of(aggregate).parameters.values():
        if parameter.kind is Parameter.KEYWORD_ONLY is not before:
            yield "        *,"
        before = parameter.kind
        kind = "" if parameter.name == "self" else f": {parameter.annotation}"
        default = "" if parameter.default is _EMPTY else f" = {_quoted(parameter.default)}"
        yield f"        {parameter.name}{kind}{default},"
    yield "    ) -> Signal:"
    yield from _docstring(aggregate.about)


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _docstring(text: str) -> Iterator[str]:
    if len(text) <= 84:
        yield f'        """{text}"""'
        return
    first, _, rest = text.partition(". ")
    yield f'        """{first}.'
    yield ""
    yield f"        {rest}"
    yield '        """'
