"""A private query made ready: what is checked, which trees run, which mechanisms answer.

Nothing here reads a row. `Ready` is a function of the query and the plan alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tacit.declare import Events
from tacit.declare.expression import parse
from tacit.operations import Rows, Total
from tacit.plan.bounded import Counted, Limits, Part, Summed, cells_tree, sums_tree
from tacit.plan.question import Question, question
from tacit.plan.stability import sensitivities
from tacit.privacy.central import budget
from tacit.privacy.central.quantiles import levels_of, tree_sensitivity
from tacit.privacy.central.sensitivity import Sensitivity
from tacit.privacy.mechanism import Claim
from tacit.project.central import CentralQuery, Measure
from tacit.project.central_check import (
    check_measure,
    check_names,
    check_numbers,
    check_types,
    wrong,
)
from tacit.project.central_grid import CELLED, cells_of, middle_of, of
from tacit.values import fingerprint

if TYPE_CHECKING:
    import pyarrow as pa

    from tacit.project.project import Project

PEOPLE, COHORT = "people", "cohort"
"""Sums of people that no measure names: exact ones to choose keys by, noisy ones to hide them by"""

MOST_CELLS = 1 << 22


@dataclass(frozen=True)
class Ready:
    """A query that makes sense.

    Attributes:
        keys: (name in the answer, expression) of each key.
        names: of the measures, in the answer.
        question: what is read.
        meaning: the hashes of what is read: of the source, and of content that is joined.
    """

    query: CentralQuery
    keys: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    question: Question
    meaning: Mapping[str, str]

    @property
    def groups(self) -> tuple[str, ...]:
        """The keys' columns within trees."""
        return tuple(f"g{i}" for i in range(len(self.keys)))

    @property
    def selects(self) -> bool:
        """Whether keys are chosen privately."""
        return bool(self.keys) and self.query.public_keys is None

    @property
    def top(self) -> int | None:
        """How many keys are the best, if that is what is asked."""
        first = self.query.measures[0]
        return int(first.at) if first.kind == "top_k" else None  # type: ignore[arg-type]

    @property
    def suppresses(self) -> bool:
        """Whether keys of few people are not answered."""
        return self.query.minimum > 1

    @cached_property
    def sums(self) -> tuple[Part, ...]:
        """What one tree sums: counts and sums of all measures, and people where they are needed."""
        found: list[Part] = []
        for i, measure in enumerate(self.query.measures):
            if measure.kind not in CELLED:
                found.append(_part(i, measure))
        if self.selects:
            found.append(Counted(PEOPLE, None, True))
        if self.suppresses:
            found.append(Counted(COHORT, None, True))
        return tuple(found)

    def trees(self, salt: str) -> dict[str, Total]:
        """The trees that run: "sums", and one for each measure over cells, by its place."""
        rows = Rows(self.question.view, "p")
        limits = Limits(self.query.max_groups, self.query.max_rows, salt)
        where = "w" if self.query.where is not None else None
        found = (
            {"sums": sums_tree(rows, self.groups, where, self.sums, limits)} if self.sums else {}
        )
        for i, measure in enumerate(self.query.measures):
            if measure.kind in CELLED:
                grid = (float(of(measure.low)), float(of(measure.step)), cells_of(measure))
                bins = "nearest" if measure.kind == "quantile" else "below"
                found[f"m{i}"] = cells_tree(
                    rows,
                    self.groups,
                    where,
                    f"v{i}",
                    grid,
                    limits,
                    bins,  # type: ignore[arg-type]
                )
        return found

    @cached_property
    def sensitivities(self) -> Mapping[str, Sensitivity]:
        """Of every sum, read from the trees: those of "sums" by name, those over cells by tree."""
        found: dict[str, Sensitivity] = {}
        for name, tree in self.trees("").items():
            each = sensitivities(tree, self.question.types)
            found |= each if name == "sums" else {name: each["rows"]}
        return found

    @cached_property
    def wanted(self) -> dict[str, budget.Wanted]:
        """The parts that spend budget, by name."""
        one, found = self.sensitivities, dict[str, budget.Wanted]()
        if self.selects:
            found["select"] = budget.Select(_groups(one[PEOPLE]))
        for i, measure in enumerate(self.query.measures):
            name = f"m{i}"
            if measure.kind == "top_k":
                rounds = int(measure.at)  # type: ignore[arg-type]
                found["choose"] = budget.Choose(rounds, one[name].linf)
                reach = Sensitivity.of(rounds, one[name].linf)
                found[name] = budget.Sums(one[name].least(reach))
            elif measure.kind == "quantile":
                levels = levels_of(cells_of(measure))
                found[name] = budget.Sums(tree_sensitivity(one[name], levels))
            else:
                found[name] = budget.Sums(one[name])
            if measure.kind == "mean":
                found[f"{name}n"] = budget.Sums(one[f"{name}n"])
        if self.suppresses:
            found[COHORT] = budget.Sums(one[COHORT])
        return found

    @cached_property
    def parts(self) -> Mapping[str, budget.Part]:
        """The mechanisms, by name."""
        shares = budget.share(list(self.wanted.values()), self.query.epsilon, self.query.delta)
        return dict(zip(self.wanted, shares, strict=True))

    @cached_property
    def title(self) -> str:
        """The release's name in the ledger: another query, or another meaning, is another one."""
        return f"central:{self.query.source}@{fingerprint(_written(self.query), self.meaning)[:24]}"

    @cached_property
    def claim(self) -> Claim:
        """What the answer promises."""
        units = ", ".join(self.names) + (" by " + ", ".join(n for n, _ in self.keys)) * bool(
            self.keys
        )
        return budget.claim(self.title, list(self.parts.values()), self.query.delta, units)


