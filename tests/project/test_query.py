"""Metrics answered: against brute force, once, after a crash, and never past what is allowed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asking import DAYS, START, project, tables
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import memory
from tacit.cli import main
from tacit.errors import BudgetError, PrivacyError, QueryError, StoreError, TacitError
from tacit.privacy.central.sums import NoisySums
from tacit.project import Project
from tacit.project import measured as module
from tacit.project.central import CentralQuery, Measure, answer
from tacit.project.query import Answer
from tacit.project.sequences import followed
from tacit.project.versions import version
from tacit.values import DAY, HOUR, WEEK

Row = dict[str, Any]


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[Project, dict[str, pa.Table]]]:
    for folder in memory.folder():
        rows = tables(7)
        yield project(folder / "films", rows), rows


@pytest.fixture
def films(made: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Project, dict[str, pa.Table]]:
    """A project whose noise is taken away, and whose bounds bind nobody: answers are the truth."""
    monkeypatch.setattr(NoisySums, "release", lambda self, sums, randomness: np.array(sums))
    return made


def ask(asked: Project, metric: str, by: Any = (), **more: Any) -> Answer:
    return asked.query(metric, by, **({"purpose": "understand"} | more))


# ---------------------------------------------------------------------- the truth


def joined(rows: dict[str, pa.Table]) -> list[Row]:
    """Plays with what the table of films says of each."""
    genre = dict(zip(*(rows["films"][c].to_pylist() for c in ("film", "genre")), strict=True))
    found = rows["plays"].to_pylist()
    for row in found:
        row["genre"] = genre.get(row["film"])
        row["long"] = row["seconds"] > 3600
        row["1d"] = row["at"] - row["at"] % DAY
        row["1w"] = row["at"] - (row["at"] - START) % WEEK
    return found


def grouped(
    rows: list[Row], by: list[str], number: Callable[[list[Row]], float]
) -> dict[tuple[Any, ...], float]:
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        key = tuple(row[name] for name in by)
        if None not in key:
            groups[key].append(row)
    return {key: number(members) for key, members in groups.items()}


def told(table: pa.Table, by: list[str]) -> dict[tuple[Any, ...], float]:
    """An answer's values by key, moments in µs."""
    if "period" in table.column_names:
        place = table.column_names.index("period")
        table = table.set_column(place, "period", table["period"].cast(pa.int64()))
    rows = table.to_pylist()
    return {tuple(row[name] for name in by): row["value"] for row in rows}


def people(rows: list[Row]) -> float:
    return len({row["person"] for row in rows})


def seconds(rows: list[Row]) -> float:
    return sum(row["seconds"] for row in rows)


# ---------------------------------------------------------------------- against brute force


@pytest.mark.parametrize(
    ("by", "grain"),
    [
        ([], None),
        (["genre"], "1w"),
        (["film", "genre", "long"], None),
        (["country"], "1w"),
    ],
)
@pytest.mark.parametrize(
    ("metric", "number"), [("viewers", people), ("watched", len), ("time_spent", seconds)]
)
def test_measures_are_those_of_brute_force(
    films: Any, metric: str, number: Any, by: list[str], grain: str | None
) -> None:
    """A join loses no row and makes none twice; rows without a value of a dimension are left out, and
    so are those of keys that the public domain does not list.

    Cells that nobody is in are hidden: the cohort is two.
    """
    asked, rows = films
    answer = ask(asked, metric, by, grain=grain, since=START, until=START + DAYS * DAY)
    names = [*by, *([grain] if grain else [])]
    listed = rows["films"]["film"].to_pylist()
    every = [row for row in joined(rows) if "film" not in by or row["film"] in listed]
    truth = grouped(every, names, number)
    enough = grouped(every, names, people)
    truth = {key: value for key, value in truth.items() if enough[key] >= 2}
    found = told(answer.table, [*by, *(["period"] if grain else [])])
    assert set(found) == set(truth)
    assert found == pytest.approx(truth)
    kept = [row for row in every if all(row[name] is not None for name in by)]
    if metric == "watched" and len(truth) == len(enough):
        assert sum(found.values()) == len(kept)


