"""One Iceberg table of the lake: made, evolved, committed to, and told apart by snapshots.

Format version 2. Moments are `long`, microseconds since 1970-01-01T00:00:00Z, as in every engine of
Tacit: no reader applies a time zone of its own, and Parquet holds them as plain INT64. Every column
is optional to Iceberg (the contract says what must be there), and column metrics are kept of the
event's and the arrival's time alone: a bound of any other column would be a value of somebody.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from struct import Struct
from typing import TypeVar

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    TableAlreadyExistsError,
    ValidationException,
)
from pyiceberg.manifest import DataFile, ManifestContent
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.transforms import BucketTransform
from pyiceberg.types import (
    BooleanType,
    DoubleType,
    FloatType,
    IcebergType,
    ListType,
    LongType,
    NestedField,
    StringType,
)
from sqlalchemy.exc import OperationalError

from tacit.errors import DataError, StoreError
from tacit.privacy.randomness import system
from tacit.store.files import first_line
from tacit.store.lake.layout import ARRIVED, Layout
from tacit.store.lake.manifests import live_files
from tacit.values import Type

BUCKETS = 16
SALT, SUBJECTS = "tacit.salt", "tacit.subjects"
"""Properties of a table: what ids are keyed with; the columns that ever held keys of people."""
INGESTION, COUNTS, CONTENT, OPERATION = (
    "tacit.ingestion", "tacit.counts", "tacit.content", "tacit.operation"
)  # fmt: skip
"""Properties of a snapshot: the ingestion that it commits and what that counted; the ingestion that
the content is of; what else was done."""

_TRIES = 60
_LONG = Struct("<q")  # Iceberg specification, appendix D
_ICEBERG: Mapping[Type, IcebergType] = {
    Type.INT: LongType(),
    Type.FLOAT: DoubleType(),
    Type.TEXT: StringType(),
    Type.BOOL: BooleanType(),
    Type.TIME: LongType(),
    Type.VECTOR: ListType(0, FloatType(), element_required=False),
}
_ARROW: Mapping[type[IcebergType], pa.DataType] = {
    LongType: pa.int64(),
    DoubleType: pa.float64(),
    StringType: pa.string(),
    BooleanType: pa.bool_(),
    FloatType: pa.float32(),
}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the greatest value of a column in a file."""

    low: int
    high: int


