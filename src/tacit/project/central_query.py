"""A private query made ready: what is checked, which trees run, which mechanisms answer.

Nothing here reads a row. `Ready` is a function of the query and the plan alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tacit.declare import Events
from tacit.declare.expression import parse
from tacit.errors import PrivacyError
from tacit.operations import Rows, Total
from tacit.plan.bounded import Counted, Limits, Part, Summed, cells_tree, sums_tree
from tacit.plan.question import Question, question
from tacit.plan.stability import WIDEST, sensitivities
from tacit.privacy.central import budget
from tacit.privacy.central.quantiles import levels_of, tree_sensitivity
from tacit.privacy.central.sensitivity import Sensitivity
from tacit.privacy.mechanism import Claim
from tacit.project.central import CentralQuery, Measure
from tacit.values import Type, fingerprint

if TYPE_CHECKING:
    import pyarrow as pa

    from tacit.project.project import Project

KINDS = ("count", "persons", "sum", "mean", "quantile", "histogram", "top_k")
GRIDDED = ("sum", "mean", "quantile", "histogram")
CELLED = ("quantile", "histogram")
PEOPLE, COHORT = "people", "cohort"
"""Sums of people that no measure names: exact ones to choose keys by, noisy ones to hide them by"""

MOST_CELLS = 1 << 22
_KEYS = (Type.TEXT, Type.INT, Type.BOOL, Type.TIME)


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
                grid = (float(_of(measure.low)), float(_of(measure.step)), cells_of(measure))
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
        raise _wrong(query, f"{query.source!r} is content, and has no rows of people", code="T873")
    _check_numbers(query)
    query = replace(query, where=_dated(query, events))
    keys = tuple(key if isinstance(key, tuple) else (key, key) for key in query.keys)
    names = tuple(m.name or _named(m) for m in query.measures)
    _check_names(query, keys, names)
    for measure in query.measures:
        _check_measure(query, measure)
    named = {f"g{i}": sql for i, (_, sql) in enumerate(keys)}
    for i, measure in enumerate(query.measures):
        if measure.column is not None:
            named[f"v{i}"] = measure.column
    if query.where is not None:
        named["w"] = query.where
    asked = question(project.plan, events, query.person, named, [f"g{i}" for i in range(len(keys))])
    _check_types(query, asked)
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
        raise _wrong(
            query,
            f"{keys:,} keys of {_cells(query):,} cells each are more than {MOST_CELLS:,}",
            fix="use a larger step, or fewer keys",
        )


def most_keys(query: CentralQuery) -> int:
    """How many keys an answer may have."""
    return MOST_CELLS // _cells(query)


def _cells(query: CentralQuery) -> int:
    return max((cells_of(m) for m in query.measures if m.kind in CELLED), default=1)


def cells_of(measure: Measure) -> int:
    """How many cells a quantile's or a histogram's grid has."""
    apart = (_of(measure.high) - _of(measure.low)) / _of(measure.step)
    return int(apart) + (measure.kind == "quantile")


def middle_of(measure: Measure) -> tuple[Fraction, int, int]:
    """Of a mean's grid: the point in the middle, and how many steps there are below and above."""
    low, step = _of(measure.low), _of(measure.step)
    apart = int((_of(measure.high) - low) / step)
    return low + apart // 2 * step, apart // 2, apart - apart // 2


def quantiles_of(measure: Measure) -> tuple[float, ...]:
    """The quantiles that a measure asks for."""
    assert isinstance(measure.at, tuple), "checked"
    return measure.at


def _part(i: int, measure: Measure) -> Part:
    name, value = f"m{i}", None if measure.column is None else f"v{i}"
    if measure.kind in ("count", "persons", "top_k"):
        return Counted(name, value, measure.kind != "count")
    assert value is not None, "checked"
    low, high, step = _of(measure.low), _of(measure.high), _of(measure.step)
    if measure.kind == "sum":
        return Summed(name, value, int(low / step), int(high / step), 0.0, float(step))
    middle, below, above = middle_of(measure)
    return Summed(name, value, -below, above, float(middle), float(step), f"{name}n")


def _of(number: Any) -> Fraction:
    """A declared number as the decimal that was written: 0.1 is a tenth."""
    return Fraction(str(number))


def _groups(people: Sensitivity) -> int:
    """To how many keys a person adds one."""
    assert people.linf == 1, "a person is one"
    return people.l1


def _named(measure: Measure) -> str:
    plain = measure.column is not None and measure.column.isidentifier()
    return f"{measure.kind}_{measure.column}" if plain else measure.kind