def test_conditions_are_over_dimensions(films: Any) -> None:
    asked, rows = films
    answer = ask(asked, "watched", ["film"], where="genre = 'drama' AND NOT long")
    kept = [row for row in joined(rows) if row["genre"] == "drama" and not row["long"]]
    truth = grouped(kept, ["film"], len)
    shown = grouped(kept, ["film"], people)
    assert told(answer.table, ["film"]) == {k: v for k, v in truth.items() if shown[k] >= 2}


def test_means_quantiles_histograms_and_tops(films: Any) -> None:
    asked, rows = films
    mean = told(ask(asked, "typical", ["genre"]).table, ["genre"])
    truth = grouped(joined(rows), ["genre"], lambda r: seconds(r) / len(r))
    assert mean == pytest.approx(truth, rel=1e-3)
    half = told(ask(asked, "middle", ["genre"]).table, ["genre"])
    for key, value in half.items():
        members = [row["seconds"] for row in joined(rows) if row["genre"] == key[0]]
        assert abs(value - float(np.median(members))) < 240
    kinds = told(ask(asked, "kinds").table, ["bucket"])
    assert kinds == grouped(joined(rows), ["genre"], len)
    best = ask(asked, "favourites").table
    ranked = sorted(grouped(joined(rows), ["film"], people).values(), reverse=True)
    assert best["value"].to_pylist() == ranked[:3]


def test_ratios_and_expressions(films: Any) -> None:
    asked, rows = films
    plays, viewers = (grouped(joined(rows), ["genre"], n) for n in (len, people))
    each = ask(asked, "each", "genre")
    assert told(each.table, ["genre"]) == pytest.approx(
        {key: plays[key] / viewers[key] for key in plays}
    )
    before = asked.ledger.spent("understand")
    over = ask(asked, "over", "genre")
    mixed = ask(asked, "mixed", "genre")
    assert told(over.table, ["genre"]) == pytest.approx(
        {key: (plays[key] - viewers[key]) / viewers[key] for key in plays}
    )
    assert told(mixed.table, ["genre"]) == pytest.approx(
        {key: plays[key] * viewers[key] for key in plays}
    )
    assert over.spent == mixed.spent == 0.0
    assert set(over.reused) == {"watched", "viewers"}
    assert asked.ledger.spent("understand") == before
    for name in ("value", "stderr", "lower", "upper"):
        assert over.table[name].null_count == 0


def test_sums_over_time(films: Any) -> None:
    asked, rows = films
    span = {"grain": "1d", "since": START, "until": START + DAYS * DAY}
    plays = joined(rows)
    days = [START + n * DAY for n in range(DAYS)]
    whole = told(ask(asked, "so_far", **span).table, ["period"])
    late = told(ask(asked, "lately", **span).table, ["period"])
    came = told(ask(asked, "reached", **span).table, ["period"])
    for day in days[3:]:
        assert whole[day,] == sum(row["at"] < day + DAY for row in plays)
        assert late[day,] == sum(day - 2 * DAY <= row["at"] < day + DAY for row in plays)
        assert came[day,] == people([row for row in plays if row["at"] < day + DAY])


@pytest.mark.parametrize("by", [[], ["genre"]])
def test_conversions(films: Any, by: list[str]) -> None:
    asked, rows = films
    orders = rows["orders"].to_pylist()
    plays = joined(rows)

    def converted(least: float) -> Callable[[list[Row]], float]:
        def count(members: list[Row]) -> float:
            found = {
                play["person"]
                for play in members
                for order in orders
                if order["buyer"] == play["person"] and order["price"] > least
                if 0 < order["at"] - play["at"] <= 2 * DAY
            }
            return len(found)

        return count

    buyers = told(ask(asked, "buyers", by).table, by) if by else None
    rate = ask(asked, "bought", by).table
    truth = grouped(plays, by, converted(1))
    base = grouped(plays, by, people)
    expected = {key: truth[key] / base[key] for key in truth}
    assert told(rate, by) == pytest.approx(expected)
    if buyers is not None:
        assert buyers == pytest.approx(grouped(plays, by, converted(-1)))


