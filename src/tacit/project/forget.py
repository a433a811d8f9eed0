"""Forgetting one person, everywhere in the cloud where this project keeps rows of theirs.

================  ==================================================================================
the lake          every table in whose columns the person's entity ever stood, with its history and
                  quarantine, to the disk (`Lake.delete_subject`)
the online store  their keys, their rows under the keys of others, journal and quarantine
                  (`live.erasing.erase`)
sinks             the rows of theirs in the files that a run wrote
================  ==================================================================================

A request is written down before anything is removed, each step when it is done, and a receipt goes
to the hash-chained control store when all are; then the request is removed. So whoever is cut off
anywhere (a crash, a table that others hold) finds the request and goes on: every step may be
repeated. Nothing of the person stands in the control store: it has a commitment,
HMAC-SHA256(salt, entity and key), and its salt leaves with the request. Whoever keeps the salt that
is told at the end can show that a receipt is theirs; nobody else can tell whose it is.

What the receipt says of the rest: `rebuild` names views that keep sums of many people's rows, to
which theirs may have added (a new baseline from the rows that are left replaces them), and sinks
whose values of others did; `beyond` names files that sources are bound to and that have rows of
theirs. They are the user's own, and are not touched.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tacit.declare import Entity, Source
from tacit.engines.scan import scan
from tacit.errors import DataError
from tacit.privacy.randomness import system
from tacit.project.lake import layout_of
from tacit.project.project import Project
from tacit.project.scaffold import parquet
from tacit.project.terms import people_columns
from tacit.store.atomic import alone, make_folder, replace_file, sync_folder
from tacit.store.lake.layout import Layout
from tacit.values import Type, canonical_json

RECORD = "forget"


@dataclass(frozen=True, slots=True)
class Request:
    """An erasure that is on its way.

    Attributes:
        key: the person's, as text.
        salt: of the commitment, in hexadecimal digits.
        done: step → what it removed.
    """

    id: str
    entity: str
    key: str
    salt: str
    done: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def commitment(self) -> str:
        """What the control store has of the person."""
        return commitment(self.salt, self.entity, self.key)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What an erasure removed: the receipt as it stands in the control store, and the salt by which
    it can be told whose it is."""

    record: int
    hash: str
    body: Mapping[str, Any]
    salt: str

    @property
    def rows(self) -> int:
        """Rows removed from the lake and from sinks, and keys or rows of the online store."""
        return sum(int(step.get("rows", 0)) for step in self.body["removed"].values())


def commitment(salt: str, entity: str, key: str) -> str:
    """HMAC-SHA256 (RFC 2104) of an entity's name and a key, in hexadecimal digits."""
    told = canonical_json([entity, key])
    return hmac.new(bytes.fromhex(salt), told, hashlib.sha256).hexdigest()


def forget(project: Project, name: str, key: str) -> list[Forgotten]:
    """Removes a person, by the name of their entity, or of a source of theirs, and their key as
    text; first what was asked for before and was cut off.

    Returns the receipts, this person's last. Raises DataError T319 for a name of no people, T317
    for a key that no column of theirs can hold, StoreError T703 while a run is at work (it could
    write what it has read already), and what the steps raise: the request stands then, and is taken
    up by the next call.
    """
    entity = _entity(project, name)
    _check_key(project, entity, key)
    with alone(project.state / "run.lock"):
        waiting = list(_waiting(project))
        asked = next((r for r in waiting if (r.entity, r.key) == (entity, key)), None)
        if asked is None:
            asked = Request(system().bytes(8).hex(), entity, key, system().bytes(32).hex())
            _save(project, asked)
        return [_finish(project, r) for r in (*(w for w in waiting if w.id != asked.id), asked)]


def resume(project: Project) -> list[Forgotten]:
    """Finishes what was asked for and was cut off."""
    with alone(project.state / "run.lock"):
        return [_finish(project, request) for request in list(_waiting(project))]


def _entity(project: Project, name: str) -> str:
    declared = project.declarations.named.get(name)
    if isinstance(declared, Source):
        people = people_columns(declared)
        entities = {declared.columns[column].entity for column in people}
        declared = entities.pop() if len(entities) == 1 else None
    if not isinstance(declared, Entity) or not declared.person:
        persons = [n for n, e in project.declarations.of(Entity).items() if e.person]
        raise DataError(
            f"{name!r} is no entity of people, and no source of one",
            code="T319",
            where=str(project.settings.module),
            fix="name one of " + ", ".join(persons)
            if persons
            else "declare an entity with person=",
        )
    return project.declarations.name(declared, declared)


def _columns(project: Project, entity: str) -> dict[str, list[tuple[str, Type]]]:
    """Source of the cloud → its columns of an entity's keys."""
    found: dict[str, list[tuple[str, Type]]] = {}
    for name, source in project.declarations.of(Source).items():
        if source.place in (None, "cloud"):
            columns = [
                (title, source.columns[title].type)
                for title in people_columns(source)
                if project.declarations.name(source.columns[title].entity, source) == entity  # type: ignore[arg-type]
            ]
            if columns:
                found[name] = columns
    return found


def _check_key(project: Project, entity: str, key: str) -> None:
    kinds = {kind for columns in _columns(project, entity).values() for _, kind in columns}
    if kinds and all(_as(kind, key) is None for kind in kinds):
        raise DataError(
            f"{key!r} is no key of {entity!r}: it is {' or '.join(sorted(kinds))}",
            code="T317",
            where=str(project.settings.module),
            fix="give the key as the sources hold it",
        )


