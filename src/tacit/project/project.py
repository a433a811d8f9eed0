"""A project: where its declarations, plan, rows, ledger and results meet.

Everything a project writes lies in `.tacit/` beside its module: the control store with the plans
applied and the budget spent, the signing key, the simulated devices, tasks, releases and bundles.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tacit.declare import PUBLIC, Declarations, Events, Purpose, Source, Table
from tacit.errors import DataError
from tacit.operations import View
from tacit.plan import Difference, Node, Plan, compile_plan, difference, document
from tacit.project.module import read_module
from tacit.project.settings import Settings, read_settings
from tacit.values import Type

if TYPE_CHECKING:
    import pyarrow as pa

    from tacit.device.bundle import Bundle
    from tacit.device.keys import SigningKey
    from tacit.device.population import Population
    from tacit.govern.ledger import Ledger
    from tacit.store.control import ControlStore
    from tacit.store.files import Rows

STATE = ".tacit"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A content table as a public domain: keys, titles and all public text, in file order."""

    items: Sequence[str]
    titles: Sequence[str]
    texts: Sequence[str] | None


@dataclass(frozen=True)
class Project:
    """A project in a folder; `Project.load` makes it."""

    root: Path
    settings: Settings
    declarations: Declarations

    @classmethod
    def load(cls, root: Path | str) -> Project:
        """The project in a folder.

        Raises DataError T310 or T311 for its settings, DeclarationError T120 or what its module
        raises, Refused for names used twice.
        """
        folder = Path(root)
        settings = read_settings(folder)
        return cls(folder, settings, read_module(settings.module))

    def now(self) -> int:
        """Microseconds, UTC: the moment that the settings replay, else the system's clock."""
        return self.settings.as_of or time.time_ns() // 1000

    # ------------------------------------------------------------------ the plan

    @cached_property
    def plan(self) -> Plan:
        """The checked plan. Raises Refused with everything that is wrong."""
        return compile_plan(self.declarations)

    def change(self) -> Difference | None:
        """What differs from the plan last applied; None when none was."""
        if not self.store_path.exists():
            return None
        applied = self.control.latest("plan", self.settings.name)
        return None if applied is None else difference(applied.body, document(self.plan))

    def apply(self) -> None:
        """Records the plan as applied, unless it is the one that is."""
        written = document(self.plan)
        applied = self.control.latest("plan", self.settings.name)
        if applied is None or applied.body["hash"] != written["hash"]:
            self.control.append("plan", self.settings.name, written)

    # ------------------------------------------------------------------ what it keeps

    @property
    def state(self) -> Path:
        """The folder of what the project keeps."""
        return self.root / STATE

    @property
    def store_path(self) -> Path:
        """The control store's file."""
        return self.state / "control.sqlite"

    @cached_property
    def control(self) -> ControlStore:
        """The control store, made on first use. Raises StoreError for one that is damaged."""
        from tacit.store.control import ControlStore

        self.state.mkdir(parents=True, exist_ok=True)
        path = self.store_path
        return ControlStore.open(path) if path.exists() else ControlStore.create(path)

    @cached_property
    def ledger(self) -> Ledger:
        """The privacy ledger over the purposes' budgets."""
        from tacit.govern.ledger import Budget, Ledger

        purposes = self.declarations.of(Purpose)
        budgets = [Budget(name, p.epsilon, p.delta) for name, p in purposes.items()]
        return Ledger(self.control, budgets)

    @cached_property
    def signing_key(self) -> SigningKey:
        """The key that signs tasks and bundles; devices pin its public half."""
        from tacit.device.keys import SigningKey

        self.state.mkdir(parents=True, exist_ok=True)
        return SigningKey.load_or_create(self.state / "signing.key")

    # ------------------------------------------------------------------ rows and devices

    def rows(self, source: str) -> Rows:
        """The rows of a source, held to its declaration.

        Raises DataError T312 for a source that is not bound to a file, T301 to T305 for the file.
        """
        from tacit.store.files import read_parquet

        binding = self.settings.sources.get(source)
        if binding is None:
            raise DataError(
                f"the source {source!r} is not bound to any rows",
                code="T312",
                where=str(self.root / "tacit.toml"),
                fix=f'add [sources.{source}] with path = "….parquet"',
            )
        declared = self.source(source)
        keys = tuple(name for name, column in declared.columns.items() if column.entity)
        return read_parquet(
            binding.path,
            self.schema(source),
            renamed=binding.columns,
            keys=keys,
            time=declared.time if isinstance(declared, Events) else None,
            now=self.now(),
        )

    def source(self, name: str) -> Source:
        """The source declared under a name."""
        declared = self.declarations.named[name]
        assert isinstance(declared, Source), f"{name} is a source in the plan"
        return declared

    def schema(self, source: str) -> Mapping[str, Type]:
        """The stored columns of a source."""
        return {name: column.type for name, column in self.source(source).columns.items()}

    def population(self, source: str) -> Population:
        """The simulated devices that hold a source's rows."""
        from tacit.device.population import Population

        events = self.source(source)
        assert isinstance(events, Events), "devices hold events"
        person = next(n for n, c in events.columns.items() if c.entity and c.entity.person)
        return Population(
            folder=self.state / "devices",
            project=self.settings.name,
            trusted=self.signing_key.public,
            tables={source: self.schema(source)},
            person={source: person},
            clocks={source: events.time},
        )

    def content(self, table: str) -> Catalogue:
        """A content table as a public domain. Raises DataError T306 for a key that comes twice."""
        declared = self.source(table)
        assert isinstance(declared, Table), f"{table} is content"
        key = next(n for n, c in declared.columns.items() if c.entity is declared.of)
        rows = self.rows(table).table
        items: list[str] = rows.column(key).to_pylist()
        if len(set(items)) < len(items):
            twice = next(item for item, count in Counter(items).items() if count > 1)
            raise DataError(
                f"the key {twice!r} comes more than once",
                code="T306",
                where=f"{self.settings.sources[table].path}, column {key!r}",
                fix="keep one row for each key; a join would multiply events otherwise",
            )
        public = [
            name
            for name, column in declared.columns.items()
            if column.type is Type.TEXT and column.category == PUBLIC and name != key
        ]
        columns = [rows.column(name).to_pylist() for name in public]
        texts = [" ".join(filter(None, row)) for row in zip(*columns, strict=True)]
        titles = (
            [text or item for text, item in zip(columns[0], items, strict=True)]
            if columns
            else items
        )
        return Catalogue(items, titles, texts if columns else None)

    # ------------------------------------------------------------------ bundles

    def publish(
        self,
        path: Path,
        name: str,
        contents: Mapping[str, Any],
        files: Mapping[str, Any],
        life: int,
        version: int = 1,
    ) -> None:
        """Signs and writes a bundle, valid for `life` microseconds from now; records it."""
        from tacit.device.bundle import Manifest, write

        at = self.now()
        path.parent.mkdir(parents=True, exist_ok=True)
        manifest = Manifest(
            self.settings.name, name, version, at, at + life, self.plan.hash, contents
        )
        write(path, manifest, files, self.signing_key)
        self.control.append("bundle", name, {"version": version, "file": path.name})

    def open_bundle(self, path: Path) -> Bundle:
        """A bundle of this project, verified as a device would."""
        from tacit.device.bundle import open_bundle

        return open_bundle(
            path,
            self.signing_key.public,
            project=self.settings.name,
            now=self.now(),
            at_least_version=0,
        )

    def next_version(self, name: str) -> int:
        """One more than the last version published under a name."""
        last = self.control.latest("bundle", name)
        return 1 if last is None else int(last.body["version"]) + 1

    # ------------------------------------------------------------------ features

    def features(self, signals: Iterable[str], spine: pa.Table) -> pa.Table:
        """Cloud-placed signals, point-in-time correct, for every row of a spine.

        `spine` has a column per entity of the signals, and `at` (µs, UTC). Rows come out as they
        went in. Raises DataError T313 for a signal that is not in the cloud: on a device it stays.
        """
        from tacit.engines.local import Local

        wanted = set(signals)
        for name in wanted:
            node = self.plan.nodes.get(name)
            if node is None or node.kind != "signal" or node.engine != "local":
                raise DataError(
                    f"{name!r} is not a signal of the cloud",
                    code="T313",
                    where=str(self.settings.module),
                    fix="name signals whose sources are in the cloud; a release may reach others",
                )
        views = [chosen for view in self.plan.views if (chosen := view_of(view, wanted)).windows]
        tables = {name: self.rows(name).table for name in sources_of(views)}
        return Local().features(views, tables, spine)

    def node(self, name: str) -> Node:
        """A node of the plan."""
        return self.plan.nodes[name]


def view_of(view: View, signals: set[str]) -> View:
    """The view with only the windows of these signals."""
    return replace(view, windows=tuple(w for w in view.windows if w.signal in signals))


def sources_of(views: Iterable[View]) -> set[str]:
    """The sources and content tables that views read."""
    found: set[str] = set()
    for view in views:
        found |= {view.source, *(join.table for join in view.joins)}
    return found
