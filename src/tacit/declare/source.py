"""Sources: streams of events and tables of content, with a label on every column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar

from tacit.declare.arguments import (
    KEEP,
    REGION,
    WORD,
    Takes,
    instance,
    is_printable,
    optional,
    short,
)
from tacit.declare.base import Declaration
from tacit.declare.column import PLACE, PURPOSES, Column, Names, PlaceName, Purposes
from tacit.declare.entity import BASIS, BasisName, Entity
from tacit.declare.signal import Signal
from tacit.values import Type


@dataclass(frozen=True, eq=False, kw_only=True)
class Source(Declaration):
    """What events and tables share: columns, and the terms on which the data is held.

    The terms have no defaults, except that public columns need none: a source with personal
    columns and a term left out is refused (T201).

    Args:
        columns: name → column, made with `key`, `text`, `integer`, `number`, `flag` or `time`.
        category: the fideslang category, or `PUBLIC`, of the columns that state none themselves.
        place: where the rows live: "device", "enclave" or "cloud".
        purposes: what the rows may be used for.
        basis: the lawful basis on which they are gathered.
        region: where they may be kept; `ANYWHERE` for no limit.
        keep: how long they may be kept ("400d"), or "ever".
        derived: further columns as SQL over the others, in any order.
    """

    takes: ClassVar[Mapping[str, Takes]] = {
        **Declaration.takes,
        "columns": instance(Mapping, "a mapping from names to columns", '{"name": text(…)}'),
        "category": optional(WORD),
        "place": optional(PLACE),
        "purposes": optional(PURPOSES),
        "basis": optional(BASIS),
        "region": optional(REGION),
        "keep": optional(KEEP),
        "derived": instance(Mapping, "a mapping from names to SQL", '{"name": "price * 2"}'),
    }

    columns: Mapping[str, Column]
    category: str | None = None
    place: PlaceName | None = None
    purposes: Purposes | None = None
    basis: BasisName | None = None
    region: Names | None = None
    keep: str | None = None
    derived: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, column in self.columns.items():
            if not isinstance(column, Column):
                raise self.wrong(
                    f"has a column {name!r} without a type",
                    code="T116",
                    fix="make it with key, text, integer, number, flag or time",
                )
        for name, sql in self.derived.items():
            if not isinstance(sql, str):
                raise self.wrong(
                    f"derives {name!r} from {short(sql)}, which is not SQL in a string",
                    code="T116",
                    fix='write it as text, such as "price * 2"',
                )
        self._check_names([*self.columns, *self.derived])
        stated = {
            name: replace(column, category=column.category or self.category)
            for name, column in self.columns.items()
        }
        object.__setattr__(self, "columns", MappingProxyType(stated))

    def _check_names(self, names: list[object]) -> None:
        seen: dict[str, object] = {}
        for name in names:
            if not isinstance(name, str) or not is_printable(name) or "." in name:
                raise self.wrong(
                    f"has a column named {short(name)}",
                    code="T116",
                    fix="name it with visible text and no dot; a dot joins a table's name to it",
                )
            folded = name.casefold()
            if folded in seen:
                how = "twice" if seen[folded] == name else f"and {seen[folded]!r}"
                raise self.wrong(
                    f"has a column {name!r} {how}; engines read names without their case",
                    code="T102",
                    fix="choose another name for one of them",
                )
            seen[folded] = name


@dataclass(frozen=True, eq=False, kw_only=True)
class Table(Source):
    """Content: one row per key, the same for everybody who may see it.

    Args:
        of: the entity whose key the rows bear, each at most once.
    """

    kind: ClassVar[str] = "table"
    takes: ClassVar[Mapping[str, Takes]] = {
        **Source.takes,
        "of": instance(Entity, "an Entity", "the entity whose key the rows bear"),
    }

    of: Entity


@dataclass(frozen=True, eq=False, kw_only=True)
class Events(Source):
    """A stream of things that happened, and the signals that can be made of it.

    Every signal method takes SQL expressions over the columns, the derived columns, and the columns
    of content tables that share a key (`films.genre`). With `by`, the result is a histogram: one
    aggregate for each value of that expression. `per` names the entities whose history it is; left
    out, it is the person of these events.

    Args:
        time: the column that says when; left out, the only column of moments but `arrival`.
        arrival: the column that says when a row became known, where that is kept.
    """

    kind: ClassVar[str] = "events"
    takes: ClassVar[Mapping[str, Takes]] = {
        **Source.takes,
        "time": instance(str, "the name of a column", '"at"'),
        "arrival": optional(instance(str, "the name of a column", '"received_at"')),
    }

    time: str = ""
    arrival: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        moments = [name for name, column in self.columns.items() if column.type is Type.TIME]
        moments = [name for name in moments if name != self.arrival]
        if not self.time and len(moments) == 1:
            object.__setattr__(self, "time", moments[0])

    def _signal(self, aggregate: str, value: str | None, options: dict[str, Any]) -> Signal:
        per = options.pop("per", None)
        entities: Any = per if isinstance(per, list | tuple) else () if per is None else (per,)
        return Signal(source=self, aggregate=aggregate, value=value, per=entities, **options)

    def count(
        self,
        window: str | None = None,
        *,
        value: str | None = None,
        by: str | None = None,
        where: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """How many events there were; with `value`, how many in which it is not null."""
        options = {"window": window, "by": by, "filter": where, "per": per}
        return self._signal("count", value, options | {"doc": doc, "name": name, "owner": owner})

    def sum(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The sum of an expression; null when there is nothing to add."""
        options = {"window": window, "by": by, "filter": where, "per": per}
        return self._signal("sum", value, options | {"doc": doc, "name": name, "owner": owner})

    def mean(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The mean of an expression; null when there is nothing to average."""
        options = {"window": window, "by": by, "filter": where, "per": per}
        return self._signal("mean", value, options | {"doc": doc, "name": name, "owner": owner})

    def min(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The least value of an expression."""
        options = {"window": window, "by": by, "filter": where, "per": per}
        return self._signal("min", value, options | {"doc": doc, "name": name, "owner": owner})

    def max(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The greatest value of an expression."""
        options = {"window": window, "by": by, "filter": where, "per": per}
        return self._signal("max", value, options | {"doc": doc, "name": name, "owner": owner})

    def first(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The value at the earliest event; among events of one moment, the least."""
        options = {"window": window, "by": by, "filter": where, "per": per}
        return self._signal("first", value, options | {"doc": doc, "name": name, "owner": owner})

    def last(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The value at the latest event; among events of one moment, the greatest."""
        options = {"window": window, "by": by, "filter": where, "per": per}
        return self._signal("last", value, options | {"doc": doc, "name": name, "owner": owner})

    def distinct(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """How many different values there were, exactly."""
        options = {"window": window, "by": by, "filter": where, "per": per}
        return self._signal("distinct", value, options | {"doc": doc, "name": name, "owner": owner})

    def variance(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The population's variance of an expression; null when there is nothing."""
        options = {"window": window, "by": by, "filter": where, "per": per}
        return self._signal("variance", value, options | {"doc": doc, "name": name, "owner": owner})

    def stddev(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The square root of the variance."""
        options = {"window": window, "by": by, "filter": where, "per": per}
        return self._signal("stddev", value, options | {"doc": doc, "name": name, "owner": owner})

    def last_k(
        self,
        value: str,
        k: int,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The last k values, newest first; among events of one moment, the greatest first."""
        options = {"window": window, "by": by, "filter": where, "per": per}
        return self._signal(
            f"last_k({k})", value, options | {"doc": doc, "name": name, "owner": owner}
        )

    def top_k(
        self,
        value: str,
        k: int,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The k most frequent values, the most frequent first; of equals, the least first."""
        options = {"window": window, "by": by, "filter": where, "per": per}
        return self._signal(
            f"top_k({k})", value, options | {"doc": doc, "name": name, "owner": owner}
        )

    def decayed(
        self,
        value: str,
        half: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The sum in which a value counts half after each half-life, such as "7d"."""
        options = {"window": window, "by": by, "filter": where, "per": per}
        return self._signal(
            f"decayed({half})", value, options | {"doc": doc, "name": name, "owner": owner}
        )

    def since(
        self,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """Microseconds since the last event; null when there was none."""
        options = {"window": window, "by": by, "filter": where, "per": per}
        return self._signal("since", None, options | {"doc": doc, "name": name, "owner": owner})
