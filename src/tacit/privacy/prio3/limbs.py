"""Field elements in compiled code: two 64-bit limbs (low, high), and no branches on data.

Field128 multiplies by Montgomery's method with R = 2^128; its modulus is 1 modulo 2^64, so the
quotient digit is a negation. Field64 reduces 2^64 = 2^32 - 1 directly: there R = 1 and the high
limb is 0. So `multiply(a, b, m)` is a·b/R; a constant kept as a·R ("Montgomery form") times a plain
element is a plain product. Vectors of plain elements are the words of their encoding (§6.1.1):
two words an element for Field128, one for Field64.
"""

from __future__ import annotations

import operator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from tacit.privacy.prio3.field import FIELD64, FIELD128, Field

Words = npt.NDArray[np.uint64]
Element = tuple[np.uint64, np.uint64]
Modulus = tuple[np.uint64, ...]
"""Two limbs for Field128, and three for Field64: the kernels are compiled for each length."""

_I64, _I128 = ir.IntType(64), ir.IntType(128)
_PAIR: Any = types.UniTuple(types.uint64, 2)  # type: ignore[no-untyped-call]
_MASK64: Final = (1 << 64) - 1
ZERO: Final[Element] = (np.uint64(0), np.uint64(0))


def montgomery_radix(field: Field) -> int:
    """R of `multiply`."""
    return 1 << 128 if field is FIELD128 else 1


def limbs(value: int) -> Element:
    """A plain integer below 2^128 as limbs."""
    return np.uint64(value & _MASK64), np.uint64(value >> 64)


def modulus_of(field: Field) -> Modulus:
    """The modulus as the kernels take it."""
    low, high = limbs(field.modulus)
    return (low, high) if field is FIELD128 else (low, high, high)


def _join(builder: Any, pair: Any) -> Any:
    low = builder.zext(builder.extract_value(pair, 0), _I128)
    high = builder.zext(builder.extract_value(pair, 1), _I128)
    return builder.or_(low, builder.shl(high, _I128(64)))


def _split(context: Any, builder: Any, value: Any) -> Any:
    low = builder.trunc(value, _I64)
    high = builder.trunc(builder.lshr(value, _I128(64)), _I64)
    return cgutils.pack_array(builder, [low, high])  # type: ignore[no-untyped-call]


