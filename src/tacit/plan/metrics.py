"""Build, part five: metrics, in the order in which they stand on each other.

A metric that is measured is a declassifier, as a release is: its node's spec says of which rows, by
which mechanism, under which bounds, and by which dimensions it may be asked. The dimensions are
declared, so that the flow check sees every column that a question could ever name.

Joins are safe by construction: rows are joined only to content, by the one key that they share,
and content has each key at most once. So a join never makes a row twice (no fan-out), and metrics
of different sources meet only as cells that have been added up (no chasm).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tacit.declare import (
    ANYWHERE,
    PUBLIC,
    AnyMetric,
    ConversionMetric,
    CumulativeMetric,
    Declaration,
    DerivedMetric,
    Events,
    Measure,
    Metric,
    Private,
    RatioMetric,
    Source,
    Table,
)
from tacit.declare.expression import Expression
from tacit.declare.measure import ADDITIVE, VALUED
from tacit.declare.metric import dimensions_of
from tacit.operations import Join
from tacit.plan.draft import Draft
from tacit.plan.expressions import infer, inline, read, roles
from tacit.plan.graph import Column, Port, Role
from tacit.plan.outputs import sensitive_of, terms_of
from tacit.plan.signals import derived_of, join_of, people, tables_of
from tacit.plan.sources import keep, regions
from tacit.values import Type, duration

REPORTED = ("persons", "count", "histogram")
COLUMN = (Column("value", "estimate"),)


def build_metric(draft: Draft, name: str, metric: AnyMetric) -> None:
    """Adds a metric node, after the metrics that it is made of; each is tried once.

    Raises T125 to T133 for what cannot be measured, T111 to T115 for its expressions.
    """
    if name not in draft.tried:
        draft.tried.add(name)
        _BUILDERS[type(metric)](draft, name, metric)


# ---------------------------------------------------------------------- measured


def _build_measured(draft: Draft, name: str, metric: Metric) -> None:
    if metric.release is not None:
        release = draft.standing(metric.release, metric)
        spec = {**terms_of(draft, metric, metric.release), "minimum": metric.minimum}
        draft.add(name, "metric", metric, (release,), COLUMN, spec, tuple(spec["purposes"]))
        draft.flow(Port(release, "value"), Port(name, "value"), "value")
        return
    assert metric.measure is not None, "one of the two is there"
    rows = _Rows(draft, metric, metric.measure, dimensions_of(metric))
    spec = _private_spec(draft, metric, rows) | {"measure": rows.spec()}
    draft.add(name, "metric", metric, rows.inputs, COLUMN, spec, tuple(spec["purposes"]))
    rows.flow(name)


def _build_conversion(draft: Draft, name: str, metric: ConversionMetric) -> None:
    """People of the one and of the other; the dimensions are the first event's."""
    if metric.mechanism is None:
        raise draft.wrong(
            metric,
            "counts people, and no mechanism stands between them and the number",
            code="T214",
            fix='write mechanism="central", epsilon=…, minimum=…',
        )
    base = _Rows(draft, metric, metric.base, dimensions_of(metric))
    then = _Rows(draft, metric, metric.then, {})
    measured = {metric.base.aggregate, metric.then.aggregate}
    if measured != {"persons"} or base.entity is not then.entity or base.kind != then.kind:
        raise draft.wrong(
            metric,
            "is not of the same people twice",
            code="T131",
            fix="give base and then Measure.persons(…) of events with the same key of a person",
        )
    spec = _private_spec(draft, metric, base) | {
        "conversion": {
            "base": base.spec(),
            "then": then.spec(),
            "within": duration(metric.within),
            "shows": metric.shows,
        }
    }
    inputs = tuple(dict.fromkeys([*base.inputs, *then.inputs]))
    draft.add(name, "metric", metric, inputs, COLUMN, spec, tuple(spec["purposes"]))
    base.flow(name)
    then.flow(name)


