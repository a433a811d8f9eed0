"""Sources: streams of events and tables of content, with a label on every column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import ClassVar

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
from tacit.declare.methods import SignalMethods
from tacit.values import Type


@dataclass(frozen=True, eq=False, kw_only=True)
class Source(Declaration):
    """What events and tables share: columns, and the terms on which the data is held.

    The terms have no defaults, except that public columns need none: a source with personal
    columns and a term left out is refused (T201).

    Args:
        columns: name → column, made with `key`, `text`, `integer`, `number`, `flag`, `time` or
            `vector`.
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
                    fix="make it with key, text, integer, number, flag, time or vector",
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
class Given(Source):
    """What arrives with a request and is kept nowhere: a formula may name it beside its signals.

    Online, whoever asks for the formula sends it; in a training set it is a column of the spine, of
    this name. Its terms are those on which it may be used.

    Args:
        value: its type and its category, made with `text`, `integer`, `number`, `flag` or `time`.
    """

    kind: ClassVar[str] = "given"
    takes: ClassVar[Mapping[str, Takes]] = {
        **Source.takes,
        "value": instance(Column, "a column", 'number("user.behavior")'),
    }

    value: Column
    columns: Mapping[str, Column] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", {"value": self.value})
        super().__post_init__()


@dataclass(frozen=True, eq=False, kw_only=True)
class Events(Source, SignalMethods):
    """A stream of things that happened, and the signals that can be made of it.

    Every signal method takes SQL expressions over the columns, the derived columns, and the columns
    of content tables that share a key (`films.genre`). With `by`, the result is a histogram: one
    aggregate for each value of that expression. `per` names the entities whose history it is; left
    out, it is the person of these events. With `hop`, a window starts at a multiple of the hop: it
    is never shorter than `window`, and always shorter than `window` and `hop` together. There is a
    method for each aggregate, with one list of options for all: see `declare.signatures`.

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
