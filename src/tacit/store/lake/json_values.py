"""Values of JSON (RFC 8259) as columns: its numbers have one kind, and its rows need not agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tacit.store.files import ARROW
from tacit.store.lake.convert import LOSSY, NO_MOMENT, NOT_TEXT, WRONG_TYPE, convert
from tacit.store.lake.moments import micros_of_text
from tacit.values import Type

_ALIKE: Mapping[Type, frozenset[type]] = {
    Type.TEXT: frozenset({str}),
    Type.INT: frozenset({int}),
    Type.FLOAT: frozenset({float}),
    Type.BOOL: frozenset({bool}),
    Type.TIME: frozenset({str}),
}
_NUMBERS = frozenset({int, float, type(None)})
_EXACT = 2**53


def column_of(values: list[Any], kind: Type) -> tuple[pa.Array, Mapping[str, pa.Array]]:
    """Values of one name as an array, and masks of those that do not fit, by code."""
    if kind is Type.VECTOR:
        return _vectors(values)
    if set(map(type, values)) - {type(None)} <= _ALIKE[kind]:
        try:
            return pa.array(values, pa.string() if kind is Type.TIME else ARROW[kind]), {}
        except (pa.ArrowException, UnicodeError, OverflowError):
            pass  # a number past 64 bits, or half a surrogate pair
    fitted = [_fit(value, kind) for value in values]
    breaches = {
        code: pa.array([found[1] == code for found in fitted])
        for code in {found[1] for found in fitted} - {""}
    }
    kept = [found[0] for found in fitted]
    if kind is not Type.TIME:
        return pa.array(kept, ARROW[kind]), breaches
    texts = pa.array([v if isinstance(v, str) else None for v in kept], pa.string())
    times = micros_of_text(texts)
    wrong = pc.and_(pc.is_valid(texts), pc.is_null(times))
    if NO_MOMENT in breaches:
        wrong = pc.or_(wrong, breaches[NO_MOMENT])
    numbers = pa.array([v if isinstance(v, int) else None for v in kept], pa.int64())
    return pc.coalesce(times, numbers), {**breaches, NO_MOMENT: wrong}


def _vectors(values: list[Any]) -> tuple[pa.Array, Mapping[str, pa.Array]]:
    """Arrays of numbers; nulls in them, and what NaN and Infinity stand for, are kept."""
    kept: list[list[float | None] | None] = []
    codes = []
    for value in values:
        found, code = None, "" if value is None else WRONG_TYPE
        if type(value) is list and set(map(type, value)) <= _NUMBERS:
            try:
                found, code = [None if one is None else float(one) for one in value], ""
            except OverflowError:
                code = LOSSY
        kept.append(found)
        codes.append(code)
    done = convert(pa.array(kept, pa.list_(pa.float64())), Type.VECTOR, parsed=False)
    breaches = dict(done.breaches)
    for code in set(codes) - {""}:
        mask = pa.array([found == code for found in codes])
        breaches[code] = pc.or_(mask, breaches[code]) if code in breaches else mask
    return done.values, breaches


def _fit(value: Any, kind: Type) -> tuple[Any, str]:
    """The value as the type holds it, or None and the code of why it does not."""
    if value is None or value != value:  # NaN, which means missing
        return None, ""
    if isinstance(value, str) and not _encodes(value):
        return None, NOT_TEXT
    if kind is Type.TIME:
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
        return (value, "") if whole or isinstance(value, str) else (None, NO_MOMENT)
    if kind is Type.TEXT or kind is Type.BOOL:
        return (value, "") if type(value) in _ALIKE[kind] else (None, WRONG_TYPE)
    if type(value) not in (int, float):
        return None, WRONG_TYPE
    if kind is Type.INT:
        whole = (isinstance(value, int) or value.is_integer()) and -(2**63) <= value < 2**63
        return (int(value), "") if whole else (None, LOSSY)
    exact = isinstance(value, float) or abs(value) <= _EXACT
    return (float(value), "") if exact else (None, LOSSY)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeError:
        return False
    return True
