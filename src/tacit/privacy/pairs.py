"""Which items follow which: a banded item-item second moment on public pairs, as one vector sum.

**Vector.** A device holds the distinct items of its history, in order of time. Its vector has two
blocks; β is the public budget share of popularity::

    v = ( √β x / ||x|| ,  √(1 - β) c / ||c|| )

x in R^n is the indicator of its items. c counts pairs: two items that stand `lag` places apart in
the history, 1 <= lag <= L, add decay^(lag - 1) to the coordinate of their unordered pair. That is
the pair's entry of Σ_lag decay^(lag - 1) Σ_t (e_t e_{t+lag}ᵀ + transpose), the part of the second
moment x xᵀ near the diagonal in time. Only pairs that a public `PairLayout` names have a
coordinate of their own; all others are left out, or, where there are hash buckets, added with a
public random sign to a public bucket (count sketch: Charikar, Chen, Farach-Colton 2002, section 3).
An empty block stays zero.

**Sensitivity.** x / ||x|| and c / ||c|| have l2 norm 1 or 0, whatever the history: the signs, the
collisions and the choice of pairs only change which vector c is. The blocks are orthogonal, so

    ||v||² = β ||x / ||x|| ||² + (1 - β) ||c / ||c|| ||² <= β + (1 - β) = 1.

Adding or removing one device changes the sum by its own v: sensitivity 1 in l2. That rests on
nothing a device could choose. In floating point ||v|| may pass 1 by some parts in 10^16; the
integers that leave the device may not: `VectorSum` checks their norm as integers and rounds again.

**Noise.** σ of the sum is σ/√β in the popularity block's own unit and σ/√(1 - β) in that of the
pairs. β = 0.2, the longest lag 10 and decay 0.8 were chosen on the validation split of Online
Retail (each history without its last item): `learn.design` has the measurements.

**What the collector learns from the layout: nothing.** It is a function of public text and n.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from tacit.errors import PrivacyError
from tacit.privacy import encoding
from tacit.privacy.histogram import (
    SUM_PARAMETERS,
    Histogram,
    check_names,
    check_sum_parameters,
    checked,
    sum_parameters,
)
from tacit.privacy.loss import Loss
from tacit.privacy.mechanism import Claim, Report
from tacit.privacy.pair_layout import LAYOUT_NUMBERS, PairLayout, PairStatistics
from tacit.privacy.randomness import Randomness
from tacit.privacy.vector_sum import Floats, Integers, Messages, VectorSum
from tacit.values import Type, fingerprint

__all__ = ["PairLayout", "PairStatistics", "PairSum"]

_CHUNK = 20_000  # devices whose sparse vectors are held at a time


class PairSum:
    """A release of Σ v over devices, v as in the module.

    A device's value is a `Histogram` of moments (µs): when each item first occurred. Its codes in
    order of (moment, code) are the history. `devices_max`, `epsilon`, `delta`, `name`, and what is
    raised: as in `VectorSum`.
    """

    key: ClassVar[str] = "pairs"
    aggregators: ClassVar[int] = VectorSum.aggregators
    trust: ClassVar[tuple[str, ...]] = VectorSum.trust
    takes: ClassVar[frozenset[Type]] = frozenset({Type.TIME})
    answers: ClassVar[str] = "pairs"
    shows: ClassVar[str] = VectorSum.shows

    def __init__(
        self, layout: PairLayout, devices_max: int, epsilon: float, delta: float, name: str
    ) -> None:
        self.layout: Final = layout
        self.name: Final = name
        numbers, arrays = layout.files()
        tag = fingerprint(numbers, arrays["pair_keys"].astype("<i8").tobytes())
        self.sum: Final = VectorSum(
            layout.length, devices_max, epsilon, delta, f"{name} [pairs {tag}]"
        )

    @classmethod
    def price(cls, epsilon: float, delta: float) -> Loss:
        """See `VectorSum.price`."""
        return VectorSum.price(epsilon, delta)

    def claim(self) -> Claim:
        """The claim of the vector sum beneath, under this key and name."""
        units = "sum of vectors of l2 norm at most 1"
        return replace(self.sum.claim(), mechanism=self.key, name=self.name, units=units)

    @property
    def report_bytes(self) -> int:
        """See `VectorSum.report_bytes`."""
        return self.sum.report_bytes

    def history(self, value: Histogram) -> Integers:
        """The device's codes in order of (moment, code). Raises PrivacyError T533."""
        codes, moments = checked(value, self.layout.items)
        return codes[np.lexsort((codes, moments))]

    def vector(self, value: Histogram) -> Floats:
        """One device's v (d,), of l2 norm at most 1 but for rounding. Raises PrivacyError T533."""
        return self.layout.vector(self.history(value))

    def vectors(self, indptr: Integers, codes: Integers) -> sp.csr_matrix:
        """See `PairLayout.vectors`."""
        return self.layout.vectors(indptr, codes)

    def encode(self, value: Histogram, randomness: Randomness) -> Report:
        """One device's report. Raises PrivacyError T533 for what is no histogram of the domain."""
        return self.sum.encode(self.vector(value), randomness)

    def admit(
        self, index: int, messages: Messages
    ) -> tuple[dict[bytes, bytes], dict[bytes, PrivacyError]]:
        """See `VectorSum.admit`."""
        return self.sum.admit(index, messages)

    def combine(self, index: int, messages: Messages, randomness: Randomness) -> bytes:
        """See `VectorSum.combine`."""
        return self.sum.combine(index, messages, randomness)

    def decode(self, aggregates: Sequence[bytes]) -> PairStatistics:
        """The noisy statistics, with the noise they carry. Raises what `VectorSum.decode` does."""
        return self.layout.unpack(self.sum.decode(aggregates), self.claim().sigma)

    def simulate(self, indptr: Integers, codes: Integers, randomness: Randomness) -> PairStatistics:
        """What `decode` would give for these devices, without sending their shares around.

        Every device's vector is bounded and rounded as `encode` does it, and the sum gets the noise
        of both aggregators: the same distribution, for populations too large to share out.
        """
        exact = self.sum.sum_exactly([self.sum_of_integers(indptr, codes, randomness)])
        return self.layout.unpack(self.sum.release(exact, randomness), self.claim().sigma)

    def sum_of_integers(
        self, indptr: Integers, codes: Integers, randomness: Randomness
    ) -> Integers:
        """Σ of the integers (d,) that these devices would share, before any noise."""
        total = np.zeros(self.layout.length, np.int64)
        for rows in self._chunks(indptr, codes):
            bounds, scale = rows.indptr, self.sum.scale
            for start, stop in pairwise(bounds):
                # A coordinate of zero is rounded to zero: only the others need be looked at.
                values = rows.data[start:stop]
                total[rows.indices[start:stop]] += encoding.quantise(
                    values, len(values), scale, randomness
                )
        return total

    def _chunks(self, indptr: Integers, codes: Integers) -> Iterator[sp.csr_matrix]:
        for start in range(0, len(indptr) - 1, _CHUNK):
            bounds = indptr[start : start + _CHUNK + 1]
            yield self.layout.vectors(bounds - bounds[0], codes[bounds[0] : bounds[-1]])

    def files(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Its parameters as JSON values, and its arrays: what `from_files` reads."""
        numbers, arrays = self.layout.files()
        return {**numbers, **sum_parameters(self.sum, self.name)}, arrays

    @classmethod
    def from_files(
        cls, parameters: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Self:
        """The mechanism that `files` wrote. Raises PrivacyError T534 for anything else."""
        check_names(parameters, {*LAYOUT_NUMBERS, *SUM_PARAMETERS}, arrays, {"pair_keys"})
        check_sum_parameters(parameters)
        numbers = {name: parameters[name] for name in LAYOUT_NUMBERS}
        layout = PairLayout(pair_keys=arrays["pair_keys"], **numbers)
        return cls(layout, **{name: parameters[name] for name in SUM_PARAMETERS})
