"""Privacy filters: capacities that hold however each release is chosen after what was seen before.

`privacy.loss` composes releases whose parameters were fixed before. Over the years of a project
they are not: a team looks at a result and decides what to ask next, at which ε, of which rows. A
*filter* of capacity (ε, δ) sees each release before it runs and lets it pass or not; all that it
lets pass is together (ε, δ)-DP (Rogers, Roth, Ullman, Vadhan 2016, "Privacy Odometers and
Filters"; Feldman, Zrnic 2021, "Individual Privacy Accounting via a Rényi Filter"; Lécuyer 2021,
"Practical Privacy Filters and Odometers with Rényi DP").

**Derivation.** Let p and q be the densities of all that is released on two neighbouring data sets,
L = ln p/q, L_i the part of release i given what came before, and D_i >= D_α(P_i || Q_i), known
before it runs, for one order α *fixed by the capacity alone*. Then

    M_t = exp((α-1) Σ_{i<=t} (L_i - D_i)),   E_p[M_t | past] <= M_{t-1},   so E_p[M_T] <= 1.

Let B be the largest Rényi divergence of order α that converts to (ε, δ/2) (`privacy.loss`). A
release passes if, with it, one of these holds:

    A   no release has a ρ, and Σ ε_i <= ε          (basic composition)
    B   Σ D_i <= B                                  (the Rényi filter)

and Σ δ_i <= δ/2 for the δ of releases' own. *Proof.* Let S be the views on which A holds in the
end, and let no release fail at its own δ. On S: L <= ε. Elsewhere B holds, and with
c = (1-1/α)^(α-1) / α, the greatest value of (1 - exp(-y)) exp(-(α-1) y),

    E_p[(1 - exp(ε-L))₊ ; not S] <= c exp(-(α-1) ε) E_p[exp((α-1) L) ; not S]
                                 <= c exp((α-1)(B-ε)) E_p[M_T] <= δ/2

by the conversion that defines B (Canonne, Kamath, Steinke 2020, proposition 12). The releases' own
failures add at most δ/2. The same with p and q exchanged. ∎

It is one order, and not the best of all as for fixed parameters: with a choice of orders at the
end the argument fails, and each would have to pay for being looked at. α is the order at which
releases of zCDP get most out of the capacity, hence for them nothing is lost but the half of δ.
Privacy loss distributions would be tighter still, and hold for fixed parameters only.

The proof needs of α and of the split of δ that they are fixed before the first release, given all
that is known by then; neither δ/2 nor the order is special. A filter made for a loss (`like`)
takes the order at which that loss leaves most room, keeps exactly that loss's own Σ δ_i =: f for
releases' failures, and B is of (ε, δ - f). Then basic composition and the best order say of that
loss what the filter says of it, so whoever declares beforehand all that will be released loses
nothing. After the first release another `like` would be another filter, and the failures of both
would add: whoever keeps the books must keep the first (`govern.ledger`).

**Epochs.** Time is cut into epochs, and the unit of protection is one person's rows of one epoch:
neighbours differ in whether these were recorded. A release that reads no row of an epoch is the
same on both: it costs that epoch nothing, and releases of different epochs compose in parallel.
Each epoch has a filter of its own, and all that touches the epoch passes it, in sequence, whoever
asks (the *global filter*; Tholoniat et al. 2024, "Cookie Monster"; Big Bird, arXiv
2506.05290). What one querier may use of it is bounded by a quota, a smaller filter of the same
kind. Quotas keep one from using up what others need; the promise to people is the global filter's,
since queriers may compare what they got.

A release that reads one epoch only loses, when the epoch's rows go, what it loses when the person
goes. One that reads several changes what the person gave: for claims about adding or removing a
person that is two steps, so ρ counts fourfold, ε twice, and δ (1 + exp(ε))-fold (Bun, Steinke
2016, proposition 1.9 with k = 2; Dwork, Roth 2014, theorem 2.2); claims about any change of a value
hold as they are (`of_one_epoch`). When a row arrives, or is asked for, has no part in it, only the
epoch in which it is dated: a clock that is wrong moves what is charged and what is read together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from tacit.errors import PrivacyError
from tacit.privacy.loss import Loss, Term, response_renyi

_ROUNDING = Fraction(1, 10**9)  # three releases of 0.1 fill a capacity of 0.3, as in the ledger
_WIDEN = 1e-12


@dataclass(frozen=True, slots=True)
class Cost:
    """What releases cost a filter, as exact sums: of δ, ε, ρ, and divergences at its order."""

    failure: Fraction = Fraction(0)
    pure: Fraction = Fraction(0)
    rho: Fraction = Fraction(0)
    renyi: Fraction = Fraction(0)

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.failure + other.failure,
            self.pure + other.pure,
            self.rho + other.rho,
            self.renyi + other.renyi,
        )

    def __neg__(self) -> Cost:
        return Cost(-self.failure, -self.pure, -self.rho, -self.renyi)


@dataclass(frozen=True, slots=True)
class Filter:
    """A capacity of (ε, δ). An ε of 0 lets nothing pass.

    `like` is the loss that it is made for, fixed before the first release; see the module. Without
    one it is made for zCDP, with half of δ for releases' own failures.

    Raises PrivacyError T520 for an ε that is not finite and 0 or more, a δ outside (0, 1), and
    numbers that are subnormal.
    """

    epsilon: float
    delta: float
    like: Loss | None = None

    def __post_init__(self) -> None:
        least = 2.3e-308
        for value, what in ((self.epsilon, "epsilon"), (self.delta, "delta")):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            right = number and math.isfinite(value) and (value >= least or value == 0)
            if not right or (what == "delta" and not 0 < value < 1):
                raise PrivacyError(
                    f"a filter cannot hold {what} = {value!r}",
                    code="T520",
                    fix="give a finite epsilon of 0 or more, and a delta between 0 and 1",
                )

    @property
    def order(self) -> float:
        """The Rényi order α of rule B."""
        return _order(self.epsilon, self.delta, self.like)[0]

    @property
    def bound(self) -> float:
        """The divergence B at that order."""
        return _order(self.epsilon, self.delta, self.like)[1]

    def cost(self, loss: Loss) -> Cost:
        """What a release of this loss costs."""
        alpha = self.order
        responses = sum(
            (Fraction(response_renyi(e, alpha, alpha - 1)) * n for e, _, n in loss.terms if e),
            Fraction(0),
        )
        return Cost(
            failure=sum((Fraction(d) * n for _, d, n in loss.terms), Fraction(0)),
            pure=sum((Fraction(e) * n for e, _, n in loss.terms), Fraction(0)),
            rho=Fraction(loss.rho),
            renyi=Fraction(alpha) * Fraction(loss.rho) + responses,
        )

    def holds(self, loss: Loss) -> bool:
        """Whether releases of this loss together pass."""
        return self.fits(self.cost(loss))

    def fits(self, total: Cost) -> bool:
        """Whether releases that cost this together pass."""
        return self.epsilon > 0 and self.share(total) <= 1 + _ROUNDING

    def share(self, total: Cost) -> Fraction:
        """How full it is, from 0; 1 is full. More where the capacity was lowered since."""
        if total == Cost():
            return Fraction(0)
        if not self.epsilon:
            return Fraction(2)
        failures = _failures(self.delta, self.like)
        if total.failure > failures:
            # A filter made for releases that never fail has no room for one that may.
            return total.failure / failures if failures else Fraction(2)
        by_renyi = total.renyi / Fraction(self.bound) if self.bound else Fraction(2)
        by_sum = by_renyi if total.rho else total.pure / Fraction(self.epsilon)
        by_failure = total.failure / failures if failures else Fraction(0)
        return max(by_failure, min(by_renyi, by_sum))


def _failures(delta: float, like: Loss | None) -> Fraction:
    """What of δ is for the failures of releases themselves."""
    return Fraction(delta) / 2 if like is None else Fraction(like.failure)


@lru_cache(maxsize=1024)
def _order(epsilon: float, delta: float, like: Loss | None) -> tuple[float, float]:
    """α and B: the order with the greatest B / D_α(like). Every one would be sound.

    For zCDP it is of a fixed grid; for a loss it is sought between, to its last digits. B is made
    smaller by more than its rounding, and is 0 where failures leave no δ. At a huge order B is
    next to ε, so there is one.
    """
    rest = Fraction(delta) - _failures(delta, like)
    if not epsilon or rest <= 0:
        return 2.0, 0.0
    log_inverse = math.log(2) - math.log(delta) if like is None else -math.log(rest)

    def bound(alpha: float) -> float:
        over = alpha - 1
        terms = (epsilon, -math.log1p(-1 / alpha), -log_inverse / over, math.log(alpha) / over)
        return math.fsum(terms) - _WIDEN * sum(map(abs, terms))

    def room(step: float) -> float:
        alpha = 1 + math.exp(step / 16)
        return bound(alpha) / (alpha if like is None else _divergence(like, alpha))

    steps: list[float] = [float(step) for step in range(-64, 33 * 16)]
    best = max(steps, key=room)
    if like is not None:
        best = _between(room, best - 1, best + 1)
    found = 1 + math.exp(best / 16)
    if not bound(found) > 0:
        raise PrivacyError(
            f"epsilon = {epsilon} at delta = {delta} is too little for a filter",
            code="T520",
            fix="give a larger epsilon or delta",
        )
    return found, bound(found)


def _divergence(loss: Loss, alpha: float) -> float:
    """A bound of D_α, above 0; of a loss that only fails, that of zCDP."""
    parts = [n * response_renyi(e, alpha, alpha - 1) for e, _, n in loss.terms if e]
    return math.fsum((alpha * loss.rho, *parts)) or alpha


def _between(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function of one peak is greatest, by golden section."""
    golden = (math.sqrt(5.0) - 1.0) / 2.0
    for _ in range(40):
        c, d = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, d) if function(c) > function(d) else (c, high)
    return (low + high) / 2


