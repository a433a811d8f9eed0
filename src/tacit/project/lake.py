"""A project's lake: what its declarations say of the tables, and what may be done with them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from tacit.declare import Declarations, Source, Table
from tacit.engines.scan import Files
from tacit.errors import DataError
from tacit.plan.sources import key_columns, narrowed, retention
from tacit.project.project import Project
from tacit.project.settings import FILE
from tacit.project.terms import people_columns, required
from tacit.store.lake.contract import AHEAD
from tacit.store.lake.ingest import Asked, Ingestion, Progress
from tacit.store.lake.lake import Lake
from tacit.store.lake.layout import Layout
from tacit.store.lake.rows import row_retention


def open_lake(project: Project) -> Lake:
    """The lake of a project; its catalog is opened on first use."""
    settings = project.settings
    namespace = re.sub(r"[^A-Za-z0-9_]+", "_", settings.name)
    where = str(project.root / FILE)
    return Lake(project.state / "lake", namespace, project.control, settings.lake, where)


def layout_of(declarations: Declarations, name: str) -> Layout:
    """How the lake keeps a source.

    Raises DataError T369 for a source whose rows are of devices or the enclave: the lake is in the
    cloud, and they may come there only through a release.
    """
    source = declarations.named[name]
    assert isinstance(source, Source), f"{name} is a source"
    if source.place not in (None, "cloud"):
        raise DataError(
            f"the rows of {name!r} live on the {source.place}, and the lake is in the cloud",
            code="T369",
            where=source.where,
            fix="let what is wanted of them pass through a Release",
        )
    time = getattr(source, "time", None) or None
    subjects = {}
    for title in people_columns(source):
        entity = source.columns[title].entity
        assert entity is not None, "the column is a key"
        subjects[title] = declarations.name(entity, source)
    return Layout(
        name,
        {title: column.type for title, column in source.columns.items()},
        required=required(source),
        time=time,
        subjects=subjects,
        keep=retention(source.keep, source.where),
        kept=narrowed(source),
        key=key_columns(source, source.of)[0] if isinstance(source, Table) else None,
        where=source.where,
    )


def ingest(
    project: Project,
    source: str,
    given: Path | pa.Table,
    *,
    batch: str | None = None,
    ahead: int = AHEAD,
    progress: Progress | None = None,
) -> Ingestion:
    """See `Project.ingest`."""
    layout = layout_of(project.declarations, known(project, source))
    binding = project.settings.sources.get(source)
    if binding is not None and binding.path is not None:
        raise DataError(
            f"the source {source!r} is bound to {binding.path.name}: what is ingested would not be"
            " read",
            code="T369",
            where=str(project.root / FILE),
            fix=f"take `path` out of [sources.{source}], and ingest that file too",
        )
    asked = Asked(
        given,
        renamed=binding.columns if binding else {},
        now=project.now(),
        ahead=ahead,
        batch=batch,
        unique=binding.unique if binding else None,
        unit=binding.unit if binding else None,
        progress=progress,
    )
    return project.lake.ingest(layout, asked)


def known(project: Project, source: str) -> str:
    """The name of a declared source. Raises DataError T312 for any other."""
    sources = project.declarations.of(Source)
    if source not in sources:
        raise DataError(
            f"{source!r} is not a source of this project",
            code="T312",
            where=str(project.settings.module),
            fix="name one of " + ", ".join(sources),
        )
    return source


def is_there(project: Project, source: str) -> bool:
    """Whether a source was ingested into the lake."""
    if project.source(source).place not in (None, "cloud"):
        return False
    return project.lake.table(layout_of(project.declarations, source)) is not None


def ingested(project: Project, source: str) -> list[str]:
    """What the rows of a source are made of: the ids of its ingestions; of content, of the last.

    Rows that were erased since, or put in other files, change nothing in it.
    """
    layout = layout_of(project.declarations, source)
    if layout.key is not None:
        table = project.lake.table(layout)
        return [] if table is None else [str(table.content)]
    start = f"lake:{source}:"
    found = {
        r.key.removeprefix(start)
        for r in project.control.read("receipt")
        if r.key.startswith(start)
    }
    return sorted(found - {"delete", "retain", "compact"})


@contextmanager
def scannable(
    project: Project, source: str, columns: Collection[str]
) -> Iterator[pa.Table | Files]:
    """A source of the lake as engines read it: its files as they are, or these columns of its rows
    where they are not on a local disk. The files stay while the block runs."""
    layout = layout_of(project.declarations, source)
    lake, now = project.lake, project.now()
    with lake.reading(layout) as table:
        paths = None if table is None else lake.paths(table)
        if paths is None:
            yield lake.read(layout, now, columns=list(columns))
            return
        yield Files(paths, layout.schema(arrived=True), layout.dated, since_of(layout, now))


def since_of(layout: Layout, now: int) -> dict[str, int]:
    """Column → the moment (µs) before which rows have no value of it any more, as `Files` has it;
    under the column that dates rows, the one before which there are none."""
    since = {name: now - keep for name, keep in layout.kept.items()}
    rows_kept = row_retention(layout)
    if rows_kept is not None:
        since[layout.dated] = now - rows_kept
    return since