def _private_spec(draft: Draft, metric: Private, rows: _Rows) -> dict[str, Any]:
    """What stands between the rows and the number, and by what it may be asked."""
    terms = terms_of(draft, metric, None)
    if metric.mechanism is None:
        terms["region"] = terms["region"] or regions(ANYWHERE)
        terms["keep"] = terms["keep"] or keep("ever")
    dated = isinstance(rows.source, Events)
    spec = {
        **terms,
        "dimensions": rows.dimensions(),
        "grains": sorted(metric.grains) if dated else [],
        "sensitive": sensitive_of(draft, metric),
    }
    if metric.minimum is not None:
        spec["minimum"] = metric.minimum
    if metric.mechanism is not None:
        assert metric.epsilon is not None, "a mechanism has one"
        rows.check_bounds(metric)
        rows.check_reports(metric)
        spec |= {
            "mechanism": metric.mechanism,
            "epsilon": float(metric.epsilon),
            "delta": float(metric.delta),
            "answers": metric.answers,
            "max_groups": metric.max_groups,
            "max_periods": metric.max_periods,
        }
    return spec


class _Rows:
    """The rows that a measure is of: their expressions, joins, people and dimensions."""

    def __init__(
        self, draft: Draft, metric: Private, measure: Measure, dimensions: Mapping[str, str]
    ) -> None:
        self.draft, self.metric, self.measure = draft, metric, measure
        self.source = measure.source
        self.name = draft.standing(self.source, metric)
        self.written: dict[str, Expression] = {
            part: read(draft.declarations, metric, sql)
            for part, sql in (("value", measure.value), ("where", measure.where))
            if sql is not None
        }
        self.asked = {n: read(draft.declarations, metric, sql) for n, sql in dimensions.items()}
        every = [*self.written.values(), *self.asked.values()]
        self._check_fans(every)
        used = sorted({table for each in every for table in tables_of(each)})
        self.joins = {t: join_of(draft, self.name, self.source, metric, t) for t in used}
        self.schema = self._schema(draft, self.joins)
        self.types = {n: self._type(each) for n, each in (self.written | self.asked).items()}
        self._check_types()
        keys = [c for c in self.source.columns.values() if c.entity and c.entity.person]
        self.person = next((n for n, c in self.source.columns.items() if c in keys), None)
        self.entity = keys[0].entity if len(keys) == 1 else None
        self.kind = keys[0].type if len(keys) == 1 else None
        self.inputs = (self.name, *sorted(self.joins))
        if measure.aggregate in ("persons", "top") and self.entity is None:
            raise self._nobody()

    def _check_fans(self, every: Iterable[Expression]) -> None:
        """T126 for a column of other events: each row here would meet several rows there."""
        for table in sorted({table for each in every for table in tables_of(each)}):
            if isinstance(self.draft.declarations.named.get(table), Events):
                raise self.draft.wrong(
                    self.metric,
                    f"names a column of {table!r}, which has several rows for a key: joined to"
                    f" them, rows of {self.name!r} would count more than once",
                    code="T126",
                    fix=f"measure {table!r} by a metric of its own, and relate the two by a"
                    " RatioMetric, a DerivedMetric or a ConversionMetric",
                )

    def _schema(self, draft: Draft, joins: Iterable[str]) -> dict[str, Type]:
        schema = dict(draft.schemas[self.name])
        for table in joins:
            schema |= {f"{table}.{name}": kind for name, kind in draft.schemas[table].items()}
        return schema

    def _type(self, written: Expression) -> Type:
        return infer(self.draft.declarations, self.metric, written, self.schema)

    def _check_types(self) -> None:
        measure, value = self.measure, self.types.get("value")
        if "where" in self.types and self.types["where"] is not Type.BOOL:
            fix = "write a condition, such as quantity > 0"
            raise self._wrong("is filtered by what is not true or false", "T112", fix)
        if measure.aggregate in VALUED and not (value and value.numeric):
            fix = "name a column of ints or floats"
            raise self._wrong(f"takes the {measure.aggregate} of {measure.value!r}", "T113", fix)
        if measure.aggregate in ("histogram", "top"):
            assert measure.value is not None, "it is made with one"
            self._check_dimension(measure.value, self.written["value"], value)
        for name in self.asked:
            self._check_dimension(name, self.asked[name], self.types[name])

    def _check_dimension(self, name: str, written: Expression, kind: Type | None) -> None:
        people_here = [
            column
            for column in written.columns
            if (declared := self._column(column)) is not None
            and declared.entity is not None
            and declared.entity.person
        ]
        if people_here or kind not in (Type.TEXT, Type.INT, Type.BOOL):
            what = "tells one person from another" if people_here else f"is {kind}"
            raise self._wrong(
                f"cannot be asked by {name!r}, which {what}",
                "T125",
                "divide by text, ints or bools that many people share; by time with a grain",
            )

    def _column(self, name: str) -> Any:
        table, dot, column = name.partition(".")
        source = self.draft.declarations.named[table] if dot else self.source
        assert isinstance(source, Source), "its columns were read from a source"
        return source.columns.get(column if dot else name)

    def _wrong(self, message: str, code: str, fix: str) -> Exception:
        return self.draft.wrong(self.metric, message, code=code, fix=fix)

    def _nobody(self) -> Exception:
        return self._wrong(
            f"is about people, and the rows of {self.name!r} are not of one person each",
            "T215",
            "measure events with one column that is the key of a person",
        )

    def check_bounds(self, metric: Private) -> None:
        """What a mechanism must know of one person: T215 who that is, T127 how much they add."""
        if not isinstance(self.source, Events) or self.entity is None:
            raise self._nobody()
        measure = self.measure
        missing = [] if measure.aggregate in ("persons", "top") else ["max_rows"]
        missing += ["low", "high", "step"] if measure.aggregate in VALUED else []
        unbounded = [name for name in missing if getattr(measure, name) is None]
        if unbounded:
            raise self._wrong(
                f"does not bound what one person adds: no {' and no '.join(unbounded)}",
                "T127",
                f"write {', '.join(f'{name}=…' for name in unbounded)} in its Measure, chosen"
                " without looking at the rows",
            )

    def check_reports(self, metric: Private) -> None:
        """What devices can report by Prio3: T134 for anything else."""
        if metric.mechanism != "prio3":
            return
        measure, what = self.measure, ""
        if self.source.place != "device":
            what = f"the rows of {self.name!r} are not on devices"
        elif measure.aggregate not in REPORTED or isinstance(metric, ConversionMetric):
            what = f"devices report {', '.join(REPORTED)}, and not this"
        elif self.asked:
            what = "a report says one thing, and has no dimensions"
        elif "bucket" in (found := self._bucket()) and found["bucket"]["domain"] is None:
            what = "the values that reports speak of are not public"
        if what:
            raise self._wrong(
                f"is answered by reports of devices (prio3): {what}",
                "T134",
                'count persons, rows, or rows by a key that a public table lists; or use "central"',
            )

    def dimensions(self) -> dict[str, Any]:
        """Name → its SQL over stored columns, its type, and whether its values are public."""
        return {n: self._dimension(n, written) for n, written in sorted(self.asked.items())}

    def _dimension(self, name: str, written: Expression) -> dict[str, Any]:
        public: str | None = None
        if written.tree.op == "column":
            table, dot, _ = str(written.tree.value).partition(".")
            declared = self._column(str(written.tree.value))
            if self.types[name] is Type.BOOL:
                public = "bool"
            elif dot and declared is not None and declared.category == PUBLIC:
                public = table
            elif not dot and declared is not None and declared.entity is not None:
                public = self._catalogue(declared.entity)
        elif self.types[name] is Type.BOOL:
            public = "bool"
        flat = self._flat(written)
        return {"sql": flat.sql, "type": str(self.types[name]), "domain": public}

    def _catalogue(self, entity: Any) -> str | None:
        """The one public table that lists an entity's keys."""
        tables = [
            name
            for name, table in self.draft.declarations.of(Table).items()
            if table.of is entity and name in self.draft.nodes
            if all(c.category == PUBLIC for c in table.columns.values() if c.entity is entity)
        ]
        return tables[0] if len(tables) == 1 else None

    def _flat(self, written: Expression) -> Expression:
        derived = derived_of(self.draft, self.name, written)
        return inline(self.draft.declarations, self.metric, written, derived)

    def spec(self) -> dict[str, Any]:
        """All that the measure means, as JSON."""
        measure = self.measure
        given = {n: getattr(measure, n) for n in ("low", "high", "step", "max_rows", "q", "k")}
        return {
            "aggregate": measure.aggregate,
            "source": self.name,
            **{part: self._flat(each).sql for part, each in self.written.items()},
            **self._bucket(),
            **{name: value for name, value in given.items() if value is not None},
            "person": self.person if self.entity is not None else None,
            "time": self.source.time if isinstance(self.source, Events) else None,
            "joins": [[join.table, join.left, join.right] for join in self.joins.values()],
        }

    def _bucket(self) -> dict[str, Any]:
        """Of what is counted by value: what kind of a dimension that is."""
        if self.measure.aggregate not in ("histogram", "top"):
            return {}
        return {"bucket": self._dimension("value", self.written["value"])}

    def flow(self, name: str) -> None:
        """The edges from stored columns to the metric: its value, and all that decides it."""
        target = Port(name, "value")
        for part, each in self.written.items():
            for role, column in roles(each):
                self._edge(column, target, "filter" if part == "where" else role)
        for each in self.asked.values():
            for _, column in roles(each):
                self._edge(column, target, "group")
        for join in self.joins.values():
            self._join(join, target)
        if isinstance(self.source, Events):
            self._edge(self.source.time, target, "time")
            for column in people(self.source):
                self._edge(column, target, "key" if column == self.person else "row")
        elif not self.written and not self.asked:
            for column in self.source.columns:
                self._edge(column, target, "row")

    def _join(self, join: Join, target: Port) -> None:
        self._edge(join.left, target, "join")
        self._edge(f"{join.table}.{join.right}", target, "join")

    def _edge(self, column: str, target: Port, role: Role) -> None:
        table, dot, name = column.partition(".")
        self.draft.flow(Port(table, name) if dot else Port(self.name, column), target, role)


