"""Files that an engine reads as they are, and results that go to files: rows pass through no one
process's memory where the engine is Spark, and only the columns that are used where it is not."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tacit.declare import Events
from tacit.engines.base import columns_read
from tacit.engines.scan import Files, scan
from tacit.errors import DataError
from tacit.learn.spine import AT, check_columns, read_moments, with_given
from tacit.learn.spine import Rows as SpineRows
from tacit.operations import View
from tacit.plan.views import formulas_of, given_of, views_of
from tacit.project.lake import layout_of, since_of
from tacit.project.project import Project
from tacit.project.terms import none_kept
from tacit.project.training import Names, check_kinds, keys_of, named
from tacit.store.atomic import PRIVATE, unwritable
from tacit.store.files import ARROW, LEAST, SKEW, check_file
from tacit.values import Type


def bound(
    project: Project, source: str, only: Collection[str], also: Collection[str] = ()
) -> Files | None:
    """The file that a source of events is bound to, if engines may read it as it is.

    It may when each of the columns that are used (`only`, and of moments `also`; see
    `Project.rows`) has the very type that is declared (moments as int64 or timestamps in µs), and
    the file's statistics show that no row is dated in the future, or by another unit. None for any
    other, content among them, whose keys are looked through: `rows` mends it, or tells what is
    wrong. Raises DataError T301 where there is no file.
    """
    declared, binding = project.source(source), project.settings.sources.get(source)
    if not isinstance(declared, Events) or binding is None or binding.path is None:
        return None
    path = check_file(binding.path)
    try:
        metadata = pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return None
    layout = layout_of(project.declarations, source)
    wanted = project.columns(source, only, also)
    latest = project.now() + SKEW
    held = {name: binding.columns.get(name, name) for name in wanted}
    fits = (
        not path.name.startswith(("_", "."))  # which Spark passes over
        and binding.unit in (None, "us")
        and _has(metadata.schema.to_arrow_schema(), held, wanted)
        and _within(metadata, held[declared.time], binding.unit is None, latest)
    )
    if not fits:
        return None
    schema = pa.schema([(name, ARROW[kind]) for name, kind in wanted.items()])
    since = since_of(layout, project.now())
    owners = [name for name in layout.required if name != declared.time]
    unowned = [name for name in owners if not _whole(metadata, held[name])]
    return Files([path], schema, declared.time, since, held, unowned)


def _has(schema: pa.Schema, held: Mapping[str, str], columns: Mapping[str, Type]) -> bool:
    """Whether a file has the columns, each once and of its type."""
    for name, kind in columns.items():
        if schema.names.count(held[name]) != 1:
            return False
        found = schema.field(held[name]).type
        moment = kind is Type.TIME and pa.types.is_timestamp(found) and found.unit == "us"
        if found != ARROW[kind] and not moment:
            return False
    return True


def _told(metadata: pq.FileMetaData, column: str) -> Iterator[Any]:
    """The statistics of a column, row group by row group."""
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        chunks = map(group.column, range(group.num_columns))
        yield next(c.statistics for c in chunks if c.path_in_schema == column)


def _whole(metadata: pq.FileMetaData, column: str) -> bool:
    """Whether a file's statistics say that no value of a column is null."""
    told = _told(metadata, column)
    return all(each and each.has_null_count and not each.null_count for each in told)


def _within(metadata: pq.FileMetaData, time: str, guess: bool, latest: int) -> bool:
    """Whether a file's statistics say that no moment is later than this (µs), and where there is to
    guess the unit of whole numbers, that it is the µs."""
    whole = pa.types.is_int64(metadata.schema.to_arrow_schema().field(time).type)
    least = LEAST if guess and whole else -(2**63)
    return all(
        each and each.has_min_max and least <= each.min_raw and each.max_raw <= latest
        for each in _told(metadata, time)
    )


