"""Amplification by shuffling: what anonymous reports of ε₀-local randomisers cost, numerically.

n devices send one report each, by a randomiser of pure ε₀; a shuffler forwards them without names
and in random order. Toward whoever sees only its output, replacing one device's value changes far
less than ε₀ says: the report hides among others that look alike.

**Clones** (Feldman, McMillan, Talwar 2021, "Hiding Among the Clones", FOCS, theorem 3.1). Let A₀
and A₁ be the report's distribution for the two values, e = exp(ε₀). They have a decomposition
A₀ = (e Q₀ + Q₁)/(e + 1), A₁ = (Q₀ + e Q₁)/(e + 1) with distributions Q₀, Q₁, since each of A₀, A₁
is at most e times the other; hence Q₀ + Q₁ = A₀ + A₁. Another device's report has A_i >= A₀/e and
>= A₁/e, so A_i >= (Q₀ + Q₁) γ/2 with γ = exp(-ε₀): with probability γ it is a clone, drawn from Q₀
or Q₁ with even chances. Tell the observer who is neither: what is left to see is how many were
drawn of each,

    P = (A + Δ, C - A + 1 - Δ)    against    Q = (A + 1 - Δ, C - A + Δ),
    C ~ Bin(n - 1, γ),   A ~ Bin(C, 1/2),   Δ ~ Bernoulli(e / (e + 1)),

and the shuffled reports are a function of that, and of randomness. So whatever divergence is
bounded for (P, Q) is bounded for them: the pair dominates.

**Fewer assumptions on the pair, more clones.** All that is used of γ is A_i >= (A₀ + A₁) γ/2. For
k-ary randomized response A_i >= (A₀ + A₁)/(e + 1) holds: where A₀ and A₁ differ, one of them is e
times the other and A_i at least the smaller; where not, all three are the smaller or A_i is the
greater. So γ = 2/(e + 1) there (`RESPONSE`): the "stronger clones" of Feldman, McMillan, Talwar
2023 (SODA). For mechanisms whose reports suit two values and not a third (subsets, hashing,
Hadamard) the inequality fails, and this module does not claim it.

**Evaluation.** Given C = c, the ratio P/Q at a of c + 1 rises with a, and with E = exp(ε)

    δ_c(ε) = (e - E)/(e + 1) · P[A = t - 1] - (E - 1) · P[A >= t],
    t the least whole number above (c + 1)(eE - 1) / ((e - 1)(E + 1)).

δ_c falls with c (an element more can be added without knowing anything), so over cells of a grid of
c its value at the left end is a bound: with δ_i its value at the grid's i-th c, g_i, we have
δ <= Σ_i (δ_{i-1} - δ_i) P[C < g_i] + δ_last, a sum of positive terms. Nothing is cut off.
Probabilities below 1e-280 are bounded by Chernoff's exp(-m KL); others are widened by 1e-9, more
than the error of SciPy's binomials (tested against mpmath). So every δ here is an upper bound, in
logarithms.

**Rényi divergence, hence ρ.** With h(ε) = δ(ε), the same in both directions because the pair is
symmetric, E_Q[(P/Q)^α] = 1 + α(α - 1) ∫_0^∞ (exp((α-1)ε) + exp(-αε)) h(ε) dε (Sason, Verdú 2016,
"f-Divergence Inequalities", theorem 9). h is convex in exp(ε), so a chord lies above it; in each
cell the other factor is replaced by its largest value. D_α rises with α, so on [α, α'] D/α is at
most D_α'/α; and beyond the last, D <= ε₀. The greatest is ρ: the loss composes in the ledger. ρ is
that of the worst order, which for one release makes up to three times its ε: `Shuffled.loss` says
when (ε, δ) itself is the cheaper one to compose.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp
from scipy.stats import binom

from tacit.errors import PrivacyError
from tacit.privacy.loss import Loss, approximate_dp, compose, pure_dp, zcdp
from tacit.privacy.mechanism import Claim

Floats = npt.NDArray[np.float64]

_WIDEN = 1e-9
_TINY = 1e-280
_MOST = 1 << 40
_TOGETHER = 64  # points of the curve computed at once

TRUST = (
    "The shuffler keeps to itself which device sent what, and forwards whole batches only.",
    "Toward the shuffler, and whoever it colludes with, each report has its local loss.",
)


def GENERAL(epsilon: float) -> float:  # noqa: N802 - a constant in all but the argument
    """γ of any randomiser of pure ε₀: exp(-ε₀)."""
    return math.exp(-epsilon) * (1 - 1e-15)


def RESPONSE(epsilon: float) -> float:  # noqa: N802
    """γ of k-ary (and binary) randomized response: 2 / (exp(ε₀) + 1); see the module."""
    return 2 / (math.exp(epsilon) + 1) * (1 - 1e-15)


@dataclass(frozen=True, slots=True)
class Shuffled:
    """The loss of `reports` shuffled reports, each of pure `local`, toward who sees the output.

    `reports` is n of the module, the fewest that a batch may have: with more the loss is less.
    `clones` gives γ from ε₀. Neighbours differ in the value of one device; all else is the same.
    Raises PrivacyError T580 unless 0 < local <= 40 and 1 <= reports <= 2^40.
    """

    local: float
    reports: int
    clones: Callable[[float], float] = GENERAL

    def __post_init__(self) -> None:
        real = type(self.local) in (int, float) and 1e-6 <= self.local <= 40
        if not (real and type(self.reports) is int and 1 <= self.reports <= _MOST):
            raise PrivacyError(
                f"{self.reports} shuffled reports of ε₀ = {self.local} have no loss that is known",
                code="T580",
                fix="give a local ε from 1e-6 to 40, and a whole number of reports",
            )

    def delta(self, epsilon: float) -> float:
        """An upper bound of the δ at ε >= 0; 0 from the local ε on."""
        return float(np.exp(self._curve(np.array([_at_least(epsilon)])))[0])

    def epsilon(self, delta: float) -> float:
        """An ε for which it is (ε, δ)-DP, found by bisection from above; at most the local one."""
        if not 0 < delta < 1:
            raise _bad(f"delta = {delta}", "a probability above 0 and below 1")
        curve, target = self._prepared(), math.log(delta)
        if curve(np.zeros(1))[0] <= target:
            return 0.0
        low, high = 0.0, self.local
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (low, middle) if curve(np.array([middle]))[0] <= target else (middle, high)
        return high

    def loss(self, delta: float | None = None, releases: int = 1) -> Loss:
        """What composes, of one of `releases` such releases that are told together at `delta`.

        Three losses are true of it: the pure local one; ρ; and (ε, δ') at any δ', for all of which
        δ/2 is kept here, as a filter of that δ has room for. Few releases cost less by the last,
        many by ρ: the least of their sum is taken. Without a `delta` it is ρ or the local one.
        """
        rho = self.rho()
        known = [pure_dp(self.local), *([zcdp(rho)] if rho < self.local**2 / 8 else [])]
        if delta is None:
            return known[-1]
        if not 0 < delta < 1 or type(releases) is not int or releases < 1:
            raise _bad(f"{releases} releases at {delta}", "a number of them, and a probability")
        each = delta / 2 / releases
        known.append(approximate_dp(self.epsilon(each), each))
        return min(known, key=lambda loss: compose([loss] * releases).epsilon(delta))

    def rho(self, cells: int = 300) -> float:
        """ρ of zCDP, rounded up; see the module. `cells` of the integral."""
        nodes = self.local * (np.arange(cells + 1) / cells) ** 2
        heights = self._curve(nodes)
        with np.errstate(divide="ignore"):
            chord = np.logaddexp(heights[:-1], heights[1:]) - math.log(2)
        widths = chord + np.log(np.expm1(np.diff(nodes)))
        best, last, ratio = 0.0, 1.0, 1.02
        alpha = 1.01
        while best == 0.0 or self.local / last > best:
            up = np.logaddexp((alpha - 1) * nodes[1:], -alpha * nodes[:-1])
            inner = math.log(alpha * (alpha - 1)) + float(logsumexp(widths + up))
            renyi = float(np.logaddexp(0.0, inner)) / (alpha - 1)
            best = max(best, min(renyi, self.local) / last)
            last, alpha = alpha, 1 + (alpha - 1) * ratio
        return best * (1 + _WIDEN)

    def pld(self, interval: float = 1e-2) -> tuple[Floats, Floats]:
        """A discrete privacy loss distribution that dominates: losses (m,), multiples of
        `interval`, and their probabilities under P (m,), which sum to 1. No loss is infinite.

        Between the nodes the curve δ is replaced by its chord in exp(ε), which lies above it
        (Doroshenko, Ghazi, Kamath, Kumar, Manurangsi 2022, "Connect the Dots"): the probability of
        a node under Q is how much the slope changes there, under P exp(loss) times that.
        """
        if not interval >= self.local * 1e-5:
            raise _bad(f"interval = {interval}", "a fraction of the local ε, not below 1e-5 of it")
        most = math.ceil(self.local / interval)
        nodes = interval * np.arange(-most, most + 1)
        upper = np.exp(self._curve(np.minimum(np.abs(nodes), self.local)))
        # δ(-ε) = 1 - exp(-ε) + exp(-ε) δ(ε), for a symmetric pair.
        heights = np.where(nodes < 0, -np.expm1(nodes) + np.exp(nodes) * upper, upper)
        places = np.concatenate([[0.0], np.exp(nodes)])
        hull = _below(places, np.concatenate([[1.0], heights]))
        x, y = places[hull], np.concatenate([[1.0], heights])[hull]
        slopes = np.append(np.diff(y) / np.diff(x), 0.0)
        mass = np.maximum(np.diff(slopes), 0.0) * x[1:]  # but for rounding, slopes rise
        return np.log(x[1:]), mass / mass.sum()

    def _curve(self, epsilons: Floats) -> Floats:
        return self._prepared()(epsilons)

    def _prepared(self) -> Callable[[Floats], Floats]:
        """ln δ at each of some ε (m,), with what does not depend on ε computed once."""
        clones = self.clones(self.local)
        grid = _grid(self.reports - 1, clones)
        below = _log_below(grid[1:], self.reports - 1, clones)

        def curve(epsilons: Floats) -> Floats:
            out = np.full(len(epsilons), -np.inf)
            inside = np.flatnonzero(epsilons < self.local)
            for start in range(0, len(inside), _TOGETHER):
                some = inside[start : start + _TOGETHER]
                given = _log_given(grid, self.local, epsilons[some, None])
                heights = np.minimum.accumulate(given, axis=1)
                with np.errstate(divide="ignore", invalid="ignore"):
                    steps = heights[:, :-1] + np.log(-np.expm1(np.diff(heights, axis=1)))
                steps = np.where(np.isnan(steps), -np.inf, steps) + below
                terms = np.concatenate([steps, heights[:, -1:]], axis=1)
                out[some] = np.minimum(0.0, logsumexp(terms, axis=1) + _WIDEN)
            return out

        return curve


def shuffled(
    claim: Claim, reports: int, delta: float, *, response: bool = False, releases: int = 1
) -> Claim:
    """The claim of a local mechanism whose reports pass a shuffler in batches of `reports` or more.

    `response`: whether the mechanism is randomized response, which has more clones. `releases`: how
    many of such there will be for a budget at `delta`; its loss is told so that they cost least.
    Toward the shuffler the local claim stays: it is the aggregator's loss. Raises PrivacyError T580
    for a claim that is not of pure local DP.
    """
    if claim.loss != pure_dp(claim.epsilon) or claim.delta != 0.0:
        raise _bad(f"the claim of {claim.mechanism!r}", "one of a local mechanism, pure in ε")
    pair = Shuffled(claim.epsilon, reports, RESPONSE if response else GENERAL)
    return replace(
        claim,
        mechanism=f"{claim.mechanism}, shuffled",
        adjacency="replace one device's value by any other, or by nothing",
        delta=delta,
        loss=pair.loss(delta, releases),
        epsilon=pair.epsilon(delta),
        trust=(*TRUST, *claim.trust[1:]),
    )


def closed_form(local: float, reports: int, delta: float) -> float:
    """The closed bound of Feldman, McMillan, Talwar 2021, theorem 3.1, for comparison.

    ln(1 + (e - 1)/(e + 1) · (8 √(e ln(4/δ)) / √n + 8 e/n)), e = exp(ε₀), for
    ε₀ <= ln(n / (16 ln(2/δ))); beyond that the local ε itself.
    """
    if local > math.log(reports / (16 * math.log(2 / delta))):
        return local
    e = math.exp(local)
    root = 8 * math.sqrt(e * math.log(4 / delta)) / math.sqrt(reports)
    return min(local, math.log1p((e - 1) / (e + 1) * (root + 8 * e / reports)))


# ---------------------------------------------------------------------- the pieces


def _grid(trials: int, chance: float) -> Floats:
    """Whole numbers from 0 to past what C is likely to be; all of them where there are few."""
    mean = trials * chance
    spread = math.sqrt(mean * (1 - chance)) + 1
    low, high = max(0.0, mean - 12 * spread), min(float(trials), mean + 10 * spread)
    if high <= 600:
        return np.arange(math.ceil(high) + 1, dtype=np.float64)
    few = np.geomspace(1.0, max(low, 2.0), 100)
    near = np.linspace(low, high, 300)
    return np.unique(np.floor(np.concatenate([[0.0], few, near])))


def _log_below(points: Floats, trials: int, chance: float) -> Floats:
    """Upper bounds of ln P[C < point] for C ~ Bin(trials, chance)."""
    exact = binom.cdf(points - 1, trials, chance)
    share = np.minimum((points - 1) / max(trials, 1), chance)
    chernoff = -trials * _divergence(share, chance)
    with np.errstate(divide="ignore"):
        return np.where(exact > _TINY, np.minimum(np.log(exact) + _WIDEN, 0.0), chernoff)


def _log_given(counts: Floats, local: float, epsilon: Floats) -> Floats:
    """Upper bounds of ln δ_c at each ε < ε₀ (m, 1), for each c of `counts` (k,); shape (m, k)."""
    e, big = math.exp(local) * (1 + 1e-15), np.exp(epsilon)
    mark = (e * big - 1) / ((e - 1) * (big + 1))
    t = np.floor((counts + 1) * mark) + 1
    first = (e - big) / (e + 1) * binom.pmf(t - 1, counts, 0.5)
    second = np.expm1(epsilon) * binom.sf(t - 1, counts, 0.5)
    exact = first * (1 + _WIDEN) - second * (1 - _WIDEN)
    # P[a >= t] <= P[A >= t - 1], and nothing where t is past the last a.
    share = np.divide(t - 1, counts, out=np.ones_like(t), where=counts > 0)
    chernoff = -counts * _divergence(np.clip(share, 0.5, 1.0), 0.5)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where((exact > _TINY) & (first > _TINY), np.log(exact), chernoff)
    return np.where(t > counts + 1, -np.inf, found)


def _divergence(share: Floats, chance: float) -> Floats:
    """KL(share || chance) of two coins, a little less than it is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(share > 0, share * np.log(share / chance), 0.0)
        right = np.where(share < 1, (1 - share) * np.log((1 - share) / (1 - chance)), 0.0)
    found: Floats = np.maximum(left + right, 0.0) * (1 - 1e-12)
    return found


def _below(x: Floats, y: Floats) -> list[int]:
    """The corners of the greatest convex curve that lies nowhere above the points (Andrew 1979).

    What is convex and below all points is below that curve too: it stays an upper bound.
    """
    corners: list[int] = []
    for place in range(len(x)):
        while len(corners) > 1:
            a, b = corners[-2], corners[-1]
            if (y[b] - y[a]) * (x[place] - x[a]) < (y[place] - y[a]) * (x[b] - x[a]):
                break
            corners.pop()
        corners.append(place)
    return corners


def _at_least(epsilon: float) -> float:
    if not (isinstance(epsilon, int | float) and epsilon >= 0):
        raise _bad(f"epsilon = {epsilon}", "a number of 0 or more")
    return float(epsilon)


def _bad(what: str, wanted: str) -> PrivacyError:
    return PrivacyError(f"{what} cannot be shuffled", code="T580", fix=f"give {wanted}")
