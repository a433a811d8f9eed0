"""Querying and deciding proofs in compiled code, many reports at once (§7.3.4, §7.3.5).

Nothing is transformed: given its random points, a verifier share is a fixed linear function of the
shares of measurement and proof, so every kernel computes weights and takes dot products. Gadgets
have degree two here, so over wires of length p a gadget polynomial has 2p - 1 points, and its value
at the root of call k is point 2k.

`consts` (6, 2) are the constants of `Tables`; `nodes` (2p, 2) the 2p-th roots of unity; both in
Montgomery form where they are multiplied. Measurements, proofs, `rands`, `joints` and `out` are
rows of plain elements, one row a report. A row whose test point is a root of unity sets `leaks`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
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

Flags = npt.NDArray[np.bool_]

RADIX, ONE, SHARES, OFFSET, WIRE_SCALE, GADGET_SCALE = range(6)
"""Rows of `consts`: R² mod m; R mod m; plain 1/shares; plain offset/shares; R/p; R/2p."""


@njit(cache=True, nogil=True)
def lagrange(
    weights: Words,
    t: Element,
    nodes: Words,
    step: np.int64,
    scale: Element,
    one: Element,
    m: Modulus,
) -> None:
    """Weights (n, 2) of a polynomial's values at the n-th roots nodes[::step], to evaluate at t.

    scale is R/n: weight i is w^i/n · Π_{j≠i} (t - w^j). All in Montgomery form.
    """
    n = weights.shape[0]
    product = scale
    for i in range(n):
        node = pair(nodes, i * step)
        weight = multiply(product, node, m)
        weights[i, 0], weights[i, 1] = weight
        product = multiply(product, subtract(t, node, m), m)
    product = one
    for i in range(n - 1, -1, -1):
        weight = multiply(pair(weights, i), product, m)
        weights[i, 0], weights[i, 1] = weight
        product = multiply(product, subtract(t, pair(nodes, i * step), m), m)


@njit(cache=True, nogil=True, inline="always")
def is_root(t: Element, order: int, one: Element, m: Modulus) -> bool:
    """Whether t^order = 1, order a power of two; Montgomery form."""
    power = t
    while order > 1:
        power = multiply(power, power, m)
        order >>= 1
    return bool(power[0] == one[0] and power[1] == one[1])


@njit(cache=True, nogil=True)
def point_weights(
    t: Element, nodes: Words, consts: Words, wire: Words, gadget: Words, m: Modulus
) -> None:
    """Weights at t of wires (p, 2), and of gadget polynomials by their first 2p - 1 points.

    The last of 2p points follows from the others, because the degree is below 2p - 1:
    Σ_i f(w^i) w^i = 0. Row 2p - 1 of `gadget` (2p, 2) is used up by that.
    """
    one = pair(consts, ONE)
    lagrange(wire, t, nodes, np.int64(2), pair(consts, WIRE_SCALE), one, m)
    lagrange(gadget, t, nodes, np.int64(1), pair(consts, GADGET_SCALE), one, m)
    last = gadget.shape[0] - 1
    dropped = pair(gadget, last)
    for i in range(last):
        share = multiply(dropped, pair(nodes, i + 1), m)
        weight = subtract(pair(gadget, i), share, m)
        gadget[i, 0], gadget[i, 1] = weight


@njit(cache=True, nogil=True, inline="always")
def gadget_at(proof: Words, start: int, gadget: Words, m: Modulus) -> Element:
    """The gadget polynomial, from element `start` of the proof on, at the weights' point."""
    value = ZERO
    for i in range(gadget.shape[0] - 1):
        value = add(value, multiply(pair(gadget, i), get(proof, start + i, m), m), m)
    return value