def check_kept(source: str, files: Files) -> None:
    """Warns (T349) where files have rows, and their statistics say that none is kept any more."""
    limit, rows = files.since.get(files.time), 0
    if limit is None:
        return
    for path in files.paths:
        metadata = pq.read_metadata(path)
        for told in _told(metadata, files.held.get(files.time, files.time)):
            if told is None or not told.has_min_max or told.max_raw >= limit:
                return
        rows += metadata.num_rows
    if rows:
        none_kept(source, rows)


def features(project: Project, signals: Names, spine: SpineRows) -> pa.Table:
    """See `Project.features`."""
    names = named(project, signals)
    check_kinds(project, names, {})
    views, formulas = views_of(project.plan, names), formulas_of(project.plan, names)
    keys = keys_of(project, views)
    table = read_moments(spine, keys)
    check_columns(table, names)
    with ExitStack() as held:
        tables = opened(project, views, held)
        found = project.engine.features(views, tables, table.select([*keys, AT]))
    found = with_given(found, table, given_of(project.plan, names))
    found = project.engine.derive(found, formulas)
    for name in names:
        table = table.append_column(name, found[name])
    return table


def opened(project: Project, views: Iterable[View], held: ExitStack) -> dict[str, Any]:
    """The sources that views read."""
    read = columns_read(views)
    return {name: project.scannable(name, held, only) for name, only in read.items()}


def write(
    project: Project, signals: Names, spine: pa.Table | Path | str, target: Path | str
) -> int:
    """See `Project.write`."""
    names = named(project, signals)
    check_kinds(project, names, {})
    views, formulas = views_of(project.plan, names), formulas_of(project.plan, names)
    computed = [window.signal for view in views for window in view.windows]
    asked, goal = _spine(project, spine), Path(target)
    _check_spine(asked, [*computed, *names])
    empty = scan(asked).schema.empty_table()
    with_given(empty.select([]), empty, given_of(project.plan, names))
    _check_target(project, goal, asked)
    with ExitStack() as held:
        tables = opened(project, views, held)
        if project.engine.name != "local":
            return project.engine.write(views, tables, asked, goal, formulas, names)
        aside = goal.with_name(f".{goal.name}.{os.getpid()}")
        try:
            aside.touch(mode=PRIVATE)
            rows = project.engine.write(views, tables, asked, aside, formulas, names)
            os.replace(aside, goal)
        except OSError as error:
            raise unwritable(error, goal) from error
        finally:
            with suppress(OSError):
                aside.unlink()
    return rows


def _spine(project: Project, spine: pa.Table | Path | str) -> Any:
    """A table, or files in the order of their names. Raises DataError T301 for a path to none."""
    if isinstance(spine, pa.Table):
        return spine
    path = Path(spine)
    return sorted(path.glob("*.parquet")) if path.is_dir() else [check_file(path)]


def _check_spine(spine: Any, names: Iterable[str]) -> None:
    """Raises DataError T371 for a spine with a column of the name of a signal, T342 for no spine"""
    taken = set(names) & set(scan(spine).schema.names)
    if taken:
        raise DataError(
            f"the spine has a column {min(taken)!r}, which is the name of a signal that is asked",
            code="T371",
            where="spine",
            fix="give the column another name",
        )


def _check_target(project: Project, target: Path, spine: Any) -> None:
    """Raises DataError T320 where to write would be to lose what is no result of before."""
    bindings = project.settings.sources.values()
    inputs = [binding.path for binding in bindings if binding.path is not None]
    inputs += [project.root, *(spine if isinstance(spine, list) else ())]
    place = target.resolve()
    lost = any(path.resolve().is_relative_to(place) for path in inputs)
    if project.engine.name == "local":
        lost = lost or target.is_dir()
    elif target.is_dir():
        found = [path.name for path in target.iterdir()]
        lost = lost or bool(found and "_SUCCESS" not in found)
    else:
        lost = lost or target.exists()
    if lost:
        raise DataError(
            "what is there is no result that was written before",
            code="T320",
            where=str(target),
            fix="name a file that is not there yet, or with Spark a folder",
        )
