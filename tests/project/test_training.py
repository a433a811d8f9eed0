"""Training sets of a project: several entities at once, outcomes, what was known, who allowed it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tacit.aggregates.profile import bin_of
from tacit.cli import main
from tacit.engines.reference import Reference
from tacit.errors import DataError, Refused
from tacit.learn.training_set import TrainingSet
from tacit.project import Project
from tacit.project.lake import layout_of
from tacit.project.quality import look
from tacit.project.run import run
from tacit.values import DAY, HOUR

MODULE = """\
from tacit import *

user = Entity("A person.", person="pseudonymous")
item = Entity("A thing.")
discover = Purpose("Show things.", use="personalize.content", basis=("consent", "contract"))
sell = Purpose("Sell.", use="marketing.advertising", basis="consent")
orders = Events(
    "Orders.", place="cloud", region="eu", keep="400d", basis="consent", purposes=[discover, sell],
    time="at", arrival="received_at", category="user.behavior",
    columns={
        "customer": key(user, "user.unique_id.pseudonymous"), "article": key(item),
        "at": time(), "received_at": time(), "price": number(), "gift": flag(),
    },
)
views = Events(
    "Views.", place="cloud", region="eu", keep="400d", basis="consent", purposes=[discover],
    category="user.behavior",
    columns={"who": key(user, "user.unique_id.pseudonymous"), "at": time()},
)
spend_7d = orders.sum("price", "7d").fresh("2d")
gifts = orders.count(where="gift")
sold_7d = orders.count("7d", per=item)
again = orders.since(per=(user, item))
kinds = orders.distinct("article", "7d")
seen = views.count("1d")
bought_7d = orders.count().ahead("7d")
spent_week_2 = orders.sum("price", "7d").ahead("14d")
learn = Sink(
    "To learn from.", signals=[spend_7d, gifts, sold_7d, again, kinds, bought_7d, spent_week_2],
    to="training", place="cloud", purposes=[discover], region="eu", keep="30d",
)
other = Sink(
    "Views too.", signals=[spend_7d, seen], to="training", place="cloud",
    purposes=[discover], region="eu", keep="30d",
)
"""
START = 1_700_000_000_000_000
NOW = START + 100 * DAY
USERS, ITEMS = ["1", "11", "u"], ["1", "2", "12"]
FEATURES = ["spend_7d", "gifts", "sold_7d", "again", "kinds"]


def orders(size: int = 300, seed: int = 1) -> pa.Table:
    draw = np.random.default_rng(seed)
    at = START + draw.integers(0, 100 * 24, size) * HOUR
    got = np.minimum(at + draw.choice([0, 0, HOUR, 3 * DAY], size), NOW)
    table = pa.table(
        {
            "customer": draw.choice(USERS, size),
            "article": draw.choice(ITEMS, size),
            "at": at,
            "received_at": got,
            "price": np.round(draw.random(size) * 9, 2),
            "gift": draw.random(size) < 0.3,
        }
    )
    return pa.concat_tables([table, table.slice(0, 5)])


def make(folder: Path, module: str = MODULE, rows: pa.Table | None = None) -> Project:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "signals.py").write_text(module)
    moment = datetime.fromtimestamp(NOW / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    (folder / "tacit.toml").write_text(
        f'name = "t"\nas_of = {moment}\n[sources.orders]\npath = "orders.parquet"\n'
        '[sources.views]\npath = "views.parquet"\n'
    )
    rows = orders() if rows is None else rows
    pq.write_table(rows, folder / "orders.parquet")
    pq.write_table(pa.table({"who": rows["customer"], "at": rows["at"]}), folder / "views.parquet")
    return Project.load(folder)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make(tmp_path)


def spine(size: int = 60, seed: int = 2) -> pa.Table:
    draw = np.random.default_rng(seed)
    return pa.table(
        {
            "user": draw.choice([*USERS, "nobody"], size),
            "item": draw.choice([*ITEMS, "nothing"], size),
            "at": START + draw.integers(0, 100 * 24, size) * HOUR + HOUR // 2,
        }
    )


def code(found: pytest.ExceptionInfo[Any]) -> str:
    assert found.value.where
    assert found.value.fix
    return str(found.value.code)


# ---------------------------------------------------------------------- what is in it


def by_hand(row: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The features and labels of one row, written out."""
    t = row["at"]
    past = [r for r in rows if r["at"] < t]
    mine = [r for r in past if r["customer"] == row["user"]]
    week = [r for r in mine if r["at"] >= t - 7 * DAY]
    pair = [r["at"] for r in mine if r["article"] == row["item"]]
    ahead = [r for r in rows if r["customer"] == row["user"] and t <= r["at"]]
    second = [r["price"] for r in ahead if t + 7 * DAY <= r["at"] < t + 14 * DAY]
    return {
        "spend_7d": sum(r["price"] for r in week) if week else None,
        "gifts": sum(r["gift"] for r in mine),
        "sold_7d": sum(r["article"] == row["item"] and r["at"] >= t - 7 * DAY for r in past),
        "again": t - max(pair) if pair else None,
        "kinds": len({r["article"] for r in week}),
        "bought": None if t + 7 * DAY > NOW else sum(r["at"] < t + 7 * DAY for r in ahead),
        "spent_week_2": None if t + 14 * DAY > NOW or not second else sum(second),
    }


