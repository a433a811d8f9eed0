"""Noise on Prio3's sums, which make of a confidential sum a differentially private one.

Each aggregator adds independent discrete noise to every coordinate of its own aggregate share, in
the field. So the sum carries both, and one honest aggregator's noise always stands between the
result and everybody else. Prio3's proofs are what bounds the sensitivity: a report cannot weigh
more than its circuit allows, whoever wrote it.

**Adjacency.** The number of reports in a batch is public in DAP (`report_count`). So neighbours
differ in *one report's value*, not in its presence. The greatest change of the sum is then:

| circuit | l1 | l2² | because |
|---|---|---|---|
| Count | 1 | 1 | 0 becomes 1 |
| Sum to M | M | M² | 0 becomes M |
| SumVec of d to M | dM | dM² | every coordinate may change by M |
| Histogram | 2 | 2 | one bucket loses, another gains |
| MultihotCountVec of d to w | m | m | m = min(2w, d) flags may change |

**Loss.** Two discrete Gaussians: `loss.sum_rho`; against an aggregator that knows its own, one:
ρ = Δ₂²/2σ². Discrete Laplace of scale t: pure ε = Δ₁/t, by either aggregator's noise alone.

**Signed.** Noise can make a sum negative; modulo p that is a number just below p. `signed` reads
the upper half of the field as negative. Proofs bound each measurement and none bounds their sum: so
many of them that it could wrap around the field are refused (`check_range`), for what came out
would look like a sum, and be none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from tacit.errors import PrivacyError
from tacit.privacy.loss import Loss, pure_dp, sum_rho, variance_rho, zcdp
from tacit.privacy.mechanism import Claim
from tacit.privacy.noise import discrete_gaussian, discrete_laplace, laplace_variance
from tacit.privacy.prio3 import Prio3
from tacit.privacy.prio3.circuits import Histogram, MultihotCountVec, Sum, SumVec
from tacit.privacy.randomness import Randomness

ADJACENCY = "one report's value changes; how many reports there are is public"
_RATIONAL = re.compile(r"\d{1,400}([./]\d{1,400})?", re.ASCII)
TRUST = (
    "At least one of leader and helper keeps its shares to itself; together they see values.",
    "Both aggregators add noise; if one does not, the collector's loss is the aggregator's.",
    "Proofs bound each report, if both aggregators verify; nothing bounds the reports of a device.",
    "A single aggregator sees which reports arrive and when, and one random share of each.",
)


@dataclass(frozen=True)
class SumNoise:
    """What one aggregator adds: "gaussian" with `parameter` σ², or "laplace" with scale t.

    The parameter is an exact rational. Raises PrivacyError T534 for another kind, or a parameter
    that is not positive.
    """

    kind: str
    parameter: Fraction

    def __post_init__(self) -> None:
        if self.kind not in ("gaussian", "laplace") or not self.parameter > 0:
            raise _wrong(f"{self.kind!r} noise of {self.parameter} cannot be added")

    def check(self, prio3: Prio3[Any, Any], reports: int = 1) -> None:
        """Raises PrivacyError T510 or T520 for noise that cannot be drawn, or has no bound, T556
        where the field has no room for a sum of so many reports with it."""
        check_range(prio3, reports, self.claim(prio3, "check", 1e-6).sigma)

    def add(self, prio3: Prio3[Any, Any], share: bytes, randomness: Randomness) -> bytes:
        """An aggregate share with this aggregator's noise in it; both encoded (§7.2.7)."""
        draw = discrete_gaussian if self.kind == "gaussian" else discrete_laplace
        length, field = prio3.circuit.output_len, prio3.field
        drawn = draw(self.parameter, length, randomness)
        return field.encode(field.add(field.decode(share), [int(n) % field.modulus for n in drawn]))

    def claim(self, prio3: Prio3[Any, Any], name: str, delta: float) -> Claim:
        """What a sum with two aggregators' noise promises; see the module."""
        l1, l2_squared = sensitivities(prio3)
        l2 = math.nextafter(math.sqrt(l2_squared), math.inf)
        loss, alone = self._losses(prio3.circuit.output_len, l1, l2, l2_squared)
        return Claim(
            mechanism=f"prio3_{prio3.circuit.key}+{self.kind}",
            name=name,
            adjacency=ADJACENCY,
            units=f"sum of {prio3.circuit.key} measurements",
            sensitivity=l2,
            sigma=math.sqrt(2 * self._variance),
            delta=delta,
            loss=loss,
            epsilon=loss.epsilon(delta),
            aggregator_loss=alone,
            aggregator_epsilon=alone.epsilon(delta),
            trust=TRUST,
        )

    def to_json(self) -> dict[str, str]:
        """What `from_json` reads."""
        return {"kind": self.kind, "parameter": str(self.parameter)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> SumNoise:
        """The noise that `to_json` wrote. Raises PrivacyError T534."""
        try:
            written = raw["parameter"]
            # 1e1000000000 would be worked out; `to_json` writes no exponent.
            if isinstance(written, str) and not _RATIONAL.fullmatch(written):
                raise _wrong(f"{written[:40]!r} is no rational")
            return cls(str(raw["kind"]), Fraction(written))
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise _wrong(f"{raw!r} describes no noise") from error

    @property
    def _variance(self) -> float:
        """Of one aggregator's noise."""
        if self.kind == "gaussian":
            return float(self.parameter)
        return laplace_variance(self.parameter)

    def _losses(self, length: int, l1: int, l2: float, l2_squared: int) -> tuple[Loss, Loss]:
        """The loss against the collector, and against one curious aggregator."""
        if self.kind == "laplace":
            pure = pure_dp(math.nextafter(float(l1 / self.parameter), math.inf))
            return pure, pure
        both = zcdp(sum_rho(self.parameter, length, Fraction(l2)))
        return both, zcdp(variance_rho(self.parameter / l2_squared, 1))


def sensitivities(prio3: Prio3[Any, Any]) -> tuple[int, int]:
    """The greatest l1 and squared l2 change of the sum by one report's value."""
    circuit = prio3.circuit
    if isinstance(circuit, Sum):
        return circuit.max_measurement, circuit.max_measurement**2
    if isinstance(circuit, SumVec):
        return (
            circuit.length * circuit.max_measurement,
            circuit.length * circuit.max_measurement**2,
        )
    if isinstance(circuit, Histogram):
        return 2, 2
    if isinstance(circuit, MultihotCountVec):
        flags = min(2 * circuit.max_weight, circuit.length)
        return flags, flags
    return 1, 1


def check_range(prio3: Prio3[Any, Any], reports: int, sigma: float) -> None:
    """Raises PrivacyError T556 where a sum of so many reports, with noise of that σ on it, could
    wrap around the field. Noise beyond 64 σ is less likely than a broken cipher."""
    circuit, modulus = prio3.circuit, prio3.field.modulus
    greatest = circuit.max_measurement if isinstance(circuit, Sum | SumVec) else 1
    room = modulus // 2 - math.ceil(64 * sigma) if sigma else modulus - 1
    if greatest * reports > room:
        raise PrivacyError(
            f"{reports} measurements of up to {greatest} may add up past the field of {modulus}",
            code="T556",
            fix="make a task with a smaller greatest measurement, or sum fewer reports at once",
        )


def signed(prio3: Prio3[Any, Any], result: Any) -> Any:
    """A result of `unshard`, with the upper half of the field read as negative."""
    modulus = prio3.field.modulus
    if isinstance(result, Sequence | np.ndarray):
        return [signed(prio3, value) for value in result]
    value = int(result)
    return value - modulus if value > modulus // 2 else value


def _wrong(message: str) -> PrivacyError:
    return PrivacyError(
        message,
        code="T534",
        fix='give kind "gaussian" with a variance, or "laplace" with a scale, as a rational',
    )
