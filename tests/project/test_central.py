"""Private answers over a project's rows: right, paid once, whatever breaks off, and refused by name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import small_project
import tacit.project.central_run as central_run
from tacit.errors import BudgetError, FlowError, PrivacyError, StoreError, TacitError
from tacit.privacy.loss import Loss
from tacit.project import Project
from tacit.project.central import CentralQuery, Measure, answer, claim
from tacit.store.atomic import alone

RICH = small_project.only(
    small_project.SIGNALS.replace("epsilon=20, delta=1e-5", "epsilon=1e9, delta=1e-3"),
    "first", "bought", "taste", "demand", "popular", "recommender", "space", "training",
)  # fmt: skip
GENRES = pa.table({"genre": ["nowhere", *(f"genre{i}" for i in range(7, -1, -1))]})
COUNT = Measure(kind="count")
PERSONS = Measure(kind="persons")
WEIGHT = {"column": "catalogue.weight", "low": 0, "high": 60}
MANY: dict[str, Any] = {"max_groups": 100, "max_rows": 1000}
NO_NOISE = 1000.0


def query(**given: Any) -> CentralQuery:
    return CentralQuery(
        **{"source": "visits", "measures": (PERSONS,), "epsilon": 1.0, "delta": 1e-6} | given
    )


@pytest.fixture
def rich(tmp_path: Path) -> Project:
    """With budget for answers of no noise to speak of."""
    return small_project.project(tmp_path, RICH)


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    return small_project.project(tmp_path)


def joined() -> pa.Table:
    """The rows with what content says of them."""
    return small_project.history().join(small_project.catalogue(), "item")


def by_genre(rows: pa.Table, name: str) -> dict[str, pa.Table]:
    return {g: rows.filter(pc.equal(rows["genre"], g)) for g in rows["genre"].unique().to_pylist()}


def test_with_no_noise_to_speak_of_it_is_the_truth(rich: Project) -> None:
    measures = (
        COUNT,
        PERSONS,
        Measure(kind="sum", step=1, **WEIGHT),
        Measure(kind="mean", step=0.5, **WEIGHT, name="mean"),
        Measure(kind="quantile", step=1, at=(0.25, 0.5), **WEIGHT, name="quartile"),
        Measure(kind="histogram", step=20, **WEIGHT, name="bars"),
    )
    asked = query(
        keys=(("genre", "catalogue.genre"),), measures=measures, public_keys=GENRES,
        epsilon=NO_NOISE, delta=0.0, max_groups=8, max_rows=60,
    )  # fmt: skip
    found = answer(rich, asked, purpose="discover").table
    assert found["genre"].to_pylist() == GENRES["genre"].to_pylist()
    rows = by_genre(joined(), "genre")
    for row in found.to_pylist():
        true = rows.get(row["genre"])
        if true is None:
            assert abs(row["count"]) <= 12 * row["count_error"]
            assert round(row["persons"]) == 0
            continue
        weight = [w for w in true["weight"].to_pylist() if w is not None and not math.isnan(w)]
        assert row["count"] == pytest.approx(true.num_rows, abs=row["count_error"] * 12)
        assert row["persons"] == pytest.approx(len(true["person"].unique()), abs=1)
        assert row["count_lower"] <= row["count"] <= row["count_upper"]
        error = row["sum_error"] * 12
        assert row["sum"] == pytest.approx(sum(weight), abs=error)
        assert row["mean"] == pytest.approx(np.mean(weight), abs=row["mean_error"] * 12 + 0.5)
        bars = np.histogram(weight, [-1e-9, 20, 40, 1e9])[0]
        assert np.abs(np.array(row["bars"]) - bars).max() <= row["bars_error"] * 12
        lower, upper = row["quartile_lower"], row["quartile_upper"]
        for at, low, high in zip((0.25, 0.5), lower, upper, strict=True):
            assert low <= np.quantile(weight, at, method="inverted_cdf") <= high


def test_keys_that_are_not_public(rich: Project) -> None:
    asked = query(keys=(("genre", "catalogue.genre"),), epsilon=NO_NOISE, max_groups=8)
    found = answer(rich, asked, purpose="discover").table
    rows = by_genre(joined(), "genre")
    true = {g: len(each["person"].unique()) for g, each in rows.items()}
    assert found["genre"].to_pylist() == sorted(true)
    for row in found.to_pylist():
        assert abs(row["persons"] - true[row["genre"]]) <= 1
    strict = answer(rich, query(keys=("item",), epsilon=0.1), purpose="discover").table
    assert strict.num_rows == 0  # with so little, no item has people enough
    assert strict.schema.field("item").type == pa.string()


def test_the_best_keys(rich: Project) -> None:
    asked = query(
        keys=(("genre", "catalogue.genre"),), public_keys=GENRES, epsilon=NO_NOISE, max_groups=8,
        measures=(Measure(kind="top_k", at=3, name="people"),),
    )  # fmt: skip
    found = answer(rich, asked, purpose="discover").table
    rows = by_genre(joined(), "genre")
    true = sorted((len(each["person"].unique()) for each in rows.values()), reverse=True)
    assert [round(v) for v in found["people"].to_pylist()] == true[:3]


def test_everything_at_once_without_keys(rich: Project) -> None:
    asked = query(measures=(COUNT, PERSONS), epsilon=NO_NOISE, max_rows=500, where="item <> ''")
    found = answer(rich, asked, purpose=rich.declarations.named["discover"])  # type: ignore[arg-type]
    assert round(found.table["persons"][0].as_py()) == small_project.PEOPLE
    rows = small_project.history().num_rows
    assert abs(found.table["count"][0].as_py() - rows) <= 8 * found.table["count_error"][0].as_py()


def test_rows_of_the_lake_are_answered_the_same(tmp_path: Path) -> None:
    settings = small_project.SETTINGS.replace('[sources.visits]\npath = "history.parquet"\n', "")
    project = small_project.project(tmp_path, RICH, settings)
    project.ingest("visits", small_project.history().select(["person", "item", "at"]))
    found = answer(project, query(epsilon=NO_NOISE), purpose="discover").table
    assert round(found["persons"][0].as_py()) == small_project.PEOPLE


@pytest.mark.slow
def test_spark_answers_the_same(tmp_path: Path) -> None:
    """From the lake's files, with content joined; noise apart, which is next to none."""
    settings = small_project.SETTINGS.replace('[sources.visits]\npath = "history.parquet"\n', "")
    spark = settings.replace("as_of", 'engine = "spark"\nas_of', 1)
    project = small_project.project(tmp_path, RICH, spark)
    project.ingest("visits", small_project.history().select(["person", "item", "at"]))
    weight = Measure(kind="histogram", step=20, **WEIGHT, name="bars")
    asked = query(
        keys=(("genre", "catalogue.genre"),), public_keys=GENRES, measures=(PERSONS, weight),
        epsilon=NO_NOISE, delta=0.0, max_groups=8, max_rows=60,
    )  # fmt: skip
    found = answer(project, asked, purpose="discover").table
    small_project.write(tmp_path, RICH, settings)
    local = answer(Project.load(tmp_path), asked, purpose="discover", epoch="local").table
    for one, other in zip(found.to_pylist(), local.to_pylist(), strict=True):
        assert abs(one["persons"] - other["persons"]) <= 1
        apart = np.abs(np.array(one["bars"]) - np.array(other["bars"]))
        assert apart.max() <= 12 * one["bars_error"]