LABELS = {"bought": "bought_7d", "spent_week_2": "spent_week_2"}


def check(made: TrainingSet, asked: pa.Table, rows: list[list[dict[str, Any]]]) -> None:
    assert made.table.num_rows == asked.num_rows
    for i, row in enumerate(asked.to_pylist()):
        wanted = by_hand(row, rows[i])
        for name, value in wanted.items():
            if name in made.table.column_names:
                found = made.table[name][i].as_py()
                assert found == pytest.approx(value), (name, i)


def test_several_entities_and_outcomes_by_hand(project: Project) -> None:
    asked = spine()
    made = project.training_set(asked, FEATURES, labels=LABELS)
    check(made, asked, [orders().to_pylist()] * asked.num_rows)
    assert made.table.column_names == ["row", "user", "item", "at", *FEATURES, *LABELS]
    assert made.table["row"].to_pylist() == list(range(60))
    assert made.table.select(asked.column_names).equals(asked)


def test_what_serving_could_have_known(project: Project) -> None:
    asked = spine()
    made = project.training_set(asked, FEATURES, as_of="spine")
    rows = orders().to_pylist()
    seen = [[r for r in rows if r["received_at"] < t] for t in asked["at"].to_pylist()]
    check(made, asked, seen)
    plain = project.training_set(asked, FEATURES)
    assert plain.table != made.table  # rows are late here


def test_as_of_a_moment(project: Project) -> None:
    moment = START + 50 * DAY
    asked = spine().filter(pa.compute.less(spine()["at"], moment))
    rows = [[r for r in orders().to_pylist() if r["received_at"] <= moment]] * asked.num_rows
    for given in (moment, datetime.fromtimestamp(moment / 1e6, UTC)):
        made = project.training_set(asked, FEATURES, labels=["bought_7d"], as_of=given)
        check(made, asked, rows)
    # An outcome is over when its horizon is, as of that moment.
    over = [t + 7 * DAY <= moment for t in asked["at"].to_pylist()]
    assert [v is not None for v in made.table["bought_7d"].to_pylist()] == over
    assert 0 < sum(over) < len(over)
    words = {True: "complete", False: "pending"}
    assert made.status["bought_7d"].to_pylist() == [words[each] for each in over]


def test_the_lakes_own_arrivals_serve(tmp_path: Path) -> None:
    rows = orders().rename_columns(["customer", "article", "at", "_arrived", "price", "gift"])
    module = MODULE.replace('arrival="received_at", ', "").replace('"received_at": time(), ', "")
    with pytest.raises(DataError) as refused:
        make(tmp_path / "without", module, rows.drop_columns(["_arrived"])).training_set(
            spine(), ["gifts"], as_of="spine"
        )
    assert code(refused) == "T370"
    asked = spine()
    made = make(tmp_path / "with", module, rows).training_set(asked, FEATURES, as_of="spine")
    known = make(tmp_path / "declared").training_set(asked, FEATURES, as_of="spine")
    assert made.table.equals(known.table)


