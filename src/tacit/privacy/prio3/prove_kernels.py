"""Making proofs in compiled code, many reports at once (§7.3.3).

A gadget of degree two over wires of p points gives a polynomial by 2p - 1 values. At the even ones
of the 2p-th roots the wires' own values do; `spread` finds a wire's values at the odd ones. Wires
are tables (p, 2) of plain elements; `nodes` and `coset` tables of constants in Montgomery form.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tacit.privacy.prio3.limbs import (
    ZERO,
    Element,
    Modulus,
    Words,
    add,
    get,
    multiply,
    pair,
    put,
    subtract,
)
from tacit.privacy.prio3.query_kernels import ONE, RADIX


@njit(cache=True, nogil=True)
def _butterfly(wire: Words, low: int, high: int, m: Modulus) -> None:
    u, v = pair(wire, low), pair(wire, high)
    wire[low, 0], wire[low, 1] = add(u, v, m)
    wire[high, 0], wire[high, 1] = subtract(u, v, m)


@njit(cache=True, nogil=True)
def _turn(wire: Words, i: int, factor: Element, m: Modulus) -> None:
    wire[i, 0], wire[i, 1] = multiply(pair(wire, i), factor, m)


@njit(cache=True, nogil=True)
def spread(wire: Words, nodes: Words, coset: Words, m: Modulus) -> None:
    """Values at w^0, w^2, w^4 … become values at w^1, w^3, w^5 …, in place; w = nodes[1].

    Down to coefficients (Gentleman-Sande, bits reversed), each times w^k/p, and up again
    (Cooley-Tukey). coset[i] is w^k/p for the k whose reversed bits are i. The first butterfly of
    a block turns by nothing.
    """
    p = wire.shape[0]
    half = p >> 1
    while half >= 1:
        step = p // half
        for start in range(0, p, 2 * half):
            _butterfly(wire, start, start + half, m)
            for j in range(1, half):
                _butterfly(wire, start + j, start + j + half, m)
                _turn(wire, start + j + half, pair(nodes, 2 * p - j * step), m)
        half >>= 1
    for i in range(p):
        _turn(wire, i, pair(coset, i), m)
    half = 1
    while half < p:
        step = p // half
        for start in range(0, p, 2 * half):
            _butterfly(wire, start, start + half, m)
            for j in range(1, half):
                _turn(wire, start + j + half, pair(nodes, j * step), m)
                _butterfly(wire, start + j, start + j + half, m)
        half <<= 1


@njit(cache=True, nogil=True)
def add_products(a: Words, b: Words, sums: Words, first: np.int64, m: Modulus) -> None:
    """sums[first], sums[first + 2], … += a·b/R, point by point."""
    for i in range(a.shape[0]):
        at = first + 2 * i
        value = add(pair(sums, at), multiply(pair(a, i), pair(b, i), m), m)
        sums[at, 0], sums[at, 1] = value


@njit(cache=True, nogil=True)
def write_polynomial(sums: Words, proof: Words, start: int, radix: Element, m: Modulus) -> None:
    """All values but the last, freed of their 1/R, from element `start` of the proof on."""
    for i in range(sums.shape[0] - 1):
        put(proof, start + i, multiply(pair(sums, i), radix, m), m)


@njit(cache=True, nogil=True, inline="always")
def fill_bits(
    a: Words, b: Words, meas: Words, powers: Words, rs: Words, chunk: int, j: int, m: Modulus
) -> None:
    """Wires 2j and 2j + 1 of the bit check, from call 1 on: r^(j+1)·m and m - 1.

    rs (calls, 2) holds each chunk's r·R; powers its r^j·R, moved on to r^(j+1)·R.
    """
    size = 1 if len(m) == 3 else 2
    elements = meas.shape[0] // size
    one = (np.uint64(1), np.uint64(0))
    for i in range(powers.shape[0]):
        power = multiply(pair(powers, i), pair(rs, i), m)
        powers[i, 0], powers[i, 1] = power
        element = ZERO
        if i * chunk + j < elements:
            element = get(meas, i * chunk + j, m)
        a[i + 1, 0], a[i + 1, 1] = multiply(power, element, m)
        b[i + 1, 0], b[i + 1, 1] = subtract(element, one, m)


@njit(cache=True, nogil=True)
def prove_bits(
    meas: Words,
    joints: Words,
    rands: Words,
    consts: Words,
    m: Modulus,
    nodes: Words,
    coset: Words,
    shape: tuple[int, int, int],
    out: Words,
) -> None:
    """Proofs of circuits that check bits in chunks. shape: chunk, calls, number of proofs.

    Rows of `meas`, `joints`, `rands` and `out` are plain elements.
    """
    chunk, calls, many = shape
    size = 1 if len(m) == 3 else 2
    p = coset.shape[0]
    proof_len = 2 * chunk + 2 * p - 1
    a, b = np.empty((p, 2), np.uint64), np.empty((p, 2), np.uint64)
    sums, rs = np.empty((2 * p, 2), np.uint64), np.empty((calls, 2), np.uint64)
    powers = np.empty((calls, 2), np.uint64)
    for row in range(meas.shape[0]):
        for k in range(many):
            rand = rands[row, k * 2 * chunk * size :]
            joint = joints[row, k * calls * size :]
            proof = out[row, k * proof_len * size :]
            sums[:] = np.uint64(0)
            powers[:, 0], powers[:, 1] = pair(consts, ONE)
            for i in range(calls):
                rs[i, 0], rs[i, 1] = multiply(get(joint, i, m), pair(consts, RADIX), m)
            for j in range(chunk):
                a[:] = np.uint64(0)
                b[:] = np.uint64(0)
                fill_bits(a, b, meas[row], powers, rs, chunk, j, m)
                a[0, 0], a[0, 1] = get(rand, 2 * j, m)
                b[0, 0], b[0, 1] = get(rand, 2 * j + 1, m)
                put(proof, 2 * j, pair(a, 0), m)
                put(proof, 2 * j + 1, pair(b, 0), m)
                add_products(a, b, sums, np.int64(0), m)
                spread(a, nodes, coset, m)
                spread(b, nodes, coset, m)
                add_products(a, b, sums, np.int64(1), m)
            write_polynomial(sums, proof, 2 * chunk, pair(consts, RADIX), m)


@njit(cache=True, nogil=True)
def prove_values(
    meas: Words,
    rands: Words,
    consts: Words,
    m: Modulus,
    nodes: Words,
    coset: Words,
    shape: tuple[int, int, int],
    out: Words,
) -> None:
    """Proofs of Count (two wires) and of Sum (one). shape: elements, wires, number of proofs."""
    elements, wires, many = shape
    size = 1 if len(m) == 3 else 2
    p = coset.shape[0]
    proof_len = wires + 2 * p - 1
    a, b = np.empty((p, 2), np.uint64), np.empty((p, 2), np.uint64)
    sums = np.empty((2 * p, 2), np.uint64)
    one = (np.uint64(1), np.uint64(0))
    for row in range(meas.shape[0]):
        for k in range(many):
            rand = rands[row, k * wires * size :]
            proof = out[row, k * proof_len * size :]
            a[:] = np.uint64(0)
            for i in range(elements):
                a[i + 1, 0], a[i + 1, 1] = get(meas[row], i, m)
            a[0, 0], a[0, 1] = get(rand, 0, m)
            for j in range(wires):
                put(proof, j, get(rand, j, m), m)
            taken = ZERO if wires == 2 else one  # x·x, or x² - x = x·(x - 1)
            for i in range(p):
                b[i, 0], b[i, 1] = subtract(pair(a, i), taken, m)
            if wires == 2:
                b[0, 0], b[0, 1] = get(rand, 1, m)
            sums[:] = np.uint64(0)
            add_products(a, b, sums, np.int64(0), m)
            spread(a, nodes, coset, m)
            spread(b, nodes, coset, m)
            add_products(a, b, sums, np.int64(1), m)
            write_polynomial(sums, proof, wires, pair(consts, RADIX), m)