def test_adversarial_rows(tmp_path: Path) -> None:
    """No row of one person, whatever is in it, moves an answer past its bound, or breaks it."""
    signals = RICH.replace(
        '"at": time()},\n)\nlooks', '"at": time(), "price": number()},\n)\nlooks'
    )
    settings = small_project.SETTINGS.replace(
        '[sources.visits]\npath = "history', '[sources.visits]\npath = "visits'
    )
    folder = small_project.write(tmp_path, signals, settings)
    odd = [math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, None]
    n = 2_000
    rows = pa.table(
        {
            "person": pa.array([*(["flood"] * n), *(f"p{i}" for i in range(50)), *(["odd"] * 7), None]),
            "item": pa.array([*(["i"] * n), *(["i"] * 50), *(["i"] * 6), None, "i"]),
            "at": pa.array([small_project.NOW] * (n + 58), pa.int64()).cast(pa.timestamp("us")),
            "price": pa.array([1e300] * n + [2.0] * 50 + odd + [9.0], pa.float64()),
        }
    )  # fmt: skip
    pq.write_table(rows, folder / "visits.parquet")
    price = {"column": "price", "low": 0, "high": 10, "step": 1}
    asked = query(
        keys=("item",), public_keys=pa.table({"item": ["i"]}), epsilon=NO_NOISE, delta=0.0,
        measures=(
            COUNT, PERSONS, Measure(kind="sum", **price), Measure(kind="mean", **price),
            Measure(kind="histogram", **price),
        ), max_rows=4,
    )  # fmt: skip
    [row] = answer(Project.load(folder), asked, purpose="discover").table.to_pylist()
    assert round(row["count"]) == 4 + 50 + 4
    assert round(row["persons"]) == 52
    # The flood: four rows of 10. The odd one: inf 10, -inf 0, 1e308 10, -1e308 0, 5e-324 0 of 5.
    assert row["sum_price"] == pytest.approx(40 + 100 + 20, abs=8 * row["sum_price_error"])
    assert row["mean_price"] == pytest.approx((40 + 100 + 16) / 58, abs=0.2)
    assert sum(row["histogram_price"]) == pytest.approx(58, abs=2)


