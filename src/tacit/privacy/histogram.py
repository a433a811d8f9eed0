"""Histograms over a public domain: what a device's signal says, and their bounded sum.

**Value.** The domain is public: n keys, in an order that everybody has, so a key is its code 0 to
n - 1. A device's histogram h has an amount for some codes; all others are 0.

**Bound.** The device sends v = min(1, C / ||h||) h / C for a public bound C > 0, in the unit of
the amounts. Then ||v||_2 = min(||h||, C) / C <= 1, the bound that `VectorSum` needs, and which it
enforces again on the integers it shares.

**Sensitivity.** Adding or removing one device changes the result, C Σ v, by C v, of norm at most
C. A device whose ||h|| is at most C counts in full; of others the direction is kept. So C trades
bias for noise: the noise of each coordinate is σ C.

**Error.** `stderr` is the noise's standard deviation, σ C. The random rounding of each device's
integers (`encoding`) adds at most C / 2s per device and coordinate, independent and unbiased: it
is left out, being C √devices / 2s at most, with s the encoding scale of 2^8 to 2^16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from tacit.errors import PrivacyError
from tacit.privacy.loss import Loss
from tacit.privacy.mechanism import Claim, Report
from tacit.privacy.randomness import Randomness
from tacit.privacy.vector_sum import Floats, Integers, Messages, VectorSum
from tacit.values import Type


class Histogram(NamedTuple):
    """A device's amounts by code: `codes` (m,) distinct, 0 to n - 1; `amounts` (m,) finite."""

    codes: Integers
    amounts: Floats


class HistogramEstimate(NamedTuple):
    """Noisy totals by code (n,), and the standard error of each, in the unit of the amounts."""

    estimates: Floats
    stderr: float