def _as(kind: Type, key: str) -> str | int | None:
    """The key as a column of a type holds it; None where none does."""
    if kind is Type.TEXT:
        return key
    whole = re.fullmatch(r"-?\d{1,19}", key) and -(2**63) <= int(key) < 2**63
    return int(key) if whole and kind is Type.INT else None


# ---------------------------------------------------------------------- requests


def _folder(project: Project) -> Path:
    return project.state / "forget"


def _waiting(project: Project) -> Iterator[Request]:
    for path in sorted(_folder(project).glob("*.json")):
        yield Request(**json.loads(path.read_bytes()))


def _save(project: Project, request: Request) -> None:
    make_folder(_folder(project)).chmod(0o700)
    replace_file(_folder(project) / f"{request.id}.json", [canonical_json(asdict(request))])


def _finish(project: Project, request: Request) -> Forgotten:
    """The steps that are not done yet, the receipt, and the end of the request."""
    record = project.control.latest("receipt", f"{RECORD}:{request.id}")
    if record is None:
        for step, act in _steps(project, request):
            if step not in request.done:
                request = replace(request, done={**request.done, step: act()})
                _save(project, request)
        body = {
            "entity": request.entity,
            "commitment": request.commitment,
            "removed": {step: dict(found) for step, found in request.done.items()},
            "rebuild": sorted(
                {n for each in request.done.values() for n in each.get("rebuild", ())}
            ),
            "beyond": _beyond(project, request),
        }
        record = project.control.append("receipt", f"{RECORD}:{request.id}", body)
    (_folder(project) / f"{request.id}.json").unlink(missing_ok=True)
    sync_folder(_folder(project))
    return Forgotten(record.sequence, record.hash, record.body, request.salt)


# ---------------------------------------------------------------------- steps


def _steps(project: Project, request: Request) -> Iterator[tuple[str, Any]]:
    for layout in _layouts(project, request.entity):
        yield f"lake:{layout.name}", lambda layout=layout: _of_lake(project, layout, request)
    if project.settings.online.redis is not None or (project.state / "online").is_dir():
        yield "online", lambda: _of_online(project, request)
    for path in sorted((project.state / "sinks").glob("*.parquet")):
        yield f"sink:{path.stem}", lambda path=path: _of_sink(path, request)


def _layouts(project: Project, entity: str) -> Iterator[Layout]:
    """The tables of the lake that may hold the person; some are of sources declared no more."""
    if not (project.settings.lake or (project.state / "lake").is_dir()):
        return
    lake, declared = project.lake, project.declarations.of(Source)
    if (lake.namespace,) not in lake.catalog.list_namespaces():
        return
    for _, name in sorted(lake.catalog.list_tables(lake.namespace)):
        source = declared.get(name)
        held = source is not None and source.place in (None, "cloud")
        layout = layout_of(project.declarations, name) if held else Layout(name, {})
        table = lake.table(layout)
        if table is not None and entity in {*table.subjects.values(), *layout.subjects.values()}:
            yield layout


def _of_lake(project: Project, layout: Layout, request: Request) -> dict[str, Any]:
    table = project.lake.table(layout)
    assert table is not None, "it was listed"
    titles = [title for title, of in table.subjects.items() if of == request.entity]
    kinds = {
        Type.TEXT if pa.types.is_string(table.arrow().field(t).type) else Type.INT for t in titles
    }
    found = {"rows": 0, "files": 0}
    for key in {_as(kind, request.key) for kind in kinds}:
        if key is None:
            continue
        done = project.lake.delete_subject(layout, request.entity, key)
        found["rows"] += done.rows
        found["files"] += done.files
    return found


def _of_online(project: Project, request: Request) -> dict[str, Any]:
    from tacit.live.erasing import erase

    found: dict[str, Any] = {"rows": 0, "rebuild": []}
    columns = _columns(project, request.entity)
    for kind in {kind for each in columns.values() for _, kind in each}:
        key = _as(kind, request.key)
        names = [name for name, each in columns.items() if each[0][1] is kind]
        if key is not None:
            done = erase(project.online, request.entity, [key], only=names)
            found["rows"] += done.keys + done.changed + done.journal + done.quarantine
            found["rebuild"] += done.rebuild
    return found


def _of_sink(path: Path, request: Request) -> dict[str, Any]:
    """Without the person's rows; written anew as a run writes it."""
    if request.entity not in pq.read_schema(path).names:
        return {"rows": 0}
    table = pq.read_table(path)
    theirs = _theirs(table[request.entity], request.key)
    rows = pc.sum(theirs).as_py() or 0
    if rows:
        replace_file(path, [parquet(table.filter(pc.invert(theirs)))])
    return {"rows": rows, "rebuild": [f"sink {path.stem}"] if rows else []}


def _theirs(column: pa.ChunkedArray, key: str) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(pc.cast(column, pa.string()), key), False)


def _beyond(project: Project, request: Request) -> list[str]:
    """Sources that are bound to files with rows of the person."""
    found = []
    for name, columns in _columns(project, request.entity).items():
        binding = project.settings.sources.get(name)
        if binding is None or binding.path is None or not binding.path.is_file():
            continue
        held = [binding.columns.get(title, title) for title, _ in columns]
        opened = scan(binding.path)
        held = [title for title in held if title in opened.schema.names]
        batches = (b for piece in opened.pieces for b in opened.read(piece, held))
        if any(pc.any(_theirs(b[title], request.key)).as_py() for b in batches for title in held):
            found.append(name)
    return found