@njit(cache=True, nogil=True, inline="always")
def sum_check(meas: Words, length: int, tail: Words, offset: Element, m: Modulus) -> Element:
    """Σ of the first `length` elements - Σ tail·(the others) + offset; tail (n, 2)."""
    total = offset
    for i in range(length):
        total = add(total, get(meas, i, m), m)
    for i in range(tail.shape[0]):
        weighted = multiply(pair(tail, i), get(meas, length + i, m), m)
        total = subtract(total, weighted, m)
    return total


@njit(cache=True, nogil=True, inline="always")
def query_bits_row(
    meas: Words,
    proof: Words,
    joints: Words,
    wire: Words,
    shape: tuple[int, int, int, int, int, bool],
    consts: Words,
    m: Modulus,
    out: Words,
) -> None:
    """The wires of Σ r^j·m_j·(m_j - 1/shares) at the weights' point, from out's second element on.

    Left wires hold r^j·m_j, right ones m_j - 1/shares, in the padding of the last call too.
    """
    elements, chunk, calls = shape[0], shape[1], shape[2]
    constant = ZERO
    for i in range(calls):
        constant = add(constant, multiply(pair(wire, i + 1), pair(consts, SHARES), m), m)
    first = pair(wire, 0)
    for j in range(chunk):
        put(out, 1 + 2 * j, multiply(first, get(proof, 2 * j, m), m), m)
        seed = multiply(first, get(proof, 2 * j + 1, m), m)
        put(out, 2 + 2 * j, subtract(seed, constant, m), m)
    for i in range(calls):
        weight = pair(wire, i + 1)
        r = multiply(get(joints, i, m), pair(consts, RADIX), m)
        powered = multiply(weight, r, m)
        for j in range(min(chunk, elements - i * chunk)):
            element = get(meas, i * chunk + j, m)
            left, right = 1 + 2 * j, 2 + 2 * j
            put(out, left, add(get(out, left, m), multiply(powered, element, m), m), m)
            put(out, right, add(get(out, right, m), multiply(weight, element, m), m), m)
            powered = multiply(powered, r, m)


@njit(cache=True, nogil=True)
def query_bits(
    meas: Words,
    proofs: Words,
    joints: Words,
    rands: Words,
    consts: Words,
    m: Modulus,
    nodes: Words,
    tail: Words,
    shape: tuple[int, int, int, int, int, bool],
    out: Words,
    leaks: Flags,
) -> None:
    """Verifier shares of circuits that check bits in chunks (SumVec, Histogram, Multihot).

    shape: elements, chunk, calls, number of proofs, length summed, whether there is a sum check.
    """
    _, chunk, calls, many, length, sums = shape
    size = 1 if len(m) == 3 else 2
    p = nodes.shape[0] // 2
    wire, gadget = np.empty((p, 2), np.uint64), np.empty((2 * p, 2), np.uint64)
    radix = pair(consts, RADIX)
    points, proof_len, verifier_len = 3 if sums else 1, 2 * chunk + 2 * p - 1, 2 * chunk + 2
    for row in range(meas.shape[0]):
        for k in range(many):
            rand = rands[row, k * points * size :]
            proof = proofs[row, k * proof_len * size :]
            answer = out[row, k * verifier_len * size :]
            t = multiply(get(rand, points - 1, m), radix, m)
            leaks[row] |= is_root(t, p, pair(consts, ONE), m)
            point_weights(t, nodes, consts, wire, gadget, m)
            checked = ZERO
            for i in range(calls):
                checked = add(checked, get(proof, 2 * chunk + 2 * (i + 1), m), m)
            if sums:
                summed = sum_check(meas[row], length, tail, pair(consts, OFFSET), m)
                checked = multiply(multiply(checked, get(rand, 0, m), m), radix, m)
                summed = multiply(multiply(summed, get(rand, 1, m), m), radix, m)
                checked = add(checked, summed, m)
            put(answer, 0, checked, m)
            joint = joints[row, k * calls * size :]
            query_bits_row(meas[row], proof, joint, wire, shape, consts, m, answer)
            put(answer, verifier_len - 1, gadget_at(proof, 2 * chunk, gadget, m), m)


