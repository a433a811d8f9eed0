"""Polynomials by their values at roots of unity, on plain integers (§6.1.3)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from tacit.privacy.prio3.field import Field


def next_power_of_2(n: int) -> int:
    """The least power of two that is at least `n` >= 1."""
    return 1 << (n - 1).bit_length()


def ntt(field: Field, coefficients: Sequence[int], n: int) -> list[int]:
    """The values at all `n`-th roots of unity of a polynomial with at most `n` coefficients."""
    padded = [*coefficients, *([0] * (n - len(coefficients)))]
    return _transform(field, padded, field.root(n))


def inverse_ntt(field: Field, values: Sequence[int]) -> list[int]:
    """The coefficients of the polynomial with these values at the len(values)-th roots of unity."""
    n = len(values)
    scale = field.inverse(n)
    back = _transform(field, list(values), field.inverse(field.root(n)))
    return [x * scale % field.modulus for x in back]


def _transform(field: Field, vector: list[int], root: int) -> list[int]:
    if len(vector) == 1:
        return vector
    p = field.modulus
    even = _transform(field, vector[::2], root * root % p)
    odd = _transform(field, vector[1::2], root * root % p)
    twiddle, low, high = 1, [], []
    for a, b in zip(even, odd, strict=True):
        t = twiddle * b % p
        low.append((a + t) % p)
        high.append((a - t) % p)
        twiddle = twiddle * root % p
    return low + high


def lagrange_weights(field: Field, n: int, count: int, x: int) -> list[int]:
    """Weights u with f(x) = Σ u_i f(w^i) for every f of degree below `count`, w the n-th root.

    Lagrange's formula: u_i = Π_{j≠i} (x - w^j) / (w^i - w^j), with i, j < count <= n. It holds at
    the nodes too. O(count) multiplications.
    """
    p = field.modulus
    nodes, inverses = _nodes(field, n, count)
    weights, product = [], 1
    for node, inverse in zip(nodes, inverses, strict=True):
        weights.append(product * inverse % p)
        product = product * (x - node) % p
    product = 1
    for i in range(count - 1, -1, -1):
        weights[i] = weights[i] * product % p
        product = product * (x - nodes[i]) % p
    return weights


@lru_cache(maxsize=64)
def _nodes(field: Field, n: int, count: int) -> tuple[list[int], list[int]]:
    """The first `count` n-th roots of unity, and 1 / Π_{j≠i, j<count} (w^i - w^j) of each.

    Over all n roots that product is n/w^i, so only the roots past `count` are divided out.
    """
    p, root = field.modulus, field.root(n)
    roots = [1]
    for _ in range(n - 1):
        roots.append(roots[-1] * root % p)
    inverses, scale = [], field.inverse(n)
    for i in range(count):
        inverse = roots[i] * scale % p
        for j in range(count, n):
            inverse = inverse * (roots[i] - roots[j]) % p
        inverses.append(inverse)
    return roots[:count], inverses


def evaluate(field: Field, coefficients: Sequence[int], x: int) -> int:
    """The value at x of a polynomial by its coefficients, lowest first (Horner)."""
    result = 0
    for coefficient in reversed(coefficients):
        result = (result * x + coefficient) % field.modulus
    return result
