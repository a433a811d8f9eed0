"""A question to a metric: by what, in which periods, of which rows, for what; in one spelling.

Two questions that mean the same are equal, however they were written: dimensions in order, the
condition as the parser shows it, since and until at the bounds of periods. What a question may name
was declared with the metric, so the flow check has seen every column that it can reach.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tacit.declare.expression import Expression, parse
from tacit.declare.metric import GRAINS
from tacit.errors import DeclarationError, QueryError
from tacit.plan import periods
from tacit.plan.graph import Node, Plan
from tacit.values import Type

if TYPE_CHECKING:
    from tacit.plan.draft import Draft

PERIOD = "period"
BUCKET = "bucket"
"""The columns of an answer that say which period, and which value of a histogram."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question.

    Attributes:
        by: dimensions, in order.
        grain: one of the grains; None for one number over all time.
        where: an expression over dimensions, as the parser shows it.
        since, until: µs; None for all rows that are kept. With a grain, starts of periods.
    """

    metric: str
    by: tuple[str, ...]
    grain: str | None
    where: str | None
    since: int | None
    until: int | None
    purpose: str

    @property
    def periods(self) -> list[int]:
        """The starts of its periods; none without a grain."""
        if self.grain is None:
            return []
        assert self.since is not None, "a grain has bounds"
        assert self.until is not None, "a grain has bounds"
        return periods.starts(self.grain, self.since, self.until)

    def to_json(self) -> dict[str, Any]:
        """Its fields as JSON."""
        return {name: getattr(self, name) for name in self.__slots__} | {"by": list(self.by)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Asked:
        """What `to_json` wrote. Raises ValueError for anything else: a field that is not known may
        make of it another question."""
        if not isinstance(fields, Mapping) or set(fields) != set(cls.__slots__):
            raise ValueError("it has other fields than a question")
        by, grain, since, until = (fields[name] for name in ("by", "grain", "since", "until"))
        texts = [fields["metric"], fields["purpose"], *([] if by is None else by)]
        texts += [fields["where"]] if fields["where"] is not None else []
        times = [each for each in (since, until) if each is not None]
        right = (
            isinstance(by, list)
            and by == sorted(set(map(str, by)))
            and all(isinstance(each, str) for each in texts)
            and grain in (None, *GRAINS)
            and all(type(each) is int for each in times)
            and times == sorted(set(times))
            and (grain is None or len(times) == 2)
        )
        if not right:
            raise ValueError("it is no question")
        return cls(**{**fields, "by": tuple(by)})

    def of(self, metric: str) -> Asked:
        """The same question to another metric."""
        return replace(self, metric=metric)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A question as it was written; see `Project.query`."""

    metric: str
    by: Sequence[str] = ()
    grain: str | None = None
    where: str | None = None
    purpose: str | None = None
    since: int | None = None
    until: int | None = None


def ask(plan: Plan, wanted: Wanted, now: int) -> Asked:
    """The question, held against what was declared.

    Raises QueryError T890 for an unknown metric, T891 for a dimension that it may not be asked by,
    T892 for a grain, T893 for a purpose, T894 for a period, T895 for a condition.
    """
    node = _metric(plan, wanted.metric)
    known = dimensions(plan, node)
    by = _by(node, known, wanted.by)
    grain = _grain(plan, node, wanted.grain)
    where = _where(node, known, wanted.where)
    purpose = _purpose(node, wanted.purpose)
    since, until = _bounds(plan, node, grain, wanted, now)
    return Asked(node.id, by, grain, where, since, until, purpose)


def dimensions(plan: Plan, node: Node) -> dict[str, Type]:
    """Dimension → type of what a metric may be asked by: what all its parts may be."""
    parts = [_own_dimensions(plan, leaf) for leaf in leaves(plan, node)]
    shared = set(parts[0]).intersection(*parts[1:])
    return {
        name: kind
        for name, kind in parts[0].items()
        if name in shared and len({part[name] for part in parts}) == 1
    }


