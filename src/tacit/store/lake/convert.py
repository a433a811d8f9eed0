"""Values to their declared types without loss, a column at a time; what does not fit is found.

A column comes as it was read. In CSV everything is text, and text is parsed; elsewhere a text where
a number is due is a breach. What keeps its value is converted (12.0 to 12, a decimal that a double
holds, moments of any unit and zone); what would lose some is not.

A vector is a list of numbers, each rounded to 32 bits; one that a finite number would leave as an
infinity loses. One of another size than declared, or with an element that is null, NaN or infinite,
is kept as it is: aggregates count its row as one without a value, from the lake as from a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tacit.store.files import ARROW, is_list, is_text, micros
from tacit.store.lake.moments import cast_each, micros_of_text
from tacit.values import Type

WRONG_TYPE, LOSSY, NO_MOMENT, NOT_TEXT = "T362", "T363", "T364", "T366"
_EXACT = 2**53  # up to here every whole number is a double
_INT = r"^\s*[+-]?\d+(?:\.0*)?\s*$"
_TRUE, _FALSE = pa.array(["true", "1"]), pa.array(["false", "0"])


class Converted(NamedTuple):
    """A column of its declared type, null where it did not fit; and why, where it did not."""

    values: pa.Array
    breaches: Mapping[str, pa.Array] = {}  # code → mask of rows

    @classmethod
    def checked(cls, held: pa.Array, values: pa.Array, code: str) -> Converted:
        """Values that became null on the way did not fit."""
        if values.null_count == held.null_count:
            return cls(values)
        return cls(values, {code: pc.and_(pc.is_valid(held), pc.is_null(values))})


def convert(held: pa.Array, kind: Type, *, parsed: bool) -> Converted:
    """A column as its declared type. `parsed` says that its texts are to be parsed: of CSV."""
    if pa.types.is_null(held.type):
        return Converted(pa.nulls(len(held), ARROW[kind]))
    if pa.types.is_dictionary(held.type):
        if kind is Type.TEXT and is_text(held.type.value_type):
            return Converted(held)
        held = held.dictionary_decode()
    if pa.types.is_binary(held.type) and parsed:
        texts = cast_each(held, lambda some: pc.cast(some, pa.string()))
        bad = Converted.checked(held, texts, NOT_TEXT).breaches
        done = _PARSE[kind](texts) if kind is not Type.TEXT else Converted(texts)
        return Converted(done.values, {**bad, **done.breaches})
    return _TYPED[kind](held)


def _none(held: pa.Array, kind: Type, code: str = WRONG_TYPE) -> Converted:
    return Converted.checked(held, pa.nulls(len(held), ARROW[kind]), code)


def _text(held: pa.Array) -> Converted:
    return Converted(pc.cast(held, pa.string())) if is_text(held.type) else _none(held, Type.TEXT)


def _flag(held: pa.Array) -> Converted:
    return Converted(held) if pa.types.is_boolean(held.type) else _none(held, Type.BOOL)


def _int(held: pa.Array) -> Converted:
    kind = held.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return _none(held, Type.INT)
    if pa.types.is_floating(kind):
        held = pc.if_else(pc.is_nan(held), pa.scalar(None, kind), held)  # NaN means missing
    return Converted.checked(held, cast_each(held, lambda some: pc.cast(some, pa.int64())), LOSSY)


def _float(held: pa.Array) -> Converted:
    kind = held.type
    if pa.types.is_floating(kind):
        return Converted(pc.cast(held, pa.float64()))
    if pa.types.is_integer(kind):
        exact = pc.and_(pc.less_equal(held, _EXACT), pc.greater_equal(held, -_EXACT))
        if pa.types.is_unsigned_integer(kind):
            exact = pc.less_equal(held, pa.scalar(_EXACT).cast(pa.uint64()))
        if pc.all(exact).as_py() is False:
            kept = pc.if_else(exact, held, pa.scalar(None, kind))
            return Converted.checked(held, pc.cast(kept, pa.float64()), LOSSY)
        return Converted(pc.cast(held, pa.float64()))
    if pa.types.is_decimal(kind):
        # By way of text, which gives the nearest double; Arrow's own cast makes 19.990000000000002.
        values = pc.cast(pc.cast(held, pa.string()), pa.float64())
        back = cast_each(values, lambda some: pc.cast(some, kind))
        same = pc.fill_null(pc.equal(back, held), False)
        kept = pc.if_else(same, values, pa.scalar(None, pa.float64()))
        return Converted.checked(held, kept, LOSSY)
    return _none(held, Type.FLOAT)


def _moment(held: pa.Array) -> Converted:
    kind = held.type
    if pa.types.is_int64(kind):
        return Converted(held)
    if is_text(kind):
        return _moment_of_text(pc.cast(held, pa.string()))
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return _none(held, Type.TIME, NO_MOMENT)
    return Converted.checked(held, cast_each(held, micros), NO_MOMENT)


def _vector(held: pa.Array) -> Converted:
    if not is_list(held.type):
        return _none(held, Type.VECTOR)
    kind = held.type.value_type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        return _none(held, Type.VECTOR)
    values = pc.cast(held, ARROW[Type.VECTOR], safe=False)
    infinite = pc.is_inf(pc.list_flatten(values))
    if not pa.types.is_float64(kind) or not pc.any(infinite).as_py():
        return Converted(values)
    lost = pc.and_(infinite, pc.is_finite(pc.list_flatten(held)))
    found = np.zeros(len(held), bool)
    found[pc.list_parent_indices(values).filter(lost).to_numpy(zero_copy_only=False)] = True
    kept = pc.if_else(pa.array(found), pa.scalar(None, values.type), values)
    return Converted.checked(held, kept, LOSSY)


def _moment_of_text(texts: pa.Array) -> Converted:
    trimmed = pc.ascii_trim_whitespace(texts)
    return Converted.checked(texts, micros_of_text(trimmed), NO_MOMENT)


def _int_of_text(texts: pa.Array) -> Converted:
    whole = pc.match_substring_regex(texts, _INT)
    digits = pc.replace_substring_regex(pc.ascii_trim_whitespace(texts), r"^\+|\.0*$", "")
    plain = pc.if_else(whole, digits, pa.scalar(None, pa.string()))
    values = cast_each(plain, lambda some: pc.cast(some, pa.int64()))
    wrong = Converted.checked(texts, plain, WRONG_TYPE).breaches
    return Converted(values, {**wrong, **Converted.checked(plain, values, LOSSY).breaches})


def _float_of_text(texts: pa.Array) -> Converted:
    plain = pc.ascii_trim_whitespace(texts)
    values = cast_each(plain, lambda some: pc.cast(some, pa.float64()))
    wrong = Converted.checked(plain, values, WRONG_TYPE).breaches
    long = pc.match_substring_regex(plain, r"^[+-]?\d{16,}$")
    if not pc.any(long).as_py():
        return Converted(values, wrong)
    whole = _int_of_text(pc.if_else(long, plain, pa.scalar(None, pa.string()))).values
    exact = pc.and_(pc.less_equal(whole, _EXACT), pc.greater_equal(whole, -_EXACT))
    lost = pc.and_(long, pc.invert(pc.fill_null(exact, False)))
    kept = pc.if_else(pc.fill_null(lost, False), pa.scalar(None, pa.float64()), values)
    return Converted(kept, {**wrong, LOSSY: pc.fill_null(lost, False)})


def _flag_of_text(texts: pa.Array) -> Converted:
    plain = pc.ascii_lower(pc.ascii_trim_whitespace(texts))
    true, false = pc.is_in(plain, _TRUE), pc.is_in(plain, _FALSE)
    values = pc.if_else(pc.or_(true, false), true, pa.scalar(None, pa.bool_()))
    return Converted.checked(texts, values, WRONG_TYPE)


_TYPED = {
    Type.TEXT: _text,
    Type.BOOL: _flag,
    Type.INT: _int,
    Type.FLOAT: _float,
    Type.TIME: _moment,
    Type.VECTOR: _vector,
}
_PARSE = {
    Type.BOOL: _flag_of_text,
    Type.INT: _int_of_text,
    Type.FLOAT: _float_of_text,
    Type.TIME: _moment_of_text,
}
