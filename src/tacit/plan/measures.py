"""Build, part five: the rows that a metric measures, and by what it may be asked.

Joins are safe by construction: rows are joined only to content, by the one key that they share,
and content has each key at most once. So a join never makes a row twice (no fan-out), and metrics
of different sources meet only as cells that have been added up (no chasm).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tacit.declare import PUBLIC, ConversionMetric, Events, Measure, Private, Source, Table
from tacit.declare.expression import Expression
from tacit.declare.measure import VALUED
from tacit.operations import Join
from tacit.plan.draft import Draft
from tacit.plan.expressions import infer, inline, read, roles
from tacit.plan.graph import Port, Role
from tacit.plan.signals import derived_of, join_of, people, tables_of
from tacit.values import Type

REPORTED = ("persons", "count", "histogram")
"""What devices can report by Prio3."""


class Measured:
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
        self._check_content()
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

    def _check_content(self) -> None:
        """T215 for content about people: nobody could bound in whose rows it stands."""
        flat = [self._flat(each) for each in (*self.written.values(), *self.asked.values())]
        used = {column for each in flat for column in each.columns}
        used |= {f"{join.table}.{join.right}" for join in self.joins.values()}
        for name in sorted(column for column in used if "." in column):
            if self._column(name).category != PUBLIC:
                raise self._wrong(
                    f"hides one person among others, and {name!r} is content about people: it may"
                    " stand in the rows of many",
                    "T215",
                    "name columns of content that are PUBLIC",
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