def test_parity_with_the_reference_engine(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = spine(30)
    ours = project.training_set(asked, FEATURES, labels=LABELS, as_of="spine")
    monkeypatch.setattr("tacit.engines.local.Local", Reference)
    monkeypatch.setattr(Project, "scannable", loaded)
    again = Project.load(project.root)
    theirs = again.training_set(asked, FEATURES, labels=LABELS, as_of="spine")
    assert again.engine.name == "reference"
    for name in ours.table.column_names:
        assert ours.table[name].to_pylist() == pytest.approx(theirs.table[name].to_pylist())
    assert ours.status.equals(theirs.status)


def loaded(self: Project, source: str, _: object, only: set[str], also: Sequence[str] = ()) -> Any:
    """A source's rows, all columns of them, in memory."""
    return self.rows(source, also=also).table


def in_lake(folder: Path) -> Project:
    """The same project, its orders ingested in five deliveries."""
    project = make(folder)
    text = (folder / "tacit.toml").read_text()
    (folder / "tacit.toml").write_text(
        text.replace('[sources.orders]\npath = "orders.parquet"', "")
    )
    project = Project.load(folder)
    for start in range(0, 305, 61):
        project.ingest("orders", orders().slice(start, 61), batch=str(start))
    return project


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "as_of"),
    [("bound", None), ("bound", START + 60 * DAY), ("bound", "spine"), ("lake", "spine")],
)
def test_no_source_is_loaded_whole(
    where: str, as_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = in_lake(tmp_path) if where == "lake" else make(tmp_path)
    asked = spine().filter(pa.compute.less(spine()["at"], START + 60 * DAY))
    how: dict[str, Any] = {"labels": LABELS, "as_of": as_of}
    with monkeypatch.context() as patch:
        patch.setattr(Project, "scannable", loaded)
        wanted = project.training_set(asked, FEATURES, **how)
        assert wanted.status.num_rows == asked.num_rows
        looked = look(project, days=40) if as_of is None or where == "lake" else None

    def loads(*_: object, **__: object) -> None:
        raise AssertionError("the rows are loaded")

    monkeypatch.setattr(Project, "rows", loads)
    monkeypatch.setattr("tacit.store.lake.lake.read_rows", loads)
    found = project.training_set(asked, FEATURES, **how)
    assert found.table.equals(wanted.table)
    assert found.status.equals(wanted.status)
    if looked is not None:
        assert look(project, days=40) == looked
        assert {each.signal: each.rows > 0 for each in looked}["again"]


@pytest.mark.parametrize("where", ["bound", "lake"])
def test_a_status_is_of_the_rows_that_the_set_was_made_of(where: str, tmp_path: Path) -> None:
    project = in_lake(tmp_path) if where == "lake" else make(tmp_path)
    kept, gone = (project.training_set(spine(), FEATURES, as_of=as_of) for as_of in (None, "spine"))
    if where == "lake":
        project.ingest("orders", orders().slice(0, 7), batch="more")
        assert kept.status.num_rows == 60, "what came later does not count"
        project.lake.delete_subject(layout_of(project.declarations, "orders"), "user", "u")
    else:
        assert kept.status.num_rows == 60
        pq.write_table(orders().slice(1), tmp_path / "orders.parquet")
    with pytest.raises(DataError) as refused:
        gone.status  # noqa: B018
    assert code(refused) == "T346"


def test_a_row_id_is_kept_and_keys_are_not_ids(project: Project) -> None:
    asked = [
        {"id": "a", "user": "1", "item": "12", "at": NOW},
        {"id": "a", "user": "11", "item": "2", "at": NOW},
    ]
    made = project.training_set(asked, ["again", "gifts"], row="id")
    assert made.row == "id"
    assert made.table["id"].to_pylist() == ["a", "a"]
    check(made, pa.Table.from_pylist(asked), [orders().to_pylist()] * 2)


def test_zones_may_be_mixed(project: Project, tmp_path: Path) -> None:
    at = datetime(2024, 1, 1, 12, tzinfo=UTC)
    east = at.astimezone(timezone(timedelta(hours=9, minutes=30)))
    keys = {"user": "1", "item": "2"}
    asked = [
        {**keys, "at": each}
        for each in (
            at, east, at.replace(tzinfo=None), at.isoformat(), east.isoformat(),
            "2024-01-01T12:00:00Z", int(at.timestamp()) * 1_000_000,
        )
    ]  # fmt: skip
    made = project.training_set(asked, ["spend_7d"])
    assert len(set(made.table["at"].to_pylist())) == 1
    assert len(set(made.table["spend_7d"].to_pylist())) == 1
    texts = pa.table(
        {"user": ["1"] * 3, "at": ["2024-01-01T12:00:00Z", "2024-01-01T12:00", east.isoformat()]}
    )
    for unit, zone in (("ns", None), ("ms", "Asia/Tokyo"), ("s", "UTC"), ("us", "+09:30")):
        stamps = pa.table({"user": ["1"], "at": pa.array([at], pa.timestamp("us", "UTC"))})
        stamps = stamps.set_column(1, "at", stamps["at"].cast(pa.timestamp(unit, zone or "UTC")))
        if zone is None:
            stamps = stamps.set_column(1, "at", stamps["at"].cast(pa.timestamp(unit)))
        pq.write_table(stamps, tmp_path / "s.parquet")
        found = project.training_set(tmp_path / "s.parquet", ["gifts"]).table
        assert found["at"].to_pylist() == made.table["at"].to_pylist()[:1], (unit, zone)
    found = project.training_set(texts, ["gifts"]).table
    assert found["at"].to_pylist() == made.table["at"].to_pylist()[:3]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (pa.table({"user": ["1"]}), "'at'"),
        (pa.table({"at": [1]}), "'user'"),
        (pa.table({"user": ["1"], "at": pa.array([None], pa.int64())}), "row 0"),
        (pa.table({"user": ["1", "1"], "at": ["2024-01-01", "soon"]}), "row 1"),
        (pa.table({"user": ["1"], "at": [1.5]}), "double"),
        (pa.Table.from_arrays([pa.array([1]), pa.array([1]), pa.array(["1"])], ["at", "at", "user"]), "two columns"),
        ([{"user": "1", "at": True}], "row 0"),
        ("nowhere.parquet", "no such file"),
        (7, "int"),
        (pa.table({"user": ["1"], "at": [NOW], "gifts": [1]}), "two columns 'gifts'"),
    ],
)  # fmt: skip
def test_a_spine_that_cannot_be_used(project: Project, asked: Any, says: str) -> None:
    with pytest.raises(DataError, match=says) as refused:
        project.training_set(asked, ["gifts"])
    assert code(refused) in ("T371", "T301")