def _check_numbers(query: CentralQuery) -> None:
    for name, low, high in (("max_groups", 1, 1 << 20), ("max_rows", 1, 1 << 20)):
        value = getattr(query, name)
        if type(value) is not int or not low <= value <= high:
            raise _wrong(query, f"{name} is {value!r}", fix=f"give a whole number of {low} or more")
    bounds = [each for each in (query.since, query.until) if each is not None]
    if any(type(each) is not int for each in bounds) or bounds != sorted(set(bounds)):
        times = f"since {query.since!r} until {query.until!r}"
        raise _wrong(query, f"{times} is no time", fix="give whole microseconds, in order")
    if type(query.minimum) is not int or query.minimum < 0:
        raise _wrong(query, f"minimum is {query.minimum!r}", fix="give a whole number, or leave it")
    good = _number(query.epsilon) and 1e-6 <= query.epsilon <= 1e3
    if not (good and _number(query.delta) and (query.delta == 0 or 1e-30 <= query.delta < 0.1)):
        raise _wrong(
            query,
            f"epsilon {query.epsilon!r} with delta {query.delta!r} is no budget",
            fix="give an epsilon from 1e-6 to 1000, and a delta of 0 or well below one over the"
            " number of people",
        )
    if not (_number(query.confidence) and 0.5 <= query.confidence < 1):
        raise _wrong(query, f"confidence is {query.confidence!r}", fix="give 0.95, or another < 1")
    if not query.measures:
        raise _wrong(query, "it measures nothing", fix="give measures=(Measure(kind=…),)")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_names(
    query: CentralQuery, keys: Sequence[tuple[str, str]], names: Sequence[str]
) -> None:
    columns = [name for name, _ in keys]
    columns += [f"{name}{end}" for name in names for end in ("", "_error", "_lower", "_upper")]
    twice = {name for name in columns if columns.count(name) > 1 or not name}
    if twice:
        raise _wrong(
            query,
            f"its answer would have {len(twice)} columns twice: {', '.join(sorted(twice))}",
            fix="give measures names of their own: Measure(…, name=…)",
        )
    if query.public_keys is not None and not keys:
        raise _wrong(query, "it has public_keys, and no keys", fix="name them in keys=(…)")


def _check_measure(query: CentralQuery, measure: Measure) -> None:
    if measure.kind not in KINDS:
        raise _wrong(query, f"there is no measure {measure.kind!r}", fix=f"use {', '.join(KINDS)}")
    if measure.kind == "top_k":
        alone = len(query.measures) == 1 and query.keys and not query.minimum > 1
        whole = type(measure.at) is int and 1 <= measure.at <= 1000
        if not (alone and whole):
            raise _wrong(
                query,
                "top_k is of keys, alone, and without a minimum",
                fix="give keys, one measure, and at= how many, from 1 to 1000",
            )
    if measure.kind not in GRIDDED:
        return
    grid = (measure.low, measure.high, measure.step)
    if measure.column is None or not all(map(_number, grid)):
        raise _wrong(
            query,
            f"a {measure.kind} has no column, or no bounds",
            fix="give column=, low=, high= and step=, chosen without looking at the rows",
        )
    low, high, step = map(_of, grid)
    if not (step > 0 and low < high and ((high - low) / step).denominator == 1):
        raise _wrong(
            query,
            f"[{measure.low}, {measure.high}] is no whole number of steps of {measure.step}",
            fix="give low < high, and a step that divides what is between them",
        )
    if measure.kind == "sum" and (low / step).denominator != 1:
        raise _wrong(
            query,
            f"{measure.low} is no multiple of {measure.step}",
            fix="give bounds that are multiples of the step",
        )
    size = max(abs(low), abs(high), high - low) / step * query.max_rows
    if size > WIDEST or (measure.kind in CELLED and cells_of(measure) > 1 << 20):
        raise _wrong(query, "the grid has too many steps", fix="use a larger step")
    if measure.kind == "quantile":
        at = measure.at
        good = isinstance(at, tuple) and at and all(_number(q) and 0 < q < 1 for q in at)
        if not good:
            raise _wrong(query, f"a quantile is at {at!r}", fix="give at=(0.5,), or several")


def _check_types(query: CentralQuery, asked: Question) -> None:
    for column in asked.view.computed:
        kind, i = column.name[0], column.name[1:]
        if kind == "g" and column.type not in _KEYS:
            raise _wrong(
                query,
                f"the key {column.sql!r} is {column.type}",
                fix="group by text, ints or bools",
            )
        if kind == "w" and column.type is not Type.BOOL:
            raise _wrong(query, f"where is {column.type}", fix="write a condition")
        gridded = kind == "v" and query.measures[int(i)].kind in GRIDDED
        if gridded and column.type not in (Type.INT, Type.FLOAT, Type.TIME):
            raise _wrong(query, f"{column.sql!r} is {column.type}", fix="measure a number")


def _written(query: CentralQuery) -> dict[str, Any]:
    """All that a query says, as JSON: its time is in `where` by now, and who asks says nothing."""
    names = [name for name in query.__dataclass_fields__ if name not in ("since", "until", "team")]
    fields = {name: getattr(query, name) for name in names}
    fields["measures"] = [asdict(measure) for measure in query.measures]
    fields["public_keys"] = None if query.public_keys is None else _rows(query.public_keys)
    return fields


def _rows(table: pa.Table) -> list[Any]:
    return [[name, str(table[name].type), table[name].to_pylist()] for name in table.column_names]


def _wrong(query: CentralQuery, what: str, *, fix: str = "", code: str = "T874") -> PrivacyError:
    return PrivacyError(
        f"a private question makes no sense: {what}",
        code=code,
        where=f"question over {query.source}",
        fix=fix or "ask about events, whose rows bear the key of a person",
    )
