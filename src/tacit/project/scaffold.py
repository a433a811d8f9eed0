"""Making a new project: a folder that plans and runs at once, with rows of its own."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tacit.errors import DataError
from tacit.store.atomic import make_folder, replace_file, unwritable

DEVICES = """\
# Where this project's rows lie; what they mean stands in signals.py.
name = "{name}"
module = "signals.py"
as_of = {as_of}  # the moment at which the simulated devices live; leave it out for now

[sources.history]
path = "data/history.parquet"

[sources.catalogue]
path = "data/catalogue.parquet"
"""

CLOUD = """\
# Where this project's rows lie; what they mean stands in signals.py. Views and choices are brought
# into the lake, by `tacit ingest`; content is read from its file.
name = "{name}"
module = "signals.py"

[sources.catalogue]
path = "data/catalogue.parquet"

[serve.refusals]
discover = "refused"
"""

READABLE = 0o644
"""The mode of what people edit."""


def of_devices(
    folder: Path,
    history: pa.Table,
    catalogue: pa.Table,
    as_of: int,
    *,
    epsilon: float | None = None,
) -> None:
    """Writes the starter project of devices with these rows.

    `history` has `person`, `item` (text), `at` (timestamp[us]) and `enjoyed`; `catalogue` has
    `item` and `title`. Raises as `of_cloud`.
    """
    moment = datetime.fromtimestamp(as_of // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    module = _starter("devices.py")
    if epsilon is not None:
        module = re.sub(r"epsilon=[0-9.]+", f"epsilon={epsilon!r}", module)
    settings = DEVICES.format(name=_name(folder), as_of=moment)
    _write(folder, module, settings, {"history": history, "catalogue": catalogue})


def of_cloud(folder: Path, tables: Mapping[str, pa.Table]) -> None:
    """Writes the starter project of the cloud, and the tables into its `data`: those of its
    sources, and whatever else.

    All of it is there, or nothing. Raises DataError T320 when the folder holds something already,
    StoreError T701 or T704 where it cannot be written.
    """
    _write(folder, _starter("cloud.py"), CLOUD.format(name=_name(folder)), tables)


def _write(folder: Path, module: str, settings: str, tables: Mapping[str, pa.Table]) -> None:
    check_empty(folder)
    contents = {f"data/{name}.parquet": parquet(table) for name, table in tables.items()}
    contents["signals.py"] = memoryview(module.encode())
    contents["tacit.toml"] = memoryview(settings.encode())
    make_folder(folder.resolve().parent)
    aside = None
    try:
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.resolve().parent))
        for title, part in contents.items():
            replace_file(aside / title, [part], mode=READABLE)
        _move(aside, folder)
    except OSError as error:
        raise unwritable(error, folder) from None
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


def _starter(name: str) -> str:
    return files("tacit.project.starter").joinpath(name).read_text(encoding="utf-8")


def _name(folder: Path) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", folder.resolve().name.lower()) or "project"


def _move(aside: Path, folder: Path) -> None:
    if not folder.exists():
        aside.chmod(0o755)
        os.replace(aside, folder)
        return
    # Into an empty folder, which somebody may stand in. The settings come last: a folder without
    # them is no project, should this be cut off.
    for entry in sorted(aside.iterdir(), key=lambda path: path.name == "tacit.toml"):
        os.replace(entry, folder / entry.name)


def check_empty(folder: Path) -> None:
    """Raises DataError T320 unless the folder can be made, or is there and empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "the folder is not empty" if folder.is_dir() else "there is a file of that name"
        raise DataError(
            what, code="T320", where=str(folder), fix="name a new folder; nothing was written"
        )


def parquet(table: pa.Table) -> memoryview:
    """A table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return memoryview(sink.getvalue())