def test_nothing_in_nothing_out(project: Project) -> None:
    empty = spine().slice(0, 0)
    made = project.training_set(empty, FEATURES, labels=LABELS, as_of="spine")
    assert made.table.num_rows == made.status.num_rows == 0
    assert list(made.batches()) == []


def test_before_anything_happened(project: Project) -> None:
    made = project.training_set([{"user": "1", "item": "1", "at": START - DAY}], FEATURES)
    assert made.table.select(FEATURES).to_pylist() == [
        {"spend_7d": None, "gifts": 0, "sold_7d": 0, "again": None, "kinds": 0}
    ]
    assert set(made.status.select(FEATURES).to_pylist()[0].values()) == {"missing"}


# ---------------------------------------------------------------------- who allowed it


@pytest.mark.parametrize(
    ("signals", "options", "expected"),
    [
        (["seen", "gifts"], {}, "T374"),  # no sink takes both
        (["spend_7d"], {}, ""),  # two do, for the same purposes
        (["spend_7d"], {"sink": "nowhere"}, "T374"),
        (["gifts"], {"sink": "other"}, "T374"),
        (["spend_7d"], {"purpose": "sell"}, "T374"),
        (["spend_7d"], {"purpose": "nothing"}, "T374"),
        (["spend_7d"], {"purpose": "discover"}, ""),
        (["bought_7d"], {}, "T375"),
        (["gifts"], {"labels": ["spend_7d"]}, "T375"),
        (["nothing"], {}, "T313"),
    ],
)
def test_what_the_plan_does_not_allow(
    project: Project, signals: list[str], options: dict[str, Any], expected: str
) -> None:
    if not expected:
        project.training_set(spine(3), signals, **options)
        return
    with pytest.raises(DataError) as refused:
        project.training_set(spine(3), signals, **options)
    assert code(refused) == expected


def test_signals_of_devices_are_refused(tmp_path: Path) -> None:
    module = MODULE[: MODULE.index("learn = ")].replace('place="cloud"', 'place="device"')
    module = module.replace("again = orders.since(per=(user, item))\n", "")
    with pytest.raises(DataError) as refused:
        make(tmp_path, module).training_set(spine(3), ["gifts"])
    assert code(refused) == "T313"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('to="training"', 'to="export"'), "T213"),
        (('arrival="received_at"', 'arrival="at"'), "T103"),
        (('arrival="received_at"', 'arrival="price"'), "T103"),
        (('.ahead("14d")', '.ahead("6d")'), "T118"),
        (('.ahead("14d")', '.ahead("500d")'), ""),
        (('orders.count().ahead("7d")', 'orders.count().ahead("500d")'), "T107"),
    ],
)
def test_what_the_declarations_do_not_allow(
    tmp_path: Path, change: tuple[str, str], expected: str
) -> None:
    module = MODULE.replace(*change)
    module = (
        module.replace("sold_7d, again, kinds, bought_7d", "kinds, bought_7d")
        if expected == "T213"
        else module
    )
    project = make(tmp_path, module)
    if not expected:
        assert project.plan.nodes
        return
    with pytest.raises(Refused) as refused:
        _ = project.plan
    assert expected in refused.value.codes