def leaves(plan: Plan | Draft, node: Node) -> list[Node]:
    """The measured metrics that a metric is made of, each once, in order; it itself, if it is."""
    if not any(kind in node.spec for kind in ("ratio", "sql", "cumulative")):
        return [node]
    found = [leaf for name in node.inputs for leaf in leaves(plan, plan.nodes[name])]
    return list({leaf.id: leaf for leaf in found}.values())


def _own_dimensions(plan: Plan, node: Node) -> dict[str, Type]:
    if "dimensions" in node.spec:
        return {n: Type(each["type"]) for n, each in node.spec["dimensions"].items()}
    return release_dimensions(plan, node)


def release_dimensions(plan: Plan, node: Node) -> dict[str, Type]:
    """Of a metric of a release: the key of its domain, and what the table says of each key."""
    table = plan.nodes[plan.nodes[node.inputs[0]].inputs[1]]
    found: dict[str, Type] = {}
    for column in table.columns:
        spec = table.spec["columns"].get(column.name)
        own = spec is not None and spec["entity"] == table.spec["of"]
        if own or column.type in (Type.TEXT, Type.INT, Type.BOOL):
            found[column.name if own else f"{table.id}.{column.name}"] = Type(column.type)
    return found


def _metric(plan: Plan, name: str) -> Node:
    metrics = [node.id for node in plan.of("metric")]
    if name not in metrics:
        raise QueryError(
            f"there is no metric {name!r}",
            code="T890",
            fix=_nearest(name, metrics, "declare a Metric"),
        )
    return plan.nodes[name]


def _by(node: Node, known: Mapping[str, Type], wanted: Sequence[str]) -> tuple[str, ...]:
    for name in wanted:
        if name not in known:
            raise QueryError(
                f"metric {node.id!r} may not be asked by {name!r}",
                code="T891",
                where=node.declared.where,
                fix=_nearest(name, known, "declare it in its dimensions=[…]"),
            )
    return tuple(sorted(set(wanted)))


def _grain(plan: Plan, node: Node, wanted: str | None) -> str | None:
    needed = adds_up(plan, node)
    if wanted is None:
        if needed:
            raise QueryError(
                f"metric {node.id!r} adds up over periods, and none are asked for",
                code="T892",
                where=node.declared.where,
                fix='ask for a grain: --grain 1d, or grain="1d"',
            )
        return None
    parts = [set(leaf.spec.get("grains", ())) for leaf in leaves(plan, node)]
    allowed = [grain for grain in GRAINS if all(grain in part for part in parts)]
    if wanted not in allowed:
        why = "" if allowed else ": it has no time"
        raise QueryError(
            f"metric {node.id!r} may not be asked by the grain {wanted!r}{why}",
            code="T892",
            where=node.declared.where,
            fix=f"use one of {', '.join(allowed)}" if allowed else "leave the grain out",
        )
    return wanted


def adds_up(plan: Plan | Draft, node: Node) -> bool:
    """Whether a metric, or one that it is made of, adds up over periods."""
    inner = (plan.nodes[name] for name in node.inputs)
    return "cumulative" in node.spec or any(
        adds_up(plan, each) for each in inner if each.kind == "metric"
    )


def _where(node: Node, known: Mapping[str, Type], wanted: str | None) -> str | None:
    if wanted is None:
        return None
    try:
        written = parse(wanted)
        strange = sorted(written.columns - set(known))
        if strange:
            raise QueryError(
                f"a question to {node.id!r} is about {strange[0]!r}, which is no dimension of it",
                code="T895",
                where=node.declared.where,
                fix=_nearest(strange[0], known, "declare it in its dimensions=[…]"),
            )
        kind = written.infer(known)
    except DeclarationError as error:
        raise QueryError(
            f"the condition cannot be read: {error.message}", code="T895", fix=error.fix
        ) from None
    if kind is not Type.BOOL:
        raise QueryError(
            f"the condition {wanted!r} is {kind}, not true or false",
            code="T895",
            fix="write a condition, such as country = 'fr'",
        )
    return written.sql


