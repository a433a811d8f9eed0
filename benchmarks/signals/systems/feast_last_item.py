"""Feast's point-in-time join, by its DuckDB store, on the part that it can express: the last item
of each user. Runs in an environment of its own (`pip install "feast[duckdb]"`).

Feast takes events up to and including the moment that asks, so here they are a microsecond later;
it wants moments as timestamps, so the files are written anew, before the clock starts.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from common import measure

warnings.simplefilter("ignore")


def prepare(folder: Path) -> None:
    """`feast_events.parquet` and `feast_spine.parquet`."""
    for name, later in (("events", 1), ("spine", 0)):
        target = folder / f"feast_{name}.parquet"
        if target.is_file():
            continue
        table = pq.read_table(folder / f"{name}.parquet", columns=["user", "item", "at"])
        at = pc.add(table["at"], later).cast(pa.timestamp("us", "UTC"))
        columns = {"user": table["user"], "event_timestamp": at}
        if later:
            columns["item"] = table["item"]
        else:
            columns["row"] = pa.array(range(table.num_rows))  # Feast gives rows back in no order
        pq.write_table(pa.table(columns), target)


def work(folder: Path, target: Path) -> None:
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import String

    registry = target.with_suffix(".registry")
    registry.unlink(missing_ok=True)
    store = FeatureStore(
        config=RepoConfig(
            project="bench",
            registry=str(registry),
            provider="local",
            offline_store={"type": "duckdb"},
            online_store={"type": "sqlite", "path": str(target.with_suffix(".online"))},
            entity_key_serialization_version=3,
        )
    )
    user = Entity(name="user", join_keys=["user"], value_type=ValueType.STRING)
    source = FileSource(
        path=str((folder / "feast_events.parquet").resolve()), timestamp_field="event_timestamp"
    )
    view = FeatureView(
        name="last", entities=[user], schema=[Field(name="item", dtype=String)], source=source
    )
    store.apply([user, view])
    spine = pq.read_table(folder / "feast_spine.parquet").to_pandas()
    found = store.get_historical_features(entity_df=spine, features=["last:item"]).to_arrow()
    pq.write_table(found.select(["row", "user", "item"]), target, compression="lz4")


if __name__ == "__main__":
    for folder in (Path(sys.argv[1]), Path(sys.argv[1]).parent / "warm"):
        prepare(folder)
    measure(work)