class HistogramSum:
    """A release of Σ h over devices, h the histogram of each, scaled down to l2 norm `bound`.

    `size`: keys in the domain. `bound`: C above, in the unit of the amounts. The rest is as in
    `VectorSum`. Raises PrivacyError T534 for a bound that is no positive normal number, and what
    `VectorSum` raises.
    """

    key: ClassVar[str] = "sum"
    aggregators: ClassVar[int] = VectorSum.aggregators
    trust: ClassVar[tuple[str, ...]] = VectorSum.trust
    takes: ClassVar[frozenset[Type]] = frozenset({Type.INT, Type.FLOAT})
    answers: ClassVar[str] = "totals"
    shows: ClassVar[str] = VectorSum.shows

    def __init__(
        self, size: int, bound: float, devices_max: int, epsilon: float, delta: float, name: str
    ) -> None:
        if not (isinstance(bound, int | float) and 1e-300 < bound < 1e300):
            raise wrong_parameters(f"the bound on a device's histogram is {bound!r}")
        self.size: Final = size
        self.bound: Final = float(bound)
        self.name: Final = name
        self.sum: Final = VectorSum(
            size, devices_max, epsilon, delta, f"{name} [sum within {self.bound!r}]"
        )

    @classmethod
    def price(cls, epsilon: float, delta: float) -> Loss:
        """See `VectorSum.price`."""
        return VectorSum.price(epsilon, delta)

    def claim(self) -> Claim:
        """The claim of the vector sum beneath, in the unit of the amounts."""
        below = self.sum.claim()
        return replace(
            below,
            mechanism=self.key,
            name=self.name,
            units=f"sum of histograms of l2 norm at most {self.bound:g}",
            sensitivity=self.bound,
            sigma=below.sigma * self.bound,
        )

    @property
    def report_bytes(self) -> int:
        """See `VectorSum.report_bytes`."""
        return self.sum.report_bytes

    def vector(self, value: Histogram) -> Floats:
        """One device's vector (n,), of l2 norm at most 1 but for rounding. Raises T533."""
        codes, amounts = checked(value, self.size)
        out = np.zeros(self.size)
        peak = float(np.max(np.abs(amounts), initial=0.0))
        if peak > 0.0:
            unit = amounts / peak  # no square overflows, and the greatest does not underflow
            out[codes] = unit * min(peak / self.bound, 1.0 / float(np.sqrt(unit @ unit)))
        return out

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

    def decode(self, aggregates: Sequence[bytes]) -> HistogramEstimate:
        """The noisy totals. Raises what `VectorSum.decode` raises."""
        totals = self.sum.decode(aggregates) * self.bound
        return HistogramEstimate(totals, self.claim().sigma)

    def files(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Its parameters as JSON values, and its arrays (none): what `from_files` reads."""
        return {"size": self.size, "bound": self.bound, **sum_parameters(self.sum, self.name)}, {}

    @classmethod
    def from_files(
        cls, parameters: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Self:
        """The mechanism that `files` wrote. Raises PrivacyError T534 for anything else."""
        check_names(parameters, {"size", "bound", *SUM_PARAMETERS}, arrays, set())
        check_sum_parameters(parameters)
        return cls(**parameters)


SUM_PARAMETERS: Final = ("devices_max", "epsilon", "delta", "name")
"""The parameters of the `VectorSum` beneath, as `files` writes them."""


def sum_parameters(below: VectorSum, name: str) -> dict[str, Any]:
    """`SUM_PARAMETERS` of a sum whose layout's own name is `name`."""
    return {
        "devices_max": below.devices_max,
        "epsilon": below.epsilon,
        "delta": below.delta,
        "name": name,
    }


def check_sum_parameters(parameters: Mapping[str, Any]) -> None:
    """Raises PrivacyError T534 unless numbers are numbers and the name is text."""
    for what in ("epsilon", "delta"):
        if type(parameters[what]) not in (int, float):
            raise wrong_parameters(f"{what} is {parameters[what]!r}")
    if type(parameters["devices_max"]) is not int or not isinstance(parameters["name"], str):
        raise wrong_parameters("devices_max is no whole number, or the name is no text")


def check_names(
    parameters: Mapping[str, Any],
    needed: set[str],
    arrays: Mapping[str, npt.NDArray[Any]],
    needed_arrays: set[str],
) -> None:
    """Raises PrivacyError T534 unless exactly these parameters and arrays are there."""
    if not isinstance(parameters, Mapping) or set(parameters) != needed:
        raise wrong_parameters(f"they are {parameters!r:.200}, not {', '.join(sorted(needed))}")
    if set(arrays) != needed_arrays:
        raise wrong_parameters(f"the arrays are {sorted(arrays)}, not {sorted(needed_arrays)}")


def checked(value: Histogram, size: int) -> Histogram:
    """The value with its types made sure. Raises PrivacyError T533 for what is no histogram."""
    codes, amounts = (np.asarray(part) for part in value)
    if codes.ndim != 1 or codes.shape != amounts.shape:
        raise _no_histogram(f"has codes of shape {codes.shape}, amounts of shape {amounts.shape}")
    if len(codes) == 0:
        return Histogram(np.zeros(0, np.int64), np.zeros(0))
    if codes.dtype.kind not in "iu" or amounts.dtype.kind not in "iuf":
        raise _no_histogram(f"has codes of type {codes.dtype}, amounts of type {amounts.dtype}")
    if codes.min() < 0 or codes.max() >= size:
        raise _no_histogram(f"has a code outside 0 to {size - 1}")
    ordered = codes[1:] > codes[:-1]
    if not ordered.all() and len(np.unique(codes)) < len(codes):
        raise _no_histogram("has a code twice")
    if not np.isfinite(amounts).all():
        raise _no_histogram("has an amount that is NaN or infinite")
    return Histogram(codes.astype(np.int64, copy=False), amounts.astype(np.float64, copy=False))


def wrong_parameters(what: str) -> PrivacyError:
    """PrivacyError T534, for parameters that make no mechanism."""
    return PrivacyError(
        f"the parameters of a release make no mechanism: {what}",
        code="T534",
        fix="declare them within their stated ranges; write a task again if it was damaged",
    )


def _no_histogram(what: str) -> PrivacyError:
    return PrivacyError(
        f"a device's histogram {what}",
        code="T533",
        fix="pass one finite amount for each of some distinct codes of the public domain",
    )
