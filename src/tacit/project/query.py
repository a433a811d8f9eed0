"""Questions to metrics, answered: measured where the data is, put together, and accounted for.

A metric that is made of others is computed from their answers, so it costs what its parts cost that
were not asked before. **Roll-ups.** An answer by finer groups or periods gives a coarser one by
addition, at no cost, where that is sound: of counts and sums (people in two cells may be one), over
the same rows and condition, where the finer periods fill the coarser ones and every cell that there
can be was answered. Cells that are hidden are not in it, nor in sums over time: they could be told
from the sum and the cells that are shown. Its noise is the sum of the cells' noises, more than that
of an answer of its own; so it is given when it is asked for, and offered otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import pyarrow as pa

from tacit.declare import Metric, Purpose
from tacit.declare.expression import Expression, parse
from tacit.errors import BudgetError, DeclarationError, QueryError
from tacit.plan import periods
from tacit.plan.asked import PERIOD, Asked, Wanted, ask
from tacit.plan.graph import Node
from tacit.privacy.loss import Loss, compose
from tacit.project.cells import Cells, Composed, compute, rolled_up, running
from tacit.project.measured import NOTHING, Part, asked_before, measured, top
from tacit.project.project import Project
from tacit.project.released import of_release
from tacit.values import DAY, HOUR, MINUTE, duration, moment

_DURATION = re.compile(r"[0-9]+[smhdw]")

NESTED = {
    "1h": ("1h", "1d", "1w", "1mo"),
    "1d": ("1d", "1w", "1mo"),
    "1w": ("1w",),
    "1mo": ("1mo",),
}
"""Which periods are filled by which."""


@dataclass(frozen=True)
class Answer:
    """What a metric said.

    Attributes:
        table: the dimensions, `period` (its start, UTC) if there is a grain, then `value`, `stderr`
            (the standard deviation of the noise), `lower` and `upper` (95%). Infinite ends: the
            noise leaves it open. In its schema's metadata: `spent`, as below.
        asked: the question in full.
        spent: ε, at the purpose's δ, that this answer cost now; 0 for one that was there.
        left: ε that is left for the purpose; None for a metric that costs nothing.
        hidden: how many cells have too few people to be shown.
        reused: the metrics whose answers were there.
        notes: what else there is to say, in sentences.
    """

    table: pa.Table
    asked: Asked
    spent: float
    left: float | None
    hidden: int
    reused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def moment_of(given: int | str | datetime | None, now: int) -> int | None:
    """Microseconds of what is given as a moment: µs, a datetime, ISO 8601, or a duration before
    now. Raises QueryError T894."""
    if given is None or isinstance(given, int):
        return given
    try:
        if isinstance(given, datetime):
            return moment(given)
        if _DURATION.fullmatch(given):
            length = duration(given)
            unit = next(each for each in (DAY, HOUR, MINUTE, 1) if length % each == 0)
            return now - now % unit - length  # the same moment all day, for the same question
        return moment(datetime.fromisoformat(given))
    except (ValueError, TypeError, OverflowError, DeclarationError):
        raise QueryError(
            f"{given!r} is no moment",
            code="T894",
            fix='write 2026-01-31, 2026-01-31T12:00:00Z, or "90d" for so long ago',
        ) from None


def query(project: Project, wanted: Wanted, *, rollup: bool = False) -> Answer:
    """The answer to a question. See `Project.query`."""
    asked = ask(project.plan, wanted, project.now())
    node = project.plan.nodes[asked.metric]
    answering = _Answering(project, rollup)
    sql, parts = answering.composed(node, asked)
    cells = compute(Composed(sql.sql, parts))
    purpose = project.declarations.of(Purpose)[asked.purpose]
    loss = compose(answering.spent)
    spent = loss.epsilon(purpose.delta) if loss != NOTHING else 0.0
    left = project.ledger.remaining(asked.purpose) if answering.private else None
    table, hidden = _table(cells, asked, spent)
    return Answer(
        table, asked, spent, left, hidden, tuple(answering.reused), tuple(answering.notes)
    )


@dataclass
class _Answering:
    """One question being answered: parts as they are measured, each once."""

    project: Project
    rollup: bool
    parts: dict[str, Part] = field(default_factory=dict)
    spent: list[Loss] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    private: bool = False

    def composed(self, node: Node, asked: Asked) -> tuple[Expression, Mapping[str, Cells]]:
        """A metric as an expression over cells that were measured."""
        spec = node.spec
        if "ratio" in spec:
            names = spec["ratio"]
            return self._over("numerator / denominator", names, asked)
        if "sql" in spec:
            return self._over(spec["sql"], spec["inputs"], asked)
        if "cumulative" in spec:
            return _column(node.id), {node.id: self._cumulated(node, asked)}
        part = self._measured(node, asked)
        if part.both is None:
            return _column(node.id), {node.id: part.cells}
        both = f"{node.id} both"
        if spec["conversion"]["shows"] == "persons":
            return _column(both), {both: part.both}
        cells = {both: part.both, node.id: part.cells}
        rate = parse("a / b").substitute({"a": _column(both), "b": _column(node.id)})
        return rate, cells

    def _over(
        self, sql: str, names: Mapping[str, str], asked: Asked
    ) -> tuple[Expression, Mapping[str, Cells]]:
        found: dict[str, Cells] = {}
        inner: dict[str, Expression] = {}
        for name, metric in names.items():
            inner[name], parts = self.composed(self.project.plan.nodes[metric], asked)
            found |= parts
        return parse(sql).substitute(inner), found

    def _cumulated(self, node: Node, asked: Asked) -> Cells:
        plan, told = self.project.plan, node.spec["cumulative"]
        part, length = plan.nodes[told["metric"]], None
        if told["window"] is not None:
            length = _length(node, asked, told["window"])
        people = part.spec["measure"]["aggregate"] == "persons"
        cells = self._measured(part, asked, newcomers=people).cells
        if not cells.complete:
            raise QueryError(
                f"metric {node.id!r} adds up periods, and by {', '.join(asked.by)} cells with few"
                " people are missing: their keys are not public",
                code="T899",
                where=node.declared.where,
                fix="ask by dimensions of content, or by none",
            )
        if people:  # newcomers are shown in no cell of their own: all of them are in the sums
            summed = running(replace(cells, hidden=np.zeros(len(cells.value), bool)), length)
            return replace(summed, hidden=~(summed.value >= part.spec["minimum"]))
        self._note_hidden(part, cells)
        return running(cells, length)

    def _note_hidden(self, node: Node, cells: Cells) -> None:
        if hidden := int(cells.hidden.sum()):
            self.notes.append(f"{hidden} cells of {node.id} with few people are not in these sums")

    def _measured(self, node: Node, asked: Asked, *, newcomers: bool = False) -> Part:
        asked, title = asked.of(node.id), f"{node.id}{' newcomers' if newcomers else ''}"
        if title not in self.parts:
            self.parts[title] = self._ask(node, asked, newcomers)
        return self.parts[title]

    def _ask(self, node: Node, asked: Asked, newcomers: bool) -> Part:
        declared = node.declared
        if isinstance(declared, Metric) and declared.release is not None:
            self.private = True
            self.reused.append(node.id)
            return Part(of_release(self.project, node, asked))
        private = "mechanism" in node.spec
        self.private |= private
        additive = node.spec.get("mechanism") == "central" and not newcomers
        finer = _finer(self.project, node, asked) if additive else None
        if finer is not None and self.rollup:
            found = measured(self.project, node, finer)
            self.notes.append(_summed(node, finer, asked))
            self._account(node, found)
            self._note_hidden(node, found.cells)
            return replace(found, cells=_sum(found.cells, finer, asked))
        try:
            found = measured(self.project, node, asked, newcomers=newcomers)
        except (BudgetError, QueryError) as error:
            if finer is not None and error.code in ("T501", "T548", "T898"):
                error.fix += f"; or roll up the answer {_by(finer)}, at no cost: --rollup"
            raise
        if finer is not None and found.spent != NOTHING:
            self.notes.append(f"the answer {_by(finer)} could have been rolled up, at no cost")
        self._account(node, found)
        if node.spec.get("measure", {}).get("aggregate") == "top":
            found = replace(found, cells=top(found.cells, node.spec["measure"]["k"]))
        return found

    def _account(self, node: Node, found: Part) -> None:
        if found.spent != NOTHING:
            self.spent.append(found.spent)
        elif "mechanism" in node.spec:
            self.reused.append(node.id)


def _summed(node: Node, finer: Asked, asked: Asked) -> str:
    """What is said of an answer that was added up: of what, and what no cell of it had."""
    told = f"{node.id} is the sum of its answer {_by(finer)}"
    lost = sorted(set(finer.by) - set(asked.by))
    if lost:
        told += f"; rows in which {' or '.join(lost)} is null, or not a listed value, are not in it"
    if finer.by:
        most = node.spec["max_groups"]
        told += f"; a person counts in {most} {'cell' if most == 1 else 'cells'} of a period there"
    return told


def _column(name: str) -> Expression:
    return parse(f'"{name}"')


def _by(asked: Asked) -> str:
    each = [*asked.by, *([asked.grain] if asked.grain else [])]
    return f"by {', '.join(each)}" if each else "as a whole"


def _length(node: Node, asked: Asked, window: int) -> int:
    """How many periods a window is. Raises QueryError T892 where that is no whole number."""
    length = periods.FIXED.get(asked.grain or "", (0, 0))[0]
    if not length or window % length:
        raise QueryError(
            f"metric {node.id!r} adds up a window that is no number of periods of {asked.grain}",
            code="T892",
            where=node.declared.where,
            fix="ask for a grain that divides its window",
        )
    return window // length


# ---------------------------------------------------------------------- roll-ups


def _finer(project: Project, node: Node, asked: Asked) -> Asked | None:
    """A question that was answered, and whose answer adds up to this one's."""
    if node.spec.get("measure", {}).get("aggregate") not in ("count", "sum"):
        return None
    public = {n for n, spec in node.spec["dimensions"].items() if spec["domain"] is not None}
    known = asked_before(project, node, asked.purpose)
    if asked in known:
        return None
    fitting = (each for each in known if set(each.by) <= public and _fills(each, asked))
    return min(fitting, key=lambda each: (len(each.by), len(each.periods)), default=None)