def _plain(emit: Any) -> Any:
    """a ∘ b modulo m, from a function that emits it on 128-bit integers.

    What elements are made of is emitted where it stands: a compiled function for each of these
    would cost more, to whoever calls one first, than all the loops that call them.
    """

    @intrinsic
    def operation(typing_context: Any, a: Any, b: Any, m: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            a, b, m = (_join(builder, arg) for arg in args)
            return _split(context, builder, emit(builder, a, b, m))

        return _PAIR(_PAIR, _PAIR, m), codegen

    return operation


def _reduced(builder: Any, value: Any, over: Any, m: Any) -> Any:
    """value - m if value >= m or the sum ran over 2^128, else value."""
    great = builder.or_(over, builder.icmp_unsigned(">=", value, m))
    return builder.select(great, builder.sub(value, m), value)


def _emit_add(builder: Any, a: Any, b: Any, m: Any) -> Any:
    total = builder.add(a, b)
    return _reduced(builder, total, builder.icmp_unsigned("<", total, a), m)


def _emit_subtract(builder: Any, a: Any, b: Any, m: Any) -> Any:
    difference = builder.sub(a, b)
    below = builder.icmp_unsigned("<", a, b)
    return builder.select(below, builder.add(difference, m), difference)


def _low(builder: Any, value: Any) -> Any:
    return builder.and_(value, _I128(_MASK64))


def _high(builder: Any, value: Any) -> Any:
    return builder.lshr(value, _I128(64))


def _emit_multiply_128(builder: Any, a: Any, b: Any) -> Any:
    """Schoolbook product, then two steps of Montgomery's reduction (limbs of m: 1, top)."""
    m, top = _I128(FIELD128.modulus), _I128(FIELD128.modulus >> 64)
    a0, a1, b0, b1 = (part(builder, x) for x in (a, b) for part in (_low, _high))
    lowest = builder.mul(a0, b0)
    middle = builder.add(builder.mul(a0, b1), _high(builder, lowest))
    other = builder.add(builder.mul(a1, b0), _low(builder, middle))
    carried = builder.add(_high(builder, middle), _high(builder, other))
    upper = builder.add(builder.mul(a1, b1), carried)
    # Adding -t0·m clears the lowest limb; from it a carry of one is left unless it was zero.
    step = _montgomery_step(builder, _low(builder, lowest), _low(builder, other), top)
    upper = builder.add(upper, _high(builder, step))
    step = _montgomery_step(builder, _low(builder, step), _low(builder, upper), top)
    high = builder.shl(_high(builder, upper), _I128(64))
    total = builder.add(high, step)
    return _reduced(builder, total, builder.icmp_unsigned("<", total, high), m)


def _montgomery_step(builder: Any, lowest: Any, following: Any, top: Any) -> Any:
    """following + carry + (-lowest mod 2^64)·top, which fits 128 bits."""
    digit = _low(builder, builder.neg(lowest))
    carry = builder.zext(builder.icmp_unsigned("!=", lowest, _I128(0)), _I128)
    return builder.add(builder.add(builder.mul(digit, top), following), carry)


def _emit_multiply_64(builder: Any, a: Any, b: Any) -> Any:
    """low + 2^64·(l + 2^32·h) = low - h + (2^32 - 1)·l modulo m."""
    m = _I128(FIELD64.modulus)
    product = builder.mul(_low(builder, a), _low(builder, b))
    upper = _high(builder, product)
    half = _I128((1 << 32) - 1)
    l, h = builder.and_(upper, half), builder.lshr(upper, _I128(32))  # noqa: E741
    spread = builder.add(_low(builder, product), builder.mul(l, half))
    value = builder.sub(builder.add(spread, m), h)  # below 3 m
    never = ir.IntType(1)(0)
    once = _reduced(builder, value, never, m)
    return _reduced(builder, _reduced(builder, once, never, m), never, m)


add: Any = _plain(_emit_add)
"""a + b modulo m; of elements a and b, as the others."""
subtract: Any = _plain(_emit_subtract)
"""a - b modulo m."""


def _multiply(typing_context: Any, a: Any, b: Any, m: Any) -> Any:
    """a·b/R modulo m."""
    emit = _emit_multiply_64 if len(m) == 3 else _emit_multiply_128

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _split(context, builder, emit(builder, *(_join(builder, arg) for arg in args[:2])))

    return _PAIR(_PAIR, _PAIR, m), codegen


def _word(context: Any, builder: Any, array: tuple[Any, Any], index: tuple[Any, ...]) -> Any:
    """What array[index] is; the array by its type and its value."""
    at, kind = _index(context, builder, index)
    load = context.get_function(operator.getitem, types.uint64(array[0], kind))
    return load(builder, (array[1], at))


def _index(context: Any, builder: Any, index: tuple[Any, ...]) -> tuple[Any, Any]:
    if len(index) == 1:
        return index[0], types.intp
    kind: Any = types.UniTuple(types.intp, len(index))  # type: ignore[no-untyped-call]
    return context.make_tuple(builder, kind, index), kind


def _get(typing_context: Any, words: Any, i: Any, m: Any) -> Any:
    """Element i of a vector of plain elements."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, i = (words, args[0]), args[1]
        if len(m) == 3:
            low, high = _word(context, builder, array, (i,)), _I64(0)
        else:
            at = builder.mul(i, _I64(2))
            low = _word(context, builder, array, (at,))
            high = _word(context, builder, array, (builder.add(at, _I64(1)),))
        return cgutils.pack_array(builder, [low, high])  # type: ignore[no-untyped-call]

    return _PAIR(words, types.intp, m), codegen


def _put(typing_context: Any, words: Any, i: Any, value: Any, m: Any) -> Any:
    """Sets element i of a vector of plain elements."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, i, value, _ = args
        store = context.get_function(operator.setitem, types.void(words, types.intp, types.uint64))
        size = 1 if len(m) == 3 else 2
        for limb in range(size):
            at = builder.add(builder.mul(i, _I64(size)), _I64(limb))
            store(builder, (array, at, builder.extract_value(value, limb)))
        return context.get_dummy_value()

    return types.void(words, types.intp, _PAIR, m), codegen


def _pair(typing_context: Any, table: Any, i: Any) -> Any:
    """Row i of a table of constants; shape (n, 2), whatever the field."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        words = [_word(context, builder, (table, args[0]), (args[1], _I64(k))) for k in (0, 1)]
        return cgutils.pack_array(builder, words)  # type: ignore[no-untyped-call]

    return _PAIR(table, types.intp), codegen


multiply: Any = intrinsic(_multiply)
get: Any = intrinsic(_get)
put: Any = intrinsic(_put)
pair: Any = intrinsic(_pair)


@njit(cache=True, nogil=True)
def out_of_field(words: Words, m: Modulus) -> npt.NDArray[np.bool_]:
    """Which rows of plain elements have one that is not below the modulus; shape (rows,)."""
    bad = np.zeros(words.shape[0], np.bool_)
    size = 1 if len(m) == 3 else 2
    for row in range(words.shape[0]):
        found = False
        for i in range(words.shape[1] // size):
            low, high = get(words[row], i, m)
            found = found or bool(high > m[1] or (high == m[1] and low >= m[0]))
        bad[row] = found
    return bad


@njit(cache=True, nogil=True)
def accumulate(total: Words, rows: Words, m: Modulus) -> None:
    """Adds every row of plain elements to `total`."""
    for row in range(rows.shape[0]):
        _add_into(total, rows[row], m)


@njit(cache=True, nogil=True)
def add_rows(total: Words, other: Words, m: Modulus) -> None:
    """total += other, row by row; equal shapes."""
    for row in range(total.shape[0]):
        _add_into(total[row], other[row], m)


@njit(cache=True, nogil=True)
def _add_into(total: Words, other: Words, m: Modulus) -> None:
    size = 1 if len(m) == 3 else 2
    for i in range(total.shape[0] // size):
        put(total, i, add(get(total, i, m), get(other, i, m), m), m)


@njit(cache=True, nogil=True)
def subtract_rows(total: Words, other: Words, m: Modulus) -> None:
    """total -= other, row by row; equal shapes."""
    size = 1 if len(m) == 3 else 2
    for row in range(total.shape[0]):
        for i in range(total.shape[1] // size):
            value = subtract(get(total[row], i, m), get(other[row], i, m), m)
            put(total[row], i, value, m)