# ---------------------------------------------------------------------- made of others


def _build_ratio(draft: Draft, name: str, metric: RatioMetric) -> None:
    parts = {"numerator": metric.numerator, "denominator": metric.denominator}
    named = _parts(draft, name, metric, parts)
    _add_composed(draft, name, metric, named, {"ratio": named})


def _build_derived(draft: Draft, name: str, metric: DerivedMetric) -> None:
    written = read(draft.declarations, metric, metric.sql)
    chosen = {used: _input(draft, metric, used) for used in sorted(written.columns)}
    if not chosen:
        fix = 'write one, as in "plays / listeners"'
        raise draft.wrong(metric, "names no metric", code="T128", fix=fix)
    named = _parts(draft, name, metric, chosen)
    kind = infer(draft.declarations, metric, written, dict.fromkeys(chosen, Type.FLOAT))
    if not kind.numeric:
        raise draft.wrong(
            metric, f"is {kind}, not a number", code="T112", fix="write arithmetic of metrics"
        )
    _add_composed(draft, name, metric, named, {"sql": written.sql, "inputs": named})


def _build_cumulative(draft: Draft, name: str, metric: CumulativeMetric) -> None:
    named = _parts(draft, name, metric, {"metric": metric.metric})
    spec = draft.nodes[named["metric"]].spec
    measure = spec.get("measure", {})
    aggregate = measure.get("aggregate")
    window = None if metric.window is None else duration(metric.window)
    if not measure.get("time") or not (
        aggregate in ADDITIVE or (aggregate == "persons" and window is None)
    ):
        what = f"a {aggregate} of events" if measure.get("time") else "what has no time"
        raise draft.wrong(
            metric,
            f"adds up {what} over {'a trailing window' if window else 'time'}: the periods of it do"
            " not add up to the whole",
            code="T130",
            fix="name a metric of a count or sum of events; or one of persons, without a window",
        )
    _add_composed(draft, name, metric, named, {"cumulative": {**named, "window": window}})


