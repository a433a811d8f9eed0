"""The proposal tables of the exact noise sampler, in integers.

The target on the integers has mass proportional to exp(-g(|x|)) with g(x) = quad x² + lin x and
rational coefficients: the discrete Gaussian is quad = 1/(2σ²), the discrete Laplace lin = 1/t.

Cut [0, L) into buckets of w integers, w a power of two, and call [L, ∞) the tail. Bucket j is
proposed with probability c_j / 2^63 and one of its integers x uniformly. Choose a rational C and
integers c_j with

    c_j >= C exp(-g(jw))                              for every bucket, and
    c_B >= C exp(-g(L)) / (w (1 - r)),  r = exp(-(g(L+1) - g(L)))   for the tail.

Accepting x of bucket j with probability C exp(-g(x)) / c_j leaves exactly the target, whatever the
c_j are (von Neumann's rejection); the inequalities only make that a probability. They are ensured
by rounding upper bounds of the exponentials up. g is convex, so from L on it lies above its
secant, and a geometric proposal of ratio r covers the tail.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import isqrt

import numpy as np
import numpy.typing as npt

from tacit.privacy.noise_exact import exp_bounds, exp_minus

SLOT_BITS = 9
THRESHOLD_BITS = 54
SLOTS = 1 << SLOT_BITS
_CAPACITY = 1 << THRESHOLD_BITS
_TOTAL = SLOTS * _CAPACITY  # 2^63
_BITS = 160  # precision of the exponentials in the tables
_TAIL = 44  # the tail begins where the mass has fallen below exp(-44) of its peak


@dataclass(frozen=True, slots=True)
class Target:
    """exp(-(quad x² + lin x)) for x = |integer|; one of the coefficients is zero."""

    quad: Fraction
    lin: Fraction

    def exponent(self, x: int) -> Fraction:
        """g(x)."""
        return self.quad * x * x + self.lin * x


@dataclass(frozen=True, slots=True)
class Envelope:
    """Everything the kernel needs. Arrays are indexed by slot or by bucket; the tail is last."""

    target: Target
    shift: int  # w = 2^shift
    buckets: int
    mass: Fraction  # C
    weights: tuple[int, ...]  # c_j
    alias_threshold: npt.NDArray[np.uint64]
    alias_slot: npt.NDArray[np.int64]
    surely: npt.NDArray[np.uint64]  # a 64-bit uniform below this accepts all of the bucket
    scale: npt.NDArray[np.float64]  # C exp(-g(jw)) / c_j, to the nearest double
    quad: float
    lin: float
    rate: float  # accepted candidates per candidate, about

    @property
    def edge(self) -> int:
        """L, the first integer of the tail."""
        return self.buckets << self.shift


@lru_cache(maxsize=64)
def envelope(target: Target, tail: int = _TAIL) -> Envelope:
    """The tables of a target. `tail` is the exponent at which the tail begins."""
    shift, buckets = _cut(target, tail)
    width, edge = 1 << shift, buckets << shift
    heights = [_upper(target.exponent(j * width)) for j in range(buckets)]
    rise = exp_minus(target.exponent(edge + 1) - target.exponent(edge))(_BITS)[1]
    heights.append(_upper(target.exponent(edge)) / (1 - rise) / width)
    mass = Fraction(_TOTAL - 2 * len(heights)) / sum(heights)
    weights = [int(mass * height) + 1 for height in heights]
    weights[0] += _TOTAL - sum(weights)
    threshold, slot = _alias(weights)
    surely, scale = _acceptance(target, width, mass, weights[:-1])
    one = shift == 0  # buckets of one integer never need the exponent inside a bucket
    return Envelope(
        target=target,
        shift=shift,
        buckets=buckets,
        mass=mass,
        weights=tuple(weights),
        alias_threshold=threshold,
        alias_slot=slot,
        surely=surely,
        scale=scale,
        quad=0.0 if one else float(target.quad),
        lin=0.0 if one else float(target.lin),
        rate=_rate(weights, surely, scale, width),
    )


def _cut(target: Target, tail: int) -> tuple[int, int]:
    """Bucket width (as a power of two) and number, so that a bucket's density falls by little."""
    if target.quad:
        spread = isqrt(int(1 / (2 * target.quad)))  # floor(σ)
        shift = max(0, (spread // 16).bit_length() - 1)
        reach = isqrt(int(tail / target.quad)) + 1
    else:
        spread = int(1 / target.lin)  # floor(t)
        shift = max(0, (spread // 4).bit_length() - 1)
        reach = int(tail / target.lin) + 1
    buckets = -(-reach >> shift) or 1
    assert buckets < SLOTS
    return shift, buckets


def _upper(exponent: Fraction) -> Fraction:
    return Fraction(exp_bounds(exponent, _BITS)[1], 1 << _BITS)


def _alias(weights: list[int]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Walker's alias table in integers (Vose 1991): exact, as the weights sum to SLOTS * 2^54."""
    left = weights + [0] * (SLOTS - len(weights))
    threshold = np.full(SLOTS, _CAPACITY, np.uint64)
    slot = np.arange(SLOTS, dtype=np.int64)
    small = [i for i in range(SLOTS) if left[i] < _CAPACITY]
    large = [i for i in range(SLOTS) if left[i] >= _CAPACITY]
    while small:
        low, high = small.pop(), large[-1]
        threshold[low], slot[low] = left[low], high
        left[high] -= _CAPACITY - left[low]
        if left[high] < _CAPACITY:
            small.append(large.pop())
    return threshold, slot


def _acceptance(
    target: Target, width: int, mass: Fraction, weights: list[int]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64]]:
    surely = np.empty(len(weights), np.uint64)
    scale = np.empty(len(weights), np.float64)
    for j, weight in enumerate(weights):
        last = target.exponent((j + 1) * width - 1)
        lowest = mass * Fraction(exp_bounds(last, _BITS)[0], 1 << _BITS) / weight
        surely[j] = min(int(lowest * (1 << 64)), (1 << 64) - 1)
        scale[j] = float(mass * _upper(target.exponent(j * width)) / weight)
    return surely, scale


def _rate(
    weights: list[int],
    surely: npt.NDArray[np.uint64],
    scale: npt.NDArray[np.float64],
    width: int,
) -> float:
    share = np.array([weight / _TOTAL for weight in weights[:-1]])
    accepted = float(share @ (0.5 * (surely.astype(np.float64) * 2.0**-64 + scale)))
    return accepted - 0.5 * float(share[0] * scale[0]) / width
