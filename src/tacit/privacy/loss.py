"""What a release costs: zero-concentrated and pure differential privacy, composed and converted.

**Definitions.** M is ρ-zCDP if the Rényi divergence D_α(M(x) || M(x')) is at most ρα for all
neighbours x, x' and all α > 1 (Bun and Steinke 2016, definition 1.1). It is (ε, δ)-DP if
P[M(x) in S] <= exp(ε) P[M(x') in S] + δ for every S; pure if δ = 0.

**What is rigorous for what.**

- Discrete Gaussian noise N_Z(0, σ²) on every coordinate of an integer vector of l2 sensitivity Δ:
  ρ = Δ² / 2σ², with no correction (Canonne, Kamath, Steinke 2020, "CKS", theorem 14). The
  (ε, δ) curve of the *continuous* Gaussian (`privacy.gaussian`, Balle and Wang 2018) is not a proof
  for it, and nothing here claims it; it serves comparisons and attacks.
- The sum of two independent discrete Gaussians is not a discrete Gaussian. `sum_rho` gives its ρ
  with the correction τ of Kairouz, Liu, Steinke 2021, "The Distributed Discrete Gaussian
  Mechanism", proposition 14 (arXiv 2102.06387). τ is below 10^-300 from a variance of 71 on.
- Composition, also adaptive: ρ adds (Bun and Steinke 2016, lemma 1.7), pure ε adds, and Rényi
  divergences add at each α (Mironov 2017, proposition 1). An ε-DP release has at most those of
  randomized response (`response_renyi`).
- An (ε, δ)-DP release is, but for an event of probability δ, ε-DP (Kairouz, Oh, Viswanath 2017,
  theorem 3.1): the δ of all such releases are taken off first, and the rest counts as pure.
- Converting at the best α, as below, is for releases whose parameters were fixed before. For those
  chosen on the way the order must be fixed first: see `privacy.filters`.
- Several pure releases compose more tightly by their privacy loss distributions: see `privacy.pld`,
  and there what it assumes.

**From ρ to (ε, δ).** CKS 2020, proposition 12 with corollary 13 (the optimal conversion of one
Rényi bound is also in Asoodeh et al. 2020): for every α > 1, ρ-zCDP is (ε, δ)-DP with

    δ = exp((α-1)(αρ - ε)) / (α-1) · (1 - 1/α)^α.

Take logarithms and solve for ε, using α ln(1 - 1/α) - ln(α-1) = (α-1) ln(1 - 1/α) - ln α:

    ε(α) = αρ + ln(1 - 1/α) + (ln(1/δ) - ln α) / (α - 1).

*Every* α gives a true bound; minimising over α makes it small. So an imperfect minimiser can only
overstate the loss. Sums are rounded up, and results widened past the rounding of their formulas.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from tacit.errors import PrivacyError

_WIDEN = 1e-12  # relative; a few thousand times the rounding of the formulas below
_FIELDS = ("rho", "pure", "pure_rho")
PLD_LIMIT = 64.0
"""The Σ ε up to which distributions are convolved; past it they get long, and no budget allows it.
"""


class Term(NamedTuple):
    """`times` releases, each (ε, δ)-DP and no more is known of them; δ = 0: pure DP."""

    epsilon: float
    delta: float
    times: int


@dataclass(frozen=True, slots=True)
class Loss:
    """The composed cost of releases on the same data.

    `rho`: Σ ρ of the releases bounded by zCDP. `terms`: the releases bounded by (ε, δ)-DP, each
    pair (ε, δ) once, in order, with how often it came. Make one with `zcdp`, `pure_dp` or
    `approximate_dp`; add them with `+` or `compose`.
    """

    rho: float = 0.0
    terms: tuple[Term, ...] = ()

    def __post_init__(self) -> None:
        check(self.rho, "rho", zero=True)
        for term in self.terms:
            _check_term(term)
        pairs = [term[:2] for term in self.terms]
        if pairs != sorted(set(pairs)):
            raise _no_loss()

    @property
    def pure(self) -> float:
        """Σ ε of the terms, rounded up."""
        return round_up(sum((Fraction(e) * n for e, _, n in self.terms), Fraction(0)))

    @property
    def failure(self) -> float:
        """Σ δ of the terms, rounded up: the chance that one of them breaks its ε."""
        return round_up(sum((Fraction(d) * n for _, d, n in self.terms), Fraction(0)))

    def __add__(self, other: Loss) -> Loss:
        if not other.terms:
            return Loss(_sum_up(self.rho, other.rho), self.terms)
        counts = {term[:2]: term.times for term in self.terms}
        for epsilon, delta, count in other.terms:
            counts[epsilon, delta] = counts.get((epsilon, delta), 0) + count
        terms = tuple(Term(*pair, count) for pair, count in sorted(counts.items()))
        return Loss(_sum_up(self.rho, other.rho), terms)

    def epsilon(self, delta: float) -> float:
        """An ε for which all of it together is (ε, δ)-DP; `delta` in (0, 1). Infinite where the
        terms' own δ use it up.

        The smallest of the true bounds that the module's note derives. Raises PrivacyError T520
        for a bad delta.
        """
        return min(self._bounds(delta))

    def fits(self, epsilon: float, delta: float) -> bool:
        """Whether `epsilon(delta)` is at most that: the cheap bounds first."""
        return any(bound <= epsilon for bound in self._bounds(delta))

    def _bounds(self, delta: float) -> Iterator[float]:
        check_delta(delta)
        rest = delta if not self.failure else _round_down(Fraction(delta) - Fraction(self.failure))
        if rest <= 0:
            yield math.inf
            return
        yield _sum_up(self.pure, zcdp_epsilon(self.rho, rest))
        several = sum(term.times for term in self.terms) > 1
        if several or (self.terms and self.rho):  # of one release alone, ε is what it says
            yield self._renyi(rest)
        if several and self.pure <= PLD_LIMIT:
            yield from self._by_pld(rest)

    def _renyi(self, delta: float) -> float:
        def divergence(alpha: float, over: float) -> float:
            parts = [n * response_renyi(e, alpha, over) for e, _, n in self.terms]
            return math.fsum((alpha * self.rho, *parts))

        return renyi_epsilon(divergence, delta)

    def _by_pld(self, delta: float) -> Iterator[float]:
        from tacit.privacy.pld import responses_epsilon

        pairs = tuple((term.epsilon, term.times) for term in self.terms)
        if not self.rho:
            yield responses_epsilon(pairs, delta)
            return
        for share in (0.5, 0.1, 0.9):  # δ divided between the two parts: each division is true
            part = responses_epsilon(pairs, delta * share)
            yield _sum_up(part, zcdp_epsilon(self.rho, delta * (1 - share) * (1 - _WIDEN)))

    def to_json(self) -> dict[str, Any]:
        """Its fields, for `from_json`. `pure` and `pure_rho` are what older ledgers wrote."""
        squares = sum((Fraction(e) ** 2 / 2 * n for e, _, n in self.terms), Fraction(0))
        found = {"rho": self.rho, "pure": self.pure, "pure_rho": round_up(squares)}
        return found | ({"terms": [list(term) for term in self.terms]} if self.terms else {})

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Loss:
        """The loss that `to_json` wrote. Raises PrivacyError T520 if it is not one.

        An older ledger's sum of pure losses is read as one release of that ε.
        """
        if not {"rho", "pure", "pure_rho"} <= fields.keys() <= {*_FIELDS, "terms"}:
            raise _no_loss()
        written = fields.get("terms")
        if written is None:
            written = [(fields["pure"], 0.0, 1)] if fields["pure"] else []
        try:
            return cls(fields["rho"], tuple(Term(*term) for term in written))
        except TypeError as error:
            raise _no_loss() from error


def zcdp(rho: float) -> Loss:
    """The loss of one ρ-zCDP release."""
    return Loss(rho=check(rho, "rho", zero=True))


def pure_dp(epsilon: float) -> Loss:
    """The loss of one pure ε-DP release."""
    return approximate_dp(epsilon, 0.0)


def approximate_dp(epsilon: float, delta: float) -> Loss:
    """The loss of one (ε, δ)-DP release of which no more is known, such as a shuffled one."""
    check(epsilon, "epsilon", zero=True)
    check(delta, "delta", zero=True)
    return Loss(terms=(Term(epsilon, delta, 1),) if epsilon or delta else ())


def compose(losses: Iterable[Loss]) -> Loss:
    """The loss of all of them together, adaptively chosen or not."""
    total = Loss()
    for loss in losses:
        total = total + loss
    return total


def gaussian_rho(sigma: float, sensitivity: float = 1.0) -> float:
    """ρ = Δ² / 2σ² of the (multivariate) discrete Gaussian, rounded up (CKS 2020, theorem 14)."""
    check(sigma, "sigma")
    check(sensitivity, "sensitivity", zero=True)
    return variance_rho(Fraction(sigma) ** 2, Fraction(sensitivity))


def variance_rho(variance: int | Fraction, sensitivity: int | Fraction) -> float:
    """`gaussian_rho` for a variance σ² > 0, which needs no root."""
    return round_up(Fraction(sensitivity) ** 2 / (2 * Fraction(variance)))


def sum_rho(variance: int | Fraction, length: int, sensitivity: int | Fraction) -> float:
    """ρ of a `length`-vector plus *two* independent N_Z(0, variance) on each coordinate.

    Kairouz, Liu, Steinke 2021, proposition 14, with n = 2 and σ² = variance >= 1/4:

        ρ = ½ (Δ / (√2 σ) + τ √d)²,   τ = 10 exp(-π² σ²)

    where Δ is the l2 sensitivity and d the length. Where exp underflows, the least double stands
    for it. Rounded up. Raises PrivacyError T520 for a variance below 1/4.
    """
    exact = Fraction(variance)
    if exact < Fraction(1, 4):
        raise PrivacyError(
            f"the bound on a sum of two discrete Gaussians needs a variance from 1/4, not {exact}",
            code="T520",
            fix="use a finer integer encoding (a larger scale), or more noise",
        )
    tau = max(10.0 * math.exp(-9.8696 * min(float(exact), 100.0)), math.ulp(0.0))
    first = math.sqrt(round_up(Fraction(sensitivity) ** 2 / (2 * exact)))
    root = first * (1 + _WIDEN) + tau * math.sqrt(length) * (1 + _WIDEN)
    if tau * math.sqrt(length) < first * 1e-200:
        # τ is lost below the last digit: keep the exact first term, moved up by one digit.
        return math.nextafter(round_up(Fraction(sensitivity) ** 2 / (4 * exact)), math.inf)
    return 0.5 * root * root * (1 + _WIDEN)


def zcdp_epsilon(rho: float, delta: float) -> float:
    """The least ε found for which ρ-zCDP is (ε, δ)-DP: min over α of ε(α) above, at least 0."""
    check(rho, "rho", zero=True)
    check_delta(delta)
    return 0.0 if rho == 0.0 else renyi_epsilon(lambda alpha, _: alpha * rho, delta)


def response_renyi(epsilon: float, alpha: float, over: float) -> float:
    """D_α of randomized response, the worst of all ε-DP mechanisms; `over` is α - 1 > 0.

    With p = e^ε/(1+e^ε), q = 1-p:  D_α = ln(p^α q^(1-α) + q^α p^(1-α)) / (α-1)
    = ε - (ln(1+e^-ε) - ln(1+e^(-(2α-1)ε))) / (α-1). Near α = 1 the difference loses its digits:
    there ε²α/2 (Bun and Steinke 2016, proposition 1.4) is the smaller true bound.
    """
    gap = math.log1p(math.exp(-epsilon)) - math.log1p(math.exp(-(1 + 2 * over) * epsilon))
    exact = epsilon - gap / over + (epsilon + 1 / over) * 1e-15
    return min(epsilon, alpha * epsilon * epsilon / 2 * (1 + _WIDEN), exact)


def renyi_epsilon(divergence: Callable[[float, float], float], delta: float) -> float:
    """The least ε found for which Rényi bounds are (ε, δ)-DP: min over α of the module's ε(α).

    `divergence(α, α - 1)` bounds D_α from above.
    """
    log_inverse = -math.log(delta)

    def at(t: float) -> float:  # t = ln(α - 1), so that α near 1 keeps its digits
        over, log_alpha = math.exp(t), math.log1p(math.exp(t))
        inner = -math.log1p(math.exp(-t))  # ln(1 - 1/α)
        first = divergence(1 + over, over)
        terms = (first, inner, log_inverse / over, -log_alpha / over)
        return math.fsum(terms) + _WIDEN * sum(map(abs, terms))

    return max(0.0, _least(at, -40.0, 300.0))


def zcdp_delta(rho: float, epsilon: float) -> float:
    """The least δ found for which ρ-zCDP is (ε, δ)-DP (CKS 2020, proposition 12); at most 1."""
    check(rho, "rho", zero=True)
    check(epsilon, "epsilon", zero=True)
    if rho == 0.0:
        return 0.0

    def at(t: float) -> float:
        over, log_alpha = math.exp(t), math.log1p(math.exp(t))
        inner = -math.log1p(math.exp(-t))
        terms = (over * (1 + over) * rho, -over * epsilon, over * inner, -log_alpha)
        return math.fsum(terms) + _WIDEN * sum(map(abs, terms))

    return min(1.0, math.exp(min(0.0, _least(at, -40.0, 300.0))) + math.ulp(0.0))


def sigma_for(epsilon: float, delta: float, sensitivity: float = 1.0) -> float:
    """The least σ found, for which noise of σ costs at most (ε, δ) by zCDP. Never under-noises.

    Bisection over ρ finds the largest value that costs at most ε; then σ = Δ / √(2ρ) is
    moved up until the ρ computed back from it passes too. Raises PrivacyError T520 for inputs
    that are zero, subnormal, negative, infinite or not numbers, and where no σ can be computed.
    """
    check(epsilon, "epsilon")
    check_delta(delta)
    check(sensitivity, "sensitivity")
    low, high = 1e-300, max(epsilon, 1e-299)
    for _ in range(64):  # halves the logarithm's interval: to the last digits of ρ
        middle = math.sqrt(low) * math.sqrt(high)
        if zcdp_epsilon(middle, delta) <= epsilon:
            low = middle
        else:
            high = middle
    sigma = sensitivity / math.sqrt(2.0 * low)
    for _ in range(64):
        if not math.isfinite(sigma):
            break
        if zcdp_epsilon(gaussian_rho(sigma, sensitivity), delta) <= epsilon:
            return sigma
        sigma *= 1.0 + 1e-14
    raise PrivacyError(
        f"no noise could be found for ε={epsilon}, δ={delta}, sensitivity={sensitivity}",
        code="T520",
        fix="use a larger ε or δ, or a sensitivity nearer to 1",
    )


def _least(function: Callable[[float], float], low: float, high: float) -> float:
    """The least value met by a coarse scan and then a golden-section search around its best."""
    steps = 136
    grid = [low + (high - low) * i / steps for i in range(steps + 1)]
    values = [function(t) for t in grid]
    best = min(range(steps + 1), key=values.__getitem__)
    a, b = grid[max(best - 1, 0)], grid[min(best + 1, steps)]
    least = values[best]
    golden = (math.sqrt(5.0) - 1.0) / 2.0
    for _ in range(40):
        c, d = b - golden * (b - a), a + golden * (b - a)
        at_c, at_d = function(c), function(d)
        least = min(least, at_c, at_d)
        a, b = (a, d) if at_c < at_d else (c, b)
    return least


def round_up(exact: Fraction) -> float:
    """The least double that is not below it. Raises PrivacyError T520 past the largest double."""
    try:
        near = float(exact)
    except OverflowError:
        near = math.inf
    check(near, "loss", zero=True, tiny=True)
    return near if Fraction(near) >= exact else math.nextafter(near, math.inf)


def _round_down(exact: Fraction) -> float:
    """The greatest double that is not above it."""
    near = float(exact)
    return near if Fraction(near) <= exact else math.nextafter(near, -math.inf)


def _no_loss() -> PrivacyError:
    return PrivacyError(
        "this is not a written privacy loss",
        code="T520",
        fix="pass an object with the numbers rho, pure and pure_rho, and terms as `to_json` has",
    )


def _check_term(term: Term) -> None:
    whole = isinstance(term.times, int) and not isinstance(term.times, bool)
    if not (len(term) == 3 and whole and term.times > 0 and (term.epsilon or term.delta)):
        raise _no_loss()
    check(term.epsilon, "epsilon", zero=True)
    check(term.delta, "delta", zero=True)


def _sum_up(a: float, b: float) -> float:
    return round_up(Fraction(a) + Fraction(b))


def check(value: float, what: str, *, zero: bool = False, tiny: bool = False) -> float:
    """The value, a finite number above 0 (or 0), not subnormal. Raises PrivacyError T520."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and math.isfinite(value) and value >= 0:
        least = 0.0 if tiny else sys.float_info.min
        if (zero and value == 0) or (value > 0 and value >= least):
            return value
    raise PrivacyError(
        f"{what} = {value!r} is not a {'non-negative' if zero else 'positive'} normal number",
        code="T520",
        fix=f"pass a finite {what} that is neither negative nor subnormal",
    )


def check_delta(delta: float) -> float:
    """The probability, above 0 and below 1. Raises PrivacyError T520."""
    if check(delta, "delta") < 1:
        return delta
    raise PrivacyError(
        f"delta = {delta} is no probability below one",
        code="T520",
        fix="pass a delta well below one over the number of devices, such as 1e-6",
    )
