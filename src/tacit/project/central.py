"""Questions about rows in the cloud, answered with differential privacy and paid from the ledger.

The order keeps the promise of the ledger whatever breaks off between two steps::

    check      the query makes sense, and the purpose may use these columns
    bound      the tree of operations is made, and its sensitivity derived from it
    reserve    the ledger holds the loss; from here on it counts
    compute    the engine sums what is bounded; what fails here costs nothing more
    mark       the ledger knows that noise is drawn; from here on it is spent
    keep       noise is drawn; the answer is on the disk
    commit     the ledger knows which answer it is: no other can be given
    read       only now is it looked at

What fails once noise is drawn tells of it, and a crash may have been made by whoever saw it. So
that answer counts as given, whether or not it could be kept, and asking again costs again. Before
the mark nothing was drawn, and whoever asks again gets what was set aside. It is refunded, but
where the rows could not be read (T877): a condition that fails by what one row says would else be
an exact question about it, for nothing, as often as one likes.

Privacy is that of adding or removing one person with all of their rows. The same question in the
same epoch is answered from the disk, at no cost: whoever asks on behalf of a declared metric need
not remember answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tacit.declare import Purpose
from tacit.privacy.loss import Loss

if TYPE_CHECKING:
    import pyarrow as pa

    from tacit.privacy.mechanism import Claim
    from tacit.privacy.randomness import Randomness
    from tacit.project.project import Project

Kind = Literal["count", "persons", "sum", "mean", "quantile", "histogram", "top_k"]
Number = int | float


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number, or list of numbers, for each key.

    ============  ===============================================================================
    count         rows; with a `column`, those in which it is not null
    persons       people with at least one row; with a `column`, one in which it is not null
    sum, mean     of `column`, clamped to [low, high] and rounded to multiples of `step`
    quantile      of `column` at each of `at` (0.5: the median), on the grid low, low + step … high
    histogram     of `column`: rows in each [low + i step, low + (i + 1) step); the first and the
                  last bin take what lies beyond
    top_k         the `at` keys with the most people; the query's only measure
    ============  ===============================================================================

    `column` is an expression over the source's columns, its derived columns, and content tables
    that share a key (`films.genre`). `low` and `high` are a whole number of steps apart, and
    for a sum multiples of `step`. They must be chosen without looking at the data.
    `name` is its column in the answer; left out, the kind, and `_column` where that is a name.
    """

    kind: Kind
    column: str | None = None
    low: Number | None = None
    high: Number | None = None
    step: Number | None = None
    at: int | tuple[float, ...] | None = None
    name: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class CentralQuery:
    """A private group-by over one source of events in the cloud.

    Attributes:
        source: the name of the events.
        keys: columns to group by, or (name, expression) pairs: text, int, bool or time, and nothing
            that tells people apart. Rows in
            which one is null do not count. None at all: one row for everything.
        measures: what is asked of each key.
        where: which rows count, as an expression; left out, all.
        since, until: µs; rows dated in [since, until) alone count, and only epochs of people's time
            in between are charged. Without both, all rows count, and all epochs are.
        epsilon, delta: what the whole answer may cost a person, all measures together. With
            `public_keys` and a delta of 0, the noise is discrete Laplace; else the better of
            discrete Laplace and discrete Gaussian, judged by public numbers alone.
        max_groups: to how many keys one person counts. Who has more counts to as many, chosen by a
            salted hash of the person and the key.
        max_rows: how many rows of a person count to one key: their count and sum are clamped to
            that of so many rows; a mean takes their average, weighed as so many.
        public_keys: a table of the keys, in columns named as `keys`: each is answered, in this
            order, also one without rows. Left out, keys are chosen privately, which costs a part of
            the budget and needs a delta; those with few people are not named. Of more than fit the
            memory of a small machine (4 million, divided by the cells of the largest grid) the
            first ones, sorted, are answered.
        minimum: a key whose noisy number of people is below this is answered with nulls (public
            keys) or left out. From 2 on it makes `persons` a measure of its own, named or not.
        person: the column of the people's key, of which the source has one; left out, that one.
        sensitive: sensitive fideslang categories that may be summed; none unless named.
        team: who asks, and whose quota of people's epochs it is; "" for nobody's.
        confidence: of the intervals `lower` to `upper`, each by itself.
    """

    source: str
    keys: tuple[str | tuple[str, str], ...] = ()
    measures: tuple[Measure, ...]
    epsilon: float
    delta: float = 0.0
    where: str | None = None
    since: int | None = None
    until: int | None = None
    max_groups: int = 1
    max_rows: int = 1
    public_keys: pa.Table | None = None
    minimum: int = 0
    person: str | None = None
    sensitive: tuple[str, ...] = ()
    team: str = ""
    confidence: float = 0.95


@dataclass(frozen=True, eq=False, kw_only=True)
class CentralAnswer:
    """A private answer, which may be shown to everybody whom the purpose allows.

    Attributes:
        table: the key columns, and for each measure NAME four: `NAME` (the unbiased estimate, or a
            list of them for quantiles and histograms), `NAME_error` (its standard error by noise
            alone; null for quantiles), `NAME_lower` and `NAME_upper` (which hold the bounded
            statistic with the query's confidence). What clamping took off is in none of them.
        claim: what is promised, to whom, who must be trusted.
        loss: what the answer cost when it was made, composed.
        spent: what this call cost: `loss`, or nothing for an answer that was there.
        released: the name under which the ledger has it.
    """

    table: pa.Table
    claim: Claim
    loss: Loss
    spent: Loss
    released: str
    epoch: str

    @property
    def reused(self) -> bool:
        """Whether the answer was there already."""
        return self.spent == Loss()


def answer(
    project: Project,
    query: CentralQuery,
    *,
    purpose: str | Purpose,
    epoch: int | str = 0,
    randomness: Randomness | None = None,
) -> CentralAnswer:
    """The private answer to a query, on behalf of a purpose that has budget for it.

    `epoch` tells apart answers to the same query over rows that came later: within one, the first
    answer stands and costs once. `randomness` is for tests; left out, the operating system's.

    Raises PrivacyError T870 to T879, DeclarationError T110 to T112 for expressions, FlowError T202,
    T203 or T208 for what the purpose may not use, BudgetError T501, and StoreError.
    """
    from tacit.project.central_run import run

    return run(project, query, purpose, str(epoch), randomness)


def claim(project: Project, query: CentralQuery) -> Claim:
    """What an answer would promise and cost, without reading a row. Raises as `answer`."""
    from tacit.project.central_query import ready

    return ready(project, query).claim
