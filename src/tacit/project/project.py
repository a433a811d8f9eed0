"""A project: where its declarations, plan, rows, ledger and results meet.

Everything a project writes lies in `.tacit/` beside its module: the control store with the plans
applied and the budget spent, the signing key, the simulated devices, tasks, releases and bundles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tacit.declare import Declarations, Purpose, Source, Table
from tacit.errors import BundleError, DataError
from tacit.plan import Difference, Plan, compile_plan, difference, document
from tacit.project.catalogue import Catalogue, catalogue_of
from tacit.project.module import read_module
from tacit.project.settings import FILE, Settings, check_bindings, read_settings
from tacit.project.terms import required
from tacit.values import Type

if TYPE_CHECKING:
    import pyarrow as pa

    from tacit.device.agent import Agent
    from tacit.device.bundle import Bundle
    from tacit.device.keys import SigningKey
    from tacit.device.population import Population
    from tacit.engines.base import Computing
    from tacit.engines.scan import Files
    from tacit.govern.ledger import Ledger
    from tacit.learn.consent import Consent
    from tacit.learn.spine import Rows as SpineRows
    from tacit.learn.training_set import TrainingSet
    from tacit.live.accept import Pushed
    from tacit.live.intake import Receipt
    from tacit.live.online import Online
    from tacit.live.place import Mark
    from tacit.project.lookup import Asked
    from tacit.project.query import Answer
    from tacit.project.serving import Serving
    from tacit.project.training import AsOf, Labels, Names
    from tacit.store.control import ControlStore
    from tacit.store.files import Rows
    from tacit.store.lake.ingest import Ingestion
    from tacit.store.lake.lake import Lake
    from tacit.store.online.base import Backend

STATE = ".tacit"


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
        declarations = read_module(settings.module)
        check_bindings(settings, declarations, folder / FILE)
        return cls(folder, settings, declarations)

    def now(self) -> int:
        """Microseconds, UTC: the moment that the settings replay, else the system's clock."""
        replayed = self.settings.as_of
        return time.time_ns() // 1000 if replayed is None else replayed

    # ------------------------------------------------------------------ the plan

    @cached_property
    def plan(self) -> Plan:
        """The checked plan. Raises Refused with everything that is wrong."""
        return compile_plan(self.declarations, self.settings.engine.name)

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
        """The control store, made on first use. Raises StoreError for one that is damaged, was
        rolled back, or is gone."""
        return self.open_control()

    def open_control(self, *, accept: bool = False) -> ControlStore:
        """The control store; with `accept`, witnesses that are not there are made anew."""
        from tacit.errors import StoreError
        from tacit.store import witness
        from tacit.store.atomic import make_folder
        from tacit.store.control import ControlStore

        path, others = self.store_path, self.settings.witnesses
        if not path.exists():
            witness.check_gone(path, [witness.beside(path), *others])
            make_folder(self.state)
            try:
                ControlStore.create(path).close()
            except StoreError as error:
                if error.code != "T707":  # another process was faster
                    raise
        return ControlStore.open(path, witnesses=others, accept=accept)

    @cached_property
    def ledger(self) -> Ledger:
        """The privacy ledger over the purposes' budgets."""
        from tacit.project.budget import ledger_of

        return ledger_of(self)

    @cached_property
    def signing_key(self) -> SigningKey:
        """The key that signs tasks and bundles; devices pin its public half."""
        from tacit.device.keys import SigningKey
        from tacit.store.atomic import make_folder

        make_folder(self.state)
        return SigningKey.load_or_create(self.state / "signing.key")

    # ------------------------------------------------------------------ rows and devices

    def in_lake(self, source: str) -> bool:
        """Whether a source's rows are in the lake: it is bound to no file, and was ingested."""
        binding = self.settings.sources.get(source)
        bound = binding is not None and binding.path is not None
        if bound or not (self.settings.lake or (self.state / "lake").is_dir()):
            return False
        from tacit.project.lake import is_there

        return is_there(self, source)

    def file(self, source: str) -> Path:
        """The file of a source's rows, or the folder of the lake. Raises DataError T312 for a
        source that is bound to no file and was not ingested, T301 when its file is not there."""
        from tacit.store.files import check_file

        binding = self.settings.sources.get(source)
        if binding is not None and binding.path is not None:
            return check_file(binding.path)
        if self.in_lake(source):
            return self.lake.folder
        raise DataError(
            f"the source {source!r} is not bound to any rows",
            code="T312",
            where=str(self.root / FILE),
            fix=f'add [sources.{source}] with path = "….parquet", or: tacit ingest {source} FILE',
        )

    @cached_property
    def lake(self) -> Lake:
        """The Iceberg tables of what was ingested, opened on first use."""
        from tacit.project.lake import open_lake

        return open_lake(self)

    def ingest(self, source: str, given: Path | str | pa.Table, **how: Any) -> Ingestion:
        """Brings rows into the lake, once: from Parquet, CSV, JSON lines, or an Arrow table.

        Rows that break the declared contract are quarantined, with the reason. An input that was
        ingested before is not ingested again, whatever became of the process that did.

        Args:
            batch: an id of the input, in place of its bytes.
            ahead: µs by which a row may be dated ahead of now (five minutes).
            progress: called with the number of rows that were just read.

        Raises DataError T312 for a source that is not declared, T369 for one that is not in the
        cloud or is bound to a file, and what `Lake.ingest` raises.
        """
        from tacit.project.lake import ingest

        return ingest(self, source, Path(given) if isinstance(given, str) else given, **how)

    def columns(
        self, source: str, only: Collection[str], also: Collection[str] = ()
    ) -> dict[str, Type]:
        """The stored columns of a source that `only` names, those without which there is no row,
        and columns of moments that the system keeps `also`."""
        wanted = {*only, *required(self.source(source))}
        found = {name: kind for name, kind in self.schema(source).items() if name in wanted}
        return {**found, **dict.fromkeys(also, Type.TIME)}

    def rows(
        self, source: str, *, also: Collection[str] = (), only: Collection[str] | None = None
    ) -> Rows:
        """The rows of a source, held to its declaration; those past their retention are left out,
        and so are the values of columns past theirs.

        `also` names columns of moments that the system keeps beside those declared; the lake's is
        `_arrived` (µs, when the row was ingested). `only` names the declared columns that are to be
        read, all unless given; those without which there is no row are read too. Raises DataError
        T312 for a source that is not bound to a file and not in the lake, T301 to T305 for the
        file, T306 for a table in which a key comes twice.
        """
        from tacit.project.reading import read_rows

        return read_rows(self, source, only, also)

    def source(self, name: str) -> Source:
        """The source declared under a name."""
        declared = self.declarations.named[name]
        assert isinstance(declared, Source), f"{name} is a source in the plan"
        return declared

    def schema(self, source: str) -> Mapping[str, Type]:
        """The stored columns of a source."""
        return {name: column.type for name, column in self.source(source).columns.items()}

    def population(self, source: str) -> Population:
        """The simulated devices that hold a source's rows. Raises DataError T316 where its rows
        are not of one person each: on whose device would they be?"""
        from tacit.project.devices import population

        return population(self, source)

    def device(self, source: str, person: str) -> AbstractContextManager[Agent]:
        """The agent of one person's device, by their key as text.

        Raises DataError T315 when there is none.
        """
        from tacit.project.devices import device

        return device(self, source, person)

    def content(self, table: str) -> Catalogue:
        """A content table as a public domain. Raises DataError T308 for one without rows."""
        declared = self.source(table)
        assert isinstance(declared, Table), f"{table} is content"
        return catalogue_of(table, declared, self.rows(table).table, self.file(table))

    # ------------------------------------------------------------------ metrics

    def query(
        self,
        metric: str,
        by: str | Sequence[str] = (),
        *,
        grain: str | None = None,
        where: str | None = None,
        purpose: str | None = None,
        since: int | str | datetime | None = None,
        until: int | str | datetime | None = None,
        rollup: bool = False,
    ) -> Answer:
        """What a metric says, from wherever its data is, and what that cost.

        The same question over the same rows has the same answer, and costs nothing again.

        Args:
            by: declared dimensions.
            grain: "1h", "1d", "1w" or "1mo", in UTC; left out, one number over all time.
            where: SQL over declared dimensions.
            purpose: what it is for; may be left out where the metric has one.
            since: µs, a datetime, an ISO 8601 text, or a duration before now such as "90d". Left
                out, all rows that are kept, or with a grain so many periods (`periods.USUAL`).
            until: the same; left out, the end of the last whole period.
            rollup: whether the answer to a finer question may be added up in place of a new one.

        Raises QueryError T890 to T899, BudgetError T501, and what the place of the data raises.
        """
        from tacit.plan.asked import Wanted
        from tacit.project.query import moment_of, query

        names = (by,) if isinstance(by, str) else tuple(map(str, by))
        bounds = (moment_of(each, self.now()) for each in (since, until))
        return query(self, Wanted(metric, names, grain, where, purpose, *bounds), rollup=rollup)

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
        manifest = Manifest(
            self.settings.name, name, version, at, at + life, self.plan.hash, contents
        )
        write(path, manifest, files, self.signing_key)
        self.control.append("bundle", name, {"version": version, "file": path.name})

    def open_bundle(self, path: Path, at: int | None = None) -> Bundle:
        """A bundle of this project, verified as a device would, at a moment: now unless given."""
        from tacit.device.bundle import open_bundle

        return open_bundle(
            path,
            self.signing_key.public,
            project=self.settings.name,
            now=self.now() if at is None else at,
            at_least_version=0,
        )

    def published(self, model: str) -> tuple[Path, int] | None:
        """The newest bundle of a model and its version; None when there is none."""
        last = self.control.latest("bundle", model) if self.store_path.exists() else None
        if last is None:
            return None
        return self.state / "bundles" / str(last.body["file"]), int(last.body["version"])

    def standing(self, path: Path, left: int) -> Bundle | None:
        """A bundle, if it verifies and will do so for `left` microseconds more; else None."""
        try:
            return self.open_bundle(path, self.now() + left)
        except BundleError:
            return None

    # ------------------------------------------------------------------ live

    @cached_property
    def online(self) -> Online:
        """The online store of the signals in the cloud, made on first use.

        Raises StoreError T722 for a server that cannot be reached, T727 on use when what it holds
        is of another plan: `rebase` builds it anew.
        """
        from tacit.project.lookup import open_online

        return open_online(self, self._backend())

    def lookup(
        self, signals: Asked, *, sink: str | None = None, purpose: str | Purpose | None = None
    ) -> Serving:
        """Signals and formulas of the cloud, and metrics that an online sink delivers, or one of
        these, ready to be read from the online store.

        Where sinks `to="online"` are declared, one of them must clear what is asked: the one named,
        or for that purpose, or the only one. Where none is, the reader is this project's own code,
        and a `sink` or `purpose` is refused. Metrics are read for one purpose.

        Raises DataError T313 for what is not in the cloud, T375 for an outcome, T378 for what no
        sink clears, T393 for a signal that the online store does not keep, or for none.
        """
        from tacit.project.lookup import lookup

        return lookup(self, signals, sink, purpose)

    def _backend(self) -> Backend:
        from tacit.project.streaming import opens

        return opens(self)()

    def push(
        self,
        source: str,
        rows: Pushed,
        *,
        ids: str | Sequence[object] | None = None,
        batch: str | None = None,
    ) -> Receipt:
        """Events of a source into the online store; on its disk when this returns.

        ``rows`` is a table, or a list of mappings of which those that do not fit are quarantined.
        ``ids`` names the column that identifies an event: one that comes twice counts once.
        ``batch`` does the same for the push as a whole. Raises as `live.online.Online.push`.
        """
        return self.online.push(source, rows, now=self.now(), ids=ids, batch=batch)

    def sweep(self) -> int:
        """Removes from the online store what has expired, which no read shows any more; how many
        keys it changed. A server does it once a day (`live.upkeep`)."""
        return self.online.sweep(self.now())

    def rebase(
        self,
        source: str,
        *,
        ids: str | None = None,
        marks: Mapping[str, Mark] | None = None,
        replace: bool = False,
        progress: Callable[[int], None] = lambda rows: None,
    ) -> int:
        """Builds the source's baseline from its bound rows, then switches to it; how many rows it
        has.

        It takes the place of what was pushed before this is called: the rows must hold that. What
        they hold is said by ``ids``, the column that identifies events, or ``marks`` of streams
        (see `live.baseline`); ``replace`` says that it may go. Raises StoreError T730 where
        something was pushed and none of them is given, or a remembered id is not among the rows;
        then, as after any error, what was read before is read on.
        """
        from tacit.project.rebase import rebase

        return rebase(self, source, ids, marks, replace, progress)

    # ------------------------------------------------------------------ features

    @cached_property
    def engine(self) -> Computing:
        """The engine of the cloud. Raises EngineError T411 or T412 where it cannot start."""
        return self.settings.engine.start()

    def features(self, signals: Names, spine: SpineRows) -> pa.Table:
        """Cloud-placed signals and formulas, point-in-time correct, for every row of a spine.

        `signals` are names, or the declared signals and formulas, or one of them. `spine` is an
        Arrow table, a Parquet file or a list of dicts, with a column per entity of the signals and
        `at` (see `learn.spine`). Rows come out as they went in, with `at` in µs, UTC, and a column
        per signal, in the order asked.

        Raises DataError T313 for a signal that is not in the cloud: on a device it stays; T375 for
        an outcome; T301, T302 or T371 for a spine that cannot be read or has a column of that name.
        """
        from tacit.project.files import features

        return features(self, signals, spine)

    def scannable(
        self, source: str, held: ExitStack, only: Collection[str], also: Collection[str] = ()
    ) -> pa.Table | Files:
        """A source as the engine reads it: its files as they are, where nothing in them is to be
        converted or told first; else its rows. Columns are chosen as by `rows`."""
        from tacit.project.reading import open_source

        return open_source(self, source, held, only, also)

    def write(self, signals: Names, spine: pa.Table | Path | str, target: Path | str) -> int:
        """The same as `features`, to Parquet; how many rows.

        The local engine writes a file, Spark a folder of files, which by their names hold the
        spine's rows in its order; either takes the place of a result of before. With Spark no row
        passes through this process, if the sources are in the lake or in files that need no mend.

        Args:
            signals: names of signals and formulas, or those declared.
            spine: a table, a Parquet file, or a folder of some.

        Raises DataError T301 or T342 for a spine that is no such file, T313 and T375 as `features`,
        T320 for a target that holds something else, T371 for a spine with a signal's name among its
        columns, and what engines raise.
        """
        from tacit.project.files import write

        return write(self, signals, spine, target)

    def training_set(
        self,
        spine: SpineRows,
        signals: Names,
        *,
        labels: Labels = (),
        as_of: AsOf = None,
        sink: str | None = None,
        purpose: str | Purpose | None = None,
        row: str | None = None,
        consent: Consent | None = None,
    ) -> TrainingSet:
        """Features and labels for the rows of a spine: rows out are rows in, in their order.

        Args:
            spine: an Arrow table, a Parquet file or a list of dicts, with a column per entity of
                the signals and `at` (see `learn.spine`). Other columns are carried along.
            signals: names, or the declared signals; each is joined by its own keys.
            labels: column → outcome (a signal with `.ahead(…)`), or outcomes alone. One that is
                not over at `as_of`, or now, is null and "pending".
            as_of: what was known then: rows that had arrived by this moment; or "spine", those that
                had arrived before each spine row's own. Left out, all rows of today.
            sink: the declared training sink that allows it; left out, the one that takes them all.
            purpose: in its place, one of the purposes of that sink.
            row: the spine's column of row ids; left out, `row`, made where there is none.
            consent: records of consent, or a function, see `learn.consent`; values of rows that
                were not allowed are null. Left out, the lawful basis in the plan decides alone.

        Raises DataError T313 for a signal that is not in the cloud, T370 to T377.
        """
        from tacit.project.training import make_training_set

        return make_training_set(
            self,
            spine,
            signals,
            labels=labels,
            as_of=as_of,
            sink=sink,
            purpose=purpose,
            row=row,
            consent=consent,
        )
