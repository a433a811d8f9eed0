"""Making a new project: a folder that plans and runs at once, with rows of its own."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tacit.errors import DataError
from tacit.store.atomic import replace_file

TOML = """\
# Where this project's rows lie; what they mean stands in signals.py.
name = "{name}"
module = "signals.py"
as_of = {as_of}  # the moment at which the simulated devices live; leave it out for now

[sources.history]
path = "data/history.parquet"

[sources.catalogue]
path = "data/catalogue.parquet"
"""


def scaffold(
    folder: Path,
    history: pa.Table,
    catalogue: pa.Table,
    as_of: int,
    *,
    epsilon: float | None = None,
) -> None:
    """Writes the starter project with these rows.

    `history` has `person`, `item` (text) and `at` (timestamp[us]); `catalogue` has `item`, `title`.
    Raises DataError T320 when the folder holds something already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            "the folder is not empty",
            code="T320",
            where=str(folder),
            fix="name a new folder; nothing was written",
        )
    module = files("tacit.project.starter").joinpath("signals.py").read_text(encoding="utf-8")
    if epsilon is not None:
        module = re.sub(r"epsilon=[0-9.]+", f"epsilon={epsilon!r}", module)
    moment = datetime.fromtimestamp(as_of // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = re.sub(r"[^a-z0-9_-]+", "-", folder.resolve().name.lower()) or "project"
    # The settings come last: a folder without them is no project, should this be interrupted.
    replace_file(folder / "data" / "history.parquet", [_parquet(history)])
    replace_file(folder / "data" / "catalogue.parquet", [_parquet(catalogue)])
    replace_file(folder / "signals.py", [module.encode()])
    replace_file(folder / "tacit.toml", [TOML.format(name=name, as_of=moment).encode()])


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    written: bytes = sink.getvalue().to_pybytes()
    return written