def test_consent_is_read_at_the_rows_moment(project: Project) -> None:
    asked = [
        {"user": user, "item": "1", "at": START + days * DAY}
        for user in ("1", "11", "u")
        for days in (20, 40, 60)
    ]
    records = pa.table(
        {
            "subject": ["1", "1", "1", "11", "1"],
            "purpose": ["discover", "discover", "sell", "discover", "discover"],
            "at": [START + days * DAY for days in (10, 40, 50, 41, 40)],
            "allowed": [True, False, True, True, True],
        }
    )
    made = project.training_set(
        asked, ["gifts", "sold_7d"], labels=["bought_7d"], sink="learn", consent=records
    )
    wanted = [True, False, False, False, False, True, False, False, False]
    for name in ("gifts", "sold_7d", "bought_7d"):
        assert [v is not None for v in made.table[name].to_pylist()] == wanted, name
        assert [s != "denied" for s in made.status[name].to_pylist()] == wanted
    told = project.training_set(
        asked, ["gifts"], sink="learn",
        consent=lambda who, why, when: (who, why) == ("1", "discover") and when < START + 30 * DAY,
    )  # fmt: skip
    assert [v is not None for v in told.table["gifts"].to_pylist()] == [True] + [False] * 8


def test_without_a_record_the_basis_decides(tmp_path: Path) -> None:
    module = MODULE.replace(
        'basis="consent", purposes=[discover, sell]', 'basis="contract", purposes=[discover]'
    )
    records = pa.table(
        {"subject": ["1"], "purpose": ["discover"], "at": [START], "allowed": [False]}
    )
    made = make(tmp_path, module).training_set(spine(), ["gifts"], consent=records)
    for user, value in zip(
        spine()["user"].to_pylist(), made.table["gifts"].to_pylist(), strict=True
    ):
        assert (value is None) == (user == "1")


def test_records_of_consent_that_are_none(project: Project) -> None:
    for records in (
        pa.table({"subject": ["1"]}),
        pa.table({"subject": ["1"], "purpose": ["discover"], "at": [1], "allowed": [1]}),
    ):
        with pytest.raises(DataError) as refused:
            project.training_set(spine(3), ["gifts"], consent=records)
        assert code(refused) == "T377"


# ---------------------------------------------------------------------- nothing of the time to come


def test_what_the_outcome_is_made_of_is_not_carried(project: Project) -> None:
    asked = spine().append_column("price", pa.array([1.0] * 60))
    project.training_set(asked, ["gifts"], labels=["bought_7d"])  # it does not read the price
    with pytest.raises(DataError) as refused:
        project.training_set(asked, ["gifts"], labels=["spent_week_2"])
    assert code(refused) == "T372"


def test_a_column_that_tells_the_outcome_is_refused(project: Project) -> None:
    asked = spine()
    label = project.training_set(asked, ["gifts"], labels=["bought_7d"]).table["bought_7d"]
    for told in (label, pa.array([f"so {v}" for v in label.to_pylist()])):
        with pytest.raises(DataError) as refused:
            project.training_set(asked.append_column("x", told), ["gifts"], labels=["bought_7d"])
        assert code(refused) == "T372"
    honest = pa.array((np.arange(60) % 4).tolist())
    made = project.training_set(asked.append_column("x", honest), ["gifts"], labels=["bought_7d"])
    assert made.table["x"].to_pylist() == honest.to_pylist()


def test_the_future_is_refused(project: Project) -> None:
    asked = spine(3)
    later = pc_add(asked, 10 * DAY)
    carried = asked.append_column("delivered", later["at"].cast(pa.timestamp("us")))
    ahead = pa.table({"user": ["1"], "at": [NOW + 1]})
    for given, options in (
        (carried, {}),
        (ahead, {}),
        (spine(), {"as_of": START}),
        (asked, {"as_of": NOW + HOUR}),
    ):
        with pytest.raises(DataError) as refused:
            project.training_set(given, ["gifts"], **options)
        assert code(refused) == "T373"


def pc_add(table: pa.Table, length: int) -> pa.Table:
    return table.set_column(2, "at", pa.compute.add(table["at"], length))


def test_rows_dated_in_the_future_are_refused(tmp_path: Path) -> None:
    rows = orders()
    rows = rows.set_column(2, "at", pa.compute.add(rows["at"], 60 * DAY))
    with pytest.raises(DataError) as refused:
        make(tmp_path, MODULE, rows).training_set(spine(3), ["gifts"])
    assert code(refused) == "T305"


