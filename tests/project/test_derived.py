"""Formulas and embeddings through a project: from files to features and sinks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import small_project as small
from tacit.engines.reference import Reference
from tacit.errors import DataError
from tacit.project import Project
from tacit.project.quality import look
from tacit.project.run import deliver
from tacit.values import DAY

MORE = """
embeddings = Table(
    "Where things lie.", of=thing, place="cloud", category=PUBLIC,
    columns={"item": key(thing), "vector": vector(size=4)},
)
day = visits.count("1d")
rising = trend(day, looks)
hourly = rate(looks, per="1h")
mixed = Formula("Both.", sql="COALESCE(rising, 0.0) + hourly")
taste_of = visits.mean("embeddings.vector", "30d")
late = Sink(
    "Formulas to learn from.", signals=[mixed, taste_of, looks], to="training", place="cloud",
    purposes=[discover], region="eu", keep="30d",
)
"""
SETTINGS = small.SETTINGS + '\n[sources.embeddings]\npath = "embeddings.parquet"\n'


def vectors() -> pa.Array:
    r = np.random.default_rng(1)
    values: list[list[float] | None] = [row.tolist() for row in r.normal(size=(small.ITEMS, 4))]
    values[:3] = [None, [1.0, 2.0], [float("nan")] * 4]
    return pa.array(values, pa.list_(pa.float64()))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("derived") / "shop"
    small.write(folder, small.SIGNALS + MORE, SETTINGS)
    table = pa.table({"item": small.CATALOGUE.ids, "vector": vectors()})
    pq.write_table(table, folder / "embeddings.parquet")
    return Project.load(folder)


def spine(project: Project) -> pa.Table:
    rows = project.rows("visits").table
    return pa.table({"person": rows["person"], "at": rows["at"]})


def test_features_of_formulas_and_vectors(project: Project) -> None:
    asked = spine(project)
    found = project.features(["mixed", "taste_of"], asked)
    assert found.column_names == ["person", "at", "mixed", "taste_of"]
    everything = [view for view in project.plan.views if view.source == "visits"]
    sources = {n: project.rows(n).table for n in ("visits", "catalogue", "embeddings")}
    engine = Reference()
    wanted = engine.derive(engine.features(everything, sources, asked), project.plan.formulas)
    assert found["mixed"].equals(wanted["mixed"])
    ours, theirs = found["taste_of"].to_pylist(), wanted["taste_of"].to_pylist()
    assert [each is None for each in ours] == [each is None for each in theirs]
    both = [(x, y) for x, y in zip(ours, theirs, strict=True) if x is not None]
    assert len(both) > 100
    assert np.allclose([x for x, _ in both], [y for _, y in both], rtol=2e-7, atol=1e-9)


def test_formulas_are_delivered(project: Project) -> None:
    found = pq.read_table(deliver(project, project.plan.nodes["late"]))
    assert set(found.column_names) == {"person", "at", "mixed", "taste_of", "looks"}
    assert found.num_rows == project.rows("visits").table.num_rows
    hourly = project.features(["hourly"], spine(project))["hourly"].to_pylist()
    looks = found["looks"].to_pylist()
    assert hourly == [count / 168.0 for count in looks]


def test_a_file_whose_column_is_no_vector_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    small.write(folder, small.SIGNALS + MORE, SETTINGS)
    for values in (pa.array(["x"] * small.ITEMS), pa.array([[1]] * small.ITEMS)):
        table = pa.table({"item": small.CATALOGUE.ids, "vector": values})
        pq.write_table(table, folder / "embeddings.parquet")
        with pytest.raises(DataError) as error:
            Project.load(folder).rows("embeddings")
        assert error.value.code == "T304"


def test_vectors_have_a_status_and_no_profile(project: Project) -> None:
    rows = spine(project).slice(0, 40)
    made = project.training_set(rows, ["taste_of", "looks", "mixed"], sink="late")
    assert set(made.status["taste_of"].to_pylist()) <= {"fresh", "missing", "expired"}
    assert "taste_of" not in {found.signal for found in look(project, days=365)}


def test_formulas_are_profiled(project: Project, tmp_path: Path) -> None:
    """At the moments of the first signal's events, from the values that a spine of these gives."""
    found = {each.signal: each for each in look(project, days=365)}
    assert {"looks", "last", "day", "rising", "hourly", "mixed"} <= set(found)
    rows = project.features(["rising", "mixed", "looks"], spine(project))
    asked = rows.filter(pc.greater(rows["at"], (project.now() // DAY - 364) * DAY))
    for name in ("rising", "mixed"):
        assert found[name].rows == asked.num_rows == found["looks"].rows > 200
        assert found[name].nulls == asked[name].null_count / asked.num_rows
        assert found[name].missing == found["looks"].missing
        assert found[name].age == found["looks"].age
        assert found[name].bins
    assert found["rising"].nulls > 0
    assert found["rising"].stale is None
    served = tmp_path / "served.parquet"
    wrong = pa.array([None if i % 4 == 0 else v for i, v in enumerate(asked["mixed"].to_pylist())])
    changed = wrong.null_count - asked["mixed"].combine_chunks().null_count
    pq.write_table(asked.set_column(3, "mixed", wrong), served)
    skews = {each.signal: each.skew for each in look(project, days=365, served=served)}
    assert skews["rising"] == 0
    assert skews["mixed"] == pytest.approx(changed / asked.num_rows)
    assert changed > 20


def test_vectors_are_not_kept_online(project: Project) -> None:
    at = project.now() - DAY
    project.push("visits", [{"person": "p000", "item": "i00001", "at": at}])
    found = project.online.lookup(["looks"]).one({"person": "p000"}, project.now())
    assert found.values == [1]
    with pytest.raises(DataError, match="T393"):
        project.online.lookup(["taste_of"])