def _purpose(node: Node, wanted: str | None) -> str:
    allowed = list(node.spec["purposes"])
    if wanted is None and len(allowed) == 1:
        return str(allowed[0])
    if wanted is None or wanted not in allowed:
        what = f"is not for {wanted!r}" if wanted else f"is for {', '.join(allowed)}: for which?"
        raise QueryError(
            f"metric {node.id!r} {what}",
            code="T893",
            where=node.declared.where,
            fix=f"ask for one of its purposes: {', '.join(allowed)}",
        )
    return wanted


def _bounds(
    plan: Plan, node: Node, grain: str | None, wanted: Wanted, now: int
) -> tuple[int | None, int | None]:
    since, until = wanted.since, wanted.until
    dated = all(leaf.spec.get("grains") for leaf in leaves(plan, node))
    if not dated and (since is not None or until is not None):
        raise QueryError(
            f"metric {node.id!r} has no time to ask since or until when",
            code="T894",
            where=node.declared.where,
            fix="leave since and until out",
        )
    if grain is not None:
        # The period that runs is not over, and its number would be another one in an hour.
        until = periods.floor(grain, now) if until is None else _ceiling(grain, until)
        if since is None:
            since = periods.step(grain, periods.floor(grain, until), -periods.USUAL[grain])
        since = periods.floor(grain, since)
    if since is not None and until is not None:
        if not since < until:
            raise QueryError(
                "the time asked for ends before it begins", code="T894", fix="give an earlier since"
            )
        if grain is not None and len(periods.starts(grain, since, until)) > periods.MOST:
            raise QueryError(
                f"more than {periods.MOST:,} periods are asked for",
                code="T894",
                fix="ask for a coarser grain, or a shorter time",
            )
    return since, until


def _ceiling(grain: str, at: int) -> int:
    start = periods.floor(grain, at)
    return start if start == at else periods.step(grain, start)


def _nearest(name: str, known: Collection[str], otherwise: str) -> str:
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"use one of: {', '.join(sorted(known))}" if known else otherwise


# ---------------------------------------------------------------------- of one measure


def condition(asked: Asked, node: Node, measure: Mapping[str, Any]) -> str | None:
    """Which rows of a measure's source a question is about, over the source's own columns."""
    parts = [str(measure["where"])] if "where" in measure else []
    if asked.where is not None:
        parts.append(over_columns(asked.where, node).sql)
    time = measure["time"]
    if time is not None:
        at = parse(f'"{time}"').sql
        parts += [f"{at} >= {asked.since}"] if asked.since is not None else []
        parts += [f"{at} < {asked.until}"] if asked.until is not None else []
    return parse(" AND ".join(f"({part})" for part in parts)).sql if parts else None


def over_columns(sql: str, node: Node) -> Expression:
    """An expression over a measured metric's dimensions, over its source's columns."""
    each = {name: parse(spec["sql"]) for name, spec in node.spec["dimensions"].items()}
    return parse(sql).substitute(each)


def keys(asked: Asked, node: Node, measure: Mapping[str, Any]) -> list[tuple[str, str, Type]]:
    """(name, SQL, type) of what a question groups a measure's rows by: its dimensions, the values
    of a histogram, and the period."""
    found = []
    for name in asked.by:
        spec = node.spec["dimensions"][name]
        found.append((name, str(spec["sql"]), Type(spec["type"])))
    if "bucket" in measure:
        found.append((BUCKET, str(measure["value"]), Type(measure["bucket"]["type"])))
    if asked.grain is not None:
        sql = periods.period_sql(asked.grain, measure["time"], asked.periods)
        found.append((PERIOD, sql, Type.INT))
    return found
