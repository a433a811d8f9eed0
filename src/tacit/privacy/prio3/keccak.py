"""TurboSHAKE128 of many messages at once, in compiled code (RFC 9861).

Messages of one batch have one length, so their sponges run in step: eight states lie side by side,
lane for lane, and one instruction works on all eight where the processor has such registers. The
permutation is written down as vector instructions of the compiler (`_permute`), for eight states
or for one.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils as untyped_cgutils
from numba.extending import intrinsic

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

RATE: Final = 168  # bytes absorbed or squeezed by one permutation
RATE_WORDS: Final = RATE // 8
GROUP: Final = 8  # states that run in step
_ROUNDS: Final = 12
_WORD = ir.IntType(64)
cgutils: Any = untyped_cgutils


def _round_constants() -> list[int]:
    """The iota constants of Keccak-p[1600]'s last 12 rounds, from their LFSR (FIPS 202, §3.2.5)."""
    constants, register = [], 1
    for _ in range(24):
        constant = 0
        for bit in range(7):
            constant |= (register & 1) << ((1 << bit) - 1)
            register = (register << 1) ^ (0x171 if register & 0x80 else 0)
        constants.append(constant)
    return constants[24 - _ROUNDS :]


def _rotations() -> list[tuple[int, int, int]]:
    """For rho and pi: (from, to, distance), along the walk of FIPS 202, §3.2.2 and §3.2.3."""
    x, y, steps = 1, 0, [(0, 0, 0)]
    for t in range(24):
        to_x, to_y = y, (2 * x + 3 * y) % 5
        steps.append((x + 5 * y, to_x + 5 * to_y, (t + 1) * (t + 2) // 2 % 64))
        x, y = to_x, to_y
    return steps


_ROUND_CONSTANTS: Final = _round_constants()


def _spread_out(builder: Any, kind: Any, word: Any) -> Any:
    """The word in every lane."""
    if not isinstance(kind, ir.VectorType):
        return word
    vector = ir.Constant(kind, ir.Undefined)
    for lane in range(kind.count):
        vector = builder.insert_element(vector, word, ir.IntType(32)(lane))
    return vector


def _vector(builder: Any, kind: Any, value: int) -> Any:
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [value] * kind.count)
    return ir.Constant(kind, value)


def _rotate(builder: Any, kind: Any, word: Any, distance: int) -> Any:
    if distance == 0:
        return word
    left = builder.shl(word, _vector(builder, kind, distance))
    return builder.or_(left, builder.lshr(word, _vector(builder, kind, 64 - distance)))


def _round(builder: Any, kind: Any, a: list[Any], constant: Any) -> list[Any]:
    """One round: theta, rho, pi, chi, iota (FIPS 202, §3.2)."""
    columns = []
    for x in range(5):
        parity = a[x]
        for y in range(1, 5):
            parity = builder.xor(parity, a[x + 5 * y])
        columns.append(parity)
    for x in range(5):
        turned = _rotate(builder, kind, columns[(x + 1) % 5], 1)
        change = builder.xor(columns[(x + 4) % 5], turned)
        for y in range(5):
            a[x + 5 * y] = builder.xor(a[x + 5 * y], change)
    b = list(a)
    for source, target, distance in _rotations():
        b[target] = _rotate(builder, kind, a[source], distance)
    for y in range(0, 25, 5):
        for x in range(5):
            kept = builder.and_(builder.not_(b[(x + 1) % 5 + y]), b[(x + 2) % 5 + y])
            a[x + y] = builder.xor(b[x + y], kept)
    a[0] = builder.xor(a[0], constant)
    return a


def _emit(builder: Any, state: Any, lanes: int) -> None:
    """Keccak-p[1600, 12] on `lanes` states; word w of state i lies at state[w * lanes + i]."""
    kind = ir.VectorType(_WORD, lanes) if lanes > 1 else _WORD
    base = builder.bitcast(state, kind.as_pointer())
    places = [builder.gep(base, [ir.Constant(ir.IntType(32), w)]) for w in range(25)]
    table = cgutils.global_constant(
        builder,
        "keccak_round_constants",
        ir.Constant(ir.ArrayType(_WORD, _ROUNDS), _ROUND_CONSTANTS),
    )
    cells = [cgutils.alloca_once(builder, kind) for _ in places]  # registers, once optimised
    for place, cell in zip(places, cells, strict=True):
        builder.store(builder.load(place, align=8), cell)
    with cgutils.for_range(builder, ir.Constant(_WORD, _ROUNDS)) as loop:
        entry = builder.gep(table, [ir.IntType(32)(0), loop.index])
        constant = _spread_out(builder, kind, builder.load(entry))
        words = _round(builder, kind, [builder.load(cell) for cell in cells], constant)
        for word, cell in zip(words, cells, strict=True):
            builder.store(word, cell)
    for cell, place in zip(cells, places, strict=True):
        builder.store(builder.load(cell), place, align=8)


def _permutation(lanes: int) -> Any:
    @intrinsic
    def permute(typing_context: Any, state: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            proxy = cgutils.create_struct_proxy(state)
            array = proxy(context, builder, value=args[0])
            _emit(builder, array.data, lanes)
            return context.get_dummy_value()

        return types.void(state), codegen

    return permute


_permute_group = _permutation(GROUP)
_permute_one = _permutation(1)


@njit(cache=True, nogil=True)
def _sponge_group(messages: Words, first: int, out: Words, state: Words) -> None:
    """Eight messages of padded words, from row `first` on, into as many rows of `out`."""
    state[:] = np.uint64(0)
    for start in range(0, messages.shape[1], RATE_WORDS):
        for word in range(RATE_WORDS):
            for lane in range(GROUP):
                state[word * GROUP + lane] ^= messages[first + lane, start + word]
        _permute_group(state)
    for start in range(0, out.shape[1], RATE_WORDS):
        if start > 0:
            _permute_group(state)
        for word in range(min(RATE_WORDS, out.shape[1] - start)):
            for lane in range(GROUP):
                out[first + lane, start + word] = state[word * GROUP + lane]


@njit(cache=True, nogil=True)
def _sponge_one(messages: Words, row: int, out: Words, state: Words) -> None:
    state[:] = np.uint64(0)
    for start in range(0, messages.shape[1], RATE_WORDS):
        for word in range(RATE_WORDS):
            state[word] ^= messages[row, start + word]
        _permute_one(state)
    for start in range(0, out.shape[1], RATE_WORDS):
        if start > 0:
            _permute_one(state)
        for word in range(min(RATE_WORDS, out.shape[1] - start)):
            out[row, start + word] = state[word]


@njit(cache=True, nogil=True)
def _sponges(messages: Words, out: Words) -> None:
    rows = messages.shape[0]
    whole = rows - rows % GROUP
    state = np.empty(25 * GROUP, np.uint64)
    for first in range(0, whole, GROUP):
        _sponge_group(messages, first, out, state)
    for row in range(whole, rows):
        _sponge_one(messages, row, out, state[:25])


def turboshake128(message: Bytes, length: int, domain: int = 1) -> Bytes:
    """`length` bytes of TurboSHAKE128 for each row of `message`; shapes (n, m) and (n, length).

    `length` is rounded up to whole words inside; the result is a view.
    """
    rows, size = message.shape
    padded = np.zeros((rows, (size // RATE + 1) * RATE), np.uint8)
    padded[:, :size] = message
    return squeeze(padded, size, length, domain)


def squeeze(padded: Bytes, size: int, length: int, domain: int = 1) -> Bytes:
    """`turboshake128` of rows that already have room for padding, zeros from `size` on."""
    padded[:, size] = domain
    padded[:, -1] ^= 0x80
    out = np.empty((padded.shape[0], -(-length // 8)), np.uint64)
    _sponges(padded.view(np.uint64), out)
    return out.view(np.uint8)[:, :length]
