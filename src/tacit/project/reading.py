"""Sources as training sets and looks at quality read them: the columns and rows that they need."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tacit.declare import Events, Table
from tacit.engines.scan import Files, scan
from tacit.errors import DataError
from tacit.project.catalogue import check_keys
from tacit.project.terms import current, none_kept, owner, row_retention
from tacit.store.files import Rows as FileRows
from tacit.store.files import micros, read_parquet

if TYPE_CHECKING:
    from tacit.project.project import Project

AT = "at"
Rows: TypeAlias = pa.Table | Files


class Opened:
    """Some columns of sources, opened when this is called: the same rows every time.

    Files are read where they lie, and stay there while they are open. Raises DataError T346 when
    they are opened again and some of them are gone, or others.
    """

    def __init__(
        self, project: Project, columns: Mapping[str, set[str]], arrivals: Mapping[str, str]
    ) -> None:
        self.project, self.columns, self.arrivals = project, columns, arrivals
        self.first: dict[str, Rows] = {}
        self.stamps: dict[Path, tuple[int, ...]] = {}

    def __call__(self) -> AbstractContextManager[Mapping[str, Rows]]:
        return self._again() if self.first else self._open()

    @contextmanager
    def _open(self) -> Iterator[Mapping[str, Rows]]:
        with ExitStack() as held:
            opened: dict[str, Rows] = {}
            for name, columns in self.columns.items():
                arrival = self.arrivals.get(name)
                only = columns | ({arrival} if arrival else set())
                also = [arrival] if arrival and arrival not in self.project.schema(name) else []
                opened[name] = self.project.scannable(name, held, only, also)
            self.first = opened
            self.stamps = {path: _stamp(path) for path in self._paths()}
            yield self.first

    @contextmanager
    def _again(self) -> Iterator[Mapping[str, Rows]]:
        with ExitStack() as held:
            for name, source in self.first.items():
                if not isinstance(source, Files):
                    continue
                where = source.paths[0].parent if source.paths else self.project.root
                if self.project.in_lake(name):
                    kept = held.enter_context(_reachable(self.project, name))
                    if not {path.name for path in source.paths} <= kept:
                        raise _changed(name, where)
                if any(_stamp(path) != self.stamps[path] for path in source.paths):
                    raise _changed(name, where)
            yield self.first

    def _paths(self) -> list[Path]:
        files = [source for source in self.first.values() if isinstance(source, Files)]
        return [path for each in files for path in each.paths]


@contextmanager
def _reachable(project: Project, source: str) -> Iterator[set[str]]:
    """The names of the files that snapshots of the lake lead to; none of them goes meanwhile."""
    from tacit.project.lake import layout_of
    from tacit.store.lake.purge import reachable

    with project.lake.reading(layout_of(project.declarations, source)) as table:
        yield {Path(each).name for each in reachable(table.table)} if table else set()


def _stamp(path: Path) -> tuple[int, ...]:
    """What tells a file from another that takes its place; nothing of one that is gone."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _changed(source: str, where: Path) -> DataError:
    return DataError(
        f"the rows of {source!r} are not those any more that the set was made of",
        code="T346",
        where=str(where),
        fix="make the training set again, and ask for its status at once",
    )


def read_rows(
    project: Project, source: str, only: Collection[str] | None, also: Collection[str]
) -> FileRows:
    """See `Project.rows`."""
    declared = project.source(source)
    wanted = project.columns(source, project.schema(source) if only is None else only, also)
    if project.in_lake(source):
        from tacit.project.lake import layout_of

        layout = layout_of(project.declarations, source)
        return FileRows(project.lake.read(layout, project.now(), columns=list(wanted)))
    file, binding = project.file(source), project.settings.sources[source]
    rows = read_parquet(
        file,
        wanted,
        renamed={name: held for name, held in binding.columns.items() if name in wanted},
        keys=owner(declared),
        time=declared.time if isinstance(declared, Events) else None,
        now=project.now(),
        keep=row_retention(declared),
        unit=binding.unit,
    )
    if isinstance(declared, Table):
        check_keys(declared, rows.table, file)
        return rows
    if rows.expired and not rows.table.num_rows:
        none_kept(source, rows.expired)
    assert isinstance(declared, Events), "rows are of events, or of content"
    return replace(rows, table=current(declared, rows.table, project.now()))


def open_source(
    project: Project, source: str, held: ExitStack, only: Collection[str], also: Collection[str]
) -> Rows:
    """See `Project.scannable`."""
    from tacit.project.files import bound, check_kept

    if project.in_lake(source):
        from tacit.project.lake import scannable

        columns = project.columns(source, only, also)
        found = held.enter_context(scannable(project, source, columns))
    else:
        files = bound(project, source, only, also)
        found = files or project.rows(source, only=only, also=also).table
    if isinstance(found, Files):
        check_kept(source, found)
    return found


def read_moments(
    project: Project,
    source: str,
    keys: Mapping[str, str],
    span: tuple[int | None, int],
    most: int | None = None,
) -> pa.Table:
    """A spine of the moments of a source's events: of each the keys (spine's column → source's)
    and `at`, int64 µs, after the first moment of the span (None: since ever) until its last.

    Of more than `most` rows, that many, evenly spread; never more of the rest is in memory than a
    batch for each.
    """
    declared = project.source(source)
    assert isinstance(declared, Events), "moments are of events"
    columns = [*dict.fromkeys([*keys.values(), declared.time])]
    with ExitStack() as held:
        opened = scan(project.scannable(source, held, columns))

        def batches(names: list[str]) -> Iterator[pa.Table]:
            for piece in opened.pieces:
                for batch in opened.read(piece, names):
                    at = micros(batch[declared.time])
                    within = pc.less_equal(at, span[1])
                    if span[0] is not None:
                        within = pc.and_(within, pc.greater(at, span[0]))
                    place = batch.column_names.index(declared.time)
                    yield batch.set_column(place, declared.time, at).filter(within)

        chosen = None
        if most is not None:
            size = sum(batch.num_rows for batch in batches([declared.time]))
            chosen = np.linspace(0, size - 1, most).astype(np.int64) if size > most else None
        start, found = 0, []
        for batch in batches(columns):
            if chosen is not None:
                first, last = np.searchsorted(chosen, (start, start + batch.num_rows))
                start += batch.num_rows
                batch = batch.take(pa.array(chosen[first:last] - (start - batch.num_rows)))
            found.append(_plain(batch))
        empty = _plain(opened.schema.empty_table().select(columns))
        whole = pa.concat_tables(found or [empty])
    asked = {name: whole[column] for name, column in keys.items()}
    return pa.table(asked | {AT: micros(whole[declared.time])})


def _plain(rows: pa.Table) -> pa.Table:
    """Texts as they are, not by the dictionary of their batch."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_dictionary(field.type):
            rows = rows.set_column(place, field.name, rows[field.name].cast(field.type.value_type))
    return rows