def test_content_is_counted_as_it_is(films: Any) -> None:
    asked, rows = films
    genres = rows["films"]["genre"].to_pylist()
    answer = ask(asked, "catalogue", "genre")
    assert told(answer.table, ["genre"]) == {(g,): genres.count(g) for g in ("drama", "comedy")}
    assert answer.left is None
    assert answer.spent == 0.0
    assert answer.table["stderr"].to_pylist() == [0.0, 0.0]
    assert ask(asked, "catalogue").table["value"].to_pylist() == [len(genres)]
    minutes = rows["films"]["minutes"].to_pylist()
    assert ask(asked, "length").table["value"].to_pylist() == [sum(minutes)]
    grown = ask(asked, "growth", "genre", grain="1w", since=START, until=START + DAYS * DAY)
    last = told(grown.table, ["genre", "period"])
    assert {k[0]: v for k, v in last.items() if k[1] == START + 21 * DAY} == {
        g: genres.count(g) for g in ("drama", "comedy")
    }


EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), max_size=25)


@hypothesis_settings(deadline=None)
@given(first=EVENTS, second=EVENTS, within=st.integers(1, 6))
def test_what_followed(
    first: list[tuple[int, int]], second: list[tuple[int, int]], within: int
) -> None:
    def columns(events: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
        array = np.array(events, np.int64).reshape(-1, 2)
        return array[:, 0], array[:, 1]

    truth = [any(q == p and 0 < b - a <= within for q, b in second) for p, a in first]
    assert followed(columns(first), columns(second), within).tolist() == truth


JOINABLE = st.lists(
    st.tuples(st.sampled_from([None, "f0", "f1", "f2", "f9"]), st.integers(0, 3)), max_size=20
)


@hypothesis_settings(deadline=None, max_examples=8)
@given(events=JOINABLE, keys=st.sets(st.sampled_from(["f0", "f1", "f2", "f3"])))
def test_a_join_neither_makes_nor_loses_rows(
    events: list[tuple[str | None, int]], keys: set[str]
) -> None:
    """Against two loops: of content, so to the last row."""
    genre = {film: f"g{i % 2}" for i, film in enumerate(sorted(keys))}
    for folder in memory.folder():
        rows = tables(1, plays=8) | {
            "films": pa.table(
                {
                    "film": pa.array(list(genre), pa.string()),
                    "genre": pa.array(list(genre.values()), pa.string()),
                    "minutes": pa.array([90] * len(genre), pa.int64()),
                }
            ),
            "releases": pa.table(
                {
                    "film": pa.array([film for film, _ in events], pa.string()),
                    "at": pa.array([START + day * DAY for _, day in events], pa.int64()),
                }
            ),
        }
        asked = project(folder / "films", rows)
        assert asked.query("premieres").table["value"].to_pylist() == [len(events)]
        found = told(asked.query("premieres", "genre").table, ["genre"])
        truth: dict[tuple[Any, ...], int] = defaultdict(int)
        for film, _ in events:
            for key in genre:
                if key == film:
                    truth[genre[key],] += 1
        assert found == dict(truth)


# ---------------------------------------------------------------------- intervals, of real noise


def test_answers_are_covered() -> None:
    """Every cell of one answer is a trial: 95% of intervals hold what is true, of ratios too.

    4,000 trials: the standard error of a coverage is 0.34%. Noise is discrete: an interval of a
    count holds a little more than it says.
    """
    count, each = 4000, 30
    ids = [f"f{i:04}" for i in range(count)]
    film = np.repeat(np.arange(count), 2 * each)
    rows = tables(3)
    rows["films"] = pa.table(
        {"film": ids, "genre": ["drama"] * count, "minutes": np.full(count, 90)}
    )
    rows["plays"] = pa.table(
        {
            "person": pa.array(np.repeat(np.arange(count * each), 2)).cast(pa.string()),
            "film": pa.DictionaryArray.from_arrays(film.astype(np.int32), ids).cast(pa.string()),
            "country": ["fr"] * len(film),
            "seconds": np.full(len(film), 100),
            "at": np.full(len(film), START + HOUR),
        }
    )
    truth = {"viewers": 30.0, "watched": 60.0, "each": 2.0, "over": 1.0, "mixed": 1800.0}
    for folder in memory.folder():
        made = everything(
            project(folder / "films", rows, epsilon=0.5, budget=400, groups=1, rows=2)
        )
        for metric, true in truth.items():
            table = ask(made, metric, "film").table
            lower, upper = (table[end].to_numpy() for end in ("lower", "upper"))
            held = float(((lower <= true) & (true <= upper)).mean())
            assert table.num_rows == count
            assert 0.935 <= held <= (0.975 if metric == "viewers" else 0.965), (metric, held)


def everything(made: Project) -> Project:
    """The project with cells shown whatever stands behind them, so that none is chosen by noise."""
    for node in made.plan.of("metric"):
        if "minimum" in node.spec:
            object.__setattr__(node, "spec", {**node.spec, "minimum": -1_000_000})
    return made


# ---------------------------------------------------------------------- once


def small(folder: Path, **settings: Any) -> Project:
    usual: dict[str, Any] = {"budget": 40, "epsilon": 1.0, "answers": 2, "groups": 2, "rows": 4}
    return project(folder / "films", tables(7), **(usual | settings))


def spends(asked: Project) -> list[str]:
    return [line.spend.state for line in asked.ledger.statement("understand")]


def test_the_same_question_costs_nothing(tmp_path: Path) -> None:
    asked = small(tmp_path)
    first = asked.query("watched", ["genre", "long"], grain="1w", purpose="understand")
    assert 0 < first.spent <= 1.0
    assert first.left == pytest.approx(asked.ledger.remaining("understand"))
    again = Project.load(asked.root).query(
        "watched", ("long", "genre"), grain="1w", purpose="understand", until=asked.now()
    )
    assert again.table.equals(first.table)
    assert again.spent == 0.0
    assert again.reused == ("watched",)
    assert spends(asked) == ["committed"]
    assert first.table.schema.metadata[b"spent"] == repr(first.spent).encode()


def test_other_rows_and_other_purposes_are_other_questions(tmp_path: Path) -> None:
    asked = small(tmp_path)
    one = asked.query("watched", purpose="understand")
    other = asked.query("watched", purpose="bill")
    assert one.spent > 0
    assert other.spent > 0
    assert len(asked.ledger.statement("bill")) == 1
    pq.write_table(tables(8)["plays"], asked.root / "plays.parquet")
    assert asked.query("watched", purpose="understand").spent > 0
    assert len(asked.ledger.statement("understand")) == 2


def test_the_ledger_does_not_tell_rows_that_somebody_thinks_of(tmp_path: Path) -> None:
    """Else whoever has all rows but one person's could try them out."""
    here, there = small(tmp_path / "a"), small(tmp_path / "b")
    held = [(each.root / "plays.parquet").read_bytes() for each in (here, there)]
    assert held[0] == held[1]
    node = here.plan.nodes["viewers"]
    assert version(here, node) == version(Project.load(here.root), node)
    assert version(here, node) != version(there, node)
    [secret] = (here.state / "answers").glob("*.secret")
    assert secret.stat().st_mode & 0o777 == 0o600
    assert len(secret.read_bytes()) == 32


def test_answers_of_the_lake_outlast_what_changes_no_row(tmp_path: Path) -> None:
    asked = small(tmp_path)
    path, settings = asked.root / "plays.parquet", asked.root / "tacit.toml"
    bound = '[sources.plays]\npath = "plays.parquet"\n'
    settings.write_text(settings.read_text().replace(bound, ""))
    asked = Project.load(asked.root)
    asked.ingest("plays", path)
    first = asked.query("viewers", "genre")
    asked.ingest("plays", path)  # the same file again brings nothing
    assert asked.query("viewers", "genre").spent == 0.0
    pq.write_table(tables(9)["plays"], path)
    asked.ingest("plays", path)
    later = asked.query("viewers", "genre")
    assert later.spent > 0
    assert first.spent > 0


CRASH = """
import os, signal, sys
from tacit.project import Project, central_run
from tacit.project.central_compute import Computing
from tacit.govern.ledger import Ledger, Reservation

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

at = sys.argv[2]
if at == "reserve":
    Ledger.reserve = die
elif at == "noise":
    Computing.table = die
elif at == "keep":
    central_run.replace_file = die
elif at == "commit":
    Reservation.commit = die
Project.load(sys.argv[1]).query("viewers", "genre")
"""


@pytest.mark.parametrize(
    "at",
    [
        pytest.param("reserve", marks=pytest.mark.slow),
        pytest.param("noise", marks=pytest.mark.slow),
        pytest.param("keep", marks=pytest.mark.slow),
        pytest.param("commit", marks=pytest.mark.slow),
    ],
)
def test_a_crash_costs_no_more_than_was_drawn(tmp_path: Path, at: str) -> None:
    """Killed anywhere, the question is asked again; it costs again if noise was drawn, and lost."""
    asked = small(tmp_path)
    code = subprocess.run(
        [sys.executable, "-c", CRASH, str(asked.root), at],
        env={**os.environ, "NUMBA_DISABLE_JIT": os.environ.get("NUMBA_DISABLE_JIT", "0")},
        check=False,
        capture_output=True,
    ).returncode
    assert code == -signal.SIGKILL
    committed = [line for line in asked.ledger.statement() if line.spend.state == "committed"]
    assert not committed
    first = asked.query("viewers", "genre")
    again = asked.query("viewers", "genre")
    assert again.table.equals(first.table)
    draws = 2 if at in ("noise", "keep") else 1
    assert spends(asked) == ["committed"] * draws
    assert asked.ledger.spent("understand") <= draws + 1e-9


def test_two_who_ask_at_once_pay_once(tmp_path: Path) -> None:
    root = small(tmp_path).root
    found: list[Any] = []
    gate = threading.Barrier(4, timeout=120)

    def ask() -> None:
        asked = Project.load(root)
        gate.wait()
        found.append(asked.query("viewers", "genre"))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(answer.table.equals(found[0].table) for answer in found)
    assert sorted(answer.spent > 0 for answer in found) == [False, False, False, True]
    assert spends(Project.load(root)) == ["committed"]


# ---------------------------------------------------------------------- what is refused, or hidden


def test_no_more_answers_than_the_plan_has_budget_for(tmp_path: Path) -> None:
    asked = small(tmp_path)
    asked.query("viewers", "genre")
    asked.query("viewers", "long")
    with pytest.raises(QueryError) as caught:
        asked.query("viewers", "film")
    assert caught.value.code == "T898"
    assert "answers=3" in caught.value.fix
    assert asked.query("viewers", "genre").spent == 0.0


def test_another_public_domain_is_another_answer(tmp_path: Path) -> None:
    """The rows are the same, and the cells are not: noise is drawn anew, and paid for. Content that
    is delivered every day would spend every day, past all that the plan sets aside."""
    asked = small(tmp_path)
    module_of = asked.root / "signals.py"
    text = module_of.read_text()
    assert text.count('"genre": "films.genre", "film": "film"') == 1
    module_of.write_text(text.replace('"genre": "films.genre", "film": "film"', '"film": "film"'))
    for count in (8, 9):
        pq.write_table(tables(7, films=count)["films"], asked.root / "films.parquet")
        asked = Project.load(asked.root)
        assert asked.query("viewers", "film").spent > 0
        assert asked.query("viewers", "film").spent == 0.0
    assert spends(asked) == ["committed"] * 2
    pq.write_table(tables(7, films=10)["films"], asked.root / "films.parquet")
    with pytest.raises(QueryError, match="T898"):
        Project.load(asked.root).query("viewers", "film")
    assert spends(asked) == ["committed"] * 2


def test_an_exhausted_budget_refuses_and_counts_no_question(tmp_path: Path) -> None:
    """The plan's own bill fits; what others spent does not leave enough."""
    asked = small(tmp_path)
    whole = CentralQuery(source="plays", measures=(Measure(kind="count"),), epsilon=39.5)
    answer(asked, whole, purpose="understand")
    with pytest.raises(BudgetError) as caught:
        asked.query("viewers", "genre")
    assert caught.value.code == "T501"
    assert not module._questions(asked, asked.plan.nodes["viewers"], "understand")
    assert spends(asked) == ["committed"]


def test_a_question_counts_exactly_if_something_is_set_aside_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise PrivacyError("changed", code="T561", fix="rename it")

    asked = small(tmp_path)
    node = asked.plan.nodes["viewers"]
    with monkeypatch.context() as patched:
        patched.setattr("tacit.govern.ledger.Ledger.reserve", fails)
        with pytest.raises(PrivacyError):
            asked.query("viewers", "genre")
    assert not module._questions(asked, node, "understand")
    with monkeypatch.context() as patched:
        patched.setattr("tacit.project.central_run.Computing", fails)
        with pytest.raises(PrivacyError):
            asked.query("viewers", "genre")
    assert spends(asked) == ["refunded"]  # the engine failed: nothing was drawn
    assert not module._questions(asked, node, "understand")
    asked.query("viewers", "genre")
    with monkeypatch.context() as patched:
        patched.setattr("tacit.govern.ledger.Ledger.reserve", fails)
        with pytest.raises(PrivacyError):
            asked.query("viewers", "genre")
    assert len(module._questions(asked, node, "understand")) == 1


def test_an_answer_that_failed_counts_among_those_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan's bill holds `answers` of them. Asking one question again and again, each time failing
    once noise is drawn, must not spend more."""
    asked = small(tmp_path)

    def fails(*_: object) -> None:
        raise ValueError("after the noise")

    def drawn() -> int:
        return len([state for state in spends(asked) if state == "committed"])

    with monkeypatch.context() as patched:
        patched.setattr("tacit.project.central_run.Computing.table", fails)
        for tries in (1, 2):
            with pytest.raises(PrivacyError, match="T878"):
                asked.query("viewers", "genre")
            assert drawn() == tries
        with pytest.raises(BudgetError) as caught:
            asked.query("viewers", "genre")
    assert caught.value.code == "T548"
    assert "answers=3" in caught.value.fix
    with pytest.raises(BudgetError, match="T548"):  # before anything runs, mended or not
        asked.query("viewers", "genre")
    with pytest.raises(QueryError, match="T898"):
        asked.query("viewers", "long")
    assert spends(asked) == ["committed"] * 2
    assert asked.ledger.spent("understand") <= 2.0 + 1e-9


def test_the_second_try_is_answered_and_then_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = small(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("tacit.project.central_run.Computing.table", lambda *_: 1 / 0)
        with pytest.raises(PrivacyError, match="T878"):
            asked.query("viewers", "genre")
    first = asked.query("viewers", "genre")
    assert first.spent > 0
    assert asked.query("viewers", "genre").table.equals(first.table)
    with pytest.raises(QueryError, match="T898"):
        asked.query("viewers", "long")


def test_answers_are_kept_as_long_as_they_may_be(tmp_path: Path) -> None:
    asked = small(tmp_path)
    asked.query("viewers", "genre")
    files = list((asked.state / "answers").glob("*.arrow"))
    assert len(files) == 1
    settings = asked.root / "tacit.toml"
    later = "as_of = 2026-06-01T00:00:00+00:00"
    settings.write_text(
        "\n".join(
            later if line.startswith("as_of") else line for line in settings.read_text().split("\n")
        )
    )
    aged = Project.load(asked.root)
    with pytest.raises(QueryError) as caught:
        aged.query("viewers", "genre")
    assert caught.value.code == "T898"
    assert not list((asked.state / "answers").glob("*.arrow"))


def test_rows_that_do_not_fit_are_not_quoted(tmp_path: Path) -> None:
    asked = small(tmp_path)
    orders = tables(7)["orders"]
    prices = pa.array([10**16 + 4711, *range(orders.num_rows - 1)])
    pq.write_table(orders.set_column(1, "price", prices), asked.root / "orders.parquet")
    with pytest.raises(TacitError, match="4711"):
        asked.rows("orders")
    with pytest.raises(TacitError) as caught:
        asked.query("bought")
    assert caught.value.code == "T877"
    assert "4711" not in str(caught.value)
    assert spends(asked) == []


def test_few_people_are_hidden(tmp_path: Path) -> None:
    """By the noisy count: a cell with nobody in it is not shown, however its noise falls."""
    asked = small(tmp_path, minimum=12, epsilon=20.0, budget=800, groups=9)
    answer = asked.query("watched", "film", purpose="understand")
    viewers = grouped(joined(tables(7)), ["film"], people)
    shown = set(answer.table["film"].to_pylist())
    assert {film for (film,), count in viewers.items() if count > 16} <= shown | {"f8"}
    assert not {film for (film,), count in viewers.items() if count < 8} & shown
    assert answer.hidden == 8 - len(shown)


def test_cells_that_are_chosen_by_their_people_do_not_add_up(tmp_path: Path) -> None:
    asked = small(tmp_path, epsilon=5.0, budget=500)
    with pytest.raises(QueryError) as caught:
        ask(asked, "so_far", "country", grain="1w")
    assert caught.value.code == "T899"


# ---------------------------------------------------------------------- roll-ups


def test_finer_answers_are_rolled_up_at_no_cost(tmp_path: Path) -> None:
    asked = everything(small(tmp_path, answers=3))
    span: dict[str, Any] = {"since": START, "until": START + DAYS * DAY, "purpose": "understand"}
    fine = asked.query("watched", ["genre", "long"], grain="1d", **span)
    before = asked.ledger.spent("understand")
    coarse = asked.query("watched", "genre", grain="1w", rollup=True, **span)
    assert coarse.spent == 0.0
    assert asked.ledger.spent("understand") == before
    assert "sum of its answer by genre, long, 1d" in coarse.notes[0]
    assert "rows in which long is null, or not a listed value, are not in it" in coarse.notes[0]
    assert "a person counts in 2 cells of a period there" in coarse.notes[0]
    cells = asked.query("watched", ["genre", "long"], grain="1d", **span)
    assert cells.table.equals(fine.table)
    # 2 · 7 cells of the same σ each
    [sigma] = set(fine.table["stderr"].to_pylist())
    assert coarse.table["stderr"].to_pylist() == pytest.approx(
        [sigma * 14**0.5] * coarse.table.num_rows
    )
    whole = asked.query("watched", rollup=True, **span)
    assert whole.table["stderr"][0].as_py() == pytest.approx(sigma * (4 * DAYS) ** 0.5)
    paid = asked.query("watched", "genre", grain="1w", **span)
    assert paid.spent > 0
    assert "could have been rolled up" in paid.notes[0]


def test_people_are_not_rolled_up(tmp_path: Path) -> None:
    """Somebody who came on two days is one person."""
    asked = small(tmp_path)
    asked.query("viewers", "genre", grain="1d")
    assert asked.query("viewers", "genre", grain="1w", rollup=True).spent > 0


def test_neither_are_weeks_to_months_nor_chosen_cells(tmp_path: Path) -> None:
    asked = small(tmp_path, answers=4)
    asked.query("watched", "country", grain="1w", purpose="understand")
    assert asked.query("watched", grain="1mo", purpose="understand", rollup=True).spent > 0
    assert asked.query("watched", grain="1w", purpose="understand", rollup=True).spent > 0


# ---------------------------------------------------------------------- the command


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(small(tmp_path, epsilon=20.0, budget=900).root)
    assert main(["query", "viewers", "--by", "genre", "--grain", "1w", "--project", root]) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[0].split() == ["genre", "period", "value", "±", "95%", "interval"]
    assert "drama" in told
    assert "2026-01-05" in told
    assert "of 900 is left for understand at δ 1e-05" in told
    assert "spent ε" in told
    ask = ["query", "viewers", "--by", "genre", "--grain", "1w", "--project", root]
    assert main([*ask, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["spent"] == 0.0
    assert data["reused"] == ["viewers"]
    assert {"genre", "period", "value", "stderr", "lower", "upper"} == set(data["rows"][0])
    assert main([*ask, "--csv"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == '"genre","period","value","stderr","lower","upper"'
    assert len(out.splitlines()) == len(data["rows"]) + 1
    assert "spent nothing: it was there" in err
    assert main(["query", "catalogue", "--by", "genre", "--project", root]) == 0
    assert "it is about nobody" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "hint", "given"),
    [
        ("T890", "did you mean 'viewers'?", ["viewer"]),
        ("T891", "did you mean 'genre'?", ["viewers", "--by", "gender"]),
        ("T892", "1h, 1d, 1w, 1mo", ["viewers", "--grain", "2d"]),
        ("T893", "understand", ["viewers", "--purpose", "bill"]),
        ("T893", "bill, understand", ["watched"]),
        ("T894", "2026-01-31", ["viewers", "--since", "yesterday"]),
        ("T895", "did you mean 'genre'?", ["viewers", "--where", "gender = 'x'"]),
        ("T892", "--grain", ["so_far", "--purpose", "understand"]),
        ("T892", "divides", ["lately", "--grain", "1w", "--purpose", "understand"]),
    ],
)
def test_what_the_command_refuses(
    films: Any, capsys: pytest.CaptureFixture[str], code: str, hint: str, given: list[str]
) -> None:
    assert main(["query", *given, "--project", str(films[0].root)]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"{code}: ")
    assert hint in told


# ---------------------------------------------------------------------- attacks


def suppressed(asked: Project, by: list[str]) -> tuple[Any, dict[Any, float], dict[Any, float]]:
    """An answer day by day: all cells as they were kept, those that are shown, and those that are
    not."""
    span: dict[str, Any] = {"since": START, "until": START + 9 * DAY, "purpose": "understand"}
    shown = told(asked.query("watched", by, grain="1d", **span).table, [*by, "period"])
    node = asked.plan.nodes["watched"]
    [question] = module.asked_before(asked, node, "understand")
    cells = module.measured(asked, node, question).cells
    every = dict(zip(cells.rows(), cells.value.tolist(), strict=True))
    hidden = {key: value for key, value in every.items() if key not in shown}
    assert 0 < len(hidden) < len(every)
    return span, shown, hidden


def test_sums_over_time_tell_no_cell_that_is_hidden(tmp_path: Path) -> None:
    """Attack: the difference of two running sums is the cell between them, shown or not."""
    asked = small(tmp_path, minimum=5, epsilon=100.0, budget=9000, answers=3)
    span, shown, hidden = suppressed(asked, ["genre"])
    for name, days in (("so_far", 99), ("lately", 3)):
        answer = asked.query(name, ["genre"], grain="1d", **span)
        assert answer.spent == 0.0
        sums = told(answer.table, ["genre", "period"])
        for (genre, period), total in sums.items():
            since = period - (days - 1) * DAY
            inside = [v for (g, p), v in shown.items() if g == genre and since <= p <= period]
            assert inside
            assert total == sum(inside)
        assert (
            f"{len(hidden)} cells of watched with few people are not in these sums" in answer.notes
        )


def test_roll_ups_tell_no_cell_that_is_hidden(tmp_path: Path) -> None:
    """Attack: a sum of cells less those that are shown is the one that is not."""
    asked = small(tmp_path, minimum=5, epsilon=100.0, budget=9000, answers=3)
    span, shown, hidden = suppressed(asked, ["genre"])
    answer = asked.query("watched", ["genre"], rollup=True, **span)
    assert answer.spent == 0.0
    for (genre,), total in told(answer.table, ["genre"]).items():
        assert total == sum(value for (g, _), value in shown.items() if g == genre)
    assert f"{len(hidden)} cells of watched with few people are not in these sums" in answer.notes


@pytest.mark.parametrize("wrong", [{"confidence": 0.5}, {"by": "genre"}, {"since": "yesterday"}])
def test_a_question_of_another_release_is_not_passed_over(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    """Attack: a record that is not read would leave room for one question more."""
    asked = small(tmp_path)
    asked.query("watched", ["genre"], grain="1w", purpose="understand")
    [record] = asked.control.read("release", "metric:watched")
    body = dict(record.body) | {"asked": dict(record.body["asked"]) | wrong}
    asked.control.append("release", "metric:watched", body)
    with pytest.raises(StoreError, match="T708"):
        asked.query("watched", purpose="understand")