class LakeTable:
    """An Iceberg table, as it was when it was last looked at."""

    def __init__(self, table: Table, layout: Layout) -> None:
        self.table = table
        self.layout = layout

    @classmethod
    def load(cls, catalog: Catalog, namespace: str, layout: Layout) -> LakeTable | None:
        """The table of a source; None when nothing was ever ingested there."""
        try:
            return cls(catalog.load_table((namespace, layout.name)), layout)
        except NoSuchTableError:
            return None
        except FileNotFoundError as error:
            raise StoreError(
                f"the lake's catalog names files that are not there: {error}",
                code="T716",
                where=layout.name,
                fix="put the project back where it was, or restore the files: Iceberg's paths are"
                " absolute",
            ) from None

    @classmethod
    def make(cls, catalog: Catalog, namespace: str, layout: Layout) -> LakeTable:
        """The table of a source, made or evolved to fit its declaration.

        Raises DataError T711 for a declaration that the rows that are there cannot be read by.
        """
        found = cls.load(catalog, namespace, layout)
        if found is None:
            with suppress(NamespaceAlreadyExistsError):
                catalog.create_namespace(namespace)
            schema = _new_schema(layout)
            try:
                made = catalog.create_table(
                    (namespace, layout.name),
                    schema,
                    partition_spec=_spec(layout, schema),
                    properties=_properties(layout),
                )
                return cls(made, layout)
            except TableAlreadyExistsError:  # another process was first
                found = cls.load(catalog, namespace, layout)
                assert found is not None, "it exists already"
        found.commit(found.evolve)
        return found

    # ------------------------------------------------------------------ what it is

    @property
    def salt(self) -> bytes:
        """What ids of ingestions are keyed with."""
        return bytes.fromhex(self.table.properties[SALT])

    @property
    def subjects(self) -> Mapping[str, str]:
        """Column → entity, for every column that ever held keys of people."""
        found: Mapping[str, str] = json.loads(self.table.properties.get(SUBJECTS, "{}"))
        return found

    @property
    def bucketed(self) -> str | None:
        """The column by whose buckets rows lie."""
        fields = self.table.spec().fields
        return self.table.schema().find_column_name(fields[0].source_id) if fields else None

    def arrow(self) -> pa.Schema:
        """All its columns, declared or not any more, with their field ids."""
        return pa.schema(_arrow(field) for field in self.table.schema().fields)

    def bounds(self, file: DataFile, column: str) -> Bounds | None:
        """A column's bounds in a file; None where they are not known, or all is null."""
        field = self.table.schema().find_field(column)
        low = (file.lower_bounds or {}).get(field.field_id)
        high = (file.upper_bounds or {}).get(field.field_id)
        if low is None or high is None:
            return None
        return Bounds(*(_LONG.unpack(each)[0] for each in (low, high)))

    # ------------------------------------------------------------------ snapshots and files

    def snapshots(self) -> list[Snapshot]:
        """Oldest first."""
        return sorted(self.table.metadata.snapshots, key=lambda each: each.sequence_number or 0)

    def snapshot(self, snapshot: int | None = None, at: int | None = None) -> Snapshot | None:
        """A snapshot by its id, or the one that was current at a moment (µs), or the current one.

        None for a table in which there is none yet. Raises StoreError T713 for one that there is
        not, or not any more.
        """
        if snapshot is None and at is None:
            return self.table.current_snapshot()
        history = self.snapshots()
        if snapshot is not None:
            found = [each for each in history if each.snapshot_id == snapshot]
        else:
            assert at is not None, "one of them is given"
            found = [each for each in history if each.timestamp_ms <= at // 1000]
        if not found:
            raise StoreError(
                f"there is no snapshot {snapshot if at is None else f'of {at} µs or before'}",
                code="T713",
                where=self.layout.name,
                fix="choose one that is kept: " + _listed(history),
            )
        return found[-1]

    def files(self, snapshot: Snapshot | None) -> list[DataFile]:
        """The data files of a snapshot. Deletes are copy-on-write: every row in them is there."""
        if snapshot is None:
            return []
        found = []
        for manifest in snapshot.manifests(self.table.io):
            if manifest.content is not ManifestContent.DATA:
                raise StoreError(
                    "the table has delete files, which another engine wrote",
                    code="T716",
                    where=self.layout.name,
                    fix="have that engine rewrite its data files, or delete by copy-on-write",
                )
            found += live_files(manifest, self.table.io)
        return sorted(found, key=lambda file: file.file_path)

    def ingested(self, ingestion: str) -> Snapshot | None:
        """The newest snapshot that committed an ingestion, if it is still kept."""
        found = [each for each in self.snapshots() if said(each, INGESTION) == ingestion]
        return found[-1] if found else None

    @property
    def content(self) -> str | None:
        """The ingestion that the content is of."""
        now = self.table.current_snapshot()
        return None if now is None else said(now, CONTENT)

    # ------------------------------------------------------------------ commits

    def commit(self, change: Callable[[Transaction], T]) -> T:
        """Makes a change in one commit; anew from the table's new state if others were first.

        The change may find, in the new state, that there is nothing left to do. Raises StoreError
        T712 when others are always first.
        """
        for attempt in range(_TRIES):
            transaction = self.table.transaction()
            try:
                result = change(transaction)
                transaction.commit_transaction()
                self.table.refresh()
                return result
            except OperationalError as error:
                raise StoreError(
                    f"the lake's catalog did not take a change: {first_line(error)}",
                    code="T703",
                    where=self.layout.name,
                    fix="wait until others are done with it, then try again",
                ) from None
            except (CommitFailedException, ValidationException):
                _pause(attempt)
                self.table.refresh()
        raise StoreError(
            f"others changed the table {_TRIES} times while this change was to be committed",
            code="T712",
            where=self.layout.name,
            fix="try again when fewer write at once",
        )

    def replace(
        self,
        transaction: Transaction,
        gone: Iterable[DataFile],
        new: Iterable[DataFile],
        **why: str,
    ) -> None:
        """Stages that files take the place of others, and what the snapshot is to say of it."""
        if CONTENT not in why and self.content is not None:
            why[CONTENT] = self.content
        with transaction.update_snapshot(snapshot_properties=why).overwrite() as overwrite:
            for file in gone:
                overwrite.delete_data_file(file)
            for file in new:
                overwrite.append_data_file(file)

    def evolve(self, transaction: Transaction) -> None:
        """Stages what the declaration has and the table has not.

        A column that is declared no more stays as it is, and is not read. Raises DataError T711 for
        one that changed its type: Iceberg widens no long to a double, and narrows nothing.
        """
        held = {field.name: field for field in self.table.schema().fields}
        changes = []
        for name, kind in self.layout.columns.items():
            field = held.get(name)
            if field is None:
                _check_case(self.layout, name, held)
                changes.append((name, _ICEBERG[kind]))
            elif not _alike(field.field_type, _ICEBERG[kind]):
                raise _refused(self.layout, name, field.field_type, kind)
        if changes:
            with transaction.update_schema() as update:
                for name, new in changes:
                    update.add_column(name, new)
        subjects = {**self.subjects, **self.layout.subjects}
        if subjects != self.subjects:
            transaction.set_properties({SUBJECTS: json.dumps(subjects)})


def _new_schema(layout: Layout) -> Schema:
    kinds = [(name, _ICEBERG[kind]) for name, kind in layout.columns.items()]
    kinds.append((ARRIVED, LongType()))
    fields = []
    for place, (name, kind) in enumerate(kinds, 1):
        if isinstance(kind, ListType):  # its element has an id of its own
            kind = ListType(place + len(kinds), kind.element_type, element_required=False)
        fields.append(NestedField(place, name, kind, required=False))
    return Schema(*fields)


def _arrow(field: NestedField) -> pa.Field:
    """A column, or the element of a list, as Arrow has it, with its id."""
    kind = field.field_type
    if isinstance(kind, ListType):
        found = pa.list_(_arrow(kind.element_field))
    else:
        found = _ARROW[type(kind)]
    return pa.field(field.name, found, metadata={b"PARQUET:field_id": str(field.field_id).encode()})


def _alike(held: IcebergType, kind: IcebergType) -> bool:
    """Whether two types are the same, but for the ids of elements."""
    if isinstance(held, ListType) and isinstance(kind, ListType):
        return bool(held.element_type == kind.element_type)
    return bool(held == kind)


def _spec(layout: Layout, schema: Schema) -> PartitionSpec:
    if layout.bucketed is None:
        return PartitionSpec()
    source = schema.find_field(layout.bucketed).field_id
    return PartitionSpec(PartitionField(source, 1000, BucketTransform(BUCKETS), "subject_bucket"))


def _properties(layout: Layout) -> dict[str, str]:
    """No metrics but of time. Every change is committed once, by `commit`, which looks again before
    it tries again; and no metadata is kept for history's sake alone."""
    dated = [name for name in (layout.time, ARRIVED) if name is not None]
    return {
        "format-version": "2",
        "write.metadata.metrics.default": "none",
        **{f"write.metadata.metrics.column.{name}": "none" for name in layout.subjects},
        **{f"write.metadata.metrics.column.{name}": "full" for name in dated},
        "write.metadata.delete-after-commit.enabled": "true",
        "write.metadata.previous-versions-max": "1",
        "commit.retry.num-retries": "0",
        "commit.manifest-merge.enabled": "true",
        SALT: system().bytes(16).hex(),
        SUBJECTS: json.dumps(dict(layout.subjects)),
    }


def _check_case(layout: Layout, name: str, held: Mapping[str, NestedField]) -> None:
    for other in held:
        if other.casefold() == name.casefold():
            raise DataError(
                f"the column {name!r} differs only in case from {other!r}, which the lake has",
                code="T711",
                where=layout.where or layout.name,
                fix=f"call it {other!r}, or by another name",
            )


def _refused(layout: Layout, name: str, held: IcebergType, kind: Type) -> DataError:
    return DataError(
        f"the column {name!r} is declared as {kind}, and the lake holds it as {held}",
        code="T711",
        where=layout.where or layout.name,
        fix=f"declare it as it is held, and what is new under another name, such as {name}_2;"
        f" a derived column can join them",
    )


def _pause(attempt: int) -> None:
    """Longer after each try, and not as long as others wait."""
    share = int.from_bytes(system().bytes(2), "big") / 65536
    time.sleep(share * min(0.02 * 2**attempt, 1.0))


def _listed(history: list[Snapshot]) -> str:
    last = [f"{each.snapshot_id} ({each.timestamp_ms * 1000} µs)" for each in history[-5:]]
    return ", ".join(last) or "there is none"


def said(snapshot: Snapshot, name: str) -> str | None:
    """What a snapshot's summary says under a name."""
    return snapshot.summary.get(name) if snapshot.summary else None