def _fills(finer: Asked, asked: Asked) -> bool:
    """Whether the cells of one question, added up, are those of the other."""
    if finer.where != asked.where or not set(asked.by) <= set(finer.by):
        return False
    if finer.grain is None or asked.since is None or asked.until is None:
        bounds = (finer.since, finer.until) == (asked.since, asked.until)
        return bounds and finer.grain == asked.grain
    assert finer.since is not None, "a grain has bounds"
    assert finer.until is not None, "a grain has bounds"
    if asked.grain is not None and asked.grain not in NESTED[finer.grain]:
        return False
    ends = (asked.since, asked.until)
    aligned = all(periods.floor(finer.grain, end) == end for end in ends)
    return aligned and finer.since <= asked.since and asked.until <= finer.until


def _sum(cells: Cells, finer: Asked, asked: Asked) -> Cells:
    """The cells of the finer answer, added up."""
    keys = cells.keys.select(list(asked.by))
    if finer.grain is not None:
        starts = cells.keys.column(PERIOD).to_pylist()
        assert asked.since is not None, "else the two are of one period"
        assert asked.until is not None, "else the two are of one period"
        inside = [asked.since <= start < asked.until for start in starts]
        cells = _only(cells, np.array(inside))
        keys = cells.keys.select(list(asked.by))
        if asked.grain is not None:
            grain = asked.grain
            coarse = [periods.floor(grain, start) for start in cells.keys[PERIOD].to_pylist()]
            keys = keys.append_column(PERIOD, pa.array(coarse, pa.int64()))
    names = keys.column_names
    unique = (
        keys.group_by(names).aggregate([]).sort_by([(n, "ascending") for n in names])
        if (names)
        else keys.slice(0, 1)
    )
    return rolled_up(cells, keys, unique)


def _only(cells: Cells, keep: np.ndarray) -> Cells:
    parts = {n: getattr(cells, n)[keep] for n in ("value", "error", "lower", "upper", "hidden")}
    return replace(cells, keys=cells.keys.filter(pa.array(keep)), **parts)


# ---------------------------------------------------------------------- the table


def _table(cells: Cells, asked: Asked, spent: float) -> tuple[pa.Table, int]:
    """The cells that are shown, and how many are not."""
    hidden = int(cells.hidden.sum())
    shown = ~cells.hidden & ~np.isnan(cells.value)
    kept = _only(cells, shown)
    names = [name for name in kept.keys.column_names if name != PERIOD]
    columns = {name: kept.keys.column(name) for name in names}
    if PERIOD in kept.keys.column_names:
        columns[PERIOD] = kept.keys.column(PERIOD).cast(pa.timestamp("us", "UTC"))
    numbers = {"value": kept.value, "stderr": kept.error, "lower": kept.lower, "upper": kept.upper}
    for name, values in numbers.items():
        columns[name] = pa.chunked_array([pa.array(values, pa.float64(), mask=np.isnan(values))])
    return pa.table(columns).replace_schema_metadata({"spent": repr(spent)}), hidden
