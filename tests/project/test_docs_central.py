"""The example of docs/privacy/central.md runs as it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tacit.project import Project

PAGE = Path(__file__).parents[2] / "docs" / "privacy" / "central.md"
SIGNALS = '''\
"""Films that people watch."""

from tacit import *

viewer = Entity("Someone who watches.", person="pseudonymous")
film = Entity("A film.")
discover = Purpose("Show more.", use="personalize.content", basis="consent", epsilon=4, delta=1e-6)
films = Table(
    "What there is.", of=film, place="cloud", category=PUBLIC,
    columns={"film": key(film), "genre": text()},
)
visits = Events(
    "What was watched, and how long.", place="cloud", region="eu", keep="ever", basis="consent",
    purposes=[discover], time="at", category="user.behavior",
    columns={
        "viewer": key(viewer, "user.unique_id.pseudonymous"), "film": key(film),
        "minutes": number(), "at": time(),
    },
)
'''
SETTINGS = 'name = "films"\n[sources.films]\npath = "films.parquet"\n[sources.visits]\npath = "visits.parquet"\n'
ROWS = 20_000


def test_the_example(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    pq.write_table(
        pa.table({"film": [f"f{i}" for i in range(30)], "genre": [f"g{i % 3}" for i in range(30)]}),
        tmp_path / "films.parquet",
    )
    visits = {
        "viewer": pa.array(rng.integers(0, 2_000, ROWS)).cast(pa.string()),
        "film": pa.array([f"f{i}" for i in rng.integers(0, 30, ROWS)]),
        "minutes": rng.normal(90, 20, ROWS),
        "at": pa.array(np.arange(ROWS), pa.timestamp("us")),
    }
    pq.write_table(pa.table(visits), tmp_path / "visits.parquet")
    (tmp_path / "signals.py").write_text(SIGNALS)
    (tmp_path / "tacit.toml").write_text(SETTINGS)
    names: dict[str, Any] = {"project": Project.load(tmp_path)}
    exec(PAGE.read_text().split("```python\n")[1].split("```")[0], names)
    table = names["found"].table
    assert table["genre"].to_pylist() == ["g0", "g1", "g2"]
    for row in table.to_pylist():
        assert abs(row["persons"] - 1_990) < 10 * row["persons_error"]
        assert row["mean_minutes_lower"] <= 90 <= row["mean_minutes_upper"]
        assert row["quantile_minutes_lower"][0] <= 90 <= row["quantile_minutes_upper"][0]
    assert names["found"].spent.epsilon(1e-6) <= 1.0