def test_features_never_give_outcomes(project: Project) -> None:
    with pytest.raises(DataError) as refused:
        project.features(["bought_7d"], spine(3))
    assert code(refused) == "T375"


def test_features_take_what_training_sets_take(project: Project, tmp_path: Path) -> None:
    asked = spine(5).append_column("kept", pa.array(range(5)))
    found = project.features(["gifts", "spend_7d"], asked)
    assert found.column_names == ["user", "item", "at", "kept", "gifts", "spend_7d"]
    assert found.select(asked.column_names).equals(asked)
    pq.write_table(asked, tmp_path / "s.parquet")
    signal = project.declarations.named["gifts"]
    texts = [
        row | {"at": datetime.fromtimestamp(row["at"] / 1e6, UTC).isoformat()}
        for row in asked.to_pylist()
    ]
    for given in (tmp_path / "s.parquet", str(tmp_path / "s.parquet"), asked.to_pylist(), texts):
        assert project.features([signal, "spend_7d"], given).equals(found)
    assert project.features("gifts", asked).equals(found.drop_columns(["spend_7d"]))
    assert project.features(signal, asked).equals(found.drop_columns(["spend_7d"]))
    assert project.training_set(asked, "gifts", labels="bought_7d").labels == ("bought_7d",)


def test_features_need_no_sink(project: Project) -> None:
    """As docs/architecture.md says: they go to code of the cloud, and nowhere by themselves."""
    together = ["seen", "gifts"]  # no sink takes both
    assert project.features(together, spine(3)).num_rows == 3
    with pytest.raises(DataError) as refused:
        project.training_set(spine(3), together)
    assert code(refused) == "T374"


@pytest.mark.parametrize(
    ("signals", "asked", "expected"),
    [
        (["gifts"], [{"user": "1"}], "T371"),
        (["gifts"], [{"at": NOW}], "T371"),
        (["gifts"], pa.table({"user": ["1"], "at": [NOW], "gifts": [1]}), "T371"),
        (["gifts", "gifts"], [{"user": "1", "at": NOW}], "T371"),
        (["gifts"], "nowhere.parquet", "T301"),
        ("nothing", [{"user": "1", "at": NOW}], "T313"),
        (["gifts"], [{"user": 1, "at": NOW}], "T341"),
    ],
)
def test_features_that_cannot_be_asked(
    project: Project, signals: Any, asked: Any, expected: str
) -> None:
    with pytest.raises(DataError) as refused:
        project.features(signals, asked)
    assert code(refused) == expected


# ---------------------------------------------------------------------- statuses, batches, files


def test_fresh_stale_missing(project: Project) -> None:
    asked = spine()
    made = project.training_set(asked, FEATURES).with_status()
    rows = orders().to_pylist()
    for i, row in enumerate(asked.to_pylist()):
        mine = [r["at"] for r in rows if r["at"] < row["at"] and r["customer"] == row["user"]]
        old = bool(mine) and row["at"] - max(mine) > 2 * DAY
        wanted = "missing" if not mine else "stale" if old else "fresh"
        assert made.table["spend_7d:status"][i].as_py() == wanted
        gifts = [
            r for r in rows if r["at"] < row["at"] and r["customer"] == row["user"] and r["gift"]
        ]
        assert made.table["gifts:status"][i].as_py() == ("fresh" if gifts else "missing")
    assert set(made.table["spend_7d:status"].to_pylist()) == {"fresh", "stale", "missing"}


def test_what_is_no_longer_kept_is_not_undercounted(tmp_path: Path) -> None:
    made = make(tmp_path, MODULE.replace('keep="400d"', 'keep="30d"')).training_set(
        [{"user": "1", "item": "1", "at": NOW - days * DAY} for days in (22, 24, 31)],
        ["spend_7d", "gifts"], labels=["bought_7d"],
    )  # fmt: skip
    assert [s == "expired" for s in made.status["spend_7d"].to_pylist()] == [False, True, True]
    assert made.table["spend_7d"].is_null().to_pylist()[1:] == [True, True]
    assert made.status["bought_7d"].to_pylist() == ["complete", "complete", "expired"]