def made_for(
    epsilon: float, delta: float, declared: Loss, first: Loss | None = None
) -> Loss | None:
    """What the filter of a budget is made for, decided before anything is spent of it; see the
    module. The usual one (None) if that holds all that is declared and the first spend, else one
    for what is declared, else one for that first spend.
    """
    first = declared if first is None else first
    for whole, like in ((declared, None), (declared, declared), (first, first)):
        chosen = Filter(epsilon, delta, like)
        if chosen.holds(whole) and chosen.holds(first):
            return like
    return None


def needed(holds: Callable[[float], bool], epsilon: float) -> float:
    """About the least ε from this one on at which there is room, from above; infinite where no ε
    makes any. `holds` asks the filter of an ε."""
    low, high = max(epsilon, 1e-9), 2 * max(epsilon, 1.0)
    for _ in range(12):
        if holds(high):
            break
        high *= 2
    else:
        return math.inf
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def of_one_epoch(loss: Loss, adjacency: str, *, several: bool) -> Loss:
    """What a release loses of one person's rows of one epoch; see the module.

    `adjacency` is the claim's; one that does not speak of replacing or changing a value is taken to
    be of adding or removing a person. `several`: whether it reads more than one epoch.
    """
    if not several or "replace" in adjacency or "change" in adjacency:
        return loss
    terms: dict[tuple[float, float], int] = {}
    for epsilon, delta, times in loss.terms:
        grown = min(1.0, delta * (1 + math.exp(min(epsilon, 700.0))) * (1 + _WIDEN))
        pair = (2 * epsilon, grown)
        terms[pair] = terms.get(pair, 0) + times
    return Loss(4 * loss.rho, tuple(Term(*pair, count) for pair, count in sorted(terms.items())))
