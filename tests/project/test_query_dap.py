"""Metrics that devices report by DAP, from `tacit query` to two aggregators that are processes."""

from __future__ import annotations

import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tacit.collect.dap.messages import BatchMode
from tacit.collect.dap.task import Task, Vdaf
from tacit.errors import CollectError, QueryError, TacitError
from tacit.privacy.randomness import system
from tacit.privacy.sum_noise import SumNoise
from tacit.project import Project, collected
from tacit.values import SECOND

sys.path.append(str(Path(__file__).parents[1] / "collect"))
from dap_processes import Parties

SIGNALS = """\
from tacit import *

person = Entity("Someone.", person="pseudonymous")
film = Entity("A film.")
understand = Purpose("What is watched.", use="analytics", basis="consent", epsilon=9, delta=1e-5)
films = Table(
    "All films.", of=film, place="cloud", category=PUBLIC, columns={"film": key(film)},
)
plays = Events(
    "What was watched.", place="device", region="eu", keep="400d", basis="consent",
    purposes=[understand], category="user.behavior",
    columns={
        "person": key(person, "user.unique_id.pseudonymous"), "film": key(film), "at": time(),
    },
)
last = Metric(
    "The film that each watched last.", measure=Measure.histogram(plays, "film", max_rows=1),
    mechanism="prio3", epsilon=EPSILON, delta=1e-6, minimum=MINIMUM, answers=2,
    purposes=[understand], region="eu", keep="30d",
)
"""
SETTINGS = """\
name = "films"
[sources.films]
path = "films.parquet"
[metrics.last]
collector = "task/collector.toml"
every = "1h"
"""
VALUES = [i % 4 for i in range(120)]


def histogram(urls: list[str], length: int = 4, noise: Any = True) -> Task:
    vdaf = Vdaf("histogram", {"length": length, "chunk_length": 2})
    added = SumNoise("gaussian", Fraction(9)) if noise else None
    return Task(
        system().bytes(32), urls[0], urls[1], 1, 50, BatchMode.TIME_INTERVAL, vdaf, noise=added
    )


def project(folder: Path, **settings: Any) -> Project:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = SIGNALS
    for name, value in ({"EPSILON": 3.0, "MINIMUM": 50} | settings).items():
        text = text.replace(name, str(value))
    (folder / "signals.py").write_text(text)
    (folder / "tacit.toml").write_text(SETTINGS)
    pq.write_table(pa.table({"film": ["a", "b", "c", "d"]}), folder / "films.parquet")
    return Project.load(folder)


@pytest.mark.slow
def test_devices_report_and_a_metric_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Parties(tmp_path / "task", histogram) as parties:
        asked = project(tmp_path)
        while not 2 < time.time() % 3600 < 3580:  # all of it lies within an hour
            time.sleep(1)
        start = int(time.time())
        client = parties.client()
        assert not client.upload(client.reports(VALUES))
        end = int(time.time()) + 1
        time.sleep(1.1)
        span: dict[str, Any] = {"since": start * SECOND, "until": end * SECOND}
        first = asked.query("last", **span)
        assert first.table["bucket"].to_pylist() == ["a", "b", "c", "d"]
        [error] = set(first.table["stderr"].to_pylist())
        assert error == pytest.approx(18**0.5)
        assert all(abs(value - 30) < 8 * error for value in first.table["value"].to_pylist())
        halves = first.table["upper"].to_numpy() - first.table["value"].to_numpy()
        assert halves == pytest.approx([1.959964 * error] * 4)
        assert 0 < first.spent <= 3.0
        again = Project.load(tmp_path).query("last", **span)
        assert again.table.equals(first.table)
        assert again.spent == 0.0
        [line] = asked.ledger.statement("understand")
        assert line.spend.state == "committed"
        monkeypatch.setattr(collected, "PATIENCE", 1.0)
        # Nobody reported later: nothing is answered, and nothing spent.
        none = asked.query("last", since=end * SECOND, until=(end + 1) * SECOND)
        assert none.table.num_rows == 0
        assert none.hidden == 4
        assert none.spent == 0.0
        # A time that was collected in part gives nothing either: what was set aside comes back.
        spent = asked.ledger.spent("understand")
        with pytest.raises(CollectError) as overlap:
            asked.query("last", since=(start - 1) * SECOND, until=end * SECOND)
        assert overlap.value.code == "T809"
        assert asked.ledger.spent("understand") == spent
        states = [line.spend.state for line in asked.ledger.statement("understand")]
        assert states == ["committed", "refunded", "refunded"]
        few = project(tmp_path, MINIMUM=500)
        assert few.query("last", **span).hidden == 4
        with pytest.raises(QueryError) as caught:
            asked.query("last", since=start * SECOND, until=(end + 3600) * SECOND)
        assert caught.value.code == "T894"
    # Both aggregators are gone: what was answered stays.
    assert Project.load(tmp_path).query("last", **span).spent == 0.0