@pytest.mark.parametrize("where", ["file", "lake"])
def test_a_column_kept_shorter_than_its_row_is_not_undercounted(tmp_path: Path, where: str) -> None:
    """Its values are not seen past their time, wherever the rows lie; and what reads it says so."""
    module = MODULE.replace('"gift": flag()', '"gift": flag().narrow(keep="30d")').replace(
        'gifts = orders.count(where="gift")', 'gifts = orders.count("7d", where="gift")'
    )
    project = make(tmp_path, module)
    if where == "lake":
        rows = orders()
        settings = (tmp_path / "tacit.toml").read_text()
        bound = '[sources.orders]\npath = "orders.parquet"\n'
        (tmp_path / "tacit.toml").write_text(settings.replace(bound, ""))
        project = Project.load(tmp_path)
        project.ingest("orders", rows)
    rows = project.rows("orders").table
    assert rows.num_rows == orders().num_rows
    seen = zip(rows["at"].to_pylist(), rows["gift"].to_pylist(), strict=True)
    assert all((gift is None) == (at < NOW - 30 * DAY) for at, gift in seen)
    asked = [{"user": "1", "item": "1", "at": NOW - days * DAY} for days in (22, 24, 31)]
    made = project.training_set(asked, ["spend_7d", "gifts"])
    assert [s == "expired" for s in made.status["gifts"].to_pylist()] == [False, True, True]
    assert made.table["gifts"].is_null().to_pylist() == [False, True, True]
    assert "expired" not in made.status["spend_7d"].to_pylist(), "it does not read the column"


