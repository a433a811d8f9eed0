"""Feast's repository with the same fifty values of the same listeners, in its online store.

Runs in an environment of its own (`pip install "feast[redis]"`): `feast_repo.py FOLDER [REDIS]`.
FOLDER holds `values.parquet`; the online store is SQLite, or a Redis at HOST:PORT.
"""

from __future__ import annotations

import sys
import warnings
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq

warnings.simplefilter("ignore")


def main() -> None:
    from feast import (
        Entity,
        FeatureService,
        FeatureStore,
        FeatureView,
        Field,
        FileSource,
        ValueType,
    )
    from feast.types import Float64

    folder = Path(sys.argv[1]).resolve()
    online = f"{{type: sqlite, path: {folder}/online.db}}"
    if len(sys.argv) > 2:
        online = f"{{type: redis, connection_string: {sys.argv[2]}}}"
    (folder / "feature_store.yaml").write_text(
        f"project: bench\nregistry: {folder}/registry.db\nprovider: local\n"
        f"online_store: {online}\noffline_store: {{type: file}}\n"
        "entity_key_serialization_version: 3\n"
    )
    table = pq.read_table(folder / "values.parquet").to_pandas()
    names = [name for name in table.columns if name not in ("listener", "event_timestamp")]
    listener = Entity(name="listener", join_keys=["listener"], value_type=ValueType.STRING)
    view = FeatureView(
        name="stats",
        entities=[listener],
        ttl=timedelta(days=3650),
        schema=[Field(name=name, dtype=Float64) for name in names],
        source=FileSource(path=str(folder / "values.parquet"), timestamp_field="event_timestamp"),
    )
    store = FeatureStore(repo_path=str(folder))
    store.apply([listener, view, FeatureService(name="fifty", features=[view])])
    for low in range(0, len(table), 1000):
        store.write_to_online_store("stats", table.iloc[low : low + 1000])
    found = store.get_online_features(
        features=store.get_feature_service("fifty"), entity_rows=[{"listener": table.listener[0]}]
    ).to_dict()
    assert found[names[0]][0] == table[names[0]][0], "what was written is read"


if __name__ == "__main__":
    main()
