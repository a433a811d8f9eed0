"""By how much one person changes a table of sums: three norms, and what they are for.

Adjacency is *add or remove one person*, with all of their rows: the number of people is not public.
Write f(D) for the vector of sums by key. Every step below a `Total` is local to a person, so that
f(D) = Σ_p f_p, a sum of vectors of which each depends on one person's rows alone, and neighbours
differ by one f_p. Hence the sensitivity in any norm is the greatest norm that an f_p may have, and
nothing else enters it: no join with other people's rows, no number of rows.

A person's rows fall into at most `groups` disjoint sets of keys, and in each of them all that the
person adds, in absolute values over all keys of the set, is at most `most`. Then

    |f_p|_1 <= groups most,   |f_p|_2² <= groups most²,   |f_p|_∞ <= most,

the second because in one set |x|_2 <= |x|_1 <= most. Any true division into sets gives true bounds,
so the least over several divisions is one too.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The greatest l1 norm, squared l2 norm and l∞ norm of what one person adds to the sums."""

    l1: int
    l2_squared: int
    linf: int

    @classmethod
    def of(cls, groups: int, most: int) -> Sensitivity:
        """Of at most `groups` disjoint sets of keys, in each of which a person adds `most`."""
        return cls(groups * most, groups * most * most, most)

    def least(self, other: Sensitivity) -> Sensitivity:
        """What holds if both do."""
        return Sensitivity(
            min(self.l1, other.l1),
            min(self.l2_squared, other.l2_squared),
            min(self.linf, other.linf),
        )
