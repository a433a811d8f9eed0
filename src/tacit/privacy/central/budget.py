"""One budget for all parts of an answer: who gets how much, and of which kind the noise is.

An answer is made of parts: sums that get noise, a selection of keys, a choice of the best. Each has
the same share. There are two ways to share (ε, δ):

- *pure*: ε/n each; discrete Laplace, truncated geometric selection (which spends δ/2), k choices
  of ε/nk. Basic composition.
- *concentrated*: the greatest ρ with ρ-zCDP ⟹ (ε, δ)-DP, ρ/n each; discrete Gaussian, the Gaussian
  threshold (which spends δ/2, so that ρ is that of the rest), k choices of ε₀ = √(2ρ/nk), each of
  which is ε₀²/2-zCDP (Bun, Steinke 2016, proposition 1.4).

Both are true; the one that is more accurate is taken, by the product of the parts' variances. Only
sensitivities, ε and δ enter, which are public: the choice tells nothing of the data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

from tacit.errors import PrivacyError
from tacit.privacy.central.choice import PermuteAndFlip
from tacit.privacy.central.selection import GaussianThreshold, TruncatedGeometric
from tacit.privacy.central.sensitivity import Sensitivity
from tacit.privacy.central.sums import NoisySums
from tacit.privacy.loss import compose, gaussian_rho, sigma_for
from tacit.privacy.mechanism import Claim

ADJACENCY = "add or remove one person, with all of their rows"
TRUST = (
    "The cloud holds the rows and adds the noise: it is trusted with both.",
    "Rows bear the key of the person whom they are about; one who has several counts as several.",
    "Bounds, grids and public keys were chosen without looking at the rows.",
    "How long an answer takes is not hidden from whoever may ask.",
)


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums of this sensitivity."""

    sensitivity: Sensitivity


@dataclass(frozen=True, slots=True)
class Select:
    """Keys by their number of people, of which one person has at most `groups`."""

    groups: int


@dataclass(frozen=True, slots=True)
class Choose:
    """`rounds` choices by scores that one person raises by at most `most`."""

    rounds: int
    most: int


Wanted: TypeAlias = Sums | Select | Choose
Part: TypeAlias = NoisySums | TruncatedGeometric | GaussianThreshold | PermuteAndFlip


def share(wanted: Sequence[Wanted], epsilon: float, delta: float) -> tuple[Part, ...]:
    """A mechanism for each part, that together cost at most (epsilon, delta).

    Raises PrivacyError T875 where keys must be selected and delta is 0, or nothing could be named;
    T510 and T520 for budgets that no noise meets.
    """
    selects = any(isinstance(part, Select) for part in wanted)
    if selects and not delta:
        raise PrivacyError(
            "keys that are not public cannot be chosen with a delta of 0",
            code="T875",
            fix="give delta, well below one over the number of people, or name public_keys",
        )
    pure = concentrated = None
    try:
        pure = _pure(wanted, Fraction(epsilon), Fraction(delta) / 2)
    except PrivacyError as error:
        if not delta or error.code != "T875":
            raise
    if delta:
        concentrated = _concentrated(wanted, epsilon, delta / 2 if selects else delta)
    if pure is None or (concentrated and _error(concentrated) < _error(pure)):
        assert concentrated is not None, "one of them stands"
        return concentrated
    return pure


def claim(name: str, parts: Sequence[Part], delta: float, units: str) -> Claim:
    """What an answer promises. Its sensitivity and σ are those of its first sums.

    `delta` is that of the budget; 0 for a pure one, of which ε is told at any delta.
    """
    loss = compose(part.loss for part in parts)
    first = next((part for part in parts if isinstance(part, NoisySums)), None)
    l2 = math.sqrt(first.sensitivity.l2_squared) if first else 1.0
    kinds = {"laplace", *(part.kind for part in parts if isinstance(part, NoisySums))}
    epsilon = loss.epsilon(delta) if delta else loss.pure
    return Claim(
        mechanism="central_gaussian" if "gaussian" in kinds else "central_laplace",
        name=name,
        adjacency=ADJACENCY,
        units=units,
        sensitivity=math.nextafter(l2, math.inf),
        sigma=first.sigma if first else 0.0,
        delta=delta,
        loss=loss,
        epsilon=epsilon,
        aggregator_loss=loss,
        aggregator_epsilon=epsilon,
        trust=TRUST,
    )


def _pure(wanted: Sequence[Wanted], epsilon: Fraction, delta: Fraction) -> tuple[Part, ...]:
    each = epsilon / len(wanted)
    found: list[Part] = []
    for part in wanted:
        if isinstance(part, Sums):
            found.append(NoisySums.laplace(part.sensitivity, each))
        elif isinstance(part, Select):
            selection = TruncatedGeometric(each, delta, part.groups)
            assert selection.likely >= 0, "its table can be made"
            found.append(selection)
        else:
            found.append(PermuteAndFlip(each / part.rounds, part.rounds, part.most))
    return tuple(found)


def _concentrated(wanted: Sequence[Wanted], epsilon: float, delta: float) -> tuple[Part, ...]:
    rho = _rho(epsilon, delta) / len(wanted)
    found: list[Part] = []
    for part in wanted:
        if isinstance(part, Sums):
            found.append(NoisySums.gaussian(part.sensitivity, rho))
        elif isinstance(part, Select):
            found.append(GaussianThreshold(rho, Fraction(delta), part.groups))
        else:
            squared = 2 * rho / part.rounds
            root = Fraction(math.isqrt(math.floor(squared * (1 << 128))), 1 << 64)
            found.append(PermuteAndFlip(root, part.rounds, part.most))
    return tuple(found)


@lru_cache(maxsize=256)
def _rho(epsilon: float, delta: float) -> Fraction:
    """The greatest ρ found that is (ε, δ)-DP."""
    return Fraction(gaussian_rho(sigma_for(epsilon, delta)))


def _error(parts: Sequence[Part]) -> float:
    """The sum of the logarithms of the parts' squared errors."""
    total = 0.0
    for part in parts:
        if isinstance(part, NoisySums):
            total += math.log(max(part.variance, 1e-300))
        elif isinstance(part, PermuteAndFlip):
            total -= 2 * math.log(part.epsilon)
        else:
            total += 2 * math.log(part.likely)
    return total
