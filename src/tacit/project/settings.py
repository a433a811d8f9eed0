"""`tacit.toml`: where a project's rows lie. What they mean stands in its Python module.

::

    name = "shop"                       # the project; bundles of another are refused by devices
    module = "signals.py"
    as_of = 2026-01-01T00:00:00Z        # simulated devices live at this moment; left out: now

    [sources.orders]
    path = "data/orders.parquet"
    columns = { item = "StockCode" }    # only where the file's names differ

    [sources.visits]                    # without a path: what `tacit ingest` brought to the lake
    unique = "visit"                    # the column that tells events apart, if there is one
    unit = "ms"                         # of moments that are whole numbers, if it is not the µs

    [lake]                              # left out: Iceberg with a SQLite catalog in .tacit/lake
    catalog = "prod"                    # the properties of a pyiceberg catalog; secrets belong in
    uri = "https://catalog.example"     # its own PYICEBERG_CATALOG__PROD__… variables

    [metrics.listening]                 # a metric that devices report by DAP: the collector's file
    collector = "dap/collector.toml"
    every = "1d"                        # each device reports once in each of these

    [ledger]
    witnesses = ["/mnt/other/shop.witness"]  # further files that remember how far the ledger was

    [online]                            # left out: LMDB in .tacit/online
    redis = "redis://localhost:6379/0"  # a server that machines share
    stale = "10m"                       # without news for so long, a source's values are stale
    baseline = ["orders"]               # nothing of these is answered before a baseline is built

The engine of the cloud, and its settings: see `project.engine`. Streams past one machine,
`[stream]`: see `project.streams`; serving, `[serve]`: see `project.service`. Every key:
docs/settings.md.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tacit.declare import Declarations, Source
from tacit.declare.metric import GRAINS
from tacit.errors import DataError
from tacit.project.engine import Chosen, chosen
from tacit.project.service import SERVICE_KEYS, Service, service
from tacit.project.streams import STREAM_KEYS, Streams, streams
from tacit.store.files import UNITS
from tacit.values import duration, moment

FILE = "tacit.toml"
KEYS: Mapping[str, tuple[str, ...]] = {
    "": ("name", "module", "as_of", "engine"),
    "sources.NAME": ("path", "columns", "unique", "unit"),
    "lake": ("catalog", "*"),
    "engines.NAME": ("master", "buckets", "spark.*"),
    "online": ("redis", "stale", "baseline"),
    "metrics.NAME": ("collector", "every"),
    "ledger": ("witnesses",),
    "stream": ("shards", "every"),
    "stream.sources.NAME": STREAM_KEYS,
    "serve": SERVICE_KEYS,
    "serve.refusals": ("*",),
    "serve.oidc": ("issuer", "audience", "keys", "purposes", "sources"),
    "stream.flink": ("home", "jars", "options"),
}
"""The keys of each table; with a *, any that begin so. A test holds docs/settings.md to them."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Where the rows of one source are: a Parquet file, or the lake where there is no `path`;
    declared → held column names; the column that tells events of the lake apart; the unit of
    moments that are whole numbers, where it is said."""

    path: Path | None
    columns: Mapping[str, str] = field(default_factory=dict)
    unique: str | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class OnlineStore:
    """Where the online store is: a Redis server, or LMDB when there is no ``redis``. Its URL may be
    ``env:NAME`` or ``file:PATH``, which have it (`store.secrets`)."""

    redis: str | None = field(default=None, repr=False)
    stale: int | None = None
    baseline: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """What `tacit.toml` says."""

    name: str
    module: Path
    sources: Mapping[str, Binding]
    as_of: int | None = None
    lake: Mapping[str, str] = field(default_factory=dict)
    engine: Chosen = field(default_factory=Chosen)
    online: OnlineStore = field(default_factory=OnlineStore)
    collectors: Mapping[str, tuple[Path, str]] = field(default_factory=dict)
    witnesses: tuple[Path, ...] = ()
    stream: Streams = field(default_factory=Streams)
    spark: Mapping[str, Any] = field(default_factory=dict)
    serve: Service = field(default_factory=Service)


def read_settings(root: Path) -> Settings:
    """The settings of the project in `root`. Raises DataError T310 (no file), T311 (wrong)."""
    path = root / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(
            f"{root} is not a project: it has no {FILE}",
            code="T310",
            where=str(path),
            fix="go to a project's folder, or make one with: tacit init DIR",
        ) from None
    except NotADirectoryError:
        raise DataError(
            f"{root} is a file, not the folder of a project",
            code="T310",
            where=str(path),
            fix="name the folder that it is in",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(path, f"it cannot be read: {error}", "write it as text in UTF-8") from None
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = re.search(r"at line (\d+)", str(error))
        line = said[1] if said else len(text.splitlines())
        fix = "correct it; texts stand in quotes, and each name once"
        raise _wrong(f"{path}:{line}", f"it is not TOML: {error}", fix) from None
    return _settings(root, path, raw)


def check_bindings(settings: Settings, declarations: Declarations, path: Path) -> None:
    """Raises DataError T311 for a binding of what is not declared."""
    sources = declarations.of(Source)
    for name, binding in settings.sources.items():
        declared = sources.get(name)
        if declared is None:
            what, wrong, known = "a source", name, list(sources)
        else:
            known = list(declared.columns)
            what = f"a column of {name}"
            wrong = next((c for c in binding.columns if c not in declared.columns), "")
        if wrong:
            close = difflib.get_close_matches(wrong, known, 1)
            fix = f"did you mean {close[0]!r}?" if close else f"use {', '.join(known)}"
            message = f"[sources.{name}] names {wrong!r}, which is not declared as {what}"
            raise _wrong(path, message, fix)


def _settings(root: Path, path: Path, raw: Mapping[str, Any]) -> Settings:
    known = (*KEYS[""], *dict.fromkeys(table.partition(".")[0] for table in KEYS if table))
    unknown = sorted(set(raw) - set(known))
    if unknown:
        close = difflib.get_close_matches(unknown[0], known, 1)
        fix = f"did you mean {close[0]!r}?" if close else f"use {', '.join(known)}"
        raise _wrong(path, f"it has an unknown setting {unknown[0]!r}", fix)
    name, module = raw.get("name"), raw.get("module", "signals.py")
    if not isinstance(name, str) or not name:
        raise _wrong(path, "it does not name the project", 'write name = "…"')
    if not isinstance(module, str):
        raise _wrong(path, "`module` is not a file name", 'write module = "signals.py"')
    as_of = raw.get("as_of")
    if as_of is not None and not isinstance(as_of, datetime):
        raise _wrong(path, "`as_of` is not a moment", "write it as 2026-01-01T00:00:00Z")
    sources = raw.get("sources", {})
    if not isinstance(sources, dict):
        raise _wrong(path, "`sources` is not a table", 'write [sources.NAME] and path = "…"')
    lake = raw.get("lake", {})
    if not isinstance(lake, dict) or not all(isinstance(value, str) for value in lake.values()):
        fix = 'write [lake] and properties of a pyiceberg catalog, such as uri = "…"'
        raise _wrong(path, "`lake` is not a table of texts", fix)
    return Settings(
        name=name,
        module=root / module,
        sources={key: _binding(root, path, key, bound) for key, bound in sources.items()},
        as_of=None if as_of is None else moment(as_of),
        lake=dict(lake),
        engine=chosen(raw, lambda message, fix: _wrong(path, message, fix)),
        online=_online(path, raw.get("online", {})),
        collectors={
            name: (root / file, every)
            for name, (file, every) in _collectors(path, raw.get("metrics", {})).items()
        },
        witnesses=_witnesses(root, path, raw.get("ledger", {})),
        stream=streams(
            root, name, raw.get("stream", {}), lambda message, fix: _wrong(path, message, fix)
        ),
        spark=raw.get("engines", {}).get("spark", {}),
        serve=service(root, raw.get("serve", {}), lambda message, fix: _wrong(path, message, fix)),
    )


def _collectors(path: Path, raw: Any) -> dict[str, tuple[str, str]]:
    """Metric → the file of its collector, and how often each device reports."""
    fix = 'write [metrics.NAME], collector = "….toml" and every = "1d"'
    if not isinstance(raw, dict):
        raise _wrong(path, "`metrics` is not a table", fix)
    for name, each in raw.items():
        if not isinstance(each, dict) or set(each) != {"collector", "every"}:
            what = f"[metrics.{name}] does not say who collects, and how often devices report"
            raise _wrong(path, what, fix)
        if not isinstance(each["collector"], str):
            raise _wrong(path, f"[metrics.{name}] names a collector that is no file", fix)
        if each["every"] not in GRAINS:
            what = f"[metrics.{name}] has devices report every {each['every']!r}"
            raise _wrong(path, what, f"write one of {', '.join(GRAINS)}")
    return {name: (each["collector"], each["every"]) for name, each in raw.items()}


def _online(path: Path, raw: Any) -> OnlineStore:
    fix = 'write redis = "redis://…", stale = "10m" and baseline = ["…"], or leave them out'
    if not isinstance(raw, dict) or not set(raw) <= set(KEYS["online"]):
        raise _wrong(path, "[online] has settings that there are not", fix)
    server, stale, baseline = raw.get("redis"), raw.get("stale"), raw.get("baseline", [])
    names = isinstance(baseline, list) and all(isinstance(name, str) for name in baseline)
    if not isinstance(server, str | None) or not isinstance(stale, str | None) or not names:
        raise _wrong(path, "a setting of [online] is of the wrong kind", fix)
    kept = None if stale is None else duration(stale, where=str(path))
    return OnlineStore(server, kept, tuple(baseline))


def _witnesses(root: Path, path: Path, raw: Any) -> tuple[Path, ...]:
    given = raw if isinstance(raw, dict) else {"": raw}
    named = given.get("witnesses", [])
    texts = isinstance(named, list) and all(isinstance(each, str) and each for each in named)
    if not texts or not set(given) <= {"witnesses"}:
        fix = 'write witnesses = ["/mnt/other/shop.witness"], or leave [ledger] out'
        raise _wrong(path, "[ledger] is not a list of witnesses", fix)
    return tuple(root / each for each in named)


def _binding(root: Path, path: Path, source: str, raw: Any) -> Binding:
    columns = raw.get("columns", {}) if isinstance(raw, dict) else {}
    right = (
        isinstance(raw, dict)
        and bool(raw)
        and all(isinstance(raw.get(name, ""), str) for name in ("path", "unique"))
        and raw.get("unit", "us") in UNITS
        and set(raw) <= set(KEYS["sources.NAME"])
        and isinstance(columns, dict)
        and all(isinstance(value, str) for value in columns.values())
    )
    if not right:
        fix = 'write path = "….parquet" and, where names differ, columns = { declared = "held" }'
        if isinstance(raw, dict) and raw.get("unit", "us") not in UNITS:
            fix = "write unit = " + " or ".join(f'"{unit}"' for unit in UNITS)
        raise _wrong(path, f"[sources.{source}] is not a path with columns", fix)
    place = root / raw["path"] if "path" in raw else None
    return Binding(place, dict(columns), raw.get("unique"), raw.get("unit"))


def _wrong(path: Path | str, message: str, fix: str) -> DataError:
    return DataError(message, code="T311", where=str(path), fix=fix)
