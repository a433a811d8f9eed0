"""Epochs of people's time: each has a filter, and every querier a quota of it.

`privacy.filters` derives what that promises. Here spends are laid over the epochs that they touch.
What was spent without saying what it touched touched everything, of everybody: that is true of
spends from before epochs were declared, and of every caller that does not know better. Only public
parameters decide, never rows, so a refusal tells nothing of anybody.

Spends are kept by the times they read (µs, half open), not by number of epoch: another length of
epochs takes effect at once, and old spends count in every new epoch that they overlap.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal, NamedTuple

from tacit.errors import BudgetError
from tacit.govern.spends import Spend, Touched, number, refused
from tacit.privacy.filters import Cost, Filter, of_one_epoch
from tacit.values import DAY, SECOND

Kind = Literal["filter", "querier", "purpose"]
Number = float  # of an epoch: an int, or an infinity where there is no first or last one


@dataclass(frozen=True, slots=True)
class Epochs:
    """How the time of a kind of person is cut, and what may be learned of one epoch.

    Attributes:
        subject: the entity.
        length: µs; epoch k is [k · length, (k + 1) · length) since 1970.
        epsilon, delta: the capacity of the filter that everything passes.
        queriers: quotas by team, ε at `delta`; a team without one has none. None: no quotas.
        purposes: budgets (ε, δ) that a purpose has in each epoch.

    Raises PrivacyError T562 for capacities or lengths that are none.
    """

    subject: str
    length: int
    epsilon: float
    delta: float
    queriers: Mapping[str, float] | None = None
    purposes: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pairs = [(self.epsilon, self.delta), *self.purposes.values()]
        pairs += [(epsilon, self.delta) for epsilon in (self.queriers or {}).values()]
        whole = isinstance(self.length, int) and not isinstance(self.length, bool)
        sound = all(number(e) and number(d) and 0 < d < 0.1 for e, d in pairs)
        if not (whole and self.length > 0 and sound):
            raise refused(
                "T562",
                f"epochs of {self.length} µs with ε, δ of {pairs} are none",
                f"subject {self.subject}",
                "give a length above 0, a finite ε of 0 or more, and a δ well below 0.1",
            )

    def filters(self) -> dict[tuple[Kind, str], Filter]:
        """Every capacity of an epoch: the global one, quotas, budgets of purposes."""
        found: dict[tuple[Kind, str], Filter] = {
            ("filter", self.subject): Filter(self.epsilon, self.delta)
        }
        for team, epsilon in (self.queriers or {}).items():
            found["querier", team] = Filter(epsilon, self.delta)
        for purpose, (epsilon, delta) in self.purposes.items():
            found["purpose", purpose] = Filter(epsilon, delta)
        return found

    def capacity(self, kind: Kind, name: str) -> Filter:
        """One of `filters`; of nothing where there is none by that name."""
        return self.filters().get((kind, name), Filter(0.0, self.delta))

    def span(self, spend: Spend) -> Span | None:
        """The epochs that a spend touched; None for none."""
        if spend.touched is None:
            return Span(-math.inf, math.inf)
        spans = [
            _span(touched, self.length)
            for touched in spend.touched
            if touched.subject == self.subject
        ]
        if not spans:
            return None
        return Span(min(span.first for span in spans), max(span.last for span in spans))

    def moment(self, epoch: Number) -> str:
        """When an epoch begins, for people."""
        if not math.isfinite(epoch):
            return "ever"
        try:
            begins = datetime.fromtimestamp(int(epoch) * self.length / SECOND, UTC)
        except (OverflowError, ValueError, OSError):
            return f"epoch {int(epoch)}"
        return begins.strftime("%Y-%m-%d" if self.length % DAY == 0 else "%Y-%m-%dT%H:%M")


class Span(NamedTuple):
    """Epochs from `first` to `last`, both of them in it."""

    first: Number
    last: Number


class Run(NamedTuple):
    """Neighbouring epochs that the same spends touch, and what these cost a filter."""

    span: Span
    cost: Cost


@dataclass(frozen=True, slots=True)
class Standing:
    """How full a capacity is in some epochs: `share` of 1 is full."""

    subject: str
    kind: Kind
    name: str
    span: Span
    capacity: Filter
    share: float

    @property
    def left(self) -> float:
        """What is left, in ε of the capacity."""
        return max(0.0, 1.0 - self.share) * self.capacity.epsilon


def checks(epochs: Epochs, spend: Spend) -> Iterator[tuple[Kind, str]]:
    """The capacities that a spend must pass."""
    yield "filter", epochs.subject
    if epochs.queriers is not None:
        yield "querier", spend.querier
    for purpose in spend.purposes:
        if purpose in epochs.purposes:
            yield "purpose", purpose


def afford(epochs: Epochs, spends: Sequence[Spend], new: Spend, where: str) -> None:
    """Raises BudgetError T544 where an epoch's filter does not hold the new spend, T545 where its
    querier's quota does not, T501 where its purpose's budget of an epoch does not."""
    span = epochs.span(new)
    if span is None:
        return
    for kind, name in checks(epochs, new):
        capacity = epochs.capacity(kind, name)
        charged = [spend for spend in spends if _concerns(spend, kind, name)]
        for run in runs(epochs, capacity, [*charged, new], span):
            if not capacity.fits(run.cost):
                raise _spent(epochs, (kind, name), capacity, run, new, where)


def standing(epochs: Epochs, spends: Sequence[Spend]) -> tuple[Standing, ...]:
    """How full each capacity is, over all epochs that were touched, oldest first."""
    found = []
    for (kind, name), capacity in epochs.filters().items():
        charged = [spend for spend in spends if _concerns(spend, kind, name)]
        for run in runs(epochs, capacity, charged, Span(-math.inf, math.inf)):
            share = float(capacity.share(run.cost))
            found.append(Standing(epochs.subject, kind, name, run.span, capacity, share))
    return tuple(found)


def runs(epochs: Epochs, capacity: Filter, spends: Iterable[Spend], within: Span) -> Iterator[Run]:
    """The epochs of a span that are touched at all, in runs; sums are exact, so nothing drifts."""
    steps: dict[Number, Cost] = {}
    for spend in spends:
        span = epochs.span(spend)
        if span is None:
            continue
        several = span.last > span.first
        cost = capacity.cost(of_one_epoch(spend.loss, spend.adjacency, several=several))
        first, last = max(span.first, within.first), min(span.last, within.last)
        if first <= last:
            steps[first] = steps.get(first, Cost()) + cost
            steps[last + 1] = steps.get(last + 1, Cost()) + -cost
    total, places = Cost(), sorted(place for place, step in steps.items() if step != Cost())
    for place, after in pairwise([*places, math.inf]):
        total = total + steps[place]
        if total != Cost():
            yield Run(Span(place, after - 1), total)


def _concerns(spend: Spend, kind: Kind, name: str) -> bool:
    if kind == "querier":
        return spend.querier == name
    return kind == "filter" or name in spend.purposes


def _span(touched: Touched, length: int) -> Span:
    first = -math.inf if touched.start is None else touched.start // length
    last = math.inf if touched.end is None else (touched.end - 1) // length
    return Span(first, last)


_WHAT = {
    "filter": ("T544", "the filter of one {name}'s epoch"),
    "querier": ("T545", "the quota of {name!r} in one {subject}'s epoch"),
    "purpose": ("T501", "the budget of {name!r} for one {subject}'s epoch"),
}


def _spent(
    epochs: Epochs,
    of: tuple[Kind, str],
    capacity: Filter,
    run: Run,
    new: Spend,
    where: str,
) -> BudgetError:
    code, what = _WHAT[of[0]]
    named = what.format(name=of[1], subject=epochs.subject)
    share = float(capacity.share(run.cost))
    span = epochs.span(new)
    wide = span is not None and span.last > span.first
    own = capacity.cost(of_one_epoch(new.loss, new.adjacency, several=wide))
    return BudgetError(
        f"{named} is ε={capacity.epsilon:g} at δ={capacity.delta:g}; in the epoch of"
        f" {epochs.moment(run.span.first)} this release would fill it to {share:.1%}"
        f" ({float(capacity.share(own)):.1%} by itself)",
        code=code,
        where=where,
        fix="release with more noise, over fewer or later epochs, or raise the capacity; nothing"
        " was released",
    )
