"""Every engine says what the oracle says, on whatever data and views."""

from __future__ import annotations

import sqlite3

import pyarrow.parquet as pq
import pytest
import sqlcipher3
from hypothesis import HealthCheck, Phase, given, settings
from parity_cases import MORE, SKETCHES, TABLE, Case, cases, check, check_crowd, crowds
from parity_engines import database

from examples import examples
from tacit.engines.local import Local
from tacit.engines.spark import Spark
from tacit.engines.sqlite import SQLite

# Shrinking cases of this size takes minutes: add Phase.shrink when one fails.
relaxed = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)


def run_all(case: Case, quick: list[str]) -> None:
    results = []
    if "local" in quick:
        results.append(("local", Local().features([case.view], case.sources, case.spine)))
    for driver in (sqlite3, sqlcipher3) if "sqlite" in quick else ():
        engine = SQLite(database(case.sources, driver))
        results.append((driver.__name__, engine.features([case.view], case.sources, case.spine)))
    check(case, *results)


@given(cases(plain=True))
@settings(relaxed, max_examples=examples(40))
def test_bare_columns(quick: list[str], case: Case) -> None:
    run_all(case, quick)


@given(cases())
@settings(relaxed, max_examples=examples(60))
def test_expressions(quick: list[str], case: Case) -> None:
    run_all(case, quick)


@pytest.mark.slow
@given(cases(aggregates=MORE))
@settings(relaxed, max_examples=examples(60))
def test_more_aggregates(quick: list[str], case: Case) -> None:
    run_all(case, quick)


@given(cases(aggregates=SKETCHES))
@settings(relaxed, max_examples=examples(30))
def test_aggregates_beyond_sqlite(case: Case) -> None:
    check(case, ("local", Local().features([case.view], case.sources, case.spine)))


@given(case=cases(size=40))
@settings(relaxed, max_examples=examples(15))
def test_parquet_in_pieces(tmp_path_factory: pytest.TempPathFactory, case: Case) -> None:
    """Files, row groups and batches of a few rows give what one table gives."""
    folder = tmp_path_factory.mktemp("parity")
    table = case.sources[TABLE]
    paths = [folder / "a.parquet", folder / "b.parquet"]
    half = table.num_rows // 2
    pq.write_table(table.slice(0, half), paths[0], row_group_size=5)
    pq.write_table(table.slice(half), paths[1], row_group_size=7)
    found = Local().features([case.view], {**case.sources, TABLE: paths}, case.spine)
    check(case, ("local", found))
    poor = Local(memory=1).features([case.view], {**case.sources, TABLE: paths}, case.spine)
    assert poor.equals(found) or str(poor) == str(found)  # NaN is no value, but in a spine


@pytest.mark.slow
@pytest.mark.parametrize("engine_name", ["spark"])
@given(crowd=crowds(count=16))
@settings(relaxed, max_examples=10)
def test_spark(spark: Spark, engine_name: str, crowd: list[Case]) -> None:
    """Sixteen views a job: a job costs seconds, whatever is in it."""
    views = [case.view for case in crowd]
    result = spark.features(views, crowd[0].sources, crowd[0].spine)
    check_crowd(crowd, (engine_name, result))