@njit(cache=True, nogil=True)
def query_values(
    meas: Words,
    proofs: Words,
    rands: Words,
    consts: Words,
    m: Modulus,
    nodes: Words,
    shape: tuple[int, int, int],
    out: Words,
    leaks: Flags,
) -> None:
    """Verifier shares of Count (two wires, both the measurement) and of Sum (one, its bits).

    shape: elements, wires, number of proofs.
    """
    elements, wires, many = shape
    size = 1 if len(m) == 3 else 2
    p = nodes.shape[0] // 2
    wire, gadget = np.empty((p, 2), np.uint64), np.empty((2 * p, 2), np.uint64)
    reduced = elements if elements > 1 else 0
    for row in range(meas.shape[0]):
        for k in range(many):
            rand = rands[row, k * (reduced + 1) * size :]
            proof = proofs[row, k * (wires + 2 * p - 1) * size :]
            answer = out[row, k * (wires + 2) * size :]
            t = multiply(get(rand, reduced, m), pair(consts, RADIX), m)
            leaks[row] |= is_root(t, p, pair(consts, ONE), m)
            point_weights(t, nodes, consts, wire, gadget, m)
            checked = get(proof, wires + 2, m)
            if reduced > 0:
                checked = ZERO
                for i in range(elements):
                    term = multiply(get(rand, i, m), get(proof, wires + 2 * (i + 1), m), m)
                    checked = add(checked, multiply(term, pair(consts, RADIX), m), m)
            if wires == 2:
                checked = subtract(checked, get(meas[row], 0, m), m)
            put(answer, 0, checked, m)
            recorded = ZERO
            for i in range(elements):
                term = multiply(pair(wire, i + 1), get(meas[row], i, m), m)
                recorded = add(recorded, term, m)
            for j in range(wires):
                seed = multiply(pair(wire, 0), get(proof, j, m), m)
                put(answer, 1 + j, add(seed, recorded, m), m)
            put(answer, wires + 1, gadget_at(proof, wires, gadget, m), m)


@njit(cache=True, nogil=True)
def decide(verifiers: Words, wires: int, many: int, m: Modulus) -> Flags:
    """Which rows of summed verifier shares hold, all `many` proofs of them; shape (rows,).

    Two wires or more are multiplied in pairs and summed; one wire x is checked by x² - x.
    """
    size = 1 if len(m) == 3 else 2
    plain_one = (np.uint64(1), np.uint64(0))
    sound = np.empty(verifiers.shape[0], np.bool_)
    for row in range(verifiers.shape[0]):
        holds = True
        for k in range(many):
            verifier = verifiers[row, k * (wires + 2) * size :]
            zero = get(verifier, 0, m)
            # Products of plain elements carry 1/R; the output they must equal is given it too.
            output = multiply(get(verifier, wires + 1, m), plain_one, m)
            value = ZERO
            for j in range(0, wires - 1, 2):
                term = multiply(get(verifier, 1 + j, m), get(verifier, 2 + j, m), m)
                value = add(value, term, m)
            if wires == 1:
                x = get(verifier, 1, m)
                value = subtract(multiply(x, x, m), multiply(x, plain_one, m), m)
            holds &= zero[0] == 0 and zero[1] == 0
            holds &= value[0] == output[0] and value[1] == output[1]
        sound[row] = holds
    return sound


@njit(cache=True, nogil=True)
def truncate(meas: Words, weights: Words, m: Modulus, out: Words) -> None:
    """Σ weights·(each stretch of as many elements); weights (n, 2) in Montgomery form."""
    size = 1 if len(m) == 3 else 2
    bits = weights.shape[0]
    for row in range(meas.shape[0]):
        for i in range(out.shape[1] // size):
            total = ZERO
            for j in range(bits):
                total = add(
                    total, multiply(pair(weights, j), get(meas[row], i * bits + j, m), m), m
                )
            put(out[row], i, total, m)