def _parts(
    draft: Draft, name: str, metric: AnyMetric, parts: Mapping[str, AnyMetric]
) -> dict[str, str]:
    """Part → the name of its metric, built before. Raises T129 for metrics in a circle."""
    for part in parts.values():
        other = draft.declarations.name(part, metric)
        draft.forming.append(name)
        circle = other in draft.forming
        if not circle:
            with draft.attempt():
                build_metric(draft, other, part)
        steps = [*draft.forming, other]
        draft.forming.pop()
        if circle:
            raise draft.wrong(
                metric,
                f"stands on itself: {' → '.join(steps[steps.index(other) :])}",
                code="T129",
                fix="make one of them of measured metrics alone",
            )
    return {key: draft.standing(part, metric) for key, part in parts.items()}


def _input(draft: Draft, metric: DerivedMetric, used: str) -> AnyMetric:
    declared: Declaration | None = metric.inputs.get(used) or draft.declarations.named.get(used)
    if isinstance(declared, AnyMetric):
        return declared
    known = [*metric.inputs, *draft.declarations.of(AnyMetric)]
    close = difflib.get_close_matches(used, known, 1)
    what = f"declared as {declared.kind}" if declared is not None else "not declared"
    raise draft.wrong(
        metric,
        f"names {used!r}, which is {what}; a derived metric is over metrics",
        code="T128",
        fix=f"did you mean {close[0]!r}?" if close else "name a metric, or add it to inputs={…}",
    )