# ---------------------------------------------------------------------- the ledger


def spends(project: Project) -> list[str]:
    return [line.spend.state for line in project.ledger.statement("discover")]


def test_the_same_question_costs_once(shop: Project) -> None:
    first = answer(shop, query(), purpose="discover")
    again = answer(shop, query(), purpose="discover")
    assert not first.reused
    assert first.spent == first.loss == first.claim.loss
    assert again.reused
    assert again.spent == Loss()
    assert again.table.equals(first.table)
    assert spends(shop) == ["committed"]
    fresh = answer(Project.load(shop.root), query(), purpose="discover")
    assert fresh.reused
    assert fresh.table.equals(first.table)


def test_another_question_or_epoch_costs_again(shop: Project) -> None:
    first = answer(shop, query(), purpose="discover")
    assert claim(shop, query(max_rows=2)).name != first.claim.name
    later = answer(shop, query(), purpose="discover", epoch=1)
    assert not later.reused
    assert later.released == first.released
    other = answer(shop, query(where="item <> 'i'"), purpose="discover")
    assert not other.reused
    assert spends(shop) == ["committed"] * 3


def test_a_claim_alone_costs_nothing(shop: Project) -> None:
    made = claim(shop, query(measures=(COUNT, PERSONS)))
    assert made.epsilon <= 1.0 + 1e-9
    assert made.adjacency == "add or remove one person, with all of their rows"
    assert spends(shop) == []


