"""What the lake's commands print: what became of files, what tables hold, who was forgotten."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tacit.declare import Source, Table
from tacit.errors import DataError
from tacit.project import Project
from tacit.project.lake import layout_of
from tacit.project.lookup import has_rows
from tacit.store.lake.contract import AHEAD
from tacit.store.lake.ingest import Ingestion
from tacit.terminal import out
from tacit.values import duration


def show_ingest(given: argparse.Namespace) -> None:
    """Ingests files, one after the other, and prints what became of each."""
    project, console = Project.load(given.project), out()
    ahead = AHEAD if given.ahead is None else duration(given.ahead, where="--ahead")
    if len(given.files) > 1 and (given.batch or isinstance(_declared(project, given), Table)):
        raise DataError(
            "several files are given where each would take the place of the one before",
            code="T369",
            where=given.source,
            fix="give one: of content the whole, of a batch all of it",
        )
    for file in given.files:
        with _counting(console, file.name) as progress:
            done = project.ingest(
                given.source, file, batch=given.batch, ahead=ahead, progress=progress
            )
        if given.json:
            print(json.dumps({"file": str(file), **asdict(done)}))
        else:
            console.print(_told(project, str(file), done))


def _declared(project: Project, given: argparse.Namespace) -> Source | None:
    return project.declarations.of(Source).get(given.source)


def _told(project: Project, file: str, done: Ingestion) -> str:
    """A file's receipt as text."""
    if done.again:
        return f"{file}: ingested before; nothing to do"
    lines = [f"{file}: read {done.read:,}, accepted {done.accepted:,}"]
    if done.quarantined:
        why = ", ".join(f"{code} {rows:,}" for code, rows in sorted(done.reasons.items()))
        place = project.lake.folder / "quarantine" / done.source / f"{done.id}.jsonl"
        lines[0] += f", quarantined {done.quarantined:,} ({why})"
        lines.append(f"  see {place}")
    if done.absent:
        lines.append(f"  it has no {', '.join(done.absent)}: null in these rows")
    return "\n".join(lines)


def show_rebase(given: argparse.Namespace) -> None:
    """Builds the online store's baseline of each source, and prints how many rows it has."""
    project, console = Project.load(given.project), out()
    online = project.online
    for name in given.sources or [name for name in online.sources if has_rows(project, name)]:
        online.source(name)
        with _counting(console, name) as progress:
            kept = project.rebase(name, ids=given.ids, replace=given.replace, progress=progress)
        console.print(
            f"{name}: the online store holds {kept:,} rows, version {online.standing(name).version}"
        )


@contextmanager
def _counting(console: Console, what: str) -> Iterator[Callable[[int], None]]:
    """What is told of more rows, and shows how many there were."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task, read = bars.add_task(what), 0

        def progress(rows: int) -> None:
            nonlocal read
            read += rows
            bars.update(task, description=f"{what}: {read:,} rows")

        yield progress


def show_lake(given: argparse.Namespace) -> None:
    """Does what is asked to every table, and prints what each holds."""
    project, console = Project.load(given.folder), out()
    clock = time.time_ns() // 1000  # by which snapshots are dated, whatever moment is replayed
    for name in project.declarations.of(Source):
        if not project.in_lake(name):
            continue
        layout, lake, now = layout_of(project.declarations, name), project.lake, project.now()
        if given.retain:
            gone = lake.retain(layout, now)
            console.print(f"{name}: {gone.rows:,} rows and {gone.values:,} values past retention")
        if given.compact:
            went, came = lake.compact(layout)
            console.print(f"{name}: {went:,} small files made {came:,}")
        if given.expire:
            old = lake.expire(layout, clock - duration(given.expire, where="--expire"))
            console.print(f"{name}: {old:,} snapshots forgotten")
        if given.purge:
            console.print(f"{name}: {len(lake.purge(layout)):,} files removed")
        table = lake.table(layout)
        assert table is not None, "it is in the lake"
        files = table.files(table.table.current_snapshot())
        rows, size = (
            sum(f.record_count for f in files),
            sum(f.file_size_in_bytes for f in files),
        )
        console.print(
            f"{name}: {rows:,} rows in {len(files):,} files of {size:,} bytes,"
            f" {len(table.snapshots()):,} snapshots"
        )


def show_forget(project: Project, given: argparse.Namespace) -> None:
    """Forgets a person, or goes on with what was cut off, and prints the receipts."""
    from tacit.project.forget import forget, resume

    console = out()
    key = given.key
    found = resume(project) if key is None else forget(project, given.name, key)
    if not found and not given.json:
        console.print("nothing was cut off")
    for each in found:
        if given.json:
            told = {"record": each.record, "hash": each.hash, "salt": each.salt, **each.body}
            print(json.dumps(told))
            continue
        steps = ", ".join(f"{name} {step['rows']:,}" for name, step in each.body["removed"].items())
        console.print(f"{each.body['entity']}: {each.rows:,} rows removed ({steps or 'no place'})")
        for name in each.body["rebuild"]:
            console.print(f"  {name} still has sums to which theirs may have added: rebuild it")
        for name in each.body["beyond"]:
            console.print(f"  {name} is bound to a file that has rows of theirs: remove them there")
        console.print(f"  receipt {each.record}, {each.hash}")
        console.print(f"  its salt, for the person to keep: {each.salt}")