def test_batches_files_and_loaders(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project.training_set(spine(), FEATURES, labels=LABELS)
    assert [batch.num_rows for batch in made.batches(25)] == [25, 25, 10]
    assert pa.Table.from_batches(list(made.batches(25))).equals(made.table)
    monkeypatch.setattr("tacit.learn.training_set.GROUP", 25)
    path = made.write(tmp_path / "out" / "set.parquet")
    assert pq.read_table(path).equals(made.table)
    assert pq.read_metadata(path).num_row_groups == 3
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    batches = list(made.loader(25))
    assert set(batches[0]) == {*FEATURES, *LABELS}
    for name in (*FEATURES, *LABELS):
        joined = np.concatenate([batch[name] for batch in batches]).tolist()
        wanted = made.table[name].to_pylist()
        assert [None if v != v else v for v in joined] == wanted
    for columns, options in ((["user"], {}), (["nothing"], {}), (None, {"shuffle": True})):
        with pytest.raises(DataError) as refused:
            made.loader(25, columns=columns, **options)
        assert code(refused) == "T376"
    with pytest.raises(DataError):
        list(made.batches(0))


@pytest.mark.slow
def test_torch_loads_it(project: Project) -> None:
    torch = pytest.importorskip("torch")
    made = project.training_set(spine(), FEATURES, labels=LABELS)
    batches = list(made.loader(25))
    assert [len(batch["gifts"]) for batch in batches] == [25, 25, 10]
    assert (
        torch.cat([batch["gifts"] for batch in batches]).tolist() == made.table["gifts"].to_pylist()
    )
    shuffled = torch.cat([batch["gifts"] for batch in made.loader(7, shuffle=True)]).tolist()
    assert sorted(shuffled) == sorted(made.table["gifts"].to_pylist())


# ---------------------------------------------------------------------- runs, and quality


def test_a_run_delivers_sinks_of_several_entities(project: Project) -> None:
    results = run(project)
    found = pq.read_table(results.sinks["learn"])
    rows = orders()
    assert found.num_rows == rows.num_rows
    assert set(found.column_names) == {"item", "user", "at", *FEATURES, "bought_7d", "spent_week_2"}
    assert found["bought_7d"].null_count > 0
    asked = found.select(["user", "item", "at"])
    wanted = project.training_set(asked, FEATURES, labels=["bought_7d"]).table
    assert found.select([*FEATURES, "bought_7d"]).equals(wanted.select([*FEATURES, "bought_7d"]))


class Said(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Quality = Callable[..., Said]


@pytest.fixture
def quality(capsys: pytest.CaptureFixture[str]) -> Quality:
    def command(folder: Path, *arguments: str) -> Said:
        status = main(["quality", str(folder), *arguments])
        return Said(status, *capsys.readouterr())

    return command


def test_quality_prints_and_fails(project: Project, tmp_path: Path, quality: Quality) -> None:
    shown = quality(tmp_path, "--days", "40")
    assert shown.returncode == 0, shown.stderr
    lines = {line.split()[0]: line for line in shown.stdout.splitlines()}
    assert set(lines) == {"signal", *FEATURES, "seen"}
    assert any(block in lines["gifts"] for block in "▁▂▃▄▅▆▇█")
    beyond = quality(tmp_path, "--days", "40", "--json", "--fail-on", "psi=0", "nulls=0.99")
    assert beyond.returncode == 1
    told = json.loads(beyond.stdout)
    assert told["signals"]["gifts"]["rows"] > 50
    assert told["signals"]["seen"]["skew"] is None
    assert set(told["beyond"]["gifts"]) == {"psi"}
    again = quality(
        tmp_path, "--days", "40", "--json", "--against", "last", "--fail-on", "psi=1e-9"
    )
    assert again.returncode == 0, again.stdout  # nothing has changed since
    assert json.loads(again.stdout)["signals"]["gifts"]["js"] == 0
    wrong = quality(tmp_path, "--fail-on", "wrong=1")
    assert wrong.returncode == 1
    assert "T381" in wrong.stderr


def test_served_values_are_held_against_training(
    project: Project, tmp_path: Path, quality: Quality
) -> None:
    asked = spine()
    served = project.training_set(asked, ["gifts", "spend_7d"], as_of="spine").table
    pq.write_table(served, tmp_path / "served.parquet")
    even = json.loads(
        quality(
            tmp_path, "--days", "40", "--json", "--served", str(tmp_path / "served.parquet")
        ).stdout
    )
    assert (even["signals"]["gifts"]["skew"], even["signals"]["gifts"]["served"]) == (0, 60)
    wrong = [v + 1 if i % 3 == 0 else v for i, v in enumerate(served["gifts"].to_pylist())]
    served = served.set_column(served.column_names.index("gifts"), "gifts", pa.array(wrong))
    pq.write_table(served, tmp_path / "served.parquet")
    odd = quality(
        tmp_path,
        "--days",
        "40",
        "--json",
        "--served",
        str(tmp_path / "served.parquet"),
        "--fail-on",
        "skew=0.1",
    )
    assert odd.returncode == 1
    assert json.loads(odd.stdout)["beyond"] == {"gifts": {"skew": pytest.approx(1 / 3)}}


@pytest.mark.parametrize("declared", [True, False])
def test_rows_that_the_lake_took_in_after_serving_are_no_skew(
    tmp_path: Path, quality: Quality, declared: bool
) -> None:
    module = MODULE if declared else MODULE.replace('arrival="received_at", ', "")
    asked = spine()
    served = make(tmp_path, module).training_set(
        asked, ["gifts"], as_of="spine" if declared else None
    )
    pq.write_table(served.table, tmp_path / "served.parquet")
    settings = (tmp_path / "tacit.toml").read_text()
    bound = '[sources.orders]\npath = "orders.parquet"\n'
    (tmp_path / "tacit.toml").write_text(settings.replace(bound, ""))
    Project.load(tmp_path).ingest("orders", orders())
    said = quality(tmp_path, "--json", "--served", str(tmp_path / "served.parquet"))
    gifts = json.loads(said.stdout)["signals"]["gifts"]
    assert (gifts["skew"], gifts["served"]) == (0, 60)


def test_quality_tells_of_no_single_row(project: Project, tmp_path: Path, quality: Quality) -> None:
    """A spend that one person alone has is in no output, and not in what is kept."""
    rows = orders()
    price = rows["price"].to_pylist()
    price[7] = 123456.75
    alone = rows.set_column(4, "price", pa.array(price))
    make(tmp_path, MODULE, alone)
    shown = quality(tmp_path, "--days", "90", "--json")
    assert shown.returncode == 0
    kept = (tmp_path / ".tacit" / "quality.json").read_text()
    high = {str(bin_of(123456.75 + more)) for more in range(60)}
    signals = json.loads(kept)["signals"]
    assert not high & {str(number) for number, _ in signals["spend_7d"]["bins"]}
    assert all(rows >= 10 for each in signals.values() for _, rows in each["bins"])
    assert "123456" not in shown.stdout + kept


def test_a_look_that_finds_nothing_or_damage(
    project: Project, tmp_path: Path, quality: Quality
) -> None:
    few = make(tmp_path / "few", MODULE, orders(4).slice(0, 4))
    assert "T380" in quality(few.root).stderr
    assert quality(tmp_path, "--days", "40").returncode == 0
    (tmp_path / ".tacit" / "quality.json").write_text("{")
    assert "T383" in quality(tmp_path, "--days", "40", "--against", "last").stderr
    pq.write_table(spine(), tmp_path / "served.parquet")
    assert "T382" in quality(tmp_path, "--served", str(tmp_path / "served.parquet")).stderr