def test_it_is_reserved_before_anything_is_computed(
    shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        assert spends(shop) == ["reserved"]
        raise KeyboardInterrupt

    monkeypatch.setattr(central_run, "Computing", crash)
    with pytest.raises(KeyboardInterrupt):
        answer(shop, query(), purpose="discover")
    monkeypatch.undo()
    assert spends(shop) == ["reserved"]  # it counts until it is taken up
    assert not answer(shop, query(), purpose="discover").reused
    assert spends(shop) == ["committed"]


def test_a_crash_before_the_commit_gives_the_kept_answer(
    shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer was on the disk; another one would be a second release for the price of one."""
    kept: list[bytes] = []

    def crash(_: object, result: bytes) -> None:
        kept.append(result)
        raise KeyboardInterrupt

    monkeypatch.setattr("tacit.govern.reservation.Reservation.commit", crash)
    with pytest.raises(KeyboardInterrupt):
        answer(shop, query(), purpose="discover")
    monkeypatch.undo()
    assert spends(shop) == ["drawing"]
    found = answer(Project.load(shop.root), query(), purpose="discover")
    assert found.table.equals(pa.ipc.open_stream(kept[0]).read_all())
    assert spends(shop) == ["committed"]


def test_a_kept_answer_that_is_damaged_before_the_commit_is_not_committed(
    shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_: object, result: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tacit.govern.reservation.Reservation.commit", crash)
    with pytest.raises(KeyboardInterrupt):
        answer(shop, query(), purpose="discover")
    monkeypatch.undo()
    [path] = (shop.state / "answers").glob("*.arrow")
    for damaged in (b"", b"nothing", path.read_bytes()[:-200]):
        path.write_bytes(damaged)
        with pytest.raises(StoreError) as caught:
            answer(Project.load(shop.root), query(), purpose="discover")
        assert caught.value.code == "T702"
        assert spends(shop) == ["drawing"]  # paid for, and whoever has the file may restore it


def test_a_crash_once_noise_is_drawn_is_paid_for(
    shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sees the noise, and ends the process, would have another draw for nothing."""

    def crash(*_: object) -> None:
        assert spends(shop) == ["drawing"]
        raise KeyboardInterrupt

    monkeypatch.setattr(central_run, "replace_file", crash)
    with pytest.raises(KeyboardInterrupt):
        answer(shop, query(), purpose="discover")
    monkeypatch.undo()
    fresh = Project.load(shop.root)
    assert spends(fresh) == ["drawing"]
    assert fresh.ledger.spent("discover") == pytest.approx(1.0)
    assert not answer(fresh, query(), purpose="discover").reused
    assert spends(fresh) == ["committed"] * 2
    assert fresh.ledger.spent("discover") > 1.0
    assert answer(fresh, query(), purpose="discover").reused
    assert spends(fresh) == ["committed"] * 2


def test_a_full_disk_gives_no_draw_for_nothing(
    shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer cannot be kept, and that it is spent cannot be written either: the mark was."""

    def full(*_: object, **__: object) -> None:
        raise StoreError("full", code="T701", fix="free some space")

    drawn: list[int] = []
    real = central_run.Computing.table
    monkeypatch.setattr(
        central_run.Computing, "table", lambda self, keys: drawn.append(1) or real(self, keys)
    )
    with monkeypatch.context() as patched:
        patched.setattr(central_run, "replace_file", full)
        patched.setattr("tacit.govern.reservation.Reservation.commit", full)
        with pytest.raises(StoreError, match="full"):
            answer(shop, query(), purpose="discover")
    assert (len(drawn), spends(shop)) == (1, ["drawing"])
    with monkeypatch.context() as patched:  # the mark itself: nothing was drawn, nothing is spent
        patched.setattr("tacit.govern.reservation.Reservation.drawing", full)
        with pytest.raises(StoreError, match="full"):
            answer(shop, query(), purpose="discover")
    assert (len(drawn), spends(shop)) == (1, ["committed", "reserved"])
    assert not answer(shop, query(), purpose="discover").reused
    assert (len(drawn), spends(shop)) == (2, ["committed"] * 2)


def test_a_failure_once_noise_is_drawn_is_paid_for(
    shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sees it learns something, and may not have noise drawn anew for nothing."""

    def full(*_: object) -> None:
        raise StoreError("full", code="T701", fix="free some space")

    def fails(*_: object) -> None:
        raise ValueError("4711 people")

    monkeypatch.setattr(central_run, "replace_file", full)
    with pytest.raises(StoreError, match="full"):
        answer(shop, query(), purpose="discover")
    assert spends(shop) == ["committed"]
    monkeypatch.undo()
    monkeypatch.setattr(central_run.Computing, "table", fails)
    with pytest.raises(PrivacyError) as caught:
        answer(shop, query(), purpose="discover")
    assert caught.value.code == "T878"
    assert "4711" not in str(caught.value)
    assert caught.value.__context__ is None
    assert spends(shop) == ["committed"] * 2
    monkeypatch.undo()
    found = answer(shop, query(), purpose="discover")
    assert not found.reused
    again = answer(shop, query(), purpose="discover")
    assert again.reused
    assert again.table.equals(found.table)
    assert spends(shop) == ["committed"] * 3


def test_of_too_many_chosen_keys_the_first_are_answered(
    rich: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many there are came of noise: an error that named it would be an answer for nothing."""
    bars = Measure(kind="histogram", step=20, **WEIGHT, name="bars")
    asked = query(
        keys=(("genre", "catalogue.genre"),), measures=(bars,), epsilon=NO_NOISE, max_groups=8
    )
    monkeypatch.setattr("tacit.project.central_query.MOST_CELLS", 3 * 3 + 2)
    found = answer(rich, asked, purpose="discover").table
    assert found["genre"].to_pylist() == sorted(by_genre(joined(), "genre"))[:3]
    assert spends(rich) == ["committed"]


def test_rows_that_are_not_there_cost_nothing(shop: Project) -> None:
    (shop.root / "history.parquet").unlink()
    with pytest.raises(TacitError) as caught:
        answer(shop, query(), purpose="discover")
    assert caught.value.code == "T301"
    assert spends(shop) == []


def test_rows_that_do_not_fit_are_not_quoted(shop: Project) -> None:
    """An error that quotes one row would tell of one person."""
    rows = small_project.history()
    at = pa.array([10**13 + 4711, *range(rows.num_rows - 1)]).cast(pa.timestamp("s"))
    pq.write_table(
        rows.set_column(rows.schema.get_field_index("at"), "at", at),
        shop.root / "history.parquet",
    )
    with pytest.raises(TacitError, match="4711"):
        shop.rows("visits")
    with pytest.raises(TacitError) as caught:
        answer(shop, query(), purpose="discover")
    assert caught.value.code == "T877"
    assert "4711" not in str(caught.value)
    assert caught.value.__context__ is None
    assert spends(shop) == ["reserved"]  # that they do not fit is told, so it is paid for
    pq.write_table(rows, shop.root / "history.parquet")
    assert not answer(shop, query(), purpose="discover").reused
    assert spends(shop) == ["committed"]


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_an_answer_that_was_paid_for_is_not_made_anew(shop: Project, damage: str) -> None:
    answer(shop, query(), purpose="discover")
    [path] = (shop.state / "answers").glob("*.arrow")
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes().replace(b"persons", b"persona"))
    with pytest.raises(StoreError) as caught:
        answer(shop, query(), purpose="discover")
    assert caught.value.code == "T702"


def test_two_at_once_do_not_answer_twice(shop: Project) -> None:
    answer(shop, query(), purpose="discover")
    [path] = (shop.state / "answers").glob("*.arrow")
    with alone(path.with_suffix(".lock")), pytest.raises(StoreError) as caught:
        answer(shop, query(), purpose="discover")
    assert caught.value.code == "T703"


def test_a_spent_budget_computes_nothing(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(central_run, "Computing", None)
    with pytest.raises(BudgetError) as caught:
        answer(shop, query(epsilon=25.0), purpose="discover")
    assert caught.value.code == "T501"
    assert spends(shop) == []


# ---------------------------------------------------------------------- cohorts and refusals


def test_few_people_are_not_answered(rich: Project) -> None:
    rows = by_genre(joined(), "genre")
    true = {g: len(each["person"].unique()) for g, each in rows.items()}
    cut = sorted(true.values())[len(true) // 2]
    asked = {"keys": (("genre", "catalogue.genre"),), "epsilon": NO_NOISE, "max_groups": 8}
    shown = answer(
        rich, query(**asked, public_keys=GENRES, minimum=cut, measures=(COUNT,)), purpose="discover"
    ).table
    for row in shown.to_pylist():
        hidden = true.get(row["genre"], 0) < cut
        assert (row["count"] is None) == hidden
        assert (row["count_lower"] is None) == hidden
    named = answer(rich, query(**asked, minimum=cut), purpose="discover").table
    assert set(named["genre"].to_pylist()) == {g for g, n in true.items() if n >= cut}


PRICE = {"kind": "sum", "column": "catalogue.weight", "low": 0, "high": 10, "step": 1}
BY = (("genre", "catalogue.genre"),)


@pytest.mark.parametrize(
    "given",
    [
        {"measures": ()},
        {"measures": (Measure(kind="median"),)},  # type: ignore[arg-type]
        {"measures": (COUNT, COUNT)},
        {"measures": (Measure(kind="sum"),)},
        {"measures": (Measure(**PRICE | {"high": 0}),)},  # type: ignore[arg-type]
        {"measures": (Measure(**PRICE | {"step": 3}),)},  # type: ignore[arg-type]
        {"measures": (Measure(**PRICE | {"low": 0.5, "high": 1.5}),)},  # type: ignore[arg-type]
        {"measures": (Measure(**PRICE | {"step": -1}),)},  # type: ignore[arg-type]
        {"measures": (Measure(**PRICE | {"high": math.inf}),)},  # type: ignore[arg-type]
        {"measures": (Measure(**PRICE | {"high": 10**10}),)},  # type: ignore[arg-type]
        {"measures": (Measure(**PRICE | {"column": "item"}),)},  # type: ignore[arg-type]
        {"measures": (Measure(**PRICE | {"kind": "quantile"}),)},  # type: ignore[arg-type]
        {"measures": (Measure(**PRICE | {"kind": "quantile", "at": (1.0,)}),)},  # type: ignore[arg-type]
        {"measures": (Measure(kind="top_k", at=3),)},
        {"measures": (Measure(kind="top_k", at=3), COUNT), "keys": BY},
        {"measures": (Measure(kind="top_k"),), "keys": BY},
        {"keys": (("weight", "catalogue.weight"),)},
        {"where": "item"},
        {"epsilon": 0.0},
        {"epsilon": math.nan},
        {"epsilon": True},
        {"delta": 0.5},
        {"delta": -1e-6},
        {"max_groups": 0},
        {"max_rows": 1.5},
        {"minimum": -1},
        {"confidence": 1.0},
        {"public_keys": GENRES},
        {"public_keys": pa.table({"other": ["x"]}), "keys": BY},
        {"public_keys": pa.table({"genre": ["x", "x"]}), "keys": BY},
        {"public_keys": pa.table({"genre": ["x", None]}), "keys": BY},
        {"public_keys": pa.table({"genre": [["x"]]}), "keys": BY},
    ],
)
def test_questions_that_make_no_sense(shop: Project, given: dict[str, Any]) -> None:
    with pytest.raises(PrivacyError) as caught:
        answer(shop, query(**given), purpose="discover")
    assert caught.value.code == "T874"
    assert spends(shop) == []


@pytest.mark.parametrize(
    ("given", "purpose", "code"),
    [
        ({"source": "history"}, "discover", "T202"),
        ({"source": "nothing"}, "discover", "T312"),
        ({"source": "catalogue"}, "discover", "T873"),
        ({"person": "item"}, "discover", "T873"),
        ({"keys": ("person",)}, "discover", "T873"),
        ({"keys": (("half", "substr(person, 1, 3)"),)}, "discover", "T873"),
        ({"keys": ("nothing",)}, "discover", "T111"),
        ({"keys": ("item +",)}, "discover", "T110"),
        ({"keys": (("x", "things.genre"),)}, "discover", "T115"),
        ({"keys": ("item",), "delta": 0.0}, "discover", "T875"),
        ({}, "nothing", "T876"),
    ],
)
def test_what_may_not_be_asked(
    shop: Project, given: dict[str, Any], purpose: str, code: str
) -> None:
    with pytest.raises(TacitError) as caught:
        answer(shop, query(**given), purpose=purpose)
    assert caught.value.code == code
    assert spends(shop) == []


def test_a_purpose_that_the_rows_are_not_for(tmp_path: Path) -> None:
    other = 'other = Purpose("Sell.", use="marketing.advertising", basis="contract", epsilon=5)\n'
    project = small_project.project(tmp_path, RICH + other)
    with pytest.raises(TacitError) as caught:
        answer(project, query(), purpose="other")
    codes = {error.code for error in getattr(caught.value, "errors", [caught.value])}
    assert codes == {"T203", "T208"}


def test_sensitive_columns_must_be_named(tmp_path: Path) -> None:
    signals = RICH.replace(
        '"at": time()},\n)\nlooks',
        '"at": time(), "faith": text("user.demographic.religious_belief")},\n)\nlooks',
    )
    settings = small_project.SETTINGS.replace(
        '[sources.visits]\npath = "history', '[sources.visits]\npath = "visits'
    )
    folder = small_project.write(tmp_path, signals, settings)
    rows = small_project.history().select(["person", "item", "at"])
    pq.write_table(rows.append_column("faith", rows["item"]), folder / "visits.parquet")
    project = Project.load(folder)
    asked = {"keys": ("faith",), "public_keys": pa.table({"faith": ["x"]})}
    with pytest.raises(FlowError) as caught:
        answer(project, query(**asked), purpose="discover")
    assert caught.value.code == "T207"
    named = query(**asked, sensitive=("user.demographic.religious_belief",))
    assert answer(project, named, purpose="discover").table.num_rows == 1


@pytest.mark.parametrize("person", [None, "person", "giver"])
def test_rows_of_two_people_bound_neither(tmp_path: Path, person: str | None) -> None:
    """Noise would hide the one, and both would be charged for it."""
    signals = (
        RICH
        + """
giver = Entity("Who gave it.", person="pseudonymous")
gifts = Events(
    "What was given.", place="cloud", region="eu", keep="400d", basis="consent",
    purposes=[discover], category="user.behavior",
    columns={"person": key(person, "user.unique_id"), "giver": key(giver, "user.unique_id"), "at": time()},
)
"""
    )
    project = small_project.project(tmp_path, signals)
    with pytest.raises(PrivacyError) as caught:
        answer(project, query(source="gifts", person=person), purpose="discover")
    assert caught.value.code == "T873"


def test_content_that_is_not_public_is_nobodys_to_bound(tmp_path: Path) -> None:
    signals = RICH.replace(
        '"weight": number()},\n)',
        '"weight": number("user.behavior")},\n    region="eu", keep="ever", basis="consent", purposes=[discover],\n)',
        1,
    )
    project = small_project.project(tmp_path, signals)
    with pytest.raises(PrivacyError) as caught:
        answer(project, query(keys=(("x", "catalogue.weight > 1.0"),)), purpose="discover")
    assert caught.value.code == "T873"


# ---------------------------------------------------------------------- attacks


def test_no_expression_fails_by_what_a_row_says(shop: Project) -> None:
    """Attack: a condition that fails where one person's row is, and only there. Failing is free, so
    whoever sees whether it fails asks as many exact questions about anybody as they like."""
    someone = small_project.history()["person"][0].as_py()
    for failing in (
        "SUBSTR(person, 5000000000, 1) = 'x'",
        "SUBSTR(person, 1, 5000000000) = 'x'",
        "SUBSTR(person, 9223372036854775807, 9223372036854775807) = 'x'",
        "STARTS_WITH(SUBSTR(person, 2147483648, 2147483648), 'x')",
        "ABS(at * at * at) % (at - at) > 0",
        "-at % -1 = 0 AND 1 / (at - at) > CAST(at * 9223372036854775807 AS DOUBLE)",
    ):
        for who in (someone, "nobody"):
            asked = query(where=f"CASE WHEN person = '{who}' THEN {failing} ELSE TRUE END")
            assert answer(shop, asked, purpose="discover").table.num_rows == 1


def test_what_fails_by_a_row_is_not_asked_for_nothing(
    shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether rows could be read at all tells of them. So it is no question for nothing: what was set
    aside stays so, until the same question is answered."""
    from tacit.errors import EngineError

    def fails(*_: object, **__: object) -> None:
        raise EngineError("a row", code="T402", fix="-")

    with monkeypatch.context() as patched:
        patched.setattr(type(shop.engine), "totals", fails)
        for _ in range(2):
            with pytest.raises(PrivacyError, match="T877"):
                answer(shop, query(), purpose="discover")
        assert spends(shop) == ["reserved"]
        with pytest.raises(PrivacyError, match="T877"):
            answer(shop, query(where="item = 'i'"), purpose="discover")
        assert spends(shop) == ["reserved"] * 2
    answer(shop, query(), purpose="discover")
    assert spends(shop) == ["committed", "reserved"]
