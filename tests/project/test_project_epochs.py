"""Epochs in a project: declared, billed, refused where they cannot fit, kept by ledger and device."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small_project import EVENTS, PAIRS_ONLY, SETTINGS, SIGNALS, only, project, write
from tacit.cli import main
from tacit.device.epochs import Charge, asked
from tacit.device.keys import Secret
from tacit.device.vault import Vault
from tacit.errors import BudgetError, DataError, DeclarationError, PrivacyError, Refused
from tacit.govern.epochs import Epochs
from tacit.govern.spends import Touched
from tacit.plan.explain import explain
from tacit.privacy.filters import Filter, of_one_epoch
from tacit.privacy.loss import Loss, zcdp
from tacit.privacy.mechanism import mechanism
from tacit.project import Project
from tacit.project.central import CentralQuery, Measure, answer
from tacit.project.run import run
from tacit.store import witness
from tacit.values import DAY, Type

PERSON = 'person = Entity("Someone who shops here.", person="pseudonymous")'
OWNED = PAIRS_ONLY.replace("taste = Release(", 'taste = Release(owner="growth", doc=').replace(
    'doc=\n    "What is wanted together.",', 'doc="What is wanted together.",'
)


def cut(extra: str, signals: str = OWNED) -> str:
    assert PERSON in signals
    return signals.replace(
        PERSON, f'person = Entity("Someone.", person="pseudonymous", epoch="365d", {extra})'
    )


FITS = cut('epsilon=12, delta=1e-5, quotas={"growth": 11, "search": 2}')


def test_the_plan_prints_what_an_epoch_costs(tmp_path: Path) -> None:
    made = project(tmp_path, FITS)
    text = "\n".join(line.text for line in explain(made.plan, None))
    assert "of ε 12, all that may be learned of each 365d epoch of a person" in text
    assert "of ε 11, the team's quota of each 365d epoch of a person" in text
    from tacit.plan import document

    lines = {line["name"]: line for line in document(made.plan)["epochs"]}
    capacity = Filter(12.0, 1e-5)
    price = mechanism("pairs").price(4, 1e-5)
    cost = capacity.cost(of_one_epoch(price, "add or remove", several=True))
    assert lines["person"]["share"] == pytest.approx(float(capacity.share(cost)), abs=1e-6)
    assert (lines["search"]["share"], lines["search"]["releases"]) == (0.0, [])
    assert made.plan.vocabulary["person"].budget["epoch"] == 365 * DAY


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("epsilon=4, delta=1e-5", "the filter of one person's epoch"),
        ('epsilon=12, delta=1e-5, quotas={"growth": 1}', "the quota of team 'growth'"),
        ('epsilon=12, delta=1e-5, quotas={"search": 9}', "for it holds nothing"),
    ],
)
def test_what_can_never_fit_is_refused_before_anything_runs(
    tmp_path: Path, extra: str, said: str
) -> None:
    with pytest.raises(Refused) as caught:
        _ = project(tmp_path, cut(extra)).plan
    [error] = caught.value.errors
    assert error.code == "T211"
    assert said in error.message
    assert error.fix


def test_a_budget_of_each_epoch_needs_epochs(tmp_path: Path) -> None:
    renewing = OWNED.replace("epsilon=20, delta=1e-5", "epsilon=11, delta=1e-5, per_epoch=True")
    with pytest.raises(Refused) as caught:
        _ = project(tmp_path / "a", renewing).plan
    assert [error.code for error in caught.value.errors] == ["T211"]
    made = project(tmp_path / "b", cut("epsilon=12, delta=1e-5", renewing))
    text = "\n".join(line.text for line in explain(made.plan, None))
    assert "of ε 11, the purpose's of each 365d epoch of a person" in text


@pytest.mark.parametrize(
    "extra",
    [
        "epsilon=0.0",
        "epsilon=-1.0",
        "epsilon=float('nan')",
        "epsilon=1.0, delta=0.0",
        "epsilon=1.0, delta=0.5",
        'epsilon=1.0, quotas={"a": 2.0}',
        'epsilon=1.0, quotas={"a": -1.0}',
        'epsilon=1.0, quotas=["a"]',
        'epsilon=1.0, quotas={"a": float("inf")}',
    ],
)
def test_epochs_that_are_none(tmp_path: Path, extra: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        project(tmp_path, cut(extra))
    assert caught.value.code in ("T116", "T118")


def test_a_run_is_charged_to_its_epochs_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = project(tmp_path / "shop", FITS)
    run(made)
    [spend] = {line.spend for line in made.ledger.statement()}
    assert spend.querier == "growth"
    [touched] = spend.touched or ()
    assert touched.subject == "person"
    now = made.now()
    assert (touched.start, touched.end) == (now - 731 * DAY, now + 30 * DAY)
    shown = [line for line in made.ledger.epochs() if line.kind == "filter"]
    assert {line.share for line in shown} != {0.0}
    assert sum(line.span.last - line.span.first + 1 for line in shown) in (3, 4)

    picture = tmp_path / "budget.svg"
    assert main(["budget", str(tmp_path / "shop"), "--picture", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert "person: epochs from" in printed
    assert "team growth" in printed
    drawn = picture.read_text()
    assert drawn.startswith("<svg")
    assert drawn.count("<rect") > 8
    import xml.etree.ElementTree as ElementTree

    ElementTree.fromstring(drawn)
    assert main(["budget", str(tmp_path / "shop"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    growth = [line for line in found["epochs"] if line["name"] == "growth"]
    assert growth
    assert all(0 < line["share"] <= 1 and line["left"] < 11 for line in growth)
    assert found["purposes"][0]["releases"][0]["team"] == "growth"
    seen = witness.last_seen(witness.beside(made.store_path))
    assert seen is not None
    assert found["head"] == seen._asdict()

    # A witness that is deleted is missed, until somebody says that nothing was put back.
    made.control.close()
    witness.beside(made.store_path).unlink()
    command = ["budget", str(tmp_path / "shop"), "--json"]
    assert main(command) == 1
    assert "T719" in capsys.readouterr().err
    for arguments in ([*command, "--new-witness"], command):
        assert main(arguments) == 0
        assert json.loads(capsys.readouterr().out)["head"] == found["head"]

    # A control store that is deleted is not a new beginning.
    made.store_path.unlink()
    capsys.readouterr()
    assert main(["run", str(tmp_path / "shop")]) != 0
    assert "T718" in capsys.readouterr().err


NO_DEVICES = [
    "taste",
    "demand",
    "popular",
    "recommender",
    "space",
    "training",
    "looks",
    "last",
    "first",
    "bought",
]
CLOUD = cut('epsilon=3, delta=1e-5, quotas={"growth": 2.5}', only(SIGNALS, *NO_DEVICES))


def test_a_question_is_charged_to_the_epochs_of_its_time(tmp_path: Path) -> None:
    made = project(tmp_path, CLOUD)
    year = 365 * DAY
    now = made.now() // year

    def ask(since: int | None, until: int | None, epsilon: float, team: str = "growth") -> Any:
        question = CentralQuery(
            source="visits",
            measures=(Measure(kind="count"),),
            epsilon=epsilon,
            max_rows=100,
            since=since,
            until=until,
            team=team,
        )
        return answer(made, question, purpose="discover")

    def shares() -> dict[Any, float]:
        lines = made.ledger.epochs()
        return {line.span: round(line.share, 6) for line in lines if line.kind == "filter"}

    ask(now * year, now * year + 30 * DAY, 1.5)
    assert shares() == {(now, now): 0.5}
    assert ask(now * year, now * year + 30 * DAY, 1.5).reused
    ask((now - 1) * year, now * year, 1.5)
    assert shares() == {(now - 1, now): 0.5}
    with pytest.raises(BudgetError, match="T545"):
        ask(now * year, now * year + DAY, 1.2)
    with pytest.raises(BudgetError, match="T545"):
        ask(now * year, now * year + DAY, 0.1, team="others")
    with pytest.raises(BudgetError, match="T545"):
        ask(None, None, 0.6)  # all rows: each epoch, twice its price where a person is taken away
    ask((now + 5) * year, (now + 6) * year, 2.4)  # an epoch of which nothing is spent
    for bad in ((5, 5), (9, 1), (0.5, 2)):
        with pytest.raises(PrivacyError, match="makes no sense"):
            ask(*bad, 0.1)  # type: ignore[arg-type]


def test_rows_of_another_time_do_not_count(tmp_path: Path) -> None:
    """What is charged is what is read."""
    made = project(
        tmp_path,
        CLOUD.replace('epoch="365d", epsilon=3, delta=1e-5, quotas={"growth": 2.5}', ""),
    )
    times = np.sort(EVENTS.time)
    middle = int(times[len(times) // 5])
    for since, until, true in (
        (None, middle, int((times < middle).sum())),
        (middle, None, int((times >= middle).sum())),
    ):
        question = CentralQuery(
            source="visits",
            measures=(Measure(kind="count"),),
            epsilon=9.0,
            max_rows=60,
            since=since,
            until=until,
        )
        [found] = answer(made, question, purpose="discover").table.column("count").to_pylist()
        assert abs(found - true) < 150 < abs(2 * true - len(times))


def test_a_folder_that_was_rolled_back_is_found_by_a_witness_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = SETTINGS + '\n[ledger]\nwitnesses = ["../far.witness"]\n'
    folder = tmp_path / "shop"

    def ask(number: int) -> None:
        made = Project.load(folder)
        question = CentralQuery(source="visits", measures=(Measure(kind="count"),), epsilon=0.1)
        answer(made, question, purpose="discover", epoch=number)
        made.control.close()

    write(folder, only(SIGNALS, *NO_DEVICES), settings)
    ask(0)
    shutil.copytree(folder / ".tacit", tmp_path / "backup")
    ask(1)
    assert main(["budget", str(folder)]) == 0
    shutil.rmtree(folder / ".tacit")
    shutil.copytree(tmp_path / "backup", folder / ".tacit")
    capsys.readouterr()
    assert main(["budget", str(folder)]) != 0
    assert "T706" in capsys.readouterr().err
    for bad in ('witnesses = "x"', "witnesses = [1]", 'other = ["x"]', 'witnesses = [""]'):
        write(folder, settings=SETTINGS + f"\n[ledger]\n{bad}\n")
        with pytest.raises(DataError, match="T311"):
            Project.load(folder)


def test_before_anything_ran(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "shop", FITS)
    assert main(["budget", str(tmp_path / "shop"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["head"], found["epochs"]) == (None, [])
    assert main(["budget", str(tmp_path / "shop")]) == 0
    assert "everybody" in capsys.readouterr().out
    assert not (tmp_path / "shop" / ".tacit").exists()


# ---------------------------------------------------------------------- the device's own filter


def charge(first: int, last: int, loss: Loss, **epochs: Any) -> Charge:
    bounds = Epochs("person", epochs.get("length", 7 * DAY), epochs.get("epsilon", 1.0), 1e-6)
    touched = Touched("person", first * 7 * DAY, last * 7 * DAY)
    return Charge(touched, bounds, loss, "replace one device's value")


def test_a_vault_keeps_its_own_filter(tmp_path: Path) -> None:
    """Whatever the ledger in the cloud forgot, and whatever a later task says of the filter."""
    full = Filter(1.0, 1e-6)
    half = zcdp(full.bound / full.order / 2 * (1 - 1e-9))
    key = Secret(bytes(range(32)))
    path = tmp_path / "vault"
    with Vault.create(path, key, {"plays": {"at": Type.TIME}}) as vault:
        vault.spend("a", 0, b"report", charge(0, 3, half))
        vault.spend("b", 0, b"report", charge(2, 5, half))
        for wider in ({}, {"epsilon": 50.0}, {"length": 1, "epsilon": 50.0}):
            with pytest.raises(PrivacyError) as caught:
                vault.spend("c", 0, b"report", charge(2, 3, half, **wider))
            assert caught.value.code == "T547"
            assert caught.value.fix
        assert not vault.has_spent("c", 0)  # nothing was noted
    with Vault.open(path, key) as vault:
        vault.spend("c", 0, b"report", charge(4, 5, half))
        with pytest.raises(PrivacyError, match="T547"):
            vault.spend("d", 0, b"report", charge(4, 5, half))
        vault.spend("e", 0, b"report", charge(9, 10, half, epsilon=0.9))  # a smaller one stays
        with pytest.raises(PrivacyError, match="T547"):
            vault.spend("f", 0, b"report", charge(9, 10, half))
        with pytest.raises(PrivacyError, match="T540"):
            vault.spend("a", 0, b"report", charge(99, 100, half))


def test_what_a_task_says_of_epochs() -> None:
    given = charge(0, 3, zcdp(0.1))
    said = json.loads(json.dumps(asked(given.touched, given.epochs)))
    assert Epochs("person", said["length"], said["epsilon"], said["delta"]) == given.epochs
