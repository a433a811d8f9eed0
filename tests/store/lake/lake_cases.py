"""A small lake, and rows for it, for the tests of this folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import read_manifest_list

from tacit.store.control import ControlStore
from tacit.store.lake.ingest import Asked, Ingestion
from tacit.store.lake.lake import Lake
from tacit.store.lake.layout import Layout
from tacit.values import DAY, Type

NOW = 1_790_000_000_000_000  # 2026-09-21
COLUMNS = {"who": Type.TEXT, "what": Type.TEXT, "at": Type.TIME, "amount": Type.FLOAT}
LAYOUT = Layout("orders", COLUMNS, ("who", "at"), "at", {"who": "person"}, keep=400 * DAY)


def lake(folder: Path) -> Lake:
    path = folder / "control.sqlite"
    store = ControlStore.open(path) if path.exists() else ControlStore.create(path)
    return Lake(folder / "lake", "shop", store)


def rows(size: int, people: int = 40, start: int = 0) -> pa.Table:
    """`amount` numbers the rows, so that each can be told from all others."""
    numbers = range(start, start + size)
    return pa.table(
        {
            "who": [f"person-{n % people}" for n in numbers],
            "what": [f"thing-{n % 7}" for n in numbers],
            "at": pa.array([NOW - DAY + n for n in numbers], pa.int64()),
            "amount": [float(n) for n in numbers],
        }
    )


def write(folder: Path, table: pa.Table, name: str = "rows.parquet") -> Path:
    pq.write_table(table, folder / name)
    return folder / name


def ingest(
    given_lake: Lake, given: Path | pa.Table, layout: Layout = LAYOUT, **how: Any
) -> Ingestion:
    return given_lake.ingest(
        layout, Asked(given, how.pop("renamed", {}), how.pop("now", NOW), **how)
    )


def numbers(given_lake: Lake, layout: Layout = LAYOUT) -> Counter[float]:
    """How often each numbered row is in the lake."""
    return Counter(given_lake.read(layout, NOW)["amount"].to_pylist())


def everything(folder: Path) -> bytes:
    """All bytes below a folder, and all that can be decoded of them: Parquet's values and bounds,
    Avro's records. A key that is anywhere on the disk is in here as text."""
    found = []
    io = PyArrowFileIO()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        raw = path.read_bytes()
        found.append(raw)
        if path.suffix == ".parquet":
            found.append(repr(pq.read_table(path).to_pylist()).encode())
            found.append(repr(pq.read_metadata(path).to_dict()).encode())
        if path.suffix == ".avro" and path.name.startswith("snap-"):
            for manifest in read_manifest_list(io.new_input(str(path))):
                found.append(repr(manifest).encode())
                if not Path(manifest.manifest_path.removeprefix("file://")).exists():
                    continue
                for entry in manifest.fetch_manifest_entry(io, discard_deleted=False):
                    file = entry.data_file
                    found.append(repr(file).encode())
                    for bounds in (file.lower_bounds, file.upper_bounds):
                        found += (bounds or {}).values()
    return b"\n".join(found)