def made(tmp_path: Path, **how: Any) -> Project:
    from tacit.collect.dap.settings import new_task

    urls = ["http://127.0.0.1:1/leader", "http://127.0.0.1:1/helper"]
    new_task(tmp_path / "task", histogram(urls, **how), system(), ["127.0.0.1:1"] * 2)
    return project(tmp_path)


@pytest.mark.parametrize(
    ("what", "how"), [("3 buckets for 4 values", {"length": 3}), ("no noise", {"noise": False})]
)
def test_a_task_that_does_not_fit(tmp_path: Path, what: str, how: dict[str, Any]) -> None:
    with pytest.raises(QueryError) as caught:
        made(tmp_path, **how).query("last", since="2h", until="1h")
    assert caught.value.code == "T897"
    assert what in caught.value.message


def test_a_task_that_costs_more_than_is_declared(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(QueryError) as caught:
        project(tmp_path, EPSILON=0.1).query("last", since="2h", until="1h")
    assert caught.value.code == "T897"


def test_no_task_and_no_time(tmp_path: Path) -> None:
    asked = made(tmp_path)
    with pytest.raises(QueryError) as caught:
        asked.query("last")
    assert caught.value.code == "T894"
    settings = tmp_path / "tacit.toml"
    settings.write_text(settings.read_text().partition("[metrics")[0])
    with pytest.raises(QueryError) as caught:
        Project.load(tmp_path).query("last", since="2h", until="1h")
    assert caught.value.code == "T896"
    assert "tacit dap new" in caught.value.fix


@pytest.mark.slow
def test_no_sum_holds_two_reports_of_a_device(tmp_path: Path) -> None:
    """Attack: devices report every hour, and the sum of a day is asked for. Each has 24 reports in it,
    and the noise and the ledger's charge are those of one."""
    asked = made(tmp_path)
    hour = 3600 * SECOND
    start = asked.now() // hour * hour - 48 * hour
    for since, until in ((start, start + 24 * hour), (start + hour // 2, start + hour + hour // 2)):
        with pytest.raises(QueryError, match="several reports of each") as caught:
            asked.query("last", since=since, until=until)
        assert caught.value.code == "T894"
    assert asked.ledger.statement("understand") == ()
    with pytest.raises(CollectError, match="T820"):  # nobody is there, but it may be asked
        asked.query("last", since=start, until=start + hour)


@pytest.mark.parametrize(
    "line", ['collector = "x.toml"', 'collector = "x.toml"\nevery = "2d"', 'every = "1d"']
)
def test_how_often_devices_report_must_be_said(tmp_path: Path, line: str) -> None:
    settings = SETTINGS.partition("[metrics.last]")[0] + f"[metrics.last]\n{line}\n"
    (tmp_path / "tacit.toml").write_text(settings)
    (tmp_path / "signals.py").write_text(SIGNALS)
    with pytest.raises(TacitError) as caught:
        Project.load(tmp_path)
    assert caught.value.code == "T311"
