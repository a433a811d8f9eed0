"""Top-k: the best of public candidates, by permute-and-flip, one after the other.

**Mechanism** (McKenna, Sheldon 2020, "Permute-and-Flip", algorithm 1): go through the candidates in
random order; take the one at hand with probability exp(-ε₀ (max s - s_c) / Δ), else go on. The best
is always taken when it comes, so it ends. k rounds, each without those taken before.

All coins may be thrown at once: the first success in a random order is a uniformly random one of
all that succeed. So a round is a coin for each candidate, and one uniform choice.

**Privacy.** A person adds to scores and takes from none (add or remove: one neighbour's scores are
all at most the other's), by at most Δ each. Permute-and-flip is report-noisy-max with exponential
noise of scale Δ/ε₀ (Ding et al. 2021, "The Permute-and-Flip Mechanism is Identical to
Report-Noisy-Max with Exponential Noise"). Fix all noises but that of c: c wins if its noise exceeds
a threshold t, which changes by at most Δ between neighbours *if all scores move the same way*,
since then s_c and the others' maximum do. The tail min(1, exp(-tε₀/Δ)) changes by at most exp(ε₀).
So each round is ε₀-DP, without the factor 2 of the general case; the tests enumerate it. Rounds
compose: each runs on the scores of the candidates that are left, which move the same way too.

**Exactly.** The exponent is rational. A coin compares a 64-bit word, the first bits of a uniform
real, with exp(-x) in doubles, and uses that only with a margin of 2^-40, far above the error of
both; what is nearer is decided by `noise_exact` with further bits. No probability is approximated.

**Loss.** k releases of pure ε₀, which the ledger composes. How good: with probability 1 - β the
score taken in a round is within (Δ/ε₀) ln(m/β) of the best of m (report-noisy-max, union bound).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from tacit.privacy.central.sums import Integers
from tacit.privacy.local.draws import Draws
from tacit.privacy.loss import Loss, Term, round_up
from tacit.privacy.noise_exact import bernoulli, exp_minus
from tacit.privacy.randomness import Randomness

_MARGIN = 2.0**-40


@dataclass(frozen=True, slots=True)
class PermuteAndFlip:
    """`rounds` choices of ε₀ each, by scores that one person raises by at most `most`."""

    epsilon: Fraction
    rounds: int
    most: int

    @property
    def loss(self) -> Loss:
        """`rounds` times pure ε₀."""
        return Loss(terms=(Term(round_up(self.epsilon), 0.0, self.rounds),))

    def choose(self, scores: Integers, randomness: Randomness) -> Integers:
        """The places of the chosen candidates, the first one first; fewer if there are fewer."""
        left = np.arange(len(scores))
        taken = []
        for _ in range(min(self.rounds, len(scores))):
            place = self.one(scores[left], randomness)
            taken.append(int(left[place]))
            left = np.delete(left, place)
        return np.array(taken, np.int64)

    def one(self, scores: Integers, randomness: Randomness) -> int:
        """One round: the place of one candidate."""
        heads = flips(int(scores.max()) - scores, self.epsilon / self.most, randomness)
        among = np.flatnonzero(heads)
        return int(among[int(Draws(randomness).below(len(among), 1)[0])])


def flips(gaps: Integers, rate: Fraction, randomness: Randomness) -> npt.NDArray[np.bool_]:
    """Independent coins: the i-th lands with probability exp(-rate gaps[i]), exactly.

    `gaps` are not negative and below 2^53.
    """
    words = randomness.uint64(gaps.size)
    chance = np.exp(-float(rate) * gaps.astype(np.float64))
    uniform = words.astype(np.float64) * 2.0**-64
    heads = uniform < chance
    for i in np.flatnonzero((np.abs(uniform - chance) < _MARGIN) & (gaps > 0)).tolist():
        known, exact = int(words[i]), exp_minus(rate * int(gaps[i]))
        heads[i] = bernoulli(exact, randomness, known=known, bits=64)
    heads[gaps == 0] = True
    return heads
