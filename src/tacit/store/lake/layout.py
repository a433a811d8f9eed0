"""What the lake needs to know of a source: its columns, whose rows they are, how long they stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from tacit.errors import DataError
from tacit.store.files import ARROW
from tacit.values import Type

ARRIVED = "_arrived"
"""The column of the moment at which a row's ingestion began: int64 µs, UTC. What was known at a
moment t is what has `_arrived <= t`."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A source as the lake keeps it.

    Attributes:
        name: the source's, and the table's.
        columns: stored column → type; moments are int64 µs, UTC.
        required: columns without which a row belongs to nobody, or to no moment.
        time: the column that dates rows; None for content.
        subjects: column of a person's key → the name of the entity. Rows lie by buckets of the
            first.
        keep: µs for which rows may be kept from their time on; None for ever.
        kept: column → µs, for those kept shorter than their row.
        key: for content, the column whose values come once each; a delivery of content replaces
            the one before.
        where: the declaration's place, for errors.
    """

    name: str
    columns: Mapping[str, Type]
    required: tuple[str, ...] = ()
    time: str | None = None
    subjects: Mapping[str, str] = field(default_factory=dict)
    keep: int | None = None
    kept: Mapping[str, int] = field(default_factory=dict)
    key: str | None = None
    where: str = ""

    def __post_init__(self) -> None:
        for name in self.columns:
            if name.casefold() == ARRIVED:
                raise DataError(
                    f"the column {name!r} has the name under which the lake keeps arrival times",
                    code="T369",
                    where=self.where or self.name,
                    fix="give the column another name",
                )

    @property
    def dated(self) -> str:
        """The column from which retention is counted: when it happened, else when it came."""
        return self.time or ARRIVED

    @property
    def bucketed(self) -> str | None:
        """The column by whose buckets rows lie; None for rows that are of nobody."""
        return next(iter(self.subjects), None)

    def schema(self, *, arrived: bool = False) -> pa.Schema:
        """Its columns as Arrow has them."""
        fields = [(name, ARROW[kind]) for name, kind in self.columns.items()]
        return pa.schema([*fields, (ARRIVED, pa.int64())] if arrived else fields)