def _add_composed(
    draft: Draft,
    name: str,
    metric: AnyMetric,
    named: Mapping[str, str],
    meaning: Mapping[str, Any],
) -> None:
    """A metric of others, under the terms that all of them leave, or stricter ones of its own."""
    parts = [draft.nodes[part].spec for part in named.values()]
    for part, its in zip(named.values(), parts, strict=True):
        if "bucket" in its.get("measure", {}) and "cumulative" not in meaning:
            raise draft.wrong(
                metric,
                f"names {part!r}, which has several numbers in a cell",
                code="T128",
                fix="name a metric of one number, such as a count by that dimension",
            )
    spec = {**_terms(draft, metric, parts), **meaning}
    inputs = tuple(dict.fromkeys(named.values()))
    draft.add(name, "metric", metric, inputs, COLUMN, spec, tuple(spec["purposes"]))
    for part in inputs:
        draft.flow(Port(part, "value"), Port(name, "value"), "value")


def _terms(draft: Draft, metric: AnyMetric, parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    parts = list(parts)
    given = {
        "purposes": sorted(set.intersection(*(set(part["purposes"]) for part in parts))),
        "region": _common([part["region"] for part in parts]),
        "keep": min((part["keep"] for part in parts), key=_length),
    }
    if metric.purposes is not None:
        given["purposes"] = sorted(draft.declarations.purposes(metric.purposes, metric))
    if not given["purposes"]:
        fix = "relate metrics that share a purpose"
        raise draft.wrong(metric, "is for no purpose", code="T203", fix=fix)
    if not given["region"]:
        raise draft.wrong(
            metric,
            "is made of metrics that no region may hold together",
            code="T205",
            fix="relate metrics that may be read in one region",
        )
    if metric.region is not None:
        given["region"] = regions(metric.region)
    if metric.keep is not None:
        given["keep"] = keep(metric.keep)
    return given


def _common(stated: list[Any]) -> list[str]:
    named = [set(each) for each in stated if each and ANYWHERE not in each]
    return sorted(set.intersection(*named)) if named else regions(ANYWHERE)


def _length(kept: str | None) -> float:
    return float("inf") if kept in (None, "ever") else duration(str(kept))


_BUILDERS: Mapping[type[AnyMetric], Callable[[Draft, str, Any], None]] = {
    Metric: _build_measured,
    ConversionMetric: _build_conversion,
    RatioMetric: _build_ratio,
    DerivedMetric: _build_derived,
    CumulativeMetric: _build_cumulative,
}