def ready(project: Project, query: CentralQuery) -> Ready:
    """The query, checked. Raises as `project.central.answer`, before anything is read or spent."""
    from tacit.project.lake import known

    events = project.declarations.named[known(project, query.source)]
    if not isinstance(events, Events):
        raise wrong(query, f"{query.source!r} is content, and has no rows of people", code="T873")
    check_numbers(query)
    query = replace(query, where=_dated(query, events))
    keys = tuple(key if isinstance(key, tuple) else (key, key) for key in query.keys)
    names = tuple(m.name or _named(m) for m in query.measures)
    check_names(query, keys, names)
    for measure in query.measures:
        check_measure(query, measure)
    named = {f"g{i}": sql for i, (_, sql) in enumerate(keys)}
    for i, measure in enumerate(query.measures):
        if measure.column is not None:
            named[f"v{i}"] = measure.column
    if query.where is not None:
        named["w"] = query.where
    asked = question(project.plan, events, query.person, named, [f"g{i}" for i in range(len(keys))])
    check_types(query, asked)
    meaning = {port.node: project.plan.nodes[port.node].hash for port in asked.ports}
    made = Ready(query, keys, names, asked, meaning)
    if query.public_keys is not None:
        check_cells(query, query.public_keys.num_rows)
    return made


def _dated(query: CentralQuery, events: Events) -> str | None:
    """Which rows count, with the bounds of their time."""
    if query.since is None and query.until is None:
        return query.where
    parts = [] if query.where is None else [query.where]
    at = parse(f'"{events.time}"').sql
    parts += [] if query.since is None else [f"{at} >= {query.since}"]
    parts += [] if query.until is None else [f"{at} < {query.until}"]
    return parse(" AND ".join(f"({part})" for part in parts)).sql


def check_cells(query: CentralQuery, keys: int) -> None:
    """Raises PrivacyError T874 for more public keys than fit the memory of a small machine."""
    if keys > most_keys(query):
        raise wrong(
            query,
            f"{keys:,} keys of {_cells(query):,} cells each are more than {MOST_CELLS:,}",
            fix="use a larger step, or fewer keys",
        )


def most_keys(query: CentralQuery) -> int:
    """How many keys an answer may have."""
    return MOST_CELLS // _cells(query)


def _cells(query: CentralQuery) -> int:
    return max((cells_of(m) for m in query.measures if m.kind in CELLED), default=1)


def _part(i: int, measure: Measure) -> Part:
    name, value = f"m{i}", None if measure.column is None else f"v{i}"
    if measure.kind in ("count", "persons", "top_k"):
        return Counted(name, value, measure.kind != "count")
    assert value is not None, "checked"
    low, high, step = of(measure.low), of(measure.high), of(measure.step)
    if measure.kind == "sum":
        return Summed(name, value, int(low / step), int(high / step), 0.0, float(step))
    middle, below, above = middle_of(measure)
    return Summed(name, value, -below, above, float(middle), float(step), f"{name}n")


def _groups(people: Sensitivity) -> int:
    """To how many keys a person adds one."""
    assert people.linf == 1, "a person is one"
    return people.l1


def _named(measure: Measure) -> str:
    plain = measure.column is not None and measure.column.isidentifier()
    return f"{measure.kind}_{measure.column}" if plain else measure.kind


def _written(query: CentralQuery) -> dict[str, Any]:
    """All that a query says, as JSON: its time is in `where` by now, and who asks says nothing."""
    names = [name for name in query.__dataclass_fields__ if name not in ("since", "until", "team")]
    fields = {name: getattr(query, name) for name in names}
    fields["measures"] = [asdict(measure) for measure in query.measures]
    fields["public_keys"] = None if query.public_keys is None else _rows(query.public_keys)
    return fields


def _rows(table: pa.Table) -> list[Any]:
    return [[name, str(table[name].type), table[name].to_pylist()] for name in table.column_names]
